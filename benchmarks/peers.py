"""The same workloads on other libraries, where they are installed.

``BENCH_PEERS`` names a folder with one virtual environment for each: ``venv-burr``, ``venv-dbos``,
``venv-langgraph``.  Their durability is what they come with; each script says it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from . import raw
from .measure import Paired, Sizes, Timed, paired, rates
from .report import Measured

FOLDER_VARIABLE = "BENCH_PEERS"
PEERS = ("burr", "dbos", "langgraph")
_SCRIPTS = Path(__file__).with_name("peer_scripts")
_REPETITIONS = 3
_SHARE = 4  # they are slower: a part of the size tells as much
_TIMEOUT = 600


class Said(TypedDict):
    """The one line a script prints."""

    who: str
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class _Size:
    name: str
    runs: int
    in_flight: int
    length: int

    @property
    def steps(self) -> int:
        return self.runs * self.length

    async def raw(self, folder: Path) -> Timed:
        """The limit, in a new database."""
        here = Path(tempfile.mkdtemp(dir=folder))
        if self.in_flight > 1:
            return await raw.concurrent(here, self.runs, self.in_flight, self.length)
        return await raw.chain(here, self.runs, self.length)


def measure(
    numbers: Sequence[str], sizes: Sizes, folder: Path, environ: Mapping[str, str] = os.environ
) -> tuple[list[Measured], list[str]]:
    """What the installed peers do, and a word on those that are not."""
    home = environ.get(FOLDER_VARIABLE)
    if home is None:
        return [], [f"peers: not measured; {FOLDER_VARIABLE} names no folder with their environments"]
    sized = {number: size for number, size in _sized(sizes).items() if number in numbers}
    measured: list[Measured] = []
    notes: list[str] = []
    for peer in PEERS:
        python = Path(home) / f"venv-{peer}" / "bin" / "python"
        if not python.exists():
            notes.append(f"peers: {peer} is not installed")
            continue
        for number, size in sized.items():
            try:
                measured.append(_measured(peer, python, number, size, folder))
            except subprocess.SubprocessError as error:
                notes.append(f"peers: {peer} failed at {number} {size.name}: {_last_line(error)}")
    return measured, notes


def _sized(sizes: Sizes) -> dict[str, _Size]:
    chains, together = max(1, sizes.chains // _SHARE), max(1, sizes.concurrent // _SHARE)
    return {
        "W1": _Size("chain10", chains, 1, 10),
        "W2": _Size("concurrent", together, sizes.in_flight, 10),
        "W3": _Size("long", 1, 1, sizes.long_steps),
    }


def _measured(peer: str, python: Path, number: str, size: _Size, folder: Path) -> Measured:
    who: set[str] = set()
    here = folder / f"{peer}-{number}"
    here.mkdir()

    async def work() -> Timed:
        said = _run(peer, python, size, here)
        who.add(said["who"])
        return Timed(size.steps, said["seconds"], said["cpu_seconds"])

    async def measured() -> list[Paired]:
        repetitions = 1 if size.runs == 1 else _REPETITIONS
        return [await paired(lambda: size.raw(here), work) for _ in range(repetitions)]

    figures = rates(asyncio.run(measured()))
    return Measured(number, size.name, figures, ", ".join(sorted(who)))


def _run(peer: str, python: Path, size: _Size, folder: Path) -> Said:
    """In a fresh folder."""
    here = tempfile.mkdtemp(dir=folder)
    command = [str(python), str(_SCRIPTS / f"on_{peer}.py")]
    command += [str(number) for number in (size.runs, size.in_flight, size.length)]
    ran = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=_TIMEOUT)
    said: Said = json.loads(ran.stdout.strip().splitlines()[-1])
    return said


def _last_line(error: subprocess.SubprocessError) -> str:
    output = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    return (output or str(error)).strip().splitlines()[-1]
