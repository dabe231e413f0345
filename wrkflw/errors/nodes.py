"""User code between steps did not do what it must."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias

from .base import WrkflwError, exception, names

if TYPE_CHECKING:
    from typing import Self

ConditionKind: TypeAlias = Literal["only_if", "arm", "loop"]
"""Where a condition stands: on a step, before an arm of a branch, after an iteration."""
MapKind: TypeAlias = Literal["map", "join", "join_event", "sleep_until"]
"""The nodes that call a plain function of the user's, which gives a value."""

_CONDITIONS = {
    "only_if": "only_if of step {!r}",
    "arm": "the condition of arm {!r}",
    "loop": "the condition of loop {!r}",
}


class NodeError(WrkflwError):
    """A function between steps did not do what it must; ``node`` is the id of its node."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


class ConditionError(NodeError):
    """A condition raised, or gave something else than a bool; ``node`` is the id of its step."""

    @classmethod
    def raised(cls, kind: ConditionKind, node: str, error: BaseException, *, iteration: int | None = None) -> Self:
        """The condition raised ``error``; that of a loop after ``iteration``."""
        when = "" if iteration is None else f" after iteration {iteration}"
        what = exception(type(error).__name__, str(error))
        return cls(node, f"{condition_of(kind, node)} raised {what}{when}; conditions must not raise")

    @classmethod
    def not_a_bool(cls, kind: ConditionKind, node: str, value: object) -> Self:
        """The condition gave ``value``, of which nobody knows whether it was meant."""
        return cls(node, f"{condition_of(kind, node)} gave {value!r}, not a bool; compare explicitly")

    @classmethod
    def gave_coroutine(cls, kind: ConditionKind, node: str) -> Self:
        """The condition is asynchronous, which only calling it showed."""
        return cls(node, f"{condition_of(kind, node)} gave a coroutine; return True or False")


class MapError(NodeError):
    """The function of a map raised, or gave a coroutine."""

    @classmethod
    def raised(cls, node: str, error: BaseException, *, kind: MapKind = "map") -> Self:
        """The function raised ``error``."""
        cure = "do fallible work in a step, which can be retried"
        return cls(node, f"{kind} {node!r} raised {exception(type(error).__name__, str(error))}; {cure}")

    @classmethod
    def gave_coroutine(cls, node: str, *, kind: MapKind = "map") -> Self:
        """The function is asynchronous, which only calling it showed."""
        return cls(node, f"{kind} {node!r} gave a coroutine; use a step for async work")


class NoMatchError(NodeError):
    """No case takes the value; ``cases`` are the ids of those there are."""

    def __init__(self, node: str, cases: Iterable[str], value: object) -> None:
        self.cases = tuple(cases)
        given = type(value).__name__
        super().__init__(node, f"none of the cases {names(self.cases)} takes {given}; add a case or .otherwise(step)")


def condition_of(kind: ConditionKind, node: str) -> str:
    """``the condition of arm 'ask-first'``."""
    return _CONDITIONS[kind].format(node)
