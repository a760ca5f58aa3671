"""Messages and their tensors as bytes on a local stream socket, and back.

    "TTG1" | u32 header bytes | u64 body bytes | header | padding | tensor | padding | tensor | padding …

The header is MessagePack: the message and a list of tensor heads. A numeric tensor is its raw little-endian bytes; a
BYTES tensor the u32 lengths of its elements, then the elements. Everything starts at a multiple of 64 bytes.

Nothing here does I/O. Tensors are neither copied when they are sent (but for small and BYTES ones) nor when they have
come: they are views of their frame's buffer. Bytes that are no frame raise `WorkerError`: their stream cannot be
trusted any more.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, get_origin

import msgspec
import numpy as np
from numpy.typing import NDArray

from trimtab.errors import InvalidInputError, WorkerError
from trimtab.runtime.gateway.messages import Message
from trimtab.runtime.service import Tensor

MAGIC = b"TTG1"
MAX_HEADER_BYTES = 16 << 20
MAX_BODY_BYTES = 2 << 30
_PREFIX = struct.Struct("<4sIQ")
_ALIGN_BYTES = 64
_SCRATCH_BYTES = 1 << 18
"""Frames up to this size are received many at a time and copied out; larger ones into a buffer of their own."""
_JOIN_BYTES = 1 << 14
"""Frames up to this size are sent as one piece: copying them costs less than a longer list for the kernel."""
_LENGTH = np.dtype("<u4")
_NUMERIC = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
}


class _Head(msgspec.Struct, frozen=True, array_like=True):
    name: str
    dtype: str
    """NumPy's name; `object`: BYTES."""
    shape: tuple[int, ...]
    size_bytes: int


class _Header(msgspec.Struct, frozen=True, array_like=True):
    message: Message
    tensors: tuple[_Head, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """A message that came, and its tensors."""

    message: Message
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def encode(message: Message, tensors: Mapping[str, Tensor] | None = None) -> list[bytes | memoryview]:
    """The frame as buffers to send in this order. Do not change the tensors until they are sent.

    Raises:
        InvalidInputError: a tensor's dtype is none that can be sent, or the frame is too large.
    """
    heads: list[_Head] = []
    buffers: list[bytes | memoryview] = []
    body_bytes = 0
    for name, tensor in (tensors or {}).items():
        pieces = _pieces(name, tensor)
        size_bytes = sum(map(len, pieces))
        heads.append(_Head(name, tensor.dtype.name, tensor.shape, size_bytes))
        buffers += pieces
        padding = _pad(size_bytes) - size_bytes
        if padding:
            buffers.append(bytes(padding))
        body_bytes += size_bytes + padding
    header = _ENCODER.encode(_Header(message, tuple(heads)))
    if len(header) > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
        raise InvalidInputError(
            "too large to be handed on",
            got=f"{len(header)} and {body_bytes} bytes",
            wanted=f"at most {MAX_HEADER_BYTES} and {MAX_BODY_BYTES}",
        )
    first = _PREFIX.pack(MAGIC, len(header), body_bytes) + header + bytes(_pad(len(header)) - len(header))
    if body_bytes + len(first) <= _JOIN_BYTES:
        return [b"".join((first, *buffers))]
    return [first, *buffers]


def _pieces(name: str, tensor: Tensor) -> list[bytes | memoryview]:
    if tensor.dtype.hasobject:
        items: list[Any] = tensor.ravel().tolist()
        try:
            lengths = np.fromiter(map(len, items), _LENGTH, len(items))
            return [lengths.tobytes(), b"".join(items)]
        except TypeError as error:
            raise InvalidInputError(f"tensor '{name}'", got=str(error), wanted="bytes in every place") from error
    dtype = _NUMERIC.get(tensor.dtype.name)
    if dtype is None:
        wanted = ", ".join((*_NUMERIC, "bytes"))
        raise InvalidInputError(f"tensor '{name}' cannot be handed on", got=str(tensor.dtype), wanted=wanted)
    raw = np.asarray(tensor, dtype=dtype, order="C")
    return [raw.reshape(-1).view(np.uint8).data] if raw.nbytes else []


class Decoder:
    """Bytes to frames. Receive into `get_buffer()`, then say how many bytes came with `buffer_updated(count)`."""

    def __init__(self) -> None:
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._filled = 0
        self._large: NDArray[np.uint8] | None = None
        self._large_filled = 0
        self._large_header_bytes = 0

    def get_buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._large is not None:
            return self._large.data[self._large_filled :]
        return memoryview(self._scratch)[self._filled :]

    def buffer_updated(self, count: int) -> list[Frame]:
        """The frames completed by `count` bytes more.

        Raises:
            WorkerError: the bytes are no frame, or announce one beyond the bounds.
        """
        if self._large is not None:
            self._large_filled += count
            if self._large_filled < len(self._large):
                return []
            whole, self._large = self._large, None
            return [_decode(whole, self._large_header_bytes)]
        self._filled += count
        frames: list[Frame] = []
        start = 0
        while self._filled - start >= _PREFIX.size:
            magic, header_bytes, body_bytes = _PREFIX.unpack_from(self._scratch, start)
            if magic != MAGIC:
                raise WorkerError("the other side sent bytes that are no frame", got=repr(magic), wanted=repr(MAGIC))
            if header_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
                got = f"header of {header_bytes} and body of {body_bytes} bytes"
                raise WorkerError("the other side announced a frame that is too large", got=got)
            rest_bytes = _pad(header_bytes) + body_bytes
            first = start + _PREFIX.size
            here = min(rest_bytes, self._filled - first)
            if here < rest_bytes and _PREFIX.size + rest_bytes <= _SCRATCH_BYTES:
                break
            whole = np.empty(rest_bytes, dtype=np.uint8)
            whole[:here] = np.frombuffer(self._scratch, dtype=np.uint8, count=here, offset=first)
            start = first + here
            if here < rest_bytes:
                self._large, self._large_filled, self._large_header_bytes = whole, here, header_bytes
                break
            frames.append(_decode(whole, header_bytes))
        left = self._filled - start
        if start:
            self._scratch[:left] = self._scratch[start : self._filled]
        self._filled = left
        return frames


def _decode(rest: NDArray[np.uint8], header_bytes: int) -> Frame:
    try:
        header: _Header = _DECODER.decode(rest.data[:header_bytes])
    except (msgspec.MsgspecError, TypeError) as error:
        raise WorkerError("the other side sent a frame whose header cannot be read", got=str(error)) from error
    tensors: dict[str, Tensor] = {}
    at = _pad(header_bytes)
    for head in header.tensors:
        if head.size_bytes < 0 or at + head.size_bytes > len(rest):
            raise WorkerError(
                f"the other side sent a frame too short for tensor '{head.name}'", got=f"{len(rest)} bytes"
            )
        tensors[head.name] = _tensor(head, rest[at : at + head.size_bytes])
        at += _pad(head.size_bytes)
    return Frame(header.message, tensors)


def _tensor(head: _Head, raw: NDArray[np.uint8]) -> Tensor:
    dtype = _LENGTH if head.dtype == "object" else _NUMERIC.get(head.dtype)
    if dtype is not None and len(head.shape) <= 32 and min(head.shape, default=0) >= 0:
        size_bytes = math.prod(head.shape) * dtype.itemsize
        if size_bytes == raw.size and head.dtype != "object":
            return raw.view(dtype).reshape(head.shape)
        if size_bytes <= raw.size and head.dtype == "object":
            return _texts(head, raw[:size_bytes].view(_LENGTH), raw[size_bytes:].tobytes())
    got = f"{head.dtype} {head.shape} in {raw.size} bytes"
    raise WorkerError(f"the other side sent tensor '{head.name}' of no known form", got=got)


def _texts(head: _Head, lengths: NDArray[np.uint32], data: bytes) -> Tensor:
    ends: list[int] = np.cumsum(lengths, dtype=np.int64).tolist()
    if (ends[-1] if ends else 0) != len(data):
        raise WorkerError(f"the other side sent tensor '{head.name}' with wrong lengths", got=f"{len(data)} bytes")
    array = np.empty(len(ends), dtype=object)
    array[:] = [data[start:end] for start, end in pairwise((0, *ends))]
    return array.reshape(head.shape)


def _pad(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGN_BYTES) * _ALIGN_BYTES


def _to_wire(value: object) -> str:
    if isinstance(value, np.dtype):
        return value.str
    raise NotImplementedError(type(value).__name__)


def _from_wire(kind: type, value: object) -> object:
    if isinstance(value, str) and (get_origin(kind) or kind) is np.dtype:
        return np.dtype(value)
    raise NotImplementedError(kind.__name__)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_to_wire)
_DECODER = msgspec.msgpack.Decoder(_Header, dec_hook=_from_wire)
