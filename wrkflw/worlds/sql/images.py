"""The entities that a write is judged by: read in its transaction, or kept from the owner's last write.

A run that is owned here is written by nobody else but for the odd event from outside, and one that was parked here is
often claimed here again.  So its image is kept, and the write itself proves that it is still true: every event raises
``last_slot``, every claim the epoch, and the run row is only moved on from the values the image has.

Only what the events at hand are about is read, each by its key: a run may have thousands of hooks and waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from wrkflw.clock import to_microseconds
from wrkflw.world import SPEC_VERSION
from wrkflw.world import events as e
from wrkflw.world.entities import Hook, Run, Step
from wrkflw.world.errors import RunNotSupportedError, WorkflowRunNotFoundError
from wrkflw.world.fold import Image

from . import compiled as sql
from . import rows
from .database import Connection
from .identifiers import is_run_id
from .payloads import Large
from .request import Append

_NEED_THE_RUN_ROW = frozenset({"run_created", "run_started", "run_cancelled", "run_paused", "run_resumed"})
_MOST_PARKED = 2_000
_FEW = 8
"""Steps, or hooks, of a run that is not read anew for each write; of many, those at hand are."""


@dataclass(slots=True)
class Opened:
    """A run as its transaction found it, and what is to be written to it."""

    image: Image
    now: datetime
    at: int = 0
    """``now``, as it is stored."""
    run_no: int = 0
    found_slot: int = 0
    found_epoch: int = 0
    epoch: int | None = None
    """That of the owner, if it is the owner who writes what comes next."""
    kept: bool = False
    """Whether the image was kept, and must be proven by the write."""
    complete: bool = False
    """Whether every step that is not in the image is either ended or absent."""
    bare: bool = False
    """Whether the run has had neither hooks, waits nor signals before this write."""
    ended_steps: dict[str, None] = field(default_factory=dict)
    found_signals: set[tuple[str, int]] = field(default_factory=set)
    rows: list[tuple[object, ...]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    steps: set[str] = field(default_factory=set)
    hooks: set[str] = field(default_factory=set)
    waits: set[str] = field(default_factory=set)
    tokens: dict[str, str | None] = field(default_factory=dict)
    """Tokens that this write takes, with its run, or sets free."""
    conflicts: dict[str, e.StoredEvent] = field(default_factory=dict)
    """By hook, those that this write records."""
    attributes: bool = False
    labelled: bool = False
    """Whether the run of the image has its attributes."""
    large: list[Large] = field(default_factory=list)
    """Large payloads that it refers to."""


class _Kept(NamedTuple):
    """What is kept of a run that is owned here, of which many may be under way at once."""

    image: Image
    run_no: int
    complete: bool
    bare: bool
    labelled: bool
    ended_steps: dict[str, None]


class _Parked(NamedTuple):
    """What is kept of a run that waits: little, for there may be thousands."""

    run_no: int
    run: Run
    labelled: bool
    steps: dict[str, Step]
    hooks: dict[str, Hook]


class Images:
    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._kept: dict[str, _Kept] = {}
        self._parked: dict[str, _Parked] = {}

    def open(self, connection: Connection, request: Append, now: datetime) -> Opened:
        """The image of a run, with the entities that the events are about."""
        remembered = self._unkept(request, now) or self._unparked(request, now)
        opened = remembered or self._read(connection, request.run_id, now)
        run = opened.image.run
        if run is None:
            opened.at = to_microseconds(now)
            return opened
        opened.now = max(now, run.updated_at)
        opened.at = to_microseconds(opened.now)
        self._read_subjects(connection, opened, request.events)
        return opened

    def label(self, connection: Connection, opened: Opened) -> None:
        """Give the run of the image its attributes."""
        assert opened.image.run is not None
        if not opened.labelled:
            opened.image.run.attributes = dict(connection.of_run(sql.ATTRIBUTES_OF_RUN, run_no=opened.run_no))
            opened.labelled = True

    def keep(self, opened: Opened) -> None:
        """Keep the image of a run that its owner has just written to: the run and the steps that have not ended."""
        image, bare = opened.image, opened.bare
        for step_id in opened.steps:
            if image.steps[step_id].ended_slot is not None:
                del image.steps[step_id]
                opened.ended_steps[step_id] = None
        if not bare or opened.hooks or opened.waits or image.signals:
            bare = False
            if len(image.hooks) > _FEW:
                image.hooks = {}
            image.waits, image.signals, image.waiting, image.answered = {}, {}, {}, {}
        self._kept[image.run_id] = _Kept(
            image, opened.run_no, opened.complete, bare, opened.labelled, opened.ended_steps
        )

    def park(self, run: Run) -> None:
        """``run`` is how its owner has given it up."""
        kept = self._kept.pop(run.run_id, None)
        if kept is None or run.status != "running" or run.paused_at is not None:
            return
        image = kept.image
        assert image.run is not None
        as_it_stands = (image.run.last_slot, image.run.epoch) == (run.last_slot, run.epoch)
        if not as_it_stands or len(image.steps) > _FEW:
            return
        run.attributes = image.run.attributes
        self._parked[run.run_id] = _Parked(kept.run_no, run, kept.labelled, image.steps, image.hooks)
        if len(self._parked) > _MOST_PARKED:
            del self._parked[next(iter(self._parked))]

    def forget(self, run_id: str) -> None:
        self._kept.pop(run_id, None)
        self._parked.pop(run_id, None)

    def forget_all(self) -> None:
        """After a rollback: what was kept may hold what was not committed."""
        self._kept.clear()
        self._parked.clear()

    # --- reading -----------------------------------------------------------------------------------

    def _unkept(self, request: Append, now: datetime) -> Opened | None:
        """The image of a run that its owner goes on writing to; whoever else writes has its own row to look at."""
        kept = self._kept.pop(request.run_id, None)
        if kept is None or not _may_use(kept, request):
            return None
        return Opened(
            kept.image, now, run_no=kept.run_no, complete=kept.complete, bare=kept.bare,
            labelled=kept.labelled, ended_steps=kept.ended_steps, kept=True,
        )  # fmt: skip

    def _unparked(self, request: Append, now: datetime) -> Opened | None:
        """The image of a run that was parked here, for who claims it; any other write has its own row to look at."""
        parked = self._parked.pop(request.run_id, None)
        if parked is None or not request.takes_over:
            return None
        image = Image(request.run_id, parked.run, parked.steps, parked.hooks)
        return Opened(image, now, run_no=parked.run_no, labelled=parked.labelled, kept=True)

    def _read(self, connection: Connection, run_id: str, now: datetime) -> Opened:
        if not is_run_id(run_id):
            raise WorkflowRunNotFoundError(run_id)
        opened = Opened(Image(run_id), now)
        found = connection.of_run(sql.RUN_BY_ID, run_id=run_id, namespace=self._namespace)
        if not found:
            opened.complete = opened.bare = opened.labelled = True
            return opened
        run = opened.image.run = rows.run_from(found[0])
        opened.run_no = found[0][0]
        if run.spec_version > SPEC_VERSION:
            raise RunNotSupportedError(run.run_id, run.spec_version, SPEC_VERSION)
        return opened

    def _read_subjects(self, connection: Connection, opened: Opened, events: Sequence[e.NewEvent]) -> None:
        steps_known = opened.bare and opened.complete
        hooks: dict[str, None] = {}
        lines: dict[str, None] = {}
        takers = 0
        for event in events:
            if event.event_type in e.STEP_EVENTS:
                about: Any = event
                if steps_known and about.correlation_id not in opened.ended_steps:
                    continue
                self._read_step(connection, opened, about.correlation_id)
                if isinstance(event, e.StepRetrying) and event.hook_id is not None:
                    hooks[event.hook_id] = None
            elif isinstance(event, e.OfHook):
                hooks[event.correlation_id] = None
                if isinstance(event, e.HookCreated) and event.step_id is not None:
                    self._read_step(connection, opened, event.step_id)
            elif isinstance(event, e.OfWait | e.SignalReceived):
                takers += 1
                signal_type = self._line_of(connection, opened, event)
                if signal_type is not None:
                    lines[signal_type] = None
            elif isinstance(event, e.AttrSet):
                self._read_attributes(connection, opened, event)
        for hook_id in hooks:
            self._read_hook(connection, opened, hook_id)
        for signal_type in lines:
            self._read_line(connection, opened, signal_type, takers)

    def _read_step(self, connection: Connection, opened: Opened, step_id: str) -> None:
        image = opened.image
        step = image.steps.get(step_id)
        if step is None:
            if opened.complete and step_id not in opened.ended_steps:
                return
            found = connection.of_run(sql.STEP_BY_ID, run_no=opened.run_no, step_id=step_id)
            if not found:
                return
            step = image.steps[step_id] = rows.step_from(image.run_id, found[0])
        if step.hook_id is not None:
            self._read_hook(connection, opened, step.hook_id)

    def _read_hook(self, connection: Connection, opened: Opened, hook_id: str) -> None:
        if opened.bare or hook_id in opened.image.hooks:
            return
        found = connection.of_run(sql.HOOK_BY_ID, run_no=opened.run_no, hook_id=hook_id)
        if found:
            opened.image.hooks[hook_id] = rows.hook_from(opened.image.run_id, found[0])

    def _read_attributes(self, connection: Connection, opened: Opened, event: e.AttrSet) -> None:
        self.label(connection, opened)
        claim = event.correlation_id
        if claim is not None and connection.one(sql.ATTRIBUTE_CLAIM, run_no=opened.run_no, correlation_id=claim):
            opened.image.attribute_claims[claim] = None

    def _line_of(
        self, connection: Connection, opened: Opened, event: e.WaitCreated | e.WaitCompleted | e.SignalReceived
    ) -> str | None:
        """Read the wait, if it is about one; the type of signal for which there may be others."""
        if isinstance(event, e.SignalReceived):
            return event.signal_type
        image, wait_id = opened.image, event.correlation_id
        if not opened.bare and wait_id not in image.waits:
            found = connection.of_run(sql.WAIT_BY_ID, run_no=opened.run_no, wait_id=wait_id)
            if found:
                image.waits[wait_id] = rows.wait_from(image.run_id, found[0])
        if isinstance(event, e.WaitCreated):
            return event.signal_type
        wait = image.waits.get(wait_id)
        return wait.signal_type if wait is not None else None

    def _read_line(self, connection: Connection, opened: Opened, signal_type: str, most: int) -> None:
        """The heads of both lines of a type, the waits and the signals: each event takes at most one."""
        if opened.bare:
            return
        image, of_type = opened.image, {"run_no": opened.run_no, "signal_type": signal_type, "row_limit": most}
        for row in connection.of_run(sql.WAITS_FOR_SIGNAL, **of_type):
            image.waits.setdefault(row[1], rows.wait_from(image.run_id, row))
            image.waiting.setdefault(signal_type, {})[row[1]] = None
        found = [row[0] for row in connection.of_run(sql.SIGNALS_OF_TYPE, **of_type)]
        if found:
            image.signals[signal_type] = found
            opened.found_signals.update((signal_type, slot) for slot in found)


def _may_use(kept: _Kept, request: Append) -> bool:
    run = kept.image.run
    return run is not None and run.epoch == request.epoch and _NEED_THE_RUN_ROW.isdisjoint(request.types)
