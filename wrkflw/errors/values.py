"""A value does not fit the type that was declared for it, or there is too much of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from .base import WrkflwError

if TYPE_CHECKING:
    from typing import Self


class InvalidValueError(WrkflwError, ValueError):
    """A value does not fit the type that was declared for it.

    Attributes:
        what: the value in words, ``input of step 'send'``.
        where: the part of it that says where, ``step 'send'``.
        problems: what is wrong with it, one line each, ``to: field required``.
    """

    def __init__(self, what: str, schema: str, problems: Sequence[str], *, cure: str | None = None) -> None:
        self._say(what, problems, f"{what} does not fit {schema}: {_first(problems)}", cure)

    @classmethod
    def because(cls, what: str, problem: str, *, cure: str | None = None) -> Self:
        """``what`` and ``problem`` make the sentence: ``into Mail after 'fetch'``, ``: to: field required``."""
        error = cls.__new__(cls)
        joint = "" if problem.startswith(":") else " "
        error._say(what, [problem.removeprefix(": ")], f"{what}{joint}{problem}", cure)
        return error

    @classmethod
    def no_list(cls, node: str, value: object) -> Self:
        """What flows into a foreach is no list."""
        cure = "it needs a list, put a .map() before it"
        return cls.because(f"foreach {node!r}", f"got {type(value).__name__}", cure=cure)

    @classmethod
    def bailed(cls, step_id: str, given: str, workflow_id: str, promised: str) -> Self:
        """The output of a bail is not what the innermost workflow promises; ``given`` and ``promised`` are types."""
        problem = f"gives {given}, but workflow {workflow_id!r} promises {promised}"
        return cls.because(f"bail in step {step_id!r}", problem, cure=f"give a {promised}")

    @classmethod
    def chunk(cls, step_id: str, value: object) -> Self:
        """A chunk that a body wrote is nothing that JSON has."""
        problem = f"is a {type(value).__name__}, which JSON has not"
        return cls.because(f"a chunk of step {step_id!r}", problem, cure="write a list or bytes")

    @classmethod
    def no_time(cls, node: str, given: object) -> Self:
        """The function of a ``sleep_until`` gave no datetime, or one without a timezone."""
        if isinstance(given, datetime):
            return cls.because(f"sleep_until {node!r}", f"needs a timezone-aware time, got {given}", cure="add tzinfo")
        problem = f"needs a datetime, got {type(given).__name__}"
        return cls.because(f"sleep_until {node!r}", problem, cure="give a timezone-aware one")

    def _say(self, what: str, problems: Sequence[str], sentence: str, cure: str | None) -> None:
        Exception.__init__(self, f"{sentence}; {cure}" if cure else sentence)
        self.what = what
        self.where = _after_preposition(what)
        self.problems = list(problems)


class LimitError(WrkflwError):
    """More of something than the runtime allows; its sentence names the field of ``Limits`` that says how much."""

    field: str | None = None
    """``"events"`` where the log has no room for what is to come."""

    def __init__(self, message: str, *, limit: int, got: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.got = got

    @classmethod
    def items(cls, node: str, got: int, limit: int) -> Self:
        """A foreach got a list that is too long."""
        what = f"foreach {node!r} got {got:,} items, the limit is {limit:,}"
        return cls(f"{what}; split the list or raise Limits.items", limit=limit, got=got)

    @classmethod
    def events_of_items(cls, node: str, got: int, needs: int, has: int, limit: int) -> Self:
        """A foreach got a list for which there is no room in the log."""
        what = f"foreach {node!r} got {got:,} items, which need {needs:,} events at least; the run has {has:,}"
        sentence = f"{what}, the limit is {limit:,}; split the list or raise Limits.events"
        error = cls(sentence, limit=limit, got=has + needs)
        error.field = "events"
        return error

    @classmethod
    def iterations(cls, node: str, limit: int, *, of_runtime: bool = False) -> Self:
        """A loop does not end: by its own ``max_iterations``, or by that of the runtime."""
        cure = "Limits.iterations" if of_runtime else "max_iterations="
        sentence = f"loop {node!r} reached {limit:,} iterations; raise {cure} or mend the condition"
        return cls(sentence, limit=limit, got=limit)

    @classmethod
    def nesting(cls, path: str, got: int, limit: int) -> Self:
        """Workflows stand within workflows too often; ``path`` is ``a/b/c``."""
        what = f"workflow {path!r} is nested {got} deep, the limit is {limit}"
        return cls(f"{what}; flatten it or raise Limits.nesting", limit=limit, got=got)


def _first(problems: Sequence[str]) -> str:
    return problems[0] if problems else "it is not one"


def _after_preposition(what: str) -> str:
    for preposition in (" of ", " after ", " in ", " to "):
        _, found, place = what.partition(preposition)
        if found:
            return place
    return what
