"""Any small program, killed at any slot: the same end, told in the same order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.soak import Note
from wrkflw import Event, Retry, StepContext, StepFailedError, StepTools, WaitTimeoutError, step, workflow
from wrkflw.engine.journal import Journal

from .retelling import RUN, assert_replays, tell

answers = Event("answer", int)
EXAMPLES = int(os.environ.get("SOAK_TREES", "40"))


@dataclass(frozen=True)
class Do:
    name: str
    fails: int = 0
    """How many tries fail; of two."""


@dataclass(frozen=True)
class Nap:
    minutes: int


@dataclass(frozen=True)
class Doze:
    """A sleep of asyncio's."""

    minutes: int


@dataclass(frozen=True)
class Ask:
    """For what is not deterministic elsewhere."""


@dataclass(frozen=True)
class Wait:
    minutes: int


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Gather:
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Race:
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class InTurn:
    """As they complete."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Group:
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Limit:
    minutes: int
    part: Tree


@dataclass(frozen=True)
class Shield:
    """Given up after so long, while it goes on."""

    minutes: int
    part: Tree


@dataclass(frozen=True)
class Inner:
    """A workflow of its own."""

    part: Tree


@dataclass(frozen=True)
class Try:
    part: Tree


@dataclass(frozen=True)
class Loop:
    times: int
    part: Tree


Tree: TypeAlias = (
    Do | Nap | Doze | Ask | Wait | Sequence | Gather | Race | InTurn | Group | Limit | Shield | Inner | Try | Loop
)

MINUTES = st.integers(1, 4)
LEAVES: st.SearchStrategy[Tree] = st.one_of(
    st.builds(Do, st.sampled_from("abc"), st.sampled_from([0, 0, 0, 1, 2])),
    st.builds(Nap, MINUTES),
    st.builds(Doze, MINUTES),
    st.builds(Ask),
    st.builds(Wait, MINUTES),
)


def larger(trees: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    parts = st.lists(trees, min_size=1, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Sequence, parts),
        st.builds(Gather, parts),
        st.builds(Race, parts),
        st.builds(InTurn, parts),
        st.builds(Group, parts),
        st.builds(Limit, MINUTES, trees),
        st.builds(Shield, MINUTES, trees),
        st.builds(Inner, trees),
        st.builds(Try, trees),
        st.builds(Loop, st.integers(1, 3), trees),
    )


TREES = st.recursive(LEAVES, larger, max_leaves=6)
SENDS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=2)


def program_of(tree: Tree, id: str = "tree") -> Callable[[list[str]], Any]:
    def make(calls: list[str]) -> Any:
        def step_of(name: str) -> Any:
            @step(id=name)
            async def body(fails: int, ctx: StepContext) -> str:
                calls.append(ctx.key)
                if ctx.attempt <= fails:
                    raise OSError(ctx.key)
                return name

            return body

        @workflow(id=id)
        async def flow(step: StepTools, data: int) -> str:
            patient = step.options(retry=Retry(attempts=2, delay="90s", jitter=0))

            async def go(tree: Tree) -> str:
                match tree:
                    case Do(name, fails):
                        return str(await patient.run(step_of(name), fails))
                    case Nap(minutes):
                        await step.sleep("nap", f"{minutes}m")
                        return "z"
                    case Doze(minutes):
                        return await asyncio.sleep(minutes * 60, "zz")
                    case Ask():
                        new = step.patched("new")
                        return f"{step.uuid().hex[:4]}.{step.random().randint(0, 9)}.{new}"
                    case Wait(minutes):
                        answer = await step.wait_for_event(answers, timeout=f"{minutes}m", default=-1)
                        return str(answer)
                    case Sequence(parts):
                        return f"({' '.join([await go(part) for part in parts])})"
                    case Gather(parts):
                        return f"[{' '.join(await asyncio.gather(*map(go, parts)))}]"
                    case Race(parts):
                        tasks = [asyncio.create_task(go(part)) for part in parts]
                        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                        for task in pending:
                            task.cancel()
                        await asyncio.gather(*pending, return_exceptions=True)
                        return f"<{' '.join([task.result() for task in tasks if task in done])}>"
                    case InTurn(parts):
                        made = [asyncio.create_task(go(part)) for part in parts]
                        return f"/{' '.join([await part for part in asyncio.as_completed(made)])}/"
                    case Group(parts):
                        async with asyncio.TaskGroup() as group:
                            made = [group.create_task(go(part)) for part in parts]
                        return f"{{{' '.join(task.result() for task in made)}}}"
                    case Limit(minutes, part):
                        try:
                            async with asyncio.timeout(minutes * 60):
                                return await go(part)
                        except TimeoutError:
                            return "late"
                    case Shield(minutes, part):
                        going = asyncio.create_task(go(part))
                        try:
                            return await asyncio.wait_for(asyncio.shield(going), minutes * 60)
                        except TimeoutError:
                            return f"!{await going}"
                    case Inner(part):
                        return str(await step.run(program_of(part, "inner")(calls), data))
                    case Try(part):
                        try:
                            return await go(part)
                        except* (StepFailedError, WaitTimeoutError):
                            pass
                        return "failed"
                    case Loop(times, part):
                        return f"{times}x{''.join([await go(part) for _ in range(times)])}"

            return f"{await go(tree)} at {step.now():%H:%M:%S}"

        return flow

    return make


def is_decided_by_time(tree: Tree) -> bool:
    """Whether a delay on the way may change what it gives."""
    return any(name in repr(tree) for name in ("Race(", "InTurn(", "Limit(", "Wait(", "Shield(", "Group(", "Ask("))


async def told_in_pieces(tree: Tree, sends: list[tuple[int, int]], cuts: list[float]) -> None:
    """Each piece ends at one of the slots of what is left; then another process goes on."""
    calls: list[str] = []
    make = program_of(tree)
    events = [(f"{minutes}m", answers, payload) for minutes, payload in sorted(sends)]
    whole = await tell(make(calls), 1, *events, calls=calls)
    await assert_replays(make(calls), whole, calls)
    log = whole.log
    for cut in cuts:
        log = log[: 1 + int(cut * (len(log) - 1))]
        ended = {record.key for record in Journal.of(RUN, log).records.values() if record.ended is not None}
        left = await tell(make(calls), 1, *events, log=log, calls=calls)
        note(f"killed after slot {len(log)}: {left.outcome}")
        assert not ended & set(left.calls), "what had ended ran again"
        assert is_decided_by_time(tree) or left.outcome == whole.outcome
        await assert_replays(make(calls), left, calls)
        log = left.log


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES, sends=SENDS, cuts=st.lists(st.floats(0, 0.99), min_size=1, max_size=2))
def test_any_program_ends_the_same_however_often_it_is_killed(
    tree: Tree, sends: list[tuple[int, int]], cuts: list[float], record_property: Note
) -> None:
    record_property("programs", 1)
    asyncio.run(told_in_pieces(tree, sends, cuts))
