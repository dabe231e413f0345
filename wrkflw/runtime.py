"""Where runs live: a World, a clock and the workflows that are known here; it drives runs and wakes them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextvars import Token
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Never, Self, TypeAlias, Unpack, cast

from . import complaints, current
from .clock import Clock, SystemClock
from .creation import creation_of
from .databases import WorldOptions, options_of, world_at
from .durations import parse_duration
from .engine.definition import Definition, WorkflowLike
from .engine.driver import THREADS, Driver
from .engine.executor import Executor
from .engine.inbox import Inbox
from .engine.limits import Limits
from .engine.turns import until_one_waits
from .errors import DefinitionError, InvalidValueError
from .ids import Randomness, new_ulid, system_randomness
from .runs import Runs
from .settings import Settings
from .steps import Step, check_retry
from .world import World
from .world.errors import StoreRefusedError

if TYPE_CHECKING:
    from .builder import Workflow
    from .engine.observers import Observer
    from .retries import Retry
    from .triggers.collection import Schedules
    from .triggers.firing import Firing
    from .triggers.schedules import Schedule
    from .world.payloads import PayloadCodec

    AnyWorkflow: TypeAlias = Workflow[Never, object, Any]


class Runtime:
    """Runs of ``workflows`` in one database; producer, worker and timer in one.

    ``database`` is a URL such as ``sqlite:///app.db``, or ``:memory:``; without it ``WRKFLW_DATABASE_URL``, else
    ``sqlite:///wrkflw.db`` in the working directory.  What is not given is taken from the environment, see
    :mod:`wrkflw.settings`.  ``worker=False`` drives only the runs started here and takes no others; a worker also
    starts the runs of the schedules that ``workflows`` have.  ``concurrency`` is how many runs a worker advances at a
    time, ``retry`` the policy of steps and workflows that name none.  ``lease`` is how long a process that has stopped
    keeps its runs from others, who grant it half as long again.  ``codec`` encodes the values of runs, not what they
    are found by, for instance ``wrkflw.codecs.AesGcm``; ``observer`` is told what goes on, for instance
    ``wrkflw.telemetry.Tracing``.  ``database``, ``durability``, ``namespace``, ``lease`` and ``codec`` are for the
    World it opens; they are not given beside a ``world``.

    Use it with ``async with``: inside, it is the current runtime.  Entering raises StoreRefusedError when the database
    cannot be used.

    Raises:
        InvalidValueError: an argument, or a ``WRKFLW_*`` variable, may not be that.
        StoreRefusedError: ``database`` names none that this version knows.
        DefinitionError: two workflows have one id.
        TypeError: one of ``workflows`` is none, or ``retry`` is no policy.
    """

    def __init__(
        self,
        database: str | None = None,
        *,
        workflows: Sequence[AnyWorkflow] = (),
        world: World | None = None,
        clock: Clock | None = None,
        worker: bool | None = None,
        concurrency: int | None = None,
        durability: Literal["full", "normal"] | None = None,
        retry: Retry | None = None,
        limits: Limits | None = None,
        namespace: str | None = None,
        lease: timedelta | str | None = None,
        codec: PayloadCodec | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self.observer = observer
        """Who watches the engine at work."""
        self._random = system_randomness()
        self._listed = _checked(workflows)
        _refuse_beside(world, database=database, durability=durability, namespace=namespace, lease=lease, codec=codec)
        self._settings = settings = Settings.from_environment(os.environ).with_arguments(
            {"database": database, "durability": durability, "namespace": namespace, "concurrency": concurrency}
        )
        self._limits = limits or Limits(events=settings.max_events, value_bytes=settings.payload_max)
        self._retry = check_retry(retry)
        self._worker = settings.role != "producer" if worker is None else worker
        self._concurrency = settings.worker_concurrency
        lasts = timedelta(seconds=settings.lease_seconds) if lease is None else _lease(lease)
        options = options_of(settings, self._limits, clock=self._clock, lease=lasts, codec=codec)
        self._world = world or self._new_world(settings.database_url, **options)
        self._definitions: dict[str, Definition] = {}
        self._runs = Runs(lambda: self.world.storage, self._definitions, self._clock)
        self._driver: Driver | None = None
        self._opening = False
        self._closing: asyncio.Event | None = None
        """Set when it is closed, while that is being done."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: int | None = None
        self._token: Token[Runtime | None] | None = None
        self.keeper: object = None
        """What keeps a default runtime open as long as its loop."""
        self._schedules: dict[str, Schedule] = {}
        for workflow in self._listed:
            self.define(workflow)
        self._list_schedules()

    async def __aenter__(self) -> Self:
        await self.open()
        self._token = current.enter(self)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._token is not None:
            current.leave(self, self._token)
        await self.close()

    @property
    def runs(self) -> Runs:
        """The runs in this database: ``list``, ``get``, ``snapshot``, ``cancel_many``, ``delete``, ``prune``."""
        return self._runs

    @property
    def schedules(self) -> Schedules:
        """The schedules in this database: ``list``, ``get``, ``pause``, ``resume``, ``trigger``, ``backfill``."""
        from .triggers.collection import Schedules  # noqa: PLC0415  # calendars are loaded by who has a schedule

        return Schedules(lambda: self.world.storage.schedules, self._schedules, self._firing(), self._clock)

    @property
    def world(self) -> World:
        """The World underneath."""
        current.check_loop(self._loop)
        return self._world

    # --- for the other parts of the package ---------------------------------------------------------

    @property
    def time_passes(self) -> bool:
        """Whether time passes by itself, so that one can wait for it; not where a test turns the clock."""
        return True

    def _new_world(self, url: str, **options: Unpack[WorldOptions]) -> World:
        return world_at(url, **options)

    def _new_executor(self) -> Executor:
        return Executor(self._clock, THREADS)

    @property
    def is_open(self) -> bool:
        return self._driver is not None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it was opened on, the only one it may be used from."""
        return self._loop

    @property
    def loop_thread(self) -> int | None:
        """The thread on which that runs."""
        return self._loop_thread

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def driver(self) -> Driver:
        current.check_loop(self._loop)
        if self._driver is None:
            raise RuntimeError("the runtime is not open; use it with 'async with Runtime(...)'")
        return self._driver

    @property
    def definitions(self) -> Mapping[str, Definition]:
        """The workflows that are known here, by id."""
        return self._definitions

    def define(self, workflow: WorkflowLike) -> Definition:
        """Make the workflow known here.  Raises DefinitionError when another one has its id."""
        known = self._definitions.get(workflow.id)
        if known is None:
            known = self._definitions[workflow.id] = Definition(workflow)
            if self._driver is not None:
                self._driver.workflow_known()
        elif known.workflow is not workflow:
            anew = "what is defined anew, as in a notebook, needs a Runtime of its own"
            raise DefinitionError(
                f"a workflow {workflow.id!r} is already registered; give one of them another id; {anew}"
            )
        return known

    def inbox_of(self, definition: Definition) -> Inbox:
        """Where runs of this workflow are handed what comes from outside."""
        return Inbox(self._world.storage, self.driver, definition, self._limits)

    def _list_schedules(self) -> None:
        for schedule in (schedule for workflow in self._listed for schedule in workflow.schedules):
            other, workflow = self._schedules.setdefault(schedule.id, schedule).workflow, schedule.workflow
            if other is not workflow:
                both = f"schedule {schedule.id!r} is of workflow {other.id!r} and of workflow {workflow.id!r}"
                raise DefinitionError(f"{both}; give one of them another id=")

    def _firing(self) -> Firing:
        from .triggers.firing import Firing  # noqa: PLC0415

        return Firing(self._definitions, self.new_run_id, partial(creation_of, self))

    async def _keep_schedules(self, driver: Driver) -> None:
        """Make the schedules known to the database, and start their runs from now on."""
        from .triggers.scheduler import Scheduler  # noqa: PLC0415

        scheduler = Scheduler(self._world, self._schedules.values(), self._firing(), self._clock)
        await scheduler.define()
        driver.spawn(scheduler.work())

    async def _keep_turns(self, driver: Driver) -> None:
        """Without schedules here: let begin what others have queued, or code that was here before."""
        await until_one_waits(self._world, self._clock)
        await self._keep_schedules(driver)

    def new_run_id(self) -> str:
        return f"wrun_{new_ulid(self._clock.now(), self._random)}"

    def _chance_of_backoff(self, _call_id: str, _failures: int) -> Randomness:
        return self._random

    async def open(self) -> None:
        """Open the database, and begin to work.  Raises RuntimeError when it is open, or being closed."""
        if self._driver is not None or self._opening:
            raise RuntimeError("the runtime is open already; use it as it is, or make another Runtime")
        if self._closing is not None:
            raise RuntimeError("the runtime is being closed; wait for that, or make another Runtime")
        complaints.be_heard()
        self._list_schedules()  # with what they were given since
        if self._schedules and not self._world.capabilities.schedules:
            raise StoreRefusedError("this World keeps no schedules; take one that does, or list no workflow with any")
        self._opening = True
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        finally:
            self._opening = False

    async def _open(self) -> None:
        await self._world.start(consume=self._worker, recover=self._settings.recover)
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        self._driver = Driver(
            self._world,
            self._definitions,
            clock=self._clock,
            random=self._random,
            chance=self._chance_of_backoff,
            limits=self._limits,
            retry=self._retry,
            takes=self._concurrency if self._worker else 0,
            executor=self._new_executor(),
            context=partial(current.within, self),
            observer=self.observer,
        )
        self._driver.start()
        if self._worker and self._schedules:
            await self._keep_schedules(self._driver)
        elif self._worker and self._world.capabilities.schedules:
            self._driver.spawn(self._keep_turns(self._driver))

    async def drain(self, patience: timedelta | str = "10s") -> None:
        """Begin nothing more here, and let the steps that run come to their end, which is recorded.

        Their runs are released then, and others go on with them.  Returns when none is left, or after ``patience``;
        the runtime is still to be closed, which interrupts the rest.
        """
        await self.driver.drain(parse_duration(patience))

    async def close(self) -> None:
        """Let go of every run, in good order: others, or the next start, take them up where they are.

        While another call of it is at that, it is waited for.
        """
        if self._closing is not None:
            await self._closing.wait()
            return
        self._closing = asyncio.Event()
        driver, self._driver = self._driver, None
        try:
            if driver is not None:
                await driver.close()
        finally:  # whoever loses patience with a run: a process that looks alive and drives nothing would keep them all
            closing = asyncio.ensure_future(self._world.close())
            closing.add_done_callback(self._closed)
            await asyncio.shield(closing)

    def _closed(self, _: asyncio.Future[None]) -> None:
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.set()


def _checked(workflows: object) -> tuple[AnyWorkflow, ...]:  # of anything: not all callers are typed
    if isinstance(workflows, str) or not isinstance(workflows, Iterable):
        one = workflows.id.replace("-", "_") if isinstance(workflows, Step) else "..."
        raise InvalidValueError.because("workflows=", "takes several", cure=f"put even one into a list: [{one}]")
    given = tuple(cast("Iterable[object]", workflows))
    for each in given:
        if not isinstance(each, Step) or each.kind == "step":
            raise TypeError(f"workflows= takes workflows, got {each!r}; pass what .commit() or @workflow gives")
    return cast("tuple[AnyWorkflow, ...]", given)


def _refuse_beside(world: World | None, **given: object) -> None:
    """What would be without effect is not taken: a codec, for one, that encrypts nothing."""
    for name, value in given.items():
        if world is not None and value is not None:
            raise InvalidValueError.because(f"{name}=", "has no effect beside world=", cure="give it to that World")


def _lease(given: timedelta | str) -> timedelta:
    lease = parse_duration(given)
    if not lease:
        raise InvalidValueError.because("lease=", f"cannot be {given!r}", cure="give more than 0s")
    return lease


def new_default_runtime() -> Runtime:
    """The runtime of code that has opened none."""
    return Runtime()


async def current_runtime() -> Runtime:
    """The runtime of the enclosing ``async with``, else the default one."""
    return await current.current_runtime(new_default_runtime)
