"""OpenAPI: the errors of each route, and the bodies that are read without FastAPI's own parser."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from api.errors import CrossSite, MalformedRequest
from api.problems import PROBLEM_JSON
from core.errors import BitfrontError, Unauthorized, Unavailable

_EVERYWHERE: tuple[type[BitfrontError], ...] = (MalformedRequest, Unauthorized, CrossSite, Unavailable, BitfrontError)
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `code` is stable, `hint` says what to do.",
    "required": ["type", "title", "status", "code", "detail", "hint"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
        "facts": {"type": "object"},
    },
}


def errors(*kinds: type[BitfrontError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these errors."""
    by_status: dict[int | str, list[type[BitfrontError]]] = {}
    for kind in (*_EVERYWHERE, *kinds):
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _response(found) for status, found in by_status.items()}


def _response(kinds: list[type[BitfrontError]]) -> dict[str, Any]:
    titles = " ".join(f"{(kind.__doc__ or '').strip()} (`{kind.code}`)" for kind in kinds)
    return {"description": titles, "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads `model` with `api.json_body.json_of`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def form_body(**fields: str) -> dict[str, Any]:
    """The `openapi_extra` of an upload: a file, and text fields with what they mean."""
    properties: dict[str, Any] = {"file": {"type": "string", "format": "binary"}}
    properties |= {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def document(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Add the problem document and the schemas of `bodies` to what `app` says about itself."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schemas = original().setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = _PROBLEM
            for body in bodies:
                schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[body.__name__] = schema
        return original()

    app.openapi = openapi  # type: ignore[method-assign]
