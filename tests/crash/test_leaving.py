"""SIGTERM under load: a process leaves in good order, the next one has all the rest, and nothing counts as failed."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.soak import Note

from . import oracle, rules
from .errands import TRIES
from .nest import SOAK, Nest, in_one_word, nest
from .test_kill import outcome

__all__ = ["nest"]

pytestmark = pytest.mark.crash

LEAVES = 200 if SOAK else 20
RUNS_EACH = 5
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
AGAIN = f"SOAK_SEED={SEED} {'SOAK=1 ' if SOAK else ''}.venv/bin/pytest tests/crash/test_leaving.py"


def test_who_is_asked_to_leave_hands_over_in_good_order(nest: Nest, record_property: Note) -> None:
    record_property("SIGTERMs", LEAVES)
    chance = random.Random(SEED)
    current = nest.fork("leave", fresh_runs(0))
    for turn in range(1, LEAVES):
        current.ready()
        time.sleep(chance.random() ** 2 * 0.1)
        successor = nest.fork("leave", fresh_runs(turn))
        time.sleep(chance.random() ** 2 * 0.1)
        current.signal(signal.SIGTERM)
        current.leaves()
        current = successor
    current.ready()
    current.signal(signal.SIGTERM)
    current.leaves()

    assert sum(fact["what"] == "LEFT" for fact in nest.facts()) == LEAVES

    # Nobody is there: all that is open is free, nobody's lease is left, and no process is thought to have died.
    assert nest.read("SELECT count(*) FROM runs WHERE owner IS NOT NULL") == [(0,)]
    assert nest.read("SELECT count(*) FROM owners") == [(0,)]
    assert nest.read("SELECT count(*) FROM crashes") == [(0,)]
    finish(nest, LEAVES * RUNS_EACH)
    assert nest.read("SELECT count(*) FROM events WHERE event_type IN ('step_failed', 'run_failed')") == [(0,)]


def test_a_second_request_to_leave_is_as_safe_as_a_kill(nest: Nest, record_property: Note) -> None:
    record_property("second SIGTERMs", LEAVES // 4)
    chance = random.Random(SEED)
    for number in range(LEAVES // 4):
        leaver = nest.fork("leave_in_haste", fresh_runs(number))
        leaver.ready()
        time.sleep(chance.random() * 0.03)
        leaver.signal(signal.SIGTERM)
        time.sleep(chance.random() ** 2 * 0.01)
        leaver.signal(signal.SIGTERM)
        assert leaver.dies() in (0, -signal.SIGTERM), nest.complaints()

    finish(nest, LEAVES // 4 * RUNS_EACH)


def fresh_runs(turn: int) -> str:
    nothing: list[str] = []
    return in_one_word([(number, None, nothing) for number in range(turn * RUNS_EACH, (turn + 1) * RUNS_EACH)])


def finish(nest: Nest, runs: int) -> None:
    """Let all of them come to their ends, which must be the right ones."""
    nest.fork("drain", in_one_word(nest.told(range(runs)))).leaves()
    database = oracle.read(nest.database)
    violations = [*database.violations, *oracle.judge(database, nest.facts()), *rules.broken(nest.database, TRIES)]
    violations += [each for number in range(runs) for each in outcome(database, number)]
    assert not violations, nest.report(violations, what=f"seed {SEED}", again=AGAIN)
