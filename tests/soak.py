"""The soak: every layer of proof at its full count, as many parts side by side as there are cores, and a table of it.

A part is a run of pytest with its own counts.  What its tests noted with ``record_property`` is added up.  Layers with
a fixed amount of work come first, and one more at a time, for some of them wait much.  The simulation is cut into many
parts, and those that would not end within ``--minutes`` are left out and said to be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

Note: TypeAlias = Callable[[str, object], None]
"""What ``record_property`` is: a name, and how many of it."""

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "soak"
_CORES = os.cpu_count() or 1
_SEEDS, _SHARDS = 50_000, 50
_KILLS, _STORMS = 10_000, 4
_OF_THEIR_OWN = ("kill", "zombies", "leaving", "mistakes")


@dataclass(frozen=True)
class Part:
    """A run of pytest: which tests, and with which counts in its environment."""

    layer: str
    tests: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    optional: bool = False
    """Whether it may be left out when there is no time for it."""


PARTS = [
    *(Part("kill -9", ["tests/crash/test_kill.py"], {"SOAK_KILLS": str(_KILLS // _STORMS)}) for _ in range(_STORMS)),
    Part("stopped past the lease", ["tests/crash/test_zombies.py"]),
    Part("SIGTERM", ["tests/crash/test_leaving.py"]),
    Part("other ends of processes", ["tests/crash", *(f"--ignore=tests/crash/test_{one}.py" for one in _OF_THEIR_OWN)]),
    Part("crash points", ["tests/faults/test_crash_points.py"]),
    Part("power loss", ["tests/faults/test_power.py"]),
    Part("random graphs", ["tests/engine/graphs"]),
    Part("random programs", ["tests/engine/test_program_trees.py"], {"SOAK_TREES": "800"}),
    Part("values and corruption", ["tests/values"]),
    Part("hostile mail", ["tests/email/test_hostile.py"]),
    Part("HTTP requests", ["tests/server/test_fuzz.py"]),
    Part("endurance", ["tests/test_endurance.py"]),
    Part("mutants", ["tests", "-m", "mutant"]),
    *(
        Part(
            "simulation",
            ["tests/simulation/test_simulation.py", "-k", "every_order"],
            {"SIMULATION_SEEDS": str(_SEEDS // _SHARDS), "SIMULATION_FIRST": str(shard * _SEEDS // _SHARDS)},
            optional=True,
        )
        for shard in range(_SHARDS)
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Played:
    """What came of a part; ``counts`` are what its tests noted, by name."""

    layer: str
    passed: bool
    lasted: float
    """Seconds."""
    used: float
    """Seconds of a core, with all processes that it began and saw the end of."""
    counts: Counter[str]


def play(number: int, part: Part) -> Played:
    """Run the part in a process of its own; its log and its report stand in ``FOLDER``, under ``number``."""
    name = f"{number:02d}-{part.layer.replace(' ', '-')}"
    report, log = FOLDER / f"{name}.xml", FOLDER / f"{name}.log"
    settings = ["-o", "faulthandler_timeout=3000", "-o", "junit_family=xunit1"]  # the newer family has no properties
    command = [sys.executable, "-m", "pytest", "-q", *settings, f"--junitxml={report}"]
    environment = {**os.environ, "SOAK": "1", **part.environment}
    begun = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *part.tests], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    passed, lasted = process.returncode == 0, time.monotonic() - begun
    noted = counts(report) if report.exists() else Counter[str]()
    played = Played(part.layer, passed, lasted, usage.ru_utime + usage.ru_stime, noted)
    took = f"{part.layer} in {played.lasted:.0f} s"
    print(f"ok     {took}" if passed else f"FAILED {took}: see {log}")
    return played


def counts(report: Path) -> Counter[str]:
    """The tests that passed, and what they noted."""
    total = Counter[str]()
    for case in ElementTree.parse(report).iter("testcase"):
        if not any(case.findall(kind) for kind in ("failure", "error", "skipped")):
            total["tests"] += 1
        for noted in case.iter("property"):
            total[noted.attrib["name"]] += int(noted.attrib["value"])
    return total


def table(played: Iterable[Played]) -> list[str]:
    """In Markdown, a line for each layer."""
    layers: dict[str, list[Played]] = {}
    for one in played:
        layers.setdefault(one.layer, []).append(one)
    lines = ["| layer | what was done | violations | seconds of a core |", "|---|---|---|---|"]
    for layer, parts in layers.items():
        total = sum((one.counts for one in parts), Counter[str]())
        done = ", ".join(f"{count:,} {what}" for what, count in total.items() if what != "tests" or len(total) == 1)
        held = "0" if all(one.passed for one in parts) else "**yes**"
        lines.append(f"| {layer} | {done} | {held} | {sum(one.used for one in parts):,.0f} |")
    return lines


class Deadline:
    """An optional part begins when a core is free, and the longest of its layer so far would still end in time."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._longest: dict[str, float] = {}
        self._cores = threading.Semaphore(_CORES)

    def play(self, number: int, part: Part) -> Played | None:
        """None when the part was left out."""
        if not part.optional:
            return self._play(number, part)
        with self._cores:
            late = time.monotonic() + self._longest.get(part.layer, 0) > self._end
            return None if late else self._play(number, part)

    def _play(self, number: int, part: Part) -> Played:
        played = play(number, part)
        self._longest[part.layer] = max(played.lasted, self._longest.get(part.layer, 0))
        return played


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="every layer of proof at its full count")
    parser.add_argument("layers", nargs="*", metavar="LAYER", help="all of them unless named")
    parser.add_argument("--minutes", type=float, default=60, help="after which no part of the simulation begins")
    given = parser.parse_args(arguments)
    parts = [part for part in PARTS if not given.layers or part.layer in given.layers]
    if not parts:
        parser.error(f"there are these layers: {', '.join(dict.fromkeys(part.layer for part in PARTS))}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    deadline = Deadline(given.minutes * 60)
    with ThreadPoolExecutor(max_workers=_CORES + 1) as threads:
        told = list(threads.map(deadline.play, range(len(parts)), parts))
    played = [one for one in told if one is not None]
    lines = table(played)
    if left_out := len(told) - len(played):
        lines += [
            "",
            f"{left_out} of {_SHARDS} parts of the simulation were left out: {given.minutes:.0f} minutes were over.",
        ]
    text = "\n".join(lines) + "\n"
    (FOLDER / "summary.md").write_text(text)
    print(f"\n{text}")
    return 0 if all(one.passed for one in played) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
