"""The corpus of REST requests, and what a server's answer to each comes down to."""

from __future__ import annotations

import http.client
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TIMEOUT_S = 20.0
SUM = "/v2/models/sum/infer"
IDENTITY = "/v2/models/identity/infer"
ROW = [1.0, 2.0, 3.0, 4.0]


@dataclass(frozen=True, slots=True)
class Case:
    """One request."""

    name: str
    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _tensor(
    name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (1, 4), data: Any = ROW
) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": data}


def _post(name: str, inputs: Any, path: str = SUM, **more: Any) -> Case:
    body = json.dumps({"inputs": inputs, **more}).encode()
    return Case(name, "POST", path, body, {"Content-Type": "application/json"})


def _binary(name: str, header: dict[str, Any], data: bytes) -> Case:
    text = json.dumps(header).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
    return Case(name, "POST", SUM, text + data, headers)


def _binary_x(size: int) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": size}}
    return {"id": "b", "inputs": [tensor]}


_FLOATS = struct.pack("<4f", *ROW)
_THREE = [_tensor(), _tensor("n", "INT64", (1, 2), [-(2**53), 7]), _tensor("t", "BYTES", (1, 1), ["grüße"])]
_JSON = {"Content-Type": "application/json"}

CORPUS: tuple[Case, ...] = (
    Case("live", "GET", "/v2/health/live"),
    Case("ready", "GET", "/v2/health/ready"),
    Case("server metadata", "GET", "/v2"),
    Case("model ready", "GET", "/v2/models/sum/ready"),
    Case("model metadata", "GET", "/v2/models/sum"),
    Case("model metadata of an unknown model", "GET", "/v2/models/nowhere"),
    Case("readiness of an unknown model", "GET", "/v2/models/nowhere/ready"),
    _post("flat data", [_tensor()], id="a"),
    _post("nested data", [_tensor(data=[ROW])], id="a"),
    _post("no id", [_tensor()]),
    _post("empty id", [_tensor()], id=""),
    _post("three rows", [_tensor(shape=(3, 4), data=ROW * 3)], id="a"),
    _post("one output asked for", [_tensor()], id="a", outputs=[{"name": "total"}]),
    _post("parameters", [_tensor()], id="a", parameters={"tenant": "a"}),
    _post("integers where floats are meant", [_tensor(data=[1, 2, 3, 4])], id="a"),
    _post("FP32, INT64 and BYTES", _THREE, IDENTITY, id="a"),
    _post("some outputs of many", _THREE, IDENTITY, id="a", outputs=[{"name": "n_out"}]),
    _binary("binary input", _binary_x(16), _FLOATS),
    _binary("binary input and output", {**_binary_x(16), "parameters": {"binary_data_output": True}}, _FLOATS),
    _binary("too little binary data", _binary_x(16), _FLOATS[:8]),
    _binary("too much binary data", _binary_x(16), _FLOATS + b"more"),
    _binary("binary data of the wrong size", _binary_x(12), _FLOATS[:12]),
    _post("wrong row size", [_tensor(shape=(1, 5), data=[*ROW, 5.0])], id="a"),
    _post("wrong rank", [_tensor(shape=(4,))], id="a"),
    _post("fewer elements than the shape says", [_tensor(data=ROW[:3])], id="a"),
    _post("more elements than the shape says", [_tensor(data=[*ROW, 5.0])], id="a"),
    _post("negative axis", [_tensor(shape=(-1, 4))], id="a"),
    _post("wrong datatype", [_tensor(datatype="INT64", data=[1, 2, 3, 4])], id="a"),
    _post("unknown datatype", [_tensor(datatype="FP7")], id="a"),
    _post("text where numbers are meant", [_tensor(data=["a", "b", "c", "d"])], id="a"),
    _post("null where a number is meant", [_tensor(data=[1.0, None, 3.0, 4.0])], id="a"),
    _post("missing input", [_tensor()], IDENTITY, id="a"),
    _post("unknown input", [_tensor("z")], id="a"),
    _post("no inputs", [], id="a"),
    _post("unknown output", [_tensor()], id="a", outputs=[{"name": "nothing"}]),
    _post("id that is a number", [_tensor()], id=7),
    _post("unknown model", [_tensor()], "/v2/models/nowhere/infer", id="a"),
    _post("unknown version", [_tensor()], "/v2/models/sum/versions/v9/infer", id="a"),
    Case("input without a shape", "POST", SUM, b'{"inputs":[{"name":"x","datatype":"FP32","data":[1,2,3,4]}]}', _JSON),
    Case("input without data", "POST", SUM, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4]}]}', _JSON),
    Case("no JSON", "POST", SUM, b"x = 1", _JSON),
    Case("JSON that is cut off", "POST", SUM, b'{"inputs": [', _JSON),
    Case("JSON that is a list", "POST", SUM, b"[]", _JSON),
    Case("JSON object without inputs", "POST", SUM, b"{}", _JSON),
    Case("empty body", "POST", SUM, b"", _JSON),
    Case("no content type", "POST", SUM, json.dumps({"id": "a", "inputs": [_tensor()]}).encode()),
    Case("wrong method", "GET", SUM),
    Case("unknown path", "GET", "/v2/nothing/here"),
    Case("path outside the protocol", "GET", "/nothing"),
)


def ask(address: str, case: Case) -> dict[str, Any]:
    """Send one request; the parts of its answer that are compared."""
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    try:
        connection.request(case.method, case.path, case.body, dict(case.headers))
        response = connection.getresponse()
        body, header = response.read(), response.getheader("Inference-Header-Content-Length")
    except (OSError, http.client.HTTPException) as error:
        return {"status": f"no answer: {type(error).__name__}"}
    finally:
        connection.close()
    return {"status": str(response.status), **_body(body, None if header is None else int(header))}


def _body(body: bytes, json_bytes: int | None) -> dict[str, Any]:
    if not body:
        return {"body": "empty"}
    try:
        value = json.loads(body if json_bytes is None else body[:json_bytes])
    except ValueError:
        return {"body": "no JSON"}
    if not isinstance(value, dict):
        return {"body": f"JSON {type(value).__name__}"}
    if "outputs" in value and "model_name" in value:
        rest = b"" if json_bytes is None else body[json_bytes:]
        outputs = sorted((_output(one, rest) for one in value["outputs"]), key=lambda one: str(one["name"]))
        sent_id = value.get("id")
        return {"body": "answer", "model_name": value["model_name"], "id": sent_id, "outputs": outputs}
    if "error" in value:
        return {"body": f"error: {type(value['error']).__name__}"}
    return {"body": "keys " + ", ".join(sorted(value))}


def _output(sent: dict[str, Any], rest: bytes) -> dict[str, Any]:
    """One output; the binary data of these models is one tensor of FP32."""
    data = sent.get("data")
    if data is None:
        data = list(struct.unpack(f"<{len(rest) // 4}f", rest[: len(rest) // 4 * 4]))
    return {"name": sent["name"], "datatype": sent["datatype"], "shape": sent["shape"], "data": _flat(data)}


def _flat(data: Any) -> list[Any]:
    return [leaf for part in data for leaf in _flat(part)] if isinstance(data, list) else [data]
