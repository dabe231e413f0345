"""The code no longer fits the record, which pauses the run; or the record could not be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import WrkflwError

if TYPE_CHECKING:
    from typing import Self

    from .values import InvalidValueError


class NondeterminismError(WrkflwError):
    """The program asked for something else than it did before; the run is paused.

    ``what`` is the whole sentence: what was asked for then and now, and what to do about it.
    """

    def __init__(self, run_id: str, key: str, what: str) -> None:
        super().__init__(what)
        self.run_id = run_id
        self.key = key

    @classmethod
    def items_changed(cls, run_id: str, key: str, before: int, now: int) -> Self:
        """The list of a foreach is another one than when it was entered; equal numbers mean other items."""
        has = "has others" if before == now else f"has {now:,}"
        what = f"foreach {key!r} had {before:,} items and {has} after a restart"
        return cls(run_id, key, f"{what}; keep the map before it pure")


class ForeignAwaitError(NondeterminismError):
    """The program awaited something that is neither a step call nor a combination of them; the run is paused."""

    @classmethod
    def of(cls, run_id: str, key: str, workflow_id: str, awaited: str) -> Self:
        """``awaited`` is what the program waits for, in words; ``key`` the last operation before it."""
        what = f"workflow {workflow_id!r} awaits {awaited}, which is not recorded"
        return cls(run_id, key, f"{what}; await step.* calls only, and do other work in a step")


class DefinitionChangedError(WrkflwError):
    """The workflow no longer has what the run stands at, or can no longer read what it recorded."""

    def __init__(self, run_id: str, key: str, workflow_id: str) -> None:
        cure = "deploy the old code, or fork at an earlier step"
        self._say(run_id, key, workflow_id, f"stands at {key!r}, which workflow {workflow_id!r} no longer has; {cure}")

    @classmethod
    def went_past(cls, run_id: str, key: str, workflow_id: str) -> Self:
        """The workflow no longer has what the run has behind it."""
        changed = cls.__new__(cls)
        cure = "give it back the id it had, deploy the old code, or fork at an earlier step"
        changed._say(
            run_id, key, workflow_id, f"went past {key!r}, which workflow {workflow_id!r} no longer has; {cure}"
        )
        return changed

    @classmethod
    def unreadable(cls, run_id: str, key: str, workflow_id: str, error: InvalidValueError) -> Self:
        """A recorded value does not fit the type that the code has now."""
        changed = cls.__new__(cls)
        cure = "deploy the old code, or give what is new a default"
        changed._say(
            run_id, key, workflow_id, f"cannot be read by workflow {workflow_id!r} as it is now: {error}; {cure}"
        )
        return changed

    @classmethod
    def reordered(cls, run_id: str, key: str, after: str, workflow_id: str) -> Self:
        """What the run recorded at ``key``, when it was done with ``after``, now stands before that."""
        changed = cls.__new__(cls)
        what = f"recorded {key!r} after {after!r}, but workflow {workflow_id!r} now has it before"
        changed._say(run_id, key, workflow_id, f"{what}; deploy the old code, or fork at an earlier step")
        return changed

    @classmethod
    def put_before(cls, run_id: str, key: str, workflow_id: str) -> Self:
        """What flows out of a step is needed that was put before what the run had begun, and so never ran."""
        changed = cls.__new__(cls)
        what = f"needs the output of {key!r}, which workflow {workflow_id!r} has put before what it had begun"
        changed._say(run_id, key, workflow_id, f"{what}; deploy the old code, or fork at an earlier step")
        return changed

    def _say(self, run_id: str, key: str, workflow_id: str, what: str) -> None:
        Exception.__init__(self, f"run {run_id!r} {what}")
        self.run_id = run_id
        self.key = key
        self.workflow_id = workflow_id


class StoreError(WrkflwError):
    """Storage could not commit; repeat the call with the same idempotency key."""
