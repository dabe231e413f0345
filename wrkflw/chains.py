"""A chain in the making: its graph so far, and the ids of what comes next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, cast

from typing_extensions import TypeVar

from . import graph, steps
from .graph import Graph, Node
from .names import check_id
from .workflows import WorkflowOptions

if TYPE_CHECKING:
    from .builder import WorkflowBuilder

InT = TypeVar("InT")
OutT = TypeVar("OutT")
PrevT = TypeVar("PrevT", covariant=True)
StateT = TypeVar("StateT", default=None)


@dataclass(frozen=True)
class Draft:
    """A graph in the making, and the options of the workflow it will be."""

    graph: Graph
    options: WorkflowOptions

    def with_node(self, node: Node) -> Draft:
        return replace(self, graph=replace(self.graph, nodes=(*self.graph.nodes, node)))

    def next_id(self, kind: str, *kinds: type[Node]) -> str:
        """``map-3`` for the third node of these kinds."""
        return f"{kind}-{1 + sum(isinstance(node, kinds) for node in self.graph.nodes)}"


class Chain(Generic[InT, OutT, PrevT, StateT]):
    """From In, towards Out, now at Prev.  Immutable: what adds a node gives a new one."""

    __slots__ = ("_draft",)

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def _with(self, node: Node) -> WorkflowBuilder[InT, OutT, Any, StateT]:
        return cast("WorkflowBuilder[InT, OutT, Any, StateT]", type(self)(self._draft.with_node(node)))

    def _id(self, id: str | None, kind: str, *kinds: type[Node]) -> str:
        return self._draft.next_id(kind, *kinds) if id is None else check_id(kind, id)

    def _sleep_id(self, id: str | None) -> str:
        return self._id(id, "sleep", graph.Sleep, graph.SleepUntil)


def check_step(method: str, value: object, *, cure: str = steps.DECORATE) -> graph.AnyStep:
    """``value``, when it is a step; on its own line, and of any object: not all callers are typed.

    Raises:
        TypeError: ``value`` is a plain function, a builder, or no step at all.
    """
    if isinstance(value, Chain):
        draft: Draft = value._draft  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType] -- it is this module's
        workflow_id = draft.graph.workflow_id
        raise TypeError(f"{method} takes a step, and {workflow_id!r} is still a builder; end the chain with .commit()")
    return steps.check_step(method, value, cure=cure)
