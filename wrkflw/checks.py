"""What ``commit()`` checks: each rule is a function over the graph that tells the problems it sees.

Where a type is not known (after the lambda of a map) a rule says nothing, and the check moves to run time.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, assert_never, get_type_hints

from .errors import DefinitionError, DuplicateStepError
from .forms import fields_of, fits, is_protocol_form
from .graph import AnyStep, Graph, Into, Map, MapContextual, Node, Then
from .names import describe
from .schemas import schema_of

_UNKNOWN = Any  # the type of what flows on, where no annotation tells it


def check(graph: Graph) -> None:
    """Raise the first problem of a graph, with the others as its notes.

    Raises:
        DefinitionError: there is one.
    """
    problems = [problem for rule in _RULES for problem in rule(graph)]
    if not problems:
        return
    first, *others = problems
    for other in others:
        first.add_note(str(other))
    raise first


# ------------------------------------------------------------------ rules
def _has_a_node(graph: Graph) -> Iterator[DefinitionError]:
    if not graph.nodes:
        yield DefinitionError(f"workflow {graph.workflow_id!r} is empty; add a step with .then() before .commit()")


def _ids_are_unique(graph: Graph) -> Iterator[DefinitionError]:
    counts = Counter(node.id for node in graph.nodes)
    for node_id in (node_id for node_id, count in counts.items() if count > 1):
        *_, last = (node for node in graph.nodes if node.id == node_id)
        if isinstance(last, Then):
            cure = f"use {_variable(last.step)}.with_id('...') for the second"
            yield DuplicateStepError(graph.workflow_id, node_id, cure)
        else:
            cure = "pass id='...' to the second"
            yield DuplicateStepError(graph.workflow_id, node_id, cure, kind="node")


def _steps_are_supported(graph: Graph) -> Iterator[DefinitionError]:
    for step in graph.steps.values():
        if step.kind == "workflow":
            yield DefinitionError(
                f"{step.id!r} is a workflow; nested workflows are not supported in this version, "
                "call its steps directly"
            )
        elif _is_known(step) and step.body.context == "suspend":
            yield DefinitionError(
                f"step {step.id!r} may suspend; suspending steps are not supported in this version, "
                "take a StepContext instead"
            )


def _types_are_known(graph: Graph) -> Iterator[DefinitionError]:
    """Forward references are looked up here at the latest."""
    for step in graph.steps.values():
        try:
            _ = step.input_schema
        except DefinitionError as problem:
            yield problem


def _maps_are_plain(graph: Graph) -> Iterator[DefinitionError]:
    for node in graph.nodes:
        if not isinstance(node, Map | MapContextual):
            continue
        if inspect.iscoroutinefunction(node.function):
            yield DefinitionError(f"map {node.id!r} is async; maps are plain functions, do the work in a step before")
        elif inspect.isgeneratorfunction(node.function) or inspect.isasyncgenfunction(node.function):
            yield DefinitionError(f"map {node.id!r} is a generator; a map gives one value, return a list")
        elif not _can_be_called(node.function, 1 if isinstance(node, Map) else 2):
            yield DefinitionError(f"map {node.id!r} {_misfit_of_parameters(node)}")


def _what_flows_fits(graph: Graph) -> Iterator[DefinitionError]:
    """Each node takes what the one before it gives, and the last gives what the workflow promises."""
    flows, before = graph.input_schema, None
    for node in graph.nodes:
        takes = _taken_by(node)
        if fits(flows, takes) is False:
            source = f"is first in workflow {graph.workflow_id!r}" if before is None else f"follows {before.id!r}"
            yield DefinitionError(_misfit_of_flow(node, takes, source, flows, first=before is None))
        if isinstance(node, Into):
            yield from _missing_fields(node, before, flows)
        flows, before = _given_by(node), node
    if graph.nodes and fits(flows, graph.output_schema) is False:
        last = graph.nodes[-1]
        kind = "step" if isinstance(last, Then) else "node"
        yield DefinitionError(
            f"workflow {graph.workflow_id!r} promises {describe(graph.output_schema)} "
            f"but its last {kind} {last.id!r} gives {describe(flows)}"
        )


def _state_fits(graph: Graph) -> Iterator[DefinitionError]:
    has = graph.state_schema
    for step in _steps(graph):
        needs = step.body.state
        if has is None:
            if fits(None, needs) is False:
                yield DefinitionError(
                    f"step {step.id!r} needs state {describe(needs)} but workflow {graph.workflow_id!r} has none; "
                    f"pass state_schema={describe(needs)}"
                )
        elif fits(has, needs) is False:
            yield DefinitionError(
                f"step {step.id!r} needs state {describe(needs)} but workflow {graph.workflow_id!r} "
                f"has {describe(has)}; make them agree"
            )


def _state_can_be_made(graph: Graph) -> Iterator[DefinitionError]:
    if graph.state_schema is None:
        return
    try:
        graph.state_schema()
    except Exception as error:  # noqa: BLE001 -- whatever a class of the user's may raise
        yield DefinitionError(
            f"state {describe(graph.state_schema)} of workflow {graph.workflow_id!r} cannot be made without arguments "
            f"({type(error).__name__}); give every field a default"
        )


def _schemas_can_be_built(graph: Graph) -> Iterator[DefinitionError]:
    if is_protocol_form(graph.input_schema):
        yield DefinitionError(
            f"workflow {graph.workflow_id!r} takes {describe(graph.input_schema)}, a Protocol, "
            "which cannot be loaded; take a model"
        )
    else:
        yield from _build("input", f"workflow {graph.workflow_id!r}", graph.input_schema)
    for node in graph.nodes:
        if isinstance(node, Into):
            yield from _build("type", f"{node.id!r}", node.schema)
        elif isinstance(node, Then):
            yield from _schemas_of_step(node.step)
    if graph.state_schema is not None:
        yield from _build("state", f"workflow {graph.workflow_id!r}", graph.state_schema)


_RULES: tuple[Callable[[Graph], Iterator[DefinitionError]], ...] = (
    _has_a_node,
    _ids_are_unique,
    _types_are_known,
    _steps_are_supported,
    _maps_are_plain,
    _what_flows_fits,
    _state_fits,
    _state_can_be_made,
    _schemas_can_be_built,
)


# ------------------------------------------------------------------ what a node takes and gives
def _taken_by(node: Node) -> object:
    match node:
        case Then(step=step):
            return step.input_schema if _is_known(step) else _UNKNOWN
        case Map(function=function) | MapContextual(function=function):
            return _annotations(function)[0]
        case Into():
            return _UNKNOWN  # any value, as long as its fields fit
        case _:
            assert_never(node)


def _given_by(node: Node) -> object:
    match node:
        case Then(step=step):
            return step.output_schema if _is_known(step) else _UNKNOWN
        case Map(function=function) | MapContextual(function=function):
            return _annotations(function)[1]
        case Into(schema=schema):
            return schema
        case _:
            assert_never(node)


def _annotations(function: Callable[..., object]) -> tuple[object, object]:
    """What a map takes and gives, by its annotations; unknown where it has none, or they cannot be looked up."""
    try:
        hints = get_type_hints(function, include_extras=True)
        first = next(iter(inspect.signature(function).parameters), "")
    except (NameError, TypeError, ValueError):
        return _UNKNOWN, _UNKNOWN
    return hints.get(first, _UNKNOWN), hints.get("return", _UNKNOWN)


def _steps(graph: Graph) -> Iterator[AnyStep]:
    """The steps that have a body whose types are known; of the others other rules tell."""
    return (step for step in graph.steps.values() if step.kind == "step" and _is_known(step))


def _is_known(step: AnyStep) -> bool:
    try:
        _ = step.input_schema
    except DefinitionError:
        return False
    return True


# ------------------------------------------------------------------ helpers of the rules
def _misfit_of_flow(node: Node, takes: object, source: str, flows: object, *, first: bool) -> str:
    kind = "step" if isinstance(node, Then) else "map"
    gives, place = ("takes", "before it") if first else ("gives", "between them")
    return (
        f"{kind} {node.id!r} takes {describe(takes)} but {source}, which {gives} {describe(flows)}; "
        f"put a .map() {place}"
    )


def _missing_fields(node: Into, before: Node | None, flows: object) -> Iterator[DefinitionError]:
    given, asked = fields_of(flows), fields_of(node.schema)
    if given is None or asked is None:
        return
    place = "at the start" if before is None else f"after {before.id!r}"
    for name, field in asked.items():
        if field.required and name not in given:
            yield DefinitionError(
                f"into({describe(node.schema)}) {place}: {describe(flows)} has no field {name!r}; use .map()"
            )


def _can_be_called(function: Callable[..., object], values: int) -> bool:
    try:
        inspect.signature(function).bind(*range(values))
    except TypeError:
        return False
    except ValueError:  # some functions written in C do not tell
        return True
    return True


def _misfit_of_parameters(node: Map | MapContextual) -> str:
    count = len(inspect.signature(node.function).parameters)
    takes = f"takes {count} parameter{'' if count == 1 else 's'}"
    if isinstance(node, Map):
        cure = "use .map_ctx() for a context" if count == 2 else "take one parameter"
        return f"{takes} but gets one value; {cure}"
    cure = "use .map() without a context" if count == 1 else "take two parameters"
    return f"{takes} but gets a value and a context; {cure}"


def _schemas_of_step(step: AnyStep) -> Iterator[DefinitionError]:
    if not _is_known(step):
        return
    if not is_protocol_form(step.input_schema):  # values are handed on as they are
        yield from _build("input", f"step {step.id!r}", step.input_schema)
    if is_protocol_form(step.stored_output_schema):
        yield DefinitionError(
            f"step {step.id!r} gives {describe(step.stored_output_schema)}, a Protocol, "
            "which cannot be loaded; give a model"
        )
    else:
        yield from _build("output", f"step {step.id!r}", step.stored_output_schema)


def _build(what: str, of: str, form: object) -> Iterator[DefinitionError]:
    try:
        schema_of(form)
    except DefinitionError as error:
        yield DefinitionError(f"{what} of {of}: {error}")


def _variable(step: AnyStep) -> str:
    """The name a step is likely held by."""
    name = getattr(step.body.function, "__name__", "") if _is_known(step) and step.kind == "step" else ""
    return name if name.isidentifier() else step.id.replace("-", "_")
