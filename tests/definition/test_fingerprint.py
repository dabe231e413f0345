"""The fingerprint of a graph: what changes it, and what does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field, create_model

from wrkflw.builder import Workflow, create_workflow
from wrkflw.decorators import step
from wrkflw.events import Event
from wrkflw.graph import fingerprint
from wrkflw.shapes import shape_of


class Number(BaseModel):
    n: int


class Tally(BaseModel):
    n: int = 0


class Node(BaseModel):
    children: list[Node] = []


@step
def add_one(number: Number) -> Number:
    return Number(n=number.n + 1)


@step
def double(number: Number) -> Number:
    return Number(n=number.n * 2)


def workflow(*steps: Any, form: Any = Number, id: str = "sums") -> Workflow[Any, Any]:
    builder: Any = create_workflow(id=id, input_schema=form, output_schema=form)
    for each in steps:
        builder = builder.then(each)
    committed: Workflow[Any, Any] = builder.commit()
    return committed


def of(*steps: Any, **options: Any) -> str:
    return fingerprint(workflow(*steps, **options).graph)


def test_a_fingerprint_is_16_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{16}", of(add_one))


def test_the_same_definition_has_the_same_fingerprint() -> None:
    assert of(add_one, double) == of(add_one, double)


def test_ids_and_order_change_it() -> None:
    orders = {of(add_one, double), of(double, add_one), of(add_one)}
    names = {of(add_one.with_id("x"), double), of(add_one, double, id="x"), of(add_one, double)}

    assert len(orders) == 3
    assert len(names) == 3


def test_the_kind_of_a_node_changes_it() -> None:
    begun = create_workflow(id="sums", input_schema=Number, output_schema=Number).then(add_one)
    mapped = begun.map(lambda number: number, id="x").commit()
    contextual = begun.map_ctx(lambda number, _: number, id="x").commit()

    assert mapped.graph.fingerprint != contextual.graph.fingerprint


def test_the_state_changes_it() -> None:
    plain = create_workflow(id="sums", input_schema=Number, output_schema=Number)
    stateful = create_workflow(id="sums", input_schema=Number, output_schema=Number, state_schema=Tally)

    assert plain.then(add_one).commit().graph.fingerprint != stateful.then(add_one).commit().graph.fingerprint


def test_a_field_changes_the_shape() -> None:
    assert shape_of(create_model("A", n=(int, ...))) != shape_of(create_model("A", n=(str, ...)))
    assert shape_of(create_model("A", n=(int, ...))) != shape_of(create_model("A", m=(int, ...)))
    assert shape_of(create_model("A", n=(int, ...))) != shape_of(create_model("A", n=(int, 3)))


def test_names_of_classes_and_modules_are_no_part_of_the_shape() -> None:
    inner: Any = create_model("Inner", __module__="flows", n=(int, ...))
    other: Any = create_model("Renamed", __module__="__main__", n=(int, ...))

    assert shape_of(inner) == shape_of(other)
    assert shape_of(list[inner]) == shape_of(list[other])
    assert shape_of(create_model("A", a=(inner, ...))) == shape_of(create_model("B", a=(other, ...)))


def test_words_for_people_are_no_part_of_the_shape() -> None:
    class Plain(BaseModel):
        title: int

    class Told(BaseModel):
        """A model with much to say."""

        title: int = Field(title="Title", description="Whatever", examples=[1])

    assert shape_of(Plain) == shape_of(Told)


def test_a_field_called_title_is_part_of_the_shape() -> None:
    assert shape_of(create_model("A", title=(int, ...))) != shape_of(create_model("A", title=(str, ...)))


def test_the_order_of_fields_is_no_part_of_the_shape() -> None:
    here = create_model("A", a=(int, ...), b=(str, ...))
    there = create_model("A", b=(str, ...), a=(int, ...))

    assert shape_of(here) == shape_of(there)


def test_a_model_may_hold_itself() -> None:
    class Tree(BaseModel):
        children: list[Tree] = []

    assert shape_of(Node) == shape_of(Tree)


# ------------------------------------------------------------------ constructs
def begun() -> Any:
    return create_workflow(id="sums", input_schema=Number, output_schema=object)


def known(number: Number) -> bool:
    return number.n > 0


def told(builder: Any) -> str:
    return fingerprint(builder.commit().graph)


inner = workflow(add_one, id="inner")
answered = Event("answered", Number)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_every_construct_tells_of_itself() -> None:
    builders = [
        begun().then(add_one),
        begun().then(add_one.only_if(known)),
        begun().parallel(add_one, double),
        begun().parallel(double, add_one),
        begun().parallel_all([add_one, double]),
        begun().branch().when(known, add_one).otherwise(double),
        begun().branch().when(known, double).otherwise(add_one),
        begun().branch().when(known, add_one).when(known, double).otherwise_pass(),
        begun().match().case(add_one).otherwise(double),
        begun().map(lambda number: [number], id="x").foreach(add_one),
        begun().map(lambda number: [number], id="x").then(add_one.with_id("y")),
        begun().do_while(add_one, known),
        begun().do_until(add_one, known),
        begun().sleep("1h"),
        begun().wait_for_event(answered),
        begun().wait_for_event(Event("other", Number)),
        begun().wait_for_event(Event("answered", int)),
        begun().then(inner),
        begun().then(inner.only_if(known)),
        begun().then(workflow(double, id="inner")),
    ]

    assert len({told(builder) for builder in builders}) == len(builders)


def test_what_does_not_change_the_record_does_not_change_it() -> None:
    def unlike(number: Number) -> bool:
        return number.n > 100

    same: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
        (lambda: begun().sleep("1h"), lambda: begun().sleep_until(NOON)),
        (lambda: begun().do_while(add_one, known), lambda: begun().do_while(add_one, unlike, max_iterations=5)),
        (lambda: begun().then(add_one.only_if(known)), lambda: begun().then(add_one.only_if(unlike))),
        (
            lambda: begun().parallel_all([add_one, double]),
            lambda: begun().parallel_all([add_one, double], concurrency=1),
        ),
        (lambda: begun().wait_for_event(answered), lambda: begun().wait_for_event(answered, timeout="1h")),
        (lambda: begun().then(inner), lambda: begun().then(workflow(add_one, id="inner"))),
    ]

    for one, other in same:
        assert told(one()) == told(other())


def test_what_stands_in_a_nested_workflow_changes_it() -> None:
    deep = workflow(workflow(double, id="inner"), id="middle")
    shallow = workflow(inner, id="middle")

    assert told(begun().then(deep)) != told(begun().then(shallow))
