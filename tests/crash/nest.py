"""Real processes for the tests: forked on command, watched, and killed.  The test itself runs none of the engine."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import oracle

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 30  # seconds that anything here may take; nothing is measured
_GONE = "gone"
SOAK = bool(os.environ.get("SOAK"))


@dataclass(frozen=True)
class Child:
    """A process of the nest."""

    nest: Nest
    pid: int

    def ready(self) -> None:
        """Wait until its Runtime is open."""
        self.nest.hear(f"ready {self.pid}")

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it may have come to its own end, which is for the test to say
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Stop it while it does not write: who stops while it does holds up everybody, for which there is no cure."""
        with self.nest.nobody_writes():
            self.signal(signal.SIGSTOP)
            self.nest.hear(f"stopped {self.pid}")

    def dies(self) -> int:
        """Wait for its end; its exit code, negative for the signal that killed it."""
        return int(self.nest.hear(f"dead {self.pid}").split()[2])

    def leaves(self) -> None:
        """Wait for an end in good order."""
        status = self.dies()
        assert status == 0, f"a process ended with {status}: {self.nest.complaints()}"


class Nest:
    """The process that forks workers and clients.  ``mistake`` is one of tests.mutants, which all of them make."""

    def __init__(self, folder: Path, *, database: Path | None = None, mistake: str = "") -> None:
        self.database, self.witness = database or folder / "app.db", folder / "witness.jsonl"
        self._errors = (folder / "stderr").open("w+")
        arguments = [f"sqlite:///{self.database}", str(self.witness), mistake]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.worker", *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, bufsize=1,
        )  # fmt: skip
        self._said: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._saved: list[str] = []
        self._testimony = oracle.Testimony()
        self._told: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line.strip())
        self._said.put(_GONE)

    def fork(self, *words: str) -> Child:
        """A process that does what ``worker`` knows under these words; they hold no spaces."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        return Child(self, int(self.hear("pid").split()[1]))

    def hear(self, words: str) -> str:
        """The next line that begins with these words; the processes and the nest speak in any order."""
        deadline = time.monotonic() + LONGEST
        while True:
            for line in self._saved:
                if line == words or line.startswith(words + " "):
                    self._saved.remove(line)
                    return line
            assert _GONE not in self._saved, f"the nest is gone: {self.complaints()}"
            try:
                self._saved.append(self._said.get(timeout=max(deadline - time.monotonic(), 0)))
            except queue.Empty:
                raise AssertionError(f"never heard {words!r}: {self.complaints()}") from None

    def complaints(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-3000:]

    def close(self) -> None:
        """End it; whoever is left in it is killed."""
        for pipe in (self._process.stdin, self._errors):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait(LONGEST)
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @contextmanager
    def nobody_writes(self) -> Generator[None]:
        lock = os.open(f"{self.database}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    # --- what they leave ---------------------------------------------------------------------------

    def facts(self) -> list[dict[str, Any]]:
        """What the witness has told so far."""
        for fact in self._testimony.read(self.witness):
            if fact["what"] in ("ACK", "ANSWERED", "SENT", "CANCELLED"):
                self._told[fact["key"]][fact["what"]] = fact["run"]
        return self._testimony.facts

    def told(self, numbers: Iterable[int]) -> list[tuple[int, str | None, list[str]]]:
        """What clients were told of the errands of these numbers: the id of the run, and what was acknowledged."""
        self.facts()
        known = ((number, self._told.get(f"key-{number}", {})) for number in numbers)
        return [(number, said.get("ACK"), sorted(said)) for number, said in known]

    def await_fact(self, what: str, count: int = 1, **facts: object) -> None:
        """Wait until this was told so often."""
        deadline = time.monotonic() + LONGEST
        wanted = {"what": what, **facts}
        while sum(wanted.items() <= fact.items() for fact in self.facts()) < count:
            assert time.monotonic() < deadline, f"no {wanted}: {self.complaints()}"
            time.sleep(0.005)

    def log(self) -> list[tuple[str, int, str | None]]:
        """The type, epoch and data of every event, run after run."""
        return self.read("SELECT event_type, epoch, data FROM events ORDER BY run_no, slot")

    def read(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.database, timeout=LONGEST)) as connection:
            return connection.execute(query).fetchall()

    def await_rows(self, query: str, rows: list[Any]) -> None:
        """Wait until this is what the database says."""
        deadline = time.monotonic() + LONGEST
        while (found := self.read(query)) != rows:
            assert time.monotonic() < deadline, f"{query} gave {found}, not {rows}: {self.complaints()}"
            time.sleep(0.02)

    def report(self, violations: list[str], *, what: str, again: str) -> str:
        """All that somebody needs who is to find out why."""
        last = "\n".join(map(json.dumps, self.facts()[-50:]))
        found = "\n".join(violations[:20])
        how = f"again with: {again}\ndatabase: {self.database}\n{self.complaints()}"
        return f"{what}: {len(violations)} violations\n{how}\n{last}\n{found}"


@contextmanager
def nest_in(folder: Path, *, database: Path | None = None, mistake: str = "") -> Generator[Nest]:
    nest = Nest(folder, database=database, mistake=mistake)
    try:
        yield nest
    finally:
        nest.close()


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    with nest_in(tmp_path) as nest:
        yield nest


def in_one_word(data: object) -> str:
    """As a command takes it."""
    return json.dumps(data, separators=(",", ":"))
