"""What is handed in on a command line: JSON, a file of it, or fields of the value as ``key=value``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic_core import to_json

from wrkflw.schemas import Schema

from .failures import MisuseError

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
    match given:
        case []:
            return b"null"
        case [one] if not (_PAIR.fullmatch(one) and _takes_fields(schema)):
            text = _read(one)
            if _is_text(schema.described()) and not text.lstrip().startswith('"'):
                return to_json(text)
            return to_json(_parsed(text, one))
        case pairs:
            return to_json(dict(_field(pair, _properties(schema)) for pair in pairs))


def _field(pair: str, properties: Mapping[str, Any]) -> tuple[str, object]:
    """A field is text where its type is, else JSON where it can be read as that."""
    found = _PAIR.fullmatch(pair)
    if found is None:
        raise MisuseError(f"{pair[:80]!r} is no key=value; give all fields so, or one JSON value")
    name, text = found.groups()
    if _is_text(properties.get(name, {})):
        return name, text
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


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


def _properties(schema: Schema) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", schema.described().get("properties", {}))


def _takes_fields(schema: Schema) -> bool:
    return not _is_text(schema.described())


def _is_text(described: Mapping[str, Any]) -> bool:
    """Whether a value is a text; of a choice, whether nothing in it but null is anything else."""
    choice = cast("list[Mapping[str, Any]] | None", described.get("anyOf"))
    if choice is None:
        return described.get("type") == "string"
    return all(one.get("type") in ("string", "null") for one in choice)
