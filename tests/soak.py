"""The soak: every layer of proof at its full count, as many parts side by side as there are cores, and a table of it.

A part is a run of pytest with its own counts.  What its tests noted with ``record_property`` is added up.
"""

from __future__ import annotations

import os
import subprocess
import sys
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
_SEEDS, _SHARDS = 50_000, 10
_KILLS, _STORMS = 10_000, 4
_OF_THEIR_OWN = ("kill", "zombies", "leaving", "mistakes")


@dataclass(frozen=True)
class Part:
    layer: str
    tests: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


PARTS = [
    # The longest come first.
    *(Part("kill -9", ["tests/crash/test_kill.py"], {"SOAK_KILLS": str(_KILLS // _STORMS)}) for _ in range(_STORMS)),
    *(
        Part(
            "simulation",
            ["tests/simulation/test_simulation.py", "-k", "every_order"],
            {"SIMULATION_SEEDS": str(_SEEDS // _SHARDS), "SIMULATION_FIRST": str(shard * _SEEDS // _SHARDS)},
        )
        for shard in range(_SHARDS)
    ),
    Part("stopped past the lease", ["tests/crash/test_zombies.py"]),
    Part("SIGTERM", ["tests/crash/test_leaving.py"]),
    Part("other ends of processes", ["tests/crash", *(f"--ignore=tests/crash/test_{one}.py" for one in _OF_THEIR_OWN)]),
    Part("crash points", ["tests/faults/test_crash_points.py"]),
    Part("power loss", ["tests/faults/test_power.py"]),
    Part("random graphs", ["tests/engine/graphs"]),
    Part("random programs", ["tests/engine/test_program_trees.py"], {"SOAK_TREES": "2000"}),
    Part("values and corruption", ["tests/values"]),
    Part("hostile mail", ["tests/email/test_hostile.py"]),
    Part("HTTP requests", ["tests/server/test_fuzz.py"]),
    Part("mutants", ["tests", "-m", "mutant"]),
]  # fmt: skip


@dataclass(frozen=True)
class Played:
    layer: str
    passed: bool
    seconds: float
    counts: Counter[str]


def play(number: int, part: Part) -> Played:
    name = f"{number:02d}-{part.layer.replace(' ', '-')}"
    report, log = FOLDER / f"{name}.xml", FOLDER / f"{name}.log"
    command = [sys.executable, "-m", "pytest", "-q", "-o", "faulthandler_timeout=3000", f"--junitxml={report}"]
    environment = {**os.environ, "SOAK": "1", **part.environment}
    begun = time.monotonic()
    with log.open("w") as output:
        ended = subprocess.run(
            [*command, *part.tests], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    passed = ended.returncode == 0
    played = Played(part.layer, passed, time.monotonic() - begun, counts(report) if report.exists() else Counter())
    print(
        f"{'ok    ' if passed else 'FAILED'} {part.layer} in {played.seconds:.0f} s" + (f": see {log}" * (not passed))
    )
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
        lines.append(f"| {layer} | {done} | {held} | {sum(one.seconds for one in parts):,.0f} |")
    return lines


def main(wanted: Sequence[str]) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    parts = [part for part in PARTS if not wanted or part.layer in wanted]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as lanes:
        played = list(lanes.map(play, range(len(parts)), parts))
    text = "\n".join(table(played)) + "\n"
    (FOLDER / "summary.md").write_text(text)
    print(f"\n{text}")
    return 0 if parts and all(one.passed for one in played) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
