"""``wrkflw hooks``: the places where runs wait for something from outside."""

from __future__ import annotations

from typing import Annotated

import typer

from .parameters import AsJson, Database


def list_hooks(
    run_id: Annotated[str | None, typer.Argument(metavar="RUN", help="Of one run alone.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 100,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """List live hooks, oldest first.

    Who knows a token may answer."""
    from .opening import perform

    perform(_list(run_id, limit, db, as_json=as_json))


async def _list(run_id: str | None, limit: int, db: str | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from wrkflw.world.storage import PageRequest

    from .opening import opened
    from .screen import say, show_json, show_table

    async with opened(db) as runtime:
        if run_id is not None:
            await runtime.runs.get(run_id)
        storage = runtime.world.storage
        page = await storage.hooks.list(run_id, page=PageRequest(limit))
        keys = {
            hook.hook_id: hook.step_id and (await storage.steps.get(hook.run_id, hook.step_id, resolve_data="none")).key
            for hook in page.data
        }
    if as_json:
        hidden = ("metadata", "created_slot", "released_slot")
        told = [{name: value for name, value in asdict(hook).items() if name not in hidden} for hook in page.data]
        return show_json([one | {"step_key": keys[str(one["hook_id"])]} for one in told])
    rows = [(hook.run_id, hook.kind, keys[hook.hook_id] or "", hook.created_at, hook.token) for hook in page.data]
    show_table(("run", "kind", "step", "since", "token"), rows, empty="no hook is live")
    if page.has_more:
        say("there are more: raise --limit")
    return None
