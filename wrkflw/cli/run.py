"""``wrkflw run``: start one run, show how it goes on, print what it gives."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from .parameters import AsJson, Database, Given


def run(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="module:workflow or path/to/file.py:workflow.")],
    fields: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Fields of the input.", show_default=False)
    ] = None,
    given: Given = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait through timers of any length, and for events that others send.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Record the run for a worker, and print its id.")] = False,
    run_id: Annotated[str | None, typer.Option("--id", help="The id of the run.", show_default=False)] = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: the same key is the same run.", show_default=False)
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", metavar="NAME=VALUE", show_default=False)
    ] = None,
    state: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE", help="The first state.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Start one run, and show how it goes on.

    Its output goes to stdout.
    Timers that are due within 30 seconds are waited for.  Exit code: 0 completed, 1 failed, 3 parked.
    """
    from .inputs import pairs_of
    from .opening import perform

    started = _Start(target, [*(given or ()), *(fields or ())], run_id, key, pairs_of(attribute, "--attribute"), state)
    perform(_run(started, db, wait=wait, detach=detach, quiet=quiet or as_json, as_json=as_json))


class _Start:
    """The run that is meant."""

    def __init__(
        self,
        target: str,
        given: list[str],
        run_id: str | None,
        key: str | None,
        attributes: dict[str, str],
        state: str | None,
    ) -> None:
        from wrkflw.schemas import schema_of

        from .failures import MisuseError
        from .inputs import tree_of, value_of
        from .targets import workflow_of

        self.target = target
        self.workflow = workflow_of(target)
        self.input = value_of(given, schema_of(self.workflow.input_schema), f"input of workflow {self.workflow.id!r}")
        self.state: Any = None
        if state is not None:
            if self.workflow.state_schema is None:
                raise MisuseError(f"workflow {self.workflow.id!r} has no state; leave out --state")
            self.state = schema_of(self.workflow.state_schema).load_tree(tree_of(state), "the first state")
        self.options: dict[str, Any] = {"run_id": run_id, "idempotency_key": key, "attributes": attributes}


async def _run(started: _Start, db: str | None, *, wait: bool, detach: bool, quiet: bool, as_json: bool) -> int:
    from .live import with_progress
    from .opening import new_runtime
    from .outcomes import tell
    from .screen import say, show, show_json

    async with new_runtime(db, [started.workflow], worker=False) as runtime:
        run = await started.workflow.create_run(**started.options)
        if detach:
            await run.enqueue(started.input, initial_state=started.state)
            show_json({"run_id": run.run_id, "status": "pending"}) if as_json else show(run.run_id)
            return 0
        try:
            work = run.start(started.input, initial_state=started.state, wait=None if wait else "30s")
            result = await with_progress(runtime, run, work, quiet=quiet)
            if wait and result.status == "waiting":
                result = await with_progress(runtime, run, run.result(), quiet=quiet)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C, or the like
                say(f"run {run.run_id} stays where it is; a worker goes on with it")
            raise
        return tell(result, [started.target], db, as_json=as_json, debug="--debug" in sys.argv)
