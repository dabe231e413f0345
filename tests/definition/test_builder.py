"""The builder and the workflow it ends in."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from wrkflw.builder import Workflow, WorkflowBuilder, create_workflow
from wrkflw.decorators import step
from wrkflw.errors import DefinitionError
from wrkflw.graph import Into, Map, MapContextual, Then
from wrkflw.imperative import workflow
from wrkflw.retries import Retry


class Number(BaseModel):
    n: int


class Counters(BaseModel):
    steps: int = 0


@step
def add_one(number: Number) -> Number:
    return Number(n=number.n + 1)


@step
def double(number: Number) -> Number:
    return Number(n=number.n * 2)


def builder() -> WorkflowBuilder[Number, Number, Number]:
    return create_workflow(id="sums", input_schema=Number, output_schema=Number)


def test_a_committed_chain_is_a_workflow_with_its_graph() -> None:
    sums = builder().then(add_one).map(lambda number: number).map_ctx(lambda number, _: number).into(Number).commit()

    assert isinstance(sums, Workflow)
    assert [Then, Map, MapContextual, Into] == [type(node) for node in sums.graph.nodes]
    assert (sums.id, sums.input_schema, sums.output_schema) == ("sums", Number, Number)
    assert repr(sums) == "Workflow('sums', Number -> Number)"


def test_nodes_that_are_not_steps_are_numbered_by_kind() -> None:
    sums = (
        builder()
        .map(lambda number: number)
        .into(Number)
        .map_ctx(lambda number, _: number)
        .map(lambda number: number, id="kept")
        .map(lambda number: number)
        .into(Number)
        .commit()
    )

    assert [node.id for node in sums.graph.nodes] == ["map-1", "into-1", "map-2", "kept", "map-4", "into-2"]


def test_a_builder_never_changes_so_that_a_chain_can_be_shared() -> None:
    begun = builder().then(add_one)
    doubled = begun.then(double).commit()
    plain = begun.commit()

    assert list(doubled.graph.steps) == ["add-one", "double"]
    assert list(plain.graph.steps) == ["add-one"]


def test_a_committed_workflow_has_no_then() -> None:
    assert not hasattr(builder().then(add_one).commit(), "then")


@pytest.mark.parametrize("name", ["create_run", "get_run", "run", "run_sync", "id"])
def test_a_builder_used_before_commit_says_what_is_missing(name: str) -> None:
    with pytest.raises(AttributeError, match=re.escape("'sums' is still a builder; end the chain with .commit()")):
        getattr(builder().then(add_one), name)


def test_a_policy_nobody_knows_is_refused() -> None:
    given: Any = {"on_mismatch": "Pause"}
    text = re.escape("on_mismatch= is one of 'pause', 'fail', got 'Pause'; did you mean 'pause'?")
    with pytest.raises(DefinitionError, match=text):
        create_workflow(id="sums", input_schema=int, output_schema=int, **given)
    with pytest.raises(DefinitionError, match=text):
        workflow(**given)


def test_a_name_that_nothing_has_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match=re.escape("'WorkflowBuilder' object has no attribute 'thn'")):
        getattr(builder(), "thn")  # noqa: B009 -- a checker would refuse the attribute


def test_options_reach_the_workflow() -> None:
    def noted(info: object) -> None:
        """Somebody is told."""

    retry = Retry(attempts=2)
    sums = (
        create_workflow(
            id="sums",
            input_schema=Number,
            output_schema=Number,
            state_schema=Counters,
            description="Adds",
            retry=retry,
            timeout="7d",
            retention=timedelta(days=30),
            on_completed=noted,
            on_failed=noted,
            on_mismatch="fail",
        )
        .then(add_one)
        .commit()
    )

    assert sums.state_schema is Counters
    assert sums.description == "Adds"
    assert sums.retry is retry
    assert sums.timeout == timedelta(days=7)
    assert sums.retention == timedelta(days=30)
    assert (sums.on_completed, sums.on_failed) == (noted, noted)
    assert sums.on_mismatch == "fail"


def test_without_options_a_run_that_no_longer_fits_is_paused() -> None:
    sums = builder().then(add_one).commit()

    assert sums.on_mismatch == "pause"
    assert (sums.retry, sums.timeout, sums.retention, sums.state_schema) == (None, None, None, None)


def test_a_run_can_be_kept_for_ever() -> None:
    sums = create_workflow(id="sums", input_schema=Number, output_schema=Number, retention="forever")

    assert sums.then(add_one).commit().retention == timedelta.max


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"id": "a/b"}, DefinitionError, "'a/b' cannot be a workflow id; use letters, digits, '.', '_' and '-'"),
        ({"timout": "5s"}, TypeError, "unknown option 'timout'; did you mean 'timeout'?"),
        ({"timeout": "5 minuts"}, ValueError, "expected a duration like '30s', '5m', '24h' or a timedelta"),
        ({"retention": 5}, ValueError, "expected 'forever', a duration like '30d' or a timedelta, got 5"),
        ({"retry": 5}, TypeError, "retry= takes a Retry, got 5; write Retry(attempts=...)"),
        ({"on_completed": "x"}, TypeError, "on_completed= takes a function, got 'x'"),
        ({"on_failed": 3}, TypeError, "on_failed= takes a function, got 3"),
    ],
)
def test_options_are_checked_on_their_own_line(options: dict[str, Any], error: type[Exception], text: str) -> None:
    create: Callable[..., Any] = create_workflow

    with pytest.raises(error, match=re.escape(text)):
        create(**{"id": "sums", "input_schema": Number, "output_schema": Number, **options})


def test_then_takes_a_step_and_not_a_function() -> None:
    def plain(number: Number) -> Number:
        return number

    then: Callable[[Any], object] = builder().then

    with pytest.raises(
        TypeError, match=re.escape(".then() takes a step, got plain; decorate it with @step, or use .map()")
    ):
        then(plain)


def test_the_id_of_a_map_is_checked() -> None:
    with pytest.raises(DefinitionError, match=re.escape("'a/b' cannot be a map id")):
        builder().map(lambda number: number, id="a/b")


def test_with_id_gives_the_same_workflow_under_another_id() -> None:
    sums = builder().then(add_one).commit()
    again = sums.with_id("again")

    assert (sums.id, again.id) == ("sums", "again")
    assert (sums.graph.workflow_id, again.graph.workflow_id) == ("sums", "again")
    assert sums.graph.nodes == again.graph.nodes


async def test_a_workflow_is_run_and_not_called() -> None:
    with pytest.raises(TypeError, match=re.escape("workflow 'sums' is not called but run; use 'await sums.run(...)'")):
        await builder().then(add_one).commit()(Number(n=1))
