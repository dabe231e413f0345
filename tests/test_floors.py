"""Who may import whom, and how large the house has become.

The floors stand in ``pyproject.toml``.  The size ledger is printed (``pytest -s tests/test_floors.py``), not enforced.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "wrkflw"
TESTS = ROOT / "tests"

LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def test_imports_point_down() -> None:
    linted = subprocess.run(
        [sys.executable, "-c", LINT_IMPORTS, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_size_ledger_is_printed() -> None:
    files = {path: len(lines(path)) for path in sources(PACKAGE)}
    functions = [length for path in files for length in function_lengths(path)]
    total = sum(files.values())
    tested = sum(len(lines(path)) for path in sources(TESTS))

    print(f"\n{len(files)} files, {total} lines; {tested / max(total, 1):.1f} test lines a line")
    print(f"file      median {median(files.values()):>4.0f} (aim 130)  p90 {p90(files.values()):>4} (aim 300)")
    print(f"function  median {median(functions):>4.0f} (aim   6)  p90 {p90(functions):>4} (aim  25)")
    for path, length in sorted(files.items(), key=lambda item: -item[1])[:8]:
        print(f"{length:>6}  {path.relative_to(ROOT)}")

    assert files


def sources(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if path.stat().st_size)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def function_lengths(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def p90(lengths: Iterable[int]) -> int:
    ordered: Sequence[int] = sorted(lengths)
    return ordered[len(ordered) * 9 // 10]
