"""How a World refuses: the branch of the error family that speaks of storage.

::

    WorldError                       .status, as over HTTP
    ├── EntityConflictError          409  duplicate, finished, lost race
    │   ├── KeyTakenError            .run_id
    │   ├── RunPausedError
    │   ├── FencedError              a newer owner has taken over
    │   └── EventLimitError
    ├── WorkflowRunNotFoundError     404
    ├── HookNotFoundError            404
    ├── ScheduleNotFoundError        404
    ├── HookConflictError            409  the token is another run's
    ├── PayloadTooLargeError         413
    ├── RunExpiredError              410  the run has ended, or its payloads were removed
    │   └── StreamExpiredError       410  the chunks of its streams were
    ├── PreconditionFailedError      412
    ├── TooEarlyError                425  .retry_after
    ├── ThrottleError                429  .retry_after
    │   └── StoreBusyError(StoreError)
    └── RunNotSupportedError         400  written by a newer version
    StoreRefusedError                the store cannot be opened as it is
    DamagedPayloadError              what is stored is not what was written
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from wrkflw.errors import StoreError, WrkflwError


class WorldError(WrkflwError):
    """The World refused, and nothing was written.  ``status`` is the HTTP status that says the same."""

    status = 400

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status


class EntityConflictError(WorldError):
    """What was to be written does not fit what is there."""

    status = 409


class KeyTakenError(EntityConflictError):
    """The idempotency key belongs to another run of the workflow."""

    def __init__(self, idempotency_key: str, run_id: str) -> None:
        super().__init__(f"idempotency key {idempotency_key!r} belongs to run {run_id!r}")
        self.idempotency_key, self.run_id = idempotency_key, run_id


class RunPausedError(EntityConflictError):
    def __init__(self, run_id: str, event_type: str) -> None:
        super().__init__(f"cannot record {event_type!r} on {run_id}: the run is paused; unpause it first")
        self.run_id = run_id


class FencedError(EntityConflictError):
    """The writer's claim is no longer the newest: it must drop the run and write nothing more."""

    def __init__(self, run_id: str, held: str, now: str) -> None:
        super().__init__(f"{run_id} was taken over: this writer holds {held}, the run is at {now}")
        self.run_id = run_id


class EventLimitError(EntityConflictError):
    def __init__(self, run_id: str, limit: int) -> None:
        cure = "split the run, or raise it: Limits(events=...)"
        super().__init__(f"run {run_id!r} has {limit:,} events, which is the limit; {cure}")
        self.run_id, self.limit = run_id, limit


class WorkflowRunNotFoundError(WorldError, LookupError):
    status = 404

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} was not found")
        self.run_id = run_id


class HookNotFoundError(WorldError, LookupError):
    """Unknown, disposed or expired: the answer is the same, so that a token cannot be probed."""

    status = 404

    def __init__(self) -> None:
        super().__init__("no live hook has this token")


class ScheduleNotFoundError(WorldError, LookupError):
    status = 404

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"schedule {schedule_id!r} was not found")
        self.schedule_id = schedule_id


class HookConflictError(WorldError):
    status = 409

    def __init__(self, token: str, conflicting_run_id: str) -> None:
        super().__init__(
            f"token {token!r} is held by run {conflicting_run_id}; tokens are free again when that run ends"
        )
        self.token, self.conflicting_run_id = token, conflicting_run_id


class RunExpiredError(WorldError):
    """The run has ended; or what was to be read of it was removed, at ``expired_at``."""

    status = 410
    expired_at: datetime | None = None

    def __init__(self, run_id: str, run_status: str, event_type: str) -> None:
        super().__init__(f"cannot record {event_type!r} on {run_id}: it is already {run_status!r}")
        self.run_id, self.run_status = run_id, run_status

    @classmethod
    def purged(cls, run_id: str, run_status: str, expired_at: datetime) -> Self:
        """Its payloads were removed, as long after its end as they were to be kept."""
        error = cls.__new__(cls)
        when = expired_at.isoformat(" ", "seconds")
        Exception.__init__(error, f"what run {run_id!r} held was removed on {when}; keep runs longer with retention=")
        error.run_id, error.run_status, error.expired_at = run_id, run_status, expired_at
        return error


class StreamExpiredError(RunExpiredError):
    """The chunks of the stream were removed with the payloads of the run."""


class PreconditionFailedError(WorldError):
    status = 412

    def __init__(self, run_id: str, expected: int, last_slot: int) -> None:
        super().__init__(f"{run_id} is at slot {last_slot}, not {expected}; read the log again")
        self.run_id, self.expected, self.last_slot = run_id, expected, last_slot


class PayloadTooLargeError(WorldError):
    status = 413

    def __init__(self, run_id: str, field: str, got: int, limit: int) -> None:
        super().__init__(
            f"{field!r} for {run_id} has {got:,} bytes, the limit is {limit:,}; store it elsewhere and pass a "
            "reference, or raise payload_max"
        )
        self.run_id, self.got, self.limit = run_id, got, limit


class TooEarlyError(WorldError):
    status = 425

    def __init__(self, message: str, retry_after: datetime) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ThrottleError(WorldError):
    status = 429

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreBusyError(ThrottleError, StoreError):
    """Another process held the database for longer than this one may wait; nothing was written."""


class RunNotSupportedError(WorldError):
    def __init__(self, run_id: str, run_spec: int, world_spec: int) -> None:
        super().__init__(f"{run_id} was written by a newer wrkflw (format {run_spec}, this is {world_spec}); upgrade")
        self.run_id, self.run_spec, self.world_spec = run_id, run_spec, world_spec


class StoreRefusedError(StoreError):
    """The store cannot be used as it is; the text says why and what to do."""


class DamagedPayloadError(StoreError):
    """A payload is missing, or is not what was written there: nobody can go on with the run before it is restored."""

    def __init__(self, run_id: str, part: str, why: str) -> None:
        super().__init__(f"{part} of run {run_id!r} cannot be read: {why}; restore it from a backup")
        self.run_id, self.part = run_id, part
