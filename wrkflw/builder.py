"""create_workflow, the builder, and the workflow it ends in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, cast, overload

from typing_extensions import TypedDict, TypeForm, TypeVar, Unpack

from .checks import check
from .context import MapContext, StepContext, SuspendContext
from .durations import parse_duration
from .graph import Graph, Into, Map, MapContextual, Node, Then
from .names import check_id, check_options, describe
from .portal import sync
from .retries import Retry
from .steps import Step, check_retry

if TYPE_CHECKING:
    from .results import RunInfo
    from .run import Run

# Builder[In, Out, Prev, State]: from In, towards Out, now at Prev.
InT = TypeVar("InT")
OutT = TypeVar("OutT")
PrevT = TypeVar("PrevT", covariant=True)
StateT = TypeVar("StateT", default=None)
# Workflow
WInT = TypeVar("WInT", contravariant=True)
WOutT = TypeVar("WOutT", covariant=True)
# of the methods
NextT = TypeVar("NextT")
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
NewStateT = TypeVar("NewStateT")


class WorkflowOptions(TypedDict, total=False):
    """Options every workflow takes.

    ``retry`` is the policy of its steps that have none; ``timeout`` is from start to end of a run, waiting included;
    ``on_mismatch`` says what happens to a run that no longer fits the code.  ``on_completed`` and ``on_failed`` are
    called, at most once, after the end of a run is durable.  ``retention`` is how long a finished run is wanted;
    nothing deletes by age yet, see ``runs.delete``.
    """

    description: str
    retry: Retry
    timeout: timedelta | str
    on_completed: Callable[[RunInfo], object]
    on_failed: Callable[[RunInfo], object]
    retention: timedelta | str
    on_mismatch: Literal["pause", "fail"]


@dataclass(frozen=True)
class _Draft:
    """A graph in the making, and the options of the workflow it will be."""

    graph: Graph
    options: WorkflowOptions

    def with_node(self, node: Node) -> _Draft:
        return replace(self, graph=replace(self.graph, nodes=(*self.graph.nodes, node)))

    def next_id(self, kind: str, *kinds: type[Node]) -> str:
        """``map-3`` for the third node of these kinds."""
        return f"{kind}-{1 + sum(isinstance(node, kinds) for node in self.graph.nodes)}"


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


class WorkflowBuilder(Generic[InT, OutT, PrevT, StateT]):
    """A workflow in the making.  Immutable: every method returns a new builder."""

    __slots__ = ("_draft",)

    commit: CommitOutput[InT, OutT, StateT] = CommitOutput()

    def __init__(self, draft: _Draft) -> None:
        self._draft = draft

    def then(self, step: Step[PrevT, NextT, StateT], /) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Execute ``step`` with what flows in; its output flows on.

        Raises:
            TypeError: ``step`` is a plain function, or no step at all.
        """
        _check_is_step(step)
        return WorkflowBuilder(self._draft.with_node(Then(step)))

    def map(
        self, fn: Callable[[PrevT], NextT], /, *, id: str | None = None
    ) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Hand on ``fn(previous output)``.

        ``fn`` is plain, synchronous and pure: it is not recorded, and runs again after a recovery.  ``id`` keeps the
        node's identity when the workflow is edited.
        """
        node = Map(self._map_id(id), fn)
        return WorkflowBuilder(self._draft.with_node(node))

    def map_ctx(
        self, fn: Callable[[PrevT, MapContext[InT, StateT]], NextT], /, *, id: str | None = None
    ) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Like map; ``ctx`` gives the typed init_data, state and earlier step results."""
        node = MapContextual(self._map_id(id), fn)
        return WorkflowBuilder(self._draft.with_node(node))

    def into(self, schema: TypeForm[NextT], /) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Structural hand-over: validate the previous output again as ``schema``, by field names.

        Fields that ``schema`` does not name are dropped.  The static type is exact; that the fields fit is checked
        when ``commit()`` builds the graph, not by the checker.
        """
        node = Into(self._draft.next_id("into", Into), schema)
        return WorkflowBuilder(self._draft.with_node(node))

    def __repr__(self) -> str:
        return f"WorkflowBuilder({self._draft.graph.workflow_id!r}, {len(self._draft.graph.nodes)} nodes)"

    def _map_id(self, id: str | None) -> str:
        return self._draft.next_id("map", Map, MapContextual) if id is None else check_id("map", id)

    if not TYPE_CHECKING:  # a checker must go on reporting names that do not exist

        def __getattr__(self, name: str) -> object:
            if name != "_draft" and hasattr(Workflow, name):
                workflow_id = self._draft.graph.workflow_id
                raise AttributeError(f"{workflow_id!r} is still a builder; end the chain with .commit()")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class Workflow(Step[WInT, WOutT, object], Generic[WInT, WOutT, StateT]):
    """A finished definition: holds no state, and may be shared between runtimes, threads and event loops.

    Runnable; and a Step, whose own state stays its own.
    """

    kind: ClassVar[Literal["step", "workflow"]] = "workflow"

    def __init__(self, graph: Graph, options: WorkflowOptions) -> None:
        self.id = graph.workflow_id
        self.graph = graph
        self.state_schema = graph.state_schema
        self.retry = options.get("retry")
        self.timeout = parse_duration(options["timeout"]) if "timeout" in options else None
        self.retention = parse_duration(options["retention"]) if "retention" in options else None
        self.on_completed = options.get("on_completed")
        self.on_failed = options.get("on_failed")
        self.on_mismatch: Literal["pause", "fail"] = options.get("on_mismatch", "pause")
        self.description = options.get("description", "")
        self.metadata: Mapping[str, str] = {}
        self.at_most_once = False

    @property
    def input_schema(self) -> object:
        """What the workflow takes, as a type form."""
        return self.graph.input_schema

    @property
    def output_schema(self) -> object:
        """What the workflow promises, as a type form."""
        return self.graph.output_schema

    @property
    def stored_output_schema(self) -> object:
        """What the workflow promises: it has no body that could say it more precisely."""
        return self.graph.output_schema

    def with_id(self, id: str, /) -> Self:
        """The same workflow under another id.

        Raises:
            DefinitionError: the id is not 1 to 128 of letters, digits, ``.``, ``_`` and ``-``.
        """
        twin = super().with_id(id)
        twin.graph = replace(self.graph, workflow_id=id)
        return twin

    async def __call__(self, data: WInT, ctx: StepContext[Any] | SuspendContext[Any, Any, Any] | None = None) -> WOutT:
        """Refused: a workflow has no function to call.

        Raises:
            TypeError: always; use :meth:`run`.
        """
        raise TypeError(f"workflow {self.id!r} is not called but run; use 'await {self.id}.run(...)'")

    async def create_run(
        self,
        *,
        run_id: str | None = None,
        idempotency_key: str | None = None,
        attributes: Mapping[str, str] | None = None,
        on_conflict: Literal["use_existing", "fail"] = "use_existing",
    ) -> Run[WInT, WOutT, StateT]:
        """A handle of a run to be; nothing is durable before it is started.

        With an idempotency key that is known, the handle is of the run that exists.

        Raises:
            InvalidValueError: ``run_id`` is not 1 to 128 of letters, digits, ``_`` and ``-``.
            RunExistsError: the key is known, and ``on_conflict`` is "fail".
        """
        from .run import Run  # noqa: PLC0415  # to define a workflow takes no engine: it is loaded with the first run
        from .runtime import current_runtime  # noqa: PLC0415

        return await Run.open(
            await current_runtime(),
            self,
            run_id=run_id,
            idempotency_key=idempotency_key,
            attributes=attributes,
            on_conflict=on_conflict,
        )

    async def get_run(self, run_id: str) -> Run[WInT, WOutT, StateT]:
        """A handle of a run that exists.

        Raises:
            RunNotFoundError: it does not.
        """
        from .run import Run  # noqa: PLC0415
        from .runtime import current_runtime  # noqa: PLC0415

        return await Run.find(await current_runtime(), self, run_id)

    @overload
    async def run(self: Workflow[None, WOutT, StateT], *, initial_state: StateT | None = None) -> WOutT: ...
    @overload
    async def run(self, input_data: WInT, *, initial_state: StateT | None = None) -> WOutT: ...
    async def run(self, input_data: object = None, *, initial_state: StateT | None = None) -> WOutT:
        """Create a run, start it, wait for its timers, and give its output.

        Raises:
            InvalidValueError: the input or the state does not fit; nothing was recorded.
            RunFailedError: the run failed.
            RunNotFinishedError: the run is parked, or was cancelled.
        """
        run = await self.create_run()
        result = await run.start(cast("WInT", input_data), initial_state=initial_state, wait=None)
        return result.unwrap()

    @overload
    def run_sync(self: Workflow[None, WOutT, StateT], *, initial_state: StateT | None = None) -> WOutT: ...
    @overload
    def run_sync(self, input_data: WInT, *, initial_state: StateT | None = None) -> WOutT: ...
    def run_sync(self, input_data: object = None, *, initial_state: StateT | None = None) -> WOutT:
        """:meth:`run` from synchronous code, on the default runtime's own loop.

        Raises:
            RuntimeError: an event loop is running here; await :meth:`run` instead.
        """
        running = self.run(cast("WInT", input_data), initial_state=initial_state)
        return sync(running, instead=f"await {self.id}.run(...)")

    def __repr__(self) -> str:
        return f"Workflow({self.id!r}, {describe(self.input_schema)} -> {describe(self.output_schema)})"


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
        DefinitionError: the id cannot be one.
        TypeError: an option is unknown.
        ValueError: ``timeout`` or ``retention`` is not a duration.
    """
    check_options(options, WorkflowOptions.__annotations__)
    check_retry(options.get("retry"))
    for duration in (options.get("timeout", "0s"), options.get("retention", "0s")):
        parse_duration(duration)
    graph = Graph(check_id("workflow", id), input_schema, output_schema, state_schema, ())
    return WorkflowBuilder[Any, Any, Any, Any](_Draft(graph, options))


def _check_is_step(value: object) -> None:  # of any object: not all callers are typed
    if not isinstance(value, Step):
        name = getattr(value, "__name__", repr(value))
        raise TypeError(f".then() takes a step, got {name}; decorate it with @step, or use .map()")
