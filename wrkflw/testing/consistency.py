"""The invariants of wrkflw, checked in any World by what it tells of itself.

Each has the number that it has in the list of guarantees.  What a World cannot know, such as the policy of a retry or
what a client was told, is for tests that do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias, TypeVar

from wrkflw.errors import StoreError
from wrkflw.world import World
from wrkflw.world.entities import Hook, Run, Step, Wait
from wrkflw.world.errors import HookNotFoundError, RunExpiredError, WorkflowRunNotFoundError, WorldError
from wrkflw.world.schedules import is_of_instant, waits_in_line
from wrkflw.world.storage import Page, PageRequest

from .folding import Fault, Folded, FoldedHook, FoldedRun, FoldedStep, FoldedWait, fold_log

T = TypeVar("T")

_PAGE = 1000
_CHUNKS = 500


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold: its number, the run it is broken for, and what was seen."""

    invariant: str
    run_id: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.run_id}: {self.detail}"


async def check_world(world: World) -> list[Violation]:
    """All that is wrong in the namespace of an open ``world``; an empty list when everything holds.

    It only reads, and is true of a moment in which nobody writes.  What it knows of: every open run is owned, or has
    something that wakes it (I1, I14), also after an answer (I2); logs are dense and in order (I3), views are the sum of
    their log (I4; not waits, which no World lists: ``wrkflw doctor --deep`` looks at them), no step ends twice (I5),
    tokens and ended runs (I12), epochs (I13), nothing begins after a cancellation (I16), streams are dense (I17),
    nothing happens before it is due (I18), payloads can be read (I20), idempotency keys (I21).
    """
    return await check_record(world, None)


async def check_record(world: World, waits_of: Callable[[str], Sequence[Wait]] | None) -> list[Violation]:
    """As :func:`check_world`, and of waits too, where somebody can tell which a run has by the side of its log."""
    tokens: dict[str, str] = {}
    keys: dict[tuple[str, str], str] = {}
    found: list[Violation] = []
    async for run in _all(lambda page: world.storage.runs.list(page=page)):
        try:
            faults = [fault async for fault in _check_run(world, run.run_id, waits_of)]
            found += [Violation(fault.invariant, run.run_id, fault.detail) for fault in faults]
            found += [Violation(*fault) async for fault in _check_uniqueness(world, run, tokens, keys)]
        except (RunExpiredError, WorkflowRunNotFoundError):
            continue  # what it held was removed, as it should be
        except StoreError as error:
            found.append(Violation("I20", run.run_id, f"it cannot be read: {error}"))
    return found


async def assert_world(world: World) -> None:
    """Raises AssertionError that lists the violations, if there are any."""
    if found := await check_world(world):
        raise AssertionError("the world is not consistent:\n" + "\n".join(f"  {violation}" for violation in found))


async def _all(read: Callable[[PageRequest], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    cursor: str | None = None
    while True:
        page = await read(PageRequest(_PAGE, cursor))
        for item in page.data:
            yield item
        if not page.has_more:
            return
        cursor = page.cursor


# --- one run -------------------------------------------------------------------------------------------


async def _check_run(
    world: World, run_id: str, waits_of: Callable[[str], Sequence[Wait]] | None
) -> AsyncIterator[Fault]:
    storage = world.storage
    folded = fold_log((await storage.events.list(run_id)).data)
    run = await storage.runs.get(run_id)
    steps = [step async for step in _all(lambda page: storage.steps.list(run_id, page=page, resolve_data="all"))]
    hooks = [hook async for hook in _all(lambda page: storage.hooks.list(run_id, page=page))]
    for fault in (*folded.faults, *_compare(folded, run, steps, hooks), *_check_standing(folded, run, hooks)):
        yield fault
    for fault in _compare_waits(folded, waits_of(run_id)) if waits_of is not None else ():
        yield fault
    async for fault in _check_streams(world, run_id):
        yield fault


_Folded: TypeAlias = FoldedRun | FoldedStep | FoldedHook | FoldedWait


def _compare(folded: Folded, run: Run, steps: list[Step], hooks: list[Hook]) -> Iterator[Fault]:
    if folded.run is None:
        return
    if run.last_slot != folded.run.last_slot:
        yield Fault("I3", f"the run says that its log ends at {run.last_slot}, and it ends at {folded.run.last_slot}")
    if run.seen_slot > folded.run.last_slot:
        said = f"the run has looked at its log up to {run.seen_slot}, and it ends at {folded.run.last_slot}"
        yield Fault("I2", f"{said}: what comes next is not looked at")
    if run.epoch < folded.epoch:
        yield Fault("I13", f"the run is at epoch {run.epoch}, and epoch {folded.epoch} wrote to it")
    yield from _differences(folded.run, run, "the run")
    for step in steps:
        of_log = folded.steps.get(step.step_id)
        if of_log is None:
            yield Fault("I4", f"there is a step {step.key!r} of which the log knows nothing")
            continue
        if of_log.output != step.output:
            yield Fault("I5", f"step {step.key!r} gives {step.output!r}, and {of_log.output!r} was recorded")
        yield from _differences(of_log, step, f"step {step.key!r}")
    for missing in folded.steps.keys() - {step.step_id for step in steps}:
        yield Fault("I4", f"step {folded.steps[missing].key!r} is in the log, and nowhere else")
    for hook in hooks:
        if (recorded := folded.hooks.get(hook.hook_id)) is None:
            yield Fault("I4", f"there is a hook {hook.hook_id!r} of which the log knows nothing")
        elif recorded.released_slot is None:
            yield from _differences(recorded, hook, f"hook {hook.hook_id!r}")
    if folded.run.ended_slot is None:
        kept = {hook.hook_id for hook in hooks}
        for name, recorded in folded.hooks.items():
            if recorded.released_slot is None and name not in kept:
                yield Fault("I4", f"hook {name!r} is open in the log, and nowhere else")


def _compare_waits(folded: Folded, waits: Sequence[Wait]) -> Iterator[Fault]:
    for wait in waits:
        if (recorded := folded.waits.get(wait.wait_id)) is None:
            yield Fault("I4", f"there is a wait {wait.key!r} of which the log knows nothing")
        else:
            yield from _differences(recorded, wait, f"wait {recorded.key!r}")
    for missing in folded.waits.keys() - {wait.wait_id for wait in waits}:
        yield Fault("I4", f"wait {folded.waits[missing].key!r} is in the log, and nowhere else")


def _differences(folded: _Folded, entity: Run | Step | Hook | Wait, what: str) -> Iterator[Fault]:
    for each in fields(folded):
        if each.name in ("last_slot", "output") and not isinstance(folded, FoldedHook):
            continue  # said already, or by its own number
        wanted, got = getattr(folded, each.name), getattr(entity, each.name)
        if wanted != got:
            yield Fault("I4", f"{what} has {each.name} = {got!r}, and its log comes to {wanted!r}")


def _check_standing(folded: Folded, run: Run, hooks: list[Hook]) -> Iterator[Fault]:
    """Whether the run goes on one day."""
    if run.ended:
        if run.owner is not None or run.wake_at is not None:
            yield Fault("I12", "it has ended, and is owned or due")
        for hook in hooks:
            if run.completed_at is not None and not hook.outlasts(run.completed_at):
                yield Fault("I12", f"it has ended, and holds the token of hook {hook.hook_id!r}")
        return
    if run.owner is not None or run.paused_at is not None:
        return
    if waits_in_line(run) and is_of_instant(run.idempotency_key):
        return
    if run.wake_at is None and folded.latest_from_outside > run.seen_slot:
        slot = folded.latest_from_outside
        yield Fault("I2", f"what came from outside at slot {slot} was not looked at, and nothing will wake it")
        return
    sleeps = [wait.resume_at for wait in folded.waits.values() if wait.kind == "sleep" and not wait.is_over]
    due = min((when for when in sleeps if when is not None), default=None)
    if due is not None and (run.wake_at is None or run.wake_at > due):
        yield Fault("I14", f"it sleeps until {due}, and nothing will wake it by then; it is due at {run.wake_at}")
    elif run.wake_at is None and not _waits_for_somebody(folded):
        yield Fault("I1", "it is open, and nothing will ever wake it")


def _waits_for_somebody(folded: Folded) -> bool:
    hooks = (hook.released_slot is None and not hook.payloads for hook in folded.hooks.values())
    waits = (wait.kind == "signal" and wait.matched_slot is None and not wait.is_over for wait in folded.waits.values())
    return any(hooks) or any(waits)


async def _check_streams(world: World, run_id: str) -> AsyncIterator[Fault]:
    streamer, numbers = world.streamer, list[int]()
    for name in await streamer.list(run_id):
        info, indexes = await streamer.info(run_id, name), list[int]()
        while True:
            page = await streamer.get_chunks(run_id, name, limit=_CHUNKS, start_index=len(indexes))
            indexes += [chunk.index for chunk in page.data]
            numbers += [chunk.number for chunk in page.data]
            if not page.data or not page.has_more:
                break
        if indexes != list(range(info.tail_index + 1)):
            yield Fault("I17", f"stream {name!r} has chunks {_few(indexes)}, and should have {info.tail_index + 1}")
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        yield Fault("I17", f"the chunks of its streams are numbered {_few(sorted(numbers))}")


def _few(numbers: list[int]) -> str:
    return str(numbers) if len(numbers) <= 20 else f"{str(numbers[:20])[:-1]}, …]"


# --- all runs ------------------------------------------------------------------------------------------


async def _check_uniqueness(
    world: World, run: Run, tokens: dict[str, str], keys: dict[tuple[str, str], str]
) -> AsyncIterator[tuple[str, str, str]]:
    """What only one run may hold.  ``tokens`` and ``keys`` say who holds what so far."""
    if run.idempotency_key is not None:
        holder = await world.storage.runs.find(run.workflow_name, run.idempotency_key)
        other = keys.setdefault((run.workflow_name, run.idempotency_key), run.run_id)
        if holder is None or holder.run_id != run.run_id or other != run.run_id:
            who = other if other != run.run_id else None if holder is None else holder.run_id
            yield "I21", run.run_id, f"it holds the idempotency key {run.idempotency_key!r}, which gives run {who}"
    async for hook in _all(lambda page: world.storage.hooks.list(run.run_id, page=page)):
        if hook.released_slot is not None:
            continue
        other = tokens.setdefault(hook.token, run.run_id)
        try:
            found = await world.storage.hooks.get_by_token(hook.token)
        except (HookNotFoundError, WorldError):
            found = None
        if other != run.run_id or found is None or found.hook_id != hook.hook_id:
            yield "I12", run.run_id, f"hook {hook.hook_id!r} is live, and its token is that of run {other}"
