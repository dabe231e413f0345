"""Sleeps and waits for events: recorded when they are reached, with the moment at which they are over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from wrkflw.clock import LATEST, later
from wrkflw.errors import WaitTimeoutError
from wrkflw.graph import MISSING, AnyEvent, Sleep, SleepUntil
from wrkflw.ids import correlation_id
from wrkflw.schemas import schema_of
from wrkflw.world import events as e

from .scopes import Scope
from .standing import LeftError, Parked
from .values import Flow, Settled

if TYPE_CHECKING:
    from .drive import Drive


async def sleep(drive: Drive, scope: Scope, node: Sleep | SleepUntil, due: Callable[[], datetime | None]) -> None:
    """Return once the time has come.  Raises LeftError before."""
    key = scope.key_of(node.id)
    if key not in drive.journal.waits:
        drive.go_on(scope.lane)
        until = due()
        begin_sleep(drive, key, after(drive, node.duration) if isinstance(node, Sleep) else until or LATEST)
    sleep_on(drive, key)


def begin_sleep(drive: Drive, key: str, until: datetime) -> None:
    wait_id = correlation_id("wait", drive.run_id, key)
    drive.recorder.note(e.WaitCreated(correlation_id=wait_id, kind="sleep", key=key, resume_at=min(until, LATEST)))


def sleep_on(drive: Drive, key: str) -> None:
    """Go on if the sleep is over.  Raises LeftError if it is not."""
    wait = drive.journal.waits[key]
    if not wait.open:
        return
    if wait.resume_at is None or wait.resume_at > drive.backlog.due():
        raise LeftError(Parked(wait.resume_at, frozenset({wait.wait_id})))
    drive.go_on()
    drive.recorder.note(e.WaitCompleted(correlation_id=wait.wait_id, cause="elapsed"))


async def wait_for_event(
    drive: Drive, scope: Scope, id: str, event: AnyEvent, timeout: timedelta | None, default: object
) -> Flow:
    """The payload.  Raises LeftError until it is there, WaitTimeoutError when it does not come in time."""
    key = scope.key_of(id)
    if key not in drive.journal.waits:
        drive.go_on(scope.lane)
        begin_wait(drive, key, event, timeout)
    return await wait_on(drive, key, event, timeout, default)


def begin_wait(drive: Drive, key: str, event: AnyEvent, timeout: timedelta | None) -> None:
    wait_id = correlation_id("wait", drive.run_id, key)
    until = None if timeout is None else after(drive, timeout)
    drive.recorder.note(
        e.WaitCreated(correlation_id=wait_id, kind="signal", key=key, signal_type=event.name, resume_at=until)
    )


async def wait_on(drive: Drive, key: str, event: AnyEvent, timeout: timedelta | None, default: object) -> Flow:
    """Go on if the event has come, or its time is up.  Raises LeftError if neither."""
    wait = drive.journal.waits[key]
    if wait.open and wait.resume_at is not None and wait.resume_at <= drive.backlog.due():
        drive.go_on()
        drive.recorder.note(e.WaitCompleted(correlation_id=wait.wait_id, cause="timeout"))
        await drive.recorder.commit()  # the log decides whether the event came first
        wait = drive.journal.waits[key]
    if wait.open:
        raise LeftError(Parked(wait.resume_at, frozenset({wait.wait_id})))
    if wait.payload is not None:
        schema = schema_of(event.schema)
        value = drive.load(schema, wait.payload, key, "event at")
        return Settled(value, wait.payload, schema)
    if default is MISSING:
        raise WaitTimeoutError(event.name, timeout or timedelta())
    return Settled(Settled(default).fresh())


def after(drive: Drive, duration: timedelta) -> datetime:
    """The moment that is so much later than now."""
    return later(drive.services.clock.now(), duration)
