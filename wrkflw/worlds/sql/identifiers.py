"""Ids that come from outside, checked."""

from __future__ import annotations

import re
from datetime import datetime

from wrkflw.ids import RUN_ID, made_another_time
from wrkflw.world.errors import WorldError
from wrkflw.world.events import event_id

_ID = re.compile(RUN_ID)
_CURE = "use letters, digits, '_' and '-', at most 128"


def check_new_run_id(run_id: str, now: datetime) -> None:
    """Raises WorldError (400) for what cannot be an id, and for a minted one that was not made about now."""
    check_run_id(run_id)
    if (made := made_another_time(run_id, now)) is not None:
        raise WorldError(f"run id {run_id!r} was made at {made:%Y-%m-%d %H:%M:%S}, which is not now; make a new one")


def check_run_id(run_id: str) -> None:
    """Raises WorldError (400) for what cannot be an id."""
    if not is_run_id(run_id):
        raise WorldError(f"{str(run_id)[:140]!r} cannot be a run id; {_CURE}")


def is_run_id(given: object) -> bool:
    """Whether there can be a run of this id."""
    return isinstance(given, str) and _ID.fullmatch(given) is not None


def check_correlation_id(given: str) -> None:
    """Raises WorldError (400) for what nothing in a run can be called."""
    if not is_run_id(given):
        raise WorldError(f"{str(given)[:140]!r} cannot be a correlation id; {_CURE}")


def slot_of(given: str) -> int | None:
    """The slot in an event id; None when there can be no such event."""
    digits = given.removeprefix("evnt_")
    slot = int(digits) if digits.isascii() and digits.isdigit() and len(digits) == 26 else 0
    return slot if 0 < slot < 2**63 and event_id(slot) == given else None
