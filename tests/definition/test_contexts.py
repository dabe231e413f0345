"""Contexts are views: they show what the engine's call says, and nothing of their own."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import timedelta
from typing import Never

import pytest
from pydantic import BaseModel

from wrkflw.context import MapContext, ResultAccess, Results, StepContext, SuspendContext
from wrkflw.decorators import step
from wrkflw.errors import StepNotRunError, UnknownStepError
from wrkflw.graph import AnyStep


class Counters(BaseModel):
    sent: int = 0


@step
def fetch(data: int) -> str:
    return str(data)


@step
def price(data: int) -> int:
    return data


class Left(BaseException):
    """Control flow of an engine."""


class OneCall:
    """What an engine would give for the third try of the second item."""

    run_id, workflow_id, step_id, key = "r-17", "campaign", "send", "send[1]"
    attempt = 3
    iteration: int | None = None
    index: int | None = 1
    fence = 7
    stopping = False
    input_data: object = 42
    resume_data: object = "yes"

    def __init__(self) -> None:
        self.state: object = Counters()
        self.beats: list[object] = []
        self.chunks: list[tuple[str, object]] = []

    def result_of(self, step: AnyStep, /) -> object:
        if step.id == "unknown":
            raise UnknownStepError("campaign", "unknown", ["fetch"])
        if step.id != "fetch":
            raise StepNotRunError(step.id, ["fetch"])
        return "Ada"

    def results_of(self, step: AnyStep, /) -> list[object]:
        return ["Ada", "Bob"]

    def set_state(self, state: object, /) -> None:
        self.state = state

    def init_data(self, schema: object, /) -> object:
        return (schema, self.input_data)

    def heartbeat(self, details: object, /) -> None:
        self.beats.append(details)

    def bail(self, output: object, /) -> Never:
        raise Left(output)

    def write(self, chunk: object, stream: str, /) -> None:
        self.chunks.append((stream, chunk))

    def suspend(self, payload: object, timeout: timedelta | None, /) -> object:
        raise Left(payload, timeout)


def test_a_context_shows_where_its_body_stands() -> None:
    ctx = StepContext[Counters](OneCall())

    assert (ctx.run_id, ctx.workflow_id, ctx.step_id, ctx.key) == ("r-17", "campaign", "send", "send[1]")
    assert (ctx.attempt, ctx.iteration, ctx.index, ctx.fence) == (3, None, 1, 7)


def test_the_idempotency_key_is_the_run_and_the_key() -> None:
    assert StepContext[Counters](OneCall()).idempotency_key == "r-17:send[1]"


def test_results_come_from_the_call() -> None:
    ctx = StepContext[Counters](OneCall())

    assert ctx.get_step_result(fetch) == "Ada"
    assert ctx.get_step_results(fetch) == ["Ada", "Bob"]


def test_a_default_stands_in_for_a_step_that_has_not_run() -> None:
    ctx = StepContext[Counters](OneCall())

    assert ctx.get_step_result(price, default=None) is None
    assert ctx.get_step_result(price, 0) == 0
    with pytest.raises(
        StepNotRunError, match=re.escape("step 'price' has no result here; finished before this point: 'fetch'")
    ):
        ctx.get_step_result(price)


def test_a_default_does_not_stand_in_for_a_step_that_the_workflow_has_not() -> None:
    with pytest.raises(UnknownStepError, match=re.escape("workflow 'campaign' has no step 'unknown'")):
        StepContext[Counters](OneCall()).get_step_result(fetch.with_id("unknown"), default=None)


def test_the_state_is_the_calls_own_copy() -> None:
    call = OneCall()
    ctx = StepContext[Counters](call)
    ctx.state.sent += 1

    assert Counters(sent=1) == call.state

    ctx.set_state(Counters(sent=5))

    assert Counters(sent=5) == call.state == ctx.state


def test_initial_data_is_asked_for_by_type() -> None:
    given: object = StepContext[Counters](OneCall()).get_init_data(int)

    assert given == (int, 42)


def test_a_heartbeat_reaches_the_call() -> None:
    call = OneCall()
    ctx = StepContext[Counters](call)
    ctx.heartbeat({"done": 3})
    ctx.heartbeat()

    assert call.beats == [{"done": 3}, None]


def test_a_stopping_body_can_leave() -> None:
    call = OneCall()
    ctx = StepContext[Counters](call)
    ctx.raise_if_stopping()
    call.stopping = True

    assert ctx.stopping
    with pytest.raises(asyncio.CancelledError, match=re.escape("step 'send' is stopping")):
        ctx.raise_if_stopping()


def test_records_of_the_logger_know_their_run(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="wrkflw.step"):
        StepContext[Counters](OneCall()).logger.info("sending %s", "a letter")

    (record,) = caplog.records
    facts = vars(record)
    assert record.getMessage() == "sending a letter"
    assert (record.name, facts["run_id"], facts["step_key"], facts["attempt"]) == ("wrkflw.step", "r-17", "send[1]", 3)


def test_a_map_sees_input_state_and_results() -> None:
    ctx = MapContext[int, Counters](OneCall())

    assert (42, Counters()) == (ctx.init_data, ctx.state)
    assert ctx.get_step_result(fetch) == "Ada"


def test_result_access_must_say_where_results_come_from() -> None:
    class Forgetful(ResultAccess):
        """It does not."""

    with pytest.raises(NotImplementedError, match="Forgetful must say where its results come from"):
        Forgetful().get_step_result(fetch)


def test_a_context_for_tests_holds_what_it_is_given() -> None:
    ctx = StepContext.for_test(state=Counters(sent=2), results={fetch: "Ada"}, run_id="r-1")

    assert (ctx.run_id, ctx.state, ctx.attempt, ctx.stopping) == ("r-1", Counters(sent=2), 1, False)
    assert ctx.get_step_result(fetch) == "Ada"
    assert ctx.get_step_results(fetch) == ["Ada"]
    assert ctx.get_step_results(price) == []
    with pytest.raises(StepNotRunError, match=re.escape("step 'price' has no result here")):
        ctx.get_step_result(price)


def test_a_context_for_tests_takes_a_new_state() -> None:
    ctx = StepContext.for_test(state=Counters())
    ctx.set_state(Counters(sent=9))

    assert Counters(sent=9) == ctx.state


def test_a_view_has_results() -> None:
    results: Results = OneCall()

    assert results.result_of(fetch) == "Ada"


# ------------------------------------------------------------------ bail, write, suspend
def test_a_bail_leaves_by_the_call() -> None:
    with pytest.raises(Left) as left:
        StepContext[Counters](OneCall()).bail("done")

    assert left.value.args == ("done",)


def test_chunks_reach_the_call_with_their_stream() -> None:
    call = OneCall()
    ctx = StepContext[Counters](call)
    ctx.write("text")
    ctx.write(b"bytes", stream="raw")
    SuspendContext[str, int, Counters](call).write({"done": 1})

    assert call.chunks == [("default", "text"), ("raw", b"bytes"), ("default", {"done": 1})]


def test_a_suspension_hands_its_payload_and_timeout_to_the_call() -> None:
    ctx = SuspendContext[str, int, Counters](OneCall())

    with pytest.raises(Left) as left:
        ctx.suspend(3, timeout="7d")
    assert left.value.args == (3, timedelta(days=7))
    with pytest.raises(Left) as left:
        ctx.suspend(3)
    assert left.value.args == (3, None)
    assert ctx.resume_data == "yes"


def test_the_timeout_of_a_suspension_is_a_duration() -> None:
    with pytest.raises(ValueError, match="expected a duration like"):
        SuspendContext[str, int, Counters](OneCall()).suspend(3, timeout="soon")


@step
def approve(data: int, ctx: SuspendContext[str, int]) -> str:
    first = ctx.suspend(data)
    return f"{first} {ctx.suspend(data + 1)} {ctx.resume_data}"


async def test_a_suspending_body_is_called_with_its_answers() -> None:
    assert await approve(1, SuspendContext[str, int].for_test(answers=["yes", "no"])) == "yes no no"


async def test_a_suspending_body_called_without_enough_answers_says_so() -> None:
    text = re.escape("there is no answer to this suspend(); pass for_test(answers=[...])")

    with pytest.raises(LookupError, match=text):
        await approve(1, SuspendContext[str, int].for_test(answers=["yes"]))


def test_a_context_for_tests_keeps_chunks_and_does_not_bail() -> None:
    ctx = StepContext.for_test()
    ctx.write("text")

    assert SuspendContext[str, int].for_test(state=Counters(sent=1), run_id="r-1").run_id == "r-1"
    assert SuspendContext[str, int].for_test().resume_data is None
    with pytest.raises(LookupError, match=re.escape("a context for tests has no workflow that could end with 5;")):
        ctx.bail(5)
