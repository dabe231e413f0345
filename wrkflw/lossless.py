"""Core schemas rewritten so that a trip through JSON loses nothing.

Plain pydantic JSON forgets: bytes that are not UTF-8 cannot be written at all, a field may be written by one name and
read by another, computed fields are written and not expected, and of a union only the value is kept.  Here every
``bytes`` becomes base64, every field goes by its own name, and every union whose members JSON cannot tell apart says
which one it is (see ``unions``).

The format of the core schema is that of ``pydantic_core.core_schema``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from .unions import Node, is_ambiguous, tagged

LOSSLESS_BYTES: Mapping[str, str] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

# How pydantic builds types of its own, such as paths: the unions inside are not the user's, unless it is a container.
_BUILT_IN = frozenset({"lax-or-strict", "json-or-python"})
_CONTAINED = frozenset({"items_schema", "keys_schema", "values_schema"})
_CONFIGURED = frozenset({"model", "dataclass", "typed-dict"})
_ONE_WAY = ("validation_alias", "serialization_alias", "computed_fields")
# Where a node holds others, beside whatever ends with "_schema".  A dict under one of those in _BY_NAME is no node.
_HOLDING = frozenset({"schema", "steps", "choices", "fields", "definitions"})
_BY_NAME = frozenset({"choices", "fields"})


def rewrite(schema: Node) -> Node | None:
    """The schema of what is stored, or None when nothing would be lost and it may be used as it is."""
    rewriting = _Rewriting(schema)
    lossless = rewriting.of(schema)
    return lossless if rewriting.changed else None


class _Rewriting:
    def __init__(self, schema: Node) -> None:
        shared: list[Node] = schema["definitions"] if schema["type"] == "definitions" else []
        self._definitions = {item["ref"]: item for item in shared}
        self.changed = False

    def of(self, node: Node, *, built_in: bool = False) -> Node:
        built_in = built_in or node.get("type") in _BUILT_IN
        after = dict(node)
        for key, held in node.items():
            if key in _HOLDING or key.endswith("_schema"):
                inside = built_in and key not in _CONTAINED
                after[key] = self._held(held, by_name=key in _BY_NAME, built_in=inside)
        return self._writing_as_it_reads(after) if built_in else self._lossless(after, node)

    def _held(self, held: object, *, by_name: bool, built_in: bool) -> object:
        if isinstance(held, dict):
            inside = cast(Node, held)
            if by_name:
                return {name: self.of(node, built_in=built_in) for name, node in inside.items()}
            return self.of(inside, built_in=built_in)
        if isinstance(held, list | tuple):  # a tuple is a schema with its label
            each = cast("list[object] | tuple[object, ...]", held)
            return type(each)(self._held(one, by_name=False, built_in=built_in) for one in each)
        return held

    def _lossless(self, after: Node, before: Node) -> Node:
        kind = after.get("type")
        one_way = [after.pop(key) for key in _ONE_WAY if after.get(key)]
        if one_way or kind == "bytes":
            self.changed = True
        if kind in _CONFIGURED:
            after["config"] = {**after.get("config", {}), **LOSSLESS_BYTES}
        if kind == "union" and is_ambiguous(before, self._definitions):
            self.changed = True
            return tagged(after, before, self._definitions, config=LOSSLESS_BYTES)
        return after

    def _writing_as_it_reads(self, after: Node) -> Node:
        # Containers of pydantic's own name once more what they hold, for their serializer.
        serialization: Node = after.get("serialization", {})
        if after.get("type") in _BUILT_IN and "schema" in serialization:
            return {**after, "serialization": {**serialization, "schema": self.of(serialization["schema"])}}
        return after
