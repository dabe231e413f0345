"""The fingerprint of a graph: what changes it, and what does not."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, Field, create_model

from wrkflw.builder import Workflow, create_workflow
from wrkflw.graph import fingerprint
from wrkflw.shapes import shape_of
from wrkflw.steps import step


class Number(BaseModel):
    n: int


class Tally(BaseModel):
    n: int = 0


class Node(BaseModel):
    children: list[Node] = []


@step
def add_one(number: Number) -> Number:
    return Number(n=number.n + 1)


@step
def double(number: Number) -> Number:
    return Number(n=number.n * 2)


def workflow(*steps: Any, form: Any = Number, id: str = "sums") -> Workflow[Any, Any]:
    builder: Any = create_workflow(id=id, input_schema=form, output_schema=form)
    for each in steps:
        builder = builder.then(each)
    committed: Workflow[Any, Any] = builder.commit()
    return committed


def of(*steps: Any, **options: Any) -> str:
    return fingerprint(workflow(*steps, **options).graph)


def test_a_fingerprint_is_16_hexadecimal_digits() -> None:
    assert re.fullmatch("[0-9a-f]{16}", of(add_one))


def test_the_same_definition_has_the_same_fingerprint() -> None:
    assert of(add_one, double) == of(add_one, double)


def test_ids_and_order_change_it() -> None:
    orders = {of(add_one, double), of(double, add_one), of(add_one)}
    names = {of(add_one.with_id("x"), double), of(add_one, double, id="x"), of(add_one, double)}

    assert len(orders) == 3
    assert len(names) == 3


def test_the_kind_of_a_node_changes_it() -> None:
    begun = create_workflow(id="sums", input_schema=Number, output_schema=Number).then(add_one)
    mapped = begun.map(lambda number: number, id="x").commit()
    contextual = begun.map_ctx(lambda number, _: number, id="x").commit()

    assert mapped.graph.fingerprint != contextual.graph.fingerprint


def test_the_state_changes_it() -> None:
    plain = create_workflow(id="sums", input_schema=Number, output_schema=Number)
    stateful = create_workflow(id="sums", input_schema=Number, output_schema=Number, state_schema=Tally)

    assert plain.then(add_one).commit().graph.fingerprint != stateful.then(add_one).commit().graph.fingerprint


def test_a_field_changes_the_shape() -> None:
    assert shape_of(create_model("A", n=(int, ...))) != shape_of(create_model("A", n=(str, ...)))
    assert shape_of(create_model("A", n=(int, ...))) != shape_of(create_model("A", m=(int, ...)))
    assert shape_of(create_model("A", n=(int, ...))) != shape_of(create_model("A", n=(int, 3)))


def test_names_of_classes_and_modules_are_no_part_of_the_shape() -> None:
    inner: Any = create_model("Inner", __module__="flows", n=(int, ...))
    other: Any = create_model("Renamed", __module__="__main__", n=(int, ...))

    assert shape_of(inner) == shape_of(other)
    assert shape_of(list[inner]) == shape_of(list[other])
    assert shape_of(create_model("A", a=(inner, ...))) == shape_of(create_model("B", a=(other, ...)))


def test_words_for_people_are_no_part_of_the_shape() -> None:
    class Plain(BaseModel):
        title: int

    class Told(BaseModel):
        """A model with much to say."""

        title: int = Field(title="Title", description="Whatever", examples=[1])

    assert shape_of(Plain) == shape_of(Told)


def test_a_field_called_title_is_part_of_the_shape() -> None:
    assert shape_of(create_model("A", title=(int, ...))) != shape_of(create_model("A", title=(str, ...)))


def test_the_order_of_fields_is_no_part_of_the_shape() -> None:
    here = create_model("A", a=(int, ...), b=(str, ...))
    there = create_model("A", b=(str, ...), a=(int, ...))

    assert shape_of(here) == shape_of(there)


def test_a_model_may_hold_itself() -> None:
    class Tree(BaseModel):
        children: list[Tree] = []

    assert shape_of(Node) == shape_of(Tree)
