"""Requests and answers of the Open Inference Protocol V2: bytes → `InferRequest`, `InferResponse` → bytes.

A body is JSON, or JSON followed by binary tensor data; then the header `Inference-Header-Content-Length` tells where
the JSON ends. The content type says nothing: the protocol's most used client sends none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from trimtab.errors import InvalidInputError, RequestError
from trimtab.runtime.oip import tensors
from trimtab.runtime.oip.deadlines import timeout_from
from trimtab.runtime.service import (
    DEFAULT_PRIORITY,
    FIRST_PRIORITY,
    LAST_PRIORITY,
    InferRequest,
    InferResponse,
    Tensor,
)

MAX_TENSORS = 256
"""Tensors in one request."""

_Value = str | int | float | bool | None
_DIGITS = re.compile(r"[0-9]{1,15}")


class _Tensor(msgspec.Struct, frozen=True):
    name: str
    datatype: str
    shape: list[int]
    data: msgspec.Raw = msgspec.Raw()  # empty where the tensor is binary
    parameters: dict[str, _Value] | None = None


class _Output(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, _Value] | None = None


class _Request(msgspec.Struct, frozen=True):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, _Value] | None = None
    outputs: list[_Output] | None = None


@dataclass(frozen=True, slots=True)
class OutputForm:
    """The form in which the client wants tensors back."""

    binary: bool = False
    by_name: Mapping[str, bool] = field(default_factory=dict)
    """Tensor → whether binary, where the client said so for it."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A body; `header_bytes` is the length of its JSON part where binary data follows, else None."""

    body: bytes
    header_bytes: int | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_JSON = msgspec.json.Encoder()


def decode_request(
    body: bytes | bytearray | memoryview,
    *,
    model: str,
    version: str | None = None,
    header_length: str | None = None,
    deadlines: Mapping[str, str] | None = None,
    arrived_s: float | None = None,
) -> tuple[InferRequest, OutputForm]:
    """The request that `body` holds, and the form in which its answer is wanted.

    Args:
        body: all of it; arrays of the request may be views of it.
        model: name from the path.
        version: variant from the path.
        header_length: value of `Inference-Header-Content-Length`; None where the header is absent.
        deadlines: those headers of `deadlines.HEADERS` that are present, by lower-case name.
        arrived_s: see `InferRequest`.

    Raises:
        InvalidInputError: anything in it that is not a request of the protocol.
    """
    view = memoryview(body)
    json_bytes = len(view) if header_length is None else _json_bytes(header_length, len(view))
    message = _decode(view[:json_bytes])
    parameters = message.parameters or {}
    rest = None if header_length is None else view[json_bytes:]
    outputs = None if message.outputs is None else tuple(output.name for output in message.outputs)
    if outputs is not None and len(set(outputs)) != len(outputs):
        raise InvalidInputError("an output is asked for twice", where="outputs")
    request = InferRequest(
        model=model,
        version=version,
        id=message.id,
        inputs=_inputs(message.inputs, rest),
        outputs=outputs,
        timeout_s=timeout_from(deadlines or {}, parameters.get("timeout")),
        priority=priority_from(parameters.get("priority")),
        arrived_s=arrived_s,
    )
    return request, _form(message, parameters)


def priority_from(parameter: object) -> int:
    """A request's priority from its parameter `priority`; None and 0 stand for the default.

    Raises:
        InvalidInputError: it is no whole number of those that there are.
    """
    if parameter is None or (type(parameter) is int and parameter == 0):
        return DEFAULT_PRIORITY
    if type(parameter) is int and FIRST_PRIORITY <= parameter <= LAST_PRIORITY:
        return parameter
    raise InvalidInputError(
        "invalid priority",
        where="parameter 'priority'",
        got=repr(parameter)[:40],
        wanted=f"0 (the default) or {FIRST_PRIORITY} (served first) to {LAST_PRIORITY}",
    )


def encode_response(response: InferResponse, form: OutputForm) -> Encoded:
    """The body of an answer, each tensor in the form asked for.

    Raises:
        FailedError: a tensor cannot be carried in the form asked for.
    """
    chunks: list[bytes] = []
    outputs = []
    for name, array in response.outputs.items():
        output: dict[str, Any] = {
            "name": name,
            "datatype": tensors.datatype_of(array.dtype),
            "shape": array.shape,
        }
        if form.by_name.get(name, form.binary):
            chunks.append(tensors.to_binary(array))
            output["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            output["data"] = tensors.to_json(array, f"output '{name}'")
        outputs.append(output)
    message: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id is not None:
        message["id"] = response.id
    if response.parameters:
        message["parameters"] = response.parameters
    message["outputs"] = outputs
    header = _JSON.encode(message)
    return Encoded(b"".join((header, *chunks)), len(header)) if chunks else Encoded(header)


def encode_json(value: object) -> bytes:
    """`value` as JSON."""
    return _JSON.encode(value)


def encode_error(error: str | RequestError) -> bytes:
    """The body of every answer that is an error: one line of text under `error`."""
    return _JSON.encode({"error": str(error).replace("\n  → ", "; ")})


def _json_bytes(value: str, body_bytes: int) -> int:
    if not _DIGITS.fullmatch(value.strip()) or int(value) > body_bytes:
        raise InvalidInputError(
            "wrong length of the JSON part",
            where="header 'Inference-Header-Content-Length'",
            got=repr(value)[:40],
            wanted=f"0 to {body_bytes}, the length of the body",
        )
    return int(value)


def _decode(view: memoryview) -> _Request:
    try:
        message = _REQUEST.decode(view)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"not a request of the protocol: {error}") from error
    except RecursionError as error:
        raise InvalidInputError("the JSON is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError) as error:
        text = bytes(view)
        no_number = b"NaN" in text or b"Infinity" in text
        raise InvalidInputError(
            f"the body is not valid JSON: {error}" if text else "the request has no body",
            next_step="JSON has no NaN and no Infinity: send that tensor as binary data" if no_number else None,
        ) from error
    if not 1 <= len(message.inputs) <= MAX_TENSORS:
        raise InvalidInputError(
            "wrong number of tensors", where="inputs", got=len(message.inputs), wanted=f"1 to {MAX_TENSORS}"
        )
    return message


def _inputs(sent: list[_Tensor], rest: memoryview | None) -> dict[str, Tensor]:
    """The tensors by name; those with binary data take it from `rest` in the order in which they stand."""
    arrays: dict[str, Tensor] = {}
    taken = 0
    for tensor in sent:
        where = f"input '{tensor.name[:80]}'"
        if tensor.name in arrays:
            raise InvalidInputError("given twice", where=where)
        size = (tensor.parameters or {}).get("binary_data_size")
        if (size is None) == (not tensor.data):
            raise InvalidInputError("wanted either data or the parameter 'binary_data_size'", where=where)
        if tensor.data:
            arrays[tensor.name] = tensors.from_json(bytes(tensor.data), tensor.datatype, tensor.shape, where)
            continue
        if rest is None:
            raise InvalidInputError(
                "has binary data, but the request has no header 'Inference-Header-Content-Length'", where=where
            )
        left = len(rest) - taken
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= left:
            raise InvalidInputError(
                "wrong 'binary_data_size'",
                where=where,
                got=repr(size)[:40],
                wanted=f"0 to {left}, the bytes left",
            )
        arrays[tensor.name] = tensors.from_binary(rest[taken : taken + size], tensor.datatype, tensor.shape, where)
        taken += size
    if rest is not None and taken != len(rest):
        raise InvalidInputError("binary data that belongs to no input", got=f"{len(rest) - taken} bytes")
    return arrays


def _form(message: _Request, parameters: Mapping[str, _Value]) -> OutputForm:
    by_name: dict[str, bool] = {}
    for output in message.outputs or ():
        where = f"output '{output.name[:80]}'"
        wishes = output.parameters or {}
        if "classification" in wishes:
            raise InvalidInputError("the classification extension is not served", where=where)
        binary = wishes.get("binary_data")
        if binary is not None:
            by_name[output.name] = _flag(binary, where, "binary_data")
    default = parameters.get("binary_data_output")
    return OutputForm(binary=default is not None and _flag(default, "request", "binary_data_output"), by_name=by_name)


def _flag(value: _Value, where: str, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"parameter '{name}'", where=where, got=repr(value)[:40], wanted="true or false")
    return value
