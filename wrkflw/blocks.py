"""The parts of a builder that call steps side by side, and again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence, ValuesView
from typing import TYPE_CHECKING, Any, Generic, Never, overload

from typing_extensions import TypeVar, TypeVarTuple, Unpack

from . import graph
from .chains import Chain, check_step
from .errors import DefinitionError
from .steps import LoopStep, Step

if TYPE_CHECKING:
    from .builder import WorkflowBuilder

InT = TypeVar("InT")
OutT = TypeVar("OutT")
PrevT = TypeVar("PrevT", covariant=True)
StateT = TypeVar("StateT", default=None)
# of the methods
NextT = TypeVar("NextT")
ItemT = TypeVar("ItemT")
LoopT = TypeVar("LoopT")
O1 = TypeVar("O1")
O2 = TypeVar("O2")
O3 = TypeVar("O3")
O4 = TypeVar("O4")
O5 = TypeVar("O5")
O6 = TypeVar("O6")
O7 = TypeVar("O7")
O8 = TypeVar("O8")
Ts = TypeVarTuple("Ts")

_MAX_ITERATIONS = 10_000


class Blocks(Chain[InT, OutT, PrevT, StateT], Generic[InT, OutT, PrevT, StateT]):
    """What a builder can do with a step, or with several, that is called more than once."""

    __slots__ = ()

    # -------------------------------------------------------------- side by side
    @overload
    def parallel(
        self, s1: Step[PrevT, O1, StateT], s2: Step[PrevT, O2, StateT], /
    ) -> WorkflowBuilder[InT, OutT, tuple[O1, O2], StateT]: ...
    @overload
    def parallel(
        self, s1: Step[PrevT, O1, StateT], s2: Step[PrevT, O2, StateT], s3: Step[PrevT, O3, StateT], /
    ) -> WorkflowBuilder[InT, OutT, tuple[O1, O2, O3], StateT]: ...
    @overload
    def parallel(
        self,
        s1: Step[PrevT, O1, StateT],
        s2: Step[PrevT, O2, StateT],
        s3: Step[PrevT, O3, StateT],
        s4: Step[PrevT, O4, StateT],
        /,
    ) -> WorkflowBuilder[InT, OutT, tuple[O1, O2, O3, O4], StateT]: ...
    @overload
    def parallel(
        self,
        s1: Step[PrevT, O1, StateT],
        s2: Step[PrevT, O2, StateT],
        s3: Step[PrevT, O3, StateT],
        s4: Step[PrevT, O4, StateT],
        s5: Step[PrevT, O5, StateT],
        /,
    ) -> WorkflowBuilder[InT, OutT, tuple[O1, O2, O3, O4, O5], StateT]: ...
    @overload
    def parallel(
        self,
        s1: Step[PrevT, O1, StateT],
        s2: Step[PrevT, O2, StateT],
        s3: Step[PrevT, O3, StateT],
        s4: Step[PrevT, O4, StateT],
        s5: Step[PrevT, O5, StateT],
        s6: Step[PrevT, O6, StateT],
        /,
    ) -> WorkflowBuilder[InT, OutT, tuple[O1, O2, O3, O4, O5, O6], StateT]: ...
    @overload
    def parallel(
        self,
        s1: Step[PrevT, O1, StateT],
        s2: Step[PrevT, O2, StateT],
        s3: Step[PrevT, O3, StateT],
        s4: Step[PrevT, O4, StateT],
        s5: Step[PrevT, O5, StateT],
        s6: Step[PrevT, O6, StateT],
        s7: Step[PrevT, O7, StateT],
        /,
    ) -> WorkflowBuilder[InT, OutT, tuple[O1, O2, O3, O4, O5, O6, O7], StateT]: ...
    @overload
    def parallel(
        self,
        s1: Step[PrevT, O1, StateT],
        s2: Step[PrevT, O2, StateT],
        s3: Step[PrevT, O3, StateT],
        s4: Step[PrevT, O4, StateT],
        s5: Step[PrevT, O5, StateT],
        s6: Step[PrevT, O6, StateT],
        s7: Step[PrevT, O7, StateT],
        s8: Step[PrevT, O8, StateT],
        /,
    ) -> WorkflowBuilder[InT, OutT, tuple[O1, O2, O3, O4, O5, O6, O7, O8], StateT]: ...
    def parallel(self, *steps: Step[Never, object, Never]) -> WorkflowBuilder[InT, OutT, Any, StateT]:
        """Execute two to eight steps side by side, each with its own copy of what flows in.

        Their outputs flow on as a tuple in this order, whatever finished first.

        Raises:
            DefinitionError: there are fewer than two steps, or more than eight.
            TypeError: one of them is no step.
        """
        if len(steps) == 1 and isinstance(steps[0], list | tuple):
            given = type(steps[0]).__name__
            raise TypeError(f".parallel() got a {given}; write .parallel(a, b) or use .parallel_all([...])")
        if not 2 <= len(steps) <= 8:
            cure = "use .parallel_all()" if len(steps) > 8 else "use .then()"
            raise DefinitionError(f"parallel takes two to eight steps, got {len(steps)}; {cure}")
        return self._side_by_side(".parallel()", graph.Parallel(self._next_parallel(), steps, "tuple"))

    def parallel_all(
        self, steps: Sequence[Step[PrevT, NextT, StateT]], /, *, concurrency: int | None = None
    ) -> WorkflowBuilder[InT, OutT, list[NextT], StateT]:
        """Execute any number of steps with one output type side by side; their outputs flow on as a list.

        ``concurrency`` is how many of them may be unfinished at a time.

        Raises:
            DefinitionError: there is no step.
            TypeError: it is no list, or one of them is no step.
            ValueError: ``concurrency`` is less than one.
        """
        _check_sequence(steps)
        if not steps:
            raise DefinitionError("parallel_all got no steps; give at least one")
        at_a_time = None if concurrency is None else _at_least_one("concurrency", concurrency)
        node = graph.Parallel(self._next_parallel(), tuple(steps), "list", at_a_time)
        return self._side_by_side(".parallel_all()", node)

    def join(
        self: Blocks[InT, OutT, tuple[*Ts], StateT], fn: Callable[[Unpack[Ts]], NextT], /
    ) -> WorkflowBuilder[InT, OutT, NextT, StateT]:
        """Spread the tuple of ``.parallel`` over the parameters of ``fn``, which is a map."""
        return self._with(graph.Join(self._draft.next_id("join", graph.Join), fn))

    # -------------------------------------------------------------- again and again
    def foreach(
        self: Blocks[InT, OutT, list[ItemT], StateT],
        step: Step[ItemT, NextT, StateT],
        /,
        *,
        concurrency: int = 1,
    ) -> WorkflowBuilder[InT, OutT, list[NextT], StateT]:
        """Execute ``step`` for every item of the list that flows in; the outputs flow on as a list in the same order.

        ``concurrency`` is how many items may be unfinished at a time: with 1, strictly one after the other.

        Raises:
            TypeError: ``step`` is no step.
            ValueError: ``concurrency`` is less than one.
        """
        check_step(".foreach()", step)
        return self._with(graph.Foreach(step, _at_least_one("concurrency", concurrency)))

    def do_while(
        self,
        step: LoopStep[PrevT, LoopT, StateT],
        condition: Callable[[LoopT], bool],
        /,
        *,
        max_iterations: int = _MAX_ITERATIONS,
    ) -> WorkflowBuilder[InT, OutT, LoopT, StateT]:
        """Execute ``step``, at least once, again with its own output as long as ``condition(output)`` holds.

        Raises:
            TypeError: ``step`` is no step.
            ValueError: ``max_iterations`` is less than one.
        """
        return self._loop(".do_while()", step, condition, max_iterations)

    def do_until(
        self,
        step: LoopStep[PrevT, LoopT, StateT],
        condition: Callable[[LoopT], bool],
        /,
        *,
        max_iterations: int = _MAX_ITERATIONS,
    ) -> WorkflowBuilder[InT, OutT, LoopT, StateT]:
        """Execute ``step``, at least once, again with its own output until ``condition(output)`` holds.

        Raises:
            TypeError: ``step`` is no step.
            ValueError: ``max_iterations`` is less than one.
        """
        return self._loop(".do_until()", step, condition, max_iterations)

    def _side_by_side(self, method: str, node: graph.Parallel) -> WorkflowBuilder[InT, OutT, Any, StateT]:
        for step in node.steps:
            check_step(method, step)
        return self._with(node)

    def _loop(
        self, method: str, step: object, condition: Callable[[Any], object], max_iterations: int
    ) -> WorkflowBuilder[InT, OutT, Any, StateT]:
        until = method == ".do_until()"
        limit = _at_least_one("max_iterations", max_iterations)
        return self._with(graph.Loop(check_step(method, step), condition, until, limit))

    def _next_parallel(self) -> str:
        return self._draft.next_id("parallel", graph.Parallel)


def _check_sequence(steps: object) -> None:  # of any object: not all callers are typed
    if not isinstance(steps, Sequence | ValuesView):  # a set has no order, and an iterator may be empty
        raise TypeError(f".parallel_all() takes a list of steps, got a {type(steps).__name__}; write [...]")


def _at_least_one(option: str, number: object) -> int:  # of any object: not all callers are typed
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{option} must be one or more, got {number!r}")
    return number
