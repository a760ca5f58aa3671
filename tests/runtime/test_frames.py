"""Frames survive any chunking of the stream, and bytes that are no frame end in one clear error."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trimtab.errors import WorkerError
from trimtab.runtime import frames
from trimtab.runtime.frames import Decoder, Frame, encode
from trimtab.runtime.framing import DTYPES
from trimtab.runtime.service import Tensor

TENSORS = st.dictionaries(
    st.text(max_size=8),
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda name: hnp.arrays(DTYPES[name], hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    ),
    max_size=4,
)
MESSAGES = st.one_of(
    st.builds(frames.Run, st.integers(0, 2**32), st.text(max_size=20)),
    st.builds(frames.Result, st.integers(0, 2**32), st.floats(0, 10)),
    st.builds(
        frames.Failure, st.integers(0, 2**32), st.sampled_from(["model", "input", "worker"]), st.text(max_size=80)
    ),
    st.builds(
        frames.SetCores, st.integers(0, 2**32), st.tuples(st.integers(0, 64), st.integers(0, 64)), st.integers(1, 8)
    ),
)


def feed(decoder: Decoder, data: bytes, chunk: int) -> list[Frame]:
    """Receive `data` in pieces of at most `chunk` bytes, as a socket would give them."""
    found: list[Frame] = []
    while data:
        buffer = decoder.get_buffer()
        count = min(len(buffer), chunk, len(data))
        assert count > 0
        buffer[:count] = data[:count]
        data = data[count:]
        found += decoder.buffer_updated(count)
    return found


def joined(message: frames.Message, tensors: dict[str, Tensor]) -> bytes:
    return b"".join(encode(message, tensors))


@given(st.lists(st.tuples(MESSAGES, TENSORS), max_size=4), st.integers(1, 400))
def test_what_is_encoded_is_decoded_whatever_the_chunks(
    sent: list[tuple[frames.Message, dict[str, Tensor]]], chunk: int
) -> None:
    data = b"".join(joined(message, tensors) for message, tensors in sent)
    received = feed(Decoder(), data, chunk)
    assert [frame.message for frame in received] == [message for message, _ in sent]
    for frame, (_, tensors) in zip(received, sent, strict=True):
        assert list(frame.tensors) == list(tensors)
        for name, tensor in tensors.items():
            assert frame.tensors[name].dtype == tensor.dtype
            np.testing.assert_array_equal(frame.tensors[name], tensor)


@pytest.mark.parametrize("size", [16_000, 16_384 - 8, 16_384, 16_384 + 8, 300_000])
def test_frames_around_and_beyond_the_scratch_buffer_pass(size: int) -> None:
    array = np.arange(size, dtype=np.float32)
    data = (
        joined(frames.Run(1, "v"), {"x": array}) + joined(frames.Stop(2), {}) + joined(frames.Run(3, "v"), {"x": array})
    )
    received = feed(Decoder(), data, 50_000)
    assert [frame.message.id for frame in received] == [1, 2, 3]
    np.testing.assert_array_equal(received[2].tensors["x"], array)


def test_a_contiguous_tensor_is_not_copied_when_it_is_encoded() -> None:
    array = np.zeros(64, np.float32)
    buffers = encode(frames.Run(1, "v"), {"x": array})
    array[0] = 1.0
    assert bytes(buffers[1])[:4] == np.float32(1.0).tobytes()


def test_strided_and_big_endian_tensors_arrive_as_the_same_numbers() -> None:
    tensors: dict[str, Tensor] = {"strided": np.arange(12.0).reshape(3, 4)[:, ::2], "big": np.arange(3, dtype=">i4")}
    (frame,) = feed(Decoder(), joined(frames.Run(1, "v"), tensors), 1000)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(frame.tensors[name], tensor)


@given(st.binary(min_size=16, max_size=200).filter(lambda data: data[:4] != frames.MAGIC), st.integers(1, 64))
def test_garbage_is_one_clear_error(data: bytes, chunk: int) -> None:
    with pytest.raises(WorkerError, match="no frame"):
        feed(Decoder(), data, chunk)


@given(st.binary(max_size=300))
def test_any_header_and_body_give_a_frame_or_a_clear_error(rest: bytes) -> None:
    header = rest[: len(rest) // 2]
    body = b"\0" * (-len(header) % 64) + rest[len(rest) // 2 :]
    data = struct.pack("<4sIQ", frames.MAGIC, len(header), len(rest) - len(header)) + header + body
    with pytest.raises(WorkerError):
        feed(Decoder(), data, 1000)


@pytest.mark.parametrize(("header", "body"), [(frames.MAX_HEADER_BYTES + 1, 0), (10, frames.MAX_BODY_BYTES + 1)])
def test_a_frame_beyond_the_bounds_is_refused_before_memory_is_taken(header: int, body: int) -> None:
    with pytest.raises(WorkerError, match="too large"):
        feed(Decoder(), struct.pack("<4sIQ", frames.MAGIC, header, body), 100)


def test_a_tensor_longer_than_its_frame_is_refused() -> None:
    data = joined(frames.Run(1, "v"), {"x": np.zeros(4, np.float32)})
    longer = data.replace(b"\x91\x04", b"\x91\x70")  # its shape, in the header
    assert longer != data
    with pytest.raises(WorkerError, match="too short"):
        feed(Decoder(), longer, 1000)


def test_a_dtype_that_is_not_served_cannot_be_sent() -> None:
    with pytest.raises(WorkerError, match="'x' cannot be sent"):
        encode(frames.Run(1, "v"), {"x": np.array(["text"])})


@given(
    hnp.arrays(
        object, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=st.binary(max_size=9)
    ),
    st.integers(1, 200),
)
def test_text_and_bytes_arrive_as_they_were(tensor: np.ndarray, chunk: int) -> None:
    data = b"".join(encode(frames.Run(1, "v"), {"t": tensor, "n": np.arange(3)}))
    (frame,) = feed(Decoder(), data, chunk)
    assert frame.tensors["t"].dtype == np.dtype(object)
    assert frame.tensors["t"].shape == tensor.shape
    assert frame.tensors["t"].tolist() == tensor.tolist()
    assert frame.tensors["n"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("odd", [None, "", 0, 1.5, "text"])
def test_an_object_that_is_no_bytes_cannot_be_sent(odd: object) -> None:
    with pytest.raises(WorkerError, match=r"'x' cannot be sent: got .*, wanted bytes"):
        encode(frames.Run(1, "v"), {"x": np.array([b"a", odd], object)})


def test_lengths_that_reach_beyond_the_frame_are_refused() -> None:
    data = bytearray(b"".join(encode(frames.Run(1, "v"), {"x": np.array([b"abc", b"de"], object)})))
    table = data.index(b"\x03\x00\x00\x00\x02\x00\x00\x00abcde")
    data[table : table + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(WorkerError, match="too short for tensor 'x'"):
        feed(Decoder(), bytes(data), 1000)
