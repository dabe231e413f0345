"""What can be told of a run, as JSON: values are as they were recorded, whether or not their types are known here."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from wrkflw.engine.journal import Journal
from wrkflw.engine.views import snapshot_of
from wrkflw.lookout import Seen
from wrkflw.results import Failed, Paused, RunStatus, Snapshot, StepError, StreamItem, Waiting, WaitingFor
from wrkflw.runtime import Runtime
from wrkflw.schemas import plain
from wrkflw.world.events import StoredEvent


class OpenSuspension(BaseModel):
    """A place where a run waits for an answer.  ``token`` is told to who may answer only."""

    model_config = ConfigDict(defer_build=True)
    key: str
    step_id: str
    payload: object
    since: datetime | None
    until: datetime | None = None
    """When the step goes on without an answer."""
    token: str | None = None


class RunStanding(BaseModel):
    """How a run stands, when the call that asked ends: what is not about this status is left out."""

    model_config = ConfigDict(defer_build=True)
    run_id: str
    workflow_id: str
    status: RunStatus | WaitingFor
    output: object = None
    error: StepError | None = None
    suspensions: list[OpenSuspension] = []
    reason: str | None = None
    until: datetime | None = None
    event: str | None = None
    by: Literal["user", "engine"] | None = None


class RecordedEvent(BaseModel):
    """An event of the log: what it holds beside these stands in fields of its own, payloads as JSON."""

    model_config = ConfigDict(defer_build=True, extra="allow")
    slot: int
    event_type: str
    created_at: datetime


def json_of(value: object) -> bytes:
    """JSON that any reader takes: what is not a number there is null."""
    return to_json(value, inf_nan_mode="null", bytes_mode="base64")


async def snapshot_json(rt: Runtime, run_id: str) -> bytes:
    """The whole of a run.  Raises RunNotFoundError."""
    run = await rt.runs.entity(run_id)
    snapshot: Snapshot = snapshot_of(await rt.runs.journal(run_id), run, None)
    return json_of(snapshot.model_dump(mode="python"))


def standing_of(seen: Seen, *, tokens: bool) -> dict[str, object]:
    """What a run came to.  ``tokens``: whether who hears it may answer its suspensions."""
    result, journal = seen.result, seen.journal
    said: dict[str, object] = {
        "run_id": result.run_id,
        "workflow_id": journal.workflow_name,
        "status": result.status,
    }
    match result.status:
        case "completed":
            said["output"] = None if journal.output is None else plain(journal.output)
        case "failed":
            assert isinstance(result, Failed)
            said["error"] = asdict(result.error)
        case "suspended":
            said["suspensions"] = suspensions_of(journal, tokens=tokens)
        case "waiting":
            assert isinstance(result, Waiting)
            said |= {"reason": result.reason, "until": result.until, "event": result.event}
        case "paused":
            assert isinstance(result, Paused)
            said |= {"by": result.by, "reason": result.reason}
        case "cancelled":
            said["reason"] = journal.cancel_reason
    return said


def suspensions_of(journal: Journal, *, tokens: bool) -> list[dict[str, object]]:
    """Where a run waits for answers.  ``tokens``: whether who hears it may give them."""
    open_ones = [(record, record.suspension) for record in journal.records.values()]
    return [
        {
            "key": record.key,
            "step_id": record.name,
            "payload": plain(asked.payload),
            "since": asked.since,
            "until": asked.until,
        }
        | ({"token": asked.token} if tokens else {})
        for record, asked in open_ones
        if asked is not None
    ]


def event_of_log(stored: StoredEvent) -> dict[str, object]:
    """An event, without the token of a hook: who reads the log may not answer for it."""
    told: dict[str, Any] = stored.event.model_dump(mode="python", exclude_none=True, exclude={"token"})
    told = {name: _shown(value) if isinstance(value, bytes) else value for name, value in told.items()}
    return {"slot": stored.slot, "event_type": stored.event_type, "created_at": stored.created_at, **told}


def item_of_stream(item: StreamItem) -> dict[str, object]:
    """What an item of a stream says: an event, a chunk as text or in base64, or that chunks start afresh."""
    if item.event is not None:
        return event_of_log(item.event) | ({"key": item.key} if item.key is not None else {})
    if item.chunk is None:
        return {"key": item.key}
    return {"key": item.key, "stream": item.stream, **_text_or_base64(item.chunk)}


def _shown(payload: bytes) -> object:
    try:
        return plain(payload)
    except ValueError:  # some other client of the World's, with bytes of its own
        return _text_or_base64(payload)


def _text_or_base64(data: bytes) -> dict[str, object]:
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode("ascii")}
