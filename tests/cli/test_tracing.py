"""Spans from the command line, where the environment names a collector."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from .command import FLOWS, Shell

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the packages of the extra would send to, without a network."""
    exporter, module = InMemorySpanExporter(), ModuleType(EXPORTER)
    module.OTLPSpanExporter = lambda: exporter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, EXPORTER, module)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    return exporter


def test_a_command_sends_its_spans_before_the_process_ends(
    shell: Shell, collector: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_end: list[Callable[[], object]] = []
    monkeypatch.setattr(atexit, "register", at_the_end.append)

    shell("run", f"{FLOWS}:greeting", "name=Ada", "-q")
    [send] = at_the_end
    send()

    spans = collector.get_finished_spans()
    assert {span.name for span in spans} == {"create greeting", "step greet", "run greeting"}
    assert all(span.resource.attributes["service.name"] == "wrkflw" for span in spans)


def test_a_collector_that_is_named_takes_the_extra(
    shell: Shell, collector: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)

    ended = shell("run", f"{FLOWS}:greeting", "name=Ada")

    assert ended.code == 2
    assert ended.err == (
        'wrkflw: OTEL_EXPORTER_OTLP_ENDPOINT is set, which needs OpenTelemetry; pip install "wrkflw[otel]"\n'
    )


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED", None])
def test_nothing_is_sent_where_nobody_asked_for_it(
    shell: Shell, collector: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)  # it would be missed
    if variable is None:
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    else:
        monkeypatch.setenv(variable, "true")

    assert shell("run", f"{FLOWS}:greeting", "name=Ada", "-q").code == 0
