"""The shape of a schema: what its values look like as JSON, and nothing about names.

Never names of modules, files or classes: a program and an import of it recover each other's runs, and renaming a class
changes nothing for what was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from pydantic import PydanticUserError

from .errors import DefinitionError
from .forms import is_protocol_form
from .names import describe
from .schemas import schema_of

# What a JSON schema says to people, or about classes, and not about the shape of values.
_WORDS = {"title", "description", "examples", "default", "deprecated", "discriminator", "$defs"}
_BY_NAME = {"properties", "patternProperties", "dependentSchemas"}  # their keys are names of the user's, not ours


def shape_of(form: object) -> object:
    """The JSON schema of a type with everything left out that is not its shape.  Not to be changed: it is kept."""
    try:
        return _shape_of_hashable(form)
    except TypeError:  # e.g. Annotated with an unhashable mark
        return _shape_of(form)


@lru_cache(maxsize=1000)
def _shape_of_hashable(form: object) -> object:
    return _shape_of(form)


def _shape_of(form: object) -> object:
    if is_protocol_form(form):
        return describe(form)
    try:
        schema = schema_of(form).json_schema()
    except (PydanticUserError, DefinitionError):  # not everything that can be stored has a JSON schema
        return describe(form)
    return _Shape(schema.get("$defs", {})).of(schema)


class _Shape:
    """Definitions are numbered as they are met: their names are those of classes, sometimes of modules."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._numbers: dict[str, int] = {}

    def of(self, schema: object) -> object:
        if isinstance(schema, list):
            return [self.of(member) for member in cast("list[object]", schema)]
        if not isinstance(schema, dict):
            return schema
        parts = cast("dict[str, object]", schema)
        if "$ref" in parts:
            return self._definition(str(parts["$ref"]).removeprefix("#/$defs/"))
        return {key: self._part(key, part) for key, part in parts.items() if key not in _WORDS}

    def _part(self, key: str, part: object) -> object:
        if key in _BY_NAME and isinstance(part, dict):
            return {name: self.of(schema) for name, schema in cast("dict[str, object]", part).items()}
        if key == "required" and isinstance(part, list):
            return sorted(cast("list[str]", part))  # the order of fields is no part of the shape
        return self.of(part)

    def _definition(self, name: str) -> object:
        if name in self._numbers:
            return {"$ref": self._numbers[name]}
        self._numbers[name] = len(self._numbers)
        return {"$ref": self._numbers[name], "is": self.of(self._definitions.get(name))}
