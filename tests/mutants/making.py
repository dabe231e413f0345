"""A plugin of pytest: ``-p tests.mutants.making`` makes the mistake that ``MUTANT`` names, until the process ends."""

from __future__ import annotations

import os

import pytest

from .unit import UNIT


def pytest_collection_finish() -> None:
    """When the tests are imported, so that what they took from modules is what is shipped, and not counted on."""
    for bug in UNIT:
        if bug.name == os.environ["MUTANT"]:
            bug.apply(pytest.MonkeyPatch())
