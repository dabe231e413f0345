"""What is handed in on a command line: JSON, a file of it, or fields of the value as ``key=value``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias, cast

from pydantic_core import to_json

from wrkflw.schemas import Schema

from .failures import MisuseError

Described: TypeAlias = Mapping[str, Any]
"""A type as JSON Schema."""
_TEXT = {"string", "null"}
_PAIR = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)


def value_of(given: Sequence[str], schema: Schema, what: str) -> object:
    """The value that is meant, checked by its type; nothing at all is null.

    Raises MisuseError when it cannot be read, InvalidValueError when it does not fit.
    """
    return schema.load(_data(given, schema), what)


def tree_of(text: str) -> object:
    """A JSON value, from the text or the file it names.  Raises MisuseError."""
    return _parsed(_read(text), text)


def pairs_of(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """``name=value`` each.  Raises MisuseError."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise MisuseError(f"{option} {text!r} has no value; write {option} name=value")
        found[name] = value
    return found


def _data(given: Sequence[str], schema: Schema) -> bytes:
    described = schema.described()
    match given:
        case []:
            return b"null"
        case [one] if _is_text(described, described) or not _PAIR.fullmatch(one):
            text = _read(one)
            if _is_text(described, described) and not text.lstrip().startswith('"'):
                return to_json(text)
            return to_json(_parsed(text, one))
        case pairs:
            properties = _resolved(described, described).get("properties", {})
            return to_json(dict(_field(pair, properties, described) for pair in pairs))


def _field(pair: str, properties: Described, whole: Described) -> tuple[str, object]:
    """A field is text where its type is, else JSON where it can be read as that."""
    found = _PAIR.fullmatch(pair)
    if found is None:
        raise MisuseError(f"{pair[:80]!r} is no key=value; give all fields so, or one JSON value")
    name, text = found.groups()
    described = properties.get(name, {})
    if _is_text(described, whole):
        return name, text
    try:
        value = json.loads(text)
    except ValueError:
        return name, text
    return name, text if "string" in _types(described, whole) and _is_rounded(value, text) else value


def _is_rounded(value: object, text: str) -> bool:
    """Whether a number has more digits than are left of it: where a text may stand as well, that is a Decimal."""
    return isinstance(value, float) and Decimal(repr(value)) != Decimal(text.strip())


def _read(text: str) -> str:
    if not text.startswith("@"):
        return text
    if text == "@-":
        return sys.stdin.read()
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise MisuseError(f"{text[1:]!r} cannot be read: {problem}") from error


def _parsed(text: str, shown: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise MisuseError(f"{shown[:80]!r} is not JSON: {error}; quote texts, or give key=value") from error


def _is_text(described: Described, whole: Described) -> bool:
    """Whether a value is a text; of a choice, whether nothing in it but null is anything else."""
    types = _types(described, whole)
    return "string" in types and types <= _TEXT


def _types(described: Described, whole: Described) -> set[str]:
    """The types that a value may have, as JSON Schema calls them."""
    found = _resolved(described, whole)
    choice = cast("list[Described]", found.get("anyOf", [found]))
    return {str(_resolved(one, whole).get("type")) for one in choice}


def _resolved(described: Described, whole: Described) -> Described:
    """What is described elsewhere in the whole, as a model is that refers to itself."""
    while isinstance(where := described.get("$ref"), str):
        described = whole["$defs"][where.removeprefix("#/$defs/")]
    return described
