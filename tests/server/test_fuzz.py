"""Requests made up of the OpenAPI document, and of what it does not allow: schemathesis finds nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi

from tests.clocks import ManualClock
from wrkflw import Runtime
from wrkflw.server import ServerLimits, app

from .desk import ADA, WORKFLOWS, client_of

CASES = 150 if os.environ.get("SOAK") else 8
"""Of each operation, and each mode."""
BASE = "http://localhost"
CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
    openapi.negative_data_rejection,
]


class Served:
    """An application with runs of every kind, asked from code that is not async."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._rt = Runtime(":memory:", workflows=WORKFLOWS, clock=ManualClock())
        self.run_ids = self._runner.run(self._open())
        self.contract: dict[str, Any] = self._runner.run(self._client.get("/openapi.json")).json()

    async def _open(self) -> list[str]:
        await self._rt.open()
        # Nobody waits: time stands still here.
        self._client = client_of(app(self._rt, limits=ServerLimits(wait=timedelta(0))))
        started = [await self._client.post(f"/api/workflows/{one.id}/runs", json=ADA) for one in WORKFLOWS]
        return [str(answer.json()["run_id"]) for answer in started]

    def answer(self, request: requests.PreparedRequest) -> httpx2.Response:
        content: Any = request.body
        asked = httpx2.Request(str(request.method), str(request.url), headers=headers_of(request), content=content)
        return self._runner.run(asyncio.wait_for(self._client.send(asked), 20))

    def close(self) -> None:
        self._runner.run(self._rt.close())
        self._runner.close()


def headers_of(request: requests.PreparedRequest) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in request.headers.items() if name.lower() != "content-length"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    load_all_checks()
    served = Served()
    yield served
    served.close()


@pytest.mark.parametrize("mode", GenerationMode)
def test_nothing_breaks_the_server_and_it_answers_as_its_document_says(served: Served, mode: GenerationMode) -> None:
    for found in schemathesis.openapi.from_dict(served.contract).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not [*operation.iter_parameters(), *operation.body]:
            continue  # it takes nothing that could be wrong

        @settings(
            max_examples=CASES, database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(operation.as_strategy(generation_mode=mode), st.none() | st.sampled_from(served.run_ids))
        def sends(case: schemathesis.Case[Any], run_id: str | None) -> None:
            if run_id is not None:  # made up ones lead nowhere
                case.path_parameters.update({name: run_id for name in ("run_id", "id") if name in case.path_parameters})
            if case.path.endswith("/stream") or "/streams/" in case.path:
                case.path_parameters.update({"run_id": served.run_ids[0]} if run_id is not None else {})  # it has ended
            arguments = case.as_transport_kwargs(base_url=BASE)
            arguments.pop("timeout", None)
            request = requests.Session().prepare_request(requests.Request(**arguments))
            response = served.answer(request)
            # With the id of a run that there is, nothing may be wrong with a request any more.
            case.validate_response(response, checks=CHECKS if run_id is None else CHECKS[:-1])

        sends()
