"""Pages: a cursor is exclusive, belongs to its listing, and what is new shifts nothing."""

from __future__ import annotations

from wrkflw.testing.conformance.acts import begin, completed, create, created, creation, record, signal, started
from wrkflw.testing.conformance.audit import every
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world.storage import PageRequest, RunFilter


@promise("§8")
async def check_pages_of_events_add_up(stage: Stage) -> None:
    """Pages of one, two or many give every event once, in order."""
    world = await stage.open()
    run_id = await begin(world, *(signal("paid") for _ in range(5)))

    for limit in (1, 2, 6, 7, 8, 1000):
        pages = every(lambda page: world.storage.events.list(run_id, page=page), limit=limit)
        ensure_equal([event.slot async for event in pages], list(range(1, 8)), f"slots in pages of {limit}")


@promise("§8")
async def check_the_last_page_has_a_cursor(stage: Stage) -> None:
    """The cursor is there whenever the page has items, the last included, and ``has_more`` alone says go on."""
    world = await stage.open()
    run_id = await begin(world)

    whole = await world.storage.events.list(run_id, page=PageRequest(2))
    steps = await world.storage.steps.list(run_id, page=PageRequest(2))
    runs = await world.storage.runs.list(page=PageRequest(1))

    ensure_equal((len(whole.data), whole.has_more), (2, False), "a page that is just full")
    ensure(whole.cursor is not None and runs.cursor is not None, "the last page has a cursor")
    ensure_equal((len(steps.data), steps.cursor, steps.has_more), (0, None, False), "the page of an empty listing")


@promise("§8")
async def check_a_cursor_at_the_end_gives_what_comes_later(stage: Stage) -> None:
    """An empty page gives back its cursor; the same cursor later gives exactly what was appended."""
    world = await stage.open()
    run_id = await begin(world)
    events = world.storage.events
    end = (await events.list(run_id, page=PageRequest(10))).cursor

    empty = await events.list(run_id, page=PageRequest(10, end))
    ensure_equal((len(empty.data), empty.cursor, empty.has_more), (0, end, False), "the page behind the end")
    await record(world, run_id, signal("paid"), signal("sent"))
    later = await events.list(run_id, page=PageRequest(10, end))

    ensure_equal([event.slot for event in later.data], [3, 4], "what was appended")


@promise("§8")
async def check_events_can_be_read_backwards(stage: Stage) -> None:
    """``desc`` gives the newest first, page by page."""
    world = await stage.open()
    run_id = await begin(world, signal("paid"), signal("sent"))
    events = world.storage.events

    first = await events.list(run_id, page=PageRequest(3, sort_order="desc"))
    rest = await events.list(run_id, page=PageRequest(3, first.cursor, "desc"))

    ensure_equal([event.slot for event in first.data], [4, 3, 2], "the first page")
    ensure_equal(([event.slot for event in rest.data], rest.has_more), ([1], False), "the last page")


@promise("§8")
async def check_runs_are_listed_newest_first(stage: Stage) -> None:
    """Runs come newest first, or oldest first if asked, also those of the same moment; each once."""
    world = await stage.open()
    old = [await create(world) for _ in range(3)]
    stage.turn(seconds=1)
    new = [await create(world) for _ in range(3)]

    listed: list[str] = []
    for limit in (1, 2, 4, 6):
        listed = [run.run_id async for run in every(lambda page: world.storage.runs.list(page=page), limit=limit)]
        ensure_equal((set(listed[:3]), set(listed[3:])), (set(new), set(old)), f"runs in pages of {limit}")
    ascending = await world.storage.runs.list(page=PageRequest(6, sort_order="asc"))
    ensure_equal([run.run_id for run in ascending.data], list(reversed(listed)), "oldest first")


@promise("§8")
async def check_what_is_created_between_pages_shifts_nothing(stage: Stage) -> None:
    """Runs created while somebody turns pages neither repeat nor hide others."""
    world = await stage.open()
    runs = [await create(world) for _ in range(6)]
    seen: list[str] = []
    cursor: str | None = None

    for _ in range(3):
        page = await world.storage.runs.list(page=PageRequest(2, cursor))
        seen.extend(run.run_id for run in page.data)
        cursor = page.cursor
        await create(world)
        stage.turn(seconds=1)
        await create(world)

    ensure_equal((len(seen), set(seen)), (6, set(runs)), "the runs of three pages")


@promise("§8")
async def check_steps_are_listed_by_their_creation(stage: Stage) -> None:
    """Steps come by the slot that created them, newest first or oldest first; later changes shift nothing."""
    world = await stage.open()
    steps = [f"step_{name}" for name in "cabed"]
    run_id = await begin(world, *(created(step_id) for step_id in steps))
    listing = world.storage.steps.list

    first = await listing(run_id, page=PageRequest(2))
    await record(world, run_id, started(steps[0]), completed(steps[0]), created("step_new"))
    rest = await listing(run_id, page=PageRequest(10, first.cursor))
    ascending = await listing(run_id, page=PageRequest(10, sort_order="asc"))

    ensure_equal([step.step_id for step in [*first.data, *rest.data]], list(reversed(steps)), "newest first")
    ensure_equal([step.step_id for step in ascending.data], [*steps, "step_new"], "oldest first")


@promise("§8")
async def check_the_story_of_a_step_comes_in_pages(stage: Stage) -> None:
    """``list_by_correlation_id`` pages as every listing does, forwards and backwards."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"), signal("paid"), started("step_a"), completed("step_a"))
    story = world.storage.events.list_by_correlation_id

    pages = every(lambda page: story(run_id, "step_a", page=page), limit=1)
    ensure_equal([event.slot async for event in pages], [3, 5, 6], "slots")
    backwards = await story(run_id, "step_a", page=PageRequest(2, sort_order="desc"))
    ensure_equal(([event.slot for event in backwards.data], backwards.has_more), ([6, 5], True), "backwards")


@promise("§8")
async def check_a_cursor_that_is_none_is_refused(stage: Stage) -> None:
    """A malformed cursor is 400, never a silent start from the beginning."""
    world = await stage.open()
    run_id = await begin(world, created("step_a"))
    storage = world.storage

    for cursor in ("", "nonsense", "AAAA", "0", "-1", "é", "\x00", "a" * 10_000, "evnt_00000000000000000000000001"):
        page = PageRequest(10, cursor)
        await refusal(storage.runs.list(page=page), 400)
        await refusal(storage.events.list(run_id, page=page), 400)
        await refusal(storage.steps.list(run_id, page=page), 400)
        await refusal(storage.events.list_by_correlation_id(run_id, "step_a", page=page), 400)


@promise("§8")
async def check_a_cursor_belongs_to_its_listing(stage: Stage) -> None:
    """A cursor of another listing, another run or another order is 400."""
    world = await stage.open()
    run_id, other = await begin(world, created("step_a")), await begin(world)
    storage = world.storage
    events = present((await storage.events.list(run_id, page=PageRequest(1))).cursor, "the cursor")
    steps = present((await storage.steps.list(run_id, page=PageRequest(1))).cursor, "the cursor")
    runs = present((await storage.runs.list(page=PageRequest(1))).cursor, "the cursor")

    await refusal(storage.steps.list(run_id, page=PageRequest(1, events)), 400)
    await refusal(storage.events.list(run_id, page=PageRequest(1, steps)), 400)
    await refusal(storage.runs.list(page=PageRequest(1, steps)), 400)
    await refusal(storage.events.list(run_id, page=PageRequest(1, runs)), 400)
    await refusal(storage.events.list(other, page=PageRequest(1, events)), 400)
    await refusal(storage.events.list(run_id, page=PageRequest(1, events, "desc")), 400)
    await refusal(storage.runs.list(page=PageRequest(1, runs, "asc")), 400)


@promise("§8", need="batch")
async def check_a_page_holds_1_to_1000(stage: Stage) -> None:
    """A limit below 1 is 400; one above 1000 gives at most 1000."""
    world = await stage.open()
    run_id = await begin(world)
    for first in range(0, 1040, 26):
        await world.storage.events.create_batch(run_id, [created(f"step_{first + n}") for n in range(26)])

    for limit in (0, -1):
        await refusal(world.storage.events.list(run_id, page=PageRequest(limit)), 400)
        await refusal(world.storage.runs.list(page=PageRequest(limit)), 400)
    most = await world.storage.steps.list(run_id, page=PageRequest(5000))
    ensure_equal((len(most.data), most.has_more), (1000, True), "the largest page")
    usual = await world.storage.steps.list(run_id)
    ensure_equal((len(usual.data), usual.has_more), (100, True), "the usual page")
    ensure_equal(len((await world.storage.events.list(run_id)).data), 1042, "the whole log, which has no usual page")


@promise("§8")
async def check_a_filter_holds_on_every_page(stage: Stage) -> None:
    """A listing with a condition pages through what fulfils it, and nothing else."""
    world = await stage.open()
    wanted = [await create(world, creation("refund" if n % 2 else "greet")) for n in range(6)][1::2]

    pages = every(lambda page: world.storage.runs.list(RunFilter(workflow_name="refund"), page=page), limit=1)

    ensure_equal({run.run_id async for run in pages}, set(wanted), "runs of the workflow")
