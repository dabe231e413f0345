"""The workflow as data: nodes in order, between an input and an output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Never, TypeAlias, assert_never

from .shapes import shape_of
from .steps import Step

AnyStep: TypeAlias = Step[Never, object, Never]


@dataclass(frozen=True)
class Then:
    """A step."""

    step: AnyStep

    @property
    def id(self) -> str:
        return self.step.id


@dataclass(frozen=True)
class Map:
    """A plain function of what flows in: ``.map``."""

    id: str
    function: Callable[[Any], object]


@dataclass(frozen=True)
class MapContextual:
    """A plain function of what flows in and a MapContext: ``.map_ctx``."""

    id: str
    function: Callable[[Any, Any], object]


@dataclass(frozen=True)
class Into:
    """What flows in, validated again as another type: ``.into``."""

    id: str
    schema: object


Node: TypeAlias = Then | Map | MapContextual | Into


@dataclass(frozen=True, eq=False)
class Graph:
    """A workflow's nodes, and the types at its ends.

    ``state_schema`` is a class that makes the first state, or ``None`` where the workflow has no state.
    """

    workflow_id: str
    input_schema: object
    output_schema: object
    state_schema: Callable[[], object] | None
    nodes: tuple[Node, ...]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over ids, kinds, order and the shapes of schemas.  Slow the first time.

        Another one means that a recorded run might no longer fit.
        """
        state = None if self.state_schema is None else shape_of(self.state_schema)
        ends = [shape_of(self.input_schema), shape_of(self.output_schema), state]
        told = json.dumps([self.workflow_id, ends, [_tell(node) for node in self.nodes]], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @cached_property
    def steps(self) -> dict[str, AnyStep]:
        """The steps by id, in order."""
        return {node.step.id: node.step for node in self.nodes if isinstance(node, Then)}


def fingerprint(graph: Graph) -> str:
    """The fingerprint of a graph, made once."""
    return graph.fingerprint


def _tell(node: Node) -> list[object]:
    match node:
        case Then(step=step):
            return ["then", step.id, shape_of(step.input_schema), shape_of(step.stored_output_schema)]
        case Map(id=id):
            return ["map", id]
        case MapContextual(id=id):
            return ["map_ctx", id]
        case Into(id=id, schema=schema):
            return ["into", id, shape_of(schema)]
        case _:
            assert_never(node)
