"""Spans from the command line: on where the environment names a collector, as OpenTelemetry's own variables do."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from .failures import MisuseError

if TYPE_CHECKING:
    from wrkflw.telemetry import Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def tracing_from(environment: Mapping[str, str]) -> Tracing | None:
    """An observer that exports spans by OTLP over HTTP; None where nobody asked for it, and nothing is imported.

    Raises MisuseError when the extra is missing.
    """
    asked = [name for name in _ENDPOINTS if environment.get(name)]
    if not asked or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        exporter = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter()
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from wrkflw.telemetry import Tracing
    except ImportError as error:
        raise MisuseError(f'{asked[0]} is set, which needs OpenTelemetry; pip install "wrkflw[otel]"') from error
    resource = {} if "OTEL_SERVICE_NAME" in environment else {"service.name": "wrkflw"}
    # At the end of the process it sends what it still has.
    provider = TracerProvider(resource=Resource.create(resource))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)
