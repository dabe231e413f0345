"""How tests look at a World: what a write came to, and what stands in the tables afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from wrkflw.ids import new_ulid
from wrkflw.world import events as e
from wrkflw.world.entities import Run
from wrkflw.world.errors import FencedError, RunExpiredError, RunPausedError, WorldError
from wrkflw.world.fold import Image, fold
from wrkflw.world.storage import EventResult
from wrkflw.worlds.sql import compiled as sql
from wrkflw.worlds.sql import rows
from wrkflw.worlds.sql.database import Connection
from wrkflw.worlds.sqlite import SqliteWorld

_NUMBERS = random.Random(1)


def new_run_id(now: datetime) -> str:
    return f"wrun_{new_ulid(now, _NUMBERS)}"


async def outcome(write: Coroutine[object, object, EventResult]) -> str:
    """``ok``, ``no-op``, or the refusal in the words of the contract's guard matrix."""
    try:
        result = await write
    except WorldError as refusal:
        return word_of(refusal)
    return "no-op" if result.event is None else "ok"


def judged(judge: Callable[[], bool]) -> str:
    try:
        return "ok" if judge() else "no-op"
    except WorldError as refusal:
        return word_of(refusal)


def word_of(refusal: WorldError) -> str:
    match refusal:
        case RunPausedError():
            return "P"
        case FencedError():
            return "fenced"
        case _:
            return str(refusal.status)


def connection_of(world: SqliteWorld) -> Connection:
    """The one thing that tests take from behind the interface: a look at the rows."""
    connection = world._read
    assert connection is not None
    return connection


def changes_of(world: SqliteWorld) -> int:
    """How many rows this process has ever written."""
    connection = world._write
    assert connection is not None
    return connection.changes


async def log_of(world: SqliteWorld, run_id: str) -> list[e.StoredEvent]:
    return (await world.storage.events.list(run_id)).data


def views_of(world: SqliteWorld, run_id: str) -> Image:
    """The entities of a run as their tables have them."""
    connection = connection_of(world)
    row = connection.one(sql.RUN_BY_ID, run_id=run_id, namespace="default")
    assert row is not None
    run = rows.run_from(row)
    run.attributes = dict(connection.all(sql.ATTRIBUTES_OF_RUN, run_no=row[0]))
    image = Image(run_id, run)
    for step in connection.all(sql.STEPS_BEFORE, run_no=row[0], before=2**62, row_limit=1000, param_1=0):
        image.steps[step[1]] = rows.step_from(run_id, step)
    for hook in connection.all(sql.HOOKS_OF_RUN, run_no=row[0]):
        image.hooks[hook[1]] = rows.hook_from(run_id, hook)
    for wait in connection.all(sql.WAITS_OF_RUN, run_no=row[0]):
        image.waits[wait[1]] = rows.wait_from(run_id, wait)
    for signal_type, slot in connection.all(sql.SIGNALS_OF_RUN, run_no=row[0]):
        image.signals.setdefault(signal_type, []).append(slot)
    return image


async def assert_the_views_are_the_fold(world: SqliteWorld, run_id: str) -> None:
    try:
        log = await log_of(world, run_id)
    except RunExpiredError:
        log = (await world.storage.events.list(run_id, resolve_data="none")).data
    folded, views = fold(run_id, log), views_of(world, run_id)

    assert [stored.slot for stored in log] == list(range(1, len(log) + 1))
    assert all(before.created_at <= after.created_at for before, after in pairwise(log))
    assert _of_the_log(folded.run) == _of_the_log(views.run)
    assert folded.steps == views.steps
    assert folded.hooks == views.hooks
    assert folded.waits == views.waits
    assert {signal_type: line for signal_type, line in folded.signals.items() if line} == views.signals


def _of_the_log(run: Run | None) -> Run:
    """Without what is operational."""
    assert run is not None
    return replace(run, epoch=0, owner=None, wake_at=None, seen_slot=0)
