"""All commands, and their groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from . import (
    check,
    databases,
    dead_letters,
    dev,
    doctor,
    email,
    graph,
    hooks,
    init,
    lint,
    run,
    runs,
    schedules,
    serve,
    steering,
    tokens,
)

_OPTIONS = {"no_args_is_help": True, "pretty_exceptions_enable": False, "rich_markup_mode": None}

program = typer.Typer(help="Durable, typed workflows.", **_OPTIONS)  # type: ignore[arg-type]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("wrkflw"))
        raise typer.Exit


@program.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """Durable, typed workflows.

    Exit codes: 0 completed, 1 failed, 2 used wrongly, 3 parked.
    """


def _group(name: str, help: str, commands: dict[str, Callable[..., None]]) -> None:
    group = typer.Typer(help=help, **_OPTIONS)  # type: ignore[arg-type]
    for command, does in commands.items():
        group.command(command)(does)
    program.add_typer(group, name=name)


_COMMANDS: dict[str, Callable[..., None]] = {
    "init": init.init,
    "run": run.run,
    "dev": dev.dev,
    "serve": serve.serve,
    "worker": serve.worker,
    "graph": graph.graph,
    "check": check.check,
    "lint": lint.lint,
    "doctor": doctor.doctor,
}
for _name, _does in _COMMANDS.items():
    program.command(_name)(_does)

_group(
    "runs",
    "Look at runs, and steer them.",
    {
        "list": runs.list_runs,
        "show": runs.show_run,
        "events": runs.show_events,
        "tail": runs.tail,
        "cancel": steering.cancel,
        "pause": steering.pause,
        "unpause": steering.unpause,
        "resume": steering.resume,
        "send": steering.send,
        "wake": steering.wake,
        "fork": steering.fork,
        "delete": steering.delete,
        "prune": steering.prune,
    },
)
_group(
    "schedules",
    "The schedules in a database.",
    {
        "list": schedules.list_schedules,
        "pause": schedules.pause,
        "resume": schedules.resume,
        "trigger": schedules.trigger,
        "backfill": schedules.backfill,
    },
)
_group("hooks", "The places where runs wait for something from outside.", {"list": hooks.list_hooks})
_group(
    "dead-letters",
    "Messages that were given up.",
    {"list": dead_letters.list_letters, "requeue": dead_letters.requeue, "drop": dead_letters.drop},
)
_group("email", "Mail.", {"deliver": email.deliver})
_group(
    "db",
    "The database itself.",
    {
        "upgrade": databases.upgrade,
        "backup": databases.back_up,
        "restore": databases.restore,
        "gc": databases.collect,
    },
)
_group(
    "tokens",
    "Who may call a server.",
    {"list": tokens.list_tokens, "add": tokens.add, "remove": tokens.remove},
)
