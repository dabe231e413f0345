"""Plays the world around a run: answers, sends, turns the clock, kills the process; and looks at what came of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from tests.clocks import START, ManualClock
from tests.world.looks import assert_the_views_are_the_fold, log_of
from wrkflw import AlreadyResumedError, Completed, Failed, NotSuspendedError, Run, RunFinishedError, Runtime, StoreError
from wrkflw.world import events as e
from wrkflw.world.entities import Wait
from wrkflw.world.errors import WorkflowRunNotFoundError
from wrkflw.world.fold import Image, fold
from wrkflw.worlds.sqlite import SqliteWorld

from . import evaluator as described
from .building import Built, Num, Tally
from .evaluator import Came, End

RUN_ID = "the-run"
MOST_TURNS = 300
MOST_PAUSES = 20_000
"""What takes longer hangs."""

AnyRun: TypeAlias = Run[Num, Num, Tally]


class Killed(BaseException):
    """The process is gone: whatever it tries next fails like this."""


@dataclass
class Story:
    """One run, over all the processes that have it."""

    built: Built
    input: int
    path: Path | str
    random: random.Random | None
    """Of those who play with it; None for those who wait until nothing moves, and then do what comes first."""
    now: datetime = START
    acknowledged: Counter[str] = field(default_factory=Counter)
    """The events that were taken, and the key of each answer."""
    turns: int = 0


class Process:
    """One life of a process: when it is about to execute its ``last``-th statement it dies, or begins to close."""

    def __init__(self, story: Story, last: int | None = None, *, tidy: bool = False) -> None:
        self.story = story
        self.clock = ManualClock(story.now)
        self.dead = asyncio.Event()
        self.executed = 0
        self.closing = False
        self._last = last
        self._tidy = tidy
        self.world = SqliteWorld(
            story.path, clock=self.clock, durability="normal", on_statement=self._on_statement if last else None
        )
        self._acts: set[asyncio.Task[None]] = set()

    def _on_statement(self, _sql: str) -> None:
        if self.dead.is_set():
            raise Killed
        self.executed += 1
        if self.executed == self._last and self._tidy:
            self.closing = True
        elif self.executed == self._last:
            self.dead.set()
            raise Killed

    async def live(self) -> bool:
        """Until the run has ended; then judge.  False when the process was closed before."""
        story = self.story
        async with Runtime(world=self.world, workflows=[story.built.workflow], clock=self.clock) as runtime:
            await self.start()
            while (image := await self.image()).run is None or image.run.ended_slot is None:
                if self.closing:
                    await self.close()
                    return False
                story.turns += 1
                assert story.turns < MOST_TURNS, f"it does not end: {image.run}"
                await self.pause(runtime)
                await self.act()
                self.look_after_acts()
            await self.all_acts_ended()
            await self.quiet(runtime)
            await judge(story, await story.built.workflow.get_run(RUN_ID), self.world)
            return True

    async def live_until_killed(self) -> bool:
        """True when it was killed or closed, False when the run came to its end first."""
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # dying is not tidy
        life = asyncio.ensure_future(self.live())
        death = asyncio.ensure_future(self.dead.wait())
        await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
        killed = self.dead.is_set()
        if killed:
            self.world.abandon()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.story.now = self.clock.now()
        return killed or not life.result()

    # --- what the outside does ---------------------------------------------------------------------

    async def start(self) -> None:
        try:
            await self.world.storage.runs.get(RUN_ID)
        except WorkflowRunNotFoundError:
            assert not self.story.acknowledged, "the run was acknowledged, and is gone"
            run = await self.story.built.workflow.create_run(run_id=RUN_ID)
            await run.enqueue(Num(n=self.story.input))
            self.story.acknowledged["start"] += 1

    async def image(self) -> Image:
        return fold(RUN_ID, await log_of(self.world, RUN_ID))

    async def pause(self, runtime: Runtime) -> None:
        """Let the run move: as far as it goes, or some way."""
        chance = self.story.random
        turns = chance.choice([0, 1, 2, 5, 20, None, None]) if chance is not None else None
        if turns is None:
            await self.quiet(runtime)
        for _ in range(turns or 0):
            await asyncio.sleep(0)

    async def quiet(self, runtime: Runtime) -> None:
        """Wait until nothing moves before somebody does something."""
        for turn in range(MOST_PAUSES):
            if self._acts_pending == 0 and await self._is_quiet(runtime):
                return await self.assert_nobody_was_forgotten()
            await asyncio.sleep(0 if turn < MOST_PAUSES - 1_000 else 0.002)
        raise AssertionError(f"it does not come to rest: {(await self.image()).run}")

    async def assert_nobody_was_forgotten(self) -> None:
        """A body that has its answer goes on at once, whatever else waits; unless it was closed with its block."""
        image = await self.image()
        if image.run is None or image.run.ended_slot is not None:
            return
        for step in image.steps.values():
            if step.hook_id is not None and step.ended_slot is None:
                assert not image.hooks[step.hook_id].payloads, f"{step.key} was answered, and waits"

    @property
    def _acts_pending(self) -> int:
        return sum(not act.done() for act in self._acts)

    async def _is_quiet(self, runtime: Runtime) -> bool:
        drive = runtime.driver.drive_of(RUN_ID)
        if drive is not None:
            return drive.holding.until is not None and drive.holding.until > self.clock.now()
        run = await self.world.storage.runs.get(RUN_ID, resolve_data="none")
        if run.ended_slot is not None:
            return True
        return run.owner is None and (run.wake_at is None or run.wake_at > self.clock.now())

    async def act(self) -> None:
        """Answer, send, or let time pass."""
        log, chance = await log_of(self.world, RUN_ID), self.story.random
        image = fold(RUN_ID, log)
        acts = [*self.answers(image, log), *self.sendings(image)]
        due = sorted(self.timers(image))
        turns = [due[0] - self.clock.now()] if due else []
        if chance is not None:
            turns += [timedelta(seconds=1)] if due else []
            early = [name for name in self.story.built.payloads if self.story.acknowledged[name] == 0]
            if early and not chance.randrange(4):
                acts.append(self.send(chance.choice(early)))
            chance.shuffle(acts)
        if turns and (not acts or (chance is not None and not chance.randrange(3))):
            _close(acts)
            self.clock.turn(max(timedelta(0), turns[-1] if chance is not None and chance.randrange(2) else turns[0]))
            self.story.now = self.clock.now()
            return
        _close(acts[1:])
        for act in acts[:1]:
            self.begin(act)

    def begin(self, act: Coroutine[Any, Any, None]) -> None:
        self._acts.add(asyncio.get_running_loop().create_task(act))

    def look_after_acts(self) -> None:
        """What one of them raised is raised here."""
        for act in [act for act in self._acts if act.done()]:
            self._acts.remove(act)
            act.result()

    async def all_acts_ended(self) -> None:
        if self._acts:
            await asyncio.wait_for(asyncio.gather(*self._acts), 20)

    async def close(self) -> None:
        """Whoever waits for the run stops waiting."""
        for act in self._acts:
            act.cancel()
        await asyncio.gather(*self._acts, return_exceptions=True)

    def answers(self, image: Image, log: list[e.StoredEvent]) -> list[Coroutine[Any, Any, None]]:
        """To every question that is open."""
        asked = [stored.event for stored in log if isinstance(stored.event, e.HookCreated)]
        hooks = [(image.hooks[event.correlation_id], json.loads(event.metadata or b"null")) for event in asked]
        return [
            self.answer(image.steps[hook.step_id or ""].key, question)
            for hook, question in hooks
            if hook.released_slot is None and not hook.payloads
        ]

    async def answer(self, key: str, asked: dict[str, int]) -> None:
        run = await self.story.built.workflow.get_run(RUN_ID)
        step = self.story.built.steps[id_of(key)]
        answer = described.answer_to(asked["number"], asked["n"])
        try:
            await run.resume(step, answer, at=key, wait="0s")
        except (AlreadyResumedError, NotSuspendedError):
            return  # it was answered already, or closed
        except StoreError:
            assert self.dead.is_set()
            return
        self.story.acknowledged[f"answer to {key}"] += 1

    def sendings(self, image: Image) -> list[Coroutine[Any, Any, None]]:
        wanted = {wait.signal_type for wait in open_waits(image)}
        return [self.send(name) for name in self.story.built.payloads if name in wanted]

    async def send(self, name: str) -> None:
        run = await self.story.built.workflow.get_run(RUN_ID)
        try:
            await run.send_event(self.story.built.events[name], self.story.built.payloads[name], wait="0s")
        except RunFinishedError:
            return
        except StoreError:
            assert self.dead.is_set()
            return
        self.story.acknowledged[name] += 1

    def timers(self, image: Image) -> list[datetime]:
        waits = [wait.resume_at for wait in open_waits(image)]
        retries = [step.retry_after for step in image.steps.values()]
        return [due for due in (*waits, *retries) if due is not None]


def open_waits(image: Image) -> list[Wait]:
    """Those that nobody has ended, and that have no event."""
    return [wait for wait in image.waits.values() if wait.status == "waiting" and wait.matched_slot is None]


def _close(acts: list[Coroutine[Any, Any, None]]) -> None:
    for act in acts:
        act.close()


def id_of(key: str) -> str:
    return key.rpartition("/")[2].partition("[")[0].partition("#")[0]


# --- what came of it -----------------------------------------------------------------------------------


def ends_of(log: list[e.StoredEvent]) -> dict[str, End]:
    """How each call ended, by its key.  Nothing ends twice."""
    keys: dict[str, str] = {}
    ends: dict[str, End] = {}
    retrying: set[str] = set()
    for stored in log:
        event = stored.event
        match event:
            case e.StepCreated():
                assert event.key not in keys.values(), f"{event.key} was created twice"
                keys[event.correlation_id] = event.key
            case e.StepStarted():
                retrying.discard(event.correlation_id)
            case e.StepRetrying():
                retrying.add(event.correlation_id)
            case e.StepCompleted() | e.StepFailed():
                key, meta = keys[event.correlation_id], event.meta or {}
                assert key not in ends, f"{key} ended twice"
                if isinstance(event, e.StepFailed):
                    error = json.loads(event.error or b"null")
                    failed = "gave up" if event.correlation_id in retrying else "failed"
                    how = "cancelled" if "cancelled" in meta else failed
                    ends[key] = End(stored.slot, how, (error["key"], error["type"]))  # type: ignore[arg-type]
                else:
                    ends[key] = End(stored.slot, "bailed" if "bail" in meta else "completed")
            case _:
                pass
    return ends


async def judge(story: Story, run: AnyRun, world: SqliteWorld) -> None:
    """Compare what happened with what the evaluator says."""
    log = await log_of(world, RUN_ID)
    verdict = described.evaluate(story.built.description, story.input, ends_of(log))
    result = await run.result()
    match result:
        case Completed(output):
            assert (output, verdict.error) == (Num(n=verdict.output or 0), None)
            assert verdict.output is not None
        case Failed(error):
            assert ((error.key, error.type), verdict.output) == (verdict.error, None), error
        case _:
            raise AssertionError(f"it ended as {result}")
    assert run.state == Tally(**verdict.state)
    snapshot = await run.snapshot()
    came = {key: _came(found.status, found.output, found.error) for key, found in snapshot.step_results.items()}
    certain = {key: came.get(key) for key in verdict.certain}
    assert certain == verdict.certain
    for key in came.keys() - verdict.certain.keys():
        assert came[key] in verdict.possible.get(key, ()), (key, came[key])
    await _judge_the_log(story, world, log)
    _judge_the_bodies(story, verdict, log)


def _came(status: str, output: object, error: Any) -> Came:
    if error is not None:
        return status, error.type
    return status, None if output is None else output.n  # type: ignore[attr-defined]


async def _judge_the_log(story: Story, world: SqliteWorld, log: list[e.StoredEvent]) -> None:
    await assert_the_views_are_the_fold(world, RUN_ID)
    image = fold(RUN_ID, log)
    run = await world.storage.runs.get(RUN_ID)
    assert (run.owner, run.wake_at) == (None, None)
    assert not [hook for hook in image.hooks.values() if hook.released_slot is None]
    assert not [wait for wait in image.waits.values() if wait.status == "waiting"]
    ends = {"run_completed", "run_failed"}
    assert [stored.event_type for stored in log if stored.event_type in ends] == [log[-1].event_type]
    signals = Counter(stored.event.signal_type for stored in log if isinstance(stored.event, e.SignalReceived))
    for name in story.built.payloads:
        assert signals[name] >= story.acknowledged[name], f"{name} was acknowledged, and is not in the log"
    answered = sum(hook.payloads for hook in image.hooks.values())
    acknowledged = sum(count for name, count in story.acknowledged.items() if name.startswith("answer to "))
    assert answered >= acknowledged
    assert all(hook.payloads <= 1 for hook in image.hooks.values())


def _judge_the_bodies(story: Story, verdict: described.Verdict, log: list[e.StoredEvent]) -> None:
    """Each began as often as its record says, and without a crash as often as the description does."""
    keys = {s.event.correlation_id: s.event.key for s in log if isinstance(s.event, e.StepCreated)}
    starts = Counter(keys[s.event.correlation_id] for s in log if isinstance(s.event, e.StepStarted))
    for key, count in story.built.begun.items():
        assert count <= starts[key], f"the body of {key} began {count} times, and {starts[key]} are recorded"
    if story.path == ":memory:":
        for key in verdict.begins:
            if key in verdict.certain:
                assert story.built.begun[key] == verdict.begins[key], key
            else:
                assert story.built.begun[key] <= verdict.begins[key], key


__all__ = ["Killed", "Process", "Story", "ends_of", "judge"]
