"""The guard matrix of the contract (§6): every event on a run in every state, and on a step in every state.

A check is a row; its cells are cases.  ``P`` is 409 paused, ``no-op`` success without an event.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import NamedTuple

from wrkflw.ids import new_ulid, system_randomness
from wrkflw.testing.clocks import START
from wrkflw.testing.conformance.acts import RUN_STARTED, Sight, creation, hook, received, sight_of, signal, sleep, woken
from wrkflw.testing.conformance.checks import Check
from wrkflw.testing.conformance.ensure import Breach, ensure
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import (
    EntityConflictError,
    HookNotFoundError,
    RunExpiredError,
    RunPausedError,
    TooEarlyError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.storage import EventResult, Fence, RunFence

STEP, HOOK, WAIT = "step_1", "hook_1", "wait_1"
CREATION = creation()
STEP_CREATED = e.StepCreated(correlation_id=STEP, step_name="charge", key="charge")
STEP_STARTED = e.StepStarted(correlation_id=STEP)
RUNNING_STEP = (STEP_CREATED, STEP_STARTED)
SUSPENDING = e.HookCreated(correlation_id=HOOK, token="t", kind="suspend", step_id=STEP)


class Act(NamedTuple):
    """An event, and what has happened in the run before the run came to stand where the column says."""

    event: e.NewEvent
    before: tuple[e.NewEvent, ...] = ()
    fence: Fence | None = None


RUN_ACTS: dict[str, tuple[Act, ...]] = {
    "run_created": (Act(CREATION),),
    "run_started, bare": (Act(RUN_STARTED),),
    "run_started, with data": (Act(e.RunStarted(creation=CREATION)),),
    "run_completed": (Act(e.RunCompleted(output=b"2")), Act(e.RunCompleted(), fence=RunFence(0))),
    "run_failed with a fence": (Act(e.RunFailed(error=b"no"), fence=RunFence(0)),),
    "run_failed without a fence": (Act(e.RunFailed(error=b"no")),),
    "run_cancelled": (Act(e.RunCancelled(cancel_reason="enough")),),
    "run_paused": (Act(e.RunPaused()),),
    "run_resumed": (Act(e.RunResumed()),),
    "attr_set": (Act(e.AttrSet(changes=[e.AttributeChange(key="team", value="a")])),),
    "step_created": (Act(STEP_CREATED),),
    "lazy step_started": (Act(e.StepStarted(correlation_id=STEP, step_name="charge")),),
    "wait_created": (Act(sleep(WAIT, START)),),
    "hook_created": (Act(hook(HOOK, "t")), Act(SUSPENDING, (STEP_CREATED,)), Act(SUSPENDING)),
    "suspend hook of a running step": (Act(SUSPENDING, RUNNING_STEP),),
    "bare step_started": (Act(STEP_STARTED, (STEP_CREATED,)),),
    "step outcome, step running": (
        Act(e.StepCompleted(correlation_id=STEP, result=b"3"), RUNNING_STEP),
        Act(e.StepFailed(correlation_id=STEP, error=b"no"), RUNNING_STEP),
    ),
    "step outcome, step pending": (
        Act(e.StepCompleted(correlation_id=STEP), (STEP_CREATED,)),
        Act(e.StepFailed(correlation_id=STEP), (STEP_CREATED,)),
    ),
    "step_retrying": (
        Act(e.StepRetrying(correlation_id=STEP), RUNNING_STEP),
        Act(e.StepRetrying(correlation_id=STEP), (STEP_CREATED,)),
    ),
    "hook_received": (Act(received(HOOK), (hook(HOOK, "t"),)),),
    "signal_received": (Act(signal("paid")),),
    "hook_disposed": (Act(e.HookDisposed(correlation_id=HOOK), (hook(HOOK, "t"),)),),
    "wait_completed": (Act(woken(WAIT), (sleep(WAIT, START + timedelta(days=1)),)),),
}
RUN_MATRIX = """
                                 missing  pending  running  paused  finished  cancelled
run_created                      ok       409      409      409     409       409
run_started, bare                404      ok       no-op    P       410       410
run_started, with data           ok       ok       no-op    P       410       410
run_completed                    404      ok       ok       P       409       409
run_failed with a fence          404      ok       ok       P       409       409
run_failed without a fence       404      ok       ok       ok      409       409
run_cancelled                    404      ok       ok       ok      409       no-op
run_paused                       404      ok       ok       no-op   409       409
run_resumed                      404      no-op    no-op    ok      409       409
attr_set                         404      ok       ok       ok      409       409
step_created                     404      ok       ok       P       409       409
lazy step_started                404      ok       ok       P       409       409
wait_created                     404      ok       ok       P       409       409
hook_created                     404      ok       ok       P       409       409
suspend hook of a running step   404      ok       ok       ok      409       409
bare step_started                404      ok       ok       P       410       410
step outcome, step running       404      ok       ok       ok      ok        ok
step outcome, step pending       404      ok       ok       ok      410       410
step_retrying                    404      ok       ok       ok      410       410
hook_received                    404      ok       ok       ok      410       410
signal_received                  404      ok       ok       ok      410       410
hook_disposed                    404      ok       ok       ok      404       404
wait_completed                   404      ok       ok       ok      404       404
"""
# How a run comes to stand in a column: what happens before and after what an act needs.
RUN_COLUMNS: dict[str, tuple[tuple[tuple[e.NewEvent, ...], tuple[e.NewEvent, ...]], ...]] = {
    "missing": (((), ()),),
    "pending": (((CREATION,), ()),),
    "running": (((CREATION, RUN_STARTED), ()),),
    "paused": (((CREATION,), (e.RunPaused(),)), ((CREATION, RUN_STARTED), (e.RunPaused(),))),
    "finished": (
        ((CREATION, RUN_STARTED), (e.RunCompleted(),)),
        ((CREATION, RUN_STARTED), (e.RunPaused(), e.RunFailed())),
    ),
    "cancelled": (((CREATION,), (e.RunCancelled(),)),),
}

STEP_ACTS: dict[str, tuple[Act, ...]] = {
    "step_created": (Act(STEP_CREATED),),
    "step_started, lazy": (Act(e.StepStarted(correlation_id=STEP, step_name="charge")),),
    "step_started, bare": (Act(STEP_STARTED),),
    "step_completed": (Act(e.StepCompleted(correlation_id=STEP)),),
    "step_failed": (Act(e.StepFailed(correlation_id=STEP)),),
    "step_retrying": (Act(e.StepRetrying(correlation_id=STEP)),),
}
STEP_MATRIX = """
                     absent  pending  too early  running  ended
step_created         ok      409      409        409      409
step_started, lazy   ok      409      409        409      409
step_started, bare   404     ok       425        ok       409
step_completed       404     ok       ok         ok       409
step_failed          404     ok       ok         ok       409
step_retrying        404     ok       ok         ok       409
"""
STEP_COLUMNS: dict[str, tuple[tuple[e.NewEvent, ...], ...]] = {
    "absent": ((),),
    "pending": (
        (STEP_CREATED,),
        (*RUNNING_STEP, e.StepRetrying(correlation_id=STEP, retry_after=START)),  # due, to the microsecond
    ),
    "too early": ((*RUNNING_STEP, e.StepRetrying(correlation_id=STEP, retry_after=START + timedelta(microseconds=1))),),
    "running": (RUNNING_STEP,),
    "ended": (
        (*RUNNING_STEP, e.StepCompleted(correlation_id=STEP)),
        (STEP_CREATED, e.StepFailed(correlation_id=STEP)),
    ),
}

_KINDS: dict[str, tuple[type[WorldError], ...]] = {
    "409": (EntityConflictError,),
    "P": (RunPausedError,),
    "410": (RunExpiredError,),
    "425": (TooEarlyError,),
    "404": (WorldError,),
    "404 missing": (WorkflowRunNotFoundError,),
    "404 hook": (HookNotFoundError,),
}


class Cell(NamedTuple):
    """What is to come of an act in a column, and the ways in which a run comes there; no way: there is no run."""

    column: str
    expected: str
    cases: list[tuple[Act, tuple[e.NewEvent, ...]]]


def _rows(matrix: str) -> list[tuple[str, dict[str, str]]]:
    header, *lines = (re.split(r"\s{2,}", line.strip()) for line in matrix.strip("\n").splitlines())
    return [(row, dict(zip(header, cells, strict=True))) for row, *cells in lines]


def _run_cells(row: str, cells: dict[str, str]) -> list[Cell]:
    return [
        Cell(column, expected, [
            (act, (*before, *act.before, *after) if before else ())
            for act in RUN_ACTS[row]
            for before, after in RUN_COLUMNS[column]
        ])
        for column, expected in cells.items()
    ]  # fmt: skip


def _step_cells(row: str, cells: dict[str, str]) -> list[Cell]:
    return [
        Cell(column, expected, [
            (act, (CREATION, RUN_STARTED, *way)) for act in STEP_ACTS[row] for way in STEP_COLUMNS[column]
        ])
        for column, expected in cells.items()
    ]  # fmt: skip


def _check(row: str, cells: Sequence[Cell], subject: str) -> Check:
    async def play(stage: Stage) -> None:
        world = await stage.open()
        breaches = [
            f"on {cell.column}: expected {cell.expected}, {got}"
            for cell in cells
            for act, log in cell.cases
            if (got := await _deviation(world, stage, act, log, cell.expected)) is not None
        ]
        if breaches:
            raise Breach("; ".join(breaches))

    name = re.sub(r"\W+", "_", f"{row} on a {subject}")
    states = ", ".join(f"{cell.column} {cell.expected}" for cell in cells)
    return Check("guards", name, "§6", f"``{row}``, by the state of the {subject}: {states}.", play)


async def _deviation(world: World, stage: Stage, act: Act, log: Sequence[e.NewEvent], expected: str) -> str | None:
    """What is otherwise than it should be; None when nothing is."""
    run_id = f"wrun_{new_ulid(stage.clock.now(), system_randomness())}"
    for event in log:
        await world.storage.events.create(run_id, event)
    before = await sight_of(world, run_id) if log else None

    outcome = await _outcome(world.storage.events.create(run_id, act.event, fence=act.fence))

    word = _word(outcome)
    if word != expected or (isinstance(outcome, WorldError) and not _is_of_its_kind(outcome, act.event, log)):
        return f"got {word}: {outcome!r}"
    deviation = await _trace(world, run_id, before, accepted=word == "ok")
    await _clean_up(world, run_id)  # so that the next case finds the token free
    return deviation


async def _outcome(write: Coroutine[object, object, EventResult]) -> EventResult | Exception:
    try:
        return await write
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what came of the write
        return error


def _word(outcome: EventResult | Exception) -> str:
    match outcome:
        case EventResult(event=event):
            return "no-op" if event is None else "ok"
        case RunPausedError():
            return "P"
        case WorldError():
            return str(outcome.status)
        case _:
            return "an error that is not of the family"


def _is_of_its_kind(refusal: WorldError, event: e.NewEvent, log: Sequence[e.NewEvent]) -> bool:
    word = _word(refusal)
    if word == "404":
        word = "404 missing" if not log else "404 hook" if event.subject == "hook" else word
    return isinstance(refusal, _KINDS[word])


async def _trace(world: World, run_id: str, before: Sight | None, *, accepted: bool) -> str | None:
    """What a write left that it should not, or should have left and did not."""
    try:
        after = await sight_of(world, run_id)
    except WorkflowRunNotFoundError:
        return None if before is None and not accepted else "and the run is gone"
    if not accepted:
        return None if after == before else "and the refused event left a trace"
    known = [] if before is None else before.log
    grown = len(after.log) > len(known) and after.log[: len(known)] == known
    return None if grown else "and the accepted event is not in the log"


async def _clean_up(world: World, run_id: str) -> None:
    try:
        await world.storage.events.create(run_id, e.RunCancelled())
    except WorldError as refusal:
        ensure(refusal.status in (404, 409), f"ending a run that is over or missing is 409 or 404, not {refusal!r}")


CHECKS = [
    *(_check(row, _run_cells(row, cells), "run") for row, cells in _rows(RUN_MATRIX)),
    *(_check(row, _step_cells(row, cells), "step") for row, cells in _rows(STEP_MATRIX)),
]
