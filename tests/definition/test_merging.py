"""How fields of the state are merged: what they declare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired

import pydantic.dataclasses
import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from wrkflw import DefinitionError, create_workflow
from wrkflw.merging import Merge, merge_rules


class Model(BaseModel):
    total: Annotated[int, Merge.SUM] = 0
    bounded: Annotated[int, Field(ge=0), Merge.LAST] = 0
    plain: int = 0


class Child(Model):
    more: Annotated[float, Merge.SUM] = 0.0


@dataclass
class Record:
    total: Annotated[int, Merge.SUM] = 0
    names: list[str] = field(default_factory=list)


@pydantic.dataclasses.dataclass
class Checked:
    total: Annotated[int, Merge.SUM] = 0


def local() -> list[Any]:
    """Whose annotations are text (see the top of this file), and name a class that nobody finds from outside."""

    class Inner(BaseModel):
        number: int = 0

    @dataclass
    class Plain:
        inner: Inner | None = None
        total: Annotated[int, Merge.SUM] = 0

    @pydantic.dataclasses.dataclass
    class Told:
        total: Annotated[int, Merge.SUM] = 0
        inner: Annotated[Inner | None, Merge.LAST] = None

    pydantic.dataclasses.rebuild_dataclass(Told, _types_namespace={"Inner": Inner, **globals()})  # type: ignore[arg-type]  # of the decorator, mypy sees a class
    return [Plain, Told]


class Row(TypedDict, total=False):
    total: Annotated[int, Merge.SUM]
    last: NotRequired[Annotated[str, Merge.LAST]]
    plain: int


def test_a_field_that_a_subclass_declares_anew_has_no_rule_of_its_base() -> None:
    def local() -> Any:
        class Money(BaseModel):
            cents: int = 0

        @dataclass
        class Heir(Record):
            total: int | Money = 0  # type: ignore[assignment]  # as is often done all the same

        return Heir

    assert merge_rules(local()) == {}


def test_one_name_that_is_not_found_does_not_hide_the_rules_of_others() -> None:
    """Of two differences, one would be lost without a word."""
    plain, told = local()

    assert merge_rules(plain) == {"total": Merge.SUM}
    assert merge_rules(told) == {"total": Merge.SUM, "inner": Merge.LAST}
    create_workflow(id="w", input_schema=int, output_schema=int, state_schema=told).map(int).commit()


@pytest.mark.parametrize(
    ("state", "rules"),
    [
        (Model, {"total": Merge.SUM, "bounded": Merge.LAST}),
        (Child, {"total": Merge.SUM, "bounded": Merge.LAST, "more": Merge.SUM}),
        (Record, {"total": Merge.SUM}),
        (Checked, {"total": Merge.SUM}),
        (Row, {"total": Merge.SUM, "last": Merge.LAST}),
        (dict[str, int], {}),
        (int, {}),
        (None, {}),
    ],
    ids=repr,
)
def test_rules_stand_in_the_annotations_of_the_fields(state: Any, rules: dict[str, Merge]) -> None:
    assert rules == merge_rules(state)


def test_the_last_of_several_rules_holds() -> None:
    class Twice(BaseModel):
        total: Annotated[int, Merge.SUM, Merge.LAST] = 0

    assert merge_rules(Twice) == {"total": Merge.LAST}


@pytest.mark.parametrize("state", [Model, Record, Checked, Row])
def test_a_sum_may_be_declared_in_annotations_that_are_text(state: Any) -> None:
    chain = create_workflow(id="adding", input_schema=int, output_schema=str, state_schema=state)

    assert chain.map(str).commit().state_schema is state


@dataclass
class Named:
    total: Annotated[str, Merge.SUM] = ""


def test_text_cannot_be_added_up() -> None:
    chain = create_workflow(id="adding", input_schema=int, output_schema=str, state_schema=Named)

    with pytest.raises(DefinitionError, match=r"'total' of workflow 'adding' is .*str.*, which cannot be added up"):
        chain.map(str).commit()


def test_a_merged_field_is_validated_like_any_other() -> None:
    assert Model.model_validate({"total": 3}).total == 3
    assert Model.model_validate_json('{"total": 3}') == Model(total=3)
