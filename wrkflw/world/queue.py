"""The queue: messages that ask for work, delivered at least once.

Everything here is values; who keeps and delivers them is a World.  Correctness never rests on the queue: a message says
that there may be something to do, and the log says what.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol, TypeAlias

from wrkflw.ids import RUN_ID

from . import events as e
from .errors import WorldError
from .storage import Page, PageRequest

Scope: TypeAlias = Literal["pending", "inflight"]
"""How long an idempotency key is held.

``pending``: until a consumer takes the message, so that a wake-up which arrives while the handler runs counts as a new
one.  ``inflight``: until the message is acknowledged or dead, so that there is never a second one beside it.
"""

MAX_DELIVERIES_EXCEEDED = "MAX_DELIVERIES_EXCEEDED"
"""The error code of a run that was given up with a message of its own."""
ENVIRONMENT = "x-wkf-environment"
"""The header of the environment a message was queued in; a World of another one does not take it."""
DEFAULT_ENVIRONMENT = "development"
"""The environment of messages that do not say theirs."""
MESSAGE_QUEUED = "message_queued"
"""What listeners of the World are told instead of an event type, when a message was queued."""

DRAIN = timedelta(seconds=10)
"""How long handlers may go on when their consumer is closed."""
_LONGEST = timedelta(days=3660)
_DEFAULT_NAMESPACE = "default"
_NAMESPACE = re.compile(r"[a-z][a-z0-9]*")
_WORKFLOW_NAME = re.compile(r"[A-Za-z0-9_\-./@()\[\]]{1,256}")
_NAME = re.compile(r"__(?:([a-z][a-z0-9]*)_)?wkf_workflow_(.*)", re.DOTALL)
_STEP_NAME = re.compile(r"__(?:[a-z][a-z0-9]*_)?wkf_step_")
_RUN_ID = re.compile(RUN_ID)
_HEADER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}")
_KEPT_HEADERS = ("x-vqs-", "x-wkf-", "content-", "transfer-", "host", "connection")


# --- names -------------------------------------------------------------------------------------------


class QueueName(NamedTuple):
    """Where the messages of a workflow go: ``__wkf_workflow_greet``, or ``__shop_wkf_workflow_greet``."""

    workflow_name: str
    namespace: str = _DEFAULT_NAMESPACE

    def __str__(self) -> str:
        return f"{_prefix(self.namespace)}{self.workflow_name}"

    @classmethod
    def parse(cls, name: str) -> QueueName:
        """The parts of a queue's name.  Raises WorldError (400) for any other text."""
        if _STEP_NAME.match(name):
            raise WorldError(f"{name[:80]!r} names steps; send the message to its workflow, with step_id")
        found = _NAME.fullmatch(name)
        if found is None or not _WORKFLOW_NAME.fullmatch(found[2]) or found[1] == _DEFAULT_NAMESPACE:
            raise WorldError(f"{name[:80]!r} is not the name of a queue; use str(QueueName(workflow_name, namespace))")
        return cls(found[2], found[1] or _DEFAULT_NAMESPACE)


def prefix_of(namespace: str) -> str:
    """What the names of a namespace's queues begin with.  Raises WorldError (400) when it can have none."""
    if not _NAMESPACE.fullmatch(namespace):
        raise WorldError(f"namespace {namespace[:80]!r} cannot have queues; use lower case letters and digits")
    return _prefix(namespace)


def _prefix(namespace: str) -> str:
    return "__wkf_workflow_" if namespace == _DEFAULT_NAMESPACE else f"__{namespace}_wkf_workflow_"


def _is_text(given: str) -> bool:
    """Whether it can be stored: half of a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in given)


# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Whether somebody listens; it concerns no run."""

    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Invocation:
    """The run has something to do.  All but ``run_id`` is advice, and may be missing."""

    run_id: str
    step_id: str | None = None
    run_input: e.RunCreated | None = None
    """What the run is created from, should its first event have been lost."""
    hook_input: e.HookReceived | e.SignalReceived | None = None
    """What is handed in, recorded once for the message."""
    wait_id: str | None = None
    child_run_id: str | None = None
    trace: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not _RUN_ID.fullmatch(self.run_id):
            raise WorldError(f"{self.run_id[:140]!r} cannot be a run id; use letters, digits, '_' and '-', at most 128")


Message: TypeAlias = HealthCheck | Invocation


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be queued.  It is delivered not before ``delay`` has passed, by the store's clock.

    Made with what cannot be queued it raises WorldError (400).
    """

    queue_name: str
    message: Message
    idempotency_key: str | None = None
    scope: Scope = "pending"
    delay: timedelta | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def run_id(self) -> str | None:
        return self.message.run_id if isinstance(self.message, Invocation) else None

    def __post_init__(self) -> None:
        QueueName.parse(self.queue_name)
        if self.scope not in ("pending", "inflight"):
            raise WorldError(f"{self.scope!r} is not a scope; use 'pending' or 'inflight'")
        if self.idempotency_key is not None and not 0 < len(self.idempotency_key) <= 1024:
            raise WorldError(f"an idempotency key has 1 to 1024 characters, not {len(self.idempotency_key)}")
        if self.idempotency_key is not None and not _is_text(self.idempotency_key):
            raise WorldError("an idempotency key is Unicode text; this one is not, decode it before you pass it on")
        if self.delay is not None and not timedelta(0) <= self.delay <= _LONGEST:
            raise WorldError(f"a message cannot be delayed by {self.delay}; use 0 to {_LONGEST.days} days")
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or name.startswith(_KEPT_HEADERS):
                raise WorldError(f"a message cannot have a header {name[:80]!r}; use a lower case name of its own")
            if not _HEADER_VALUE.fullmatch(value):
                raise WorldError(f"the value of header {name!r} is not one line of ASCII; encode it")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What comes with a message."""

    message_id: str
    """The same on every delivery."""
    queue_name: str
    attempt: int = 1
    """How often it reached a handler, this time included."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Defer:
    """Deliver the same message again in so many seconds, 0 for at once.  That is no failure."""

    timeout_seconds: float

    def __post_init__(self) -> None:
        seconds = self.timeout_seconds
        if not math.isfinite(seconds) or not 0 <= seconds <= _LONGEST.total_seconds():
            raise WorldError(f"a message cannot be deferred by {seconds!r} seconds; use 0 to {_LONGEST.days} days")

    @property
    def delay(self) -> timedelta:
        return timedelta(seconds=self.timeout_seconds)


class NotDeliveredError(WorldError):
    """A handler passes messages on, and this one did not arrive: neither an attempt nor a failure.

    It is delivered again after ``retry_after``.
    """

    status = 503

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


Handler: TypeAlias = Callable[[Message, Delivery], Awaitable[Defer | None]]
"""Takes a message.  None acknowledges it; an exception is a failure, after which it comes again, later each time."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up."""

    message_id: str
    queue_name: str
    run_id: str | None
    message: Message | None
    """None when it cannot be read."""
    attempt: int
    failures: int
    reason: str
    """The last error, in words."""
    created_at: datetime
    dead_at: datetime


# --- the contract ------------------------------------------------------------------------------------


class Queue(Protocol):
    """Messages of the World's namespace.

    A message is kept until a handler has returned None for it, or it is dead: after as many failures as the World
    allows one transaction gives it up, and fails its run (``MAX_DELIVERIES_EXCEEDED``) if that is open.
    """

    async def queue(
        self,
        name: str,
        message: Message,
        *,
        idempotency_key: str | None = None,
        scope: Scope = "pending",
        delay: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Queue a message, durably, and give its id: that of the first one while ``idempotency_key`` is held.

        A pending message that is queued again is due at the earlier of the two moments.  Raises WorldError (400).
        """
        ...

    async def queue_batch(self, messages: Sequence[NewMessage]) -> Sequence[str | WorldError]:
        """Queue many in one transaction: of each, in order, its id or why it was refused."""
        ...

    def consume(
        self, handler: Handler, *, concurrency: int = 16, drain: timedelta = DRAIN
    ) -> Callable[[], Awaitable[None]]:
        """Deliver messages to ``handler``, ``concurrency`` at a time, until the answer is called or the World closed.

        Either stops taking messages, waits up to ``drain`` for the handlers that run, cancels those that go on, and
        gives what they had back; nothing is delivered afterwards.  Raises WorldError (409) on a World that was started
        with ``consume=False``, or has a consumer already.
        """
        ...

    async def dead_letters(self, page: PageRequest | None = None) -> Page[DeadLetter]:
        """Messages that were given up, the latest first."""
        ...

    async def requeue(self, message_id: str) -> None:
        """Deliver a dead letter again, with no failures counted.

        A wake-up whose key another message holds becomes one with that.  Raises WorldError (404), EntityConflictError
        when another message holds its ``inflight`` key.
        """
        ...

    async def drop(self, message_id: str) -> None:
        """Delete a dead letter.  Raises WorldError (404)."""
        ...
