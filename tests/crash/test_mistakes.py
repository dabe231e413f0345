"""The crash tests themselves: each mistake that is made on purpose is found, so none of them is blind."""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_kill import vow
from .test_zombies import hog, rise

pytestmark = pytest.mark.mutant


def test_zombies_find_a_fence_that_is_ignored(tmp_path: Path) -> None:
    violations, _ = rise(tmp_path, 1, seed=1, mistake="ignores_the_fence")

    assert violations


def test_kills_find_an_acknowledgement_before_the_commit(tmp_path: Path) -> None:
    violations, _ = vow(tmp_path, 3, mistake="acknowledges_before_the_commit")

    assert any("was acknowledged" in each for each in violations)


def test_a_blocked_loop_finds_a_lease_that_it_renews(tmp_path: Path) -> None:
    violations, _ = hog(tmp_path, mistake="renews_its_lease_on_the_loop")

    assert violations == ["somebody else took the run"]
