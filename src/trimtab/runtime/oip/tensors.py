"""Tensors of the Open Inference Protocol V2: datatypes ↔ NumPy, and JSON or binary data ↔ arrays.

JSON data is flat or nested in the tensor's shape, row-major. Binary data is row-major and little-endian; a BYTES
element is preceded by its length as an unsigned 32-bit number (the protocol's binary tensor data extension).

What arrives is checked in full, and its size against its shape before anything of that size is allocated. Each fault
of a request is an `InvalidInputError`; what cannot be written is a `FailedError`, since then the server made it.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import struct
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from trimtab.errors import FailedError, InvalidInputError
from trimtab.runtime.service import Tensor

MAX_RANK = 16
"""Axes of one tensor; NumPy itself stops at 32."""
MAX_ELEMENTS = 2**31 - 1
"""Elements of one tensor, counting its empty axes as one: what every consumer's 32-bit index can still reach."""

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}
"""Datatype of the protocol → NumPy dtype. BYTES are `bytes` objects in an array of objects."""

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_OPENING = re.compile(rb"[ \t\n\r]*\[")
_ONLY_BRACKETS = re.compile(rb"[ \t\n\r\[\],]*")
_LENGTH = struct.Struct("<I")


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a NumPy dtype; text and byte strings of NumPy are BYTES.

    Raises:
        FailedError: the protocol has no such datatype (complex numbers, dates).
    """
    if dtype.kind in "OSU":
        return "BYTES"
    name = _NAMES.get(dtype.newbyteorder("="))
    if name is None:
        raise FailedError("a tensor has a type that the protocol cannot carry", got=str(dtype))
    return name


def count_elements(shape: Sequence[int], where: str) -> int:
    """Number of elements of `shape`.

    Raises:
        InvalidInputError: no axis, too many axes, a negative or a huge one.
    """
    if not 1 <= len(shape) <= MAX_RANK:
        raise InvalidInputError("wrong number of axes", where=where, got=len(shape), wanted=f"1 to {MAX_RANK}")
    elements = math.prod(shape)
    if any(axis < 0 for axis in shape):
        raise InvalidInputError("negative axis in shape", where=where, got=_shown(shape), wanted="sizes ≥ 0")
    if elements > MAX_ELEMENTS or math.prod(axis or 1 for axis in shape) > MAX_ELEMENTS:
        raise InvalidInputError("shape is too large", where=where, wanted=f"at most {MAX_ELEMENTS} elements")
    return elements


def from_json(data: bytes, datatype: str, shape: Sequence[int], where: str) -> Tensor:
    """The array that well-formed JSON `data` holds, in `shape`.

    Args:
        data: a JSON array, flat or nested exactly as `shape`.
        datatype: name in the protocol; FP16 is written as numbers.
        shape: sizes of the axes, leading axis first.
        where: what to call the tensor in errors.

    Raises:
        InvalidInputError: anything that is not exactly such a tensor; numbers outside the datatype's range included.
    """
    dtype = _dtype(datatype, where)
    elements = count_elements(shape, where)
    depth = _depth(data)
    if depth not in (1, len(shape)) and elements:
        raise InvalidInputError(
            "data is neither flat nor nested as its shape",
            where=where,
            got=f"{depth} levels of lists",
            wanted=_shown(shape),
        )
    if elements == 0:
        if not _ONLY_BRACKETS.fullmatch(data) or depth == 0:
            raise InvalidInputError(
                "data does not fit its shape", where=where, wanted=f"no element for {_shown(shape)}"
            )
        return np.empty(tuple(shape), dtype)
    if datatype == "BYTES":
        return _text_from_json(data, shape, depth, where)
    # No number holds a comma, so this counts the elements of any regular list, before one object is made for them.
    sent = int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(","))) + 1
    if sent != elements:
        raise _misfit(sent, shape, where)
    values = _decode(data, datatype, depth, where)
    try:
        with np.errstate(over="ignore"):  # told below, as an error of the request
            array = np.array(values, dtype)
    except (ValueError, OverflowError) as error:  # lists of unequal length; an integer beyond 64 bits
        raise InvalidInputError(
            f"data is not a regular {datatype} array of its shape", where=where, wanted=_shown(shape)
        ) from error
    if depth == 1 and array.size == elements:
        array = array.reshape(shape)
    if array.shape != tuple(shape):
        raise InvalidInputError(
            "data is not nested as its shape", where=where, got=_shown(array.shape), wanted=_shown(shape)
        )
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInputError(f"a number lies outside the range of {datatype}", where=where)
    return array


def from_binary(data: memoryview, datatype: str, shape: Sequence[int], where: str) -> Tensor:
    """The array that binary `data` holds, in `shape`; a view of `data` where that is possible.

    Raises:
        InvalidInputError: the number of bytes does not fit datatype and shape, or a BOOL is neither 0 nor 1.
    """
    dtype = _dtype(datatype, where)
    elements = count_elements(shape, where)
    if datatype == "BYTES":
        return _bytes_from_binary(data, elements, where).reshape(shape)
    if len(data) != elements * dtype.itemsize:
        raise InvalidInputError(
            "binary data does not fit its shape",
            where=where,
            got=f"{len(data)} bytes",
            wanted=f"{elements * dtype.itemsize} bytes for {datatype} {_shown(shape)}",
        )
    if elements == 0:
        return np.empty(tuple(shape), dtype)
    if datatype == "BOOL" and np.frombuffer(data, np.uint8).max() > 1:
        raise InvalidInputError("a BOOL is neither 0 nor 1", where=where)
    array = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    return array if array.flags.aligned else array.copy()


def to_json(array: Tensor, where: str) -> list[Any]:
    """The elements of `array` as a flat list that JSON can carry, row-major.

    Raises:
        FailedError: NaN or infinity, or bytes that are not UTF-8, which JSON cannot carry.
    """
    if array.dtype.kind in "OSU":
        try:
            return [element.decode() for element in _elements_as_bytes(array)]
        except UnicodeDecodeError as error:
            raise FailedError(
                "the answer holds bytes that are not text, which JSON cannot carry",
                where=where,
                next_step=_ASK_BINARY,
            ) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FailedError(
            "the answer holds NaN or infinity, which JSON cannot carry", where=where, next_step=_ASK_BINARY
        )
    values: list[Any] = array.reshape(-1).tolist()
    return values


def to_binary(array: Tensor) -> bytes:
    """The elements of `array` as binary tensor data, row-major."""
    if array.dtype.kind in "OSU":
        return b"".join(part for element in _elements_as_bytes(array) for part in (_LENGTH.pack(len(element)), element))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


_ASK_BINARY = 'ask for binary data: set "binary_data_output": true in the request\'s parameters'


def _dtype(datatype: str, where: str) -> np.dtype[Any]:
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        raise InvalidInputError("unknown datatype", where=where, got=repr(datatype[:40]), wanted=", ".join(DATATYPES))
    return dtype


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(str(axis) if abs(axis) < 10**18 else 'huge' for axis in shape)}]"


def _misfit(sent: int, shape: Sequence[int], where: str) -> InvalidInputError:
    return InvalidInputError(
        "data does not fit its shape",
        where=where,
        got=f"{sent} elements",
        wanted=f"{math.prod(shape)} for {_shown(shape)}",
    )


def _depth(data: bytes) -> int:
    """Levels of lists in which the first element lies, counted no further than any shape could go."""
    depth, end = 0, 0
    while depth <= MAX_RANK and (opening := _OPENING.match(data, end)):
        depth, end = depth + 1, opening.end()
    return depth


@functools.cache
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    """A decoder of lists nested `depth` deep whose elements are of `datatype`, ranges included as far as 64 bits go."""
    dtype = DATATYPES[datatype]
    element: Any = {"b": bool, "f": float, "O": str, "i": int, "u": int}[dtype.kind]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        upper = int(limits.max) if dtype.itemsize < 8 else None  # else NumPy checks: limits are 64-bit signed
        lower = int(limits.min) if dtype.kind == "u" or dtype.itemsize < 8 else None
        element = Annotated[int, msgspec.Meta(ge=lower, le=upper)]
    for _ in range(depth):
        element = list[element]
    return msgspec.json.Decoder(element)


def _decode(data: bytes, datatype: str, depth: int, where: str) -> Any:
    try:
        return _decoder(datatype, depth).decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"data is not {datatype}: {error}", where=where) from error


def _text_from_json(data: bytes, shape: Sequence[int], depth: int, where: str) -> Tensor:
    elements = math.prod(shape)
    level = [_decode(data, "BYTES", depth, where)]
    for axis in shape if depth > 1 else (elements,):
        for inner in level:
            if len(inner) != axis:
                raise InvalidInputError(
                    "data does not fit its shape", where=where, got=f"a list of {len(inner)}", wanted=_shown(shape)
                )
        level = list(itertools.chain.from_iterable(level))
    array = np.empty(elements, np.object_)
    try:
        array[:] = [text.encode() for text in level]
    except UnicodeEncodeError as error:
        raise InvalidInputError("text is not valid Unicode", where=where) from error
    return array.reshape(shape)


def _bytes_from_binary(data: memoryview, elements: int, where: str) -> Tensor:
    if elements * _LENGTH.size > len(data):
        raise InvalidInputError(
            "binary data ends too early",
            where=where,
            got=f"{len(data)} bytes",
            wanted=f"at least {elements * _LENGTH.size} for {elements} BYTES elements",
        )
    array = np.empty(elements, np.object_)
    start = 0
    for index in range(elements):
        end = start + _LENGTH.size
        if end <= len(data):
            end += _LENGTH.unpack_from(data, start)[0]
        if end > len(data):
            raise InvalidInputError("binary data ends too early", where=where, got=f"element {index} passes the end")
        array[index] = bytes(data[start + _LENGTH.size : end])
        start = end
    if start != len(data):
        raise InvalidInputError(
            "binary data is longer than its shape", where=where, got=f"{len(data) - start} bytes too many"
        )
    return array


def _elements_as_bytes(array: Tensor) -> list[bytes]:
    """The elements of an array of text or bytes; other objects have no place in an answer."""
    elements = []
    for element in array.reshape(-1).tolist():
        if isinstance(element, str):
            elements.append(element.encode())
        elif isinstance(element, bytes):
            elements.append(element)
        else:
            raise FailedError("a tensor of objects holds something else than text or bytes", got=type(element).__name__)
    return elements
