"""Random descriptions of graphs: every construct, nested up to four workflows deep."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st

from .evaluator import (
    FIELDS,
    Branch,
    Flow,
    Foreach,
    Loop,
    Map,
    Match,
    Member,
    Node,
    Parallel,
    Recall,
    Rest,
    Sleep,
    Step,
    Then,
    Trouble,
    Wait,
)

DEEPEST = 4

RESTS = st.integers(2, 3).flatmap(lambda by: st.integers(0, by - 1).map(lambda rest: Rest(by, rest)))
RARE = st.integers(0, 4).map(lambda rest: Rest(5, rest))
CHANGES = st.tuples(st.sampled_from(FIELDS), st.integers(1, 2))
SETS = st.lists(CHANGES, max_size=2, unique_by=lambda change: change[0]).map(tuple)
DELAYS = st.sampled_from([0, 2, 60])
TROUBLES = st.one_of(
    st.builds(Trouble, st.just("stumbles"), RESTS, st.booleans(), st.integers(2, 3), DELAYS),
    st.builds(Trouble, st.just("fails"), RARE, st.booleans(), st.integers(1, 2), DELAYS),
    st.builds(Trouble, st.just("bails"), RARE, st.booleans()),
)


T = TypeVar("T")


def seldom(strategy: st.SearchStrategy[T], odds: int = 4) -> st.SearchStrategy[T | None]:
    return st.integers(0, odds - 1).flatmap(lambda number: strategy if number == odds - 1 else st.none())


class Drawing:
    """One flow, and the ids in it.  The ids of nested ones begin anew: they may be the same."""

    def __init__(self, draw: st.DrawFn, depth: int, events: list[str]) -> None:
        self.draw = draw
        self.depth = depth
        self.events = events
        self.ids: list[str] = []

    def flow(self, id: str, *, guarded: bool = False) -> Flow:
        most = 4 if self.depth == 1 else 2
        nodes = tuple(self.node() for _ in range(self.draw(st.integers(1, most))))
        return Flow(id, nodes, self.draw(seldom(RESTS)) if guarded else None)

    def node(self) -> Node:
        kinds = ["then", "parallel", "branch", "match", "foreach", "loop", "wait", "sleep", "recall", "map"]
        draw = self.draw
        match draw(st.sampled_from(kinds)):
            case "then":
                return Then(self.member())
            case "parallel":
                gives = draw(st.sampled_from(["tuple", "list"]))
                members = tuple(self.member() for _ in range(draw(st.integers(2, 4))))
                concurrency = draw(st.sampled_from([None, 1, 2])) if gives == "list" else None
                return Parallel(members, "list" if gives == "list" else "tuple", concurrency)
            case "branch":
                arms = tuple((draw(RESTS), self.member()) for _ in range(draw(st.integers(1, 2))))
                return Branch(arms, self.member() if draw(st.booleans()) else None)
            case "match":
                return Match(self.step(plain=True), self.member(), self.member())
            case "foreach":
                size, concurrency = draw(st.integers(0, 4)), draw(st.integers(1, 3))
                return Foreach(self.member(), size, concurrency)
            case "loop":
                return Loop(self.member(guarded=False), draw(st.booleans()), draw(RESTS))
            case "wait":
                return self.wait()
            case "sleep":
                return Sleep(draw(st.sampled_from([0, 3, 3600])))
            case "recall":
                return Recall(draw(st.sampled_from(self.ids)) if self.ids else "nobody")
            case _:
                return Map(draw(st.integers(0, 5)), draw(seldom(RARE, 6)))

    def wait(self) -> Wait:
        draw, name = self.draw, f"event-{len(self.events)}"
        self.events.append(name)
        payload, joins = draw(st.integers(0, 30)), draw(st.booleans())
        if draw(st.integers(0, 3)):
            return Wait(name, payload, joins)
        default = draw(st.one_of(st.integers(0, 9), st.none()))
        return Wait(name, payload, joins, draw(st.sampled_from([0, 3, 600])), sent=False, default=default)

    def member(self, *, guarded: bool = True) -> Member:
        if self.depth >= DEEPEST or self.draw(st.integers(0, 2)):
            return self.step(plain=not guarded)
        inner = Drawing(self.draw, self.depth + 1, self.events)
        return inner.flow(self.new_id("flow"), guarded=guarded)

    def step(self, *, plain: bool = False) -> Step:
        draw = self.draw
        return Step(
            self.new_id("step"),
            add=draw(st.integers(0, 9)),
            sets=draw(SETS),
            reads=draw(st.one_of(st.none(), st.sampled_from(FIELDS))),
            asks=draw(st.sampled_from([0, 0, 0, 1, 2])),
            trouble=draw(seldom(TROUBLES)),
            guard=None if plain else draw(seldom(RESTS)),
            pace=draw(st.integers(0, 3)),
        )

    def new_id(self, kind: str) -> str:
        self.ids.append(f"{kind}-{len(self.ids)}")
        return self.ids[-1]


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    return Drawing(draw, 1, []).flow("graph")
