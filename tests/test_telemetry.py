"""What is told of runs to others: spans for OpenTelemetry, and the run and step in each log record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.clocks import ManualClock, settle
from wrkflw import Completed, Retry, Runtime, SuspendContext, create_workflow, step
from wrkflw.logs import RunContext
from wrkflw.telemetry import Tracing


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]

    @property
    def traces(self) -> set[int]:
        return {span.context.trace_id for span in self._exporter.get_finished_spans()}


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


@step
async def double(number: int) -> int:
    return number * 2


@step
def ask(number: int, ctx: SuspendContext[int, int]) -> int:
    return number + ctx.suspend(number)


doubling = create_workflow(id="doubling", input_schema=int, output_schema=int).then(double).commit()
asking = create_workflow(id="asking", input_schema=int, output_schema=int).then(double).then(ask).commit()


async def test_a_run_is_one_trace_below_whoever_started_it(spans: Spans) -> None:
    async with Runtime(":memory:", observer=Tracing(spans.provider)):
        with spans.provider.get_tracer("test").start_as_current_span("request"):
            await doubling.run(1)

    [request], [create] = spans.named("request"), spans.named("create doubling")
    [run], [tried] = spans.named("run doubling"), spans.named("step double")
    assert create.parent is not None
    assert run.parent is not None
    assert tried.parent is not None
    assert create.parent.span_id == request.context.span_id
    assert run.parent.span_id == create.context.span_id
    assert tried.parent.span_id == run.context.span_id
    assert len(spans.traces) == 1
    assert dict(tried.attributes or {}) | {"wrkflw.run.id": ""} == {
        "wrkflw.run.id": "",
        "wrkflw.workflow.id": "doubling",
        "wrkflw.step.id": "double",
        "wrkflw.step.key": "double",
        "wrkflw.step.attempt": 1,
    }


async def test_the_stretches_of_a_suspended_run_are_linked_in_one_trace(spans: Spans) -> None:
    async with Runtime(":memory:", observer=Tracing(spans.provider)):
        run = await asking.create_run()
        await run.start(1)
        assert spans.names.count("run asking") == 1  # nothing is open while it waits
        await run.resume(ask, 3)

    first, second = spans.named("run asking")
    asked, answered = spans.named("step ask")
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert [link.context.span_id for link in answered.links] == [asked.context.span_id]
    assert [(span.attributes or {})["wrkflw.run.status"] for span in (first, second)] == ["parked", "completed"]
    assert asked.status.status_code is not StatusCode.ERROR  # to suspend is no error
    assert len(spans.traces) == 1


async def test_another_process_goes_on_in_the_same_trace(spans: Spans, database: str) -> None:
    async with Runtime(database, observer=Tracing(spans.provider)):
        run = await asking.create_run(run_id="r1")
        await run.start(1)
    async with Runtime(database, observer=Tracing(spans.provider)):
        result = await (await asking.get_run("r1")).resume(ask, 3)

    assert isinstance(result, Completed)
    assert len(spans.named("run asking")) == 2
    assert len(spans.traces) == 1


async def test_a_try_that_fails_tells_its_error_and_the_next_is_linked_to_it(spans: Spans) -> None:
    tries: list[int] = []

    @step(retry=Retry(attempts=2, delay="0s"))
    async def flaky(number: int) -> int:
        tries.append(number)
        if len(tries) == 1:
            raise ValueError("no luck")
        return number

    luck = create_workflow(id="luck", input_schema=int, output_schema=int).then(flaky).commit()
    async with Runtime(":memory:", observer=Tracing(spans.provider)):
        await luck.run(1)

    first, second = spans.named("step flaky")
    assert first.status.status_code is StatusCode.ERROR
    assert first.events[0].attributes is not None
    assert first.events[0].attributes["exception.message"] == "no luck"
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert (second.attributes or {})["wrkflw.step.attempt"] == 2


async def test_a_run_that_fails_is_an_error_and_one_whose_process_leaves_is_none(spans: Spans) -> None:
    started = asyncio.Event()

    @step
    async def fails(number: int) -> int:
        if number:
            raise ValueError("no luck")
        started.set()
        await asyncio.Event().wait()
        return number

    flow = create_workflow(id="flow", input_schema=int, output_schema=int).then(fails).commit()
    async with Runtime(":memory:", observer=Tracing(spans.provider)):
        await (await flow.create_run()).start(1)
        left = asyncio.ensure_future((await flow.create_run()).start(0))
        await started.wait()
    left.cancel()

    failed, interrupted = spans.named("run flow")
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["wrkflw.run.status"] == "failed"
    assert interrupted.status.status_code is StatusCode.UNSET
    assert (interrupted.attributes or {})["wrkflw.run.status"] == "parked"


async def test_what_a_body_does_stands_below_its_try(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("user")

    @step
    def in_a_thread(number: int) -> int:
        with tracer.start_as_current_span("query"):
            return number

    flow = create_workflow(id="flow", input_schema=int, output_schema=int).then(in_a_thread).commit()
    async with Runtime(":memory:", observer=Tracing(spans.provider)):
        await flow.run(1)

    [query], [tried] = spans.named("query"), spans.named("step in-a-thread")
    assert query.parent is not None
    assert query.parent.span_id == tried.context.span_id
    assert trace.get_current_span().get_span_context().is_valid is False


async def test_without_an_observer_nothing_of_a_trace_is_recorded(runtime: Runtime) -> None:
    run = await doubling.create_run()
    await run.start(1)

    assert (await runtime.world.storage.runs.get(run.run_id)).execution_context is None


# --- logging -------------------------------------------------------------------------------------------


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.addFilter(RunContext())
        self.said: list[tuple[str, str, str, int]] = []

    def emit(self, record: logging.LogRecord) -> None:
        told = record.__dict__
        self.said.append((record.getMessage(), told["run_id"], told["step_key"], told["attempt"]))


@pytest.fixture
def records() -> Iterator[Records]:
    records, logger = Records(), logging.getLogger("shop")
    logger.addHandler(records)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(records)


async def test_what_a_body_logs_says_which_run_and_step_it_is_of(clock: ManualClock, records: Records) -> None:
    log = logging.getLogger("shop")

    @step
    async def on_the_loop(number: int) -> int:
        log.info("loop")
        await asyncio.create_task(in_a_task())
        return number

    async def in_a_task() -> None:
        log.info("task")

    @step(timeout="10s")
    def in_a_thread(number: int) -> int:
        log.info("thread")
        return number

    flow = create_workflow(id="flow", input_schema=int, output_schema=int).then(on_the_loop).then(in_a_thread).commit()
    async with Runtime(":memory:", clock=clock):
        await (await flow.create_run(run_id="r1")).start(1)
    log.info("outside")

    assert records.said == [
        ("loop", "r1", "on-the-loop", 1),
        ("task", "r1", "on-the-loop", 1),
        ("thread", "r1", "in-a-thread", 1),
        ("outside", "-", "-", 0),
    ]


async def test_each_attempt_has_its_number(clock: ManualClock, records: Records) -> None:
    @step(retry=Retry(attempts=2, delay="1s", jitter=False))
    async def flaky(number: int) -> int:
        logging.getLogger("shop").info("tried")
        raise ValueError("no luck")

    flow = create_workflow(id="flow", input_schema=int, output_schema=int).then(flaky).commit()
    async with Runtime(":memory:", workflows=[flow], clock=clock):
        await (await flow.create_run(run_id="r1")).enqueue(1)
        await settle()
        clock.turn(timedelta(seconds=1))
        await settle()

    assert [attempt for *_, attempt in records.said] == [1, 2]
