"""Running checks without a test runner, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .checks import Check
from .stage import NotOffered
from .worlds import Maker

Verdict: TypeAlias = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one check; ``error`` is why it failed or was skipped."""

    check: Check
    verdict: Verdict
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What became of many.  As text it is a table of the chapters, and what is wrong."""

    results: Sequence[Result]

    @property
    def passed(self) -> list[Result]:
        return self._with("passed")

    @property
    def failed(self) -> list[Result]:
        return self._with("failed")

    @property
    def skipped(self) -> list[Result]:
        return self._with("skipped")

    def _with(self, verdict: Verdict) -> list[Result]:
        return [result for result in self.results if result.verdict == verdict]

    def __str__(self) -> str:
        chapters = dict.fromkeys(result.check.chapter for result in self.results)
        lines = [f"{'chapter':<20}{'passed':>8}{'failed':>8}{'skipped':>8}"]
        lines += [self._line(chapter, [r for r in self.results if r.check.chapter == chapter]) for chapter in chapters]
        lines.append(self._line("all", self.results))
        for result in self.failed:
            lines += ["", f"failed {result.check} ({result.check.clause})", f"  {result.check.promise}"]
            lines.append(f"  {type(result.error).__name__}: {result.error}")
        for result in self.skipped:
            lines += ["", f"skipped {result.check} ({result.check.clause}): {result.error}"]
        return "\n".join(lines)

    @staticmethod
    def _line(name: str, results: Iterable[Result]) -> str:
        verdicts = [result.verdict for result in results]
        return f"{name:<20}" + "".join(f"{verdicts.count(verdict):>8}" for verdict in ("passed", "failed", "skipped"))


async def run(make: Maker, checks: Iterable[Check]) -> Report:
    """Hold the Worlds that ``make`` gives to each of the checks, one after the other, each over a store of its own."""
    return Report([await _result(make, check) for check in checks])


async def _result(make: Maker, check: Check) -> Result:
    try:
        async with make() as worlds:
            await check(worlds)
    except NotOffered as reason:
        return Result(check, "skipped", reason)
    except Exception as error:  # noqa: BLE001  # whatever a World raises is what the report is about
        return Result(check, "failed", error)
    return Result(check, "passed")
