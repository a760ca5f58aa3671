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
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, get_origin

import msgspec
import numpy as np
from numpy.typing import NDArray

from trimtab.errors import InvalidInputError, WorkerError
from trimtab.runtime.framing import DTYPES, PREFIX, FrameReader, padded
from trimtab.runtime.gateway.messages import Message
from trimtab.runtime.service import Tensor

MAGIC = b"TTG1"
MAX_HEADER_BYTES = 16 << 20
MAX_BODY_BYTES = 2 << 30
_SCRATCH_BYTES = 1 << 18
_JOIN_BYTES = 1 << 14
"""Frames up to this size are sent as one piece: copying them costs less than a longer list for the kernel."""
_LENGTH = np.dtype("<u4")


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
        padding = padded(size_bytes) - size_bytes
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
    first = PREFIX.pack(MAGIC, len(header), body_bytes) + header + bytes(padded(len(header)) - len(header))
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
    dtype = DTYPES.get(tensor.dtype.name)
    if dtype is None:
        wanted = ", ".join((*DTYPES, "bytes"))
        raise InvalidInputError(f"tensor '{name}' cannot be handed on", got=str(tensor.dtype), wanted=wanted)
    raw = np.asarray(tensor, dtype=dtype, order="C")
    return [raw.reshape(-1).view(np.uint8).data] if raw.nbytes else []


def _decode(rest: NDArray[np.uint8], header_bytes: int) -> Frame:
    try:
        header: _Header = _DECODER.decode(rest.data[:header_bytes])
    except (msgspec.MsgspecError, TypeError) as error:
        raise WorkerError("the other side sent a frame whose header cannot be read", got=str(error)) from error
    tensors: dict[str, Tensor] = {}
    at = padded(header_bytes)
    for head in header.tensors:
        if head.size_bytes < 0 or at + head.size_bytes > len(rest):
            raise WorkerError(
                f"the other side sent a frame too short for tensor '{head.name}'", got=f"{len(rest)} bytes"
            )
        tensors[head.name] = _tensor(head, rest[at : at + head.size_bytes])
        at += padded(head.size_bytes)
    return Frame(header.message, tensors)


def _tensor(head: _Head, raw: NDArray[np.uint8]) -> Tensor:
    dtype = _LENGTH if head.dtype == "object" else DTYPES.get(head.dtype)
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


class Decoder(FrameReader[Frame]):
    """Bytes to frames."""

    def __init__(self) -> None:
        super().__init__(
            MAGIC,
            _decode,
            max_header_bytes=MAX_HEADER_BYTES,
            max_body_bytes=MAX_BODY_BYTES,
            scratch_bytes=_SCRATCH_BYTES,
        )
