"""Where a scenario is played: clients that write down what they were told, bodies that write down what they did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

from wrkflw import (
    AlreadyResumedError,
    Completed,
    Event,
    NotSuspendedError,
    Run,
    Runtime,
    StepContext,
    SuspendContext,
    Suspended,
    Workflow,
    WrkflwError,
)
from wrkflw.worlds.sqlite import Durability, SqliteWorld

from .disk import Disk
from .virtual import Clock

AnyWorkflow: TypeAlias = Workflow[Any, Any, Any]
Fact: TypeAlias = dict[str, Any]

TRIES = 3
"""How often a client says a thing that the database refuses, before it gives up until the disk is mended."""
_PAUSE = 0.2  # seconds between them
_PATIENCE = timedelta(seconds=10)
_A_DAY = timedelta(days=1)  # no lease is renewed by a thread while the tests run

_now_playing: ContextVar[Stage] = ContextVar("now_playing")


@dataclass
class Witness:
    """What happened, in order.  A dead process tells nothing."""

    disk: Disk
    facts: list[Fact] = field(default_factory=list)
    on_fact: Callable[[], None] = lambda: None

    def tell(self, what: str, **facts: object) -> None:
        if not self.disk.dead:
            self.facts.append({"what": what, **facts})
            self.on_fact()

    def heard(self, name: str) -> Fact | None:
        """What a client was told when it said this."""
        return next((fact for fact in self.facts if fact.get("name") == name), None)


class Stage:
    """One life of all processes that use the database.  ``heals``: the disk is sound again, nothing may go wrong."""

    def __init__(
        self, database: Path, clock: Clock, witness: Witness, *, heals: bool, durability: Durability = "full"
    ) -> None:
        self.heals = heals
        self.witness = witness
        self._durability: Durability = durability
        self.holds = False
        self._database = database
        self._clock = clock
        self._held = asyncio.Event()
        self._worlds: list[SqliteWorld] = []
        _now_playing.set(self)

    # --- processes ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def runtime(self, *workflows: AnyWorkflow) -> AsyncGenerator[Runtime]:
        """A process that works on the database."""
        world = SqliteWorld(self._database, clock=self._clock, durability=self._durability, lease=_A_DAY)
        self._worlds.append(world)
        async with Runtime(world=world, clock=self._clock, workflows=workflows) as runtime:
            yield runtime

    def kill(self, runtime: Runtime) -> None:
        """As if the process of this runtime died."""
        assert isinstance(runtime.world, SqliteWorld)
        runtime.world.abandon()

    def kill_all(self) -> None:
        for world in self._worlds:
            world.abandon()

    async def hold(self, number: int) -> None:
        if self.holds and number == 2:
            self._held.set()
            await asyncio.Event().wait()

    async def until_held(self, work: Coroutine[Any, Any, None]) -> None:
        """Until a body is held, or the work has ended some other way."""
        task, held = asyncio.ensure_future(work), asyncio.ensure_future(self._held.wait())
        await asyncio.wait({task, held}, return_when=asyncio.FIRST_COMPLETED)
        for each in (task, held):
            each.cancel()
        await asyncio.gather(task, held, return_exceptions=True)

    # --- clients -----------------------------------------------------------------------------------

    async def start(self, name: str, workflow: AnyWorkflow, input_data: object, *, key: str | None = None) -> None:
        async def act(run: Run[Any, Any, Any]) -> None:
            result = await run.start(input_data)
            output = {"output": result.output} if isinstance(result, Completed) else {}
            self.witness.tell("ACK", name=f"start {name}", key=key or name, run=run.run_id, **output)

        await self._say(f"start {name}", key or name, workflow, act, by_key=True)

    async def enqueue(self, key: str, workflow: AnyWorkflow, input_data: object) -> None:
        async def act(run: Run[Any, Any, Any]) -> None:
            await run.enqueue(input_data)
            self.witness.tell("ACK", name=f"start {key}", key=key, run=run.run_id)

        await self._say(f"start {key}", key, workflow, act, by_key=True)

    async def answer(self, key: str, workflow: AnyWorkflow, step: Any, value: object) -> None:
        async def act(run: Run[Any, Any, Any]) -> None:
            try:
                if not isinstance(await run.result(_PATIENCE), Suspended):
                    return
                await run.resume(step, value)
            except (AlreadyResumedError, NotSuspendedError, TimeoutError):
                return  # it was answered, by one who was not told so
            self.witness.tell("ANSWERED", name=f"answer {key}", run=run.run_id)

        await self._say(f"answer {key}", key, workflow, act)

    async def send(self, key: str, workflow: AnyWorkflow, event: Event[int], payload: int) -> None:
        async def act(run: Run[Any, Any, Any]) -> None:
            await run.send_event(event, payload, dedupe_id=f"send {key}", wait="0s")
            self.witness.tell("SENT", name=f"send {key}", run=run.run_id)

        await self._say(f"send {key}", key, workflow, act)

    async def cancel(self, key: str, workflow: AnyWorkflow) -> None:
        async def act(run: Run[Any, Any, Any]) -> None:
            await run.cancel("no longer wanted")
            self.witness.tell("CANCELLED", name=f"cancel {key}", run=run.run_id)

        await self._say(f"cancel {key}", key, workflow, act)

    async def end(self, key: str, workflow: AnyWorkflow, output: object) -> None:
        """Wait for the end of a run that was acknowledged."""
        if self.witness.heard(f"start {key}") is None:
            return

        async def act(run: Run[Any, Any, Any]) -> None:
            result = await run.result()
            if isinstance(result, Completed):
                self.witness.tell("END", name=f"end {key}", run=run.run_id, output=result.output, wanted=output)
            elif self.heals:
                raise AssertionError(f"{key!r} has ended as {result}")

        await self._say(f"end {key}", key, workflow, act)

    async def _say(
        self,
        name: str,
        key: str,
        workflow: AnyWorkflow,
        act: Callable[[Run[Any, Any, Any]], Awaitable[None]],
        *,
        by_key: bool = False,
    ) -> None:
        """Unless it was acknowledged: to the run that was acknowledged under this key, else to that which has it."""
        if self.witness.heard(name) is not None:
            return
        for _ in range(TRIES):
            started = None if by_key else self.witness.heard(f"start {key}")
            try:
                if started is not None:
                    return await act(await workflow.get_run(started["run"]))
                return await act(await workflow.create_run(idempotency_key=key))
            except (WrkflwError, TimeoutError) as error:
                self.witness.tell("REFUSED", said=name, error=repr(error))
                if self.heals:
                    raise
            await asyncio.sleep(_PAUSE)


def effect(ctx: StepContext | SuspendContext[Any, Any]) -> None:
    """What a body does to the world outside."""
    witness = _now_playing.get().witness
    witness.tell("EFFECT", run=ctx.run_id, key=ctx.key, attempt=ctx.attempt, epoch=ctx.fence)


async def hold(number: int) -> None:
    """Keep this body, if it is the second of them, until its process dies."""
    await _now_playing.get().hold(number)
