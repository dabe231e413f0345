"""Real processes, really killed: what was acknowledged comes to its end, and nothing that completed runs again."""

from __future__ import annotations

import os
import queue
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from . import oracle
from .worker import expected

pytestmark = pytest.mark.crash

ROOT = Path(__file__).resolve().parents[2]
SOAK = bool(os.environ.get("SOAK"))
KILLS = 2_000 if SOAK else 200
RUNS = KILLS // 4
CHECK_EVERY = 20
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
AGAIN = f"SOAK_SEED={SEED} {'SOAK=1 ' if SOAK else ''}.venv/bin/pytest tests/crash/test_kill.py -k killed"
LONGEST = 30  # seconds that anything here may take; nothing is measured


class Nest:
    """The process that forks workers on command."""

    def __init__(self, folder: Path, name: str = "nest") -> None:
        self.database, self.witness = folder / "app.db", folder / "witness.jsonl"
        self._errors = (folder / f"{name}.stderr").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.worker", f"sqlite:///{self.database}", str(self.witness)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, bufsize=1,
        )  # fmt: skip
        self._said: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self.pid = 0
        self._saved: list[str] = []
        self._told = oracle.Testimony()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line.strip())

    def command(self, *words: str) -> None:
        """Fork a worker."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self.pid = int(self.hear("pid").split()[1])

    def hear(self, word: str) -> str:
        """The next line that begins with this word; the worker and the nest speak in any order."""
        deadline = time.monotonic() + LONGEST
        while True:
            for line in self._saved:
                if line.startswith(word):
                    self._saved.remove(line)
                    return line
            try:
                self._saved.append(self._said.get(timeout=max(deadline - time.monotonic(), 0)))
            except queue.Empty:
                raise AssertionError(f"no {word!r} from the worker; {self.complaints()}") from None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def dies(self) -> int:
        status = int(self.hear("dead").split()[1])
        self._saved.clear()  # a late "ready" belongs to the dead
        return status

    def complaints(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-3000:]

    def close(self) -> None:
        with suppress(ProcessLookupError):
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def facts(self) -> list[dict[str, Any]]:
        """What the witness has told so far."""
        self._told = oracle.testimony(self.witness, self._told)
        return self._told.facts


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    nest = Nest(tmp_path)
    yield nest
    nest.close()


def words(numbers: list[int]) -> str:
    return str(numbers).replace(" ", "")


def acknowledged(facts: list[dict[str, Any]]) -> list[int]:
    return sorted({int(fact["key"].removeprefix("key-")) for fact in facts if fact["what"] == "ACK"})


def test_whatever_is_killed_what_was_acknowledged_comes_to_its_end(nest: Nest) -> None:
    chance = random.Random(SEED)
    violations: list[str] = []
    checked, told = set[tuple[str, str]](), 0
    for kill in range(KILLS):
        facts = nest.facts()
        if kill % CHECK_EVERY == 0 and nest.database.exists():
            violations += oracle.judge_repeats(checked, facts[told:])
            database = oracle.read(nest.database)
            violations += [f"after {kill} kills: {each}" for each in database.violations]
            checked, told = database.completed(), len(facts)
        open_to = min(RUNS, 1 + RUNS * (kill + 1) // KILLS)
        nest.command("live", words(sorted(set(range(open_to)) - set(acknowledged(facts)))))
        if chance.random() > 0.1:  # now and then before it is ready
            nest.hear("ready")
        time.sleep(chance.random() ** 2 * 0.06)
        nest.signal(signal.SIGKILL)
        status = nest.dies()
        assert status == -signal.SIGKILL, f"a worker ended by itself: {nest.complaints()}"
        assert not violations, report(violations, nest)

    before = acknowledged(nest.facts())
    missing = sorted(set(range(RUNS)) - set(before))
    nest.command("drain", words(missing), words(before))
    assert nest.dies() == 0, nest.complaints() + report([], nest)
    facts = nest.facts()
    violations += oracle.judge_repeats(checked, facts[told:])
    database = oracle.read(nest.database)
    violations += [*database.violations, *oracle.judge(database, facts), *outcomes(database)]
    assert not violations, report(violations, nest)
    print(f"\n{KILLS} kills, {sum(run.last_slot for run in database.runs.values())} events, {len(facts)} witness lines")


def outcomes(database: oracle.Database) -> Iterator[str]:
    """Every run there should be has ended, as if nobody had been killed."""
    for number in range(RUNS):
        run = database.runs.get(database.keys.get(f"key-{number}", ""))
        if run is None:
            yield f"key-{number} has no run"
        elif (run.status, run.output) != ("completed", expected(number)):
            yield f"key-{number} is {run.status} with {run.output!r}, not {expected(number)}"
        elif [step.status for step in run.steps.values()] != ["completed"] * 5:
            yield f"key-{number} has steps {[(step.key, step.status) for step in run.steps.values()]}"


def report(violations: list[str], nest: Nest) -> str:
    last = "\n".join(nest.witness.read_text().splitlines()[-50:])
    found = "\n".join(violations[:20])
    return f"{len(violations)} violations, seed {SEED}; again with: {AGAIN}\ndatabase: {nest.database}\n{last}\n{found}"


# --- a worker that stopped, and one that leaves ---------------------------------------------------------


def log(database: Path) -> list[tuple[str, int, str | None]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT event_type, epoch, data FROM events ORDER BY slot").fetchall()


def await_fact(nest: Nest, what: str, count: int = 1) -> None:
    deadline = time.monotonic() + LONGEST
    while sum(fact["what"] == what for fact in nest.facts()) < count:
        assert time.monotonic() < deadline, f"no {what}: {nest.complaints()}"
        time.sleep(0.005)


@pytest.mark.parametrize("late", [False, True], ids=["while its successor works", "after its successor ended"])
def test_a_worker_that_stopped_beyond_its_lease_is_fenced(nest: Nest, tmp_path: Path, late: bool) -> None:
    successor = Nest(tmp_path, "successor")
    try:
        nest.command("carry", "zombie")
        await_fact(nest, "EFFECT")  # it stops itself in its body
        wait_for_the_lease(nest.database)
        successor.command("carry", "zombie")
        await_fact(nest, "EFFECT", 2)
        if late:
            (tmp_path / "go").touch()
            assert successor.dies() == 0, successor.complaints()
        nest.signal(signal.SIGCONT)
        await_fact(nest, "FENCED")
        (tmp_path / "go").touch()
        assert late or successor.dies() == 0, successor.complaints()
        assert nest.dies() == 0, nest.complaints()
    finally:
        successor.close()

    # The zombie learns what its successor came to; what it did itself is nowhere.
    outputs = [fact["output"] for fact in nest.facts() if fact["what"] == "END"]
    assert outputs == ["epoch 2, attempt 1"] * 2
    database = oracle.read(nest.database)
    assert database.violations == []
    assert list(oracle.judge(database, nest.facts())) == []
    assert [(kind, epoch) for kind, epoch, _ in log(nest.database) if kind in ("step_started", "step_completed")] == [
        ("step_started", 1), ("step_started", 2), ("step_completed", 2)
    ]  # fmt: skip


def wait_for_the_lease(database: Path) -> None:
    """Until every lease in the database has run out."""
    deadline = time.monotonic() + LONGEST
    with closing(sqlite3.connect(database)) as connection:
        while True:
            latest = connection.execute("SELECT max(lease_until) FROM owners").fetchone()[0]
            if latest is not None and latest < time.time() * 1_000_000:
                return
            assert time.monotonic() < deadline, "the lease of a stopped process is being renewed"
            time.sleep(0.02)


def test_leaving_in_good_order_frees_the_run_and_is_no_interruption(nest: Nest) -> None:
    for life in range(1, 8):  # more often than a step may be interrupted
        nest.command("carry", "wait")
        await_fact(nest, "EFFECT", life)
        nest.signal(signal.SIGTERM)
        assert nest.dies() == 0, nest.complaints()
        with closing(sqlite3.connect(nest.database)) as connection:
            assert connection.execute("SELECT owner, wake_at IS NOT NULL FROM runs").fetchall() == [(None, 1)]
            assert connection.execute("SELECT count(*) FROM owners").fetchall() == [(0,)]
        assert log(nest.database)[-1] == ("step_retrying", life, '{"reason":"released"}')

    nest.command("carry", "wait")
    assert nest.dies() == 0, nest.complaints()
    assert [fact["what"] for fact in nest.facts() if fact["what"] != "EFFECT"] == ["LEFT"] * 7 + ["END"]
    assert nest.facts()[-1]["output"] == "epoch 8, attempt 1"
    assert all(later >= sooner for sooner, later in pairwise(epoch for _, epoch, _ in log(nest.database)))
