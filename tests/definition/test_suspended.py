"""What a run that waits for answers shows of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from wrkflw.context import Results, SuspendContext
from wrkflw.decorators import step
from wrkflw.results import Suspended, Suspension

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@step
def review(letter: str, ctx: SuspendContext[bool, str]) -> str:
    return letter


@step
def approve(letter: str, ctx: SuspendContext[bool, int]) -> str:
    return letter


def parked(*suspensions: tuple[str, object]) -> Suspended:
    opened = [Suspension(key, key.partition("[")[0], payload, "token", NOON) for key, payload in suspensions]
    return Suspended("r-17", cast("Results", None), opened)


def test_the_payload_of_a_step_is_that_of_its_first_suspension() -> None:
    result = parked(("review[2]", "second"), ("approve", 3), ("review[5]", "fifth"))

    assert result.payload_of(review) == "second"
    assert result.payload_of(approve) == 3
    assert result.step_id == "review"


def test_a_step_that_did_not_suspend_has_no_payload() -> None:
    assert parked(("review", "letter")).payload_of(approve) is None
