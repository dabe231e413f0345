"""What wrkflw might do wrong with values: each of these is to be caught by the tests beside."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from wrkflw import lossless, schemas, unions
from wrkflw.engine.journal import Journal
from wrkflw.errors import InvalidValueError
from wrkflw.schemas import Schema
from wrkflw.world import events as e
from wrkflw.worlds.sql.payloads import LargePayloads

Mutant: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def records_without_reading_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went in is handed on, and nobody looks at what was written."""

    def store(schema: Any, value: object, what: str) -> tuple[bytes, object]:
        try:
            return schema._writer.to_json(value, warnings=False), value
        except ValueError as error:
            raise InvalidValueError(what, schema.name, [str(error)]) from error

    monkeypatch.setattr(Schema, "store", store)


def takes_what_comes_back_for_what_went_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read back, but not compared."""
    monkeypatch.setattr(schemas, "survives", lambda before, after: True)


def writes_the_value_of_a_union_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pydantic does: whoever reads guesses the member."""
    monkeypatch.setattr(lossless, "is_ambiguous", lambda union, definitions: False)
    takes_what_comes_back_for_what_went_in(monkeypatch)


def names_the_first_member_that_takes_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unions, "_takes", lambda reader, value, like: reader.isinstance_python(value))


def writes_as_pydantic_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes as text, and unions without a tag."""
    monkeypatch.setattr(lossless, "rewrite", lambda schema: None)


def writes_and_reads_by_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written by one name may be read by another."""
    monkeypatch.setattr(lossless, "_ONE_WAY", ())


def believes_in_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept under a hash is taken for what was put there."""
    monkeypatch.setattr(LargePayloads, "_verified", lambda payloads, name, part, stored: stored)


def takes_gaps_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is read as far as it can be, whatever is missing."""

    def add_next(journal: Journal, stored: e.StoredEvent) -> None:
        journal.last_slot = stored.slot - 1
        with contextlib.suppress(LookupError):
            journal.add(stored.event, stored.created_at)

    monkeypatch.setattr(Journal, "add_next", add_next)
