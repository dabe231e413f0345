"""One measurement, a measurement between two of the limit, and the figures that come of several."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each workload is measured, and how often."""

    repetitions: int
    chains: int
    """Runs of ten steps in one repetition of W1."""
    concurrent: int
    in_flight: int
    long_steps: int
    long_repetitions: int
    starts: int
    """Fresh interpreters, of each kind, in W7."""
    items: int
    suspended: int
    """Runs that are answered together in W5, while which others are answered alone."""
    alone: int
    sleepers: int
    wakes: int
    """Sleepers that are woken, one by one, in W8."""
    fresh: int
    """Fresh processes, of each kind, in W6, W8 and W10."""
    killed: int
    """Runs that are in a step when their process is killed, in W6."""
    shared: int
    """Runs that two processes share in W9."""
    schedules: int
    mails: int
    requests: int


FULL = Sizes(
    repetitions=7,
    chains=100,
    concurrent=500,
    in_flight=100,
    long_steps=5_000,
    long_repetitions=3,
    starts=15,
    items=1_000,
    suspended=1_000,
    alone=200,
    sleepers=100_000,
    wakes=50,
    fresh=5,
    killed=500,
    shared=2_000,
    schedules=10_000,
    mails=1_000,
    requests=5_000,
)
QUICK = Sizes(
    repetitions=3,
    chains=30,
    concurrent=200,
    in_flight=100,
    long_steps=1_000,
    long_repetitions=2,
    starts=5,
    items=1_000,
    suspended=300,
    alone=50,
    sleepers=5_000,
    wakes=20,
    fresh=2,
    killed=200,
    shared=400,
    schedules=1_000,
    mails=200,
    requests=500,
)


@dataclass(frozen=True, slots=True)
class Timed:
    steps: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.steps / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        return self.cpu_seconds * 1e6 / self.steps


@dataclass(frozen=True, slots=True)
class Paired:
    """A measurement, and the raw limit's right before and right after it."""

    before: Timed
    measured: Timed
    after: Timed

    @property
    def raw_rate(self) -> float:
        return (self.before.steps + self.after.steps) / (self.before.seconds + self.after.seconds)

    @property
    def ratio(self) -> float:
        """Time per step in times that of the raw limit."""
        return self.raw_rate / self.measured.rate

    @property
    def raw_cpu_microseconds(self) -> float:
        return (self.before.cpu_microseconds + self.after.cpu_microseconds) / 2


@dataclass(frozen=True, slots=True)
class Figure:
    """A median of several measurements, and how far they spread.

    ``compared`` figures hardly depend on the machine, and are held against the baseline; less is better in them.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    compared: bool = False
    note: str = ""


Work: TypeAlias = Callable[[], Awaitable[Timed]]


async def timed(steps: int, work: Awaitable[object]) -> Timed:
    """Wall and CPU time, of all threads of this process, until ``work`` is done."""
    wall, cpu = time.perf_counter(), time.process_time()
    await work
    return Timed(steps, time.perf_counter() - wall, time.process_time() - cpu)


def between(before: Timed, after: Timed, steps: int) -> Timed:
    """What ``steps`` would have taken in between: the mean of what others took before and after."""
    return Timed(steps, (before.seconds + after.seconds) / 2, (before.cpu_seconds + after.cpu_seconds) / 2)


async def paired(limit: Work, work: Work) -> Paired:
    return Paired(before=await limit(), measured=await work(), after=await limit())


def figure(name: str, unit: str, values: Iterable[float], *, compared: bool = False, note: str = "") -> Figure:
    measured = list(values)
    return Figure(name, unit, median(measured), min(measured), max(measured), compared, note)


def rates(pairs: Iterable[Paired]) -> list[Figure]:
    """What there is to say of any workload that has a raw limit."""
    measured = list(pairs)
    return [
        figure("steps/s", "/s", [pair.measured.rate for pair in measured]),
        figure("raw steps/s", "/s", [pair.raw_rate for pair in measured], note="the limit, before and after"),
        figure("x raw", "x", [pair.ratio for pair in measured], compared=True, note="median of the paired ratios"),
        figure("CPU a step", "µs", [pair.measured.cpu_microseconds for pair in measured]),
        figure("raw CPU a step", "µs", [pair.raw_cpu_microseconds for pair in measured]),
    ]
