"""One seed played: two workers and two clients on a bad day, then everything healed, and the judgement."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import pytest

from wrkflw import Runtime, StoreError, WrkflwError
from wrkflw.worlds.sqlite import SqliteWorld

from . import clients, stand_ins, tempers, witness
from .judging import judge, judge_at_any_time
from .machine import Crash, Machine
from .processes import Process
from .tempers import LEASE, SECOND, Temper
from .witness import Fact
from .workflows import BY_ID, TAKE_EVENTS, WORKFLOWS, ask, paid

DATABASE = "app.db"
_SAYINGS = 6
"""Of both clients together."""
_LONGEST_DAY = 80 * SECOND
_MOST_STEPS = 2000
_LONGEST_CURE = 200 * SECOND
_ROUND = 5 * SECOND
_OPEN = "SELECT run_id, workflow_name FROM runs WHERE ended_slot IS NULL"
_SUSPENDED = "SELECT 1 FROM hooks JOIN runs USING (run_no) WHERE run_id = ? AND released_slot IS NULL AND payloads = 0"
_EXPECTING = """
    SELECT 1 FROM waits JOIN runs USING (run_no)
    WHERE run_id = ? AND waits.status = 'waiting' AND matched_slot IS NULL AND signal_type IS NOT NULL
"""
_PAUSED = "SELECT 1 FROM runs WHERE run_id = ? AND paused_at IS NOT NULL"


@dataclass
class Outcome:
    seed: int
    temper: Temper
    machine: Machine
    facts: list[Fact]
    violations: list[str] = field(default_factory=list)


def play(seed: int, folder: Path, template: bytes) -> Outcome:
    """Play it in ``folder``, which is empty, beginning with the database ``template``."""
    temper = tempers.draw(Random(f"temper of {seed}"))
    machine = Machine(seed, temper)
    outcome = Outcome(seed, temper, machine, witness.begin())
    (folder / DATABASE).write_bytes(template)
    stand_ins.switch_to(machine)
    gc.disable()  # what it would call, and when, is in no seed
    try:
        day = _Day(outcome, folder / DATABASE)
        day.live()
        day.cure()
    finally:
        for process in list(machine.processes):
            process.die(None)
        for process in machine.buried:
            process.bury()
        stand_ins.switch_to(None)
        gc.enable()
    return outcome


class _Day:
    def __init__(self, outcome: Outcome, database: Path) -> None:
        self._outcome = outcome
        self._machine = machine = outcome.machine
        self._database = database
        self._notebook = clients.Notebook()
        plan = Random(f"plan of {outcome.seed}")
        sayings = clients.draw(plan, _SAYINGS)
        self._left = {"client 1": sayings[::2], "client 2": sayings[1::2]}
        self._wanted: list[str] = ["worker 1", "worker 2", *self._left]
        """The processes that somebody starts again."""
        self._numbers = 0
        for name in self._wanted:
            machine.later(plan.randrange(2 * SECOND), partial(self._begin, name))
        if plan.random() < 0.3:
            for _ in range(3):
                machine.later(plan.randrange(30 * SECOND), self._ask_one_to_leave)

    # --- processes ---------------------------------------------------------------------------------

    def _begin(self, name: str) -> None:
        if name not in self._wanted:
            return
        self._numbers += 1
        self._start(name, _stay if name not in self._left else self._speak(name), worker=name.startswith("worker"))

    def _start(self, name: str, main: Callable[[Runtime], Awaitable[None]], *, worker: bool) -> Process:
        numbered = f"{name} ({self._numbers})"
        return Process(
            self._machine, numbered, self._database, WORKFLOWS, main, worker=worker,
            ended=lambda process, why: self._ended(name, process, why),
        )  # fmt: skip

    def _speak(self, name: str) -> Callable[[Runtime], Awaitable[None]]:
        return lambda runtime: clients.use(runtime, self._left[name], self._notebook)

    def _ended(self, name: str, process: Process, why: BaseException | None) -> None:
        facts = self._outcome.facts
        if why is not None:
            how = "KILLED" if isinstance(why, Crash) else "FAILED" if isinstance(why, StoreError) else "DIED"
            facts.append({"what": how, "by": process.name, "at": self._machine.wall, "error": repr(why)})
        self._outcome.violations += [f"a callback of {process.name} raised: {each}" for each in process.troubles]
        self._machine.later(self._machine.random.randrange(8 * SECOND), lambda: self._begin(name))

    def _ask_one_to_leave(self) -> None:
        if self._machine.processes:
            self._machine.random.choice(self._machine.processes).ask_to_leave()

    # --- the day, and the cure -----------------------------------------------------------------------

    def live(self) -> None:
        machine = self._machine
        machine.run(_LONGEST_DAY, lambda: machine.steps > _MOST_STEPS or not any(self._left.values()))
        machine.run(machine.elapsed + machine.random.randrange(8 * SECOND), lambda: machine.steps > _MOST_STEPS)
        self._outcome.violations += judge_at_any_time(self._database)

    def cure(self) -> None:
        """Nothing goes wrong any more, and whoever waits for an answer gets one.  Nothing is said again."""
        machine = self._machine
        machine.temper = tempers.CALM
        self._wanted = ["worker 1", "worker 2"]
        for process in list(machine.processes):
            process.paused_until = machine.elapsed
            if process.name.startswith("client"):
                process.die(Crash())
        if not any(process.name.startswith("worker") for process in machine.processes):
            self._begin(self._wanted[0])
        began = machine.elapsed
        machine.run(began + _ROUND)
        while (open_runs := self._open()) and machine.elapsed < began + _LONGEST_CURE:
            if machine.elapsed > began + LEASE:
                self._help(open_runs)
            machine.run(machine.elapsed + _ROUND)
        self._leave()
        self._outcome.violations += judge(self._database, self._outcome.facts)

    def _help(self, open_runs: dict[str, str]) -> None:
        needs: list[tuple[str, str, str]] = []
        with closing(sqlite3.connect(self._database)) as connection:
            for run_id, workflow_id in open_runs.items():
                for query, need in ((_PAUSED, "unpause"), (_SUSPENDED, "answer"), (_EXPECTING, "event")):
                    if connection.execute(query, (run_id,)).fetchone():
                        needs.append((need, workflow_id, run_id))
        if needs and not any(process.name.startswith("healer") for process in self._machine.processes):
            self._numbers += 1
            self._start("healer", lambda _runtime: _heal(needs), worker=False)

    def _open(self) -> dict[str, str]:
        with closing(sqlite3.connect(self._database)) as connection:
            return dict(connection.execute(_OPEN).fetchall())

    def _leave(self) -> None:
        machine, self._wanted = self._machine, []
        for process in list(machine.processes):
            process.ask_to_leave()
        machine.run(machine.elapsed + 60 * SECOND, lambda: not machine.processes)
        self._outcome.violations += [f"{process.name} does not leave" for process in machine.processes]


async def _stay(_runtime: Runtime) -> None:
    await asyncio.Event().wait()


async def _heal(needs: list[tuple[str, str, str]]) -> None:
    for need, workflow_id, run_id in needs:
        run = await BY_ID[workflow_id].get_run(run_id)
        try:
            if need == "unpause":
                await run.unpause()
            elif need == "answer":
                await run.resume(ask, 5, wait="0s")
            elif workflow_id in TAKE_EVENTS:
                await run.send_event(paid, 105, wait="0s")
        except WrkflwError as error:
            witness.tell("REFUSED", said=need, run=run_id, error=repr(error))


def make_template(path: Path) -> bytes:
    """A database without runs."""

    async def make() -> None:
        world = SqliteWorld(path)
        await world.start()
        await world.close()

    asyncio.run(make())
    return path.read_bytes()


class _Log(logging.Handler):
    """Tells the witness who was fenced, and nobody of all the rest, which is wanted."""

    def emit(self, record: logging.LogRecord) -> None:
        if "taken over" in record.getMessage():
            witness.tell("FENCED", log=record.getMessage())


@contextmanager
def stage(folder: Path) -> Generator[Callable[[int], Outcome]]:
    """What plays a seed, each in a folder of its own below ``folder``, which should be in memory."""
    template, numbers, log = make_template(folder / "empty.db"), itertools.count(), logging.getLogger("wrkflw")
    before = log.level, log.propagate
    handler = _Log()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False

    def play_one(seed: int) -> Outcome:
        own = folder / "now"  # errors name it, and are to be the same each time
        own.mkdir()
        outcome = play(seed, own, template)
        if outcome.violations:
            own.rename(folder / f"{seed}-{next(numbers)}")
        else:
            shutil.rmtree(own)
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        stand_ins.install(patch)
        gc.collect()
        gc.freeze()  # between two seeds only what the last one left is looked at
        try:
            yield play_one
        finally:
            gc.unfreeze()
            log.removeHandler(handler)
            log.setLevel(before[0])
            log.propagate = before[1]


def report(outcome: Outcome) -> str:
    """What went wrong, the end of what was witnessed, and how to see it again."""
    violations, facts = "\n".join(outcome.violations[:20]), "\n".join(map(str, outcome.facts[-50:]))
    again = f"python -m tests.simulation --seed {outcome.seed}"
    return f"seed {outcome.seed}: {outcome.temper}\n{facts}\n{violations}\nagain: {again}"
