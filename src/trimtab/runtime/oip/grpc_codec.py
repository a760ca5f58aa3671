"""Requests and answers of the protocol's gRPC service: bytes → `InferRequest`, `InferResponse` → bytes.

Tensors come in one of two forms: *raw*, all of them as binary tensor data beside the message, or *typed*, each as
numbers in the message. An answer has the form of its request; FP16 has no typed form, so an answer with FP16 is raw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from trimtab.errors import FailedError, InvalidInputError
from trimtab.runtime.oip import tensors, wire
from trimtab.runtime.oip.codec import MAX_TENSORS, priority_from
from trimtab.runtime.oip.deadlines import timeout_from
from trimtab.runtime.oip.messages import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from trimtab.runtime.service import InferRequest, InferResponse, Tensor

_RAW_INPUTS = ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_RAW_OUTPUTS = ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
_STREAMED = ModelStreamInferResponse.DESCRIPTOR.fields_by_name["infer_response"].number

_CONTENTS: Mapping[str, tuple[str, np.dtype[Any]]] = {
    "BOOL": ("bool_contents", np.dtype(np.bool_)),
    "UINT8": ("uint_contents", np.dtype(np.uint32)),
    "UINT16": ("uint_contents", np.dtype(np.uint32)),
    "UINT32": ("uint_contents", np.dtype(np.uint32)),
    "UINT64": ("uint64_contents", np.dtype(np.uint64)),
    "INT8": ("int_contents", np.dtype(np.int32)),
    "INT16": ("int_contents", np.dtype(np.int32)),
    "INT32": ("int_contents", np.dtype(np.int32)),
    "INT64": ("int64_contents", np.dtype(np.int64)),
    "FP32": ("fp32_contents", np.dtype(np.float32)),
    "FP64": ("fp64_contents", np.dtype(np.float64)),
    "BYTES": ("bytes_contents", np.dtype(np.object_)),
}
"""Datatype → the field that holds its elements in typed form, and the type that they have there."""

_NOT_SERVED = ("shared_memory_region", "classification")
"""Parameters of tensors that ask for something that is not served, and without which the answer would be wrong."""


def decode_request(
    data: bytes,
    *,
    deadlines: Mapping[str, str] | None = None,
    remaining_s: float | None = None,
    arrived_s: float | None = None,
) -> tuple[InferRequest, bool]:
    """The request that a `ModelInferRequest` holds, and whether its tensors are raw.

    Args:
        data: the message; arrays of the request may be views of it.
        deadlines: those headers of `deadlines.HEADERS` that are present, by lower-case name.
        remaining_s: until the call's own deadline; None: it has none.
        arrived_s: see `InferRequest`.

    Raises:
        InvalidInputError: anything in it that is not a request of the protocol.
    """
    rest, raw = wire.split(data, _RAW_INPUTS)
    message = parse(ModelInferRequest, rest)
    parameters = values_of(message.parameters)
    times_s = (timeout_from(deadlines or {}, parameters.get("timeout")), remaining_s)
    request = InferRequest(
        model=message.model_name,
        version=message.model_version or None,
        id=message.id or None,
        inputs=_inputs(message.inputs, raw),
        outputs=_outputs(message.outputs),
        timeout_s=min((time_s for time_s in times_s if time_s is not None), default=None),
        priority=priority_from(parameters.get("priority")),
        arrived_s=arrived_s,
    )
    return request, bool(raw)


def encode_response(response: InferResponse, *, raw: bool, parameters: Mapping[str, bool] | None = None) -> bytes:
    """A `ModelInferResponse`, its tensors raw or typed.

    Args:
        response: what the service answered.
        raw: whether the request was.
        parameters: further ones than the answer has.

    Raises:
        FailedError: a tensor has a type that the protocol cannot carry.
    """
    message = ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id or "")
    for name, value in {**response.parameters, **(parameters or {})}.items():
        _set(message.parameters[name], value)
    datatypes = {name: tensors.datatype_of(array.dtype) for name, array in response.outputs.items()}
    raw = raw or any(datatype not in _CONTENTS for datatype in datatypes.values())
    contents: list[bytes] = []
    for name, array in response.outputs.items():
        output = message.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        if raw:
            contents += wire.field(_RAW_OUTPUTS, tensors.to_binary(array))
        else:
            _write_contents(output, array)
    return b"".join((message.SerializeToString(), *contents))


def encode_streamed(response: bytes) -> bytes:
    """A `ModelStreamInferResponse` that carries an encoded answer."""
    return b"".join(wire.field(_STREAMED, response))


def encode_stream_error(text: str, id: str | None = None) -> bytes:  # noqa: A002 — as the protocol calls it
    """A `ModelStreamInferResponse` that says why the request `id` has no answer."""
    message: bytes = ModelStreamInferResponse(
        error_message=text, infer_response=ModelInferResponse(id=id or "")
    ).SerializeToString()
    return message


def parse(message_type: Any, data: bytes) -> Any:
    """A message of the type.

    Raises:
        InvalidInputError: `data` is something else.
    """
    try:
        return message_type.FromString(data)
    except DecodeError as error:
        raise InvalidInputError(f"not a {message_type.DESCRIPTOR.name} of the protocol: {error}") from error


def id_of(data: bytes) -> str | None:
    """The id of a request that `decode_request` refused, as far as it can be read."""
    try:
        rest, _ = wire.split(data, _RAW_INPUTS)
        return parse(ModelInferRequest, rest).id or None
    except InvalidInputError:
        return None


def _inputs(sent: Sequence[Any], raw: list[memoryview]) -> dict[str, Tensor]:
    """The tensors by name; raw ones stand in the order of their descriptions."""
    if not 1 <= len(sent) <= MAX_TENSORS:
        raise InvalidInputError("wrong number of tensors", where="inputs", got=len(sent), wanted=f"1 to {MAX_TENSORS}")
    if raw and len(raw) != len(sent):
        raise InvalidInputError(
            "wrong number of raw tensors",
            where="raw_input_contents",
            got=len(raw),
            wanted=f"{len(sent)}, one per input",
        )
    arrays: dict[str, Tensor] = {}
    for index, tensor in enumerate(sent):
        where = f"input '{tensor.name[:80]}'"
        if tensor.name in arrays:
            raise InvalidInputError("given twice", where=where)
        _check_served(tensor, where)
        if not raw:
            arrays[tensor.name] = _from_contents(tensor, where)
            continue
        if tensor.HasField("contents"):
            raise InvalidInputError("has contents although the request has raw_input_contents", where=where)
        arrays[tensor.name] = tensors.from_binary(raw[index], tensor.datatype, tensor.shape, where)
    return arrays


def _outputs(sent: Sequence[Any]) -> tuple[str, ...] | None:
    """Names of the outputs asked for; None: all."""
    if not sent:
        return None
    for output in sent:
        _check_served(output, f"output '{output.name[:80]}'")
    names = tuple(output.name for output in sent)
    if len(set(names)) != len(names):
        raise InvalidInputError("an output is asked for twice", where="outputs")
    return names


def _check_served(tensor: Any, where: str) -> None:
    for name in _NOT_SERVED:
        if name in tensor.parameters:
            raise InvalidInputError(f"the extension behind the parameter '{name}' is not served", where=where)


def _from_contents(tensor: Any, where: str) -> Tensor:
    """The array that a typed tensor holds."""
    if tensor.datatype not in _CONTENTS:
        known = tensor.datatype in tensors.DATATYPES
        raise InvalidInputError(
            f"{tensor.datatype} has no typed form" if known else "unknown datatype",
            where=where,
            got=None if known else repr(tensor.datatype[:40]),
            wanted=None if known else ", ".join(tensors.DATATYPES),
            next_step="send it in raw_input_contents" if known else None,
        )
    field, held = _CONTENTS[tensor.datatype]
    elements = tensors.count_elements(tensor.shape, where)
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise InvalidInputError(
                f"elements of {tensor.datatype} are in the wrong field", where=where, got=other.name, wanted=field
            )
    contents = getattr(tensor.contents, field)
    if len(contents) != elements:
        raise InvalidInputError(
            "contents do not fit the shape", where=where, got=f"{len(contents)} elements", wanted=str(elements)
        )
    array = np.empty(elements, held)
    array[:] = list(contents) if held.kind == "O" else contents
    dtype = tensors.DATATYPES[tensor.datatype]
    if held.kind in "iu" and held != dtype and elements:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise InvalidInputError(f"a number lies outside the range of {tensor.datatype}", where=where)
    return array.astype(dtype, copy=False).reshape(tensor.shape)


def _write_contents(output: Any, array: Tensor) -> None:
    field, held = _CONTENTS[output.datatype]
    contents = output.contents
    contents.SetInParent()  # also where there is no element
    if held.kind in "fb":  # on the wire, these are what they are in memory: no need to make an object of each
        number = contents.DESCRIPTOR.fields_by_name[field].number
        contents.MergeFromString(b"".join(wire.field(number, tensors.to_binary(array))))
        return
    try:
        getattr(contents, field).extend(array.reshape(-1).tolist())
    except TypeError as error:
        raise FailedError("a tensor of BYTES holds something else", where=f"output '{output.name}'") from error


def values_of(parameters: Mapping[str, Any]) -> dict[str, object]:
    """Parameters of a message as plain values; None where none is set."""
    chosen = {name: parameter.WhichOneof("parameter_choice") for name, parameter in parameters.items()}
    return {name: None if choice is None else getattr(parameters[name], choice) for name, choice in chosen.items()}


def _set(parameter: Any, value: str | float | bool) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, str):
        parameter.string_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    else:
        parameter.double_param = value
