"""Frames on a local stream socket, whatever their messages: where one begins and ends, and how it is put together.

    magic | u32 header bytes | u64 body bytes | header | padding | body

Nothing here does I/O. Lengths are bounded, and bytes that are no frame raise `WorkerError`: a stream cannot be trusted
after that, so its owner closes it. What a header and a body hold is said by those who use this: `frames` (workers) and
`gateway.wire` (gateways).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import WorkerError

PREFIX = struct.Struct("<4sIQ")
"""Magic, header bytes, body bytes."""
ALIGN_BYTES = 64
"""Header and tensors begin at multiples of this."""
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
}
"""The numeric dtypes that tensors may have, by NumPy's name."""

F = TypeVar("F")


def padded(size_bytes: int) -> int:
    """`size_bytes` up to the next multiple of `ALIGN_BYTES`."""
    return -(-size_bytes // ALIGN_BYTES) * ALIGN_BYTES


def check_lengths(header_bytes: int, body_bytes: int, max_header_bytes: int, max_body_bytes: int) -> None:
    """Refuse a frame beyond the bounds.

    Raises:
        WorkerError: it is.
    """
    if header_bytes > max_header_bytes or body_bytes > max_body_bytes:
        raise WorkerError(
            "a frame is too large",
            got=f"header of {header_bytes} and body of {body_bytes} bytes",
            wanted=f"at most {max_header_bytes} and {max_body_bytes}",
        )


class FrameReader(Generic[F]):
    """Bytes to frames. Receive into `get_buffer()`, then say how many bytes came with `buffer_updated(count)`."""

    def __init__(
        self,
        magic: bytes,
        decode: Callable[[NDArray[np.uint8], int], F],
        *,
        max_header_bytes: int,
        max_body_bytes: int,
        scratch_bytes: int,
    ) -> None:
        """Make a reader.

        Args:
            magic: four bytes that every frame begins with.
            decode: a frame from its bytes after the prefix, which are its own, and the length of its header.
            max_header_bytes: longest header.
            max_body_bytes: longest body.
            scratch_bytes: frames up to this size are received many at a time and copied out; larger ones into a buffer
                of their own.
        """
        self._magic, self._decode = magic, decode
        self._max_header_bytes, self._max_body_bytes = max_header_bytes, max_body_bytes
        self._scratch = bytearray(scratch_bytes)
        self._filled = 0
        self._large: NDArray[np.uint8] | None = None
        self._large_filled = 0
        self._large_header_bytes = 0

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Where the next bytes go; never empty. `sizehint` is ignored."""
        del sizehint
        if self._large is not None:
            return self._large.data[self._large_filled :]
        return memoryview(self._scratch)[self._filled :]

    def buffer_updated(self, count: int) -> list[F]:
        """The frames completed by `count` bytes more.

        Raises:
            WorkerError: the bytes are no frame, or announce one beyond the bounds.
        """
        if self._large is not None:
            self._large_filled += count
            if self._large_filled < len(self._large):
                return []
            whole, self._large = self._large, None
            return [self._decode(whole, self._large_header_bytes)]
        self._filled += count
        frames: list[F] = []
        start = 0
        while self._filled - start >= PREFIX.size:
            magic, header_bytes, body_bytes = PREFIX.unpack_from(self._scratch, start)
            if magic != self._magic:
                wanted = repr(self._magic)
                raise WorkerError("the other side sent bytes that are no frame", got=repr(magic), wanted=wanted)
            check_lengths(header_bytes, body_bytes, self._max_header_bytes, self._max_body_bytes)
            rest_bytes = padded(header_bytes) + body_bytes
            first = start + PREFIX.size
            here = min(rest_bytes, self._filled - first)
            if here < rest_bytes and PREFIX.size + rest_bytes <= len(self._scratch):
                break
            whole = np.empty(rest_bytes, dtype=np.uint8)
            whole[:here] = np.frombuffer(self._scratch, dtype=np.uint8, count=here, offset=first)
            start = first + here
            if here < rest_bytes:
                self._large, self._large_filled, self._large_header_bytes = whole, here, header_bytes
                break
            frames.append(self._decode(whole, header_bytes))
        left = self._filled - start
        if start:
            self._scratch[:left] = self._scratch[start : self._filled]
        self._filled = left
        return frames
