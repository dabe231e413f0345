"""Power cuts: whatever of the unsynced the disk kept, what was acknowledged is there, and nothing is torn."""

from __future__ import annotations

import os
import random
from itertools import islice
from pathlib import Path

import pytest

from tests.soak import Note
from wrkflw.worlds import database_file
from wrkflw.worlds.sqlite import Durability

from . import judging, power
from .scenarios import SCENARIOS
from .vfs import LAYER

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(
        LAYER is None, reason="the functions of the driver's SQLite cannot be reached: NOTHING IS CHECKED"
    ),
]

SOAK = bool(os.environ.get("SOAK"))
IMAGES = (20_000 if SOAK else 2_000) // len(SCENARIOS) + 1
"""Of each scenario."""
ENOUGH = 60
"""Images after which a disk that loses something must have lost it."""
SEED = int(os.environ.get("POWER_SEED") or (random.SystemRandom().randrange(2**32) if SOAK else 1))


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_acknowledged_is_lost_when_the_power_fails(
    name: str, tmp_path: Path, template: Path, record_property: Note
) -> None:
    trace, checked = recorded(name, tmp_path, template), 0
    for image in islice(power.images(trace, SEED), IMAGES):
        facts = trace.told_before(image.cut)
        violations = list(judging.wrong(power.found_in(image, tmp_path), facts))
        checked += sum("name" in fact for fact in facts)
        assert not violations, report(name, image, violations, facts)
    record_property("images", IMAGES)
    record_property("acknowledgements checked", checked)


def test_with_durability_normal_acknowledgements_are_lost_and_nothing_is_torn(tmp_path: Path, template: Path) -> None:
    lost, torn = damage(tmp_path, template, "normal")

    assert lost
    assert not torn


def test_without_syncs_databases_are_torn(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database_file._SYNCHRONOUS, "normal", 0)

    lost, torn = damage(tmp_path, template, "normal")

    assert lost
    assert torn


def recorded(name: str, folder: Path, template: Path, durability: Durability = "full") -> power.Trace:
    played = folder / "played"
    played.mkdir()
    return power.trace(SCENARIOS[name], played, template, durability)


def damage(folder: Path, template: Path, durability: Durability) -> tuple[int, int]:
    """In how many images something acknowledged is lost, and in how many the database is no whole one."""
    trace, lost, torn = recorded("sales", folder, template, durability), 0, 0
    for image in islice(power.images(trace, seed=1), ENOUGH):
        found = power.found_in(image, folder)
        torn += bool(found.database.violations)
        lost += any(judging.lost(found, trace.told_before(image.cut)))
    return lost, torn


def report(name: str, image: power.Image, violations: list[str], facts: list[dict[str, object]]) -> str:
    what = f"{name}, image {image.number}: {image.way}, behind {image.cut} changes"
    seed = f"POWER_SEED={SEED} {'SOAK=1 ' if SOAK else ''}"
    again = f'{seed}.venv/bin/pytest tests/faults/test_power.py -k "nothing and {name}"'
    return "\n".join([what, f"again with: {again}", *map(str, facts[-50:]), *violations[:20]])
