"""How long what a run holds is kept after its end.

A run says so itself by its attribute ``$retention``, in seconds; one that does not is kept as its World keeps runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

RETENTION = "$retention"
DEFAULT_RETENTION = timedelta(days=30)
_DAY = 86_400
_MOST_DIGITS = 15
"""Of the seconds: more than any date can be away."""


def stamp(retention: timedelta) -> str:
    """The value of the attribute: whole seconds, rounded up."""
    return str(retention.days * _DAY + retention.seconds + (retention.microseconds > 0))


def can_be_stamped(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS


def expiry_of(ended_at: datetime, attributes: Mapping[str, str], default: timedelta) -> datetime | None:
    """When a run that ended then is to lose its payloads; None when it keeps them for ever."""
    stamped = attributes.get(RETENTION)
    try:
        return ended_at + (default if stamped is None else timedelta(seconds=int(stamped)))
    except OverflowError:  # beyond every date
        return None


class Retention(Protocol):
    """What ended runs lose when they were kept for as long as was wanted.

    Payloads go, with the state and whatever else a workflow has put beside them, and the chunks of streams.  What is
    left says what happened and when: the events, the entities, the attributes, the idempotency key.
    """

    @property
    def default(self) -> timedelta:
        """What holds for a run that does not say how long it is kept."""
        ...

    async def expire(self, *, limit: int = 100) -> int:
        """Remove what up to ``limit`` runs have kept long enough; how many were done with.  Fewer: none was left.

        It happens in short transactions.  From the first on, who reads payloads of the run gets RunExpiredError.
        """
        ...

    async def next_due(self) -> datetime | None:
        """When the next run is to lose its payloads."""
        ...
