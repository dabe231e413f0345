"""The entities that a write is judged by: read in its transaction, or kept from the owner's last write.

A run that is owned here is written by nobody else but for the odd event from outside.  So its image is kept, and the
write itself proves that it is still true: every event raises ``last_slot``, every claim the epoch, and the run row is
only moved on from the values the image has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from wrkflw.clock import to_microseconds
from wrkflw.world import SPEC_VERSION
from wrkflw.world import events as e
from wrkflw.world.errors import RunNotSupportedError
from wrkflw.world.fold import Image

from . import compiled as sql
from . import rows
from .database import Connection

_STEP_OR_END = (e.OfStep, e.RunCompleted, e.RunFailed)


@dataclass(slots=True)
class Opened:
    """A run as its transaction found it, and what is to be written to it."""

    image: Image
    now: datetime
    at: int = 0
    """``now``, as it is stored."""
    run_no: int = 0
    found_slot: int = 0
    kept: bool = False
    """Whether the image was kept, and must be proven by the write."""
    complete: bool = False
    """Whether every step that is not in the image is either ended or absent."""
    ended_steps: set[str] = field(default_factory=set[str])
    rows: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    types: list[str] = field(default_factory=list[str])
    steps: set[str] = field(default_factory=set[str])
    hooks: set[str] = field(default_factory=set[str])
    waits: set[str] = field(default_factory=set[str])
    attributes: bool = False


class Images:
    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._kept: dict[str, Opened] = {}

    def open(
        self, connection: Connection, run_id: str, events: Sequence[e.NewEvent], epoch: int | None, now: datetime
    ) -> Opened:
        """The image of a run, with the entities that ``events`` are about; ``epoch`` is the writer's, if it owns it."""
        opened = self._kept.pop(run_id, None)
        plain = all(isinstance(event, _STEP_OR_END) for event in events)
        if opened is None or not plain or opened.image.run is None or opened.image.run.epoch != epoch:
            opened = self._read(connection, run_id, now)
        run = opened.image.run
        if run is None:
            opened.at = to_microseconds(now)
            return opened
        opened.now = max(now, run.updated_at)
        opened.at = to_microseconds(opened.now)
        if not plain:
            self._read_neighbours(connection, opened, events)
        for event in events:
            if isinstance(event, e.OfStep):
                self._read_step(connection, opened, event.correlation_id)
        return opened

    def keep(self, opened: Opened) -> None:
        """Keep the image of a run that its owner has just written to."""
        steps = opened.image.steps
        for step_id in opened.steps:
            if steps[step_id].ended_slot is not None:
                del steps[step_id]
                opened.ended_steps.add(step_id)
        opened.rows, opened.types, opened.steps = [], [], set()
        opened.hooks, opened.waits, opened.attributes = set(), set(), False
        opened.kept = True
        self._kept[opened.image.run_id] = opened

    def forget(self, run_id: str) -> None:
        self._kept.pop(run_id, None)

    def forget_all(self) -> None:
        """After a rollback: what was kept may hold what was not committed."""
        self._kept.clear()

    # --- reading -----------------------------------------------------------------------------------

    def _read(self, connection: Connection, run_id: str, now: datetime) -> Opened:
        opened = Opened(Image(run_id), now)
        row = connection.one(sql.RUN_BY_ID, run_id=run_id, namespace=self._namespace)
        if row is None:
            opened.complete = True
            return opened
        run = opened.image.run = rows.run_from(row)
        opened.run_no = row[0]
        if run.spec_version > SPEC_VERSION:
            raise RunNotSupportedError(run.run_id, run.spec_version, SPEC_VERSION)
        return opened

    def _read_step(self, connection: Connection, opened: Opened, step_id: str) -> None:
        image = opened.image
        if step_id in image.steps or (opened.complete and step_id not in opened.ended_steps):
            return
        row = connection.one(sql.STEP_BY_ID, run_no=opened.run_no, step_id=step_id)
        if row is None:
            return
        step = image.steps[step_id] = rows.step_from(image.run_id, row)
        if step.hook_id is not None and step.hook_id not in image.hooks:
            self._read_hooks(connection, opened)

    def _read_hooks(self, connection: Connection, opened: Opened) -> None:
        for row in connection.all(sql.HOOKS_OF_RUN, run_no=opened.run_no):
            opened.image.hooks[row[1]] = rows.hook_from(opened.image.run_id, row)

    def _read_neighbours(self, connection: Connection, opened: Opened, events: Sequence[e.NewEvent]) -> None:
        """What the rarer events are judged by: all hooks, waits and untaken signals of the run, its attributes."""
        image, run_no = opened.image, opened.run_no
        for event in events:
            match event:
                case e.HookCreated() | e.HookReceived() | e.HookDisposed() | e.HookConflict():
                    self._read_hooks(connection, opened)
                    if isinstance(event, e.HookCreated) and event.step_id is not None:
                        self._read_step(connection, opened, event.step_id)
                case e.WaitCreated() | e.WaitCompleted() | e.SignalReceived() if not image.waits:
                    self._read_waits(connection, opened)
                case e.AttrSet():
                    assert image.run is not None
                    image.run.attributes = dict(connection.all(sql.ATTRIBUTES_OF_RUN, run_no=run_no))
                    claim = event.correlation_id
                    if claim is not None and connection.one(sql.ATTRIBUTE_CLAIM, run_no=run_no, correlation_id=claim):
                        image.attribute_claims.add(claim)
                case _:
                    pass

    def _read_waits(self, connection: Connection, opened: Opened) -> None:
        image, run_no = opened.image, opened.run_no
        for row in connection.all(sql.WAITS_OF_RUN, run_no=run_no):
            image.waits[row[1]] = rows.wait_from(image.run_id, row)
        taken = {wait.matched_slot for wait in image.waits.values()}
        image.signals = [
            (slot, rows.signal_type_of(data))
            for slot, data in connection.all(sql.SIGNALS, run_no=run_no)
            if slot not in taken
        ]
