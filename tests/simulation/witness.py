"""What really happened, in order: what clients were told, and what bodies did to the world outside."""

from __future__ import annotations

from typing import Any, TypeAlias

from wrkflw import StepContext, SuspendContext

from . import stand_ins

Fact: TypeAlias = dict[str, Any]

_facts: list[Fact] = []


def begin() -> list[Fact]:
    """A witness of its own for each simulation."""
    global _facts  # noqa: PLW0603  # there is one at a time
    _facts = []
    return _facts


def tell(what: str, **facts: object) -> None:
    """A dead process tells nothing; one that lives may stop, or die, before it does."""
    process, machine = stand_ins.process(), stand_ins.machine()
    machine.point(process, what)
    _facts.append({"what": what, "by": process.name, "at": machine.wall, "latest": machine.latest, **facts})
    machine.mark({name: fact for name, fact in facts.items() if name != "error"})


def effect(ctx: StepContext[Any] | SuspendContext[Any, Any, Any]) -> None:
    """What a body does."""
    tell("EFFECT", run=ctx.run_id, key=ctx.key, attempt=ctx.attempt, epoch=ctx.fence)
