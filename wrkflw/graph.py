"""The workflow as data: nodes in order, between an input and an output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal, Never, TypeAlias, assert_never

from .events import Event
from .shapes import shape_of
from .steps import Step

AnyStep: TypeAlias = Step[Never, object, Never]
AnyEvent: TypeAlias = Event[Any]


class Missing:
    """No default was given.  (``None`` is one.)"""


MISSING = Missing()


# --- one step, or none --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Then:
    """A step, or a workflow: ``.then``."""

    step: AnyStep

    @property
    def id(self) -> str:
        return self.step.id


@dataclass(frozen=True)
class Map:
    """A plain function of what flows in: ``.map``."""

    id: str
    function: Callable[[Any], object]


@dataclass(frozen=True)
class MapContextual:
    """A plain function of what flows in and a MapContext: ``.map_ctx``."""

    id: str
    function: Callable[[Any, Any], object]


@dataclass(frozen=True)
class Join:
    """A plain function whose parameters are the parts of the tuple that flows in: ``.join``."""

    id: str
    function: Callable[..., object]


@dataclass(frozen=True)
class Into:
    """What flows in, validated again as another type: ``.into``."""

    id: str
    schema: object


# --- several steps ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parallel:
    """Steps side by side, each with a copy of what flows in: ``.parallel`` and ``.parallel_all``.

    ``concurrency`` is how many may be unfinished at a time; None for all.
    """

    id: str
    steps: tuple[AnyStep, ...]
    gives: Literal["tuple", "list"]
    concurrency: int | None = None


@dataclass(frozen=True)
class Arm:
    """One alternative of a branch."""

    condition: Callable[[Any], object]
    step: AnyStep


@dataclass(frozen=True)
class Branch:
    """The first arm whose condition holds; ``otherwise`` is None where what flows in is passed on."""

    id: str
    arms: tuple[Arm, ...]
    otherwise: AnyStep | None


@dataclass(frozen=True)
class Match:
    """The first case whose type the value has; ``otherwise`` is None where the cases are all there is."""

    id: str
    cases: tuple[AnyStep, ...]
    otherwise: AnyStep | None


@dataclass(frozen=True)
class Foreach:
    """A step once for every item of the list that flows in."""

    step: AnyStep
    concurrency: int = 1

    @property
    def id(self) -> str:
        return self.step.id


@dataclass(frozen=True)
class Loop:
    """A step again and again, each time with what it gave before: ``.do_while``, or ``.do_until``."""

    step: AnyStep
    condition: Callable[[Any], object]
    until: bool
    max_iterations: int

    @property
    def id(self) -> str:
        return self.step.id


# --- waiting ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sleep:
    """What flows in, later."""

    id: str
    duration: timedelta


@dataclass(frozen=True)
class SleepUntil:
    """What flows in, at a time that is known, or that a plain function of it tells."""

    id: str
    when: datetime | Callable[[Any], object]


@dataclass(frozen=True)
class WaitForEvent:
    """The payload of an event; or what ``function`` makes of what flows in and the payload."""

    id: str
    event: AnyEvent
    timeout: timedelta | None
    default: object = MISSING
    """What flows on when the time is up; ``MISSING`` where the run fails then."""
    function: Callable[[Any, Any], object] | None = None


@dataclass(frozen=True)
class Code:
    """A workflow that is written as an async function: ``@workflow``."""

    id: str
    function: Callable[[Any, Any], Any]
    written: Callable[..., Any]
    """The function as its author wrote it."""


Node: TypeAlias = (
    Then
    | Map
    | MapContextual
    | Join
    | Into
    | Parallel
    | Branch
    | Match
    | Foreach
    | Loop
    | Sleep
    | SleepUntil
    | WaitForEvent
    | Code
)


def steps_of(node: Node) -> Iterator[AnyStep]:
    """The steps of a node, in order."""
    match node:
        case Then(step=step) | Foreach(step=step) | Loop(step=step):
            yield step
        case Parallel(steps=steps):
            yield from steps
        case Branch(arms=arms, otherwise=otherwise):
            yield from (arm.step for arm in arms)
            if otherwise is not None:
                yield otherwise
        case Match(cases=cases, otherwise=otherwise):
            yield from cases
            if otherwise is not None:
                yield otherwise
        case _:
            pass


@dataclass(frozen=True, eq=False)
class Graph:
    """A workflow's nodes, and the types at its ends.

    ``state_schema`` is a class that makes the first state, or ``None`` where the workflow has no state.
    """

    workflow_id: str
    input_schema: object
    output_schema: object
    state_schema: Callable[[], object] | None
    nodes: tuple[Node, ...]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over ids, kinds, order and the shapes of schemas.  Slow the first time.

        Another one means that a recorded run might no longer fit.
        """
        state = None if self.state_schema is None else shape_of(self.state_schema)
        ends = [shape_of(self.input_schema), shape_of(self.output_schema), state]
        told = json.dumps([self.workflow_id, ends, [_tell(node) for node in self.nodes]], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @cached_property
    def steps(self) -> dict[str, AnyStep]:
        """The steps by id, in order; not those inside a nested workflow."""
        return {step.id: step for node in self.nodes for step in steps_of(node)}


def graph_of(step: AnyStep) -> Graph | None:
    """The graph of a workflow that is used as a step; None of a step with a body."""
    inner: object = getattr(step, "graph", None)
    return inner if isinstance(inner, Graph) else None


def fingerprint(graph: Graph) -> str:
    """The fingerprint of a graph, made once."""
    return graph.fingerprint


def _tell(node: Node) -> list[object]:
    match node:
        case Then(step=step):
            return ["then", *_tell_step(step)]
        case Map(id=id):
            return ["map", id]
        case MapContextual(id=id):
            return ["map_ctx", id]
        case Join(id=id):
            return ["join", id]
        case Into(id=id, schema=schema):
            return ["into", id, shape_of(schema)]
        case Parallel(steps=steps, gives=gives):
            return ["parallel", gives, *(_tell_step(step) for step in steps)]
        case Branch() | Match():
            return [type(node).__name__.lower(), node.otherwise is None, *(_tell_step(step) for step in steps_of(node))]
        case Foreach(step=step):
            return ["foreach", *_tell_step(step)]
        case Loop(step=step, until=until):
            return ["do_until" if until else "do_while", *_tell_step(step)]
        case Sleep(id=id) | SleepUntil(id=id):
            return ["sleep", id]
        case WaitForEvent(id=id, event=event):
            return ["wait_for_event", id, event.name, shape_of(event.schema)]
        case Code(id=id):
            return ["code", id]
        case _:
            assert_never(node)


def _tell_step(step: AnyStep) -> list[object]:
    """A nested workflow tells of itself; a step of what it takes and gives."""
    inner = graph_of(step)
    guard = ["only_if"] if step.guards else []
    if inner is not None:
        return [step.id, inner.fingerprint, *guard]
    return [step.id, shape_of(step.input_schema), shape_of(step.stored_output_schema), *guard]
