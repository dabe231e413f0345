"""Core schemas rewritten so that a trip through JSON loses nothing.

Plain pydantic JSON forgets two things: bytes that are not UTF-8 cannot be written at all, and of a union only the value
is kept, so that look-alike members come back as the first one.  Here every ``bytes`` becomes base64, and every union
whose members JSON cannot tell apart carries the name of the chosen member beside the value.

The format of the core schema is that of ``pydantic_core.core_schema``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from pydantic_core import SchemaValidator

Node: TypeAlias = dict[str, Any]  # a core schema is a tree of plain dicts, whose values have no common type

LOSSLESS_BYTES: Mapping[str, str] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}

_OPAQUE = frozenset({"cls", "metadata", "ref", "schema_ref", "serialization", "config"})
# How pydantic builds types of its own, such as paths: the unions inside are not the user's.
_BUILT_IN = frozenset({"lax-or-strict", "json-or-python"})
_CONFIGURED = frozenset({"model", "dataclass", "typed-dict"})
_WRAPPERS = frozenset({"default", "nullable", "function-after", "function-before", "function-wrap"})
# What a member looks like in JSON.  Two members of one shape cannot be told apart by the reader.
_SHAPES = {
    **dict.fromkeys(("model", "dataclass", "typed-dict", "dict"), "object"),
    **dict.fromkeys(("list", "tuple", "set", "frozenset", "generator"), "array"),
    **dict.fromkeys(("int", "float"), "number"),
    "bool": "boolean",
    "none": "null",
    "str": "string",
}


def rewrite(schema: Node) -> Node | None:
    """The schema with lossless bytes and tagged unions, or None when it holds neither and may be used as it is."""
    if not any(node.get("type") in ("bytes", "union") for node in _nodes(schema)):
        return None
    definitions: list[Node] = schema.get("definitions", []) if schema.get("type") == "definitions" else []
    return cast(Node, _rewritten(schema, {item["ref"]: item for item in definitions}))


def _nodes(tree: object) -> Iterator[Node]:
    if isinstance(tree, dict):
        node = cast(Node, tree)
        if node.get("type") in _BUILT_IN:
            return
        yield node
        for name, child in node.items():
            if name not in _OPAQUE:
                yield from _nodes(child)
    elif isinstance(tree, list | tuple):
        for child in cast("list[object]", tree):
            yield from _nodes(child)


def _rewritten(tree: object, definitions: dict[str, Node]) -> object:
    if isinstance(tree, list):
        return [_rewritten(child, definitions) for child in cast("list[object]", tree)]
    if isinstance(tree, tuple):
        return tuple(_rewritten(child, definitions) for child in cast("tuple[object, ...]", tree))
    if not isinstance(tree, dict):
        return tree
    before = cast(Node, tree)
    if before.get("type") in _BUILT_IN:
        return before
    after: Node = {name: child if name in _OPAQUE else _rewritten(child, definitions) for name, child in before.items()}
    if after.get("type") in _CONFIGURED:
        after["config"] = {**after.get("config", {}), **LOSSLESS_BYTES}
    if after.get("type") == "union" and "choices" in after and _is_ambiguous(before, definitions):
        return _tagged(after, before, definitions)
    return after


# --- unions ----------------------------------------------------------------------------------------


def _choices(union: Node) -> list[Node]:
    # A choice is a schema, or a pair of schema and label.
    return [choice[0] if isinstance(choice, tuple) else choice for choice in cast("list[Any]", union["choices"])]


def _resolved(choice: Node, definitions: dict[str, Node]) -> Node:
    while True:
        if choice["type"] == "definition-ref" and choice["schema_ref"] in definitions:
            choice = definitions[choice["schema_ref"]]
        elif choice["type"] in _WRAPPERS and "schema" in choice:
            choice = choice["schema"]
        else:
            return choice


def _is_ambiguous(union: Node, definitions: dict[str, Node]) -> bool:
    kinds = [_resolved(choice, definitions)["type"] for choice in _choices(union)]
    if set(kinds) <= {"int", "float", "bool", "str", "none"}:
        return False  # JSON itself tells 1, 1.0, true and "1" apart
    shapes = [_SHAPES.get(kind, "string") for kind in kinds]
    return len(set(shapes)) < len(shapes)


def _tagged(union: Node, original: Node, definitions: dict[str, Node]) -> Node:
    labels = _labels([_resolved(choice, definitions) for choice in _choices(original)])
    chosen = _chooser(_choices(original), labels, definitions)

    def write(value: object, write_member: Callable[[object], object]) -> Node:
        return {"$type": chosen(value), "value": write_member(value)}

    def unwrap(box: Node) -> object:
        return box["value"]

    members = {
        label: {
            "type": "function-after",
            "function": {"type": "no-info", "function": unwrap},
            "schema": {
                "type": "typed-dict",
                "fields": {
                    "$type": {"type": "typed-dict-field", "schema": {"type": "literal", "expected": [label]}},
                    "value": {"type": "typed-dict-field", "schema": choice},
                },
                "config": dict(LOSSLESS_BYTES),
            },
        }
        for label, choice in zip(labels, _choices(union), strict=True)
    }
    return {
        "type": "json-or-python",
        "json_schema": {"type": "tagged-union", "discriminator": "$type", "choices": members},
        "python_schema": union,
        "serialization": {"type": "function-wrap", "function": write, "schema": union, "when_used": "json"},
    }


def _labels(members: list[Node]) -> list[str]:
    """One name a member: that of its class, or of its kind; numbered where two are the same."""
    names = [getattr(member.get("cls"), "__name__", None) or str(member["type"]) for member in members]
    return [
        name if names.count(name) == 1 else f"{name}#{names[: position + 1].count(name)}"
        for position, name in enumerate(names)
    ]


def _chooser(choices: list[Node], labels: list[str], definitions: dict[str, Node]) -> Callable[[object], str]:
    classes = {
        cls: label
        for label, choice in zip(labels, choices, strict=True)
        if isinstance(cls := _resolved(choice, definitions).get("cls"), type)
    }
    readers: list[tuple[str, SchemaValidator]] = []

    def chosen(value: object) -> str:
        if (label := classes.get(type(value))) is not None:
            return label
        if not readers:  # built when first needed: most members are classes
            shared = list(definitions.values())
            for label, choice in zip(labels, choices, strict=True):
                schema: Any = {"type": "definitions", "schema": choice, "definitions": shared}
                readers.append((label, SchemaValidator(schema)))
        for strict in (True, False):
            for label, reader in readers:
                if reader.isinstance_python(value, strict=strict):
                    return label
        return labels[0]

    return chosen
