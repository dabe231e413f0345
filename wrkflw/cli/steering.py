"""``wrkflw runs cancel|pause|unpause|resume|send|wake|fork|delete|prune``: what can be done to a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Never, TypeAlias, cast

import typer

from .parameters import AsJson, Code, Database, HandedIn, Reason, RunId

RunIds: TypeAlias = Annotated[list[str], typer.Argument(metavar="RUN", help="The ids of runs.", show_default=False)]

if TYPE_CHECKING:
    from wrkflw.engine.definition import Definition
    from wrkflw.results import RunResult
    from wrkflw.run import Run
    from wrkflw.runtime import Runtime
    from wrkflw.steps import SuspendableStep

    AnyRun: TypeAlias = Run[Any, Any, Any]
    Act: TypeAlias = Callable[[Runtime, str], Awaitable[object]]
    """What is done to the run of an id."""
    HandleAct: TypeAlias = Callable[[Runtime, AnyRun, Definition], Awaitable[RunResult[Any]]]
    """The same by the handle of the run; what it came to."""


def cancel(run_ids: RunIds, reason: Reason = None, db: Database = None, as_json: AsJson = False) -> None:
    """End runs.

    Exit code 1 when one had ended otherwise, or there is none."""
    from .opening import perform

    perform(_cancel(run_ids, reason, db, as_json=as_json))


async def _cancel(run_ids: list[str], reason: str | None, db: str | None, *, as_json: bool) -> int:
    from .opening import opened
    from .screen import show_json, show_table

    async with opened(db) as runtime:
        outcomes = await runtime.runs.cancel_many(run_ids, reason)
    if as_json:
        show_json(outcomes)
    else:
        words = {"not_found": "not found", "finished": "had ended"}
        show_table(("run", "outcome"), [(id, words.get(one, one)) for id, one in outcomes.items()], empty="no run")
    return 0 if set(outcomes.values()) <= {"cancelled"} else 1


def pause(run_id: RunId, reason: Reason = None, db: Database = None, as_json: AsJson = False) -> None:
    """Start nothing more of a run.

    What it does now is finished and recorded."""
    from .opening import perform

    perform(_after(run_id, lambda rt, id: rt.runs.pause(id, reason), db, as_json=as_json))


def unpause(run_id: RunId, db: Database = None, as_json: AsJson = False) -> None:
    """Let a paused run go on.

    A worker takes it."""
    from .opening import perform

    perform(_after(run_id, lambda rt, id: rt.runs.unpause(id), db, as_json=as_json))


def delete(run_id: RunId, db: Database = None, as_json: AsJson = False) -> None:
    """Remove a run that has ended, and its log with it."""
    from .opening import perform

    perform(_delete(run_id, db, as_json=as_json))


async def _delete(run_id: str, db: str | None, *, as_json: bool) -> None:
    from .opening import opened
    from .screen import say, show_json

    async with opened(db) as runtime:
        await runtime.runs.delete(run_id)
    show_json({"run_id": run_id, "status": "deleted"}) if as_json else say(f"run {run_id} is gone")


def prune(
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="How long ago they ended at least, as 90d.", show_default=False)
    ],
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="Its id.", show_default=False)] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", "-s", help="completed, failed or cancelled.", show_default=False)
    ] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Remove the runs that ended long ago, and their logs with them."""
    from .opening import perform

    which: dict[str, Any] = {"workflow": workflow} | ({"status": status} if status else {})
    perform(_prune(older_than, which, db, as_json=as_json))


async def _prune(older_than: str, which: dict[str, Any], db: str | None, *, as_json: bool) -> None:
    from .opening import opened
    from .screen import say, show_json

    async with opened(db) as runtime:
        pruned = await runtime.runs.prune(older_than, **which)
    show_json({"pruned": pruned}) if as_json else say(f"{pruned or 'no'} run{'' if pruned == 1 else 's'} pruned")


async def _after(run_id: str, act: Act, db: str | None, *, as_json: bool) -> None:
    """Do it, and print how the run stands then."""
    from .opening import opened
    from .screen import facts_of, show_json, show_table

    async with opened(db) as runtime:
        await act(runtime, run_id)
        run = await runtime.runs.get(run_id)
    if as_json:
        return show_json(facts_of(run))
    show_table(("run", "workflow", "status"), [(run.run_id, run.workflow_id, run.waiting_for or run.status)], empty="")
    return None


# --- what takes the code of the workflow, for the types of what is handed in -------------------------------------


def resume(
    run_id: RunId,
    step: Annotated[
        str | None,
        typer.Argument(metavar="STEP", help="The suspended step, or the key of its call.", show_default=False),
    ] = None,
    answer: HandedIn = None,
    code: Code = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Answer a suspended step.

    The run goes on here, as far as it goes.  Without STEP, let a paused run go on."""
    from .opening import perform

    if step is None:
        perform(_after(run_id, _unpause_paused, db, as_json=as_json))
    else:
        perform(_resume(run_id, step, answer or [], code, db, as_json=as_json))


async def _unpause_paused(runtime: Runtime, run_id: str) -> None:
    """Refused where an answer is waited for: who forgot the step would take it for given."""
    from .failures import MisuseError

    if (await runtime.runs.get(run_id)).waiting_for == "suspended":
        raise MisuseError(
            f"run {run_id} is suspended, not paused; name the step to answer, wrkflw hooks list {run_id} tells it"
        )
    await runtime.runs.unpause(run_id)


async def _resume(
    run_id: str, at: str, given: list[str], code: list[str] | None, db: str | None, *, as_json: bool
) -> int:
    from wrkflw.engine.mentions import call_at
    from wrkflw.errors import NotSuspendedError
    from wrkflw.schemas import schema_of

    from .inputs import value_of

    async def act(runtime: Runtime, run: AnyRun, definition: Definition) -> RunResult[Any]:
        journal = await runtime.runs.journal(run_id)
        step, key = call_at(definition, journal, at, {})
        if step.kind == "workflow" or step.body.context != "suspend":
            raise NotSuspendedError(run_id, at, journal.suspended_keys())
        data = value_of(given, schema_of(step.body.resume), f"answer to step {step.id!r}")
        asked = cast("SuspendableStep[Never, object, Any, object, Never]", step)
        return await run.resume(asked, data, at=key)

    return await _on_handle(run_id, act, code, db, as_json=as_json)


def send(
    run_id: RunId,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The name of the event.", show_default=False)],
    payload: HandedIn = None,
    dedupe_id: Annotated[
        str | None, typer.Option(help="Sent again with it, it is taken once.", show_default=False)
    ] = None,
    code: Code = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Send an event to a run.

    Before, during or after its wait for it; the run goes on here, as far as it goes."""
    from .opening import perform

    perform(_send(run_id, event, payload or [], dedupe_id, code, db, as_json=as_json))


async def _send(
    run_id: str,
    name: str,
    given: list[str],
    dedupe_id: str | None,
    code: list[str] | None,
    db: str | None,
    *,
    as_json: bool,
) -> int:
    from wrkflw.engine.mentions import event_of
    from wrkflw.schemas import schema_of

    from .inputs import value_of

    async def act(runtime: Runtime, run: AnyRun, definition: Definition) -> RunResult[Any]:
        event = event_of(definition, name, {})
        return await run.send_event(
            event, value_of(given, schema_of(event.schema), f"payload of event {name!r}"), dedupe_id=dedupe_id
        )

    return await _on_handle(run_id, act, code, db, as_json=as_json)


def wake(
    run_id: RunId,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="Of one sleep; else all that are open.", show_default=False)
    ] = None,
    code: Code = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """End sleeps of a run early.

    It goes on here, as far as it goes."""
    from .opening import perform

    async def act(runtime: Runtime, run: AnyRun, definition: Definition) -> RunResult[Any]:
        await run.wake(key)
        return await _goes_on(runtime, run, definition)

    perform(_on_handle(run_id, act, code, db, as_json=as_json))


async def _goes_on(runtime: Runtime, run: AnyRun, definition: Definition) -> RunResult[Any]:
    """How the run stands once it has ended or parked, here if nobody else is at it."""
    from datetime import timedelta

    from wrkflw.lookout import Lookout

    await runtime.driver.take(run.run_id, definition)  # no sleep was open: nothing has driven it yet
    return (await Lookout(runtime, definition, run.run_id, timedelta(seconds=30)).watch()).result


def fork(
    run_id: RunId,
    at: Annotated[
        str | None,
        typer.Option(help="The step, or the key of a call, from where it runs again.", show_default=False),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP=JSON", help="In place of what a step before gave.", show_default=False),
    ] = None,
    given: Annotated[
        str | None, typer.Option("--input", "-i", metavar="JSON|@FILE", help="Another input.", show_default=False)
    ] = None,
    state: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="Another state.", show_default=False)] = None,
    code: Code = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Begin a new run from the middle of another.

    It takes over what that one recorded before a step; without --at, before it failed."""
    from .inputs import pairs_of
    from .opening import perform

    perform(_fork(run_id, at, pairs_of(output, "--output"), given, state, code, db, as_json=as_json))


async def _fork(
    run_id: str,
    at: str | None,
    outputs: dict[str, str],
    given: str | None,
    state: str | None,
    code: list[str] | None,
    db: str | None,
    *,
    as_json: bool,
) -> int:
    from wrkflw.engine.mentions import call_at, output_from, step_at

    from .inputs import tree_of

    async def act(runtime: Runtime, run: AnyRun, definition: Definition) -> RunResult[Any]:
        draft = run.fork()
        if at is not None:
            step, key = call_at(definition, await runtime.runs.journal(run_id), at, {})
            draft = run.fork(step, key=key)
        for id, text in outputs.items():
            before = step_at(definition, id, {})
            value = output_from(definition, before, tree_of(text), f"output of step {id!r}")
            draft = draft.with_output(before, value)
        if given is not None:
            draft = draft.with_input(definition.input_schema.load_tree(tree_of(given), "input of the fork"))
        if state is not None:
            tree, known = tree_of(state), definition.state_schema
            draft = draft.with_state(tree if known is None else known.load_tree(tree, "state of the fork"))
        return await draft.start()

    return await _on_handle(run_id, act, code, db, as_json=as_json)


async def _on_handle(
    run_id: str,
    act: HandleAct,
    code: list[str] | None,
    db: str | None,
    *,
    as_json: bool,
) -> int:
    """Do it by the handle of the run, drive the run from there, and print what it came to."""
    from .failures import MisuseError
    from .opening import opened
    from .outcomes import tell
    from .targets import workflows_of

    workflows = workflows_of(code, option="--target")
    async with opened(db, workflows) as runtime:
        workflow_id = (await runtime.runs.get(run_id)).workflow_id
        workflow = next((one for one in workflows if one.id == workflow_id), None)
        if workflow is None:
            raise MisuseError(
                f"run {run_id} is of workflow {workflow_id!r}, which is not named here; give its --target"
            )
        run = await workflow.get_run(run_id)
        result = await act(runtime, run, runtime.definitions[workflow_id])
        return tell(result, code, db, as_json=as_json)
