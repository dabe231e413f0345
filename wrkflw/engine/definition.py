"""A workflow as the engine sees it: its graph with positions looked up, its schemas built, its policies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast, get_args, get_origin
from weakref import WeakKeyDictionary

from typing_extensions import is_typeddict

from wrkflw.bodies import Body
from wrkflw.errors import DefinitionError
from wrkflw.flows import given_by
from wrkflw.forms import is_protocol_form, union_of
from wrkflw.graph import AnyStep, Code, Foreach, Graph, Loop, Node, Sleep, SleepUntil, WaitForEvent, steps_of
from wrkflw.names import describe
from wrkflw.schemas import Schema, schema_of
from wrkflw.signatures import leaves_open

from .keys import path_of

if TYPE_CHECKING:
    from wrkflw.retries import Retry

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
    def retention(self) -> timedelta | None: ...
    @property
    def on_mismatch(self) -> Literal["pause", "fail"]: ...
    @property
    def on_completed(self) -> Callable[[Any], object] | None: ...
    @property
    def on_failed(self) -> Callable[[Any], object] | None: ...


class Plan(NamedTuple):
    """A step as it is executed: what would otherwise be looked up for every call."""

    step: AnyStep
    body: Body | None
    """None for a nested workflow."""
    position: int
    input_form: object
    """What the body takes."""
    input_class: type[object] | None
    """The same, where it is a class whose instances are known by it."""
    input: Schema | None
    """What its input is stored by; None when it takes nothing."""
    output: Schema


class Definition:
    """Built once per workflow and runtime; holds nothing of any run.

    ``takes`` is what flows into a workflow that stands as a step in another: it may be more precise than what it asks.
    """

    def __init__(self, workflow: WorkflowLike, takes: object | None = None) -> None:
        self.workflow = workflow
        self.id = workflow.id
        self.graph = workflow.graph
        self.nodes = workflow.graph.nodes
        self.steps = workflow.graph.steps
        self.retry = workflow.retry
        self.timeout = workflow.timeout
        self.is_code = len(self.nodes) == 1 and isinstance(self.nodes[0], Code)
        self.positions = dict(_recorded_ids(self.nodes))
        self.input_schema = schema_of(self.graph.input_schema)
        self._plans: dict[tuple[str, bool], Plan] = {}
        self._inputs: dict[int, Schema] = {}
        """By which what flows into the nodes is stored: a thousand members of one parallel ask for the same."""
        self._nested: dict[str, Definition] = {}
        self._forms = [self.graph.input_schema if takes is None else takes]
        """What flows into each node, and out of the last, as far as somebody asked."""

    @cached_property
    def fingerprint(self) -> str:
        return self.graph.fingerprint

    @cached_property
    def state_schema(self) -> Schema | None:
        return None if self.graph.state_schema is None else schema_of(self.graph.state_schema)

    @cached_property
    def output_schema(self) -> Schema:
        """By which the output is stored: that of the last node."""
        form = self.produced(len(self.nodes))
        return schema_of(self.graph.output_schema if form is None else form)

    @cached_property
    def bail_schema(self) -> Schema:
        """By which the output of a step that ends the workflow early is stored: what the workflow promises."""
        form = self.graph.output_schema
        return self.output_schema if is_protocol_form(form) else schema_of(form)

    @cached_property
    def given(self) -> object:
        """The form by which another workflow, in which it is a step, stores its output.

        Its last node says what that is; where a step ended it early, it is what the workflow promises.
        """
        form, promised = self.produced(len(self.nodes)), self.graph.output_schema
        if form is None or form == promised:
            return promised
        if is_protocol_form(promised):
            return form
        return union_of(form, object if promised is Any else promised)

    @cached_property
    def events(self) -> dict[str, Schema]:
        """The events it waits for, those of its nested workflows too."""
        names = {node.event.name: schema_of(node.event.schema) for node in self.nodes if isinstance(node, WaitForEvent)}
        for step in self.steps.values():
            if step.kind == "workflow":
                names |= self.nested(step).events
        return names

    @cached_property
    def has_code(self) -> bool:
        """Whether it, or a workflow nested in it, is written as a function: what that waits for shows when it runs."""
        return self.is_code or any(
            self.nested(step).has_code for step in self.steps.values() if step.kind == "workflow"
        )

    def nested(self, step: AnyStep) -> Definition:
        """The definition of a workflow that stands as a step in this one."""
        found, workflow = self._nested.get(step.id), cast("WorkflowLike", step)
        # A program may name two the same, and call one with options of its own.
        if found is None or not found.is_of(workflow):
            found = self._nested[step.id] = Definition(workflow, self._taken_by(step))
        return found

    def is_of(self, workflow: WorkflowLike) -> bool:
        """Whether it is that of this workflow, or of a copy with the same options."""
        same_options = (self.retry, self.timeout) == (workflow.retry, workflow.timeout)
        return self.graph is workflow.graph and same_options

    def stored_by(self, step: AnyStep) -> Schema:
        """The schema by which what a step of this workflow gives is stored."""
        return schema_of(self._given_by(step))

    def within(self, prefix: str) -> Definition | None:
        """The definition of the scope whose keys begin with ``prefix``; None where only a program knows it."""
        found: Definition = self
        for id in path_of(prefix) if prefix else ():
            step = found.steps.get(id)
            if step is None or step.kind != "workflow":
                return None
            found = found.nested(step)
        return found

    def plan(self, step: AnyStep, *, again: bool = False) -> Plan:
        """How to execute a step of this workflow; ``again``: its input is what an iteration before gave.

        Raises DefinitionError when neither it nor what stands before it says how to load its input.
        """
        plan = self._plans.get((step.id, again))
        if plan is None:
            position, form = self.positions[step.id], step.input_schema
            body = None if step.kind == "workflow" else step.body
            takes = body is None or body.arity
            stored = self._stored_input(step, position, form, again=again) if takes else None
            plan = Plan(step, body, position, form, _class_of(form), stored, self.stored_by(step))
            self._plans[step.id, again] = plan
        return plan

    def produced(self, position: int) -> object | None:
        """The form that flows into the node at ``position``; None when a function before it does not say."""
        while len(self._forms) <= position:
            node, flows = self.nodes[len(self._forms) - 1], self._forms[-1]
            code = isinstance(node, Code)
            self._forms.append(self.graph.output_schema if code else given_by(node, flows, self._given_by))
        form = self._forms[position]
        return None if _says_nothing(form) else form

    def _given_by(self, step: AnyStep) -> object:
        if step.kind != "workflow":
            return step.stored_output_schema
        form = self.nested(step).given
        return union_of(form, None) if step.guards else form

    def _taken_by(self, step: AnyStep) -> object | None:
        """What flows into a nested workflow; None where that is not known better than by what it asks for."""
        position = self.positions.get(step.id)
        if position is None:
            return None
        form, node = self.produced(position), self.nodes[position]
        if form is not None and isinstance(node, Foreach):
            return _item_of(form)
        if form is not None and isinstance(node, Loop):
            return union_of(form, _given_alone(cast("WorkflowLike", step)))  # its own output, too
        return form

    def passed(self, plan: Plan, flow: Flow) -> object:
        """A stored input as the body gets it: as it is, when it is an instance of what the body takes.

        Raises InvalidValueError.
        """
        form, value = plan.input_form, flow.value
        if plan.input is None or form is plan.input.form or form == plan.input.form:
            return value
        if form is object or form is Any or is_protocol_form(form):
            return value
        if plan.input_class is not None and isinstance(value, plan.input_class):
            return value
        return schema_of(form).validate(
            value, f"input of step {plan.step.id!r}", f"put a .map() or .into({describe(form)}) before it"
        )

    def _stored_input(self, step: AnyStep, position: int, form: object, *, again: bool) -> Schema:
        """The schema of what flows into the step, where that is declared; that of the step otherwise."""
        if not again and (known := self._inputs.get(position)) is not None:
            return known
        flows = self._given_by(step) if again else self.produced(position)
        if not again and isinstance(self.nodes[position], Foreach):
            flows = _item_of(flows)
        form = form if flows is None else flows
        if is_protocol_form(form):
            raise DefinitionError(
                f"step {step.id!r} takes {describe(form)}, a Protocol, which cannot be loaded; "
                "give the .map() before it a function with a return annotation"
            )
        schema = schema_of(form)
        if flows is not None and not again:
            self._inputs[position] = schema
        return schema


_alone: WeakKeyDictionary[WorkflowLike, object] = WeakKeyDictionary()


def _given_alone(workflow: WorkflowLike) -> object:
    """What a workflow gives, whatever flows in.  Kept: of loops in loops, each would ask for it twice."""
    form = _alone.get(workflow)
    if form is None:
        form = _alone[workflow] = Definition(workflow).given
    return form


def _recorded_ids(nodes: tuple[Node, ...]) -> list[tuple[str, int]]:
    """The ids under which something is recorded, and the positions of their nodes."""
    found: list[tuple[str, int]] = []
    for position, node in enumerate(nodes):
        if isinstance(node, Sleep | SleepUntil | WaitForEvent):
            found.append((node.id, position))
        found += [(step.id, position) for step in steps_of(node)]
    return found


def counts(node: Node) -> Literal["items", "iterations"] | None:
    """How the keys of a node's calls are told apart."""
    if isinstance(node, Foreach):
        return "items"
    return "iterations" if isinstance(node, Loop) else None


def _item_of(flows: object) -> object | None:
    arguments = get_args(flows)
    return arguments[0] if get_origin(flows) is list and arguments else None


def _says_nothing(form: object) -> bool:
    """Whether a form leaves open, somewhere in it, what the values are."""
    return form is Any or leaves_open(form) or any(_says_nothing(argument) for argument in get_args(form))


def _class_of(form: object) -> type[object] | None:
    if not isinstance(form, type) or form is Any or get_origin(form) is not None or is_typeddict(form):
        return None
    return cast("type[object]", form)
