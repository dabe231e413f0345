"""Pages and cursors (contract §8), over every listing that has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from tests.clocks import ManualClock
from tests.world.looks import new_run_id
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.storage import Page, PageRequest, RunFilter
from wrkflw.worlds.sqlite import SqliteWorld

Listing: TypeAlias = Callable[[PageRequest], Awaitable[Page[Any]]]
Add: TypeAlias = Callable[[int], Awaitable[object]]


class Shelf:
    """A listing, how to put more into it, and how to name what it lists: in order of creation, 0, 1, 2 …"""

    def __init__(self, listing: Listing, add: Add, name: Callable[[Any], int], *, newest_first: bool) -> None:
        self.list, self.add, self.name, self.newest_first = listing, add, name, newest_first

    async def page(
        self, limit: int = 100, cursor: str | None = None, sort_order: Any = None
    ) -> tuple[list[int], str | None, bool]:
        page = await self.list(PageRequest(limit, cursor, sort_order))
        return [self.name(item) for item in page.data], page.cursor, page.has_more


@pytest.fixture(params=["runs", "steps", "hooks", "hooks of a run", "events", "events of a step"])
async def shelf(request: pytest.FixtureRequest, world: SqliteWorld, clock: ManualClock) -> Shelf:
    """Each with five things in it.  The clock stands still, so that times alone do not tell them apart."""
    storage = world.storage
    run_id = new_run_id(clock.now())

    async def add_run(number: int) -> object:
        return await storage.events.create(None, e.RunCreated(workflow_name=f"w{number}"))

    async def add_step(number: int) -> object:
        step = e.StepCreated(correlation_id=f"step_{number}", step_name="a", key=str(number))
        return await storage.events.create(run_id, step)

    async def add_hook(number: int) -> object:
        return await storage.hooks.create(run_id, {"token": str(number)})

    async def add_signal(number: int) -> object:
        if number == 0:
            return await storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
        return await storage.events.create(run_id, e.SignalReceived(signal_type=f"s{number}"))

    async def add_try(number: int) -> object:
        if number == 0:
            await storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
            return await storage.events.create(run_id, e.StepCreated(correlation_id="s", step_name="a", key="a"))
        await storage.events.create(run_id, e.SignalReceived(signal_type="in_between"))
        return await storage.events.create(run_id, e.StepStarted(correlation_id="s"))

    match request.param:
        case "runs":
            made = Shelf(
                lambda page: storage.runs.list(page=page),
                add_run,
                lambda run: int(run.workflow_name[1:]),
                newest_first=True,
            )
        case "steps":
            await storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
            made = Shelf(
                lambda page: storage.steps.list(run_id, page=page),
                add_step,
                lambda step: int(step.key),
                newest_first=True,
            )
        case "hooks" | "hooks of a run":
            await storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
            of = None if request.param == "hooks" else run_id
            made = Shelf(
                lambda page: storage.hooks.list(of, page=page),
                add_hook,
                lambda hook: int(hook.token),
                newest_first=False,
            )
        case "events":
            made = Shelf(
                lambda page: storage.events.list(run_id, page=page), add_signal, lambda event: event.slot - 1,
                newest_first=False,
            )  # fmt: skip
        case _:
            made = Shelf(
                lambda page: storage.events.list_by_correlation_id(run_id, "s", page=page),
                add_try,
                lambda event: event.slot // 2 - 1,
                newest_first=False,
            )
    for number in range(5):
        await made.add(number)
    return made


async def test_pages_follow_one_another_without_gap_or_repetition(shelf: Shelf) -> None:
    expected = [4, 3, 2, 1, 0] if shelf.newest_first else [0, 1, 2, 3, 4]
    seen: list[int] = []
    cursor, more = None, True
    while more:
        numbers, cursor, more = await shelf.page(2, cursor)
        assert cursor is not None
        seen += numbers

    assert seen == expected


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_either_order_may_be_asked_for(order: str, shelf: Shelf) -> None:
    first, cursor, more = await shelf.page(3, sort_order=order)
    rest, _, no_more = await shelf.page(3, cursor, sort_order=order)

    assert first + rest == ([0, 1, 2, 3, 4] if order == "asc" else [4, 3, 2, 1, 0])
    assert (more, no_more) == (True, False)


async def test_the_cursor_at_the_end_leads_to_what_was_appended_later(shelf: Shelf) -> None:
    numbers, cursor, more = await shelf.page(5, sort_order="asc")
    assert (numbers, more) == ([0, 1, 2, 3, 4], False)
    assert cursor is not None

    assert await shelf.page(5, cursor, "asc") == ([], cursor, False)
    await shelf.add(5)
    await shelf.add(6)

    assert (await shelf.page(5, cursor, "asc"))[0] == [5, 6]


async def test_what_is_created_between_pages_shifts_nothing(shelf: Shelf) -> None:
    _, cursor, _ = await shelf.page(2, sort_order="desc")
    await shelf.add(5)

    assert (await shelf.page(2, cursor, "desc"))[0] == [2, 1]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_cursor_of_the_other_order_is_refused(order: str, shelf: Shelf) -> None:
    _, cursor, _ = await shelf.page(2, sort_order=order)
    assert cursor is not None

    with pytest.raises(WorldError, match="is not a cursor of this listing; use the one that its last page gave") as no:
        await shelf.page(2, cursor, "desc" if order == "asc" else "asc")

    assert no.value.status == 400


@pytest.mark.parametrize(
    "cursor", ["", "x", "é", "AAAA", "cnVucywx", "ZXZlbnRz", "0", "=" * 5, "cnVucywxLDk5OTk5OTk5OTk5OTk5OTk5OTk5"]
)
async def test_a_malformed_cursor_is_refused(cursor: str, shelf: Shelf) -> None:
    with pytest.raises(WorldError, match="is not a cursor of this listing"):
        await shelf.page(2, cursor)


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_holds_at_least_one(limit: int, shelf: Shelf) -> None:
    with pytest.raises(WorldError, match=f"a page of {limit} holds nothing; ask for 1 to 1000"):
        await shelf.page(limit)


async def test_a_page_holds_a_thousand_at_most(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
    for _ in range(3):
        await world.storage.events.create_batch(
            run_id, [e.StepStarted(correlation_id=f"step_{n}", step_name="a") for n in range(_ * 200, _ * 200 + 200)]
        )

    page = await world.storage.events.list(run_id, page=PageRequest(5000))
    whole = await world.storage.events.list(run_id)

    assert (len(page.data), page.has_more) == (1000, True)
    assert (len(whole.data), whole.has_more) == (1201, False)


async def test_a_cursor_of_another_run_or_listing_is_refused(world: SqliteWorld, clock: ManualClock) -> None:
    one, two = new_run_id(clock.now()), new_run_id(clock.now())
    for run_id in (one, two):
        await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
        await world.storage.events.create(run_id, e.StepStarted(correlation_id="s", step_name="a"))
    cursor = (await world.storage.events.list(one)).cursor

    for read in (
        lambda page: world.storage.events.list(two, page=page),
        lambda page: world.storage.events.list_by_correlation_id(one, "s", page=page),
        lambda page: world.storage.steps.list(one, page=page),
        lambda page: world.storage.runs.list(page=page),
    ):  # type: Listing
        with pytest.raises(WorldError, match="is not a cursor of this listing"):
            await read(PageRequest(cursor=cursor))


async def test_an_empty_listing_has_no_cursor(world: SqliteWorld) -> None:
    assert await world.storage.runs.list() == Page([], None, has_more=False)


# --- conditions of runs.list ---------------------------------------------------------------------------


async def names(world: SqliteWorld, where: RunFilter) -> list[str]:
    return [run.workflow_name for run in (await world.storage.runs.list(where)).data]


async def test_runs_are_found_by_what_they_are(world: SqliteWorld, clock: ManualClock) -> None:
    from datetime import timedelta

    begin = clock.now()
    created = world.storage.events.create
    red = await created(None, e.RunCreated(workflow_name="red", attributes={"team": "a", "stage": "new"}))
    clock.turn(timedelta(seconds=1))
    await created(None, e.RunCreated(workflow_name="green", attributes={"team": "a"}))
    clock.turn(timedelta(seconds=1))
    await created(None, e.RunCreated(workflow_name="blue"))
    await created(red.run.run_id, e.RunCancelled())

    assert await names(world, RunFilter()) == ["blue", "green", "red"]
    assert await names(world, RunFilter(workflow_name="green")) == ["green"]
    assert await names(world, RunFilter(statuses=["cancelled"])) == ["red"]
    assert await names(world, RunFilter(statuses=["pending", "failed"])) == ["blue", "green"]
    assert await names(world, RunFilter(statuses=[])) == []
    assert await names(world, RunFilter(attributes={"team": "a"})) == ["green", "red"]
    assert await names(world, RunFilter(attributes={"team": "a", "stage": "new"})) == ["red"]
    assert await names(world, RunFilter(attributes={"team": "new"})) == []
    assert await names(world, RunFilter(attributes={})) == ["blue", "green", "red"]
    assert await names(world, RunFilter(since=begin + timedelta(seconds=1))) == ["blue", "green"]
    assert await names(world, RunFilter(until=begin + timedelta(seconds=1))) == ["red"]


async def test_payloads_are_listed_only_when_asked_for(world: SqliteWorld) -> None:
    run = (await world.storage.events.create(None, e.RunCreated(workflow_name="greet", input=b"1"))).run
    await world.storage.events.create(run.run_id, e.RunCompleted(output=b"2"))

    without = (await world.storage.runs.list()).data[0]
    payloads = (await world.storage.runs.list(resolve_data="all")).data[0]

    assert (without.input, without.output) == (None, None)
    assert (payloads.input, payloads.output) == (b"1", b"2")
    assert payloads == await world.storage.runs.get(run.run_id)


# --- the tail of a log -------------------------------------------------------------------------------


async def test_what_follows_a_slot_is_read_alone(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = new_run_id(clock.now())
    step = e.StepCreated(correlation_id="step_1", step_name="a", key="a")
    for event in (e.RunCreated(workflow_name="greet"), step, e.StepStarted(correlation_id="step_1"), e.RunPaused()):
        await world.storage.events.create(run_id, event)
    events = world.storage.events
    log = (await events.list(run_id)).data

    for slot in range(6):
        tail = await events.list(run_id, after_slot=slot)
        assert (tail.data, tail.has_more) == (log[slot:], False)
        assert (await events.list(run_id, after_slot=slot, page=PageRequest(sort_order="desc"))).data == log[slot:][
            ::-1
        ]
    page = await events.list(run_id, after_slot=1, page=PageRequest(limit=2))
    assert (page.data, page.has_more) == (log[1:3], True)
    rest = await events.list(run_id, after_slot=1, page=PageRequest(limit=2, cursor=page.cursor))
    assert (rest.data, rest.has_more) == (log[3:], False)
    assert [event.correlation_id for event in log] == [None, "step_1", "step_1", None]
