"""The first event of a run: its input and first state, checked and as they will be read back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from .engine.values import Settled, check_depth, stored
from .errors import InvalidValueError
from .schemas import plain
from .world.attributes import fault_in
from .world.events import RunCreated
from .world.retention import RETENTION, stamp

if TYPE_CHECKING:
    from .engine.definition import Definition
    from .runtime import Runtime

_UNNAMED = RunCreated.model_fields["deployment_id"].default


def creation_of(
    runtime: Runtime,
    definition: Definition,
    run_id: str,
    input_data: object,
    initial_state: object,
    *,
    attributes: Mapping[str, str],
    idempotency_key: str | None,
    due: datetime | None = None,
) -> tuple[RunCreated, Settled]:
    """What creates the run, which begins at once unless it is ``due`` later, and its input as it will be read back.

    Raises InvalidValueError, LimitError.
    """
    schema, what = definition.input_schema, f"input of run {run_id!r}"
    flow = stored(schema, schema.validate(input_data, what), what, runtime.limits.value_bytes)
    context = _first_state(runtime, definition, run_id, initial_state)
    if definition.has_code:
        context["at"] = runtime.clock.now().isoformat()  # when its code begins, by its own clock
    if due is not None and definition.timeout is not None:
        context["due"] = due.isoformat()  # its time limit counts from then
    if runtime.observer is not None and (trace := runtime.observer.creating(run_id, definition.id)):
        context["trace"] = dict(trace)
    created = RunCreated(
        workflow_name=definition.id,
        **_deployment_of(runtime),
        input=flow.data,
        execution_context=context or None,
        attributes=_with_retention(definition, attributes) or None,
        allow_reserved_attributes=definition.workflow.retention is not None,
        definition_hash=definition.fingerprint,
        idempotency_key=idempotency_key,
    )
    return created, flow


def check_attributes(attributes: object) -> None:  # of anything: not all callers are typed
    """Raises InvalidValueError naming the first that no run can be labelled with."""
    if not isinstance(attributes, Mapping):
        problem = f"takes a mapping, got {attributes!r}"
        raise InvalidValueError.because("attributes=", problem, cure="write attributes={'name': 'text'}")
    for name, value in cast("Mapping[object, object]", attributes).items():
        if not isinstance(name, str):
            raise InvalidValueError.because(f"attribute {name!r}", "has a name that is no str", cure="give it a str")
        if not isinstance(value, str):
            raise InvalidValueError.because(f"attribute {name!r}", f"is {value!r}, which is no str", cure="pass a str")
    if (fault := fault_in(cast("Mapping[str, str]", attributes), reserved=False)) is not None:
        raise InvalidValueError.because(fault.what, fault.problem, cure=fault.cure)


def _with_retention(definition: Definition, attributes: Mapping[str, str]) -> dict[str, str]:
    retention = definition.workflow.retention
    return dict(attributes) if retention is None else {**attributes, RETENTION: stamp(retention)}


def _deployment_of(runtime: Runtime) -> dict[str, Any]:
    """The deployment, where it has a name: what need not be said is not written into every run."""
    name = runtime.world.get_deployment_id()
    return {} if name == _UNNAMED else {"deployment_id": name}


def _first_state(runtime: Runtime, definition: Definition, run_id: str, initial_state: object) -> dict[str, Any]:
    schema, make, what = definition.state_schema, definition.graph.state_schema, f"initial state of run {run_id!r}"
    if schema is None or make is None:
        if initial_state is not None:
            problem = f"was given, but workflow {definition.id!r} has none"
            raise InvalidValueError.because(what, problem, cure="declare state_schema=")
        return {}
    state = make() if initial_state is None else schema.validate(initial_state, what)
    flow = stored(schema, state, what, runtime.limits.value_bytes)
    data = flow.data or b"null"
    check_depth(schema, data, what)
    return {"state": plain(data)}
