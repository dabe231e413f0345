"""The judges themselves: a sound database is called sound, and whatever is broken in it by hand is named."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults import judging
from wrkflw import Completed, Suspended

from . import oracle, rules
from .errands import TRIES, Errand, kind_of, sale
from .roles import runtime
from .test_kill import outcome

OVER = (0, 1, 2, 3, 4)
"""One of each kind, which have ended; besides them there are two that wait for an answer, and one that nobody took."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("played") / "app.db"
    asyncio.run(play(str(path)))
    return path


async def play(database: str) -> None:
    async with runtime(database):
        await asyncio.gather(*(see_through(number) for number in OVER))
        for _ in range(2):
            assert isinstance(await (await sale.create_run()).start(0), Suspended)
    async with runtime(database, worker=False):
        await (await kind_of(0).workflow.create_run(idempotency_key="left")).enqueue(0)


async def see_through(number: int) -> None:
    errand = Errand(number)
    await errand.tend()
    assert errand.run_id is not None
    result = await (await kind_of(number).workflow.get_run(errand.run_id)).result("30s")
    assert isinstance(result, Completed) == (kind_of(number).ends == "completed")


@pytest.fixture
def database(played: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    return Path(shutil.copy(played, tmp_path / "app.db"))


def what_is_wrong(database: Path, facts: list[dict[str, Any]] | None = None) -> list[str]:
    return [*judging.wrong(judging.found_in(database), facts or []), *rules.broken(database, TRIES)]


def test_what_is_sound_is_called_sound(database: Path) -> None:
    found = oracle.read(database)

    assert what_is_wrong(database) == []
    assert [each for number in OVER for each in outcome(found, number)] == []


NAMES = {
    "journey": "(SELECT run_no FROM runs WHERE idempotency_key = 'key-0')",
    "left": "(SELECT run_no FROM runs WHERE idempotency_key = 'left')",
    "hour": 3_600_000_000,  # microseconds
}
# An event of the journey once more, as its last.
ONCE_MORE = """
    CREATE TEMP TABLE copied AS SELECT * FROM events WHERE run_no = {journey} AND event_type = 'TYPE' LIMIT 1;
    UPDATE copied SET slot = (SELECT max(slot) + 1 FROM events WHERE run_no = {journey});
    INSERT INTO events SELECT * FROM copied
"""
BROKEN = {
    # The log
    "DELETE FROM events WHERE run_no = {journey} AND slot = 3": "slot 4 stands at place 3",
    "UPDATE events SET epoch = 9 WHERE run_no = {journey} AND slot = 2": "in epoch 1 after epoch 9",
    "UPDATE events SET created_at = created_at - {hour} WHERE slot = 4": "is older than the one before",
    "DELETE FROM events WHERE run_no = {left}": "has no events",
    ONCE_MORE.replace("TYPE", "step_completed"): "which ended at",
    ONCE_MORE.replace("TYPE", "run_started"): "run_started at slot 17 after the run had ended",
    "UPDATE events SET subject = 1 WHERE event_type = 'step_started'": "is about no step",
    # Its views
    "UPDATE runs SET status = 'running' WHERE run_no = {journey}": "the view says status = 'running'",
    "UPDATE steps SET attempt = attempt + 1": "the view says attempt",
    "DELETE FROM steps WHERE run_no = {journey} AND created_slot = 3": "the view has steps",
    "UPDATE runs SET wake_at = 1 WHERE ended_slot IS NOT NULL": "has ended, and is owned or due",
    "UPDATE runs SET wake_at = NULL WHERE run_no = {left}": "nothing will ever wake it",
    "UPDATE hooks SET payloads = payloads + 1": "payloads, the log",
    "UPDATE hooks SET released_slot = NULL": "is released at None, its run has ended",
    "DROP INDEX hooks_token; UPDATE hooks SET token = 'x' WHERE released_slot IS NULL": "token 'x' is live 2 times",
    "UPDATE waits SET status = 'waiting', matched_slot = NULL": "by the log",
    "DELETE FROM chunks WHERE idx = 0": "has chunks [1, 2",
    # The tables among themselves
    "INSERT INTO crashes VALUES (999, 1)": "foreign_key_check",
    "UPDATE runs SET epoch = 0 WHERE run_no = {journey}": "is in an older epoch than its log",
    "UPDATE chunks SET epoch = 99": "has chunks of a later epoch",
    "UPDATE runs SET paused_at = 1 WHERE run_no = {left}": "is paused, and its log does not say so",
    "DELETE FROM hooks WHERE released_slot IS NULL": "waits for an answer that nothing can bring",
    "INSERT INTO queue_messages (message_id, namespace, queue_name, run_id, body, scope, epoch, attempt, failures,"
    " available_at, created_at) SELECT 'm', namespace, 'q', run_id, x'', 'pending', 0, 0, 0, 1, 1 FROM runs"
    " WHERE ended_slot IS NOT NULL LIMIT 1": "has ended, and is still to be woken by a message",
    # The log and the clock
    "UPDATE events SET created_at = created_at - {hour} WHERE event_type = 'step_started'": "before its time",
    "UPDATE events SET created_at = created_at - {hour} WHERE event_type = 'wait_completed'": "was over",
}


@pytest.mark.parametrize(("change", "named"), BROKEN.items(), ids=BROKEN.values())
def test_what_is_broken_is_named(change: str, named: str, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("DROP TRIGGER steps_end_once; " + change.format_map(NAMES))

    assert any(named in each for each in what_is_wrong(database)), what_is_wrong(database)


def test_who_is_tried_more_often_than_allowed_is_named(database: Path) -> None:
    assert [each.split(" of ")[0] for each in rules.broken(database, {"stumble": 2})] == ["'stumble'"] * 2
    assert "began although it had failed 2 times" in next(rules.broken(database, {"stumble": 2}))


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"what": "ACK", "key": "key-0", "run": "another"}, "key-0 was acknowledged as another"),
        ({"what": "ACK", "key": "key-9", "run": "lost"}, "key-9 was acknowledged as lost, and is None"),
        ({"what": "END", "output": 8}, "gave 8, and its run is completed with -1"),
        ({"what": "ANSWERED"}, "was acknowledged, and there are 0 answers"),
        ({"what": "SENT"}, "was acknowledged, and there are 0 events"),
        ({"what": "CANCELLED"}, "was acknowledged, and its run is completed"),
        ({"what": "EFFECT", "key": "add", "epoch": 2}, "1 effects in epoch 2 and 0 recorded starts"),
        ({"what": "DIED", "error": "OSError()"}, "a worker raised OSError()"),
    ],
)
def test_what_was_told_and_is_not_there_is_named(told: dict[str, Any], named: str, database: Path) -> None:
    fact = {"run": oracle.read(database).keys["key-0"], "name": "key-0", **told}

    assert any(named in each for each in what_is_wrong(database, [fact]))


def test_an_effect_after_its_completion_is_named_unless_it_is_that_of_one_who_was_replaced() -> None:
    def effect(epoch: int) -> list[str]:
        return list(
            oracle.judge_repeats({("r", "add"): 2}, [{"what": "EFFECT", "run": "r", "key": "add", "epoch": epoch}])
        )

    assert effect(1) == []
    assert effect(2) == effect(3) == ["'add' of r had an effect after its completion was recorded"]


def test_a_run_that_came_to_another_end_is_named(database: Path) -> None:
    found = oracle.read(database)
    found.runs[found.keys["key-0"]].output = 99

    assert list(outcome(found, 0)) == ["key-0 is completed with 99, not ('completed', -1)"]
    assert list(outcome(found, 9)) == ["key-9 has no run"]


def test_a_line_that_a_kill_tore_is_told_apart(tmp_path: Path) -> None:
    path, testimony = tmp_path / "witness.jsonl", oracle.Testimony()
    path.write_text('{"what": "LEFT", "pid": 1}\n{"what": "EFF{"what": "LEFT", "pid": 2}\n{"what": "LE')

    assert [fact["what"] for fact in testimony.read(path)] == ["LEFT", "TORN", "LEFT"]
    with path.open("a") as file:
        file.write('FT", "pid": 3}\n')
    assert testimony.read(path) == [{"what": "LEFT", "pid": 3}]
    assert len(testimony.facts) == 4
