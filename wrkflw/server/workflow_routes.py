"""Workflows: what there is, and starting runs of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from wrkflw.births import Birth
from wrkflw.engine.definition import Definition
from wrkflw.engine.mentions import events_of
from wrkflw.errors import InvalidValueError, RunConflictError
from wrkflw.graph import steps_of
from wrkflw.run import Run
from wrkflw.schemas import schema_of
from wrkflw.world.errors import RunExpiredError

from .answers import RunStanding, json_of, standing_of
from .parameters import Attributes, Delay, IdempotencyKey, Name, NewRunId, Wait
from .problems import Refusal
from .routes import Answer, Routes, json_answer
from .service import AnyRun, Service
from .waiting import outcome, patience_of

STARTED = Answer(202, "the run is recorded, and goes on", RunStanding)
ENDED = Answer(200, "the run has ended", RunStanding)
_FOR_ALL = frozenset({"run_id", "workflow_id", "status"})
"""What is told of a run to those who may not read."""


class WorkflowInfo(BaseModel):
    model_config = ConfigDict(defer_build=True)
    id: str
    description: str


class Workflows(BaseModel):
    model_config = ConfigDict(defer_build=True)
    data: list[WorkflowInfo]


class NodeInfo(BaseModel):
    """A node of the graph; ``steps`` are those that it calls."""

    model_config = ConfigDict(defer_build=True)
    kind: str
    id: str
    steps: list[str]


class WorkflowDetails(WorkflowInfo):
    """A workflow with the JSON schemas of what it takes, gives and waits for."""

    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    events: dict[str, dict[str, Any]]
    nodes: list[NodeInfo]
    fingerprint: str


class WorkflowRoutes:
    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, routes: Routes) -> None:
        # The document has an operation for each workflow instead: see contract.
        routes.add("start", "POST /api/workflows/{workflow}/runs", self.start_run, STARTED, ENDED, body={})
        routes.add("read", "GET /api/workflows", self.list_workflows, Answer(200, "all that are known", Workflows))
        routes.add("read", "GET /api/workflows/{workflow}", self.get_workflow, Answer(200, "it", WorkflowDetails))

    async def list_workflows(self) -> Response:
        """All workflows that are known here."""
        known = self._service.rt.definitions.values()
        return json_answer(json_of({"data": [_info(definition) for definition in known]}))

    async def get_workflow(self, workflow: Name) -> Response:
        """One workflow: its schemas and its graph."""
        definition = self._service.definition(workflow)
        nodes = [
            {"kind": type(node).__name__, "id": node.id, "steps": [step.id for step in steps_of(node)]}
            for node in definition.nodes
        ]
        details = {
            **_info(definition),
            "input_schema": definition.input_schema.described(),
            "output_schema": definition.output_schema.described(),
            "events": {event.name: schema_of(event.schema).described() for event in events_of(definition).values()},
            "nodes": nodes,
            "fingerprint": definition.fingerprint,
        }
        return json_answer(json_of(details))

    async def start_run(
        self,
        request: Request,
        workflow: Name,
        wait: Wait = None,
        delay: Delay = None,
        run_id: NewRunId = None,
        attribute: Attributes = [],  # noqa: B006  # FastAPI makes its own
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Record a run, whose input is the body, for any worker to take.

        With `wait`, the answer comes when the run has ended or parked, or when that time is over.
        """
        service, definition = self._service, self._service.definition(workflow)
        service.check_startable(workflow)
        data = definition.input_schema.load(await service.read(request), f"input of workflow {workflow!r}")
        birth = await Birth.of(
            service.rt,
            service.workflow_of(definition),
            run_id=run_id,
            idempotency_key=idempotency_key,
            attributes=attributes_of(attribute),
        )
        run: AnyRun = Run(birth)
        await enqueue(service, request, run, data, delay)
        may_exist = idempotency_key is not None
        return await started(service, request, definition, run.run_id, wait, may_exist=may_exist, output=True)


async def enqueue(
    service: Service, request: Request, run: AnyRun, data: object, delay: str | timedelta | None = None
) -> None:
    """Record the run.  Of the run that has its key already, those hear who may read."""
    try:
        await run.enqueue(data, delay=delay)
    except (RunConflictError, RunExpiredError):
        if service.permits(request, "read"):
            raise
        raise Refusal(422, "this idempotency key was used before, with another input; use another") from None


async def started(
    service: Service,
    request: Request,
    definition: Definition,
    run_id: str,
    wait: str | None,
    *,
    may_exist: bool = False,
    output: bool = False,
) -> Response:
    """The answer to who has started a run, or handed something in: how it stands, perhaps after a while.

    ``output``: whether what the run gives is the caller's, though he may not read others'.
    """
    patience = patience_of(service, wait)
    seen = None if patience is None else await outcome(service, definition, run_id, patience)
    if seen is not None:
        said = standing_of(seen, tokens=service.permits(request, "resume"))
    elif patience is None and not may_exist:
        said = {"run_id": run_id, "workflow_id": definition.id, "status": "pending"}
    else:
        info = await service.rt.runs.get(run_id)
        said = {"run_id": run_id, "workflow_id": definition.id, "status": info.waiting_for or info.status}
    if not service.permits(request, "read"):
        told = _FOR_ALL | {"output"} if output else _FOR_ALL
        said = {name: value for name, value in said.items() if name in told}
    ended = said["status"] in ("completed", "failed", "cancelled")
    return json_answer(json_of(said), 200 if ended else 202)


def _info(definition: Definition) -> dict[str, Any]:
    return {"id": definition.id, "description": Service.workflow_of(definition).description}


def attributes_of(given: Sequence[str]) -> dict[str, str]:
    """Of ``name=value`` each.  Raises InvalidValueError."""
    pairs = [one.partition("=") for one in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise InvalidValueError.because(f"attribute {name[:80]!r}", "has no value", cure="write name=value")
    return {name: value for name, _, value in pairs}
