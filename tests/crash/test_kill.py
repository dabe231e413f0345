"""Workers and clients killed anywhere, and stopped: what was acknowledged comes to its end, what completed stays so."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import judging
from tests.soak import Note

from . import oracle, rules
from .errands import TRIES, expected, kind_of
from .nest import SOAK, Child, Nest, in_one_word, nest_in

pytestmark = pytest.mark.crash

KILLS, CHECK_EVERY, HEAL_EVERY = (int(os.environ.get("SOAK_KILLS", "10000")), 200, 400) if SOAK else (150, 50, 150)
WINDOW = 24
"""How many runs clients speak of at a time."""
ALIVE = 5
BUSY = 16
"""How many facts there are between two kills, at most; a process that is being started has told none."""
LULL = 0.15  # seconds
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
AGAIN = f"SOAK_SEED={SEED} {'SOAK=1 ' if SOAK else ''}.venv/bin/pytest tests/crash/test_kill.py"


class Storm:
    """Processes that come and go, and what was seen of them so far."""

    def __init__(self, nest: Nest, seed: int) -> None:
        self._nest = nest
        self._chance = random.Random(seed)
        self._alive: list[Child] = []
        self._stopped: list[tuple[int, Child]] = []
        """With the kill before which it goes on."""
        self._dying: list[Child] = []
        self._begun = 0
        self._healed = 0
        self._completed: dict[tuple[str, str], int] = {}
        self._checked = 0
        self.kills = 0
        self.stops = 0
        self.violations: list[str] = []
        self.seen: dict[str, int] = {}
        """How much of what, when all was over."""

    def kill_one(self) -> None:
        """Let all of them work a little, and kill one, or stop it for a while."""
        self._begun = self.kills + 1
        while len(self._alive) < ALIVE:
            self._alive.append(self._fork())
        self._let_work()
        self._let_go_on()
        if self._chance.random() < 0.06:
            self.stops += 1
            victim = self._busiest()
            self._alive.remove(victim)
            victim.stop()
            self._stopped.append((self.kills + self._chance.randrange(10, 50), victim))
        else:
            self._kill(self._alive.pop(self._chance.randrange(ALIVE)))
        self.kills += 1

    def _fork(self) -> Child:
        role = self._chance.choice(["work", "work", "ask"])
        lowest = max(self._healed, self._begun - WINDOW)
        window = self._chance.sample(range(lowest, self._begun), k=min(4, self._begun - lowest))
        return self._nest.fork(role, in_one_word(self._nest.told(window)))

    def _let_work(self) -> None:
        """Until a little was done, or so long that nothing may come."""
        over = time.monotonic() + LULL
        wanted = len(self._nest.facts()) + self._chance.random() ** 2 * BUSY
        while len(self._nest.facts()) < wanted and time.monotonic() < over:
            time.sleep(0.001)
        time.sleep(self._chance.random() ** 2 * 0.004)

    def _let_go_on(self) -> None:
        for due, child in [*self._stopped]:
            if due <= self.kills:
                self._stopped.remove((due, child))
                child.signal(signal.SIGCONT)
                self._alive.insert(0, child)
                self._kill(self._alive.pop())

    def _busiest(self) -> Child:
        """The one whose body began last: it has most to lose."""
        alive = {child.pid: child for child in self._alive}
        begun = (fact["pid"] for fact in reversed(self._nest.facts()) if fact["what"] == "EFFECT")
        return alive[next((pid for pid in begun if pid in alive), self._alive[0].pid)]

    def _kill(self, child: Child) -> None:
        child.signal(signal.SIGKILL)
        self._dying.append(child)

    def kill_all(self) -> None:
        for child in (*self._alive, *(child for _, child in self._stopped)):
            self._kill(child)
        for child in self._dying:
            status = child.dies()
            assert status == -signal.SIGKILL, f"a process ended by itself: {self._nest.complaints()}"
        self._alive, self._stopped, self._dying = [], [], []

    def check(self) -> None:
        """While nobody lives: what must be true at any time."""
        self.kill_all()
        if not self._nest.database.exists():
            return
        facts = self._nest.facts()
        self.violations += oracle.judge_repeats(self._completed, facts[self._checked :])
        found = judging.found_in(self._nest.database)
        self.violations += [*judging.wrong(found, facts), *rules.broken(self._nest.database, TRIES)]
        self._completed, self._checked = found.database.completed(), len(facts)

    def heal(self) -> None:
        """Let all runs come to their ends, and look whether these are the right ones."""
        self.check()
        numbers = range(self._healed, self._begun)
        self._nest.fork("drain", in_one_word(self._nest.told(numbers))).leaves()
        self.check()
        database = oracle.read(self._nest.database)
        self.violations += [each for number in range(self._begun) for each in outcome(database, number)]
        self._healed = self._begun


def outcome(database: oracle.Database, number: int) -> Iterator[str]:
    """The run of this number has ended, as if nobody had been killed."""
    run = database.runs.get(database.keys.get(f"key-{number}", ""))
    kind, ends = kind_of(number), expected(number)
    if run is None:
        yield f"key-{number} has no run"
    elif (run.status, run.output) != ends:
        yield f"key-{number} is {run.status} with {run.output!r}, not {ends}"
    elif run.status == "completed" and [step.status for step in run.steps.values()] != ["completed"] * kind.steps:
        yield f"key-{number} has steps {[(step.key, step.status) for step in run.steps.values()]}"


def rage(folder: Path, kills: int, *, seed: int, mistake: str = "") -> tuple[Storm, str]:
    """So many kills, or as many as it takes to find something wrong; and the report of it."""
    with nest_in(folder, mistake=mistake) as nest:
        storm = Storm(nest, seed)
        try:
            while storm.kills < kills and not storm.violations:
                storm.kill_one()
                if storm.kills % HEAL_EVERY == 0:
                    storm.heal()
                elif storm.kills % CHECK_EVERY == 0:
                    storm.check()
        except AssertionError as error:
            storm.violations.append(str(error))
        what = f"after {storm.kills} kills, seed {seed}"
        facts = nest.facts()
        storm.seen = {
            "kills": storm.kills,
            "stops": storm.stops,
            "events": sum(run.last_slot for run in oracle.read(nest.database).runs.values()),
            "witness lines": len(facts),
            "writes fenced": sum(fact["what"] == "FENCED" for fact in facts),
        }
        return storm, nest.report(storm.violations, what=what, again=f"{AGAIN} -k whatever")


def test_whatever_is_killed_what_was_acknowledged_comes_to_its_end(tmp_path: Path, record_property: Note) -> None:
    storm, report = rage(tmp_path, KILLS, seed=SEED)
    for what, count in storm.seen.items():
        record_property(what, count)

    assert not storm.violations, report


VOWS = 50 if SOAK else 20


def test_what_was_acknowledged_survives_a_kill_right_after(tmp_path: Path, record_property: Note) -> None:
    violations, report = vow(tmp_path, VOWS)
    record_property("kills right after an acknowledgement", VOWS)

    assert not violations, report


def vow(folder: Path, count: int, *, mistake: str = "") -> tuple[list[str], str]:
    """So many processes, each of which dies as soon as it was told that its run is durable."""
    with nest_in(folder, mistake=mistake) as nest:
        for number in range(count):
            assert nest.fork("vow", str(number)).dies() == -signal.SIGKILL, nest.complaints()
        violations = list(judging.wrong(judging.found_in(nest.database), nest.facts()))
        return violations, nest.report(violations, what=f"{count} vows", again=f"{AGAIN} -k right_after")
