"""Branch and match: parts of a chain that must be closed before it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from . import graph
from .chains import check_step
from .errors import DefinitionError
from .steps import Step
from .workflows import Workflow

if TYPE_CHECKING:
    from .builder import WorkflowBuilder

InT = TypeVar("InT")
OutT = TypeVar("OutT")
PrevT = TypeVar("PrevT", covariant=True)
StateT = TypeVar("StateT", default=None)
AccT = TypeVar("AccT", covariant=True)
HandledT = TypeVar("HandledT")
NextT = TypeVar("NextT")
CaseT = TypeVar("CaseT")


class _Open(Generic[InT, OutT, PrevT, StateT]):
    """A part of ``chain`` that is not closed: all that the chain could do before must wait."""

    __slots__ = ("_chain", "_id")

    _unclosed = ""

    def __init__(self, chain: WorkflowBuilder[InT, OutT, PrevT, StateT], id: str) -> None:
        self._chain = chain
        self._id = id

    def _close(self, node: graph.Node) -> WorkflowBuilder[InT, OutT, Any, StateT]:
        return self._chain._with(node)  # pyright: ignore[reportPrivateUsage] -- what is open is a part of the builder

    if not TYPE_CHECKING:  # a checker must go on reporting names that do not exist

        def __getattr__(self, name: str) -> object:
            if name not in _Open.__slots__ and (hasattr(type(self._chain), name) or hasattr(Workflow, name)):
                raise AttributeError(self._unclosed)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class Branch(_Open[InT, OutT, PrevT, StateT], Generic[InT, OutT, PrevT, AccT, StateT]):
    """First condition that holds wins.  Only ``otherwise`` and ``otherwise_pass`` lead back to the builder."""

    __slots__ = ("_arms",)

    _unclosed = "the branch is not closed; end it with .otherwise(step) or .otherwise_pass()"

    def __init__(
        self, chain: WorkflowBuilder[InT, OutT, PrevT, StateT], id: str, arms: tuple[graph.Arm, ...] = ()
    ) -> None:
        super().__init__(chain, id)
        self._arms = arms

    def when(
        self, condition: Callable[[PrevT], bool], step: Step[PrevT, NextT, StateT], /
    ) -> Branch[InT, OutT, PrevT, AccT | NextT, StateT]:
        """Another arm: ``step``, where no condition before held, and ``condition(previous output)`` does.

        The condition is plain, synchronous and pure, and gives a real bool.  It is asked once: the choice is recorded.
        """
        check_step(".when()", step)
        return Branch(self._chain, self._id, (*self._arms, graph.Arm(condition, step)))

    def otherwise(self, step: Step[PrevT, NextT, StateT], /) -> WorkflowBuilder[InT, OutT, AccT | NextT, StateT]:
        """Execute ``step`` where no condition held.

        Raises:
            DefinitionError: there is no ``.when()``.
        """
        check_step(".otherwise()", step)
        return self._end(step)

    def otherwise_pass(self) -> WorkflowBuilder[InT, OutT, AccT | PrevT, StateT]:
        """No condition held: hand the previous output on unchanged.

        Raises:
            DefinitionError: there is no ``.when()``.
        """
        return self._end(None)

    def __repr__(self) -> str:
        return f"Branch({self._id!r}, {len(self._arms)} arms)"

    def _end(self, otherwise: graph.AnyStep | None) -> WorkflowBuilder[InT, OutT, Any, StateT]:
        if not self._arms:
            raise DefinitionError("branch has no .when(); add one, or use .then()")
        return self._close(graph.Branch(self._id, self._arms, otherwise))


class Exhaustive(Generic[InT, OutT, AccT, HandledT, StateT]):
    """``match.exhaustive``: demands Prev <: Handled, i.e. that every member of the union has a case."""

    def __get__(
        self, match: Match[InT, OutT, HandledT, AccT, HandledT, StateT], owner: type[object] | None = None, /
    ) -> Callable[[], WorkflowBuilder[InT, OutT, AccT, StateT]]:
        def exhaustive() -> WorkflowBuilder[InT, OutT, AccT, StateT]:
            """Close the match: its cases take everything.

            Raises:
                DefinitionError: there is no ``.case()``.
            """
            return match._end(None)  # pyright: ignore[reportPrivateUsage] -- this descriptor is a method of the match

        return exhaustive


class Match(_Open[InT, OutT, PrevT, StateT], Generic[InT, OutT, PrevT, AccT, HandledT, StateT]):
    """Branch on the type of a union, each case being a step which takes one (or more) of its members.

    ``exhaustive()`` is accepted only when the cases together take every member.
    """

    __slots__ = ("_cases",)

    _unclosed = "the match is not closed; end it with .exhaustive() or .otherwise(step)"

    exhaustive: Exhaustive[InT, OutT, AccT, HandledT, StateT] = Exhaustive()

    def __init__(
        self, chain: WorkflowBuilder[InT, OutT, PrevT, StateT], id: str, cases: tuple[graph.AnyStep, ...] = ()
    ) -> None:
        super().__init__(chain, id)
        self._cases = cases

    def case(
        self, step: Step[CaseT, NextT, StateT], /
    ) -> Match[InT, OutT, PrevT, AccT | NextT, HandledT | CaseT, StateT]:
        """Another case: ``step``, where no case before takes the value, and it does."""
        check_step(".case()", step)
        return Match(self._chain, self._id, (*self._cases, step))

    def otherwise(self, step: Step[PrevT, NextT, StateT], /) -> WorkflowBuilder[InT, OutT, AccT | NextT, StateT]:
        """Execute ``step`` where no case takes the value.

        Raises:
            DefinitionError: there is no ``.case()``.
        """
        check_step(".otherwise()", step)
        return self._end(step)

    def __repr__(self) -> str:
        return f"Match({self._id!r}, {len(self._cases)} cases)"

    def _end(self, otherwise: graph.AnyStep | None) -> WorkflowBuilder[InT, OutT, Any, StateT]:
        if not self._cases:
            raise DefinitionError("match has no .case(); add one, or use .then()")
        return self._close(graph.Match(self._id, self._cases, otherwise))
