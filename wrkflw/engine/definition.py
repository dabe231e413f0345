"""A workflow as the engine sees it: its graph with positions looked up, its schemas built, its policies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_origin, get_type_hints

from typing_extensions import is_typeddict

from wrkflw.errors import DefinitionChangedError, DefinitionError, InvalidValueError
from wrkflw.forms import is_protocol_form
from wrkflw.graph import AnyStep, Graph, Into, Then
from wrkflw.names import describe
from wrkflw.schemas import Schema, schema_of
from wrkflw.steps import Body

if TYPE_CHECKING:
    from wrkflw.retries import Retry

    from .journal import Journal
    from .values import Flow

__all__ = ["AnyStep", "Definition", "WorkflowLike"]


class WorkflowLike(Protocol):
    """The part of a Workflow that the engine reads."""

    @property
    def id(self) -> str: ...
    @property
    def graph(self) -> Graph: ...
    @property
    def retry(self) -> Retry | None: ...
    @property
    def timeout(self) -> timedelta | None: ...
    @property
    def on_mismatch(self) -> Literal["pause", "fail"]: ...
    @property
    def on_completed(self) -> Callable[[Any], object] | None: ...
    @property
    def on_failed(self) -> Callable[[Any], object] | None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """A step as it is executed: what would otherwise be looked up for every call."""

    step: AnyStep
    body: Body
    position: int
    input_form: object
    """What the body takes."""
    input_class: type[object] | None
    """The same, where it is a class whose instances are known by it."""
    input: Schema | None
    """What its input is stored by; None when it takes nothing."""
    output: Schema


class Definition:
    """Built once per workflow and runtime; holds nothing of any run."""

    def __init__(self, workflow: WorkflowLike) -> None:
        self.workflow = workflow
        self.id = workflow.id
        self.graph = workflow.graph
        self.steps = workflow.graph.steps
        self.retry = workflow.retry
        self.timeout = workflow.timeout
        self.positions = {
            node.step.id: position for position, node in enumerate(self.graph.nodes) if isinstance(node, Then)
        }
        self.input_schema = schema_of(self.graph.input_schema)
        self._plans: dict[str, Plan] = {}

    @cached_property
    def fingerprint(self) -> str:
        return self.graph.fingerprint

    @cached_property
    def state_schema(self) -> Schema | None:
        return None if self.graph.state_schema is None else schema_of(self.graph.state_schema)

    @cached_property
    def stored_output_schema(self) -> object:
        """The form by which the run's output is stored: that of its last node."""
        form = self._produced(len(self.graph.nodes))
        return self.graph.output_schema if form is None else form

    def before(self, point: str | int) -> Before:
        """The steps whose results may be read at a step, or at the node at a position."""
        return Before(self.positions, self.positions[point] if isinstance(point, str) else point)

    def frontier(self, journal: Journal) -> int | None:
        """The position of the last node that has begun."""
        begun = [self.positions[record.name] for record in journal.records.values() if record.name in self.positions]
        return max(begun, default=None)

    def check_fits(self, journal: Journal) -> None:
        """Raises DefinitionChangedError when the record holds what this workflow has not, or not in this order."""
        last = -1
        for record in journal.records.values():
            position = self.positions.get(record.name)
            if position is None or position < last:
                raise DefinitionChangedError(journal.run_id, record.key, self.id)
            last = position

    def fits(self, journal: Journal) -> bool:
        """Whether the run can go on with this workflow: it has all that was recorded, and can read it."""
        try:
            self.check_fits(journal)
            if journal.input is not None:
                self.input_schema.load(journal.input, "the input")
            for record in journal.records.values():
                plan = self.plan(self.steps[record.name])
                if record.input is not None and plan.input is not None:
                    plan.input.load(record.input, "an input")
                if record.output is not None:
                    plan.output.load(record.output, "an output")
        except (DefinitionChangedError, InvalidValueError):
            return False
        return True

    def plan(self, step: AnyStep) -> Plan:
        """How to execute a step of this workflow.

        Raises DefinitionError when neither it nor what stands before it says how to load its input.
        """
        plan = self._plans.get(step.id)
        if plan is None:
            position, body, form = self.positions[step.id], step.body, step.input_schema
            stored = self._stored_input(step, position, form) if body.arity else None
            output = schema_of(step.stored_output_schema)
            plan = self._plans[step.id] = Plan(step, body, position, form, _class_of(form), stored, output)
        return plan

    def _stored_input(self, step: AnyStep, position: int, form: object) -> Schema:
        """The schema of what stands before the step, where it declares one; that of the step otherwise."""
        produced = self._produced(position)
        form = form if produced is None else produced
        if is_protocol_form(form):
            raise DefinitionError(
                f"step {step.id!r} takes {describe(form)}, a Protocol, which cannot be loaded; "
                "give the .map() before it a function with a return annotation"
            )
        return schema_of(form)

    def _produced(self, position: int) -> object | None:
        """The form that flows into the node at ``position``; None when a function before it does not say."""
        if position == 0:
            return self.graph.input_schema
        match self.graph.nodes[position - 1]:
            case Then(step=step):
                return step.stored_output_schema
            case Into(schema=schema):
                return schema
            case node:
                return declared_result(node.function)

    def passed(self, plan: Plan, flow: Flow) -> object:
        """A stored input as the body gets it: as it is, when it is an instance of what the body takes.

        Raises InvalidValueError.
        """
        form, value = plan.input_form, flow.value
        if plan.input is None or form is plan.input.form or form is object or form == plan.input.form:
            return value
        if is_protocol_form(form) or (plan.input_class is not None and isinstance(value, plan.input_class)):
            return value
        return schema_of(form).validate(
            value, f"input of step {plan.step.id!r}", f"put a .map() or .into({describe(form)}) before it"
        )


class Before:
    """The ids of the steps that stand before a position."""

    def __init__(self, positions: dict[str, int], limit: int) -> None:
        self._positions = positions
        self._limit = limit

    def __contains__(self, step_id: object) -> bool:
        position = self._positions.get(step_id) if isinstance(step_id, str) else None
        return position is not None and position < self._limit


def _class_of(form: object) -> type[object] | None:
    if get_origin(form) is not None or is_typeddict(form) or not isinstance(form, type):
        return None
    return cast("type[object]", form)


def declared_result(function: Callable[..., object]) -> object | None:
    """What a function between steps is annotated to give; None for a lambda."""
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None
