"""What there is to draw of a workflow: boxes one below the other, side by side, and in frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, assert_never

from wrkflw import graph as g
from wrkflw.durations import format_duration
from wrkflw.graph import AnyStep, Graph, Node, graph_of
from wrkflw.names import describe

BoxKind: TypeAlias = Literal["end", "step", "map", "sleep", "event", "code"]
LanesKind: TypeAlias = Literal["parallel", "branch", "match"]
FrameKind: TypeAlias = Literal["workflow", "foreach", "loop"]


@dataclass(frozen=True)
class Box:
    """One thing that happens.  ``detail`` is a second line, which may be empty."""

    kind: BoxKind
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Lane:
    """One of several ways.  ``label`` says when it is taken; without a ``part`` what flows in is passed on."""

    label: str
    part: Part | None


@dataclass(frozen=True)
class Lanes:
    """Side by side: all of them (parallel), or one."""

    kind: LanesKind
    lanes: tuple[Lane, ...]


@dataclass(frozen=True)
class Frame:
    """A part that belongs together: a workflow in the workflow, or what is done again and again."""

    kind: FrameKind
    title: str
    part: Part


@dataclass(frozen=True)
class Series:
    """One after the other."""

    parts: tuple[Part, ...]


Part: TypeAlias = Box | Lanes | Frame | Series


def outline_of(graph: Graph) -> Series:
    """The workflow between what it takes and what it gives."""
    begin, end = Box("end", describe(graph.input_schema), "input"), Box("end", describe(graph.output_schema), "output")
    return Series((begin, *_inside(graph).parts, end))


def _inside(graph: Graph) -> Series:
    return Series(tuple(_part_of(node) for node in graph.nodes))


def _part_of(node: Node) -> Part:
    match node:
        case g.Then(step=step):
            return _step(step)
        case g.Map(id=id) | g.MapContextual(id=id) | g.Join(id=id):
            return Box("map", id)
        case g.Into(id=id, schema=schema):
            return Box("map", id, f"into {describe(schema)}")
        case g.Parallel(steps=steps):
            return Lanes("parallel", tuple(Lane("", _step(step)) for step in steps))
        case g.Branch(arms=arms, otherwise=otherwise):
            ways = [
                Lane(_name_of(arm.condition, f"case {number}"), _step(arm.step)) for number, arm in enumerate(arms, 1)
            ]
            return Lanes("branch", (*ways, Lane("otherwise", None if otherwise is None else _step(otherwise))))
        case g.Match(cases=cases, otherwise=otherwise):
            ways = [Lane(describe(case.input_schema), _step(case)) for case in cases]
            rest = () if otherwise is None else (Lane("otherwise", _step(otherwise)),)
            return Lanes("match", (*ways, *rest))
        case g.Foreach(step=step, concurrency=concurrency):
            at_once = f", {concurrency} at a time" if concurrency > 1 else ""
            return Frame("foreach", f"for each item{at_once}", _step(step))
        case g.Loop(step=step, condition=condition, until=until):
            word = "until" if until else "while"
            return Frame("loop", f"again {word} {_name_of(condition, 'a condition holds')}", _step(step))
        case g.Sleep(id=id, duration=duration):
            return Box("sleep", id, format_duration(duration))
        case g.SleepUntil(id=id, when=when):
            return Box("sleep", id, when.isoformat(" ", "minutes") if isinstance(when, datetime) else "until a time")
        case g.WaitForEvent(id=id, event=event, timeout=timeout):
            limit = "" if timeout is None else f", at most {format_duration(timeout)}"
            return Box("event", id, f"event {event.name}{limit}")
        case g.Code(id=id):
            return Box("code", id, "a function")
        case _:
            assert_never(node)


def _step(step: AnyStep) -> Part:
    inner = graph_of(step)
    conditions = " and ".join(dict.fromkeys(_name_of(guard, "a condition holds") for guard in step.guards))
    condition = f", only if {conditions}" if conditions else ""
    if inner is not None:
        return Frame("workflow", f"{step.id}{condition}", _inside(inner))
    return Box("step", step.id, f"{describe(step.input_schema)} → {describe(step.output_schema)}{condition}")


def _name_of(function: Callable[..., object], otherwise: str) -> str:
    name = getattr(function, "__name__", "<lambda>")
    return otherwise if name == "<lambda>" else name
