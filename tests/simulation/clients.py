"""Those who use it: each has things to say, and says each until it is acknowledged, and never again after that.

Whoever dies is followed by another with what was left to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from wrkflw import (
    AlreadyResumedError,
    AmbiguousResumeError,
    Completed,
    NotSuspendedError,
    Run,
    RunConflictError,
    RunFinishedError,
    Runtime,
    WrkflwError,
)
from wrkflw.world.queue import Invocation, QueueName

from . import stand_ins
from .witness import tell
from .workflows import BY_ID, TAKE_EVENTS, WORKFLOWS, ask, paid

_TRIES = 4
_LOOKS = 30
_KEYS = 3
_PATIENCE = timedelta(seconds=8)


class TooEarlyError(Exception):
    """There is nothing yet that it could be said to."""


@dataclass(frozen=True)
class Saying:
    """One thing that a client has to say; ``about`` picks a run of those that are known by then."""

    number: int
    what: str
    workflow_id: str
    key: int
    value: int
    about: int
    pause: float
    """Seconds before it is said."""


@dataclass
class Notebook:
    """What all clients know: the runs that were acknowledged."""

    runs: list[tuple[str, str]] = field(default_factory=list)
    """Workflow and run id."""

    def pick(self, saying: Saying, *workflow_ids: str) -> tuple[str, str]:
        known = [run for run in self.runs if not workflow_ids or run[0] in workflow_ids]
        if not known:
            raise TooEarlyError
        return known[saying.about % len(known)]


def draw(random: Random, count: int) -> list[Saying]:
    """What there is to say; each seed likes some things more than others.  First a run is asked for."""
    kinds = [workflow.id for workflow in random.sample(WORKFLOWS, random.randint(1, 2))]
    acts = [act for act in _ACTS if act not in _ABOUT or set(_ABOUT[act]) & set(kinds)]
    likes = [random.choice((0, 1, 4)) + 3 * (act in _ABOUT) for act in acts]
    likes[0] += 2
    longest = random.choice((0.2, 2, 6))
    return [
        Saying(
            number,
            random.choices(acts, likes)[0] if number > 1 else random.choice(_BEGINNINGS),
            random.choice(kinds),
            random.randrange(_KEYS),
            random.randrange(1, 3),
            random.randrange(1000),
            random.random() * longest,
        )
        for number in range(count)
    ]


async def use(runtime: Runtime, sayings: list[Saying], notebook: Notebook) -> None:
    """Say it all, one after another, and then stay."""
    while sayings:
        await asyncio.sleep(sayings[0].pause)
        await _say(runtime, sayings[0], notebook)
        sayings.pop(0)
    await asyncio.Event().wait()


async def _say(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    machine = stand_ins.machine()
    eager, tries = machine.random.choice((0.1, 2.0)), 0
    for _ in range(_LOOKS):
        saying_it = asyncio.ensure_future(_ACTS[saying.what](runtime, saying, notebook))
        if machine.temper.impatient and machine.random.random() < machine.temper.impatient:
            asyncio.get_running_loop().call_later(machine.random.random() * 0.2, saying_it.cancel)
        try:
            return await saying_it
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is not None and me.cancelling():
                raise
            tell("GAVE_UP", said=saying.number)
        except RunFinishedError:
            return
        except TooEarlyError:
            await asyncio.sleep(machine.random.random() * eager)
            continue
        except (WrkflwError, TimeoutError) as error:
            tell("REFUSED", said=saying.number, error=f"{type(error).__name__}: {error}")
        tries += 1
        if tries == _TRIES:
            break
        await asyncio.sleep(1)


async def _start(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    async def start(run: Run[Any, Any, Any]) -> None:
        result = await run.start(saying.value, wait="5s")
        if isinstance(result, Completed):
            tell("END", run=run.run_id, output=result.output)

    await _begin(saying, notebook, start)


async def _enqueue(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    async def enqueue(run: Run[Any, Any, Any]) -> None:
        await run.enqueue(saying.value, delay="3s" if saying.about % 4 == 0 else None)

    await _begin(saying, notebook, enqueue)


async def _begin(saying: Saying, notebook: Notebook, act: Callable[[Run[Any, Any, Any]], Awaitable[None]]) -> None:
    key = f"{saying.workflow_id}-{saying.key}"
    run = await BY_ID[saying.workflow_id].create_run(idempotency_key=key)
    try:
        await act(run)
    except RunConflictError:
        tell("CONFLICT", key=key, input=saying.value)
        return
    tell("ACK", key=key, run=run.run_id, input=saying.value)
    if (saying.workflow_id, run.run_id) not in notebook.runs:
        notebook.runs.append((saying.workflow_id, run.run_id))


async def _answer(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    run = await _one_of(saying, notebook, "sale")
    try:
        await run.resume(ask, saying.value + 10 * saying.number, wait="0s")
    except NotSuspendedError:
        raise TooEarlyError from None
    except (AlreadyResumedError, AmbiguousResumeError):
        return
    tell("ANSWERED", run=run.run_id, value=saying.value + 10 * saying.number)


async def _send(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    run = await _one_of(saying, notebook, *TAKE_EVENTS)
    machine = stand_ins.machine()
    again = machine.temper.doubled and machine.random.random() < machine.temper.doubled
    for _ in range(2 if again else 1):
        await run.send_event(paid, saying.value + 100, dedupe_id=f"send-{saying.number}", wait="0s")
        tell("SENT", run=run.run_id, dedupe=f"send-{saying.number}", value=saying.value + 100)


async def _cancel(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    run = await _one_of(saying, notebook)
    if await run.cancel():
        tell("CANCELLED", run=run.run_id)


async def _pause(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    run = await _one_of(saying, notebook)
    await run.pause("let us see")
    tell("PAUSED", run=run.run_id)


async def _unpause(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    run = await _one_of(saying, notebook)
    await run.unpause()
    tell("UNPAUSED", run=run.run_id)


async def _poke(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    """Wake-ups that nobody needs, doubled."""
    workflow_id, run_id = notebook.pick(saying)
    for _ in range(1 + saying.value):
        await runtime.world.queue.queue(str(QueueName(workflow_id)), Invocation(run_id))


async def _look(runtime: Runtime, saying: Saying, notebook: Notebook) -> None:
    """Wait for the end."""
    run = await _one_of(saying, notebook)
    result = await run.result(_PATIENCE)
    if isinstance(result, Completed):
        tell("END", run=run.run_id, output=result.output)


async def _one_of(saying: Saying, notebook: Notebook, *workflow_ids: str) -> Run[Any, Any, Any]:
    workflow_id, run_id = notebook.pick(saying, *workflow_ids)
    return await BY_ID[workflow_id].get_run(run_id)


_ACTS: dict[str, Callable[[Runtime, Saying, Notebook], Awaitable[None]]] = {
    "start": _start,
    "enqueue": _enqueue,
    "answer": _answer,
    "send": _send,
    "cancel": _cancel,
    "pause": _pause,
    "unpause": _unpause,
    "poke": _poke,
    "look": _look,
}
_BEGINNINGS = ("start", "enqueue")
_ABOUT = {"answer": ("sale",), "send": TAKE_EVENTS}
"""What some acts are about; the others are about any workflow."""
