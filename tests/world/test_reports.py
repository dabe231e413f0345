"""What a write tells its writer besides the event (contract §2.1, §4.1)."""

from __future__ import annotations

import pytest

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.storage import PageRequest
from wrkflw.worlds import SqliteWorld

from .looks import changes_of, log_of, new_run_id

CREATED = e.RunCreated(workflow_name="greet", input=b"1", execution_context={"by": "hand"})
LAZY = e.StepStarted(correlation_id="step_1", step_name="charge", input=b"2")


def signal(name: str) -> e.SignalReceived:
    return e.SignalReceived(signal_type=name, payload_data=b"3")


@pytest.fixture
async def run_id(world: SqliteWorld, clock: ManualClock) -> str:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, CREATED)
    return run_id


async def test_a_write_says_nothing_of_others_unless_it_is_asked(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, signal("a"))

    told = await world.storage.events.create(run_id, signal("b"))

    assert (list(told.events), told.cursor, told.has_more, told.max_events) == ([], None, False, 25_000)


async def test_a_writer_that_is_behind_lands_behind_and_is_told_what_it_missed(world: SqliteWorld, run_id: str) -> None:
    for name in ("a", "b"):
        await world.storage.events.create(run_id, signal(name))

    told = await world.storage.events.create(run_id, signal("c"), event_count=1)
    level = await world.storage.events.create(run_id, signal("d"), event_count=4)

    log = await log_of(world, run_id)
    assert told.event == log[3]
    assert (list(told.events), told.cursor, told.has_more) == (log[1:3], None, False)
    assert list(level.events) == []


async def test_what_a_lazy_start_put_before_itself_is_news_to_its_writer(world: SqliteWorld, run_id: str) -> None:
    told = await world.storage.events.create(run_id, LAZY, event_count=1)

    assert [stored.event_type for stored in told.events] == ["step_created"]
    assert told.event is not None
    assert told.event.slot == 3


async def test_more_than_a_page_that_was_missed_is_told_in_part(world: SqliteWorld, run_id: str) -> None:
    for first in (0, 600):
        steps = [e.StepCreated(correlation_id=f"s{n}", step_name="a", key=str(n)) for n in range(first, first + 600)]
        await world.storage.events.create_batch(run_id, steps)

    told = await world.storage.events.create(run_id, signal("a"), event_count=1)

    assert ([stored.slot for stored in told.events], told.has_more) == ([*range(2, 1002)], True)


async def test_a_write_may_ask_for_what_follows_a_cursor(world: SqliteWorld, run_id: str) -> None:
    events = world.storage.events
    cursor = (await events.list(run_id)).cursor
    await events.create(run_id, signal("a"))

    told = await events.create(run_id, signal("b"), since=cursor, event_count=99)

    page = await events.list(run_id, page=PageRequest(cursor=cursor))
    assert (list(told.events), told.cursor, told.has_more) == (page.data, page.cursor, page.has_more)
    assert [stored.slot for stored in told.events] == [2, 3]


@pytest.mark.parametrize("since", ["", "nonsense", "cnVucw"])
async def test_a_cursor_that_is_none_refuses_the_write(since: str, world: SqliteWorld, run_id: str) -> None:
    written = changes_of(world)

    with pytest.raises(WorldError, match="is not a cursor of this listing") as refused:
        await world.storage.events.create(run_id, signal("a"), since=since)
    with pytest.raises(WorldError, match="event_count is -1; give the number of events that are at hand"):
        await world.storage.events.create(run_id, signal("a"), event_count=-1)

    assert refused.value.status == 400
    assert changes_of(world) == written


async def test_who_starts_a_run_is_given_its_log(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, signal("a"))

    started = await world.storage.events.create(run_id, e.RunStarted())
    again = await world.storage.events.create(run_id, e.RunStarted(), skip_preload=True)

    page = await world.storage.events.list(run_id)
    assert (list(started.events), started.cursor, started.has_more) == (page.data, page.cursor, False)
    assert (again.event, list(again.events)) == (None, [])


async def test_without_data_an_answer_has_no_payloads_and_all_else(world: SqliteWorld, run_id: str) -> None:
    lazy = await world.storage.events.create(run_id, LAZY, event_count=0, resolve_data="none")
    hook = e.HookCreated(correlation_id="hook_1", token="t", metadata=b"who")
    hooked = await world.storage.events.create(run_id, hook, resolve_data="none")
    ended = await world.storage.events.create(run_id, e.RunCompleted(output=b"4"), resolve_data="none")

    assert lazy.step is not None
    assert (lazy.step.step_name, lazy.step.input, lazy.step.started_at) == ("charge", None, START)
    assert [stored.event.model_dump(exclude_defaults=True) for stored in lazy.events] == [
        {"workflow_name": "greet", "execution_context": {"by": "hand"}},
        {"correlation_id": "step_1", "step_name": "charge", "key": "charge"},
    ]
    assert hooked.event is not None
    assert hooked.event.event == hook.model_copy(update={"metadata": None})
    assert hooked.hook is not None
    assert (hooked.hook.token, hooked.hook.metadata, hooked.hook.created_at) == ("t", None, START)
    assert (ended.run.status, ended.run.output) == ("completed", None)
    assert (await world.storage.runs.get(run_id)).output == b"4"


async def test_an_event_of_a_run_is_answered_with_all_of_the_run(world: SqliteWorld, run_id: str) -> None:
    ended = await world.storage.events.create(run_id, e.RunCompleted(output=b"4"))

    assert ended.run == await world.storage.runs.get(run_id)
    assert (ended.run.input, ended.run.output, ended.run.execution_context) == (b"1", b"4", {"by": "hand"})
