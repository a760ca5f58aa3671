"""Every datatype survives a round trip in both forms; nothing malformed passes, and nothing else is raised for it."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trimtab.errors import FailedError, InvalidInputError
from trimtab.runtime.oip import tensors
from trimtab.runtime.service import Tensor

NUMERIC = sorted(set(tensors.DATATYPES) - {"BYTES"})


def _finite(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    if dtype.kind == "f":
        return hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    return hnp.from_dtype(dtype)


@st.composite
def numeric_arrays(draw: st.DrawFn) -> Tensor:
    dtype = tensors.DATATYPES[draw(st.sampled_from(NUMERIC))]
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    return draw(hnp.arrays(dtype, shape, elements=_finite(dtype)))


@st.composite
def text_arrays(draw: st.DrawFn) -> Tensor:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    array = np.empty(math.prod(shape), np.object_)
    array[:] = draw(st.lists(st.text().map(_encodable), min_size=array.size, max_size=array.size))
    return array.reshape(shape)


def _encodable(text: str) -> bytes:
    return text.encode(errors="replace")


def _same(left: Tensor, right: Tensor) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tolist() == right.tolist()


@given(numeric_arrays() | text_arrays(), st.booleans())
def test_json_round_trip(array: Tensor, nested: bool) -> None:
    flat = tensors.to_json(array, "y")
    lists: Any = flat
    if nested:
        text = np.empty(array.size, np.object_)
        text[:] = flat
        lists = text.reshape(array.shape).tolist()
    data = json.dumps(lists).encode()
    assert _same(tensors.from_json(data, tensors.datatype_of(array.dtype), array.shape, "x"), array)


@given(numeric_arrays() | text_arrays())
def test_binary_round_trip(array: Tensor) -> None:
    data = memoryview(tensors.to_binary(array))
    assert _same(tensors.from_binary(data, tensors.datatype_of(array.dtype), array.shape, "x"), array)


@given(hnp.arrays(np.float32, 5))
def test_binary_carries_nan_and_infinity(array: Tensor) -> None:
    decoded = tensors.from_binary(memoryview(tensors.to_binary(array)), "FP32", (5,), "x")
    assert tensors.to_binary(decoded) == tensors.to_binary(array)


def test_binary_form_is_row_major_and_little_endian() -> None:
    array = np.array([[1, 2], [3, 4]], np.int32)
    assert tensors.to_binary(array.T) == struct.pack("<4i", 1, 3, 2, 4)
    assert tensors.to_binary(np.array([258], ">u2")) == b"\x02\x01"
    assert tensors.to_binary(np.array(["é", "b"])) == b"\x02\x00\x00\x00\xc3\xa9\x01\x00\x00\x00b"


def test_binary_tensor_at_an_odd_offset_is_aligned() -> None:
    data = memoryview(b"\0" + struct.pack("<2f", 1.5, 2.5))[1:]
    array = tensors.from_binary(data, "FP32", (2,), "x")
    assert array.flags.aligned
    assert array.tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP32", [2], "[1]"),
        ("FP32", [2], "[1,2,3]"),
        ("FP32", [1], "[]"),
        ("FP32", [2, 2], "[[1,2],[3]]"),
        ("FP32", [2, 2], "[[1,2,3],[4]]"),
        ("FP32", [2, 2], "[[1],[2],[3],[4]]"),
        ("FP32", [4, 1], "[[1,2],[3,4]]"),
        ("FP32", [2, 2, 1], "[[1,2],[3,4]]"),
        ("FP32", [1], "[[1]]"),
        ("FP32", [2, 1], "[[1,2],[]]"),
        ("FP32", [1], "1"),
        ("FP32", [1], "null"),
        ("FP32", [1], '"1"'),
        ("FP32", [1], "{}"),
        ("FP32", [1], '["1"]'),
        ("FP32", [1], "[null]"),
        ("FP32", [1], "[true]"),
        ("FP32", [1], "[1e39]"),
        ("FP16", [1], "[70000]"),
        ("FP64", [1], "[1e309]"),
        ("FP64", [1], "[" + "9" * 400 + "]"),
        ("INT8", [1], "[128]"),
        ("INT8", [1], "[-129]"),
        ("UINT8", [1], "[256]"),
        ("UINT8", [1], "[-1]"),
        ("UINT16", [1], "[65536]"),
        ("INT32", [1], "[2147483648]"),
        ("INT32", [1], "[1.5]"),
        ("INT64", [1], "[9223372036854775808]"),
        ("INT64", [1], "[-9223372036854775809]"),
        ("UINT64", [1], "[18446744073709551616]"),
        ("UINT64", [1], "[-1]"),
        ("INT64", [1], "[" + "1" * 5000 + "]"),
        ("BOOL", [1], "[1]"),
        ("BOOL", [1], '["true"]'),
        ("BYTES", [1], "[1]"),
        ("BYTES", [2], '["a"]'),
        ("BYTES", [2, 1], '[["a","b"],[]]'),
        ("BYTES", [2, 2], '[["a","b"],["c"]]'),
        ("BYTES", [1], '["\\ud800"]'),
        ("FP32", [0], "[1]"),
        ("FP32", [0], "0"),
        ("FP32", [0, 3], '"x"'),
        ("FP32", [-1], "[1]"),
        ("FP32", [-1, -1], "[1]"),
        ("FP32", [], "[1]"),
        ("FP32", [1] * 17, "[1]"),
        ("FP32", [10**18], "[1]"),
        ("FP32", [10**30, 10**30], "[1]"),
        ("FP32", [10**12, 0], "[]"),
        ("fp32", [1], "[1]"),
        ("BF16", [1], "[1]"),
        ("", [1], "[1]"),
        ("FP32", [1], "[" * 17 + "1" + "]" * 17),
        ("FP32", [1], "[" * 50_000 + "]" * 50_000),
    ],
)
def test_malformed_json_data_is_invalid(datatype: str, shape: list[int], data: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^input 'x': "):
        tensors.from_json(data.encode(), datatype, shape, "input 'x'")


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP32", [2], bytes(4)),
        ("FP32", [2], bytes(9)),
        ("FP32", [0], b"\0"),
        ("FP32", [2**31], b""),
        ("UINT8", [1], b""),
        ("BOOL", [2], b"\x01\x02"),
        ("BYTES", [1], b""),
        ("BYTES", [1], b"\x01\0\0"),
        ("BYTES", [1], b"\x02\0\0\0a"),
        ("BYTES", [1], b"\xff\xff\xff\xffa"),
        ("BYTES", [1], b"\x01\0\0\0ab"),
        ("BYTES", [2], b"\x04\0\0\0abcd"),
        ("BYTES", [10**9], bytes(8)),
        ("FP128", [1], bytes(16)),
    ],
)
def test_malformed_binary_data_is_invalid(datatype: str, shape: list[int], data: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"^input 'x': "):
        tensors.from_binary(memoryview(data), datatype, shape, "input 'x'")


@given(
    st.sampled_from(sorted(tensors.DATATYPES)),
    st.lists(st.integers(-2, 4), max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda x: st.lists(x, max_size=4),
    ),
)
def test_whatever_the_json_says_it_is_an_array_or_invalid(datatype: str, shape: list[int], value: object) -> None:
    try:
        array = tensors.from_json(json.dumps(value).encode(), datatype, shape, "x")
    except InvalidInputError:
        return
    assert (array.dtype, array.shape) == (tensors.DATATYPES[datatype], tuple(shape))


@given(st.sampled_from(sorted(tensors.DATATYPES)), st.lists(st.integers(-1, 4), max_size=3), st.binary(max_size=64))
def test_whatever_the_bytes_are_it_is_an_array_or_invalid(datatype: str, shape: list[int], data: bytes) -> None:
    try:
        array = tensors.from_binary(memoryview(data), datatype, shape, "x")
    except InvalidInputError:
        return
    assert (array.dtype, array.shape) == (tensors.DATATYPES[datatype], tuple(shape))
    assert tensors.to_binary(array) == data


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_json_answers_never_hide_nan(value: float, dtype: type) -> None:
    with pytest.raises(FailedError, match="binary_data_output"):
        tensors.to_json(np.array([1, value], dtype), "y")


def test_json_answers_never_mangle_bytes() -> None:
    with pytest.raises(FailedError, match="binary_data_output"):
        tensors.to_json(np.array([b"\xff"], np.object_), "y")


def test_types_that_the_protocol_lacks() -> None:
    with pytest.raises(FailedError, match="complex"):
        tensors.datatype_of(np.dtype(np.complex64))
    with pytest.raises(FailedError, match="int"):
        tensors.to_binary(np.array([1], np.object_))
