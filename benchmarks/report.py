"""What was measured as a table beside what is wanted, as JSON, and held against the baseline."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .measure import Figure

BASELINE = Path(__file__).with_name("baseline.json")
ALLOWANCE = 0.15


@dataclass(frozen=True, slots=True)
class Wanted:
    """``goal`` is what is aimed at, ``required`` what must hold; both are ceilings unless ``floor``."""

    goal: float
    required: float
    floor: bool = False

    def met(self, value: float) -> bool:
        return value >= self.required if self.floor else value <= self.required


WANTED: Mapping[tuple[str, str], Wanted] = {
    ("W1", "x raw"): Wanted(1.5, 2.0),
    ("W2", "steps/s, limit-scaled"): Wanted(16_000, 10_000, floor=True),
    ("W3", "last ÷ first tenth"): Wanted(1.1, 1.1),
    ("W3", "disk a step"): Wanted(450, 500),
    ("W4", "foreach items/s, limit-scaled"): Wanted(10_000, 10_000, floor=True),
    ("W4", "parallel_all items/s, limit-scaled"): Wanted(10_000, 10_000, floor=True),
    ("W5", "all answered, limit-scaled"): Wanted(0.25, 0.3),
    ("W5", "one answered, limit-scaled"): Wanted(0.8, 1.0),
    ("W5", "statements in an idle second"): Wanted(0, 0),
    ("W5", "from another process, limit-scaled"): Wanted(5, 5),
    ("W5", "CPU while idle, two processes"): Wanted(0.5, 0.5),
    ("W6", "all ended, limit-scaled"): Wanted(0.6, 0.8),
    ("W7", "import wrkflw, limit-scaled"): Wanted(110, 150),
    ("W7", "first result, limit-scaled"): Wanted(250, 300),
    ("W8", "memory ÷ empty"): Wanted(1.2, 1.2),
    ("W8", "start-up, limit-scaled"): Wanted(0.3, 0.5),
    ("W8", "one woken, limit-scaled"): Wanted(5, 5),
    ("W9", "two ÷ one process"): Wanted(0.8, 0.8, floor=True),
    ("W9", "fairness"): Wanted(0.5, 0.5, floor=True),
    ("W10", "loop, limit-scaled"): Wanted(0.15, 0.2),
    ("W10", "chain, limit-scaled"): Wanted(0.15, 0.2),
    ("W10", "program, limit-scaled"): Wanted(0.15, 0.2),
    ("W11", "CPU while idle"): Wanted(2, 2),
    ("W12", "mails/s, limit-scaled"): Wanted(200, 200, floor=True),
    ("W13", "enqueued/s"): Wanted(1_500, 1_500, floor=True),
    ("W13", "x in process"): Wanted(0.5, 0.5, floor=True),
    ("W13", "event to next step"): Wanted(15, 15),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one workload; ``who`` is wrkflw, or a peer with its version and durability."""

    number: str
    name: str
    figures: list[Figure]
    who: str = "wrkflw"


@dataclass(frozen=True, slots=True)
class Report:
    measured: list[Measured]
    notes: list[str] = field(default_factory=list[str])

    def as_json(self) -> str:
        return json.dumps(asdict(self) | {"machine": machine()}, indent=2, ensure_ascii=False) + "\n"

    def ratios(self) -> dict[str, float]:
        """What is compared, by workload and figure."""
        return {
            f"{one.number} {figure.name}": round(figure.median, 3)
            for one in self.measured
            if one.who == "wrkflw"
            for figure in one.figures
            if figure.compared
        }


def machine() -> dict[str, str]:
    """What figures depend on, as far as it can be told to others."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
    }


def table(report: Report) -> Iterator[str]:
    """The lines of the table.  ``!`` marks a figure that misses what is required."""
    yield "  ".join(f"{name} {value}" for name, value in machine().items())
    yield f"  {'':24} {'median':>10}      {'min – max':19} {'goal':>9} {'required':>9}"
    for one in report.measured:
        if one.who != "wrkflw":
            yield _peer_line(one)
            continue
        yield f"{one.number} {one.name}"
        for figure in one.figures:
            yield _line(figure, WANTED.get((one.number, figure.name))).rstrip()
    yield from report.notes


def _line(figure: Figure, wanted: Wanted | None) -> str:
    spread = f"{_number(figure.low)} – {_number(figure.high)}"
    line = f"  {figure.name:28} {_number(figure.median):>8} {figure.unit:3} {spread:20}"
    if wanted is None:
        return f"{line} {'':19}   {figure.note}"
    sign, mark = ("≥" if wanted.floor else "≤"), (" " if wanted.met(figure.median) else "!")
    return f"{line} {sign + _number(wanted.goal):>9} {sign + _number(wanted.required):>9} {mark} {figure.note}"


def _peer_line(peer: Measured) -> str:
    told = [f"{figure.name} {_number(figure.median)}" for figure in peer.figures if "raw " not in figure.name]
    return f"{peer.number} {peer.name:10}  {'  '.join(told)}  {peer.who}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def worse(ratios: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """The ratios that got worse than the baseline allows, in words."""
    return [
        f"{name} was {baseline[name]:.2f} and is {ratio:.2f}; at most {baseline[name] * (1 + ALLOWANCE):.2f} is allowed"
        for name, ratio in ratios.items()
        if name in baseline and ratio > baseline[name] * (1 + ALLOWANCE)
    ]


def read_baseline(path: Path = BASELINE) -> dict[str, float]:
    ratios: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return ratios


def write_baseline(ratios: Mapping[str, float], path: Path = BASELINE) -> None:
    """Ratios that were not measured this time stay as they are."""
    kept = read_baseline(path) if path.exists() else {}
    path.write_text(json.dumps(kept | dict(ratios), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
