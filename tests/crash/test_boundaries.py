"""A crash before every single statement: what is on disk is enough to go on, and nothing completed runs again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from pydantic import BaseModel

from wrkflw import Completed, Retry, Runtime, StepContext, Workflow, create_workflow, step
from wrkflw.worlds.sqlite import SqliteWorld

pytestmark = pytest.mark.crash

KEY = "the-run"
COMPLETED = """
    SELECT steps.key FROM events JOIN steps ON steps.run_no = events.run_no AND steps.created_slot = events.subject
    WHERE events.event_type = 'step_completed'
"""


class Number(BaseModel):
    value: int


class Killed(BaseException):
    """The process is gone: whatever it tries next fails like this."""


class Bodies:
    """The same workflow for each process, and how often each body began in all of them together."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()

    def workflow(self) -> Workflow[Number, Number, None]:
        @step
        async def add(number: Number) -> Number:
            self.begun["add"] += 1
            return Number(value=number.value + 1)

        @step
        def double(number: Number) -> Number:
            self.begun["double"] += 1
            return Number(value=number.value * 2)

        @step(retry=Retry(attempts=2, delay="0s"))
        async def stumble(number: Number, ctx: StepContext) -> Number:
            self.begun["stumble"] += 1
            if ctx.attempt == 1:
                raise OSError("not yet")
            return Number(value=number.value - 3)

        chain = create_workflow(id="chain", input_schema=Number, output_schema=Number)
        return chain.then(add).then(double).then(stumble).commit()


class Process:
    """One life of a process: it dies when it is about to execute its ``last``-th statement."""

    def __init__(self, database: Path, workflow: Workflow[Number, Number, None], last: int | None) -> None:
        self.executed = 0
        self.dead = asyncio.Event()
        self._workflow = workflow
        self._last = last
        self.world = SqliteWorld(database, on_statement=self._on_statement)

    def _on_statement(self, _sql: str) -> None:
        if self.dead.is_set():
            raise Killed
        self.executed += 1
        if self.executed == self._last:
            self.dead.set()
            raise Killed

    async def live(self) -> int:
        """Run the workflow, and give its output."""
        async with Runtime(world=self.world, workflows=[self._workflow]):
            run = await self._workflow.create_run(idempotency_key=KEY)
            result = await run.start(Number(value=1))
            assert isinstance(result, Completed), result
            assert run.state is None
            return result.output.value

    async def live_until_killed(self) -> bool:
        """True when it was killed, False when it came to its end first."""
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # dying is not tidy
        life = asyncio.ensure_future(self.live())
        death = asyncio.ensure_future(self.dead.wait())
        await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
        killed = self.dead.is_set()
        if killed:
            self.world.abandon()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return killed


def completed(database: Path) -> list[str]:
    """The keys whose completion is on disk, read as somebody else would."""
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT name FROM sqlite_master WHERE name = 'events'").fetchall():
            return []
        slots = [slot for (slot,) in connection.execute("SELECT slot FROM events ORDER BY slot")]
        assert slots == list(range(1, len(slots) + 1)), "the log has a hole"
        return [key for (key,) in connection.execute(COMPLETED)]
    finally:
        connection.close()


async def killed_at(statement: int, database: Path, workflow: Workflow[Number, Number, None]) -> bool:
    return await Process(database, workflow, statement).live_until_killed()


async def output_of(database: Path, workflow: Workflow[Number, Number, None]) -> int:
    return await Process(database, workflow, None).live()


def test_a_run_goes_on_after_a_crash_before_any_statement(tmp_path: Path) -> None:
    statement, killed = 0, True
    while killed:
        statement += 1
        database = tmp_path / f"{statement}.db"
        bodies = Bodies()
        workflow = bodies.workflow()

        killed = asyncio.run(killed_at(statement, database, workflow))
        before, begun = completed(database), bodies.begun.copy()
        output = asyncio.run(output_of(database, workflow))

        assert output == 1, f"at statement {statement}"
        assert sorted(completed(database)) == ["add", "double", "stumble"], f"at statement {statement}"
        again = {key for key in before if bodies.begun[key] != begun[key]}
        assert not again, f"{again} ran again after a crash at statement {statement}"
    assert statement > 40, "there are fewer statements than a run takes"
