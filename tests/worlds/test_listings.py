"""Reads that find what they look for without going through all the rest (contract §8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.clocks import START, ManualClock, settle
from tests.world.looks import new_run_id
from wrkflw.world import events as e
from wrkflw.world.errors import WorkflowRunNotFoundError, WorldError
from wrkflw.world.storage import PageRequest, RunFilter
from wrkflw.worlds import SqliteWorld
from wrkflw.worlds.sql import compiled as sql
from wrkflw.worlds.sql.statement import Statement

CREATED = e.RunCreated(workflow_name="greet", input=b"1")


@pytest.fixture
def statements() -> list[str]:
    return []


@pytest.fixture
async def world(clock: ManualClock, statements: list[str]) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld(":memory:", clock=clock, on_statement=statements.append)
    await world.start()
    yield world
    await world.close()


@pytest.fixture
async def run_id(world: SqliteWorld) -> str:
    run_id = new_run_id(START)
    await world.storage.events.create(run_id, CREATED)
    return run_id


def plan_of(world: SqliteWorld, statement: str) -> str:
    connection = world._read
    assert connection is not None
    rows = connection._driver.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * statement.count("?")).fetchall()
    return "; ".join(row[3] for row in rows)


# --- what is about one thing -------------------------------------------------------------------------


async def test_the_events_about_a_thing_are_found_wherever_they_stand(world: SqliteWorld, run_id: str) -> None:
    name = "same_1"
    events: list[e.NewEvent] = [
        e.SignalReceived(signal_type="paid"),
        e.StepCreated(correlation_id=name, step_name="a", key="a"),
        e.StepCreated(correlation_id="other", step_name="b", key="b"),
        e.StepStarted(correlation_id=name),
        e.HookCreated(correlation_id=name, token="t"),
        e.StepCompleted(correlation_id=name),
        e.WaitCreated(correlation_id=name, resume_at=START),
        e.StepStarted(correlation_id="other"),
        e.AttrSet(correlation_id=name, changes=[]),
        e.HookReceived(correlation_id=name),
        e.WaitCompleted(correlation_id=name),
        e.HookDisposed(correlation_id=name),
        e.SignalReceived(signal_type="paid"),
    ]
    for event in events:
        await world.storage.events.create(run_id, event)
    about = [stored for stored in (await world.storage.events.list(run_id)).data if stored.correlation_id == name]

    found = world.storage.events.list_by_correlation_id
    up = await found(run_id, name)
    down = await found(run_id, name, page=PageRequest(sort_order="desc"))
    first = await found(run_id, name, page=PageRequest(limit=4))
    rest = await found(run_id, name, page=PageRequest(limit=6, cursor=first.cursor))

    assert len(about) == 9
    assert (up.data, up.has_more) == (about, False)
    assert down.data == about[::-1]
    assert (first.data + rest.data, first.has_more, rest.has_more) == (about, True, False)
    assert (await found(run_id, "unknown")).data == []


async def test_a_conflict_is_about_the_hook_that_was_not_made(world: SqliteWorld, run_id: str) -> None:
    hook, loser = e.HookCreated(correlation_id="hook_1", token="t"), new_run_id(START)
    await world.storage.events.create(run_id, hook)
    await world.storage.events.create(loser, CREATED)
    conflict = await world.storage.events.create(loser, hook)

    assert (await world.storage.events.list_by_correlation_id(loser, "hook_1")).data == [conflict.event]


async def test_only_the_part_of_the_log_in_which_a_thing_lived_is_read(
    world: SqliteWorld, run_id: str, statements: list[str]
) -> None:
    await world.storage.events.create(run_id, e.StepStarted(correlation_id="s", step_name="a"))
    await world.storage.events.create(run_id, e.StepCompleted(correlation_id="s"))
    statements.clear()

    await world.storage.events.list_by_correlation_id(run_id, "s")

    (statement,) = (text for text in statements if "events.subject IN" in text)
    assert "events USING PRIMARY KEY (run_no=? AND slot>? AND slot<?)" in plan_of(world, statement)


async def test_a_page_of_steps_takes_them_in_order_and_sorts_nothing(
    world: SqliteWorld, run_id: str, statements: list[str]
) -> None:
    await world.storage.steps.create(run_id, {"step_name": "a"})
    for sort_order in ("asc", "desc"):
        statements.clear()

        await world.storage.steps.list(run_id, page=PageRequest(limit=2, sort_order=sort_order))

        (statement,) = (text for text in statements if "FROM events JOIN steps" in text)
        plan = plan_of(world, statement)
        assert "SEARCH events USING PRIMARY KEY (run_no=? AND slot" in plan
        assert "SEARCH steps USING PRIMARY KEY (run_no=? AND step_id=?)" in plan
        assert "SORT" not in plan.upper().replace("SORTED", "")
        assert "B-TREE" not in plan


async def test_many_runs_are_read_in_one_query_and_their_order(
    world: SqliteWorld, run_id: str, statements: list[str]
) -> None:
    other = (await world.storage.events.create(None, CREATED)).run.run_id
    statements.clear()

    found = await world.storage.runs.get_many([other, "wrun_1", run_id, "../x", other, "\ud800"])

    assert [run and run.run_id for run in found] == [other, None, run_id, None, other, None]
    assert len([text for text in statements if "runs.run_id IN" in text]) == 1
    assert await world.storage.runs.get_many([]) == []


async def test_runs_are_found_by_eight_attributes_at_most(world: SqliteWorld) -> None:
    with pytest.raises(WorldError, match="at most 8 attributes at a time; ask for fewer") as refused:
        await world.storage.runs.list(RunFilter(attributes={str(number): "a" for number in range(9)}))

    assert refused.value.status == 400


@pytest.mark.parametrize("name", ["", "../x", "a\x00b", "\ud800", "x" * 10_000])
async def test_what_can_be_no_id_is_the_id_of_nothing(name: str, world: SqliteWorld, run_id: str) -> None:
    storage = world.storage
    for read in (
        storage.runs.get(name), storage.events.create(name, e.RunCancelled()), storage.steps.list(name),
        storage.steps.get(run_id, name), storage.events.get(run_id, name), storage.hooks.get(name),
        storage.hooks.get_by_token(name),
    ):  # fmt: skip
        with pytest.raises(WorldError) as refused:
            await read
        assert refused.value.status == 404

    with pytest.raises(WorldError, match="cannot be a correlation id; use letters, digits") as refused:
        await storage.events.list_by_correlation_id(run_id, name)
    assert refused.value.status == 400


# --- waiting for the end -----------------------------------------------------------------------------


async def test_who_waits_for_the_end_of_a_run_hears_of_it(world: SqliteWorld, run_id: str) -> None:
    waiting = asyncio.ensure_future(world.storage.runs.wait_for_terminal(run_id, timeout=timedelta(days=1)))
    await settle()
    await world.storage.events.create(run_id, e.RunStarted())
    await settle()
    assert not waiting.done()

    await world.storage.events.create(run_id, e.RunCompleted(output=b"4"))

    assert await waiting == await world.storage.runs.get(run_id)
    assert (await world.storage.runs.wait_for_terminal(run_id, timeout=timedelta(0))).output == b"4"


async def test_who_waits_too_long_is_told_how_the_run_stands(
    world: SqliteWorld, run_id: str, clock: ManualClock
) -> None:
    waiting = asyncio.ensure_future(world.storage.runs.wait_for_terminal(run_id, timeout=timedelta(minutes=1)))
    await settle()

    clock.turn(timedelta(minutes=1))

    assert (await waiting).status == "pending"
    with pytest.raises(WorkflowRunNotFoundError):
        await world.storage.runs.wait_for_terminal("wrun_1", timeout=timedelta(minutes=1))


# --- what is asked all the time, of a database in which very many runs have ended -------------------------------


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (sql.OWNERS, "USING INDEX runs_owned (owner>?)"),
        (sql.RUNS_BY_ID, "USING INDEX sqlite_autoindex_runs_1 (run_id=?)"),
        (sql.ITEMS_AFTER, "(after_slot,number)>(?,?)"),
    ],
    ids=["owners", "runs by id", "items of a stream"],
)
def test_what_is_asked_all_the_time_reads_what_it_finds(world: SqliteWorld, statement: Statement, index: str) -> None:
    plan = plan_of(world, statement.text)

    assert index in plan
    assert "runs_listed" not in plan


@pytest.mark.parametrize("few", [2, 0])
async def test_runs_are_found_by_an_attribute_that_few_have(
    world: SqliteWorld, statements: list[str], monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """The same runs, in the same order, as among all of them; but only what is found is read."""
    monkeypatch.setattr("wrkflw.worlds.sql.run_reads._FEW", few)
    for number in range(6):
        attributes = {"team": "red" if number % 3 else "blue", "size": "s"}
        await world.storage.events.create(f"r-{number}", e.RunCreated(workflow_name="greet", attributes=attributes))
    statements.clear()
    where = RunFilter(attributes={"size": "s", "team": "blue"})

    newest = await world.storage.runs.list(where)
    oldest = await world.storage.runs.list(where, page=PageRequest(limit=1, sort_order="asc"))
    second = await world.storage.runs.list(where, page=PageRequest(cursor=oldest.cursor, sort_order="asc"))
    nobody = await world.storage.runs.list(RunFilter(attributes={"size": "s", "team": "green"}))

    assert [run.run_id for run in newest.data] == ["r-3", "r-0"]
    assert [run.run_id for run in (*oldest.data, *second.data)] == ["r-0", "r-3"]
    assert nobody.data == []
    by_attribute = [text for text in statements if text in (sql.RUNS_AMONG.text, sql.RUNS_AMONG_ASC.text)]
    assert len(by_attribute) == (4 if few else 1)
    for statement in (sql.RUNS_WITH, sql.RUNS_AMONG, sql.RUNS_AMONG_ASC):
        assert "runs_listed" not in plan_of(world, statement.text)
    assert "USING COVERING INDEX attributes_found" in plan_of(world, sql.RUNS_WITH.text)


async def test_the_newest_codec_is_looked_for_in_one_run(world: SqliteWorld) -> None:
    """It is asked by the first write of each process, in its transaction."""
    assert "TEMP B-TREE" not in plan_of(world, sql.NEWEST_CODEC.text)
