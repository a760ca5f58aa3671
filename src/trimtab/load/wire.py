"""The client's side of the Open Inference Protocol V2 over HTTP: bytes of a request, meaning of an answer. Pure.

Binary tensors follow the binary-data extension: a JSON head whose length is in `Inference-Header-Content-Length`, then
the tensors' bytes, little-endian and row-major, in the order of the head. Written apart from the server's codec on
purpose, so that each checks the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from trimtab.errors import LoadError

Tensor = NDArray[np.generic]

HEAD_LENGTH = "Inference-Header-Content-Length"

DATATYPES: Mapping[str, np.dtype[np.generic]] = {
    name: np.dtype(numpy_name)
    for name, numpy_name in {
        "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
        "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
    }.items()
}  # fmt: skip
"""Datatype of the protocol → NumPy's. Texts (BYTES) are not sent by the load generator."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor as the server describes it; -1 is a free axis, the first counts the rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What the server says about a model."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)
    """What the server adds of its own, such as its SLO."""


@dataclass(frozen=True, slots=True)
class Body:
    """One request's bytes and headers, made before the run."""

    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a successful answer holds."""

    outputs: Mapping[str, Tensor]
    version: str | None
    parameters: Mapping[str, object]

    @property
    def variants(self) -> dict[str, str]:
        """Task → variant that answered, from the parameters `variant.<task>`."""
        head = "variant."
        return {name[len(head) :]: str(value) for name, value in self.parameters.items() if name.startswith(head)}

    @property
    def accuracy(self) -> float | None:
        """Accuracy that the server states for the variants that answered."""
        value = self.parameters.get("accuracy")
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    @property
    def plan(self) -> str | None:
        """Id of the plan in force."""
        value = self.parameters.get("plan")
        return None if value is None else str(value)


def datatype_of(dtype: np.dtype[Any]) -> str | None:
    """The protocol's name of a NumPy dtype; None where it has none."""
    return next((name for name, known in DATATYPES.items() if known == dtype.newbyteorder("<")), None)


def encode(inputs: Mapping[str, Tensor], outputs: tuple[str, ...], *, binary: bool) -> Body:
    """One inference request that asks for `outputs` (all when empty).

    Raises:
        LoadError: a tensor's dtype has no name in the protocol, or none in JSON (FP16).
    """
    heads: list[dict[str, object]] = []
    blobs: list[bytes] = []
    for name, tensor in inputs.items():
        datatype = datatype_of(tensor.dtype)
        if datatype is None or (datatype == "FP16" and not binary):
            raise LoadError("the tensor cannot be sent", where=name, got=str(tensor.dtype), wanted=", ".join(DATATYPES))
        head: dict[str, object] = {"name": name, "shape": list(tensor.shape), "datatype": datatype}
        if binary:
            blob = np.ascontiguousarray(tensor, dtype=DATATYPES[datatype]).tobytes()
            blobs.append(blob)
            heads.append(head | {"parameters": {"binary_data_size": len(blob)}})
        else:
            heads.append(head | {"data": tensor.ravel().tolist()})
    request: dict[str, object] = {"inputs": heads}
    if outputs:
        request["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    if not binary:
        return Body(msgspec.json.encode(request), {"Content-Type": "application/json"})
    if not outputs:
        request["parameters"] = {"binary_data_output": True}
    json = msgspec.json.encode(request)
    return Body(
        b"".join([json, *blobs]),
        {"Content-Type": "application/octet-stream", HEAD_LENGTH: str(len(json))},
    )


def decode(data: bytes, head_length: int | None) -> Answer:
    """The meaning of a successful answer's bytes; `head_length` is the header's, None when there was none.

    Raises:
        ValueError: the bytes are no answer of this protocol; says why.
    """
    head = decode_object(data if head_length is None else data[:head_length])
    offset = 0 if head_length is None else head_length
    outputs: dict[str, Tensor] = {}
    try:
        for output in head.get("outputs", []):
            name, datatype = output["name"], output["datatype"]
            size = output.get("parameters", {}).get("binary_data_size")
            if datatype not in DATATYPES:
                outputs[name] = np.array(output["data"], dtype=np.str_).reshape(output["shape"])
            elif size is None:
                outputs[name] = np.array(output["data"], dtype=DATATYPES[datatype]).reshape(output["shape"])
            else:
                blob = data[offset : offset + size]
                outputs[name] = np.frombuffer(blob, dtype=DATATYPES[datatype]).reshape(output["shape"])
                offset += size
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"an output cannot be read ({error!r})") from error
    version = head.get("model_version")
    return Answer(outputs, None if version is None else str(version), head.get("parameters") or {})


def decode_metadata(data: bytes) -> ModelMetadata:
    """A model's metadata.

    Raises:
        ValueError: the bytes are no metadata of this protocol; says why.
    """
    head = decode_object(data)
    try:
        inputs, outputs = (
            tuple(TensorSpec(t["name"], t["datatype"], tuple(int(n) for n in t["shape"])) for t in head[side])
            for side in ("inputs", "outputs")
        )
        return ModelMetadata(str(head["name"]), inputs, outputs, head.get("parameters") or {})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the metadata cannot be read ({error!r})") from error


def decode_error(data: bytes) -> str:
    """The server's own words about an error, at most 200 characters; empty when it said none."""
    try:
        said = decode_object(data).get("error", "")
    except ValueError:
        said = data.decode("utf-8", "replace")
    return " ".join(str(said).split())[:200]


def decode_object(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: the bytes are none; says why.
    """
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object was wanted, got {type(value).__name__}")  # noqa: TRY004 — bytes, not arguments
    return value
