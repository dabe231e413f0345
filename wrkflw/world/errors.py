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
    ├── HookConflictError            409  the token is another run's
    ├── RunExpiredError              410  the run has ended, or its data was purged
    ├── PreconditionFailedError      412
    ├── TooEarlyError                425  .retry_after
    ├── ThrottleError                429  .retry_after
    │   └── StoreBusyError(StoreError)
    └── RunNotSupportedError         400  written by a newer version
    StoreRefusedError                the store cannot be opened as it is
"""

from __future__ import annotations

from datetime import datetime, timedelta

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
        super().__init__(f"{run_id} has {limit:,} events, which is the limit; split the run or raise events=")
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


class HookConflictError(WorldError):
    status = 409

    def __init__(self, token: str, conflicting_run_id: str) -> None:
        super().__init__(
            f"token {token!r} is held by run {conflicting_run_id}; tokens are free again when that run ends"
        )
        self.token, self.conflicting_run_id = token, conflicting_run_id


class RunExpiredError(WorldError):
    status = 410

    def __init__(self, run_id: str, run_status: str, event_type: str) -> None:
        super().__init__(f"cannot record {event_type!r} on {run_id}: it is already {run_status!r}")
        self.run_id, self.run_status = run_id, run_status


class PreconditionFailedError(WorldError):
    status = 412

    def __init__(self, run_id: str, expected: int, last_slot: int) -> None:
        super().__init__(f"{run_id} is at slot {last_slot}, not {expected}; read the log again")
        self.run_id, self.expected, self.last_slot = run_id, expected, last_slot


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
