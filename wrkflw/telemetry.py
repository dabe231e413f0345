"""Runs as OpenTelemetry traces: ``Runtime(..., observer=Tracing())``.  Needs the extra: ``wrkflw[otel]``.

A run is one trace, whoever drives it.  Its first span, ``create WORKFLOW``, stands where the run was started, below the
span of whoever did; its W3C ``traceparent`` is recorded with the run.  Each time a process takes the run up there is a
span ``run WORKFLOW``, from there to where the run ended or parked: while it waits, for a second or a year, no span is
open.  Below it each try of a step's body is a span ``step ID``, in whose context the body runs.  A span has a link to
the one it goes on from, where the same process made that one: the stretch before the run was parked, the try before.

Spans are handed to the SDK, which sends them from a thread of its own; nothing waits for that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

try:
    from opentelemetry import trace
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as error:
    raise ImportError('wrkflw.telemetry needs OpenTelemetry; pip install "wrkflw[otel]"') from error

from .engine.observers import Stretch
from .logs import Trying

_REMEMBERED = 4096
"""Spans that can be linked to: those of the runs and calls that were seen last."""
_W3C: Final = TraceContextTextMapPropagator()


class Tracing:
    """An observer that makes spans.  ``provider`` is where they go; without it, to the one of the process."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("wrkflw", version("wrkflw"), tracer_provider=provider)
        self._last: OrderedDict[tuple[str, str], SpanContext] = OrderedDict()

    def creating(self, run_id: str, workflow_id: str) -> Mapping[str, str]:
        """The ``traceparent`` of the span that stands for the run's beginning."""
        span = self._tracer.start_span(
            f"create {workflow_id}", kind=SpanKind.PRODUCER, attributes=_of_run(run_id, workflow_id)
        )
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(span))
        span.end()
        return carrier

    @contextmanager
    def driving(self, stretch: Stretch) -> Generator[None]:
        """A span from where a process takes the run up to where it lets it go."""
        place = (stretch.run_id, "")
        with self._tracer.start_as_current_span(
            f"run {stretch.workflow_id}",
            context=_W3C.extract(stretch.trace) if stretch.trace else None,
            kind=SpanKind.CONSUMER,
            attributes=_of_run(stretch.run_id, stretch.workflow_id),
            links=self._before(place),
            record_exception=False,  # a process that leaves is no error of the run's
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                _tell_end(span, stretch.status)
                self._remember(place, span)

    @contextmanager
    def trying(self, call: Trying) -> Generator[None]:
        """A span for one try; what the body raises is recorded in it."""
        place = (call.run_id, call.key)
        with self._tracer.start_as_current_span(
            f"step {call.step_id}",
            attributes={
                **_of_run(call.run_id, call.workflow_id),
                "wrkflw.step.id": call.step_id,
                "wrkflw.step.key": call.key,
                "wrkflw.step.attempt": call.attempt,
            },
            links=self._before(place),
        ) as span:
            self._remember(place, span)
            yield

    def _before(self, place: tuple[str, str]) -> list[Link]:
        before = self._last.get(place)
        return [] if before is None else [Link(before)]

    def _remember(self, place: tuple[str, str], span: Span) -> None:
        self._last[place] = span.get_span_context()
        self._last.move_to_end(place)
        while len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)


def _of_run(run_id: str, workflow_id: str) -> dict[str, str]:
    return {"wrkflw.run.id": run_id, "wrkflw.workflow.id": workflow_id}


def _tell_end(span: Span, status: str) -> None:
    ended = status in ("completed", "failed", "cancelled")
    span.set_attribute("wrkflw.run.status", status if ended else "parked")
    if status == "failed":
        span.set_status(Status(StatusCode.ERROR, "the run failed"))
