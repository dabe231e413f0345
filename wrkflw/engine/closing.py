"""What is still open in a part of a run that ends: tokens are freed, waits are closed, retries given up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wrkflw.results import StepError
from wrkflw.world import events as e

from . import failures

if TYPE_CHECKING:
    from .drive import Drive


def close(drive: Drive, keys: Iterable[str], *, themselves: bool = True) -> list[StepError]:
    """End what is open inside of these keys, and at them unless told otherwise.

    Returns the last errors of the calls that waited for another try, and have failed now.
    """
    journal, ended = drive.journal, frozenset(keys)
    given_up: list[StepError] = []
    for record in [record for record in journal.records.values() if _is_in(record.key, ended, themselves)]:
        if (suspension := record.suspension) is not None:
            drive.recorder.note(e.HookDisposed(correlation_id=suspension.hook_id))
        if record.status == "retrying" and record.error is not None:  # it gives up, with the last error it had
            drive.recorder.note(e.StepFailed(correlation_id=record.correlation_id, error=record.error))
            if (error := failures.load(record.error)) is not None:
                given_up.append(error)
        elif record.status in ("pending", "running", "retrying", "waiting"):
            cancelled = failures.dump(failures.cancelled(record.key, record.name))
            end = e.StepFailed(correlation_id=record.correlation_id, error=cancelled, meta={"cancelled": True})
            drive.recorder.note(end)
    for wait in [wait for wait in journal.waits.values() if wait.open and _is_in(wait.key, ended, themselves)]:
        drive.recorder.note(e.WaitCompleted(correlation_id=wait.wait_id, cause="cancelled"))
    return given_up


def _is_in(key: str, ended: frozenset[str], themselves: bool) -> bool:
    if themselves and key in ended:
        return True
    end = key.find("/")
    while end >= 0:
        if key[:end] in ended:
            return True
        end = key.find("/", end + 1)
    return False
