"""A workflow, once for every place at which its process can die."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from wrkflw.current import entered
from wrkflw.errors import OutcomeUnknownError, RunNotFoundError
from wrkflw.results import Paused, StepError
from wrkflw.world import events as e

from .bodies import Mocks
from .consistency import check_world
from .lives import Crashed, Side
from .runtime import TestRuntime

if TYPE_CHECKING:
    from wrkflw.run import Run
    from wrkflw.workflows import Workflow

    AnyRun: TypeAlias = Run[Any, Any, Any]
    Drive: TypeAlias = Callable[[AnyRun], Awaitable[object]]

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
StateT = TypeVar("StateT")

_SIDES: tuple[Side, Side] = ("before", "after")
_RUN_ID = "run-that-crashes-everywhere"
_MOST_TURNS = 10_000


async def crash_everywhere(
    workflow: Workflow[InputT, OutputT, StateT],
    input: InputT,
    /,
    *,
    drive: Callable[[Run[InputT, OutputT, StateT]], Awaitable[object]] | None = None,
) -> int:
    """Run the workflow once for each place at which its process can die, and have it die there.

    These are before and after every commit of the run.  The next process takes the run at another epoch, and it must
    come to the same output or error, step results, state and number of recorded completions as without a crash, and
    the invariants of :func:`check_world` must hold.

    Time moves on to the next timer whenever nothing else moves.  ``drive`` is called with the run when it waits for
    somebody, in whichever process: it answers or sends what the run waits for now.  Inside a TestRuntime the mocks of
    that hold here, too.

    A step with ``at_most_once=True`` that was at work fails with OutcomeUnknownError, as is promised; such a run is
    compared with another that died at the same place.

    Memory is not taken from bodies, and what they do outside of the run is not looked at: that may happen twice.

    Returns how many such places there were.  Raises AssertionError that names the first after which something differs;
    also when runs differ without a crash, still wait for somebody at the end, or their own code makes the engine pause
    them.
    """
    runtime = entered()
    trial = _Trial(workflow, input, drive, runtime.mocks if isinstance(runtime, TestRuntime) else Mocks())
    wanted = await trial.play()
    if problem := _unfinished(workflow.id, wanted, is_driven=drive is not None):
        raise AssertionError(problem)
    again = await trial.play()
    number, places = 0, 0
    if difference := _difference(wanted.outcome, again.outcome):
        raise AssertionError(_differs_by_itself(workflow.id, difference))
    while True:
        number += 1
        for side in _SIDES:
            played = await trial.play(side, number)
            if not played.crashed:
                return places
            places += 1
            # What may not begin again ends otherwise than without a crash, but in the same way each time.
            like = await trial.play(side, number) if played.unknown else wanted
            if difference := played.problem or _difference(like.outcome, played.outcome):
                if (side, number) == ("before", 1):
                    raise AssertionError(_differs_begun_again(workflow.id, difference))
                where = f"{side} commit {number} of the run ({_told(wanted.commits, number)})"
                raise AssertionError(_differs_after(workflow.id, where, difference, played.unknown))


Outcome: TypeAlias = dict[str, object]
"""What must not depend on crashes, each fact under its name."""


class _Played(NamedTuple):
    outcome: Outcome
    crashed: bool
    commits: list[list[str]]
    """The events in each commit of the first process, each by its type and what it is about."""
    problem: str | None
    """Why the engine paused it, if it did."""
    unknown: list[str]
    """The ``at_most_once`` steps that were at work at the crash: whether they happened, nobody knows."""


class _Trial:
    """The same run, as often as it is wanted, each time in a World of its own."""

    def __init__(self, workflow: Workflow[Any, Any, Any], input: object, drive: Drive | None, mocks: Mocks) -> None:
        self._workflow = workflow
        self._input = input
        self._drive = drive
        self._mocks = mocks

    async def play(self, side: Side | None = None, number: int = 0) -> _Played:
        runtime = TestRuntime(workflows=[self._workflow])
        runtime.mocks = self._mocks
        async with runtime:
            life, crashed = runtime.life, False
            life.count_commits(side, number)
            try:
                run = await self._live(runtime)
                life.count_no_more()
            except Crashed:
                crashed = True
                await runtime.restart()
                run = await self._live(runtime)
            if crashed and (broken := await check_world(runtime.world)):
                raise AssertionError(f"after a crash {side} commit {number} of the run, {broken[0]}")
            log = await _log_of(run)
            return _Played(
                await _outcome_of(run, log),
                crashed,
                _named(life.commits, log),
                await _problem_of(run),
                await _unknown_in(run, log),
            )

    async def _live(self, runtime: TestRuntime) -> AnyRun:
        """Advance the run as far as it goes, as whoever started it would."""
        try:
            run: AnyRun = await self._workflow.get_run(_RUN_ID)
        except RunNotFoundError:
            run = await self._workflow.create_run(run_id=_RUN_ID)
            await run.enqueue(self._input)
        await runtime.advance("0s")
        for _ in range(_MOST_TURNS):
            if not (await self._was_driven(runtime, run) or await _was_waited_for(runtime)):
                return run
        raise AssertionError(f"workflow {self._workflow.id!r} does not end; it has moved on {_MOST_TURNS:,} times")

    async def _was_driven(self, runtime: TestRuntime, run: AnyRun) -> bool:
        """Whether the run waited for somebody, and got something."""
        before = await runtime.runs.get(_RUN_ID)
        if self._drive is None or before.waiting_for not in ("suspended", "waiting"):
            return False
        events = len(await _log_of(run))
        await self._drive(run)
        await runtime.advance("0s")
        return len(await _log_of(run)) > events


async def _was_waited_for(runtime: TestRuntime) -> bool:
    """Whether the run waited for a time, which is now."""
    run = await runtime.world.storage.runs.locate(_RUN_ID)
    if run.ended or run.paused_at is not None:
        return False
    if run.owner is not None:  # it waits in place
        return await runtime.advance_to_next()
    if run.wake_at is not None:
        await runtime.advance(max(run.wake_at - runtime.now, timedelta(0)))
    return run.wake_at is not None


async def _log_of(run: AnyRun) -> list[e.StoredEvent]:
    return [stored async for stored in run.events()]


async def _outcome_of(run: AnyRun, log: list[e.StoredEvent]) -> Outcome:
    snapshot = await run.snapshot()
    keys = _keys_in(log)
    completions = Counter(
        keys[stored.event.correlation_id] for stored in log if isinstance(stored.event, e.StepCompleted)
    )
    results = snapshot.step_results.items()
    return {
        "status": snapshot.waiting_for or snapshot.status,
        "output": snapshot.result,
        "error": _facts(snapshot.error),
        "state": snapshot.state,
        **{f"result of {key!r}": (found.status, found.output, _facts(found.error)) for key, found in results},
        **{f"number of recorded completions of {key!r}": times for key, times in completions.items()},
    }


async def _problem_of(run: AnyRun) -> str | None:
    match await run.result(timeout="0s"):
        case Paused(by="engine", reason=reason):
            return reason
        case _:
            return None


async def _unknown_in(run: AnyRun, log: list[e.StoredEvent]) -> list[str]:
    """The steps that were given up as such by another process than the one that had begun them."""
    results, keys, begun = (await run.snapshot()).step_results, _keys_in(log), dict[str, int | None]()
    unknown: list[str] = []
    for stored in log:
        match stored.event:
            case e.StepStarted(correlation_id=name):
                begun[name] = stored.epoch
            case e.StepFailed(correlation_id=name) if begun.get(name, stored.epoch) != stored.epoch:
                error = results[keys[name]].error
                if error is not None and error.type == OutcomeUnknownError.__name__:
                    unknown.append(keys[name])
            case _:
                pass
    return unknown


def _facts(error: StepError | None) -> tuple[str, str] | None:
    return None if error is None else (error.type, error.message)


# --- what is said ----------------------------------------------------------------------------------------


def _difference(wanted: Outcome, got: Outcome) -> str | None:
    """The first difference, in words."""
    for name in (*wanted, *got):
        if wanted.get(name) != got.get(name):
            return f"{name} is {got.get(name)!r} instead of {wanted.get(name)!r}"
    return None


_CURE = (
    "what runs again, bodies that were at work and the code between steps, may depend on nothing but its input, the "
    "state and recorded results; a @workflow asks step.now(), step.random() and step.uuid()"
)


_MOCK = "mock what changes by itself, and what bodies change outside of the run: all runs of this test share it"


def _unfinished(workflow_id: str, played: _Played, *, is_driven: bool) -> str | None:
    """What keeps a run from its end without any crash."""
    if played.problem is not None:
        return f"workflow {workflow_id!r} is paused without a crash: {played.problem}; {_CURE}"
    status = played.outcome["status"]
    if status not in ("suspended", "waiting"):
        return None
    for_what = "an answer" if status == "suspended" else "an event"
    cure = "drive= gives it nothing that it waits for" if is_driven else "pass drive=, which gives it that"
    return f"workflow {workflow_id!r} does not end without a crash, it still waits for {for_what}; {cure}"


def _differs_by_itself(workflow_id: str, difference: str) -> str:
    return f"two runs of workflow {workflow_id!r} differ without a crash: {difference}; {_MOCK}"


def _differs_begun_again(workflow_id: str, difference: str) -> str:
    crashed = f"workflow {workflow_id!r} comes out differently after a crash before commit 1 of the run"
    return f"{crashed}, of which nothing was recorded, so that it began anew: {difference}; {_MOCK}"


def _differs_after(workflow_id: str, where: str, difference: str, unknown: list[str]) -> str:
    if unknown:
        both = f"two runs of workflow {workflow_id!r} that crashed {where}"
        return f"{both}, which leaves open whether {unknown[0]!r} happened, differ: {difference}; {_CURE}"
    return f"workflow {workflow_id!r} comes out differently after a crash {where}: {difference}; {_CURE}"


def _keys_in(log: list[e.StoredEvent]) -> dict[str, str]:
    """The keys of its steps and waits."""
    created = (stored.event for stored in log if isinstance(stored.event, e.StepCreated | e.WaitCreated))
    return {event.correlation_id: event.key for event in created if event.key is not None}


def _named(commits: list[list[str]], log: list[e.StoredEvent]) -> list[list[str]]:
    """The commits, each event with the key of what it is about.  They begin the log, and are in its order."""
    keys, stored = _keys_in(log), iter(log)
    return [[_name_of(event_type, next(stored, None), keys) for event_type in commit] for commit in commits]


def _name_of(event_type: str, stored: e.StoredEvent | None, keys: dict[str, str]) -> str:
    about = None if stored is None else keys.get(getattr(stored.event, "correlation_id", ""))
    return event_type if about is None else f"{event_type} of {about!r}"


def _told(commits: list[list[str]], number: int) -> str:
    """Which commit it was."""
    events = commits[number - 1] if number <= len(commits) else []
    return ", ".join(events) or "it brings no events"
