"""``wrkflw dead-letters``: messages that were given up."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from .parameters import AsJson, Database

MessageId: TypeAlias = Annotated[str, typer.Argument(metavar="MESSAGE", help="Its id.", show_default=False)]


def list_letters(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 100,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """List the messages that were given up, the latest first."""
    from .opening import perform

    perform(_list(limit, db, as_json=as_json))


async def _list(limit: int, db: str | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from wrkflw.world.storage import PageRequest

    from .opening import opened
    from .screen import say, show_json, show_table

    async with opened(db) as runtime:
        page = await runtime.world.queue.dead_letters(PageRequest(limit))
    if as_json:
        shown = [{name: value for name, value in asdict(one).items() if name != "message"} for one in page.data]
        return show_json(shown)
    rows = [(one.message_id, one.run_id or "", one.failures, one.dead_at, one.reason) for one in page.data]
    show_table(("message", "run", "failures", "since", "reason"), rows, empty="no message was given up", last="folded")
    if page.has_more:
        say("there are more: raise --limit")
    return None


def requeue(message_id: MessageId, db: Database = None, as_json: AsJson = False) -> None:
    """Deliver a message again, with no failures counted."""
    from .opening import perform

    perform(_do("requeue", message_id, db, as_json=as_json))


def drop(message_id: MessageId, db: Database = None, as_json: AsJson = False) -> None:
    """Delete a message that was given up."""
    from .opening import perform

    perform(_do("drop", message_id, db, as_json=as_json))


async def _do(what: str, message_id: str, db: str | None, *, as_json: bool) -> None:
    from .opening import opened
    from .screen import say, show_json

    async with opened(db) as runtime:
        queue = runtime.world.queue
        await (queue.requeue if what == "requeue" else queue.drop)(message_id)
    if as_json:
        return show_json({"message_id": message_id, "status": "requeued" if what == "requeue" else "dropped"})
    say(f"message {message_id} {'is delivered again' if what == 'requeue' else 'is gone'}")
    return None
