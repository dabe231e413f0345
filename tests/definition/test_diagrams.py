"""Pictures of workflows: what is drawn of each construct, and that no name can break out of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from wrkflw import Event, StepTools, create_workflow, step, workflow
from wrkflw.diagrams import outline_of, to_json, to_mermaid, to_svg
from wrkflw.diagrams.outline import Box, Frame, Lane, Lanes, Series


@step
async def fetch(name: str) -> int:
    return len(name)


@step
async def left(number: int) -> int:
    return number


@step
async def right(number: int) -> int:
    return number


def is_large(number: int) -> bool:
    return number > 100


go = Event("go", int)
inner = create_workflow(id="inner", input_schema=int, output_schema=int).then(left).commit()
whole = (
    create_workflow(id="whole", input_schema=str, output_schema=int)
    .then(fetch)
    .parallel(left, right)
    .join(lambda one, other: one + other)
    .branch()
    .when(is_large, inner)
    .otherwise(right.with_id("small"))
    .do_until(left.with_id("poll"), is_large)
    .sleep("90m", id="rest")
    .wait_for_event(go, timeout="7d")
    .map(lambda number: [number], id="one")
    .foreach(right.with_id("each"), concurrency=4)
    .map(lambda numbers: sum(numbers), id="total")
    .commit()
)


def test_every_construct_has_its_place() -> None:
    outline = outline_of(whole.graph)

    assert outline.parts == (
        Box("end", "str", "input"),
        Box("step", "fetch", "str → int"),
        Lanes("parallel", (Lane("", Box("step", "left", "int → int")), Lane("", Box("step", "right", "int → int")))),
        Box("map", "join-1"),
        Lanes(
            "branch",
            (
                Lane("is_large", Frame("workflow", "inner", Series((Box("step", "left", "int → int"),)))),
                Lane("otherwise", Box("step", "small", "int → int")),
            ),
        ),
        Frame("loop", "again until is_large", Box("step", "poll", "int → int")),
        Box("sleep", "rest", "1h 30m"),
        Box("event", "wait-1", "event go, at most 7 days"),
        Box("map", "one"),
        Frame("foreach", "for each item, 4 at a time", Box("step", "each", "int → int")),
        Box("map", "total"),
        Box("end", "int", "output"),
    )


def test_mermaid_joins_what_follows() -> None:
    text = to_mermaid(outline_of(inner.graph))

    assert text.splitlines() == [
        "flowchart TD",
        '    n1(["int<br/>input"])',
        '    n2["left<br/>int → int"]',
        "    n1 --> n2",
        '    n3(["int<br/>output"])',
        "    n2 --> n3",
    ]


def test_mermaid_names_the_ways_and_frames_what_belongs_together() -> None:
    text = to_mermaid(outline_of(whole.graph))

    assert '-->|"is_large"|' in text
    assert '-->|"otherwise"|' in text
    assert 'subgraph n8["inner"]' in text
    assert text.count("subgraph") == text.count("    end\n") == 3


def test_an_arm_that_passes_on_joins_what_follows_the_branch() -> None:
    branch = create_workflow(id="b", input_schema=int, output_schema=int).branch().when(is_large, left).otherwise_pass()
    text = to_mermaid(outline_of(branch.commit().graph))

    assert 'n2 -->|"otherwise"| n4' in text


def test_svg_is_a_document_that_holds_every_name() -> None:
    document = ET.fromstring(to_svg(outline_of(whole.graph), "whole"))

    texts = [element.text for element in document.iter("{http://www.w3.org/2000/svg}text")]
    assert {"fetch", "left", "right", "inner", "small", "poll", "rest", "each", "total"} <= set(texts)
    assert "is_large" in texts
    assert "prefers-color-scheme: dark" in to_svg(outline_of(whole.graph))


def test_every_box_lies_inside_the_picture() -> None:
    document = ET.fromstring(to_svg(outline_of(whole.graph)))

    width, height = float(document.attrib["width"]), float(document.attrib["height"])
    boxes = [box.attrib for box in document.iter("{http://www.w3.org/2000/svg}rect") if "rx" in box.attrib]
    assert len(boxes) > 12
    for box in boxes:
        x, y = float(box["x"]), float(box["y"])
        assert x >= 0
        assert y >= 0
        assert x + float(box["width"]) <= width
        assert y + float(box["height"]) <= height


def test_names_that_look_like_markup_are_text() -> None:
    hostile = '</text><script>alert("1")</script>'
    box = Series((Box("step", hostile, '"]; click n1 call alert()'),))

    document = ET.fromstring(to_svg(box, hostile))

    assert not list(document.iter("{http://www.w3.org/2000/svg}script"))
    mermaid = to_mermaid(box).splitlines()[1]
    assert mermaid.count('"') == 2
    assert "<script" not in mermaid


def test_data_can_be_written_as_json() -> None:
    assert to_json(outline_of(inner.graph)) == {
        "kind": "series",
        "parts": [
            {"kind": "end", "name": "int", "detail": "input"},
            {"kind": "step", "name": "left", "detail": "int → int"},
            {"kind": "end", "name": "int", "detail": "output"},
        ],
    }


def test_of_a_program_nothing_is_known_but_that_it_is_one() -> None:
    @workflow(id="program")
    async def program(step: StepTools, number: int) -> int:
        return number

    _, code, _ = outline_of(program.graph).parts

    assert isinstance(code, Box)
    assert code.kind == "code"


def test_a_condition_of_a_step_is_told() -> None:
    guarded = create_workflow(id="g", input_schema=int, output_schema=int | None).then(left.only_if(is_large)).commit()

    assert Box("step", "left", "int → int | None, only if is_large") in outline_of(guarded.graph).parts
