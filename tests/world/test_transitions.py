"""The guard matrix, copied by hand from the contract (§6) and held against the code twice: pure, and in a database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import pytest

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.fold import fold
from wrkflw.world.storage import Fence, RunFence
from wrkflw.world.transitions import RUN_GUARDS, STEP_GUARDS, judge
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import assert_the_views_are_the_fold, changes_of, judged, log_of, new_run_id, outcome

STEP, HOOK, WAIT = "step_1", "hook_1", "wait_1"
CREATION = e.RunCreated(workflow_name="greet", input=b"1")
STEP_CREATED = e.StepCreated(correlation_id=STEP, step_name="charge", key="charge")
STEP_STARTED = e.StepStarted(correlation_id=STEP)
HOOK_CREATED = e.HookCreated(correlation_id=HOOK, token="a token")
WAIT_CREATED = e.WaitCreated(correlation_id=WAIT, resume_at=START + timedelta(days=1))
RUNNING_STEP = (STEP_CREATED, STEP_STARTED)


class Act(NamedTuple):
    """An event, and what has happened in the run before the run came to stand where the column says."""

    event: e.NewEvent
    before: tuple[e.NewEvent, ...] = ()
    fence: Fence | None = None


ACTS: dict[str, tuple[Act, ...]] = {
    "run_created": (Act(CREATION),),
    "run_started, bare": (Act(e.RunStarted()),),
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
    "wait_created": (Act(WAIT_CREATED),),
    "hook_created": (
        Act(HOOK_CREATED),
        Act(e.HookCreated(correlation_id=HOOK, token="t", kind="suspend", step_id=STEP), (STEP_CREATED,)),
        Act(e.HookCreated(correlation_id=HOOK, token="t", kind="suspend", step_id=STEP)),
    ),
    "hook_created, suspend hook of a running step": (
        Act(e.HookCreated(correlation_id=HOOK, token="t", kind="suspend", step_id=STEP), RUNNING_STEP),
    ),
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
    "hook_received": (Act(e.HookReceived(correlation_id=HOOK, payload_data=b"yes"), (HOOK_CREATED,)),),
    "signal_received": (Act(e.SignalReceived(signal_type="paid")),),
    "hook_disposed": (Act(e.HookDisposed(correlation_id=HOOK), (HOOK_CREATED,)),),
    "wait_completed": (Act(e.WaitCompleted(correlation_id=WAIT, cause="woken"), (WAIT_CREATED,)),),
}

RUN_MATRIX = """
                                               missing  pending  running  paused  finished  cancelled
run_created                                    ok       409      409      409     409       409
run_started, bare                              404      ok       no-op    P       410       410
run_started, with data                         ok       ok       no-op    P       410       410
run_completed                                  404      ok       ok       P       409       409
run_failed with a fence                        404      ok       ok       P       409       409
run_failed without a fence                     404      ok       ok       ok      409       409
run_cancelled                                  404      ok       ok       ok      409       no-op
run_paused                                     404      ok       ok       no-op   409       409
run_resumed                                    404      no-op    no-op    ok      409       409
attr_set                                       404      ok       ok       ok      409       409
step_created                                   404      ok       ok       P       409       409
lazy step_started                              404      ok       ok       P       409       409
wait_created                                   404      ok       ok       P       409       409
hook_created                                   404      ok       ok       P       409       409
hook_created, suspend hook of a running step   404      ok       ok       ok      409       409
bare step_started                              404      ok       ok       P       410       410
step outcome, step running                     404      ok       ok       ok      ok        ok
step outcome, step pending                     404      ok       ok       ok      410       410
step_retrying                                  404      ok       ok       ok      410       410
hook_received                                  404      ok       ok       ok      410       410
signal_received                                404      ok       ok       ok      410       410
hook_disposed                                  404      ok       ok       ok      404       404
wait_completed                                 404      ok       ok       ok      404       404
"""
# How a run comes to stand in a column, before and after what an act needs.
RUN_COLUMNS: dict[str, tuple[tuple[tuple[e.NewEvent, ...], tuple[e.NewEvent, ...]], ...]] = {
    "missing": (((), ()),),
    "pending": (((CREATION,), ()),),
    "running": (((CREATION, e.RunStarted()), ()),),
    "paused": (((CREATION,), (e.RunPaused(),)), ((CREATION, e.RunStarted()), (e.RunPaused(),))),
    "finished": (
        ((CREATION, e.RunStarted()), (e.RunCompleted(),)),
        ((CREATION, e.RunStarted()), (e.RunPaused(), e.RunFailed())),
    ),
    "cancelled": (((CREATION,), (e.RunCancelled(),)),),
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
STEP_ACTS: dict[str, Act] = {
    "step_created": Act(STEP_CREATED),
    "step_started, lazy": Act(e.StepStarted(correlation_id=STEP, step_name="charge")),
    "step_started, bare": Act(STEP_STARTED),
    "step_completed": Act(e.StepCompleted(correlation_id=STEP)),
    "step_failed": Act(e.StepFailed(correlation_id=STEP)),
    "step_retrying": Act(e.StepRetrying(correlation_id=STEP)),
}
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


def cells(matrix: str) -> list[tuple[str, str, str]]:
    header, *lines = (re.split(r"\s{2,}", line.strip()) for line in matrix.strip("\n").splitlines())
    return [(row, column, cell) for row, *found in lines for column, cell in zip(header, found, strict=True)]


RUN_CASES = [
    pytest.param(expected, [*before, *act.before, *after] if before else [], act, id=f"{row} on {column} {number}")
    for row, column, expected in cells(RUN_MATRIX)
    for number, (act, (before, after)) in enumerate((act, way) for act in ACTS[row] for way in RUN_COLUMNS[column])
]
STEP_CASES = [
    pytest.param(expected, [CREATION, e.RunStarted(), *way], STEP_ACTS[row], id=f"{row} on {column} {number}")
    for row, column, expected in cells(STEP_MATRIX)
    for number, way in enumerate(STEP_COLUMNS[column])
]


def test_the_matrix_has_every_row_and_column_of_the_tables() -> None:
    assert len(cells(RUN_MATRIX)) == len(ACTS) * len(RUN_COLUMNS)
    # What is reserved has a row of its own in the code, though nobody may ask for it.
    assert len(RUN_GUARDS) == len(ACTS) + len(e.RESERVED)
    assert len(cells(STEP_MATRIX)) == len(STEP_GUARDS) * len(STEP_COLUMNS)


@pytest.mark.parametrize(("expected", "log", "act"), RUN_CASES + STEP_CASES)
def test_the_tables_judge_as_the_contract_says(expected: str, log: Sequence[e.NewEvent], act: Act) -> None:
    stored = [
        e.StoredEvent(run_id="wrun_1", slot=slot, event=event, epoch=None, created_at=START)
        for slot, event in enumerate(log, start=1)
    ]
    image = fold("wrun_1", stored)

    verdict = judged(lambda: judge(image, act.event, START, fenced=act.fence is not None))

    assert verdict == expected
    assert image == fold("wrun_1", stored), "judging changes nothing"


@pytest.mark.parametrize(("expected", "log", "act"), RUN_CASES + STEP_CASES)
async def test_the_database_does_as_the_contract_says(
    expected: str, log: Sequence[e.NewEvent], act: Act, world: SqliteWorld, clock: ManualClock
) -> None:
    run_id = new_run_id(clock.now())
    for event in log:
        await world.storage.events.create(run_id, event)
    before = await log_of(world, run_id) if log else []
    written = changes_of(world)

    verdict = await outcome(world.storage.events.create(run_id, act.event, fence=act.fence))

    assert verdict == expected
    if verdict == "ok":
        after = await log_of(world, run_id)
        assert after[: len(before)] == before
        assert len(after) > len(before)
    else:
        assert changes_of(world) == written, "a refusal writes nothing"
        assert not log or await log_of(world, run_id) == before
    if log or verdict == "ok":
        await assert_the_views_are_the_fold(world, run_id)


async def test_a_finished_run_may_still_learn_what_its_running_steps_did(
    world: SqliteWorld, clock: ManualClock
) -> None:
    run_id = new_run_id(clock.now())
    for event in (CREATION, e.RunStarted(), *RUNNING_STEP, e.RunCancelled()):
        await world.storage.events.create(run_id, event)

    await world.storage.events.create(run_id, e.StepCompleted(correlation_id=STEP, result=b"3"))

    assert (await world.storage.steps.get(run_id, STEP)).output == b"3"
    assert (await world.storage.runs.get(run_id)).status == "cancelled"
