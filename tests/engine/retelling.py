"""Runs of programs, in one piece and in two: what one process began, another is told from the log, cut at any slot."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.clocks import START, ManualClock, settle
from wrkflw import Completed, Failed, Paused, Run, Runtime
from wrkflw.durations import parse_duration
from wrkflw.engine.journal import Journal
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError
from wrkflw.world.storage import Claim, RunFence
from wrkflw.worlds.sqlite import SqliteWorld

RUN = "r-17"
_dead = itertools.count(1)
_OF_OUTSIDE = (e.SignalReceived, e.HookReceived, e.RunPaused, e.RunResumed, e.RunCancelled)

Sending = tuple[str, Any, Any]
"""When, counted from the beginning; the event; its payload."""


@dataclass
class Told:
    """How one run went."""

    result: Any
    log: list[e.StoredEvent]
    calls: Counter[str]
    """Bodies that were called, by the name they gave themselves."""

    @property
    def endings(self) -> list[str]:
        """The keys of what is over, in the order of the log."""
        return Journal.of(RUN, self.log).scopes[""].endings

    @property
    def outcome(self) -> object:
        """What must be the same whatever happened on the way."""
        if isinstance(self.result, Failed):
            return "failed", self.result.error.type, self.result.error.message, self.result.error.key
        assert not isinstance(self.result, Paused), self.result.reason
        return self.result.unwrap() if isinstance(self.result, Completed) else repr(self.result)

    @property
    def outputs(self) -> dict[str, object]:
        """The recorded ends of the steps, as they lie on disk."""
        records = Journal.of(RUN, self.log).records.values()
        return {record.key: record.output for record in records if record.status == "completed"}


async def tell(
    workflow: Any, given: object, *sends: Sending, log: Sequence[e.StoredEvent] = (), calls: list[str] | None = None
) -> Told:
    """Run it to its end, from where ``log`` ends.  Virtual time passes, and events are sent, when nothing can move."""
    calls = [] if calls is None else calls
    calls.clear()
    clock = ManualClock()
    world = SqliteWorld(":memory:", clock=clock)
    await world.start()
    await write(world, clock, log)
    async with Runtime(world=world, clock=clock, workflows=[workflow]) as runtime:
        if log:
            run: Run[Any, Any, Any] = await workflow.get_run(RUN)
        else:
            run = await (await workflow.create_run(run_id=RUN)).enqueue(given)
        result = await to_the_end(runtime, run, clock, sends)
        return Told(result, await log_of(runtime), Counter(calls))


async def retell(
    make: Callable[[list[str]], Any], given: object, *sends: Sending, same: Callable[[Told], object] | None = None
) -> Told:
    """Run it in one piece; then, for each slot, kill it there and let another process end it.

    Each time the outcome is the same, what was recorded stays, and nothing that had ended is called again.  ``make``
    makes the workflow; its bodies put their names into the list.
    """
    same = same or (lambda told: told.outcome)
    calls: list[str] = []
    first = await tell(make(calls), given, *sends, calls=calls)
    seen: list[list[e.NewEvent]] = []
    for slot in range(1, len(first.log)):
        log = first.log[:slot]
        again = await tell(make(calls), given, *sends, log=log, calls=calls)
        assert same(again) == same(first), f"killed after slot {slot}"
        assert [stored.event for stored in again.log[:slot]] == [stored.event for stored in log]
        ended = {record.key for record in Journal.of(RUN, log).records.values() if record.ended is not None}
        assert not ended & set(again.calls), f"killed after slot {slot}: {ended & set(again.calls)} ran again"
        if (events := [stored.event for stored in again.log]) not in seen:
            seen.append(events)
            await assert_replays(make(calls), again, calls)
    await assert_replays(make(calls), first, calls)
    return first


async def assert_replays(workflow: Any, told: Told, calls: list[str]) -> None:
    """Without its last event the log leads to the same end: nothing is called, and nothing else is recorded."""
    again = await tell(workflow, None, log=told.log[:-1], calls=calls)

    assert again.outcome == told.outcome
    assert again.calls == Counter()
    assert [stored.event for stored in again.log] == [stored.event for stored in told.log]


async def to_the_end(runtime: Runtime, run: Run[Any, Any, Any], clock: ManualClock, sends: Sequence[Sending]) -> Any:
    for _ in range(500):
        if await is_over(runtime, run.run_id, clock):
            return await run.result()
        journal = Journal.of(run.run_id, await log_of(runtime, run.run_id))
        sent = sum(isinstance(stored.event, e.SignalReceived) for stored in await log_of(runtime, run.run_id))
        due = await next_due(runtime, journal)
        if sent < len(sends):
            when, event, payload = sends[sent]
            at = START + parse_duration(when)
            if due is None or at < due:
                clock.turn(max(at - clock.now(), timedelta()))
                await run.send_event(event, payload, wait="0s")
                continue
        assert due is not None, f"stuck at {[str(stored.event) for stored in await log_of(runtime, run.run_id)]}"
        clock.turn(max(due - clock.now(), timedelta()))
    raise AssertionError("it has no end")


async def is_over(runtime: Runtime, run_id: str, clock: ManualClock) -> bool:
    """Wait until nothing can move by itself.  Whether the run has ended or is paused."""
    for _ in range(5000):
        await settle(20)
        drive = runtime.driver.drive_of(run_id)
        if drive is None:
            run = await runtime.world.storage.runs.get(run_id, resolve_data="none")
            if run.ended or run.paused_at is not None:
                return True
            if run.owner is None and (run.wake_at is None or run.wake_at > clock.now()):
                return False
        elif drive.holding.until is not None and drive.holding.until > clock.now():
            return False
        await asyncio.sleep(0.0002)
    raise AssertionError("it does not come to rest")


async def next_due(runtime: Runtime, journal: Journal) -> datetime | None:
    """When the run moves by itself."""
    waits = [wait.resume_at for wait in journal.waits.values() if wait.open]
    retries = [record.retry_after for record in journal.records.values() if record.status == "retrying"]
    wake_at = (await runtime.world.storage.runs.get(journal.run_id, resolve_data="none")).wake_at
    return min((due for due in (*waits, *retries, wake_at) if due is not None), default=None)


async def log_of(runtime: Runtime, run_id: str = RUN) -> list[e.StoredEvent]:
    return list((await runtime.world.storage.events.list(run_id)).data)


async def write(world: SqliteWorld, clock: ManualClock, log: Sequence[e.StoredEvent]) -> None:
    """Write a log as a process did that is dead now: each event at its time."""
    if not log:
        return
    events = world.storage.events
    clock.turn(log[0].created_at - clock.now())
    written = await events.create_batch(RUN, [log[0].event], claim=Claim(f"own_dead{next(_dead)}"))
    fence = RunFence(written.epoch)
    for stored in log[1:]:
        clock.turn(stored.created_at - clock.now())
        from_outside = isinstance(stored.event, _OF_OUTSIDE)
        await events.create(RUN, stored.event, fence=None if from_outside else fence)


__all__ = ["RUN", "EntityConflictError", "Told", "assert_replays", "log_of", "retell", "tell", "to_the_end", "write"]
