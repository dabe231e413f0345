"""Six graphs that together hold every construct."""

from __future__ import annotations

from .evaluator import (
    ALWAYS,
    Branch,
    Flow,
    Foreach,
    Loop,
    Map,
    Match,
    Parallel,
    Recall,
    Rest,
    Sleep,
    Step,
    Then,
    Trouble,
    Wait,
)

STUMBLES = Trouble("stumbles", tries=2)
STUMBLES_LATE = Trouble("stumbles", late=True, tries=2, delay=60)
NEVER, ODD = Rest(1, 1), Rest(2, 1)

PICKED = {
    "choices": Flow(
        "graph",
        (
            Then(Step("first", sets=(("a", 2), ("total", 1)))),
            Map(3),
            Branch(((NEVER, Step("not")), (ALWAYS, Step("taken", asks=1, reads="a"))), Step("otherwise")),
            Branch(((NEVER, Step("never")),), None),
            Match(Step("sort"), Step("even"), Flow("odd", (Then(Step("inside")),))),
            Then(Step("skipped", guard=NEVER)),
            Recall("taken"),
            Wait("early", 9, joins=True),
            Then(Step("last", trouble=STUMBLES, reads="total")),
        ),
    ),
    "side by side": Flow(
        "graph",
        (
            Parallel(
                (
                    Step("asks", asks=2, sets=(("total", 2), ("last", 1))),
                    Flow("inner", (Wait("inside", 4), Then(Step("then", sets=(("a", 1),))))),
                    Step("stumbles", trouble=STUMBLES_LATE, sets=(("total", 2), ("last", 2))),
                    Step("skipped", guard=NEVER),
                )
            ),
            Parallel((Step("one", asks=1), Step("two"), Step("three", asks=1)), "list", 2),
            Recall("asks"),
        ),
    ),
    "items": Flow(
        "graph",
        (
            Foreach(Step("none"), 0),
            Foreach(Step("in-turn", sets=(("total", 1),), reads="total", guard=ODD), 3),
            Foreach(Flow("each", (Then(Step("ask", asks=1)), Sleep(3), Map(1))), 3, 2),
            Wait("never", 0, seconds=600, sent=False, default=7),
            Then(Step("last", reads="total")),
        ),
    ),
    "loops": Flow(
        "graph",
        (
            Loop(Flow("body", (Wait("ping", 5, joins=True), Then(Step("count", sets=(("b", 1),))))), True, ODD),
            Loop(Step("again", add=1, sets=(("total", 1),), asks=1), False, Rest(3, 0)),
            Sleep(3600),
            Then(Flow("deep", (Then(Flow("deeper", (Then(Flow("deepest", (Then(Step("step", asks=1)),))),))),))),
        ),
    ),
    "bails": Flow(
        "graph",
        (
            Then(Flow("inner", (Then(Step("bails", trouble=Trouble("bails"), sets=(("a", 1),))), Then(Step("no"))))),
            Then(
                Flow(
                    "block",
                    (
                        Parallel(
                            (
                                Step("asks", asks=1),
                                Step("quick"),
                                Step("leaves", asks=1, trouble=Trouble("bails", late=True)),
                                Flow("sleeps", (Sleep(60), Then(Step("late")))),
                            )
                        ),
                    ),
                )
            ),
            Foreach(Step("item", trouble=Trouble("bails", Rest(3, 1)), pace=2), 4, 2),
            Then(Step("not-reached")),
        ),
    ),
    "fails": Flow(
        "graph",
        (
            Then(Step("first", sets=(("a", 2),))),
            Parallel(
                (
                    Step("asks", asks=1),
                    Flow("inner", (Then(Step("ok")), Then(Step("fails", trouble=Trouble("fails", tries=2, delay=3))))),
                    Flow("waits", (Wait("never", 0, seconds=600, sent=False),)),
                    Step("retries", trouble=STUMBLES_LATE, sets=(("a", 1),)),
                )
            ),
            Then(Step("not-reached")),
        ),
    ),
}
CONFLICT = Flow("graph", (Parallel((Step("one", sets=(("a", 1),)), Step("two", sets=(("a", 2),), asks=1))),))

# --- those that found something ------------------------------------------------------------------------

BOTH_ADD_THE_SAME = Flow("graph", (Foreach(Step("adds", sets=(("total", 2),)), 4, 2),))
"""Two that added the same to a sum counted once."""
EVENT_BEFORE_ITS_WAIT = Flow("graph", (Wait("never", 0, seconds=0, sent=False, default=1), Wait("sent", 2)))
"""An event that arrived in the commit that told of the wait for it was not looked at, and the run waited for ever."""
SKIPPED_WORKFLOW = Flow("graph", (Then(Flow("inner", (Then(Step("inside")),), guard=NEVER)),))
"""A nested workflow that was skipped stood among the step results."""
BAIL_BEFORE_A_RETRY = Flow(
    "graph",
    (
        Parallel(
            (
                Step("stumbles", trouble=Trouble("stumbles", tries=2, delay=60)),
                Step("bails", asks=1, trouble=Trouble("bails", late=True)),
            )
        ),
    ),
)
"""The bail outranked a member that gave up between two tries, though not one that failed while the block drained."""
