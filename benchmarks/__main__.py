"""``python -m benchmarks [W1 W3 …] [--quick] [--json FILE] [--compare | --save]``"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

from . import peers
from .measure import FULL, QUICK, Sizes
from .report import Measured, Report, read_baseline, table, worse, write_baseline
from .workloads import REGISTRY

DATA = Path("benchmarks/data")
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _asked(arguments)
    sizes = QUICK if asked.quick else FULL
    with work_folder(asked.data) as folder:
        report = run(asked.workloads or list(REGISTRY), sizes, folder, with_peers=not asked.no_peers)
    for line in table(report):
        print(line)
    if asked.json is not None:
        asked.json.write_text(report.as_json(), encoding="utf-8")
    if asked.save:
        write_baseline(report.ratios())
    return compare(report.ratios(), sizes, asked.data) if asked.compare else 0


def compare(ratios: dict[str, float], sizes: Sizes, data: Path) -> int:
    """0 when nothing got worse than the baseline allows.  What seems to have is measured again; the better counts."""
    baseline = read_baseline()
    if suspects := [
        number for number in REGISTRY if any(name.startswith(f"{number} ") for name in worse(ratios, baseline))
    ]:
        with work_folder(data) as folder:
            again = run(suspects, sizes, folder, with_peers=False).ratios()
        ratios = {name: min(ratio, again.get(name, ratio)) for name, ratio in ratios.items()}
    problems = worse(ratios, baseline)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def run(numbers: Sequence[str], sizes: Sizes, folder: Path, *, with_peers: bool = True) -> Report:
    """Measure the workloads of these numbers, each in a folder of its own, and whatever peers are installed."""
    measured: list[Measured] = []
    for number in numbers:
        here = folder / number
        here.mkdir()
        workload = REGISTRY[number]
        measured.append(Measured(number, workload.name, workload.measure(sizes, here)))
    if not with_peers:
        return Report(measured)
    others, notes = peers.measure(numbers, sizes, folder)
    return Report([*measured, *others], notes)


@contextlib.contextmanager
def work_folder(data: Path) -> Generator[Path]:
    """An empty folder in ``data``, removed afterwards.  Refuses one that is in memory, where nothing is durable."""
    data = data.resolve()
    made = not data.exists()
    data.mkdir(parents=True, exist_ok=True)
    if _file_system(data) in _IN_MEMORY:
        raise SystemExit(f"{data} is in memory, where a commit costs nothing; name a folder on a disk with --data")
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=data) as folder:
            yield Path(folder)
    finally:
        if made:
            data.rmdir()


def _file_system(path: Path) -> str:
    """The kind of file system that holds ``path``; empty where the system does not say."""
    if not _MOUNTS.exists():
        return ""
    mounts = [line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
    holding = [(len(mount[1]), mount[2]) for mount in mounts if path.is_relative_to(mount[1])]
    return max(holding, default=(0, ""))[1]


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="measure wrkflw beside the raw limit")
    parser.add_argument("workloads", nargs="*", metavar="W", help=f"of {', '.join(REGISTRY)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller repetitions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help="a folder on the disk to measure")
    parser.add_argument("--no-peers", action="store_true", help="leave the installed peers out")
    baseline = parser.add_mutually_exclusive_group()
    baseline.add_argument("--compare", action="store_true", help="fail when a ratio got worse than the baseline allows")
    baseline.add_argument("--save", action="store_true", help="make what was measured the baseline")
    asked = parser.parse_args(arguments)
    if unknown := [number for number in asked.workloads if number not in REGISTRY]:
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(REGISTRY)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
