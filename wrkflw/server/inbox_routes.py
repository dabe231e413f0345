"""What is handed in to a run: answers to its suspensions, by step or by token, and events; and forks of it."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from wrkflw.engine.definition import Definition
from wrkflw.engine.journal import Journal
from wrkflw.engine.mentions import call_at, event_of, output_from, step_at
from wrkflw.errors import InvalidValueError, NotSuspendedError
from wrkflw.run import Run
from wrkflw.schemas import problems, schema_of
from wrkflw.world.errors import HookNotFoundError

from .answers import RunStanding
from .parameters import HookToken, IdempotencyKey, Name, RunId, Wait
from .problems import Refusal
from .routes import Answer, Routes
from .service import Service
from .workflow_routes import ENDED, STARTED, started

ModelT = TypeVar("ModelT", bound=BaseModel)

_RECORDED = Answer(202, "it is recorded, and the run goes on", RunStanding)
_NO_HOOK = "no live hook has this token"
_TEXT = Field(min_length=1, max_length=1024)


class Resumption(BaseModel):
    """An answer to a step, by its id or the key of its call; `at` is that key where several of the step wait."""

    model_config = ConfigDict(extra="forbid", defer_build=True)
    step: str = _TEXT
    data: JsonValue = None
    at: str | None = Field(None, min_length=1, max_length=1024)


class ForkRequest(BaseModel):
    """Where a fork begins (a step, or the key of a call of it), and what is to be otherwise in it."""

    model_config = ConfigDict(extra="forbid", defer_build=True)
    at: str | None = Field(None, min_length=1, max_length=1024)
    key: str | None = Field(None, min_length=1, max_length=1024)
    outputs: dict[str, JsonValue] = {}
    input: JsonValue = None
    state: JsonValue = None


class InboxRoutes:
    def __init__(self, service: Service) -> None:
        self._service = service

    def add_to(self, routes: Routes) -> None:
        one = "/api/runs/{run_id}"
        answer, fork = Resumption.model_json_schema(), ForkRequest.model_json_schema()
        routes.add("resume", f"POST {one}/resume", self.resume_run, _RECORDED, ENDED, body=answer)
        routes.add("resume", f"POST {one}/events/{{event}}", self.send_event, _RECORDED, ENDED, body={})
        routes.add("start", f"POST {one}/fork", self.fork_run, STARTED, ENDED, body=fork, body_required=False)
        routes.add("token in path", "POST /hooks/{token}", self.call_hook, _RECORDED, ENDED, body={})

    async def resume_run(self, request: Request, run_id: RunId, wait: Wait = None) -> Response:
        """Answer a suspension of a run."""
        service = self._service
        asked = model_of(Resumption, await service.read(request, empty=b"{}"))
        definition = await service.definition_of(run_id)
        await self._answer(definition, await service.rt.runs.journal(run_id), asked)
        return await started(service, request, definition, run_id, wait, may_exist=True)

    async def send_event(
        self, request: Request, run_id: RunId, event: Name, wait: Wait = None, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Hand in an event, whose payload is the body; before, during or after the wait for it."""
        service = self._service
        body = await service.read(request)
        definition = await service.definition_of(run_id)
        await self.send(definition, run_id, event, body, idempotency_key)
        return await started(service, request, definition, run_id, wait, may_exist=True)

    async def send(
        self, definition: Definition, run_id: str, name: str, body: bytes, dedupe_id: str | None = None
    ) -> None:
        """Record the event.  Raises as :meth:`Run.send_event` does."""
        event = event_of(definition, name, self._service.events)
        payload = schema_of(event.schema).load(body, f"payload of event {name!r}")
        await self._service.rt.inbox_of(definition).send(run_id, event, payload, dedupe_id)

    async def call_hook(self, request: Request, token: HookToken, wait: Wait = None) -> Response:
        """Answer the suspension that has this token.  A token that is unknown, used or over is answered alike."""
        service = self._service
        service.check_open()
        body = await service.read(request)
        try:
            hook = await service.rt.world.storage.hooks.get_by_token(token, resolve_data="none")
        except HookNotFoundError:
            raise Refusal(404, _NO_HOOK) from None
        definition = await service.definition_of(hook.run_id)
        journal = await service.rt.runs.journal(hook.run_id)
        asked = {one.hook_id: record for record in journal.records.values() if (one := record.suspension) is not None}
        if hook.hook_id not in asked:
            raise Refusal(404, _NO_HOOK)
        record = asked[hook.hook_id]
        step = step_at(definition, record.key, service.steps, record.name)
        data = schema_of(step.body.resume).load(body, f"answer to step {step.id!r}")
        await service.rt.inbox_of(definition).answer(journal, step, data, record.key)
        return await started(service, request, definition, hook.run_id, wait, may_exist=True)

    async def fork_run(self, request: Request, run_id: RunId, wait: Wait = None) -> Response:
        """Begin a new run that takes over what this one recorded before `at`, or went on where it failed."""
        service = self._service
        asked = model_of(ForkRequest, await service.read(request, empty=b"{}"))
        definition = await service.definition_of(run_id)
        service.check_startable(definition.id)
        run = await Run.find(service.rt, service.workflow_of(definition), run_id)
        draft = run.fork(key=asked.key)
        if asked.at is not None:
            at = call_at(definition, await service.rt.runs.journal(run_id), asked.at, service.steps)
            draft = run.fork(at.step, key=asked.key or at.at)
        for id, value in asked.outputs.items():
            step = step_at(definition, id, service.steps)
            draft = draft.with_output(step, output_from(definition, step, value, f"output of {id!r}"))
        if "input" in asked.model_fields_set:
            draft = draft.with_input(definition.input_schema.load_tree(asked.input, "input of the fork"))
        if "state" in asked.model_fields_set:
            known = definition.state_schema
            draft = draft.with_state(asked.state if known is None else known.load_tree(asked.state, "the state"))
        return await started(service, request, definition, (await draft.enqueue()).run_id, wait)

    async def _answer(self, definition: Definition, journal: Journal, asked: Resumption) -> None:
        """Raises as :meth:`Run.resume` does."""
        step, key = call_at(definition, journal, asked.at or asked.step, self._service.steps)
        at = asked.at or key
        if step.kind == "workflow" or step.body.context != "suspend":
            raise NotSuspendedError(journal.run_id, at or step.id, journal.suspended_keys())
        answer = schema_of(step.body.resume).load_tree(asked.data, f"answer to step {step.id!r}")
        await self._service.rt.inbox_of(definition).answer(journal, step, answer, at)


def model_of(model: type[ModelT], body: bytes) -> ModelT:
    """Raises InvalidValueError."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise InvalidValueError("the body", model.__name__, problems(error)) from error
