"""What is kept of runs, and when it is let go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.clocks import ManualClock
from tests.world.looks import assert_the_views_are_the_fold
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, FencedError, PreconditionFailedError, RunExpiredError
from wrkflw.world.storage import BatchResult, Claim, RunFence
from wrkflw.worlds.sqlite import SqliteWorld

IsKept: TypeAlias = Callable[[], Awaitable[bool]]

STEP = e.StepCreated(correlation_id="step_1", step_name="a", key="a")


@pytest.fixture
def statements() -> list[str]:
    return []


@pytest.fixture
async def shared(tmp_path: Path, clock: ManualClock, statements: list[str]) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(tmp_path / "shared.db", clock=clock, on_statement=statements.append)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def kept_run(shared: SqliteWorld) -> str:
    run_id = (await shared.storage.events.create(None, e.RunCreated(workflow_name="greet"))).run.run_id
    await shared.storage.runs.claim(run_id, owner="own_dead")
    await shared.storage.events.create(run_id, STEP, fence=RunFence(1))
    return run_id


@pytest.fixture
def is_kept(shared: SqliteWorld, kept_run: str, statements: list[str]) -> IsKept:
    """Whether what the owner writes is tried at once: the row of a run that was let go is read first."""

    async def look() -> bool:
        statements.clear()
        with suppress(FencedError, RunExpiredError):
            await shared.storage.events.create(kept_run, e.StepStarted(correlation_id="step_1"), fence=RunFence(1))
        return not next(text for text in statements if " runs " in text).startswith("SELECT")

    return look


async def test_a_run_that_was_taken_over_is_let_go_with_the_refused_write(
    shared: SqliteWorld, kept_run: str, is_kept: IsKept
) -> None:
    await shared.storage.runs.claim(kept_run, owner=shared.owner)

    assert await is_kept(), "until it is refused"
    assert not await is_kept()


async def test_a_run_that_was_taken_over_is_let_go_with_the_refused_release(
    shared: SqliteWorld, kept_run: str, is_kept: IsKept
) -> None:
    await shared.storage.runs.claim(kept_run, owner=shared.owner)

    with pytest.raises(FencedError):
        await shared.storage.runs.release(kept_run, RunFence(1), seen_slot=2, wake_at=None)

    assert not await is_kept()


async def test_a_run_that_another_process_ended_is_let_go_when_it_is_read(
    shared: SqliteWorld, kept_run: str, is_kept: IsKept, clock: ManualClock, tmp_path: Path
) -> None:
    other = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await other.start()
    await other.storage.events.create(kept_run, e.RunCancelled())
    await other.close()

    assert (await shared.storage.runs.get(kept_run)).status == "cancelled"
    assert not await is_kept()


async def test_a_run_is_kept_while_its_owner_writes(shared: SqliteWorld, kept_run: str, is_kept: IsKept) -> None:
    for _ in range(2):
        await shared.storage.runs.get(kept_run)
        await shared.storage.events.list(kept_run)

    assert await is_kept()


# --- runs that wait ------------------------------------------------------------------------------------


ANSWER = e.HookReceived(correlation_id="hook_1", payload_data=b"yes")


@pytest.fixture
async def parked_run(shared: SqliteWorld, kept_run: str) -> str:
    """A run that was given up here until somebody answers."""
    events = shared.storage.events
    await events.create(kept_run, e.RunStarted(), fence=RunFence(1))
    asks: list[e.NewEvent] = [
        e.StepStarted(correlation_id="step_1"),
        e.HookCreated(correlation_id="hook_1", token="t", kind="suspend", step_id="step_1"),
        e.StepRetrying(correlation_id="step_1", reason="suspended", hook_id="hook_1"),
    ]
    slot = (await events.create_batch(kept_run, asks, fence=RunFence(1))).last_slot
    assert await shared.storage.runs.release(kept_run, RunFence(1), seen_slot=slot, wake_at=None)
    return kept_run


async def go_on(world: SqliteWorld, run_id: str) -> BatchResult:
    batch: list[e.NewEvent] = [ANSWER, e.StepStarted(correlation_id="step_1")]
    return await world.storage.events.create_batch(run_id, batch, claim=Claim(world.owner), expect_slot=6)


async def test_a_run_that_was_parked_here_is_claimed_without_being_read(
    shared: SqliteWorld, parked_run: str, statements: list[str]
) -> None:
    statements.clear()

    assert (await go_on(shared, parked_run)).epoch == 2

    assert not [statement for statement in statements if statement.startswith("SELECT")]
    await assert_the_views_are_the_fold(shared, parked_run)


async def test_a_parked_run_that_another_process_had_meanwhile_is_read_anew(
    shared: SqliteWorld, parked_run: str, clock: ManualClock, tmp_path: Path
) -> None:
    other = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await other.start()
    await other.storage.runs.claim(parked_run, owner=other.owner)
    await other.storage.runs.release(parked_run, RunFence(2), seen_slot=6, wake_at=None)
    await other.close()

    assert (await go_on(shared, parked_run)).epoch == 3
    await assert_the_views_are_the_fold(shared, parked_run)


@pytest.mark.parametrize("event", [e.SignalReceived(signal_type="paid"), e.RunPaused(), ANSWER, e.RunCancelled()])
async def test_a_parked_run_to_which_another_process_wrote_is_not_gone_on_with(
    event: e.NewEvent, shared: SqliteWorld, parked_run: str, clock: ManualClock, tmp_path: Path
) -> None:
    other = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await other.start()
    await other.storage.events.create(parked_run, event)
    await other.close()

    with pytest.raises(PreconditionFailedError):
        await go_on(shared, parked_run)

    assert (await shared.storage.runs.get(parked_run)).last_slot == 7


async def test_a_parked_run_that_another_process_has_is_left_to_it(
    shared: SqliteWorld, parked_run: str, clock: ManualClock, tmp_path: Path
) -> None:
    other = SqliteWorld(tmp_path / "shared.db", clock=clock)
    await other.start()
    await other.storage.runs.claim(parked_run, owner=other.owner)

    with pytest.raises(EntityConflictError):
        await go_on(shared, parked_run)

    await other.close()
