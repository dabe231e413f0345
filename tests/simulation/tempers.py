"""The temper of a seed: how often what goes wrong.  Most seeds leave most of it out, so that the rest gets far."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

MS = 1_000
SECOND = 1_000_000
"""Microseconds, as all times of a simulation."""
LEASE = 10 * SECOND


@dataclass(frozen=True)
class Temper:
    """Chances are those of one point: a statement, a line of the witness, or a callback of an event loop."""

    crash: float
    """That the process dies."""
    edge: float
    """That it dies where a transaction begins or ends."""
    pause: float
    """That it stops, as by SIGSTOP, for up to 1.5 leases."""
    jump: float
    """That the wall clock is set, mostly forward by more than a lease."""
    fault: float
    """That the statement fails: the disk is full, or broken, or somebody holds the database."""
    landed: float
    """That a commit is made, and raises: the log is found to be another's."""
    switch: float
    """That others are let in at a statement; they get a few callbacks."""
    stay: float
    """That the one who was last at work goes on."""
    pace: int
    """Microseconds that pass with each callback, at most."""
    slow_disk: bool
    """Whether commits are slow, so that the writer's thread makes them."""
    shuffles: bool
    """Whether an event loop calls what is ready in any order."""
    doubled: float
    """That what a bell tells is told twice; and that a message, an answer or an event is sent again."""
    deaf: float
    """That what a bell tells is lost."""
    impatient: float
    """That a client gives up waiting for its call."""


def draw(random: Random) -> Temper:
    return Temper(
        crash=random.choice((0, 0, 0.0008, 0.004)),
        edge=random.choice((0, 0, 0, 0.015)),
        pause=random.choice((0, 0, 0.0006, 0.003)),
        jump=random.choice((0, 0, 0.0006, 0.003)),
        fault=random.choice((0, 0, 0, 0.01)),
        landed=random.choice((0, 0, 0, 0.03)),
        switch=random.choice((0, 0.05, 0.3)),
        stay=random.choice((0, 0.67, 0.92)),
        pace=random.choice((20, 1 * MS, 50 * MS)),
        slow_disk=random.random() < 0.3,
        shuffles=random.random() < 0.3,
        doubled=random.choice((0, 0.3)),
        deaf=random.choice((0, 0, 0.1)),
        impatient=random.choice((0, 0, 0.2)),
    )


CALM = Temper(0, 0, 0, 0, 0, 0, 0.05, 0.67, 1 * MS, slow_disk=False, shuffles=False, doubled=0, deaf=0, impatient=0)
"""When all is to be healed."""
