"""The OpenAPI document: the routes, and an operation for each workflow, with the types of its input and output."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from wrkflw.engine.definition import Definition

from .bodies import JSON
from .routes import PROBLEM
from .service import OWN_WORKFLOWS, Service

_START = "/api/workflows/{workflow}/runs"
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457; `error` is the class of the error, `problems` what is wrong with a value",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "string"}},
    },
}


def document_of(api: FastAPI, service: Service, root_path: str) -> dict[str, Any]:
    """The whole of it, as it is mounted at ``root_path``.  Slow (tens of milliseconds): ask once."""
    document = get_openapi(
        title="wrkflw",
        version="1",
        routes=api.routes,
        description="Workflows and their runs.",
        servers=[{"url": root_path}] if root_path else None,
    )
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    schemas[PROBLEM] = _PROBLEM
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for operation in (one for path in document["paths"].values() for one in path.values() if "requestBody" in one):
        content = operation["requestBody"]["content"][JSON]
        if "$defs" in content["schema"]:
            content["schema"] = _component(content["schema"], f"{operation['operationId']}.body", schemas)
    template = document["paths"].pop(_START)["post"]
    template["parameters"] = [one for one in template["parameters"] if one["name"] != "workflow"]
    for definition in (one for one in service.rt.definitions.values() if one.id not in OWN_WORKFLOWS):
        document["paths"][_START.format(workflow=definition.id)] = {"post": _operation(template, definition, schemas)}
    return document


def _operation(template: dict[str, Any], definition: Definition, schemas: dict[str, Any]) -> dict[str, Any]:
    operation = copy.deepcopy(template)
    operation["operationId"] = f"start_{definition.id}"
    operation["summary"] = f"Start a run of {definition.id}"
    taken = _component(definition.input_schema.described(), f"{definition.id}.input", schemas)
    given = _component(definition.output_schema.described(), f"{definition.id}.output", schemas)
    operation["requestBody"] = {
        "required": definition.graph.input_schema not in (None, type(None)),
        "content": {JSON: {"schema": taken}},
    }
    ended = operation["responses"]["200"]["content"][JSON]
    ended["schema"] = {"allOf": [ended["schema"], {"type": "object", "properties": {"output": given}}]}
    return operation


def _component(schema: dict[str, Any], name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """A schema among the components, with what it refers to beside it, under names of its own."""
    for inner, definition in schema.get("$defs", {}).items():
        schemas[f"{name}.{inner}"] = _referring(definition, name)
    schemas[name] = _referring({key: value for key, value in schema.items() if key != "$defs"}, name)
    return {"$ref": f"#/components/schemas/{name}"}


def _referring(node: Any, name: str) -> Any:
    """With references that lead to the components."""
    match node:
        case dict():
            tree = cast("dict[str, Any]", node)
            if _is_discriminator(tree):
                return {**tree, "mapping": {kind: _reference(value, name) for kind, value in tree["mapping"].items()}}
            pairs = tree.items()
            return {key: _reference(value, name) if key == "$ref" else _referring(value, name) for key, value in pairs}
        case list():
            return [_referring(one, name) for one in cast("Sequence[Any]", node)]
        case _:
            return node


def _is_discriminator(tree: Mapping[str, Any]) -> bool:
    """Whether it says by which property the types of a choice are told apart."""
    return isinstance(tree.get("propertyName"), str) and isinstance(tree.get("mapping"), dict)


def _reference(value: Any, name: str) -> Any:
    return f"#/components/schemas/{name}.{value.removeprefix('#/$defs/')}" if isinstance(value, str) else value
