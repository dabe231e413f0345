"""W9: two processes on one file share the runs that wait there, beside one process that does them alone.

Each figure begins with the word to go, given to processes that have imported everything, and ends with the last run.
"""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from wrkflw import Runtime

from .adding import Number, adding, database, new
from .measure import Figure, Sizes, figure
from .processes import ROOT, TIMEOUT

LENGTH = 10


class _Said(TypedDict):
    """What a process says at its end."""

    runs: int
    """That ended in it."""
    last: float
    """When the last did, by the clock that all processes share."""
    cpu: float


@dataclass(frozen=True, slots=True)
class _Shared:
    seconds: float
    runs: list[int]
    cpu: float

    @property
    def steps(self) -> int:
        return sum(self.runs) * LENGTH

    @property
    def rate(self) -> float:
        return self.steps / self.seconds

    @property
    def fairness(self) -> float:
        return min(self.runs) / max(self.runs)


def measure(sizes: Sizes, folder: Path) -> list[Figure]:
    waiting = new(folder)
    asyncio.run(_enqueue(waiting, sizes.shared))
    alone: list[_Shared] = []
    together: list[_Shared] = []
    for _ in range(sizes.long_repetitions):
        before, both, after = (_work(processes, waiting, folder, sizes.shared) for processes in (1, 2, 1))
        alone.append(_Shared((before.seconds + after.seconds) / 2, before.runs, (before.cpu + after.cpu) / 2))
        together.append(both)
    ratios = [both.rate / one.rate for both, one in zip(together, alone, strict=True)]
    return [
        figure("one process, steps/s", "/s", [one.rate for one in alone], note="before and after"),
        figure("two processes, steps/s", "/s", [both.rate for both in together], note="in sum"),
        figure("two ÷ one process", "x", ratios),
        figure("one ÷ two processes", "x", [1 / ratio for ratio in ratios], compared=True),
        figure("fairness", "x", [both.fairness for both in together], note="fewest ÷ most runs of a process"),
        figure("CPU a step, one", "µs", [1e6 * one.cpu / one.steps for one in alone]),
        figure("CPU a step, two", "µs", [1e6 * both.cpu / both.steps for both in together]),
    ]


async def _enqueue(folder: Path, runs: int) -> None:
    workflow = adding("shared", LENGTH)
    async with Runtime(database(folder), workflows=[workflow], worker=False):
        await asyncio.gather(*[(await workflow.create_run()).enqueue(Number(n=0)) for _ in range(runs)])


def _work(processes: int, waiting: Path, folder: Path, runs: int) -> _Shared:
    here = new(folder)
    shutil.copytree(waiting, here, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*-owners"))
    workers = [_Worker(here) for _ in range(processes)]
    try:
        for worker in workers:
            worker.hear("ready")
        begun = time.perf_counter()
        for worker in workers:
            worker.say("go")
        _until_done(workers, runs)
        said = [worker.end() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return _Shared(
        max(one["last"] for one in said) - begun, [one["runs"] for one in said], sum(one["cpu"] for one in said)
    )


def _until_done(workers: list[_Worker], runs: int) -> None:
    done = dict.fromkeys(workers, 0)
    heard: queue.SimpleQueue[tuple[_Worker, int]] = queue.SimpleQueue()
    for worker in workers:
        threading.Thread(target=worker.listen, args=(heard,), daemon=True).start()
    while sum(done.values()) < runs:
        worker, count = heard.get(timeout=TIMEOUT)
        done[worker] = count


class _Worker:
    """A process that works on the file."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.multi", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def hear(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == word + "\n", line

    def listen(self, heard: queue.SimpleQueue[tuple[_Worker, int]]) -> None:
        """To its counts, until its last words."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._said.put(line)
            else:
                heard.put((self, int(line)))

    def end(self) -> _Said:
        self.say("end")
        said: _Said = json.loads(self._said.get(timeout=TIMEOUT))
        return said

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


# --- the process ------------------------------------------------------------------------------------


class _Teller:
    """Tells how many runs have ended here, once for all that ended together."""

    def __init__(self) -> None:
        self.last = 0.0
        self.count = 0
        self._told = 0

    def hear(self, _: object) -> None:
        self.count += 1
        asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        if self.count > self._told:
            self._told, self.last = self.count, time.perf_counter()
            print(self.count, flush=True)


async def _share(folder: Path) -> _Said:
    teller = _Teller()
    workflow = adding("shared", LENGTH, teller.hear)
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    async with Runtime(database(folder), workflows=[workflow]):
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return {"runs": teller.count, "last": teller.last, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_share(Path(sys.argv[1])))))
