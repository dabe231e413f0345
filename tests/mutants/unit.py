"""Mistakes that a test of one part must find by failing; :mod:`tests.mutants.making` makes one for a run of pytest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from wrkflw.worlds.sql import schedules
from wrkflw.worlds.sql.mailbox import Mailbox
from wrkflw.worlds.sql.payloads import Large, LargePayloads
from wrkflw.worlds.wal import Wal

from .mutant import Bug
from .simulated import makes_two_of_one_key


def _makes_instants_twice(patch: pytest.MonkeyPatch) -> None:
    """Whoever computes an instant makes a run of it."""
    patch.setattr(schedules, "_stands_as", lambda *_args: True)
    patch.setattr(schedules.SqlSchedules, "_made", lambda *_args, **_options: set())
    makes_two_of_one_key(patch)


def _moves_the_cursor_alone(patch: pytest.MonkeyPatch) -> None:
    """An instant counts as considered before its run is made, in a transaction of its own."""
    make = schedules.SqlSchedules.move

    async def apart(ledger: schedules.SqlSchedules, expected: object, to: object, instants: Sequence[object]) -> object:
        await make(ledger, expected, to, [])  # type: ignore[arg-type]  # handed through
        return await ledger.make(expected.schedule_id, instants, overlap=expected.overlap)  # type: ignore[attr-defined, arg-type]

    patch.setattr(schedules.SqlSchedules, "move", apart)


def _forgets_crashes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "count_crashes", lambda *_args: [])


def _refers_to_blobs_ahead(patch: pytest.MonkeyPatch) -> None:
    """A large payload is on its way to the store when its event is committed."""
    put = LargePayloads._put
    under_way = set[asyncio.Task[None]]()

    async def slowly(payloads: LargePayloads, large: Large) -> None:
        await asyncio.sleep(0.2)
        await put(payloads, large)

    async def later(payloads: LargePayloads, large: Large) -> None:
        task = asyncio.get_running_loop().create_task(slowly(payloads, large))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    patch.setattr(LargePayloads, "_put", later)


def _does_not_look_at_the_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Wal, "check", lambda _log: None)


UNIT = (
    Bug(
        "double cron",
        "An instant of a schedule makes one run, however many processes compute it.",
        _makes_instants_twice,
        "tests/triggers/test_cron.py::test_two_processes_start_one_run_for_each_instant",
    ),
    Bug(
        "cursor moved before its run",
        "An instant is not lost by a crash.",
        _moves_the_cursor_alone,
        "tests/triggers/test_cron.py::test_wherever_the_process_dies_each_instant_has_one_run",
    ),
    Bug(
        "crashes not counted",
        "A run that kills its workers is given up.",
        _forgets_crashes,
        "tests/worlds/test_queue.py::test_a_run_that_loses_too_many_processes_fails_and_leaves_a_letter",
    ),
    Bug(
        "blob after its reference",
        "What an event refers to is there before it.",
        _refers_to_blobs_ahead,
        "tests/worlds/test_blobs.py::test_a_blob_is_there_before_the_event_that_refers_to_it",
    ),
    Bug(
        "log replaced, and nobody looks",
        "Nothing is acknowledged once the log of the database is another file.",
        _does_not_look_at_the_log,
        "tests/worlds/test_wal.py::test_nothing_more_is_acknowledged_once_the_log_is_another",
    ),
)
