"""create_workflow, and the builder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Never, overload

from typing_extensions import TypeForm, TypeVar, Unpack

from . import graph
from .blocks import Blocks
from .branching import Branch, Match
from .chains import Draft, check_step
from .checks import check
from .context import MapContext
from .durations import parse_duration
from .events import Event, check_event, patience_of
from .graph import Graph
from .names import check_id
from .steps import Step
from .workflows import Workflow as Workflow  # noqa: PLC0414 -- what a chain ends in
from .workflows import WorkflowOptions as WorkflowOptions  # noqa: PLC0414
from .workflows import check_workflow_options

# Builder[In, Out, Prev, State]: from In, towards Out, now at Prev.
InT = TypeVar("InT")
OutT = TypeVar("OutT")
PrevT = TypeVar("PrevT", covariant=True)
StateT = TypeVar("StateT", default=None)
# of the methods
NextT = TypeVar("NextT")
PayloadT = TypeVar("PayloadT")
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
NewStateT = TypeVar("NewStateT")

_NO_DEFAULT: Any = graph.MISSING


class CommitOutput(Generic[InT, OutT, StateT]):
    """``builder.commit``: a descriptor, so that both checkers demand Prev <: Out.

    (mypy erases class-scoped type variables in an explicit ``self:`` annotation, and so accepts anything;
    an argument of ``__get__`` it does check.)
    """

    def __get__(
        self, builder: WorkflowBuilder[InT, OutT, OutT, StateT], owner: type[object] | None = None, /
    ) -> Callable[[], Workflow[InT, OutT, StateT]]:
        def commit() -> Workflow[InT, OutT, StateT]:
            """Finish building; all checks of the definition are made here.

            Raises:
                DefinitionError: the first thing that does not fit; the others hang on it as notes.
            """
            draft = builder._draft  # pyright: ignore[reportPrivateUsage] -- this descriptor is a method of the builder
            check(draft.graph)
            return Workflow(draft.graph, draft.options)

        return commit


class WorkflowBuilder(Blocks[InT, OutT, PrevT, StateT], Generic[InT, OutT, PrevT, StateT]):
    """A workflow in the making.  Immutable: every method returns a new builder."""

    __slots__ = ()

    commit: CommitOutput[InT, OutT, StateT] = CommitOutput()

    def then(self, step: Step[PrevT, NextT, StateT], /) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Execute ``step`` with what flows in; its output flows on.

        Raises:
            TypeError: ``step`` is a plain function, or no step at all.
        """
        check_step(".then()", step, cure="decorate it with @step, or use .map()")
        return self._with(graph.Then(step))

    # -------------------------------------------------------------- functions between steps
    def map(
        self, fn: Callable[[PrevT], NextT], /, *, id: str | None = None
    ) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Hand on ``fn(previous output)``.

        ``fn`` is plain, synchronous and pure: it is not recorded, and runs again after a recovery.  ``id`` keeps the
        node's identity when the workflow is edited.
        """
        return self._with(graph.Map(self._id(id, "map", graph.Map, graph.MapContextual), fn))

    def map_ctx(
        self, fn: Callable[[PrevT, MapContext[InT, StateT]], NextT], /, *, id: str | None = None
    ) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Like map; ``ctx`` gives the typed init_data, state and earlier step results."""
        return self._with(graph.MapContextual(self._id(id, "map", graph.Map, graph.MapContextual), fn))

    def into(self, schema: TypeForm[NextT], /) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Structural hand-over: validate the previous output again as ``schema``, by field names.

        Fields that ``schema`` does not name are dropped.  The static type is exact; that the fields fit is checked
        when ``commit()`` builds the graph, not by the checker.
        """
        return self._with(graph.Into(self._draft.next_id("into", graph.Into), schema))

    # -------------------------------------------------------------- one of several
    def branch(self) -> Branch[InT, OutT, PrevT, Never, StateT]:
        """Choose by conditions: ``.branch().when(condition, step).otherwise(step)``."""
        return Branch(self, self._draft.next_id("branch", graph.Branch))

    def match(self) -> Match[InT, OutT, PrevT, Never, Never, StateT]:
        """Choose by the type of what flows in: ``.match().case(step).case(step).exhaustive()``."""
        return Match(self, self._draft.next_id("match", graph.Match))

    # -------------------------------------------------------------- waiting
    def sleep(
        self, duration: timedelta | str, /, *, id: str | None = None
    ) -> WorkflowBuilder[InT, OutT, PrevT, StateT]:
        """Hand on what flows in, ``duration`` later.

        Raises:
            ValueError: it is no duration, or less than zero.
        """
        return self._with(graph.Sleep(self._sleep_id(id), parse_duration(duration, "sleep for")))

    def sleep_until(
        self, when: datetime | Callable[[PrevT], datetime], /, *, id: str | None = None
    ) -> WorkflowBuilder[InT, OutT, PrevT, StateT]:
        """Hand on what flows in at a time, or at the time that a plain function of it tells; a past one passes at once.

        Raises:
            TypeError: it is neither a datetime nor a function.
            ValueError: the time has no timezone.
        """
        _check_is_time(when)
        return self._with(graph.SleepUntil(self._sleep_id(id), when))

    def wait_for_event(
        self,
        event: Event[PayloadT],
        /,
        *,
        timeout: timedelta | str | None = None,
        default: PayloadT = _NO_DEFAULT,
        id: str | None = None,
    ) -> WorkflowBuilder[InT, OutT, PayloadT, StateT]:
        """Park until the event arrives; its payload is the next step's input.

        ``default`` flows on when ``timeout`` has passed; without one the run fails then.

        Raises:
            TypeError: ``event`` is no Event, or there is a default and no timeout.
            ValueError: ``timeout`` is not a duration.
        """
        return self._with(self._wait(event, None, timeout, default, id))

    def join_event(
        self,
        event: Event[PayloadT],
        fn: Callable[[PrevT, PayloadT], NextT],
        /,
        *,
        timeout: timedelta | str | None = None,
        default: PayloadT = _NO_DEFAULT,
        id: str | None = None,
    ) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Park until the event arrives; ``fn(previous output, payload)``, a map, is the next step's input.

        Raises:
            TypeError: ``event`` is no Event, or there is a default and no timeout.
            ValueError: ``timeout`` is not a duration.
        """
        return self._with(self._wait(event, fn, timeout, default, id))

    def __repr__(self) -> str:
        return f"WorkflowBuilder({self._draft.graph.workflow_id!r}, {len(self._draft.graph.nodes)} nodes)"

    # -------------------------------------------------------------- nodes

    def _wait(
        self,
        event: Event[Any],
        function: Callable[[Any, Any], object] | None,
        timeout: timedelta | str | None,
        default: object,
        id: str | None,
    ) -> graph.WaitForEvent:
        check_event("a wait", event)
        limit = patience_of(timeout, has_default=default is not graph.MISSING)
        return graph.WaitForEvent(self._id(id, "wait", graph.WaitForEvent), event, limit, default, function)

    if not TYPE_CHECKING:  # a checker must go on reporting names that do not exist

        def __getattr__(self, name: str) -> object:
            if name == "id" or (name != "_draft" and hasattr(Workflow, name)):
                workflow_id = self._draft.graph.workflow_id
                raise AttributeError(f"{workflow_id!r} is still a builder; end the chain with .commit()")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@overload
def create_workflow(
    *,
    id: str,
    input_schema: TypeForm[InputT],
    output_schema: TypeForm[OutputT],
    **options: Unpack[WorkflowOptions],
) -> WorkflowBuilder[InputT, OutputT, InputT, None]: ...
@overload
def create_workflow(
    *,
    id: str,
    input_schema: TypeForm[InputT],
    output_schema: TypeForm[OutputT],
    state_schema: Callable[[], NewStateT],
    **options: Unpack[WorkflowOptions],
) -> WorkflowBuilder[InputT, OutputT, InputT, NewStateT]: ...
def create_workflow(
    *,
    id: str,
    input_schema: object,
    output_schema: object,
    state_schema: Callable[[], object] | None = None,
    **options: Unpack[WorkflowOptions],
) -> Any:
    """Begin a workflow: add steps to what this gives, and end with ``.commit()``.

    Schemas are any type pydantic can validate.  ``state_schema`` is a class that can be made with no arguments.

    Raises:
        DefinitionError: the id cannot be one, or ``on_mismatch`` is neither "pause" nor "fail".
        TypeError: an option is unknown, or is not what it takes.
        ValueError: ``timeout`` or ``retention`` is not a duration.
    """
    check_workflow_options(options)
    drawn = Graph(check_id("workflow", id), input_schema, output_schema, state_schema, ())
    return WorkflowBuilder[Any, Any, Any, Any](Draft(drawn, options))


def _check_is_time(value: object) -> None:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(f"sleep_until needs a timezone-aware time, got {value}; add tzinfo")
    elif not callable(value):
        raise TypeError(f"sleep_until takes a datetime or a function, got {value!r}; use .sleep() for a duration")
