"""The parts of docs/reliability.md that are made: ``python -m tests.reliability`` writes them anew.

With the path of a summary of ``tests.soak`` it puts that in, too.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from tests import soak
from tests.mutants.table import FOUND
from tests.world.broken.defects import DEFECTS
from wrkflw.testing.conformance import CHECKS

Counts: TypeAlias = dict[str, int | str]

ROOT = soak.ROOT
DOCUMENT = ROOT / "docs" / "reliability.md"
_OTHERWISE = {"SOAK", "SOAK_KILLS", "SOAK_TREES", "SIMULATION_SEEDS"}
"""What is set by who wants other counts."""
_PART = r"(<!-- made: {} -->\n).*?(<!-- end -->)"


# --- mistakes ------------------------------------------------------------------------------------------


def mistakes() -> str:
    """A line for each mistake but those of Worlds, of which there are too many."""
    lines = ["| mistake | what it breaks | layer, and the test that finds it |", "|---|---|---|"]
    lines += [
        f"| {one.name} | {one.breaks} | {one.layer}: `{one.by.replace('::', '` `')}` |"
        for one in FOUND
        if one.layer != "conformance"
    ]
    return "\n".join([*lines, f"| {len(DEFECTS)} broken Worlds | {_PROMISES} | conformance: `tests/world/broken` |"])


_PROMISES = "Each keeps all of the contract but one clause, and the checks of that clause must fail."


# --- counts --------------------------------------------------------------------------------------------


def layers() -> str:
    """How much each layer does, as the tests themselves say it."""
    one, many = (_worded(found) for found in (_counts_under(soaked=False), _counts_under(soaked=True)))
    lines = ["| layer | in | `make test` | `make soak` |", "|---|---|---|---|"]
    for layer, folder, what in _LAYERS:
        test, soaked = what.format_map(one), what.format_map(many)
        if not any(folder.startswith(tests) for part in soak.PARTS for tests in part.tests):
            soaked = "not again"
        lines.append(f"| {layer} | `{folder}` | {test} | {'the same' if soaked == test else soaked} |")
    return "\n".join(lines)


_LAYERS = (
    ("simulation", "tests/simulation/test_simulation.py", "{seeds} seeds"),
    ("crash points", "tests/faults/test_crash_points.py", "{points}"),
    ("power loss", "tests/faults/test_power.py", "{images} images of what a power cut leaves"),
    ("crash at a statement", "tests/crash/test_boundaries.py", "before every statement of a run"),
    ("kill -9", "tests/crash/test_kill.py", "{kills} kills; {vows} more right after an acknowledgement"),
    ("stopped past the lease", "tests/crash/test_zombies.py", "{zombies} processes"),
    ("SIGTERM", "tests/crash/test_leaving.py", "{leaves}, and {leaves_twice} times two in a row"),
    ("starvation", "tests/crash/test_starved.py", "{sizes} sizes of a full disk; {writers} writers beside one another"),
    ("random graphs", "tests/engine/graphs", "{graphs} played, {crashed} crashed, {forked} forked"),
    ("random programs", "tests/engine/test_program_trees.py", "{programs}, each killed up to twice and replayed"),
    ("values", "tests/values/test_round_trips.py", "{values} types, up to six values of each"),
    ("corruption", "tests/values/test_corruption.py", "{flips} databases with flipped bytes"),
    ("mail", "tests/email/test_hostile.py", "{mails} mutated mails read, {delivered} delivered"),
    (
        "HTTP requests",
        "tests/server/test_fuzz.py",
        "{requests} good and {requests} bad requests to each operation",
    ),
    ("endurance", "tests/test_endurance.py", "{endured} runs in one process, in virtual time"),
    ("conformance", "tests/world/test_conformance.py", "{checks} checks of the World"),
)


def _counts_under(*, soaked: bool) -> Counts:
    """Tests take their counts from the environment when they are imported: in another process, if that is another."""
    if not soaked and not _OTHERWISE.intersection(os.environ):
        return counts()
    program = "import json; from tests.reliability import counts; print(json.dumps(counts()))"
    environment = {name: value for name, value in os.environ.items() if name not in _OTHERWISE}
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, **({"SOAK": "1"} if soaked else {})},
        capture_output=True,
        text=True,
        check=True,
    )
    found: Counts = json.loads(told.stdout)
    return found


def _worded(found: Counts) -> dict[str, str]:
    return {name: f"{count:,}" if isinstance(count, int) else count for name, count in found.items()}


def counts() -> Counts:
    """What the tests do in this process."""

    def of(module: str) -> Any:
        return import_module(f"tests.{module}")

    soaks = bool(os.environ.get("SOAK"))
    kill, values, power = of("crash.test_kill"), of("values.test_round_trips"), of("faults.test_power")
    graphs, starved = of("engine.graphs.test_graphs"), of("crash.test_starved")
    leaves, hostile = of("crash.test_leaving").LEAVES, of("email.test_hostile")
    seeds = of("simulation.test_simulation").SEEDS
    (trees,) = (part.environment["SOAK_TREES"] for part in soak.PARTS if part.layer == "random programs")
    return {
        "seeds": f"up to {seeds:,}" if soaks else seeds,
        "points": _points(of("faults.test_crash_points").STRIDE, soaks=soaks),
        "images": power.IMAGES * len(power.SCENARIOS),
        "kills": kill.KILLS,
        "vows": kill.VOWS,
        "zombies": of("crash.test_zombies").ROUNDS,
        "leaves": leaves,
        "leaves_twice": leaves // 4,
        "sizes": len(starved.SIZES),
        "writers": starved.WRITERS,
        "graphs": _examples(graphs.test_any_graph_comes_to_what_its_evaluation_says),
        "crashed": _examples(graphs.test_any_graph_that_crashes_comes_to_the_same),
        "forked": _examples(of("engine.graphs.test_forks").test_a_fork_of_any_graph_comes_to_what_its_evaluation_says),
        "programs": int(trees) if soaks else of("engine.test_program_trees").EXAMPLES,
        "values": _examples(values.test_a_value_that_is_stored_is_read_as_it_was),
        "flips": _flips_in(of("values.test_corruption")),
        "mails": hostile.READ_ONLY,
        "delivered": hostile.DELIVERED,
        "requests": of("server.test_fuzz").CASES,
        "endured": of("test_endurance").RUNS,
        "checks": len(CHECKS),
    }  # fmt: skip


def _points(stride: int, *, soaks: bool) -> str:
    return "every operation of the disk, in every mode" if soaks else f"one operation in {stride}, in one of its modes"


def _examples(test: Any) -> int:
    count: int = test._hypothesis_internal_use_settings.max_examples
    return count


def _flips_in(corruption: Any) -> int:
    tests = [getattr(corruption, name) for name in dir(corruption) if name.startswith("test_") and "flipped" in name]
    return sum(len(mark.args[1]) for test in tests for mark in test.pytestmark if mark.name == "parametrize")


# --- the document --------------------------------------------------------------------------------------


def written(document: str) -> str:
    """The document with its made parts as they should be."""
    for name, made in (("layers", layers()), ("mistakes", mistakes())):
        document = _with(document, name, made)
    return document


def _with(document: str, name: str, made: str) -> str:
    return re.sub(_PART.format(name), lambda found: f"{found[1]}{made}\n{found[2]}", document, flags=re.DOTALL)


def main(summary: list[str]) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    for path in summary:
        document = _with(document, "soak", Path(path).read_text(encoding="utf-8").strip())
    DOCUMENT.write_text(written(document), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
