"""A graph as a program: node after node, from where the record ends."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from wrkflw.context import MapContext
from wrkflw.errors import DefinitionChangedError, InvalidValueError, MapError
from wrkflw.graph import Into, Map, MapContextual, Then
from wrkflw.schemas import schema_of

from .calls import NodeCall
from .definition import Definition
from .values import Flow

if TYPE_CHECKING:
    from .drive import Drive


async def interpret(definition: Definition, drive: Drive) -> Flow:
    """What flows out of the last node.

    What stands before the last recorded step is not looked at again: its results are in the record, and maps between
    have no effect of their own.  A step that was inserted there is not run for this run.
    """
    nodes = definition.graph.nodes
    frontier = definition.frontier(drive.journal)
    flow = _input(definition, drive) if frontier is None else Flow(None)
    for position in range(frontier or 0, len(nodes)):
        match nodes[position]:
            case Then(step=step):
                flow = await drive.do(step.id, step, flow)
            case Map(id=node, function=function):
                flow = _mapped(node, function, flow.value)
            case MapContextual(id=node, function=function):
                flow = _mapped(node, function, flow.value, MapContext[object, object](NodeCall(drive, position)))
            case Into(schema=schema):
                flow = _into(definition, position, schema, flow)
    return flow


def _input(definition: Definition, drive: Drive) -> Flow:
    data = drive.journal.input
    if data is None:
        return Flow(None)
    try:
        return Flow(definition.input_schema.load(data, "its input"), data)
    except InvalidValueError as error:
        raise DefinitionChangedError.unreadable(drive.run_id, "", definition.id, error) from error


def _mapped(node: str, function: object, *arguments: object) -> Flow:
    assert callable(function)
    try:
        value: object = function(*arguments)
    except DefinitionChangedError:  # it asked for a result that the code can no longer read
        raise
    except Exception as error:
        raise MapError.raised(node, error) from error
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise MapError.gave_coroutine(node)
    return Flow(value)


def _into(definition: Definition, position: int, form: object, flow: Flow) -> Flow:
    schema = schema_of(form)
    before = definition.graph.nodes[position - 1].id if position else definition.id
    what = f"into {schema.name} after {before!r}"
    try:
        value = schema.by_fields(flow.value, what)
    except InvalidValueError as error:
        raise InvalidValueError.because(what, f": {error.problems[0]}", cure="add it with .map()") from error
    return Flow(value)
