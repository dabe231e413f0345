"""Unions whose members look alike in JSON: which these are, and how each value says which member it is of.

Of a union pydantic writes the value alone, so that whoever reads it guesses the member.  Here the name of the member
stands beside the value: ``{"$type": "Dog", "value": …}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import NoneType
from typing import Any, TypeAlias, cast

from pydantic_core import SchemaValidator

from .readback import identical, survives

Node: TypeAlias = dict[str, Any]  # a core schema is a tree of plain dicts, whose values have no common type
Definitions: TypeAlias = Mapping[str, Node]
"""The schemas that others refer to, by their ``ref``."""

_WRAPPERS = frozenset({"default", "nullable", "function-after", "function-before", "function-wrap"})
# What a member looks like in JSON.  Two members of one shape cannot be told apart by the reader.
_SHAPES = {
    **dict.fromkeys(("model", "dataclass", "typed-dict", "dict", "ordered-dict", "counter"), "object"),
    **dict.fromkeys(("list", "tuple", "named-tuple", "set", "frozenset", "deque", "generator"), "array"),
    **dict.fromkeys(("int", "float"), "number"),
    **dict.fromkeys(("str", "bytes", "complex", "uuid", "url", "multi-host-url"), "string"),
    **dict.fromkeys(("datetime", "date", "time", "timedelta"), "string"),
    "bool": "boolean",
    "none": "null",
}
_ANY_SHAPE = frozenset(_SHAPES.values())
_SCALARS = _ANY_SHAPE - {"object", "array"}
# What JSON itself tells apart: 1, 1.0, true, "1" and null.
_PLAIN: Mapping[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "none": NoneType}
_UNCONSTRAINED = frozenset({"type", "metadata"})


def is_ambiguous(union: Node, definitions: Definitions) -> bool:
    """Whether a value of one member may be read as one of another."""
    kinds = [_resolved(choice, definitions)["type"] for choice in _choices(union)]
    if _PLAIN.keys() >= set(kinds):
        return False
    shapes = [shape for choice in _choices(union) for shape in _shapes(choice, definitions)]
    return len(set(shapes)) < len(shapes)


def tagged(union: Node, original: Node, definitions: Definitions, config: Mapping[str, str]) -> Node:
    """The union with the name of the member beside each value, in JSON only.

    ``original`` is the union before its members were rewritten: values are told apart by that.
    """
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
                "config": dict(config),
            },
        }
        for label, choice in zip(labels, _choices(union), strict=True)
    }
    return {
        "type": "json-or-python",
        "json_schema": {"type": "tagged-union", "discriminator": "$type", "choices": members},
        "python_schema": union,
        "serialization": {
            "type": "function-wrap",
            "function": write,
            "schema": _strict_first(union),
            "when_used": "json",
        },
    }


def _strict_first(union: Node) -> Node:
    """The union as its values are written: members with a serializer of their own, who take any value, come last."""
    return {**union, "choices": sorted(_choices(union), key=lambda choice: "serialization" in choice)}


def _shapes(choice: Node, definitions: Definitions) -> frozenset[str]:
    """What may be read as this member: all that JSON has, where that cannot be known."""
    member = _resolved(choice, definitions)
    match member["type"]:
        case "enum" | "decimal":  # "yes" is as good as a bool, and a Decimal as good as a number
            return _SCALARS
        case "literal":
            return _shapes_of(one.value if isinstance(one, Enum) else one for one in member["expected"])
        case "model" if member.get("root_model"):
            return _shapes(member["schema"], definitions)
        case kind if "serialization" not in member and kind in _SHAPES:
            return frozenset({_SHAPES[kind]})
        case _:
            return _ANY_SHAPE


def _shapes_of(values: Iterable[object]) -> frozenset[str]:
    kinds = {cls: kind for kind, cls in _PLAIN.items()}
    found: set[str | None] = set()
    for value in values:
        # True is equal to 1, which is all that pydantic asks where a literal is expected.
        found |= {"int", "bool"} if isinstance(value, int) and value in (0, 1) else {kinds.get(type(value))}
    return frozenset(_SHAPES[kind] for kind in found if kind is not None) if None not in found else _ANY_SHAPE


def _labels(members: list[Node]) -> list[str]:
    """One name a member: that of its class, or of its kind; numbered where two are the same."""
    names = [getattr(member.get("cls"), "__name__", None) or str(member["type"]) for member in members]
    return [
        name if names.count(name) == 1 else f"{name}#{names[: position + 1].count(name)}"
        for position, name in enumerate(names)
    ]


def _chooser(choices: list[Node], labels: list[str], definitions: Definitions) -> Callable[[object], str]:
    known = [_class_of(choice, definitions) for choice in choices]
    classes = {
        cls: label
        for cls, label in zip(known, labels, strict=True)
        if cls is not None and known.count(cls) == 1  # generic dataclasses share theirs
    }
    readers: list[tuple[str, SchemaValidator]] = []

    def is_any(member: tuple[str, Node]) -> bool:
        kind: str = _resolved(member[1], definitions)["type"]
        return kind == "any"  # it takes all, so it is asked last

    def chosen(value: object) -> str:
        if (label := classes.get(type(value))) is not None:
            return label
        if not readers:  # built when first needed: most members are classes
            shared = list(definitions.values())
            for label, choice in sorted(zip(labels, choices, strict=True), key=is_any):
                schema: Any = {"type": "definitions", "schema": choice, "definitions": shared}
                readers.append((label, SchemaValidator(schema)))
        for like in (identical, survives):
            for label, reader in readers:
                if _takes(reader, value, like):
                    return label
        raise ValueError(f"{type(value).__name__} is no member of the union")

    return chosen


def _class_of(choice: Node, definitions: Definitions) -> object:
    """The class of which every value is of this member; None where it takes more than a look at the class."""
    if choice.keys() <= _UNCONSTRAINED:
        return _PLAIN.get(choice["type"])
    cls: object = _resolved(choice, definitions).get("cls")
    return cls if isinstance(cls, type) else None


def _takes(reader: SchemaValidator, value: object, like: Callable[[object, object], bool]) -> bool:
    """Whether the member leaves the value as it is: ``list[float]`` makes ``[1.0]`` of ``[1]``, which survives."""
    try:
        return like(value, reader.validate_python(value, strict=True))
    except Exception:  # noqa: BLE001  # validators are the user's: whatever they raise, it is not of this member
        return False


def _choices(union: Node) -> list[Node]:
    # A choice is a schema, or a pair of schema and label.
    return [choice[0] if isinstance(choice, tuple) else choice for choice in cast("list[Any]", union["choices"])]


def _resolved(choice: Node, definitions: Definitions) -> Node:
    while True:
        if choice["type"] == "definition-ref" and choice["schema_ref"] in definitions:
            choice = definitions[choice["schema_ref"]]
        elif choice["type"] in _WRAPPERS and "schema" in choice:
            choice = choice["schema"]
        else:
            return choice
