"""Writing down what a run came to: its row, its events, and the entities that they changed."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from wrkflw.world.entities import Hook, Run
from wrkflw.world.errors import EntityConflictError

from . import compiled as sql
from . import rows
from .database import Connection
from .images import Opened
from .payloads import keep
from .statement import ABSENT

_CHANGE_THE_RUN = frozenset({
    "run_created", "run_started", "run_completed", "run_failed", "run_cancelled", "run_paused", "run_resumed",
})  # fmt: skip

_STEPS_ALONE = frozenset({
    "run_started", "run_completed", "run_failed", "run_cancelled", "run_paused", "run_resumed",
    "step_created", "step_started", "step_completed", "step_failed", "step_retrying",
})  # fmt: skip
"""Events that leave hooks, waits, signals and attributes as they are, but for the end of the run, which closes all."""


def persist(connection: Connection, opened: Opened, epoch: int | None, namespace: str) -> bool:
    """Write what was appended.  False, and nothing written, when the image turns out to be out of date."""
    run = opened.image.run
    assert run is not None
    if opened.found_slot == 0:
        _insert_run(connection, opened, run, namespace)
    # What the owner writes moves the run on and no more; all else may change who has it, and when it is due.
    elif not (_advance if epoch is not None and _CHANGE_THE_RUN.isdisjoint(opened.types) else _move)(
        connection, opened, run
    ):
        return False
    connection.later(opened.run_no, sql.EVENT_INSERT, opened.rows)
    if opened.large:
        keep(connection, namespace, opened.large, opened.at)
    if opened.steps:
        _write_steps(connection, opened)
    if not _STEPS_ALONE.issuperset(opened.types):
        _write_neighbours(connection, opened, run, namespace)
    if run.ended and not opened.bare:
        _close_neighbours(connection, opened, run)
    return True


def _write_steps(connection: Connection, opened: Opened) -> None:
    """What is new is inserted and the rest moved on, in this order: another write of the transaction may do both."""
    run_no, image, found_slot = opened.run_no, opened.image.steps, opened.found_slot
    steps = [image[name] for name in opened.steps]
    connection.later(
        run_no, sql.STEP_INSERT, [rows.step_row(run_no, step) for step in steps if step.created_slot > found_slot]
    )
    connection.later(
        run_no, sql.STEP_UPDATE, [rows.step_moves(run_no, step) for step in steps if step.created_slot <= found_slot]
    )


def _insert_run(connection: Connection, opened: Opened, run: Run, namespace: str) -> None:
    try:
        opened.run_no = connection.insert(sql.RUN_INSERT, **rows.run_values(run, namespace))
    except sqlite3.IntegrityError as error:  # another namespace has it
        raise EntityConflictError(f"run {run.run_id!r} already exists; take another id") from error
    epoch = run.epoch or ABSENT
    opened.rows = [(opened.run_no, *row[1:7], epoch, *row[8:]) for row in opened.rows]


def _advance(connection: Connection, opened: Opened, run: Run) -> bool:
    moved = (opened.at, run.last_slot, opened.run_no, opened.found_slot, opened.found_epoch)
    return connection.ahead(sql.RUN_ADVANCE, moved) > 0


def _move(connection: Connection, opened: Opened, run: Run) -> bool:
    moved = (*rows.run_moves(run), opened.run_no, opened.found_slot, opened.found_epoch)
    return connection.ahead(sql.RUN_MOVE, moved) > 0


def _close_neighbours(connection: Connection, opened: Opened, run: Run) -> None:
    """The end of a run closes what another write of the transaction may have opened: these come first."""
    run_no, slot = opened.run_no, run.ended_slot
    connection.later(run_no, sql.HOOK_WRITE, [])
    connection.later(run_no, sql.WAIT_WRITE, [])
    connection.later(
        run_no, sql.HOOKS_RELEASE, [sql.HOOKS_RELEASE.bind({"no": run_no, "slot": slot, "now": opened.at})]
    )
    connection.later(run_no, sql.WAITS_CLOSE, [sql.WAITS_CLOSE.bind({"no": run_no, "slot": slot})])


def _as_kept(hook: Hook, run: Run) -> Hook:
    """The hook as its row has it: one that outlasts its run is not released there, so that its token stays taken."""
    if run.completed_at is None or hook.released_slot != run.ended_slot or not hook.outlasts(run.completed_at):
        return hook
    return replace(hook, released_slot=None)


def _write_neighbours(connection: Connection, opened: Opened, run: Run, namespace: str) -> None:
    image, run_no = opened.image, opened.run_no
    if opened.hooks:
        hooks = [_as_kept(image.hooks[name], run) for name in opened.hooks]
        hooks.sort(key=lambda hook: hook.released_slot is None)  # a token that is set free may be taken at once
        connection.later(run_no, sql.HOOK_WRITE, [rows.hook_row(run_no, namespace, hook) for hook in hooks])
    opened.waits.update(image.answered)
    if opened.waits:
        connection.later(run_no, sql.WAIT_WRITE, [rows.wait_row(run_no, image.waits[name]) for name in opened.waits])
    signals = {(signal_type, slot) for signal_type, line in image.signals.items() for slot in line}
    if signals != opened.found_signals:
        gone, come = opened.found_signals - signals, signals - opened.found_signals
        connection.later(run_no, sql.SIGNAL_DELETE, [(run_no, *signal) for signal in gone])
        connection.later(run_no, sql.SIGNAL_INSERT, [(run_no, *signal) for signal in come])
    if opened.attributes and (run.attributes or opened.found_slot):
        connection.run(sql.ATTRIBUTES_CLEAR, run_no=run_no)
        named = [(run_no, key, namespace, value) for key, value in run.attributes.items()]
        connection.many(sql.ATTRIBUTE_INSERT, named)
