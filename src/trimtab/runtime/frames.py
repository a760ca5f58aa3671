"""What a gateway and a worker say to each other: the messages, and their form as bytes on a local stream socket.

A frame (`framing`) has a MessagePack header, the message and a list of tensor names, dtypes and shapes, and as its body
the tensors' raw little-endian bytes, each padded to 64 bytes:

    "TTF1" | u32 header bytes | u64 body bytes | header | padding | tensor | padding | tensor | padding …

A tensor of text or other bytes is one u32 length per element, then all elements end to end; nothing is pickled.

Nothing here does I/O. `encode` gives buffers to send (tensors are not copied); `Decoder` hands out the buffer to
receive into, in the manner of `asyncio.BufferedProtocol`, and both sides use it. Lengths are bounded, and bytes that
are no frame raise `WorkerError`: a stream cannot be trusted after that, so its owner closes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from trimtab.errors import WorkerError
from trimtab.runtime.framing import DTYPES, PREFIX, FrameReader, check_lengths, padded
from trimtab.runtime.service import Tensor, TensorInfo

MAGIC = b"TTF1"
MAX_HEADER_BYTES = 1 << 20
MAX_BODY_BYTES = 1 << 30
_SCRATCH_BYTES = 1 << 16
BYTES = np.dtype(np.object_)
"""The dtype of text and other bytes: an array of `bytes` objects."""
_LENGTH = np.dtype("<u4")


class TensorHead(msgspec.Struct, frozen=True, array_like=True):
    """Name, dtype and shape of a tensor on the wire; -1 for a free axis where it describes an interface."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def info(self) -> TensorInfo:
        """The same as the value that the rest of the runtime uses."""
        return TensorInfo(self.name, DTYPES.get(self.dtype, BYTES), self.shape)


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A message; `id` ties an answer to its question."""

    id: int


class Setup(_Message, frozen=True):
    """Gateway → worker, first and once: cores to hold, threads to start with, thread counts to build sessions for."""

    core_ids: tuple[int, ...]
    threads: int
    thread_options: tuple[int, ...]
    warm_batches: tuple[int, ...]


class Load(_Message, frozen=True):
    """Gateway → worker: make `variant` resident. Answered by `Loaded`, or `Failure` with nothing changed. The other
    fields are those of a `models.model.ModelSource`.
    """

    variant: str
    runtime: str
    path: str
    entry: str | None
    options: dict[str, Any]
    folders: tuple[str, ...]


class Unload(_Message, frozen=True):
    """Gateway → worker: forget `variant`; batches of it that are running finish."""

    variant: str


class SetCores(_Message, frozen=True):
    """Gateway → worker: hold these cores and use `threads` per inference, from the next batch on."""

    core_ids: tuple[int, ...]
    threads: int


class Run(_Message, frozen=True):
    """Gateway → worker: one batch for `variant`; the frame's tensors are its inputs."""

    variant: str


class AskStatus(_Message, frozen=True):
    """Gateway → worker: answered by `Status`."""


class Stop(_Message, frozen=True):
    """Gateway → worker: finish what was accepted, refuse the rest, exit."""


class Hello(_Message, frozen=True):
    """Worker → gateway: answer to `Setup`."""

    pid: int
    versions: dict[str, str]
    missing: tuple[str, ...]
    """Capabilities that this system lacks, in words."""


class Loaded(_Message, frozen=True):
    """Worker → gateway: a variant is resident and warm. The frame's tensors are an example row, if any."""

    load_time_s: float
    memory_bytes: int
    inputs: tuple[TensorHead, ...]
    outputs: tuple[TensorHead, ...]


class Done(_Message, frozen=True):
    """Worker → gateway: an `Unload` or `SetCores` is in force."""


class Result(_Message, frozen=True):
    """Worker → gateway: a batch's answer; the frame's tensors are its outputs. `service_s` excludes waiting."""

    service_s: float


class Status(_Message, frozen=True):
    """Worker → gateway: what the process holds."""

    rss_bytes: int
    cpu_s: float
    resident: tuple[str, ...]
    running: int
    queued: int


class Failure(_Message, frozen=True):
    """Worker → gateway: the message `id` failed. `kind` is `model`, `input` or `worker`: whose fault it is."""

    kind: str
    text: str


Message = Setup | Load | Unload | SetCores | Run | AskStatus | Stop | Hello | Loaded | Done | Result | Status | Failure


class _Header(msgspec.Struct, frozen=True, array_like=True):
    message: Message
    tensors: tuple[TensorHead, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame. The tensors are views of one buffer that belongs to this frame alone."""

    message: Message
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def encode(message: Message, tensors: Mapping[str, Tensor] | None = None) -> list[bytes | memoryview]:
    """The frame as buffers to send in this order. Contiguous tensors are not copied: do not change them meanwhile.

    Raises:
        WorkerError: a tensor's dtype is neither one of `DTYPES` nor `BYTES`, an array of objects holds anything but
            `bytes`, or the frame is larger than the stated bounds.
    """
    heads: list[TensorHead] = []
    buffers: list[bytes | memoryview] = []
    body_bytes = 0
    for name, tensor in (tensors or {}).items():
        parts, dtype_name = _raw(name, tensor)
        heads.append(TensorHead(name, dtype_name, tensor.shape))
        size_bytes = sum(len(part) for part in parts)
        if size_bytes:
            buffers += parts
            padding = padded(size_bytes) - size_bytes
            if padding:
                buffers.append(bytes(padding))
            body_bytes += size_bytes + padding
    header = msgspec.msgpack.encode(_Header(message, tuple(heads)))
    check_lengths(len(header), body_bytes, MAX_HEADER_BYTES, MAX_BODY_BYTES)
    prefix = PREFIX.pack(MAGIC, len(header), body_bytes)
    return [prefix + header + bytes(padded(len(header)) - len(header)), *buffers]


def _raw(name: str, tensor: Tensor) -> tuple[list[bytes | memoryview], str]:
    """A tensor as the bytes that are sent, none of them empty, and its dtype's name."""
    if tensor.dtype == BYTES:
        items = tensor.reshape(-1).tolist()
        if odd := [item for item in items if not isinstance(item, bytes)]:
            raise WorkerError(f"tensor '{name}' cannot be sent", got=type(odd[0]).__name__, wanted="bytes")
        lengths = [len(item) for item in items]
        if sum(lengths) > MAX_BODY_BYTES:  # before the lengths, of 32 bits, are written and all of it is copied
            check_lengths(0, sum(lengths), MAX_HEADER_BYTES, MAX_BODY_BYTES)
        parts = [np.array(lengths, _LENGTH).tobytes(), b"".join(items)]
        return [part for part in parts if part], BYTES.name
    dtype = DTYPES.get(tensor.dtype.name)
    if dtype is None:
        raise WorkerError(f"tensor '{name}' cannot be sent", got=str(tensor.dtype), wanted=", ".join(DTYPES))
    raw = np.asarray(tensor, dtype=dtype, order="C")
    return [raw.reshape(-1).view(np.uint8).data] if raw.nbytes else [], dtype.name


_HEADER = msgspec.msgpack.Decoder(_Header)


def _decode(rest: NDArray[np.uint8], header_bytes: int) -> Frame:
    try:
        header = _HEADER.decode(rest.data[:header_bytes])
    except msgspec.MsgspecError as error:
        raise WorkerError("the other side sent a frame whose header cannot be read", got=str(error)) from error
    tensors: dict[str, Tensor] = {}
    at = padded(header_bytes)
    for head in header.tensors:
        dtype = _LENGTH if head.dtype == BYTES.name else DTYPES.get(head.dtype)
        if dtype is None or len(head.shape) > 32 or any(axis < 0 for axis in head.shape):
            got = f"{head.dtype} {head.shape}"
            raise WorkerError(f"the other side sent tensor '{head.name}' of no known form", got=got)
        size_bytes = math.prod(head.shape) * dtype.itemsize
        tensor: Tensor = _part(rest, at, size_bytes, head).view(dtype)
        if head.dtype == BYTES.name:
            ends = np.cumsum(tensor, dtype=np.uint64).tolist()
            blob = _part(rest, at + size_bytes, ends[-1] if ends else 0, head).tobytes()
            size_bytes += len(blob)
            tensor = np.empty(len(ends), BYTES)
            tensor[:] = [blob[start:end] for start, end in pairwise([0, *ends])]
        tensors[head.name] = tensor.reshape(head.shape)
        at += padded(size_bytes)
    return Frame(header.message, tensors)


def _part(rest: NDArray[np.uint8], at: int, size_bytes: int, head: TensorHead) -> NDArray[np.uint8]:
    if at + size_bytes > len(rest):
        got = f"{len(rest)} bytes"
        raise WorkerError(f"the other side sent a frame too short for tensor '{head.name}'", got=got)
    return rest[at : at + size_bytes]


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
