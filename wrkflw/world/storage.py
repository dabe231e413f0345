"""Storage, as the engine sees it: one way to write, and reads by page.

Implementations raise the errors of ``world.errors`` and nothing of their driver's.  When a write returns, it is
durable; when it raises, nothing was written.  Objects that are handed out are copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, Protocol, TypeAlias

from typing_extensions import TypeVar

from .cursors import Cursors
from .entities import Detail, Hook, Run, RunStatus, Step, Wait
from .errors import WorldError
from .events import NewEvent, StoredEvent
from .payloads import Payloads
from .retention import Retention
from .schedules import Schedules
from .writers import HookWriters, RunWriters, StepWriters

if TYPE_CHECKING:
    from .queue import NewMessage

T = TypeVar("T")

Resolve: TypeAlias = Literal["all", "none"]
"""Whether payloads are read as well."""
OnConflict: TypeAlias = Literal["use_existing", "fail", "terminate_existing", "allow_if_finished"]
"""What a known idempotency key gives: its run, a refusal, or its key to a new run, and then an end to it if need be."""


RUN_DUE: Literal["run_due"] = "run_due"
"""What listeners are told, in place of an event type, when a run was given up and may be taken at once."""
RUN_PARKED: Literal["run_parked"] = "run_parked"
"""The same of one that waits for a time, or for something from outside."""
STORE_LOST: Literal["store_lost"] = "store_lost"
"""The same when this process can write nothing any more: every write says why."""


class Stamp(NamedTuple):
    """Whose a World is: what it marks its hooks with."""

    owner_id: str = "local"
    project_id: str = "default"
    environment: str = "development"


class RunFence(NamedTuple):
    """Written by the run's owner: refused unless the run's epoch is this one."""

    epoch: int


class StepFence(NamedTuple):
    """Written by who executes a step without owning the run: refused unless the step is at this attempt."""

    step_id: str
    attempt: int


Fence: TypeAlias = RunFence | StepFence


class Claim(NamedTuple):
    """The wish to own a run."""

    owner: str


class PageRequest(NamedTuple):
    """``cursor`` is exclusive and comes from an earlier page of the same listing."""

    limit: int = 100
    cursor: str | None = None
    sort_order: Literal["asc", "desc"] | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``has_more`` alone says whether to go on; ``cursor`` is None only on an empty first page."""

    data: list[T]
    cursor: str | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class EventResult:
    """``event`` is None when the call succeeded without one."""

    run: Run
    event: StoredEvent | None = None
    step: Step | None = None
    hook: Hook | None = None
    wait: Wait | None = None
    step_created: bool = False
    claimed: bool = False
    """Whether this write has claimed the run, at the epoch that ``run`` has."""
    max_events: int = 0
    """How many events the run may have."""
    events: Sequence[StoredEvent] = ()
    """What ``event_count`` or ``since`` asked for; after ``run_started`` the log, unless ``skip_preload``."""
    cursor: str | None = None
    has_more: bool = False
    """Whether there are more of ``events`` than these."""


class BatchItem(NamedTuple):
    """What became of one event of a batch: its slot, or the refusal."""

    slot: int | None = None
    refusal: WorldError | None = None
    conflicting_run_id: str | None = None
    """Who holds the token, when ``hook_conflict`` stands at the slot instead of ``hook_created``."""


class BatchResult(NamedTuple):
    """``last_slot`` is the end of the log now; ``at`` is when its events happened."""

    epoch: int
    last_slot: int
    outcomes: Sequence[int | BatchItem]
    """Of each event its slot, or more if there is more to tell."""
    at: datetime
    refused: bool = False
    """Whether any of the events was refused."""

    @property
    def items(self) -> list[BatchItem]:
        """One for each event."""
        return [BatchItem(outcome) if isinstance(outcome, int) else outcome for outcome in self.outcomes]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Conditions of ``runs.list``; None means any.  ``statuses`` is one or many; an empty list matches nothing."""

    workflow_name: str | None = None
    statuses: RunStatus | Sequence[RunStatus] | None = None
    detail: Detail | None = None
    attributes: Mapping[str, str] | None = None
    since: datetime | None = None
    until: datetime | None = None


class Events(Protocol):
    """The log: the only way to write, and to read what was written."""

    async def create(
        self,
        run_id: str | None,
        event: NewEvent,
        *,
        fence: Fence | None = None,
        claim: Claim | None = None,
        expect_slot: int | None = None,
        resume_id: str | None = None,
        resume_digest: str | None = None,
        wake_at: datetime | None = None,
        on_conflict: OnConflict = "fail",
        event_count: int | None = None,
        since: str | None = None,
        resolve_data: Resolve = "all",
        skip_preload: bool = False,
        messages: Sequence[NewMessage] = (),
    ) -> EventResult:
        """Append one event.  ``run_id`` may be None for ``run_created``: the World mints one.

        ``wake_at`` is when a created run should first be taken; now, when it is None.  ``on_conflict`` says what a
        known idempotency key gives: ``use_existing`` the existing run, without an event, if its input is the same, and
        RunExpiredError once that input was removed;
        ``fail`` KeyTakenError, as ``allow_if_finished`` does while that run is open; ``terminate_existing`` cancels
        it.  The last two hand its key on in the transaction of the creation.

        ``resume_id`` makes ``hook_received`` and ``signal_received`` idempotent: the same again, by ``resume_digest``
        if that is given and else by payload, is answered with the event that stands in the log, even when the hook
        or run is gone; anything else under the id is EntityConflictError.

        A write is never refused for what its writer has not seen.  ``event_count``, how many events it holds, has the
        result tell the others; ``since``, a cursor of ``list``, what follows it, the new event included.  With
        ``resolve_data="none"`` the result has no payloads.

        With ``claim`` what comes from outside (``hook_received``, ``signal_received``, ``wait_completed``,
        ``run_resumed``) also claims the run for its writer, if something was appended and nobody alive has the run, it
        is open, not paused and not to start later; ``claimed`` of the result tells.

        ``messages`` are queued in the same transaction, if the event is not refused.
        """
        ...

    async def create_batch(
        self,
        run_id: str,
        events: Sequence[NewEvent],
        *,
        fence: Fence | None = None,
        claim: Claim | None = None,
        expect_slot: int | None = None,
        messages: Sequence[NewMessage] = (),
    ) -> BatchResult:
        """Append many in one transaction, judged in order; one that is refused takes no slot and stops no other.

        ``messages`` are queued in the same transaction, if anything was appended.

        With ``claim`` instead of ``fence`` the batch begins with ``run_created`` and the run is born owned, at the
        epoch of the result; then the first refusal is raised and nothing is written.  Hooks are created and disposed
        only by the run's owner or with a claim, and ``signal_received`` is copied only with a claim.

        A batch with ``claim`` may instead begin with ``hook_received``, ``signal_received`` or ``wait_completed`` of a
        run that nobody owns, and which is open, not paused and not to start later: that event comes from outside and
        claims the run, and what follows it is the owner's.  EntityConflictError where the run cannot be claimed.
        With ``expect_slot`` its writer goes on from a record that it kept, as if the event stood there.
        """
        ...

    async def get(self, run_id: str, event_id: str, *, resolve_data: Resolve = "all") -> StoredEvent: ...

    async def list(
        self, run_id: str, *, after_slot: int = 0, page: PageRequest | None = None, resolve_data: Resolve = "all"
    ) -> Page[StoredEvent]:
        """Oldest first, what follows ``after_slot``; without ``page`` all of it."""
        ...

    async def list_by_correlation_id(
        self, run_id: str, correlation_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "all"
    ) -> Page[StoredEvent]: ...


class Runs(RunWriters, Protocol):
    """Runs, and who owns them."""

    async def get(self, run_id: str, *, resolve_data: Resolve = "all") -> Run:
        """Raises WorkflowRunNotFoundError."""
        ...

    async def locate(self, run_id: str) -> Run:
        """The run without payloads, attributes and detail: where it stands, and who has it.

        Raises WorkflowRunNotFoundError.
        """
        ...

    async def get_many(self, run_ids: Sequence[str], *, resolve_data: Resolve = "none") -> Sequence[Run | None]:
        """One for each id, in their order; None for a run that there is not."""
        ...

    async def find(self, workflow_name: str, idempotency_key: str) -> Run | None:
        """The run that holds the key."""
        ...

    async def list(
        self, where: RunFilter | None = None, *, page: PageRequest | None = None, resolve_data: Resolve = "none"
    ) -> Page[Run]:
        """Newest first.

        Raises WorldError (400) for more than eight attributes, a word that is no status or detail, and a moment without
        a timezone.
        """
        ...

    async def wait_for_terminal(self, run_id: str, *, timeout: timedelta) -> Run:
        """The run once it has ended, or as it stands after ``timeout``; without payloads if it has expired.

        Raises WorkflowRunNotFoundError.
        """
        ...

    async def claim(self, run_id: str, *, owner: str) -> Run:
        """Own the run: epoch + 1.

        Raises EntityConflictError while a live owner has it, RunPausedError, RunExpiredError.
        """
        ...

    async def claim_due(self, *, owner: str, workflow_names: Sequence[str], limit: int) -> Sequence[Run]:
        """Own up to ``limit`` runs that have something to do now and no live owner, longest due first."""
        ...

    async def release(self, run_id: str, fence: RunFence, *, seen_slot: int, wake_at: datetime | None) -> bool:
        """Give the run up until ``wake_at`` (None: until something is written to it).

        False, and nothing changes, while the log holds more than ``seen_slot``.
        """
        ...

    async def next_due(self, workflow_names: Sequence[str]) -> datetime | None:
        """When the next unowned run has something to do."""
        ...

    async def wake(self, run_id: str) -> bool:
        """Make a run that waits due now.  False when there is nothing to wake: it is owned, paused, ended or unknown.

        A run that is to start later starts then, and one that waits for its turn when that comes.
        """
        ...

    async def delete(self, run_id: str) -> None:
        """Remove an ended run and all that belongs to it.  Raises EntityConflictError while it is open."""
        ...


class Steps(StepWriters, Protocol):
    async def get(self, run_id: str, step_id: str, *, resolve_data: Resolve = "all") -> Step: ...

    async def list(self, run_id: str, *, page: PageRequest | None = None, resolve_data: Resolve = "none") -> Page[Step]:
        """Newest first."""
        ...


class Hooks(HookWriters, Protocol):
    """Hooks that are live, or keep their token past the end of their run; of the others only the log tells."""

    async def get(self, hook_id: str, *, run_id: str | None = None, resolve_data: Resolve = "all") -> Hook:
        """Raises HookNotFoundError; WorldError (400) without ``run_id`` when several runs have a hook of this id."""
        ...

    async def get_by_token(self, token: str, *, resolve_data: Resolve = "all") -> Hook:
        """Raises HookNotFoundError."""
        ...

    async def list(
        self, run_id: str | None = None, *, page: PageRequest | None = None, resolve_data: Resolve = "none"
    ) -> Page[Hook]:
        """Oldest first; those of one run, or of all."""
        ...


class Storage(Protocol):
    """Runs and what belongs to them, each kind by itself; what was committed is seen by all of them."""

    async def settled(self) -> None:
        """Wait until every write that was submitted before this is durable or refused."""
        ...

    async def check_writable(self) -> None:
        """Write something that changes nothing.  Raises StoreError when it could not be made durable."""
        ...

    @property
    def runs(self) -> Runs: ...
    @property
    def steps(self) -> Steps: ...
    @property
    def events(self) -> Events: ...
    @property
    def hooks(self) -> Hooks: ...
    @property
    def payloads(self) -> Payloads: ...
    @property
    def retention(self) -> Retention: ...
    @property
    def schedules(self) -> Schedules: ...
    @property
    def cursors(self) -> Cursors: ...
