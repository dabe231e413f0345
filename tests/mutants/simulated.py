"""Mistakes that the simulation must find, each made in the shipped code for as long as a patch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.faults import mutants as of_disks
from wrkflw.births import Birth
from wrkflw.clock import Clock, Timer
from wrkflw.engine.driver import Driver
from wrkflw.engine.journal import Journal
from wrkflw.world import events as e
from wrkflw.world import transitions
from wrkflw.world.entities import Run as Entity
from wrkflw.world.storage import RunFence
from wrkflw.world.transitions import OK
from wrkflw.worlds.database_file import DatabaseFile
from wrkflw.worlds.sql import compiled as sql
from wrkflw.worlds.sql.admission import Admission
from wrkflw.worlds.sql.append import Appender
from wrkflw.worlds.sql.database import Connection
from wrkflw.worlds.sql.images import Opened
from wrkflw.worlds.sql.request import Append
from wrkflw.worlds.sql.runs import SqlRuns
from wrkflw.worlds.sql.statement import Statement
from wrkflw.worlds.sqlite import SqliteWorld
from wrkflw.worlds.transactions import Committed, Request, Transactions

from .mutant import Mutant

# --- transactions ------------------------------------------------------------------------------------


def _acknowledges_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    attempt = Transactions._attempt

    def early(transactions: Transactions, batch: list[Request], patience: float) -> Committed | None:
        outcomes: list[tuple[Request, Any]] = []
        text, works = Connection.text, [request.work for request in batch]

        def tell_and_text(connection: Connection, said: str) -> Any:
            if said == "COMMIT":
                for request, value in outcomes:
                    if not request.future.done():
                        request.future.set_result(value)
            return text(connection, said)

        for request in batch:
            request.work = _noting(request, outcomes)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Connection, "text", tell_and_text)
            try:
                return attempt(transactions, batch, patience)
            finally:
                for request, work in zip(batch, works, strict=True):
                    request.work = work

    patch.setattr(Transactions, "_attempt", early)


def _noting(request: Request, outcomes: list[tuple[Request, Any]]) -> Callable[..., Any]:
    work = request.work

    def do(connection: Connection, *given: Any) -> Any:
        outcome = work(connection, *given)
        outcomes.append((request, outcome))
        return outcome

    return do


def _never_frees_the_dead(patch: pytest.MonkeyPatch) -> None:
    """What a claim took from the queue of due runs comes back only from who took it."""
    patch.setattr(SqlRuns, "_free_the_dead", lambda *_args: None)


def _no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Admission, "check_owner", lambda *_args: None)


def _wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    """What comes from outside to a parked run is recorded, and nobody is to look at it."""
    settle = Appender._settle_owner

    def settle_owner(appender: Appender, connection: Connection, run: Entity, request: Append, opened: Opened) -> bool:
        parked = run.status == "running" and run.owner is None and not isinstance(request.fence, RunFence)
        return parked is False and settle(appender, connection, run, request, opened)

    patch.setattr(Appender, "_settle_owner", settle_owner)


def makes_two_of_one_key(patch: pytest.MonkeyPatch) -> None:
    """Whether a key is known is asked before the transaction, and not in it."""
    prepare = DatabaseFile.prepare

    def prepared(file: DatabaseFile, connection: Connection) -> None:
        prepare(file, connection)
        connection.text("DROP INDEX IF EXISTS runs_key")

    patch.setattr(DatabaseFile, "prepare", prepared)
    patch.setattr(Admission, "check_creation", lambda *_args: None)


# --- what is remembered, and what is checked again -------------------------------------------------------


def _counts_attempts_in_memory(patch: pytest.MonkeyPatch) -> None:
    _forgets(patch, lambda record: setattr(record, "failures", 0))


def _forgets_when_to_retry(patch: pytest.MonkeyPatch) -> None:
    _forgets(patch, lambda record: setattr(record, "retry_after", None))
    patch.setattr(transitions, "step_column", lambda step, _now: (
        "absent" if step is None else transitions._STEP_COLUMN[step.status]
    ))  # fmt: skip


def _forgets(patch: pytest.MonkeyPatch, forget: Callable[[Any], None]) -> None:
    """What was read from the log is not what it was in memory."""
    of = Journal.of

    def half_of(run_id: str, log: Iterable[e.StoredEvent]) -> Journal:
        journal = of(run_id, log)
        for record in journal.records.values():
            forget(record)
        return journal

    patch.setattr(Journal, "of", half_of)


def _forgets_what_was_under_way(patch: pytest.MonkeyPatch) -> None:
    _forgets(
        patch, lambda record: setattr(record, "status", "pending" if record.status == "running" else record.status)
    )


def _replays_by_index(patch: pytest.MonkeyPatch) -> None:
    """What was recorded of the items of a block is theirs in the order in which they began, not by their keys."""
    of = Journal.of

    def by_index(run_id: str, log: Iterable[e.StoredEvent]) -> Journal:
        seen, renamed = Counter[str](), list[e.StoredEvent]()
        for stored in log:
            event = stored.event
            if isinstance(event, e.StepCreated) and event.key.endswith("]"):
                key = f"{event.step_name}[{seen[event.step_name]}]"
                seen[event.step_name] += 1
                renamed.append(stored._replace(event=event.model_copy(update={"key": key})))
            else:
                renamed.append(stored)
        return of(run_id, renamed)

    patch.setattr(Journal, "of", by_index)


def _starts_steps_of_cancelled_runs(patch: pytest.MonkeyPatch) -> None:
    for row in ("step_created", "step_started", "step_started, lazy"):
        patch.setitem(transitions._RUN_VERDICTS[row], "cancelled", OK)


def _keeps_hooks_after_the_end(patch: pytest.MonkeyPatch) -> None:
    later = Connection.later

    def without(connection: Connection, run_no: int, statement: Statement, rows: Any) -> None:
        if statement is not sql.HOOKS_RELEASE:
            later(connection, run_no, statement, rows)

    patch.setattr(Connection, "later", without)


def _takes_any_input_for_a_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Birth, "check_meant", lambda *_: None)


class _ProcessClock:
    """Time as it would be if nobody had set the clock since it was first asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        passed = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = self._clock.now(), passed
        return self._began[0] + timedelta(seconds=passed - self._began[1])

    def call_at(self, when: datetime, callback: Callable[[], None], /) -> Timer:
        return asyncio.get_running_loop().call_later(max((when - self.now()).total_seconds(), 0), callback)


def _goes_by_the_clock_of_the_process(patch: pytest.MonkeyPatch) -> None:
    for cls in (SqliteWorld, Driver):
        _with_another_clock(patch, cls)


def _with_another_clock(patch: pytest.MonkeyPatch, cls: type[Any]) -> None:
    init = cls.__init__

    def made(made_one: Any, *args: Any, clock: Clock, **options: Any) -> None:
        init(made_one, *args, clock=_ProcessClock(clock), **options)

    patch.setattr(cls, "__init__", made)


SIMULATED = (
    Mutant(
        "event and view in two transactions",
        "What a run shows is what its log says.",
        of_disks.writes_event_and_view_apart,
        "the view says|has chunks",
    ),
    Mutant(
        "acknowledgement before the commit",
        "What was acknowledged is durable.",
        _acknowledges_before_the_commit,
        "was acknowledged|was told|recorded starts|its stream has",
        1500,
    ),
    Mutant(
        "no fence",
        "Who has lost a run writes nothing more to it.",
        _no_fence,
        "was written in epoch",
    ),
    Mutant(
        "wake-up lost",
        "A run goes on when what it waits for has come.",
        _wakes_nobody,
        "nothing will ever wake it|when all is over",
        1500,
    ),
    Mutant(
        "due run deleted at the claim",
        "What a process had when it died is taken by another one.",
        _never_frees_the_dead,
        "when all is over",
    ),
    Mutant(
        "idempotency key checked, then inserted",
        "A key makes one run.",
        makes_two_of_one_key,
        "was acknowledged as",
        1500,
    ),
    Mutant(
        "idempotency key without its input",
        "A key that comes with another input is refused.",
        _takes_any_input_for_a_key,
        "I21",
    ),
    Mutant(
        "retry budget reset by a restart",
        "A step is tried no more often than its policy says.",
        _counts_attempts_in_memory,
        "I18 the step .* failed",
    ),
    Mutant(
        "backoff forgotten by a restart",
        "A step is not tried again before its time.",
        _forgets_when_to_retry,
        "I18 the try .* before its time",
    ),
    Mutant(
        "interruption forgotten",
        "A step that may run once does not run again when nobody knows what became of it.",
        _forgets_what_was_under_way,
        "I11 'pay' had",
        1500,
    ),
    Mutant(
        "replay by index",
        "A result is that of the step by whose key it was recorded.",
        _replays_by_index,
        "I9|I11",
    ),
    Mutant(
        "cancellation not looked at by step_started",
        "Nothing begins in a run that was cancelled.",
        _starts_steps_of_cancelled_runs,
        "after the run had ended",
        1500,
    ),
    Mutant(
        "hooks kept after the end",
        "A run that has ended holds no token.",
        _keeps_hooks_after_the_end,
        "is released at None",
    ),
    Mutant(
        "timers by the clock of the process",
        "Time is that of the machine, also when somebody sets it.",
        _goes_by_the_clock_of_the_process,
        "I18",
        1500,
    ),
)
