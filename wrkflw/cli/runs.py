"""``wrkflw runs list|show|events|tail``: looking at runs.  Needs no code of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

import typer

from .moments import moment_of
from .parameters import AsJson, Database, RunId

if TYPE_CHECKING:
    from wrkflw.engine.journal import Journal
    from wrkflw.results import StepError
    from wrkflw.world.events import NewEvent

Moment: TypeAlias = Annotated[
    datetime | None,
    typer.Option(
        parser=moment_of,
        metavar="TIME",
        help="Created then: 2026-01-31, or 2026-01-31T09:30:00, in UTC.",
        show_default=False,
    ),
]


def list_runs(
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="Its id.", show_default=False)] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", help="pending, running, completed, failed or cancelled.", show_default=False),
    ] = None,
    waiting_for: Annotated[
        str | None, typer.Option(help="sleeping, waiting, suspended or paused.", show_default=False)
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", metavar="NAME=VALUE", show_default=False)
    ] = None,
    since: Moment = None,
    until: Moment = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.", show_default=False)] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from .inputs import pairs_of
    from .opening import perform

    where: dict[str, Any] = {
        "workflow": workflow,
        "status": status or None,
        "waiting_for": waiting_for,
        "attributes": pairs_of(attribute, "--attribute") or None,
        "since": since,
        "until": until,
        "limit": limit,
        "cursor": cursor,
    }
    perform(_list(where, db, as_json=as_json))


async def _list(where: dict[str, Any], db: str | None, *, as_json: bool) -> None:
    from wrkflw.results import WaitingFor

    from .failures import MisuseError
    from .opening import opened
    from .screen import facts_of, say, show_json, show_table

    for word in where["status"] or ():
        if word in get_args(WaitingFor):
            raise MisuseError(f"--status cannot be {word!r}; give --waiting-for {word}")
    async with opened(db) as runtime:
        page = await runtime.runs.list(**where)
    if as_json:
        return show_json(facts_of(page))
    rows = [
        (run.run_id, run.workflow_id, run.waiting_for or run.status, run.created_at, run.updated_at)
        for run in page.data
    ]
    show_table(("run", "workflow", "status", "created", "updated"), rows, empty="no run is like that")
    if page.has_more:
        say(f"there are more: --cursor {page.cursor}")
    return None


def show_run(run_id: RunId, db: Database = None, as_json: AsJson = False) -> None:
    """Show the whole of a run.

    How it stands, its steps, what they gave."""
    from .opening import perform

    perform(_show(run_id, db, as_json=as_json))


async def _show(run_id: str, db: str | None, *, as_json: bool) -> None:
    from wrkflw.server.answers import suspensions_of

    from .opening import opened
    from .screen import brief, clean, facts_of, rough, say, show, show_facts, show_json, show_table

    async with opened(db) as runtime:
        seen = await runtime.runs.snapshot(run_id)
        journal = await runtime.runs.journal(run_id)
    if as_json:
        asked = [] if journal.ended else suspensions_of(journal, tokens=False)
        return show_json(facts_of(seen) | {"suspensions": asked})
    attributes = " ".join(f"{name}={value}" for name, value in seen.attributes.items())
    error = None if seen.error is None else f"{seen.error.type}: {seen.error.message}"
    show_facts({
        "run": seen.run_id,
        "workflow": seen.workflow_id,
        "status": seen.waiting_for or seen.status,
        "because": seen.pause_reason or journal.cancel_reason,
        "created": seen.created_at,
        "updated": seen.updated_at,
        "attributes": attributes or None,
        "input": brief(seen.input, 200),
        "state": None if seen.state is None else brief(seen.state, 200),
        "output": brief(seen.result, 200) if seen.status == "completed" else None,
        "error": error,
    })  # fmt: skip
    rows: list[tuple[object, ...]] = []
    for key in seen.execution_path:
        step = seen.step_results[key]
        took = rough(step.completed_at - step.started_at) if step.completed_at and step.started_at else ""
        failed = None if step.error is None else f"{step.error.type}: {step.error.message}"
        rows.append((key, step.status, step.attempt, took, clean(failed or brief(step.output, 80))))
    say("")
    show_table(("step", "status", "attempts", "took", "output"), rows, empty="no step has begun", last="cut")
    if waits := list(_waits(journal)):
        say("")
        show_table(("waiting", "until", "for"), waits, empty="", last="folded")
    if seen.error is not None and (trace := "\ncaused by\n".join(_traces(seen.error))):
        say("")
        show(clean(trace))
    return None


def _waits(journal: Journal) -> Iterator[tuple[str, datetime | None, str]]:
    """What keeps a run from going on: of each its key, until when, and what it waits for."""
    from wrkflw.schemas import plain

    from .screen import brief

    if journal.ended:
        return
    for record in journal.records.values():
        if (asked := record.suspension) is not None:
            yield record.key, asked.until, f"an answer to {brief(plain(asked.payload), 200)}"
        elif record.status == "retrying" and record.retry_after is not None:
            yield record.key, record.retry_after, "its next attempt"
    for wait in journal.waits.values():
        if wait.open:
            yield wait.key, wait.resume_at, f"event {wait.signal_type}" if wait.kind == "signal" else "that time"


def _traces(error: StepError | None) -> Iterator[str]:
    """Where an error was raised, and where those that led to it."""
    while error is not None:
        yield error.traceback.rstrip()
        error = error.cause


def show_events(run_id: RunId, db: Database = None, as_json: AsJson = False) -> None:
    """Show the log of a run.

    Oldest event first; with --json a line each."""
    from .opening import perform

    perform(_events(run_id, db, as_json=as_json))


async def _events(run_id: str, db: str | None, *, as_json: bool) -> None:
    from wrkflw.server.answers import event_of_log

    from .opening import opened
    from .screen import brief, json_text, show, show_table

    async with opened(db) as runtime:
        log = await runtime.runs.log(run_id)
    told = [event_of_log(stored) for stored in log]
    if as_json:
        for one in told:
            show(json_text(one))
        return
    named = ("slot", "event_type", "created_at")
    rows = [(*(one.pop(name) for name in named), brief(one, 100)) for one in told]
    show_table(("slot", "event", "when", "facts"), rows, empty="nothing has happened", last="cut")


def tail(
    run_id: RunId,
    after: Annotated[
        str | None, typer.Option(help="The cursor of an item: what follows it.", show_default=False)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End where the run parks, too.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Follow a run live, until it ends.

    Its events, and what its steps write; with --json a line each."""
    from .opening import perform

    perform(_tail(run_id, after, db, once=once, as_json=as_json))


async def _tail(run_id: str, after: str | None, db: str | None, *, once: bool, as_json: bool) -> None:
    from wrkflw.server.answers import item_of_stream
    from wrkflw.streams import Place, stream_of

    from .opening import opened
    from .screen import clean, json_text, show

    waits: dict[str, str] = {}
    async with opened(db) as runtime:
        async for item in stream_of(runtime, run_id, Place.of(after), "parked" if once else "finished"):
            if as_json:
                show(json_text({"cursor": item.cursor, "kind": item.kind, **item_of_stream(item)}))
            elif item.chunk is not None:
                show(clean(f"{item.key}: {item.chunk.decode(errors='replace')}"))
            elif item.event is None:
                show(clean(f"{item.key} begins again"))
            else:
                at, key = item.event.created_at.strftime("%H:%M:%S"), item.key or _of_a_wait(item.event.event, waits)
                show(clean(f"{at} {item.event.event_type}{f' {key}' if key else ''}"))


def _of_a_wait(event: NewEvent, keys: dict[str, str]) -> str | None:
    """The key of a wait, of which only its first event tells: it is kept in ``keys``; or the name of what came."""
    from wrkflw.world.events import SignalReceived, WaitCompleted, WaitCreated

    match event:
        case WaitCreated(correlation_id=wait_id, key=str(key), signal_type=name):
            keys[wait_id] = key if name is None else f"{key} ({name})"
            return keys[wait_id]
        case WaitCompleted(correlation_id=wait_id):
            return keys.pop(wait_id, None)
        case SignalReceived(signal_type=name):
            return name
        case _:
            return None
