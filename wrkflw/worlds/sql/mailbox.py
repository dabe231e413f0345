"""The messages of a namespace, inside a transaction: posted, taken, returned, buried.

Whoever takes a message is a process that others see alive or dead, as with runs: its lock and its lease stand for all
that it has taken, so nothing is renewed per message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

from wrkflw.clock import Clock, to_microseconds
from wrkflw.ids import Randomness, new_ulid
from wrkflw.world.errors import EntityConflictError, WorldError
from wrkflw.world.messages import encode
from wrkflw.world.queue import (
    DEFAULT_ENVIRONMENT,
    ENVIRONMENT,
    MESSAGE_QUEUED,
    Delivery,
    Invocation,
    NewMessage,
    QueueName,
)

from . import compiled as sql
from .bodies import Bodies
from .database import Connection, Row

LONGEST_REASON = 2000
_NO_HEADERS: Mapping[str, str] = {}
_FIRST_BACKOFF = timedelta(seconds=1)
_LONGEST_BACKOFF = timedelta(minutes=1)


class MessageRow(NamedTuple):
    """The columns of ``queue_messages``, in their order."""

    message_no: int
    message_id: str
    namespace: str
    queue_name: str
    run_id: str | None
    body: bytes
    headers: str | None
    idempotency_key: str | None
    scope: str
    epoch: int
    attempt: int
    failures: int
    available_at: int
    lease_owner: str | None
    last_error: str | None
    dead_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that this process has taken, for the ``epoch``-th time it was."""

    delivery: Delivery
    body: bytes
    """As its row holds it."""
    epoch: int
    run_id: str | None = None


class Returned(NamedTuple):
    """The message comes again after ``delay``; ``reached`` tells whether a handler had it."""

    delay: timedelta
    reached: bool = True


class Failed(NamedTuple):
    """The handler failed: the message comes again, later each time, or is given up."""

    reason: str


Outcome: TypeAlias = Literal["done"] | Returned | Failed


class Mailbox:
    """``others_wrote`` is a mark of what other processes have written, to be asked in a transaction.

    What this process queues is of its ``environment``, and it takes nothing of another.
    """

    def __init__(
        self,
        *,
        namespace: str,
        owner: str,
        clock: Clock,
        randomness: Randomness,
        max_deliveries: int,
        owner_is_live: Callable[[Connection, str], bool],
        others_wrote: Callable[[], object],
        bodies: Bodies,
        environment: str,
    ) -> None:
        self.bodies = bodies
        self.environment = environment
        self._stamp = {} if environment == DEFAULT_ENVIRONMENT else {ENVIRONMENT: environment}
        self._namespace = namespace
        self._owner = owner
        self._clock = clock
        self._randomness = randomness
        self._max_deliveries = max_deliveries
        self._owner_is_live = owner_is_live
        self._others_wrote = others_wrote
        self.fail_run: Callable[[Connection, str, str], None] = _nobody
        """Ends a run, if it is open, with the reason."""
        self._empty_at: object = None
        """The mark at which nothing stood here about any run, and nothing was put here since."""

    # --- posting -----------------------------------------------------------------------------------

    def check(self, message: NewMessage) -> None:
        """Raises WorldError (400) for a message of another namespace, or what is none, PayloadTooLargeError."""
        namespace = QueueName.parse(message.queue_name).namespace
        if namespace != self._namespace:
            raise WorldError(
                f"queue {message.queue_name!r} is of namespace {namespace!r}; this world is {self._namespace!r}"
            )
        self.bodies.check(message)

    def post(self, connection: Connection, messages: Sequence[NewMessage]) -> list[str]:
        """Put messages in, and give the id of each: that of the first one while its key is held."""
        self._empty_at = None
        ids = [self._post(connection, message) for message in messages]
        _tell(connection, *(message.run_id for message in messages))
        return ids

    def _post(self, connection: Connection, message: NewMessage) -> str:
        now = self._clock.now()
        due = to_microseconds(now + (message.delay or timedelta(0)))
        holder = self._holder_of(connection, message.idempotency_key, message.scope)
        if holder is not None:
            if message.scope == "pending":
                connection.run(sql.MESSAGE_MERGE, id=holder.message_id, at=due, attempts=0, failed=0)
            return holder.message_id
        return self._insert(
            connection, message.queue_name, message.run_id, encode(message.message), now, due,
            headers=message.headers, idempotency_key=message.idempotency_key, scope=message.scope,
        )  # fmt: skip

    def _insert(
        self,
        connection: Connection,
        queue_name: str,
        run_id: str | None,
        body: bytes,
        now: datetime,
        due: int,
        *,
        headers: Mapping[str, str] = _NO_HEADERS,
        idempotency_key: str | None = None,
        scope: str = "pending",
        failures: int = 0,
        reason: str | None = None,
    ) -> str:
        message_id = f"msg_{new_ulid(now, self._randomness)}"
        at, stamped = to_microseconds(now), {**headers, **self._stamp}
        connection.run(
            sql.MESSAGE_INSERT,
            message_id=message_id, namespace=self._namespace, queue_name=queue_name, run_id=run_id,
            body=self.bodies.sealed(message_id, run_id, body), headers=json.dumps(stamped) if stamped else None,
            idempotency_key=idempotency_key, scope=scope, epoch=0, attempt=failures, failures=failures,
            available_at=due, lease_owner=None, last_error=reason, dead_at=None if reason is None else at,
            created_at=at,
        )  # fmt: skip
        return message_id

    def _holder_of(self, connection: Connection, key: str | None, scope: str) -> MessageRow | None:
        if key is None:
            return None
        statement = sql.MESSAGE_PENDING if scope == "pending" else sql.MESSAGE_INFLIGHT
        row = connection.one(statement, namespace=self._namespace, idempotency_key=key)
        return None if row is None else MessageRow(*row)

    # --- taking ------------------------------------------------------------------------------------

    def take(self, connection: Connection, limit: int) -> list[Taken]:
        """Up to ``limit`` messages that are due, longest due first, and those of dead processes given back before."""
        for (holder,) in connection.all(sql.MESSAGE_HOLDERS, namespace=self._namespace):
            if not self._owner_is_live(connection, holder):
                for row in connection.all(sql.MESSAGES_HELD, namespace=self._namespace, owner=holder):
                    self._fail(connection, MessageRow(*row), f"its process {holder} died or stopped")
        now = to_microseconds(self._clock.now())
        due = connection.all(
            sql.MESSAGES_DUE, namespace=self._namespace, environment=self.environment, now=now, row_limit=limit
        )
        return [self._take(connection, MessageRow(*row)) for row in due]

    def _take(self, connection: Connection, row: MessageRow) -> Taken:
        connection.run(sql.MESSAGE_TAKE, id=row.message_id, owner=self._owner)
        headers: dict[str, str] = json.loads(row.headers) if row.headers is not None else {}
        delivery = Delivery(row.message_id, row.queue_name, row.attempt + 1, headers)
        return Taken(delivery, row.body, row.epoch + 1, row.run_id)

    def settle(self, connection: Connection, taken: Taken, outcome: Outcome) -> bool:
        """Record what became of a message.  False, and nothing changes, when it is no longer this taker's."""
        found = connection.one(sql.MESSAGE_TAKEN, id=taken.delivery.message_id, owner=self._owner, held=taken.epoch)
        if found is None:
            return False
        row = MessageRow(*found)
        match outcome:
            case Returned(delay, reached):
                attempt = row.attempt if reached else row.attempt - 1
                self._give_back(connection, row, delay, attempt, row.failures, row.last_error)
            case Failed(reason):
                self._fail(connection, row, reason)
            case _:
                connection.run(sql.MESSAGE_DELETE, id=row.message_id)
        return True

    def _fail(self, connection: Connection, row: MessageRow, reason: str) -> None:
        failures, reason = row.failures + 1, _storable(reason)
        if failures < self._max_deliveries:
            self._give_back(connection, row, backoff(failures), row.attempt, failures, reason)
            return
        if row.run_id is not None:
            self.fail_run(connection, row.run_id, f"a message failed {failures} times, at last: {reason}")
        now = to_microseconds(self._clock.now())
        connection.run(sql.MESSAGE_BURY, id=row.message_id, now=now, failed=failures, error=reason)

    def _give_back(
        self, connection: Connection, row: MessageRow, delay: timedelta, attempt: int, failures: int, error: str | None
    ) -> None:
        """Let the message wait again; a wake-up whose key a newer one holds by now becomes one with that."""
        due = to_microseconds(self._clock.now() + delay)
        newer = self._holder_of(connection, row.idempotency_key, row.scope) if row.scope == "pending" else None
        if newer is None:
            connection.run(
                sql.MESSAGE_RETURN, id=row.message_id, at=due, attempts=attempt, failed=failures, error=error
            )
        else:
            connection.run(sql.MESSAGE_MERGE, id=newer.message_id, at=due, attempts=attempt, failed=failures)
            connection.run(sql.MESSAGE_DELETE, id=row.message_id)

    # --- dead letters ------------------------------------------------------------------------------

    def requeue(self, connection: Connection, message_id: str) -> None:
        row = self.letter(connection, message_id)
        holder = self._holder_of(connection, row.idempotency_key, row.scope)
        if holder is not None and row.scope == "inflight":
            raise EntityConflictError(
                f"message {holder.message_id!r} holds the key of {message_id!r}; drop one of the two"
            )
        self._give_back(connection, row, timedelta(0), row.attempt, 0, row.last_error)
        self._empty_at = None
        _tell(connection, row.run_id)

    def drop(self, connection: Connection, message_id: str) -> None:
        connection.run(sql.MESSAGE_DELETE, id=self.letter(connection, message_id).message_id)

    def letter(self, connection: Connection, message_id: str) -> MessageRow:
        """A dead letter.  Raises WorldError (404)."""
        found: Row | None = connection.one(sql.LETTER_BY_ID, namespace=self._namespace, id=message_id)
        if found is None:
            raise WorldError(f"dead letter {message_id!r} was not found", status=404)
        return MessageRow(*found)

    # --- runs --------------------------------------------------------------------------------------

    def count_crashes(self, connection: Connection, gone: str) -> list[tuple[str, str, int]]:
        """Count a crash of every run that the dead process ``gone`` had: those for which it was one too many."""
        self._empty_at = None
        connection.run(sql.CRASHES_COUNT, gone=gone, namespace=self._namespace)
        return [
            (run_id, workflow_name, times)
            for run_id, workflow_name, times in connection.all(
                sql.CRASHED_TOO_OFTEN, gone=gone, namespace=self._namespace, most=self._max_deliveries
            )
        ]

    def count_crash(self, connection: Connection, run_no: int) -> None:
        """The same for one run that another process takes over; whether it was one too many shows the next time."""
        self._empty_at = None
        connection.run(sql.CRASH_COUNT, run_no=run_no)

    def give_up(self, connection: Connection, run_id: str, workflow_name: str, times: int) -> None:
        """End a run that has lost too many processes, and keep a dead letter that tells so."""
        reason = f"its process died or stopped {times} times while it had the run"
        self.fail_run(connection, run_id, f"{reason}; it may be killing its workers")
        now = self._clock.now()
        name, body = str(QueueName(workflow_name, self._namespace)), encode(Invocation(run_id))
        self._insert(connection, name, run_id, body, now, to_microseconds(now), failures=times, reason=reason)

    def forgive(self, connection: Connection, run_no: int) -> None:
        """The run was given up in good order: its crashes are past."""
        if self._may_hold(connection):
            connection.run(sql.CRASHES_DELETE, run_no=run_no)

    def run_ended(self, connection: Connection, run_id: str, run_no: int) -> None:
        """Remove the wake-ups of a run that has ended."""
        if self._may_hold(connection):
            connection.run(sql.MESSAGES_OF_RUN_END, run_id=run_id, namespace=self._namespace)
            connection.run(sql.CRASHES_DELETE, run_no=run_no)

    def run_deleted(self, connection: Connection, run_id: str, run_no: int) -> None:
        """Remove all that is left of a run."""
        connection.run(sql.MESSAGES_OF_RUN_DELETE, run_id=run_id, namespace=self._namespace)
        connection.run(sql.CRASHES_DELETE, run_no=run_no)

    def forget(self) -> None:
        """After a rollback: what was found to be gone may be there."""
        self._empty_at = None

    def _may_hold(self, connection: Connection) -> bool:
        """Whether something may stand here about a run.

        Known from memory, so that the end of a run costs no statement, as long as nothing is put here, by this process
        or another.
        """
        mark = self._others_wrote()
        if mark != self._empty_at:
            row = connection.one(sql.ANYTHING_OF_RUNS)
            self._empty_at = None if row is None or row[0] else mark
        return self._empty_at is None


def _nobody(_connection: Connection, _run_id: str, _reason: str) -> None:
    raise AssertionError("a mailbox was used before its storage was made")


def _tell(connection: Connection, *run_ids: str | None) -> None:
    """Listeners hear of it with the runs; a message that concerns none is told as one that may concern all."""
    connection.notices += [(run_id, [MESSAGE_QUEUED]) for run_id in {run_id or "" for run_id in run_ids}]


def _storable(text: str) -> str:
    """The beginning of the text; what in it is no Unicode text, as the name of a file may be, is escaped."""
    return text[:LONGEST_REASON].encode(errors="backslashreplace").decode()[:LONGEST_REASON]


def backoff(failures: int) -> timedelta:
    """How long a message rests after its n-th failure: 1 s, 2 s, 4 s … a minute."""
    return min(_FIRST_BACKOFF * (1 << min(failures - 1, 16)), _LONGEST_BACKOFF)
