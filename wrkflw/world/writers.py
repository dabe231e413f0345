"""Runs, steps and hooks written by name: thin sugar over ``events.create``.

Each call is one event, with the guards and the errors of that event, and answers with the entity as it then is.  A
World inherits these for its runs, steps and hooks, and gives them the log to write to.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Required, TypeAlias, TypedDict, cast

from pydantic import ValidationError

from wrkflw.ids import correlation_id
from wrkflw.suggestions import did_you_mean

from . import events as e
from .errors import EntityConflictError, HookConflictError, WorkflowRunNotFoundError, WorldError

if TYPE_CHECKING:
    from .entities import Hook, Run, Step
    from .storage import Events, Resolve

CancelOutcome: TypeAlias = Literal["cancelled", "already_cancelled", "not_cancellable", "not_found", "failed"]
MOST_CANCELLED = 500


class NewRun(TypedDict, total=False):
    """A run to be.  Without ``run_id`` the World mints one."""

    run_id: str
    workflow_name: Required[str]
    deployment_id: str
    input: bytes
    execution_context: e.Meta
    attributes: dict[str, str]
    allow_reserved_attributes: bool
    definition_hash: str
    idempotency_key: str
    parent_run_id: str
    replayed_from: str


class RunUpdate(TypedDict, total=False):
    """A status and what belongs to it, or attributes, of which None deletes one.  ``paused`` is no stored status."""

    status: Literal["running", "completed", "failed", "cancelled", "paused"]
    output: bytes
    error: bytes
    error_code: str
    cancel_reason: str
    reason: str
    attributes: Mapping[str, str | None]


class NewStep(TypedDict, total=False):
    """A step to be.  Its key is the step's name, and its id made of that, unless they are given."""

    step_id: str
    step_name: Required[str]
    key: str
    kind: Literal["step", "child"]
    child_run_id: str
    input: bytes
    meta: e.Meta


class StepUpdate(TypedDict, total=False):
    """A status and what belongs to it; ``pending`` puts the step off until ``retry_after``."""

    status: Required[Literal["running", "completed", "failed", "pending"]]
    output: bytes
    error: bytes
    retry_after: datetime


class NewHook(TypedDict, total=False):
    """A hook to be.  Its token is random, and its id made of that, unless they are given."""

    hook_id: str
    token: str
    kind: Literal["hook", "webhook", "suspend"]
    step_id: str
    metadata: bytes
    token_retention_until: datetime
    is_system: bool


class _Update(NamedTuple):
    """The event that a status stands for, and how its fields are called there."""

    event: type[Any]
    fields: Mapping[str, str]


_OF_RUNS: dict[str, _Update] = {
    "running": _Update(e.RunStarted, {}),
    "completed": _Update(e.RunCompleted, {"output": "output"}),
    "failed": _Update(e.RunFailed, {"error": "error", "error_code": "error_code"}),
    "cancelled": _Update(e.RunCancelled, {"cancel_reason": "cancel_reason"}),
    "paused": _Update(e.RunPaused, {"reason": "reason"}),
}
_OF_STEPS: dict[str, _Update] = {
    "running": _Update(e.StepStarted, {}),
    "completed": _Update(e.StepCompleted, {"output": "result"}),
    "failed": _Update(e.StepFailed, {"error": "error"}),
    "pending": _Update(e.StepRetrying, {"error": "error", "retry_after": "retry_after"}),
}


class RunWriters(Protocol):
    """What is written to a run by name.  Every call raises WorkflowRunNotFoundError for a run that there is not."""

    _events: Events
    """The log that is written to."""

    async def create(self, data: NewRun, *, resolve_data: Resolve = "all") -> Run:
        """``run_created``.  Raises EntityConflictError when the run exists, or its idempotency key is taken."""
        values: dict[str, Any] = {**data}
        run_id = values.pop("run_id", None)
        event = _event(e.RunCreated, values)
        return (await self._events.create(run_id, event, resolve_data=resolve_data)).run

    async def update(self, run_id: str, data: RunUpdate, *, resolve_data: Resolve = "all") -> Run:
        """``run_started``, ``run_completed``, ``run_failed``, ``run_cancelled`` or ``run_paused``, or ``attr_set``.

        Raises WorldError (400) for any other status or field, and what the event raises.
        """
        event: e.NewEvent
        changed: object = data.get("attributes")
        if len(data) == 1 and isinstance(changed, Mapping):
            changes = [{"key": key, "value": value} for key, value in cast("Mapping[Any, object]", changed).items()]
            event = _event(e.AttrSet, {"changes": changes, "writer": "operator"})
        else:
            event = _update("run", _OF_RUNS, data, {})
        return (await self._events.create(run_id, event, resolve_data=resolve_data, skip_preload=True)).run

    async def cancel(self, run_id: str, reason: str | None = None, *, resolve_data: Resolve = "all") -> Run:
        """``run_cancelled``; a run that was cancelled before stays as it is.

        Raises EntityConflictError when it ended otherwise.
        """
        event = _event(e.RunCancelled, {"cancel_reason": reason})
        return (await self._events.create(run_id, event, resolve_data=resolve_data)).run

    async def pause(self, run_id: str, reason: str | None = None, *, resolve_data: Resolve = "all") -> Run:
        """``run_paused``: the status stays as it is.  Raises EntityConflictError when the run has ended."""
        return (await self._events.create(run_id, e.RunPaused(reason=reason), resolve_data=resolve_data)).run

    async def resume(self, run_id: str, reason: str | None = None, *, resolve_data: Resolve = "all") -> Run:
        """``run_resumed``, of a run that was paused.  Raises EntityConflictError when the run has ended."""
        return (await self._events.create(run_id, e.RunResumed(reason=reason), resolve_data=resolve_data)).run

    async def cancel_many(self, run_ids: Sequence[str], reason: str | None = None) -> dict[str, CancelOutcome]:
        """What became of each.  Raises WorldError (400) unless there are 1 to 500 of them, each named once."""
        if not 1 <= len(run_ids) <= MOST_CANCELLED or len(set(run_ids)) < len(run_ids):
            raise WorldError(f"cancel_many() takes 1 to {MOST_CANCELLED} different run ids, got {len(run_ids)}")
        event = _event(e.RunCancelled, {"cancel_reason": reason})
        return {run_id: await self._cancelled(run_id, event) for run_id in run_ids}

    async def _cancelled(self, run_id: str, event: e.RunCancelled) -> CancelOutcome:
        try:
            result = await self._events.create(run_id, event, resolve_data="none")
        except WorkflowRunNotFoundError:
            return "not_found"
        except EntityConflictError:
            return "not_cancellable"
        except WorldError:
            return "failed"
        return "already_cancelled" if result.event is None else "cancelled"


class StepWriters(Protocol):
    """What is written to a step by name.  Every call raises WorkflowRunNotFoundError for a run that there is not."""

    _events: Events

    async def create(self, run_id: str, data: NewStep, *, resolve_data: Resolve = "all") -> Step:
        """``step_created``.  Raises EntityConflictError when there is a step of this id."""
        values: dict[str, Any] = {**data}
        key = values.setdefault("key", values.get("step_name", ""))
        step_id = _given(values.pop("step_id", None), "step", run_id, key)
        return await self._write(run_id, _event(e.StepCreated, {"correlation_id": step_id, **values}), resolve_data)

    async def update(self, run_id: str, step_id: str, data: StepUpdate, *, resolve_data: Resolve = "all") -> Step:
        """``step_started``, ``step_completed``, ``step_failed``, or ``step_retrying`` for ``pending``.

        Raises WorldError (400) for any other status or field, and what the event raises.
        """
        event = _update("step", _OF_STEPS, data, {"correlation_id": step_id})
        return await self._write(run_id, event, resolve_data)

    async def _write(self, run_id: str, event: e.NewEvent, resolve_data: Resolve) -> Step:
        step = (await self._events.create(run_id, event, resolve_data=resolve_data)).step
        assert step is not None, "a World answers an event of a step with the step"
        return step


class HookWriters(Protocol):
    """What is written to a hook by name."""

    _events: Events

    async def get(self, hook_id: str, *, run_id: str | None = None, resolve_data: Resolve = "all") -> Hook: ...

    async def create(self, run_id: str, data: NewHook | None = None, *, resolve_data: Resolve = "all") -> Hook:
        """``hook_created``.

        Raises:
            WorkflowRunNotFoundError: there is no such run.
            HookConflictError: another run holds the token; its log says so from now on.
            EntityConflictError: there is a hook of this id.
        """
        values: dict[str, Any] = {**(data or {})}
        token = values.setdefault("token", secrets.token_urlsafe(32))
        hook_id = _given(values.pop("hook_id", None), "hook", run_id, token)
        event = _event(e.HookCreated, {"correlation_id": hook_id, **values})
        result = await self._events.create(run_id, event, resolve_data=resolve_data)
        if result.event is not None and isinstance(result.event.event, e.HookConflict):
            raise HookConflictError(token, result.event.event.conflicting_run_id)
        assert result.hook is not None, "a World answers an event of a hook with the hook"
        return result.hook

    async def dispose(self, hook_id: str, *, run_id: str | None = None, resolve_data: Resolve = "all") -> Hook:
        """``hook_disposed``: its token is free again.  The hook as it was.

        Raises HookNotFoundError; WorldError (400) without ``run_id`` when several runs have a hook of this id.
        """
        hook = await self.get(hook_id, run_id=run_id, resolve_data=resolve_data)
        await self._events.create(hook.run_id, e.HookDisposed(correlation_id=hook_id), resolve_data="none")
        return hook


def _given(id: str | None, kind: str, run_id: str, key: str) -> str:
    """The id that was given, whatever it is; without one it is made of the key.  Raises WorldError (400)."""
    if id is not None:
        return id
    try:
        return correlation_id(kind, run_id, key)
    except UnicodeEncodeError as error:
        raise WorldError(f"{key[:80]!r} is no Unicode text; decode it before you pass it on") from error


def _update(what: str, known: Mapping[str, _Update], data: Mapping[str, Any], about: Mapping[str, object]) -> Any:
    """The event that an update stands for.  Raises WorldError (400)."""
    values = {**data}
    status = values.pop("status", None)
    if not isinstance(status, str) or status not in known:
        words = ", ".join(map(repr, known))
        raise WorldError(f"{status!r} is no status that a {what} can be given; use one of {words}")
    update = known[status]
    if other := sorted(values.keys() - update.fields.keys()):
        guess = did_you_mean(other[0], update.fields)
        raise WorldError(f"{other[0]!r} is nothing that a {what} is given with status {status!r}{guess}")
    return _event(update.event, {**about, **{update.fields[name]: value for name, value in values.items()}})


def _event(cls: type[Any], values: Mapping[str, object]) -> Any:
    """An event of these values.  Raises WorldError (400) naming the first that does not fit."""
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        kind = cls.model_fields["event_type"].default
        raise WorldError(f"{where!r} of {kind!r} does not fit: {first['msg']}") from error
