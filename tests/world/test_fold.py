"""Whatever happens to runs, their entities are the fold of their logs, and the guards are asked about what is true."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.fold import apply, fold
from wrkflw.world.storage import Fence, RunFence, StepFence
from wrkflw.world.transitions import OWNER_ONLY, judge
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import assert_the_views_are_the_fold, changes_of, judged, log_of, new_run_id, outcome, word_of

STEPS = st.sampled_from(["step_a", "step_b", "step_c"])
HOOKS = st.sampled_from(["hook_a", "hook_b"])
WAITS = st.sampled_from(["wait_a", "wait_b", "wait_c"])
TOKENS = st.sampled_from(["token_a", "token_b"])
TYPES = st.sampled_from(["paid", "shipped"])
PAYLOADS = st.one_of(st.none(), st.binary(max_size=8))
MOMENTS = st.integers(-60, 3600).map(lambda seconds: START + timedelta(seconds=seconds))
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
"""Of attributes, which hold no NUL."""
CHANGES = st.lists(
    st.builds(e.AttributeChange, key=st.sampled_from("abc"), value=st.one_of(st.none(), VALUES)),
    unique_by=lambda change: change.key,
    max_size=3,
)

STEP_EVENTS: st.SearchStrategy[e.NewEvent] = st.one_of(
    st.builds(
        e.StepCreated,
        correlation_id=STEPS,
        step_name=st.just("charge"),
        key=st.text("xyz", min_size=1, max_size=3),
        input=PAYLOADS,
    ),
    st.builds(e.StepStarted, correlation_id=STEPS),
    st.builds(e.StepStarted, correlation_id=STEPS, step_name=st.just("charge"), input=PAYLOADS),
    st.builds(e.StepCompleted, correlation_id=STEPS, result=PAYLOADS),
    st.builds(e.StepFailed, correlation_id=STEPS, error=PAYLOADS),
    st.builds(e.StepRetrying, correlation_id=STEPS, error=PAYLOADS, retry_after=st.one_of(st.none(), MOMENTS)),
    st.builds(e.StepRetrying, correlation_id=STEPS, reason=st.just("suspended"), hook_id=HOOKS),
)
BATCHABLE: st.SearchStrategy[e.NewEvent] = st.one_of(
    STEP_EVENTS,
    st.builds(e.WaitCreated, correlation_id=WAITS, resume_at=MOMENTS),
    st.builds(e.WaitCreated, correlation_id=WAITS, kind=st.just("signal"), signal_type=TYPES),
    st.builds(
        e.WaitCompleted, correlation_id=WAITS, cause=st.sampled_from(["elapsed", "timeout", "woken", "cancelled"])
    ),
)
BY_THE_OWNER: st.SearchStrategy[e.NewEvent] = st.one_of(
    BATCHABLE,
    st.builds(e.HookCreated, correlation_id=HOOKS, token=TOKENS, metadata=PAYLOADS),
    st.builds(e.HookCreated, correlation_id=HOOKS, token=TOKENS, kind=st.just("suspend"), step_id=STEPS),
    st.builds(e.HookDisposed, correlation_id=HOOKS),
)
OTHERS: st.SearchStrategy[e.NewEvent] = st.one_of(
    BY_THE_OWNER,
    st.builds(e.HookReceived, correlation_id=HOOKS, payload_data=PAYLOADS),
    st.builds(e.HookReceived, correlation_id=HOOKS, payload_data=PAYLOADS),
    st.builds(e.SignalReceived, signal_type=TYPES, payload_data=PAYLOADS),
    st.builds(e.AttrSet, changes=CHANGES, correlation_id=st.sampled_from([None, "attr_a", "attr_b"])),
    st.just(e.RunStarted()),
    st.just(e.RunPaused()),
    st.just(e.RunResumed()),
)
ENDS: st.SearchStrategy[e.NewEvent] = st.one_of(
    st.builds(e.RunCompleted, output=PAYLOADS), st.builds(e.RunFailed, error=PAYLOADS), st.just(e.RunCancelled())
)


@dataclass(frozen=True)
class Write:
    """One event, from outside, from the owner, from one that was the owner, or from one who executes a step."""

    event: e.NewEvent
    by: str


@dataclass(frozen=True)
class Batch:
    """By the owner if there is one; else by anybody, and without events about hooks."""

    events: list[e.NewEvent]


@dataclass(frozen=True)
class Turn:
    seconds: int


@dataclass(frozen=True)
class Own:
    """Claim the run if nobody owns it, else let it go."""


BY = st.sampled_from(["outside", "outside", "owner", "owner", "former owner", "executor"])
ACTS = st.one_of(
    st.builds(Write, STEP_EVENTS, BY),
    st.builds(Write, BATCHABLE, BY),
    st.builds(Write, OTHERS, BY),
    st.builds(Write, OTHERS, st.just("outside")),
    st.builds(Batch, st.lists(BY_THE_OWNER, min_size=1, max_size=8)),
    st.builds(Turn, st.integers(-5, 900)),
    st.just(Own()),
)
STORIES = st.tuples(st.lists(ACTS, min_size=5, max_size=40), st.one_of(st.none(), ENDS), st.lists(ACTS, max_size=5))


@dataclass
class Teller:
    """Tells a story to a World and checks every answer against the log."""

    world: SqliteWorld
    clock: ManualClock
    run_id: str
    other: str
    epoch: int = 0
    owned: bool = False

    async def tell(self, act: Write | Batch | Turn | Own) -> None:
        match act:
            case Write(event, by):
                await self.write(event, by)
            case Batch(events):
                await self.batch(events)
            case Turn(seconds):
                self.clock.turn(timedelta(seconds=seconds))
            case Own() if self.owned:
                last = (await self.world.storage.runs.get(self.run_id)).last_slot
                await self.world.storage.runs.release(self.run_id, RunFence(self.epoch), seen_slot=last, wake_at=None)
                self.owned = False
            case Own():
                await self.claim()

    async def claim(self) -> None:
        try:
            run = await self.world.storage.runs.claim(self.run_id, owner=self.world.owner)
        except WorldError:
            return
        assert run.epoch == self.epoch + 1
        self.epoch, self.owned = run.epoch, True

    async def write(self, event: e.NewEvent, by: str) -> None:
        expected = await self.expected(event, by)
        before, written = await log_of(self.world, self.run_id), changes_of(self.world)

        told = await outcome(self.world.storage.events.create(self.run_id, event, fence=await self.fence(event, by)))

        assert told == expected, (event, by)
        after = await log_of(self.world, self.run_id)
        assert after[: len(before)] == before
        if told == "ok" and len(after) == len(before):  # the conflict that this hook met before
            assert isinstance(event, e.HookCreated)
            assert e.HookConflict in [type(stored.event) for stored in before]
        elif told == "ok":
            assert after[-1].event_type in (event.event_type, "hook_conflict")
            self.owned = self.owned and after[-1].event_type not in e.RUN_ENDS
        else:
            assert after == before
            assert changes_of(self.world) == written

    async def batch(self, events: list[e.NewEvent]) -> None:
        """Each event is judged by what those before it have made of the run."""
        fence = RunFence(self.epoch) if self.owned else None
        if fence is None:
            events = [event for event in events if not isinstance(event, e.OfHook)]
        log = await log_of(self.world, self.run_id)
        now = max(self.clock.now(), log[-1].created_at)
        image = fold(self.run_id, log)
        expected: list[str] = []
        written: list[e.NewEvent] = []
        conflicts = {stored.correlation_id for stored in log if isinstance(stored.event, e.HookConflict)}
        held = {"token_b"}  # by another run
        for event in events:
            expected.append(judged(partial(judge, image, event, now, fenced=self.owned)))
            if expected[-1] != "ok" or (isinstance(event, e.HookCreated) and event.correlation_id in conflicts):
                continue
            live = {hook.token for hook in image.hooks.values() if hook.released_slot is None}
            if isinstance(event, e.HookCreated) and event.token in live | held:
                holder = self.run_id if event.token in live else self.other
                event = e.HookConflict(  # noqa: PLW2901
                    correlation_id=event.correlation_id, token=event.token, conflicting_run_id=holder
                )
                conflicts.add(event.correlation_id)
            if isinstance(event, e.StepStarted) and event.step_name is not None:
                created = e.StepCreated(correlation_id=event.correlation_id, step_name=event.step_name, key="k")
                written.append(created)
                apply(image, created, len(log) + len(written), now)
            written.append(event)
            apply(image, event, len(log) + len(written), now)

        result = await self.world.storage.events.create_batch(self.run_id, events, fence=fence)

        assert [word_of(item.refusal) if item.refusal is not None else "ok" for item in result.items] == expected
        after = await log_of(self.world, self.run_id)
        assert after[: len(log)] == log
        assert (result.last_slot, result.at) == (len(after), now)
        assert [stored.event_type for stored in after[len(log) :]] == [event.event_type for event in written]
        assert [type(item.slot) for item in result.items] == [int if told == "ok" else type(None) for told in expected]
        types = {stored.slot: stored.event_type for stored in after}
        for item in result.items:
            assert (item.conflicting_run_id is not None) == (types.get(item.slot or 0) == "hook_conflict")

    async def fence(self, event: e.NewEvent, by: str) -> Fence | None:
        match by:
            case "owner":
                return RunFence(self.epoch)
            case "former owner":
                return RunFence(self.epoch - 1)
            case "executor" if isinstance(event, e.OfStep):
                step = fold(self.run_id, await log_of(self.world, self.run_id)).steps.get(event.correlation_id)
                return StepFence(event.correlation_id, step.attempt if step is not None else 1)
            case _:
                return None

    async def expected(self, event: e.NewEvent, by: str) -> str:
        fence = await self.fence(event, by)
        if by == "former owner" or (fence is None and self.owned and event.event_type in OWNER_ONLY):
            return "fenced"
        log = await log_of(self.world, self.run_id)
        now = max(self.clock.now(), log[-1].created_at)
        return judged(lambda: judge(fold(self.run_id, log), event, now, fenced=isinstance(fence, RunFence)))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(STORIES)
def test_the_entities_of_any_story_are_the_fold_of_its_log(
    story: tuple[list[Write | Batch | Turn | Own], e.NewEvent | None, list[Write | Batch | Turn | Own]],
) -> None:
    async def tell() -> None:
        clock = ManualClock()
        world = SqliteWorld(":memory:", clock=clock)
        await world.start()
        try:
            other, run_id = new_run_id(clock.now()), new_run_id(clock.now())
            for event in (
                e.RunCreated(workflow_name="other"),
                e.HookCreated(correlation_id="hook_a", token="token_b"),
            ):
                await world.storage.events.create(other, event)
            await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet", attributes={"a": "1"}))
            teller = Teller(world, clock, run_id, other)
            first, end, then = story
            for act in first:
                await teller.tell(act)
            if end is not None:
                await teller.write(end, "outside")
            for act in then:
                await teller.tell(act)
            await assert_the_views_are_the_fold(world, run_id)
            await assert_the_views_are_the_fold(world, other)
        finally:
            await world.close()

    asyncio.run(tell())
