"""The REST side described by itself: an OpenAPI 3.1 document with every path and every status that is really answered.

Names and examples are those of the models served. `docs_page` shows it in a browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import trimtab
from trimtab.runtime.oip import tensors
from trimtab.runtime.service import FIRST_PRIORITY, LAST_PRIORITY, ModelInfo, TensorInfo

_TEXTS = {
    400: "The request is malformed",
    401: "No token, or a wrong one",
    403: "Not allowed on this server",
    404: "No such model or version",
    405: "No such method on this path",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is compressed",
    500: "The request was accepted and the server failed it",
    503: "Refused early, or not ready; `Retry-After` says when to try again",
    504: "The deadline passed before an answer",
}
_BODY_ERRORS = (400, 408, 413, 415, 503)
_EXAMPLE_ELEMENTS = 4096
"""Tensors larger than this get no example: a page full of zeros helps nobody."""


def document(models: Iterable[ModelInfo], *, token: bool = False) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a server of `models`; `token` says whether calls need one."""
    known = list(models)
    always = (405, 401) if token else (405,)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Trimtab",
            "version": trimtab.__version__,
            "description": "The Open Inference Protocol V2 with the extensions that Triton's clients use.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _paths(known, always),
        "components": {"schemas": _schemas(), "parameters": _parameters(known)},
    }
    if token:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


# --- paths ---


def _paths(models: list[ModelInfo], always: tuple[int, ...]) -> dict[str, Any]:
    def get(summary: str, schema: Any, *errors: int, tag: str = "models") -> dict[str, Any]:
        answers = {"200": _json("The answer", schema)} | _errors(*errors, *always)
        return {"get": {"tags": [tag], "summary": summary, "responses": answers}}

    def post(summary: str, schema: Any, body: Any, *errors: int, tag: str, needed: bool = False) -> dict[str, Any]:
        answers = {"200": _json("The answer", schema)} | _errors(*errors, *_BODY_ERRORS, 500, *always)
        return {
            "post": {"tags": [tag], "summary": summary, "requestBody": {"required": needed} | body}
            | {"responses": answers}
        }

    def live(summary: str, schema: Any) -> dict[str, Any]:
        answers = {"200": _json("Yes", schema), "503": _json("No", schema)} | _errors(405)
        return {"get": {"tags": ["server"], "summary": summary, "security": [], "responses": answers}}

    infer = post(
        "Answer one request", _ref("InferResponse"), _infer_body(models), 404, 504, tag="inference", needed=True
    )
    load = _body(_ref("RepositoryCall"))
    named = {
        "": get("Versions, inputs and outputs", _ref("ModelMetadata"), 404),
        "/config": get("The model as Triton's ModelConfig", _ref("ModelConfig"), 404),
        "/stats": get("What was done since the start", _ref("Statistics"), 404),
        "/infer": infer,
    }
    paths: dict[str, Any] = {
        "/v2": get("Name, version and extensions", _ref("ServerMetadata"), tag="server"),
        "/v2/health/live": live("Whether the server lives", _flag("live")),
        "/v2/health/ready": live("Whether every task has a ready replica", _flag("ready")),
        "/v2/models": get("Names of the models", _object({"models": _list({"type": "string"})}, "models")),
        "/v2/models/stats": get("Statistics of all models", _ref("Statistics")),
        "/v2/repository/index": post(
            "What there is to load",
            _list(_ref("RepositoryEntry")),
            _body(_object({"ready": {"type": "boolean"}})),
            tag="repository",
        ),
        "/metrics": {"get": _metrics(always)},
    }
    model, version = {"$ref": "#/components/parameters/model"}, {"$ref": "#/components/parameters/version"}
    for action in ("load", "unload"):
        summary = f"{action.capitalize()} the pipeline, a task or a variant (`task.variant`)"
        call = post(summary, {"type": "object"}, load, 403, 404, tag="repository")
        paths[f"/v2/repository/models/{{model}}/{action}"] = {"parameters": [model]} | call
    for before, parameters in (
        ("/v2/models/{model}", [model]),
        ("/v2/models/{model}/versions/{version}", [model, version]),
    ):
        for end, operations in named.items():
            paths[before + end] = {"parameters": parameters} | operations
        ready = get("Whether the model is ready", _ref("ModelReady"), 404)
        ready["get"]["responses"]["503"] = _json("It is not", _ref("ModelReady"))
        paths[before + "/ready"] = {"parameters": parameters} | ready
    return paths


def _metrics(always: tuple[int, ...]) -> dict[str, Any]:
    text = {"description": "Metrics for Prometheus", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"tags": ["server"], "summary": "Metrics", "responses": {"200": text} | _errors(*always)}


def _infer_body(models: list[ModelInfo]) -> dict[str, Any]:
    examples = {}
    for info in models:
        inputs = [_example(tensor) for tensor in info.inputs]
        if inputs and all(one is not None for one in inputs):
            examples[info.name] = {"value": {"inputs": inputs}}
    content: dict[str, Any] = {"schema": _ref("InferRequest")}
    if examples:
        content["examples"] = examples
    binary = {"description": "JSON, then binary tensor data", "type": "string", "format": "binary"}
    return {"content": {"application/json": content, "application/octet-stream": {"schema": binary}}}


def _example(info: TensorInfo) -> dict[str, Any] | None:
    """A tensor of zeros with one row, its free axes 1; None where it is too large to show."""
    shape = [1 if axis < 0 else axis for axis in info.shape]
    if math.prod(shape) > _EXAMPLE_ELEMENTS:
        return None
    datatype = tensors.datatype_of(info.dtype)
    zero: Any = {"BYTES": "text", "BOOL": False}.get(datatype, 0)
    return {"name": info.name, "shape": shape, "datatype": datatype, "data": [zero] * math.prod(shape)}


# --- pieces ---


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _flag(name: str) -> dict[str, Any]:
    return _object({name: {"type": "boolean"}}, name)


def _body(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _json(text: str, schema: Any) -> dict[str, Any]:
    return {"description": text} | _body(schema)


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _json(_TEXTS[status], _ref("Error")) for status in sorted(set(statuses))}


def _parameters(models: list[ModelInfo]) -> dict[str, Any]:
    names = [info.name for info in models]
    versions = sorted({version for info in models for version in info.versions})
    text = {"type": "string"}
    model = {"name": "model", "in": "path", "required": True, "schema": text}
    version = {"name": "version", "in": "path", "required": True, "schema": text}
    return {
        "model": model | ({"example": names[0]} if names else {}),
        "version": version | ({"example": versions[0]} if versions else {}),
    }


def _schemas() -> dict[str, Any]:
    text, whole, number = {"type": "string"}, {"type": "integer"}, {"type": "number"}
    datatype = {"type": "string", "enum": list(tensors.DATATYPES)}
    values = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    priority = {"type": "integer", "minimum": 0, "maximum": LAST_PRIORITY}
    described = {"name": text, "datatype": datatype, "shape": _list(whole)}
    tensor = described | {"parameters": values, "data": {"type": "array"}}
    wishes = _object(
        {
            "timeout": {**number, "description": "Microseconds that the client waits"},
            "priority": {**priority, "description": f"{FIRST_PRIORITY} is served first; 0 is the default"},
            "binary_data_output": {"type": "boolean"},
        }
    )
    spent = _object({"count": whole, "ns": whole}, "count", "ns")
    config = _list(_object({"name": text, "data_type": text, "dims": _list(whole)}, "name", "data_type", "dims"))
    return {
        "Error": _object({"error": text}, "error"),
        "ServerMetadata": _object(
            {"name": text, "version": text, "extensions": _list(text)}, "name", "version", "extensions"
        ),
        "ModelMetadata": _object(
            {
                "name": text,
                "versions": _list(text),
                "platform": text,
                "inputs": _list(_object(described, *described)),
                "outputs": _list(_object(described, *described)),
            },
            "name",
            "platform",
            "inputs",
            "outputs",
        ),
        "ModelReady": _object({"name": text, "ready": {"type": "boolean"}}, "name", "ready"),
        "ModelConfig": _object(
            {
                "name": text,
                "platform": text,
                "backend": text,
                "max_batch_size": whole,
                "input": config,
                "output": config,
            },
            "name",
        ),
        "Statistics": _object(
            {
                "model_stats": _list(
                    _object(
                        {
                            "name": text,
                            "version": text,
                            "inference_count": whole,
                            "execution_count": whole,
                            "last_inference": whole,
                            "inference_stats": {"type": "object", "additionalProperties": spent},
                            "batch_stats": _list({"type": "object"}),
                        },
                        "name",
                    )
                )
            },
            "model_stats",
        ),
        "RepositoryEntry": _object(
            {
                "name": text,
                "version": text,
                "state": {"type": "string", "enum": ["READY", "UNAVAILABLE"]},
                "reason": text,
            },
            "name",
            "state",
        ),
        "RepositoryCall": _object({"parameters": values}),
        "InferRequest": _object(
            {
                "id": text,
                "parameters": wishes,
                "inputs": _list(_object(tensor, "name", "datatype", "shape")) | {"minItems": 1},
                "outputs": _list(_object({"name": text, "parameters": values}, "name")),
            },
            "inputs",
        ),
        "InferResponse": _object(
            {
                "model_name": text,
                "model_version": text,
                "id": text,
                "parameters": values,
                "outputs": _list(_object(tensor, "name", "datatype", "shape")),
            },
            "model_name",
            "outputs",
        ),
    }
