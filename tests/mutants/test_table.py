"""The table of mistakes names what there is, and what finds each of them is there."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from tests.faults import mutants as of_disks
from tests.values import mutants as of_values

from . import processes, table
from .table import FOUND

ROOT = Path(__file__).resolve().parents[2]


def test_there_are_mistakes_of_every_layer_and_each_has_its_own_name() -> None:
    assert len({one.layer for one in FOUND}) == 7
    assert [one for one, count in Counter((row.layer, row.name) for row in FOUND).items() if count > 1] == []
    assert len(FOUND) > 80


@pytest.mark.parametrize("module", [of_disks, of_values, processes], ids=lambda module: module.__name__)
def test_every_mistake_of_a_layer_is_in_the_table(module: ModuleType) -> None:
    made = {
        name.replace("_", " ")
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and next(iter(inspect.signature(function).parameters)) != "name"
    }

    assert made == {row.name for row in FOUND} & made


@pytest.mark.parametrize("file", sorted({row.by.partition("::")[0] for row in FOUND}))
def test_what_finds_them_is_there(file: str) -> None:
    named = {row.by.partition("::")[2] for row in FOUND if row.by.startswith(file)} - {""}
    text = (ROOT / file).read_text()

    assert [name for name in named if f"def {name}(" not in text] == []


def test_the_table_is_written_a_line_for_each() -> None:
    assert len(table.markdown().splitlines()) == len(FOUND) + 2
