"""What must hold after every check: logs are dense and in order of time, and every view is the fold of its log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.entities import Step
from wrkflw.world.fold import Image, fold
from wrkflw.world.storage import Page, PageRequest, Resolve

from .ensure import ensure, ensure_equal, present

T = TypeVar("T")

_OF_RUN = (
    "workflow_name", "status", "last_slot", "deployment_id", "definition_hash", "parent_run_id", "replayed_from",
    "attributes", "error_code", "cancel_reason", "created_at", "started_at", "completed_at", "paused_at",
)  # fmt: skip
_OF_STEP = ("key", "step_name", "status", "kind", "child_run_id", "attempt", "retry_after")
_OF_HOOK = ("token", "kind", "step_id", "payloads", "is_system")


async def audit(world: World) -> None:
    """Raises Breach naming the run and what is wrong with it."""
    async for run in every(lambda page: world.storage.runs.list(page=page), limit=100):
        resolve: Resolve = "all" if run.expired_at is None else "none"
        log = await audited_log(world, run.run_id, resolve)
        image = fold(run.run_id, log)
        await _audit_run(world, image, log, resolve)
        await _audit_steps(world, image, log, resolve)
        await _audit_hooks(world, image, run.completed_at)


async def every(read: Callable[[PageRequest], Awaitable[Page[T]]], *, limit: int) -> AsyncIterator[T]:
    """All of a listing, page by page."""
    cursor: str | None = None
    while True:
        page = await read(PageRequest(limit, cursor))
        for item in page.data:
            yield item
        if not page.has_more:
            return
        ensure(page.cursor not in (None, cursor), "a page that has more moves the cursor on")
        cursor = page.cursor


async def audited_log(world: World, run_id: str, resolve: Resolve) -> list[e.StoredEvent]:
    """The log of a run, dense from 1, and the same whether it is read whole or in pages."""
    events = world.storage.events
    log = (await events.list(run_id, resolve_data=resolve)).data
    ensure_equal([event.slot for event in log], list(range(1, len(log) + 1)), f"slots of {run_id}")
    ensure_equal([event.event_id for event in log], [e.event_id(event.slot) for event in log], f"ids in {run_id}")
    for before, after in pairwise(log):
        ensure(before.created_at <= after.created_at, f"{run_id}: event {after.slot} is older than the one before it")
    pages = every(lambda page: events.list(run_id, page=page, resolve_data=resolve), limit=3)
    ensure([event async for event in pages] == log, f"the pages of the log of {run_id} add up to the log")
    return log


async def _audit_run(world: World, image: Image, log: list[e.StoredEvent], resolve: Resolve) -> None:
    folded = present(image.run, f"a run {image.run_id} with an empty log")
    run = await world.storage.runs.get(image.run_id, resolve_data=resolve)
    _ensure_same(folded, run, _OF_RUN, f"run {run.run_id}")
    end = log[-1].event if folded.ended_slot is None else log[folded.ended_slot - 1].event
    created = log[0].event
    ensure_equal(run.input, created.input if isinstance(created, e.RunCreated) else None, f"input of {run.run_id}")
    ensure_equal(run.output, end.output if isinstance(end, e.RunCompleted) else None, f"output of {run.run_id}")
    ensure_equal(run.error, end.error if isinstance(end, e.RunFailed) else None, f"error of {run.run_id}")
    ensure(run.detail is None or not folded.ended, f"{run.run_id} has ended and stands at {run.detail!r}")


async def _audit_steps(world: World, image: Image, log: list[e.StoredEvent], resolve: Resolve) -> None:
    run_id = image.run_id
    listed = [step async for step in every(lambda page: world.storage.steps.list(run_id, page=page), limit=100)]
    wanted = sorted(image.steps.values(), key=lambda step: -step.created_slot)
    ensure_equal([step.step_id for step in listed], [step.step_id for step in wanted], f"steps of {run_id}")
    for folded, summary in zip(wanted, listed, strict=True):
        what = f"step {folded.step_id} of {run_id}"
        step = await world.storage.steps.get(run_id, folded.step_id, resolve_data=resolve)
        _ensure_same(folded, summary, _OF_STEP, f"listed {what}")
        _ensure_same(folded, step, _OF_STEP, what)
        _ensure_points_into_log(folded, step, log, what)


def _ensure_points_into_log(folded: Step, step: Step, log: list[e.StoredEvent], what: str) -> None:
    created, ended = log[folded.created_slot - 1], None if folded.ended_slot is None else log[folded.ended_slot - 1]
    started = None if folded.started_slot is None else log[folded.started_slot - 1]
    error = None if folded.error_slot is None else log[folded.error_slot - 1].event
    ensure_equal(step.created_at, created.created_at, f"created_at of {what}")
    ensure_equal(step.started_at, None if started is None else started.created_at, f"started_at of {what}")
    ensure_equal(step.completed_at, None if ended is None else ended.created_at, f"completed_at of {what}")
    ensure_equal(step.input, getattr(created.event, "input", None), f"input of {what}")
    ensure_equal(step.output, getattr(ended and ended.event, "result", None), f"output of {what}")
    ensure_equal(step.error, getattr(error, "error", None), f"error of {what}")


async def _audit_hooks(world: World, image: Image, ended_at: datetime | None) -> None:
    """Hooks that are live in the log, and besides only those that outlast their run, are listed and found."""
    hooks, run_id = world.storage.hooks, image.run_id
    listed = [hook async for hook in every(lambda page: hooks.list(run_id, page=page), limit=100)]
    live = [hook for hook in image.hooks.values() if hook.released_slot is None]
    outlasting = {hook.hook_id for hook in image.hooks.values() if ended_at is not None and hook.outlasts(ended_at)}
    names = [hook.hook_id for hook in listed if hook.hook_id not in outlasting]
    ensure_equal(sorted(names), sorted(hook.hook_id for hook in live), f"live hooks of {run_id}")
    for folded in live:
        what = f"hook {folded.hook_id} of {run_id}"
        _ensure_same(folded, await hooks.get_by_token(folded.token), ("run_id", "hook_id"), f"{what}, by its token")
        _ensure_same(folded, await hooks.get(folded.hook_id, run_id=run_id), _OF_HOOK, what)


def _ensure_same(folded: object, view: object, names: tuple[str, ...], what: str) -> None:
    for name in names:
        ensure_equal(getattr(view, name), getattr(folded, name), f"{name} of {what}, against the fold of its log")
