"""The conformance suite passes on SqliteWorld, and notices every World that is broken."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from wrkflw.testing import conformance
from wrkflw.testing.conformance import __main__, checks
from wrkflw.testing.conformance.sqlite import in_files, in_memory
from wrkflw.world.errors import WorldError

from .broken import PARTS
from .broken.defects import DEFECTS, Defect

CHECKS = {str(check): check for check in conformance.CHECKS}
IN_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where files cost little: hundreds are made here, each with its own fsyncs."""
    with TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as made:
        yield Path(made)


@pytest.mark.parametrize("check", [check for check in conformance.CHECKS if check.need != "lasting"], ids=str)
async def test_a_world_in_memory_keeps_the_contract(check: conformance.Check) -> None:
    async with in_memory() as worlds:
        await check(worlds)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=str)
async def test_a_world_in_a_file_keeps_the_contract(check: conformance.Check, folder: Path) -> None:
    async with in_files(folder, durability="normal") as worlds:
        await check(worlds)


@pytest.mark.parametrize("defect", DEFECTS, ids=str)
async def test_a_broken_world_is_noticed(defect: Defect, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PATIENCE", 3.0)  # seconds, for what is lost and would be waited for

    report = await conformance.run(partial(defect.worlds, folder), [CHECKS[name] for name in defect.fails])

    assert [str(result.check) for result in report.failed] == list(defect.fails)
    assert all(isinstance(result.error, conformance.Breach | WorldError) for result in report.failed), str(report)


def test_there_are_broken_worlds_of_every_kind() -> None:
    kinds = {defect.damage.__module__ for defect in DEFECTS}

    assert kinds == {part.__name__ for part in PARTS}
    assert len(DEFECTS) > 40


# --- the suite itself --------------------------------------------------------------------------------


def test_every_check_is_named_once_and_says_what_it_promises() -> None:
    assert len(CHECKS) == len(conformance.CHECKS) > 250
    assert [name for name, check in CHECKS.items() if not check.promise.endswith(".")] == []
    assert [name for name, check in CHECKS.items() if not check.clause.startswith("§")] == []


async def test_a_report_tells_what_passed_what_failed_and_what_was_not_offered(folder: Path) -> None:
    (backwards,) = (defect for defect in DEFECTS if str(defect) == "tells_history_backwards")
    chosen = [CHECKS["log/slots_count_from_one"], CHECKS["queue/zero_seconds_is_at_once"]]

    report = await conformance.run(partial(backwards.worlds, folder), chosen)
    skipped = await conformance.run(in_memory, [CHECKS["hooks/hooks_outlive_their_world"]])

    assert [len(report.passed), len(report.failed), len(report.skipped)] == [1, 1, 0]
    assert "failed log/slots_count_from_one (§2.1)\n  Slots are dense from 1" in str(report)
    assert "Breach: slots: expected [1, 2, 3, 4], got [4, 3, 2, 1]" in str(report)
    assert "skipped hooks/hooks_outlive_their_world (§13.3): the store goes with its World" in str(skipped)


async def test_a_check_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PATIENCE", 0.0)

    with pytest.raises(conformance.Breach, match="it hangs: nothing came within 0 s"):
        async with in_memory() as worlds:
            await CHECKS["log/slots_count_from_one"](worlds)


def test_a_store_is_named_by_its_url_or_by_what_makes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.maker_of("sqlite:///:memory:") is in_memory
    assert __main__.maker_of("wrkflw.testing.conformance.sqlite:in_memory") is in_memory
    assert __main__.main([]) == 2
    assert "usage: python -m wrkflw.testing.conformance" in capsys.readouterr().err
