"""What ``commit()`` checks: each rule is a function over the graph that tells the problems it sees.

What flows from node to node is in ``flows``, what the functions between them must be in ``functions``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from numbers import Number
from typing import get_origin

from .errors import DefinitionError, DuplicateStepError, InvalidValueError
from .flows import Problems, is_known, what_flows_fits
from .forms import classes_of, fields_of, fits, is_protocol_form
from .functions import check_function, functions_of
from .graph import MISSING, AnyEvent, AnyStep, Foreach, Graph, Into, Loop, Node, Then, WaitForEvent, graph_of, steps_of
from .merging import Merge, merge_rules
from .names import describe
from .schemas import schema_of
from .steps import Step


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


# ------------------------------------------------------------------ nodes
def _has_a_node(graph: Graph) -> Problems:
    if not graph.nodes:
        yield DefinitionError(f"workflow {graph.workflow_id!r} is empty; add a step with .then() before .commit()")


def _ids_are_unique(graph: Graph) -> Problems:
    """Of steps, of members and arms too, and of the nodes between them; those inside a nested workflow are its own."""
    holders: dict[str, list[AnyStep | Node]] = {}
    for node in graph.nodes:
        if not isinstance(node, Then | Foreach | Loop):  # these are known by their step
            holders.setdefault(node.id, []).append(node)
        for step in steps_of(node):
            holders.setdefault(step.id, []).append(step)
    for id, sharing in holders.items():
        if len(sharing) > 1:
            yield _duplicate(graph.workflow_id, id, sharing)


def _duplicate(workflow_id: str, id: str, sharing: list[AnyStep | Node]) -> DuplicateStepError:
    steps = [holder for holder in sharing if isinstance(holder, Step)]
    if steps and sharing[-1] is steps[-1]:
        return DuplicateStepError(workflow_id, id, f"use {_variable(steps[-1])}.with_id('...') for the second")
    if steps:  # a node that numbers itself met the id of a step
        return DuplicateStepError(workflow_id, id, f"use {_variable(steps[-1])}.with_id('...') for it", kind="step")
    return DuplicateStepError(workflow_id, id, "pass id='...' to the second", kind="node")


def _types_are_known(graph: Graph) -> Problems:
    """Forward references are looked up here at the latest."""
    for step in graph.steps.values():
        try:
            _ = step.input_schema
        except DefinitionError as problem:
            yield problem


def _functions_are_plain(graph: Graph) -> Problems:
    for function in functions_of(graph):
        yield from check_function(function)


def _events_have_one_schema(graph: Graph) -> Problems:
    """In nested workflows too: they take their events from the queues of the run."""
    first: dict[str, object] = {}
    for event in _events(graph):
        known = first.setdefault(event.name, event.schema)
        if known != event.schema:
            what = f"is used with {describe(known)} and with {describe(event.schema)}"
            yield DefinitionError(f"event {event.name!r} {what}; give one of them another name")


# ------------------------------------------------------------------ state
def _state_fits(graph: Graph) -> Problems:
    has = graph.state_schema
    for step in _steps_with_a_body(graph):
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


def _state_can_be_made(graph: Graph) -> Problems:
    if graph.state_schema is None:
        return
    if not isinstance(get_origin(graph.state_schema) or graph.state_schema, type):
        what = f"state {describe(graph.state_schema)} of workflow {graph.workflow_id!r} is no class"
        yield DefinitionError(f"{what}; pass a class, and what its fields begin with as their defaults")
        return
    try:
        graph.state_schema()
    except Exception as error:  # noqa: BLE001 -- whatever a class of the user's may raise
        yield DefinitionError(
            f"state {describe(graph.state_schema)} of workflow {graph.workflow_id!r} cannot be made without arguments "
            f"({type(error).__name__}); give every field a default"
        )


def _state_can_be_merged(graph: Graph) -> Problems:
    fields = fields_of(graph.state_schema) or {}
    for name, rule in merge_rules(graph.state_schema).items():
        if rule is Merge.SUM and name in fields and not _is_number(fields[name].form):
            what = f"is {describe(fields[name].form)}, which cannot be added up"
            cure = "use Merge.LAST, or make it a number"
            yield DefinitionError(f"state field {name!r} of workflow {graph.workflow_id!r} {what}; {cure}")


def _is_number(form: object) -> bool:
    classes = classes_of(form) or ()
    # A bool is a number to Python, but the sum of two is none.
    return bool(classes) and bool not in classes and all(issubclass(cls, _NUMBERS) for cls in classes)


_NUMBERS = (Number, timedelta)


# ------------------------------------------------------------------ schemas
def _schemas_can_be_built(graph: Graph) -> Problems:
    workflow = f"workflow {graph.workflow_id!r}"
    if is_protocol_form(graph.input_schema):
        what = f"{workflow} takes {describe(graph.input_schema)}, a Protocol"
        yield DefinitionError(f"{what}, which cannot be loaded; take a model")
    else:
        yield from _build("input", workflow, graph.input_schema)
    if not is_protocol_form(graph.output_schema):  # else the last step says how it is stored
        yield from _build("output", workflow, graph.output_schema)
    for node in graph.nodes:
        if isinstance(node, Into):
            yield from _build("type", f"{node.id!r}", node.schema)
        elif isinstance(node, WaitForEvent):
            yield from _schemas_of_event(node)
    for step in graph.steps.values():
        yield from _schemas_of_step(step)
    for step in _steps_with_a_body(graph):
        if step.body.context == "suspend":
            yield from _build("answer", f"step {step.id!r}", step.body.resume)
            yield from _build("suspend payload", f"step {step.id!r}", step.body.suspend)
    if graph.state_schema is not None:
        yield from _build("state", workflow, graph.state_schema)


def _schemas_of_step(step: AnyStep) -> Problems:
    if not is_known(step):
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


def _schemas_of_event(node: WaitForEvent) -> Problems:
    event = node.event
    misfits = list(_build("payload", f"event {event.name!r}", event.schema))
    yield from misfits
    if misfits or node.default is MISSING:
        return
    try:
        schema_of(event.schema).validate(node.default, f"default of event {event.name!r}")
    except InvalidValueError as error:
        yield DefinitionError(str(error))


def _build(what: str, of: str, form: object) -> Problems:
    try:
        schema_of(form)
    except DefinitionError as error:
        problem = DefinitionError(f"{what} of {of}: {error}")
        problem.__cause__ = error.__cause__
        yield problem


_RULES: tuple[Callable[[Graph], Problems], ...] = (
    _has_a_node,
    _ids_are_unique,
    _types_are_known,
    _functions_are_plain,
    what_flows_fits,
    _events_have_one_schema,
    _state_fits,
    _state_can_be_made,
    _state_can_be_merged,
    _schemas_can_be_built,
)


# ------------------------------------------------------------------ helpers of the rules
def _steps_with_a_body(graph: Graph) -> Iterator[AnyStep]:
    """The steps whose types are known; of the others other rules tell.  A nested workflow has its own state."""
    return (step for step in graph.steps.values() if step.kind == "step" and is_known(step))


def _events(graph: Graph) -> Iterator[AnyEvent]:
    for node in graph.nodes:
        if isinstance(node, WaitForEvent):
            yield node.event
        for step in steps_of(node):
            inner = graph_of(step)
            if inner is not None:
                yield from _events(inner)


def _variable(step: AnyStep) -> str:
    """The name a step is likely held by."""
    name = getattr(step.body.function, "__name__", "") if is_known(step) and step.kind == "step" else ""
    return name if name.isidentifier() else step.id.replace("-", "_")
