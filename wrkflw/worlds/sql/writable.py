"""What a caller may write to the log: which events, alone or as a batch, and with what beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from wrkflw.suggestions import did_you_mean
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.storage import Claim, Fence, RunFence

from .arguments import utf8

TAKES_OVER = frozenset({"hook_received", "signal_received", "wait_completed"})
"""What may begin a batch that claims a run which exists."""
FROM_OUTSIDE = TAKES_OVER | {"run_resumed"}
"""What may claim the run by itself."""
# What a batch may hold: any, one of the owner's, and one with a claim behind ``run_created`` and ``run_started``; of a
# run that exists, one with a claim holds what the owner's may, behind what comes from outside.
_BATCHABLE = frozenset({
    "run_completed", "run_failed", "step_created", "step_started", "step_completed", "step_failed", "step_retrying",
    "wait_created", "wait_completed",
})  # fmt: skip
_BY_THE_OWNER = _BATCHABLE | {"hook_created", "hook_disposed"}
_AT_BIRTH = _BY_THE_OWNER | {"signal_received"}
_CREATABLE = frozenset(get_args(e.EventType)) - e.RESERVED
_LONGEST_RESUME_ID = 1024
_LONGEST_DIGEST = 256
"""Both in bytes."""


def checked(event: e.NewEvent, resume_id: str | None, resume_digest: str | None) -> e.NewEvent:
    """The event as it may be written by a caller.  Raises WorldError (400)."""
    event_type = getattr(event, "event_type", None)
    if event_type in e.RESERVED:
        raise WorldError(f"{event_type!r} is written by the World alone")
    if event_type not in _CREATABLE:
        what = repr(type(event).__name__) if event_type is None else repr(event_type)
        raise WorldError(f"{what} is no type of event{did_you_mean(str(event_type), _CREATABLE)}")
    if resume_id is not None and not 1 <= len(utf8("a resume id", resume_id)) <= _LONGEST_RESUME_ID:
        raise WorldError(f"a resume id has 1 to {_LONGEST_RESUME_ID} bytes, this has {len(resume_id.encode())}")
    if resume_digest is None:
        return event
    if resume_id is None:
        raise WorldError("resume_digest is about a resume id; give both")
    if not isinstance(event, e.HookReceived | e.SignalReceived):
        raise WorldError(f"{event_type!r} takes no resume id; only what comes from outside does")
    if not 1 <= len(utf8("a resume digest", resume_digest)) <= _LONGEST_DIGEST:
        raise WorldError(f"a resume digest has 1 to {_LONGEST_DIGEST} bytes, this has {len(resume_digest.encode())}")
    return event.model_copy(update={"resume_digest": resume_digest})


def check_batch(events: Sequence[e.NewEvent], *, fence: Fence | None, claim: Claim | None) -> None:
    """Raises WorldError (400) for an event that cannot be part of a batch with this fence or claim."""
    rest, allowed = events, _BY_THE_OWNER if isinstance(fence, RunFence) else _BATCHABLE
    if claim is not None:
        if fence is not None:
            raise WorldError("a batch has a fence or a claim; give one of them")
        first = events[0].event_type if events else None
        if first != "run_created" and first not in TAKES_OVER:
            raise WorldError(
                "a batch with a claim begins with 'run_created', or with what comes from outside; "
                "claim a run that exists with runs.claim()"
            )
        rest, allowed = events[1:], _BY_THE_OWNER
        if first == "run_created":
            rest = events[2:] if len(events) > 1 and isinstance(events[1], e.RunStarted) else rest
            allowed = _AT_BIRTH
    for event in rest:
        if event.event_type not in allowed:
            raise WorldError(f"{event.event_type!r} cannot be part of a batch; append it with create()")
