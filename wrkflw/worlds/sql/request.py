"""What is to be appended to a run, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from wrkflw.world import events as e
from wrkflw.world.entities import Step
from wrkflw.world.fold import Image
from wrkflw.world.queue import NewMessage
from wrkflw.world.storage import BatchItem, Claim, Fence, RunFence

from .payloads import Large


@dataclass(slots=True)
class Append:
    """What is to be appended to one run, and under which conditions."""

    run_id: str
    events: Sequence[e.NewEvent]
    fence: Fence | None = None
    claim: Claim | None = None
    expect_slot: int | None = None
    resume_id: str | None = None
    wake_at: datetime | None = None
    large: dict[bytes, Large] = field(default_factory=dict)
    """The payloads that were kept ahead, and do not stand in their events."""
    atomic: bool = True
    """Whether the first refusal refuses all."""
    takes_over: bool = False
    """Whether the first event claims the run for who writes the others as its owner."""
    messages: Sequence[NewMessage] = ()
    """What is queued with the events."""
    epoch: int | None = field(init=False)
    """That of the owner, if it is the owner who writes."""
    types: tuple[str, ...] = field(init=False)
    """Those of the events."""

    def __post_init__(self) -> None:
        self.epoch = self.fence.epoch if isinstance(self.fence, RunFence) else None
        self.types = tuple([event.event_type for event in self.events])


@dataclass(slots=True)
class Appended:
    image: Image
    at: datetime
    outcomes: list[int | BatchItem] = field(default_factory=list)
    refused: bool = False
    last: tuple[int, e.NewEvent] | None = None
    """Slot and form of the event that was asked for last; None when nothing was appended for it."""
    step_created: bool = False
    again: e.StoredEvent | None = None
    """The event as it was recorded by an earlier call that asked for the same."""
    run_no: int = 0
    step: Step | None = None
    claimed: bool = False
