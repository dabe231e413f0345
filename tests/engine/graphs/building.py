"""Descriptions of graphs made into workflows, by the public builder."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel

from wrkflw import (
    Event,
    MapContext,
    Merge,
    Retry,
    Step,
    StepContext,
    SuspendContext,
    Workflow,
    create_step,
    create_workflow,
)

from . import evaluator as described


class Num(BaseModel):
    n: int


class Even(BaseModel):
    n: int
    even: bool = True


class Odd(BaseModel):
    n: int
    odd: bool = True


class Ask(BaseModel):
    number: int
    n: int


class Tally(BaseModel):
    a: int = 0
    b: int = 0
    last: Annotated[int, Merge.LAST] = 0
    total: Annotated[int, Merge.SUM] = 0


class Trouble(Exception):
    """A body failed, as it was described."""


@dataclass
class Built:
    """A workflow, and what its bodies did in all processes together."""

    description: described.Flow
    begun: Counter[str] = field(default_factory=Counter)
    events: dict[str, Event[Num]] = field(default_factory=dict)
    payloads: dict[str, Num] = field(default_factory=dict)
    """Of the events that are sent."""
    steps: dict[str, Any] = field(default_factory=dict)
    """By id: for answering, any step of that id will do."""
    workflow: Workflow[Num, Num, Tally] = field(init=False)

    def __post_init__(self) -> None:
        self.workflow = self.flow(self.description, Num)

    def flow(self, flow: described.Flow, takes: type[BaseModel]) -> Any:
        chain: Any = create_workflow(id=flow.id, input_schema=takes, output_schema=Num, state_schema=Tally)
        if takes is not Num:
            chain = chain.map(_num)
        known: dict[str, Any] = {}
        for node in flow.nodes:
            chain = self.node(chain, node, known)
        return _guarded(chain.commit(), flow.guard)

    def node(self, chain: Any, node: described.Node, known: dict[str, Any]) -> Any:
        match node:
            case described.Then(step):
                return chain.then(self.member(step, known)).map(_tidy)
            case described.Map():
                return chain.map(_shift(node))
            case described.Recall(step_id):
                return chain.map_ctx(_recall(known.get(step_id)))
            case described.Parallel(members, gives, concurrency):
                steps = [self.member(member, known) for member in members]
                if gives == "list":
                    return chain.parallel_all(steps, concurrency=concurrency).map(_fold)
                return chain.parallel(*steps).join(_join)
            case described.Branch(arms, otherwise):
                branch = chain.branch()
                for condition, step in arms:
                    branch = branch.when(_asked(condition), self.member(step, known))
                if otherwise is None:
                    return branch.otherwise_pass().map(_tidy)
                return branch.otherwise(self.member(otherwise, known)).map(_tidy)
            case described.Match(sorter, even, odd):
                match = chain.then(self.member(sorter, known, gives=Even | Odd)).match()
                cases = match.case(self.member(even, known, takes=Even)).case(self.member(odd, known, takes=Odd))
                return cases.exhaustive().map(_tidy)
            case described.Foreach(step, size, concurrency):
                return chain.map(_split(size)).foreach(self.member(step, known), concurrency=concurrency).map(_fold)
            case described.Loop(step, until, condition):
                loop = chain.do_until if until else chain.do_while
                return loop(self.member(step, known), _asked(condition), max_iterations=described.MOST_ITERATIONS)
            case described.Sleep(seconds):
                return chain.sleep(f"{seconds}s")
            case described.Wait():
                return self.wait(chain, node)

    def wait(self, chain: Any, node: described.Wait) -> Any:
        event = self.events[node.event] = Event(node.event, Num)
        if node.sent:
            self.payloads[node.event] = Num(n=node.payload)
        options: dict[str, Any] = {} if node.seconds is None else {"timeout": f"{node.seconds}s"}
        if node.default is not None:
            options["default"] = Num(n=node.default)
        return chain.join_event(event, _joined, **options) if node.joins else chain.wait_for_event(event, **options)

    def member(self, member: described.Member, known: dict[str, Any], *, takes: Any = Num, gives: Any = Num) -> Any:
        made = self.flow(member, takes) if isinstance(member, described.Flow) else self.step(member, takes, gives)
        known[member.id] = self.steps[member.id] = made
        return made

    def step(self, step: described.Step, takes: Any, gives: Any) -> Step[Any, Any, Any]:
        trouble = step.trouble

        async def asking(data: Any, ctx: SuspendContext[int, Ask, Tally]) -> Any:
            self.begun[ctx.key] += 1
            answers: list[int] = []

            def give_trouble(*, late: bool) -> None:
                if trouble is None or trouble.late is not late or not trouble.when.holds(data.n):
                    return
                if trouble.kind == "bails":
                    ctx.bail(Num(n=described.bail_of(step, data.n)))
                if trouble.kind == "fails" or ctx.attempt < trouble.tries:
                    raise Trouble(ctx.key)

            seen = ctx.state.model_dump()
            for name, value in described.changed(step, seen).items():
                setattr(ctx.state, name, value)
            for _ in range(step.pace):
                await asyncio.sleep(0)
            give_trouble(late=False)
            answers = [ctx.suspend(Ask(number=number, n=data.n)) for number in range(step.asks)]
            give_trouble(late=True)
            n = described.output_of(step, data.n, seen, answers)
            if gives is Num:
                return Num(n=n)
            return Odd(n=n) if n % 2 else Even(n=n)

        async def plain(data: Any, ctx: StepContext[Tally]) -> Any:
            asks: Any = ctx
            return await asking(data, asks)

        retry = Retry(attempts=trouble.tries, delay=f"{trouble.delay}s", backoff="fixed", jitter=0) if trouble else None
        options: dict[str, Any] = {} if retry is None else {"retry": retry}
        execute: Any = asking if step.asks else plain
        made: Step[Any, Any, Any] = create_step(
            id=step.id, input_schema=takes, output_schema=gives, execute=execute, **options
        )
        guarded: Step[Any, Any, Any] = _guarded(made, step.guard)
        return guarded


def _guarded(step: Any, guard: described.Rest | None) -> Any:
    return step if guard is None else step.only_if(_asked(guard))


def _asked(condition: described.Rest) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        return condition.holds(value.n)

    return holds


def _num(value: Even | Odd) -> Num:
    return Num(n=value.n)


def _tidy(value: Num | None) -> Num:
    return Num(n=described.SKIPPED if value is None else value.n)


def _shift(node: described.Map) -> Callable[[Num], Num]:
    def shift(value: Num) -> Num:
        if node.breaks is not None and node.breaks.holds(value.n):
            raise ValueError("a map breaks")
        return Num(n=(value.n + node.add) % described.MODULUS)

    return shift


def _recall(step: Any) -> Callable[[Num, MapContext[Num, Tally]], Num]:
    def recall(value: Num, ctx: MapContext[Num, Tally]) -> Num:
        results = [] if step is None else ctx.get_step_results(step)
        earlier = described.folded([None if result is None else result.n for result in results])
        n = value.n + earlier + ctx.init_data.n + ctx.state.a + ctx.state.total
        return Num(n=n % described.MODULUS)

    return recall


def _split(size: int) -> Callable[[Num], list[Num]]:
    def split(value: Num) -> list[Num]:
        return [Num(n=n) for n in described.items_of(value.n, size)]

    return split


def _fold(values: Sequence[Num | None]) -> Num:
    return Num(n=described.folded([None if value is None else value.n for value in values]))


def _join(*values: Num | None) -> Num:
    return _fold(values)


def _joined(value: Num, payload: Num) -> Num:
    return Num(n=(value.n * 3 + payload.n) % described.MODULUS)
