"""The checks themselves: each mistake that is made on purpose is found, so none of them is blind."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.clocks import ManualClock

from . import mutants
from .test_corruption import DONE, check_a_changed_row, check_a_flipped_byte_of_a_large_payload
from .test_round_trips import SETTINGS, check_round_trips

EXAMPLES = 4000  # at most: the first that finds it is the last
SAME_EACH_TIME = {**SETTINGS, "derandomize": True}  # in a soak, too: what finds it is there
DEEPEST = 1  # levels: what is small is found sooner


@pytest.mark.parametrize(
    ("mutant", "says"),
    [
        (mutants.records_without_reading_back, "was read as|does not fit"),
        (mutants.takes_what_comes_back_for_what_went_in, "came back as"),
        (mutants.writes_the_value_of_a_union_alone, "came back as"),
        (mutants.names_the_first_member_that_takes_the_value, "was refused|came back as"),
        (mutants.writes_as_pydantic_does, "was refused|came back as"),
        (mutants.writes_and_reads_by_any_name, "was refused"),
    ],
)
def test_a_mistake_with_types_is_found(mutant: mutants.Mutant, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], report_multiple_bugs=False, **SAME_EACH_TIME)
    @given(st.data())
    def play(data: st.DataObject) -> None:
        check_round_trips(data, deepest=DEEPEST)

    with pytest.raises(Exception, match=says):
        play()


async def test_a_hash_that_is_not_verified_is_found(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutants.believes_in_hashes(monkeypatch)

    with pytest.raises(AssertionError):
        await check_a_flipped_byte_of_a_large_payload(tmp_path, clock, random.Random(1))


async def test_a_gap_that_nobody_looks_for_is_found(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutants.takes_gaps_for_granted(monkeypatch)

    with pytest.raises(AssertionError):
        await check_a_changed_row(tmp_path, clock, f"DELETE FROM events WHERE {DONE}", "the log goes on")  # noqa: S608
