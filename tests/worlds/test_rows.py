"""Rows as they are written: what is absent, what is empty, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from tests.clocks import ManualClock
from tests.world.looks import assert_the_views_are_the_fold, new_run_id
from wrkflw.world import events as e
from wrkflw.world.storage import BatchItem, Claim, RunFence
from wrkflw.worlds.sql import compiled as sql
from wrkflw.worlds.sqlite import SqliteWorld

CREATED = e.RunCreated(workflow_name="greet", input=b"")
OWNED = RunFence(1)


def created(name: str, **more: str) -> e.StepCreated:
    return e.StepCreated.model_validate({"correlation_id": name, "step_name": "ask", "key": name, **more})


def started(name: str) -> e.StepStarted:
    return e.StepStarted(correlation_id=name)


def completed(name: str, result: bytes | None = None) -> e.StepCompleted:
    return e.StepCompleted(correlation_id=name, result=result)


async def born(world: SqliteWorld, clock: ManualClock, *events: e.NewEvent) -> str:
    run_id = new_run_id(clock.now())
    await world.storage.events.create_batch(run_id, [CREATED, e.RunStarted(), *events], claim=Claim(world.owner))
    return run_id


async def test_what_is_empty_is_not_absent(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = await born(world, clock, created("empty", child_run_id="", input=""), created("absent"))
    await world.storage.events.create_batch(
        run_id, [started("empty"), completed("empty", b""), started("absent"), completed("absent")], fence=OWNED
    )

    empty, absent = [await world.storage.steps.get(run_id, name) for name in ("empty", "absent")]
    assert (empty.child_run_id, empty.input, empty.output) == ("", b"", b"")
    assert (absent.child_run_id, absent.input, absent.output) == (None, None, None)
    assert (await world.storage.runs.get(run_id)).input == b""
    await assert_the_views_are_the_fold(world, run_id)


async def test_a_step_is_inserted_before_it_is_moved_on_when_one_commit_has_both(clock: ManualClock) -> None:
    texts: list[str] = []
    world = SqliteWorld(":memory:", clock=clock, on_statement=texts.append)
    await world.start()
    one, two = await born(world, clock, created("old")), await born(world, clock)
    events = world.storage.events
    texts.clear()

    await asyncio.gather(
        events.create_batch(one, [started("old")], fence=OWNED),
        events.create_batch(two, [created("new")], fence=OWNED),
        events.create_batch(two, [started("new"), completed("new")], fence=OWNED),
    )

    assert texts.count("COMMIT") == 1
    assert texts.index(sql.STEP_INSERT.text) < texts.index(sql.STEP_UPDATE.text)
    assert (await world.storage.steps.get(two, "new")).status == "completed"
    for run_id in (one, two):
        await assert_the_views_are_the_fold(world, run_id)
    await world.close()


@pytest.mark.parametrize(
    ("events", "slots", "refused"),
    [([started("step"), completed("step")], [4, 5], False), ([started("gone"), completed("step")], [None, 4], True)],
)
async def test_a_batch_tells_whether_something_was_refused(
    world: SqliteWorld, clock: ManualClock, events: list[e.NewEvent], slots: list[int | None], refused: bool
) -> None:
    run_id = await born(world, clock, created("step"))

    result = await world.storage.events.create_batch(run_id, events, fence=OWNED)

    assert [item.slot for item in result.items] == slots
    assert all(isinstance(item, BatchItem) for item in result.items)
    assert result.refused is refused
