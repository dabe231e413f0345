"""Workers that are stopped in a body for longer than their lease, and then go on: their successors' results stand."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak import Note

from . import oracle
from .nest import SOAK, Child, Nest, in_one_word, nest_in

pytestmark = pytest.mark.crash

ROUNDS = 500 if SOAK else 50
AT_ONCE = 10
"""Zombies on one file at the same time."""
LATE = 8
"""How many of those go on only when a successor has finished; the others race with it."""
STEPS = ("first", "second", "third")
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(2**32))
AGAIN = f"SOAK_SEED={SEED} {'SOAK=1 ' if SOAK else ''}.venv/bin/pytest tests/crash/test_zombies.py -k fenced"


def test_a_worker_that_was_stopped_beyond_its_lease_is_fenced(tmp_path: Path, record_property: Note) -> None:
    violations, report = rise(tmp_path, ROUNDS // AT_ONCE, seed=SEED)
    record_property("zombies", ROUNDS)

    assert not violations, report


def rise(folder: Path, batches: int, *, seed: int, mistake: str = "") -> tuple[list[str], str]:
    """Batches of zombies, until something is wrong; and the report of it."""
    chance, violations, batch = random.Random(seed), list[str](), 0
    with nest_in(folder, mistake=mistake) as nest:
        for batch in range(batches):
            places = {f"r-{batch}-{number}": chance.choice(STEPS) for number in range(AT_ONCE)}
            try:
                violations += haunt(nest, places)
            except AssertionError as error:  # a process that did not do what it should
                violations.append(str(error))
            if violations:
                break
        return violations, nest.report(violations, what=f"batch {batch}, seed {seed}", again=AGAIN)


def haunt(nest: Nest, places: dict[str, str]) -> list[str]:
    """One zombie for each run, stopped in the body of this name; what is wrong when all is over."""
    zombies = {run_id: stopped(nest, run_id, place) for run_id, place in places.items()}
    await_the_end_of_all_leases(nest)
    late = set(list(zombies)[:LATE])
    successor = nest.fork("succeed", in_one_word(list(zombies)))
    for run_id in zombies.keys() - late:
        zombies[run_id].signal(signal.SIGCONT)
    successor.leaves()
    for run_id in late:
        zombies[run_id].signal(signal.SIGCONT)
    for zombie in zombies.values():
        zombie.leaves()
    return list(wrong(nest, places, late))


def stopped(nest: Nest, run_id: str, place: str) -> Child:
    """A process that has begun this body of the run, and does nothing more until it is continued."""
    for step in STEPS[: STEPS.index(place)]:
        (nest.witness.parent / f"go-{run_id}-{step}").touch()
    zombie = nest.fork("carry", run_id)
    nest.await_fact("EFFECT", run=run_id, key=place)
    zombie.stop()
    for step in STEPS:
        (nest.witness.parent / f"go-{run_id}-{step}").touch()
    return zombie


def await_the_end_of_all_leases(nest: Nest) -> None:
    nest.await_rows(
        "SELECT count(*) FROM owners WHERE lease_until > (julianday('now') - 2440587.5) * 86400000000", [(0,)]
    )


def wrong(nest: Nest, places: dict[str, str], late: set[str]) -> Iterator[str]:
    facts = nest.facts()
    database = oracle.read(nest.database)
    yield from database.violations
    yield from oracle.judge(database, facts)
    told: dict[str, list[str]] = {}
    for fact in facts:
        if fact["what"] in ("SUCCEEDED", "END"):
            told.setdefault(fact["run"], []).append(fact["output"])
    fenced = {fact["run"] for fact in facts if fact["what"] == "FENCED"}
    for run_id, place in places.items():
        output = database.runs[run_id].output
        if told[run_id] != [output] * 2:
            yield f"{run_id} gave {told[run_id]}, and its output is {output!r}"
        if run_id not in late:
            continue
        if run_id not in fenced:
            yield f"the zombie of {run_id} was not told that it had lost it"
        own = " ".join("1" if STEPS.index(step) < STEPS.index(place) else "2" for step in STEPS)
        if output != own:
            yield f"{run_id} stopped in {place!r} and gave {output!r}, not {own!r}"


def test_a_body_that_blocks_the_event_loop_does_not_cost_the_lease(tmp_path: Path) -> None:
    violations, report = hog(tmp_path)

    assert not violations, report


def hog(folder: Path, *, mistake: str = "") -> tuple[list[str], str]:
    """A body that blocks its loop for longer than the lease, beside a process that would take the run over."""
    with nest_in(folder, mistake=mistake) as nest:
        hogs = nest.fork("block", "hog")
        nest.await_fact("EFFECT")
        leases = set[int]()
        over = "SELECT lease_until, lease_until < (julianday('now') - 2440587.5) * 86400000000 FROM owners"
        while len(leases) < 6 and not any(is_over for _, is_over in nest.read(over)):
            leases |= {until for until, _ in nest.read(over)}  # each is a third of a lease later than the one before
        nest.fork("look").leaves()
        (folder / "go-hog-hog").touch()
        hogs.leaves()
        claims = nest.read("SELECT epoch FROM runs WHERE run_id = 'hog'")
        violations = [] if claims == [(1,)] else ["somebody else took the run"]
        again = ".venv/bin/pytest tests/crash/test_zombies.py -k blocks"
        return violations, nest.report(violations, what="a blocked loop", again=again)
