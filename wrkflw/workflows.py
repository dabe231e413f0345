"""The workflow that a builder ends in, or that an async function is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Never, Self, Unpack, cast, overload

from typing_extensions import TypedDict, TypeVar

from .context import StepContext, SuspendContext
from .durations import parse_duration, parse_retention
from .errors import DefinitionError
from .graph import Graph
from .names import check_options, describe
from .portal import sync
from .retries import Retry
from .steps import Step, check_retry
from .suggestions import did_you_mean

if TYPE_CHECKING:
    from .events import Event
    from .results import RunInfo
    from .run import Run
    from .steps import SuspendableStep
    from .triggers.email_routes import EmailOptions, EmailRoute, ReplyRoute
    from .triggers.emails import Email
    from .triggers.endpoints import Endpoint, EndpointOptions, HttpRequest
    from .triggers.schedules import Fire, Schedule, ScheduleOptions
    from .triggers.timings import Timing

WInT = TypeVar("WInT", contravariant=True)
WOutT = TypeVar("WOutT", covariant=True)
StateT = TypeVar("StateT", default=None)
AnswerT = TypeVar("AnswerT")  # of a method


class WorkflowOptions(TypedDict, total=False):
    """Options every workflow takes.

    ``retry`` is the policy of its steps that have none; ``timeout`` is from start to end of a run, waiting included;
    ``on_mismatch`` says what happens to a run that no longer fits the code.  ``on_completed`` and ``on_failed`` are
    called, at most once, after the end of a run is durable.  ``retention`` is how long a finished run keeps its values
    (input, output, state, results, errors, chunks of streams), ``"0s"`` not at all and ``"forever"`` for good; without
    it, as long as the database keeps those of all runs, which is 30 days.  That it ran, and how, stays known.
    """

    description: str
    retry: Retry
    timeout: timedelta | str
    on_completed: Callable[[RunInfo], object]
    on_failed: Callable[[RunInfo], object]
    retention: timedelta | str
    on_mismatch: Literal["pause", "fail"]


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
        self.retention = parse_retention(options["retention"]) if "retention" in options else None
        self.on_completed = options.get("on_completed")
        self.on_failed = options.get("on_failed")
        self.on_mismatch: Literal["pause", "fail"] = check_on_mismatch(options.get("on_mismatch", "pause"))
        self.description = options.get("description", "")
        self.metadata: Mapping[str, str] = {}
        self.at_most_once = False
        self.schedules: tuple[Schedule, ...] = ()
        """When a Runtime that lists the workflow starts runs of it: see :meth:`on_cron`."""
        self.endpoints: tuple[Endpoint, ...] = ()
        """Which requests start runs of it: see :meth:`on_http`."""
        self.emails: tuple[EmailRoute, ...] = ()
        """Which mail starts runs of it: see :meth:`on_email`."""
        self.replies: tuple[ReplyRoute, ...] = ()
        """Which replies its runs wait for: see :meth:`on_reply`."""

    @property
    def input_schema(self) -> object:
        """What the workflow takes, as a type form."""
        return self.graph.input_schema

    @property
    def output_schema(self) -> object:
        """What the workflow promises, as a type form."""
        return self._or_none(self.graph.output_schema)

    @property
    def stored_output_schema(self) -> object:
        """What the workflow promises: it has no body that could say it more precisely."""
        return self._or_none(self.graph.output_schema)

    def with_id(self, id: str, /) -> Self:
        """The same workflow under another id, without what starts its runs.

        Raises:
            DefinitionError: the id is not 1 to 128 of letters, digits, ``.``, ``_`` and ``-``.
        """
        twin = super().with_id(id)
        twin.graph = replace(self.graph, workflow_id=id)
        # Else each instant, each request and each mail would start two runs.
        twin.schedules, twin.endpoints, twin.emails, twin.replies = (), (), (), ()
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

        With an idempotency key that is known, the handle is of the run that exists, whatever ``run_id`` and
        ``attributes`` say.

        Raises:
            InvalidValueError: ``run_id`` is not 1 to 128 of letters, digits, ``_`` and ``-``, or one that was minted at
                another time; an attribute is no str, too long, or one too many; ``on_conflict`` is no such word.
            RunExistsError: the key is known, and ``on_conflict`` is "fail"; to start the run raises it too, when
                somebody was faster.
        """
        from .births import Birth  # noqa: PLC0415  # to define a workflow takes no engine: it is loaded with the first run
        from .run import Run  # noqa: PLC0415
        from .runtime import current_runtime  # noqa: PLC0415

        birth = await Birth.of(
            await current_runtime(),
            self,
            run_id=run_id,
            idempotency_key=idempotency_key,
            attributes=attributes,
            on_conflict=on_conflict,
        )
        return Run(birth)

    async def get_run(self, run_id: str) -> Run[WInT, WOutT, StateT]:
        """A handle of a run that exists.

        Raises:
            RunNotFoundError: it does not, or is another workflow's.
            RunExpiredError: what it held was removed, see ``retention=``; ``runs.get`` tells what is left.
        """
        from .run import Run  # noqa: PLC0415
        from .runtime import current_runtime  # noqa: PLC0415

        return await Run.find(await current_runtime(), self, run_id)

    @overload
    async def run(self: Workflow[None, WOutT, StateT], *, initial_state: StateT | None = None) -> WOutT: ...
    @overload
    async def run(self, input_data: WInT, *, initial_state: StateT | None = None) -> WOutT: ...
    async def run(self, input_data: object = None, *, initial_state: StateT | None = None) -> WOutT:
        """Create a run, start it, wait for the timers of its sleeps and retries, and give its output.

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
            RuntimeError: an event loop is running here, or that of the runtime is not; await :meth:`run` instead.
        """
        running = self.run(cast("WInT", input_data), initial_state=initial_state)
        return sync(running, instead=f"await {self.id}.run(...)")

    @overload
    def on_cron(
        self: Workflow[None, WOutT, StateT], schedule: str | Timing, /, **options: Unpack[ScheduleOptions]
    ) -> None: ...
    @overload
    def on_cron(
        self, schedule: str | Timing, /, *, input: Callable[[Fire], WInT], **options: Unpack[ScheduleOptions]
    ) -> None: ...
    def on_cron(
        self,
        schedule: str | Timing,
        /,
        *,
        input: Callable[[Fire], Any] | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> None:
        """Give the workflow a schedule, as :func:`wrkflw.triggers.cron` does.

        Raises:
            DefinitionError: the expression, the timezone or the id cannot be one; the workflow has a schedule of this
                id; or it takes an input and there is no ``input=``.
            TypeError: an option is unknown.
        """
        from .triggers.schedules import schedule_of  # noqa: PLC0415  # most workflows have none

        schedule_of(self, schedule, input, options)

    def on_http(
        self,
        request: str,
        /,
        *,
        input: Callable[[HttpRequest], WInT] | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        """Give the workflow an endpoint, as :func:`wrkflw.triggers.http` does.

        Raises:
            DefinitionError: method or path cannot be one; a route of the server has that path; the workflow has the
                endpoint already; or a GET is to give an input, and there is no ``input=``.
            TypeError: an option is unknown.
        """
        from .triggers.endpoints import endpoint_of  # noqa: PLC0415  # most workflows have none

        endpoint_of(self, request, input, options)

    @overload
    def on_email(self: Workflow[Email, WOutT, StateT], address: str, /, **options: Unpack[EmailOptions]) -> None: ...
    @overload
    def on_email(self, address: str, /, *, input: Callable[[Email], WInT], **options: Unpack[EmailOptions]) -> None: ...
    def on_email(
        self,
        address: str,
        /,
        *,
        input: Callable[[Email], Any] | None = None,
        **options: Unpack[EmailOptions],
    ) -> None:
        """Let mail start runs of the workflow, as :func:`wrkflw.triggers.email` does.

        Raises:
            DefinitionError: a pattern cannot be one, the workflow has the route already, or it takes another input and
                there is no ``input=``.
            TypeError: an option is unknown.
        """
        from .triggers.email_routes import email_route_of  # noqa: PLC0415  # most workflows have none

        email_route_of(self, address, input, options)

    @overload
    def on_reply(
        self,
        address: str,
        target: SuspendableStep[Never, object, AnswerT, object, Never],
        /,
        *,
        answer: Callable[[Email], AnswerT],
        senders: Sequence[str],
    ) -> None: ...
    @overload
    def on_reply(
        self,
        address: str,
        target: Event[AnswerT],
        /,
        *,
        answer: Callable[[Email], AnswerT],
        senders: Sequence[str],
    ) -> None: ...
    def on_reply(
        self,
        address: str,
        target: SuspendableStep[Never, object, Any, object, Never] | Event[Any],
        /,
        *,
        answer: Callable[[Email], Any],
        senders: Sequence[str],
    ) -> None:
        """Let replies answer the runs that asked, as :func:`wrkflw.triggers.reply` does.

        Raises:
            DefinitionError: a pattern cannot be one, there are no senders, or the workflow has the route already.
            TypeError: ``target`` is neither a step that suspends nor an event.
        """
        from .triggers.email_routes import reply_route_of  # noqa: PLC0415  # most workflows have none

        reply_route_of(self, address, target, answer, senders)

    def __repr__(self) -> str:
        return f"Workflow({self.id!r}, {describe(self.input_schema)} -> {describe(self.output_schema)})"


def check_workflow_options(options: WorkflowOptions) -> None:
    """Raises for a wrong one: at once, so that it is refused on its own line."""
    check_options(options, WorkflowOptions.__annotations__)
    check_retry(options.get("retry"))
    check_on_mismatch(options.get("on_mismatch", "pause"))
    parse_duration(options.get("timeout", "0s"))
    parse_retention(options.get("retention", "0s"))
    for name in ("on_completed", "on_failed"):
        function: object = options.get(name)
        if function is not None and not callable(function):
            raise TypeError(f"{name}= takes a function, got {function!r}")


def check_on_mismatch(policy: object) -> Literal["pause", "fail"]:
    """``policy``, when there is such a one.  Raises DefinitionError."""
    if policy in ("pause", "fail"):
        return policy
    hint = did_you_mean(str(policy), ("pause", "fail"))
    raise DefinitionError(f"on_mismatch= is one of 'pause', 'fail', got {policy!r}{hint}")
