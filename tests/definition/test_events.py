"""Events: a name and a type."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from wrkflw.errors import DefinitionError
from wrkflw.events import Event


class Approval(BaseModel):
    approved: bool


def test_an_event_has_a_name_and_a_schema() -> None:
    event = Event("approval", Approval | None)

    assert event.name == "approval"
    assert event.schema == Approval | None
    assert repr(event) == "Event('approval', Approval | None)"


@pytest.mark.parametrize("name", ["x/y", "", "x y"])
def test_the_name_of_an_event_is_an_id(name: str) -> None:
    text = f"{name!r} cannot be an event id; use letters, digits, '.', '_' and '-', at most 128"

    with pytest.raises(DefinitionError, match=re.escape(text) + "$"):
        Event(name, Approval)
