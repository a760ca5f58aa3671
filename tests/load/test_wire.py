"""The wire format: what is sent reads back, what is no answer is told."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trimtab.errors import LoadError
from trimtab.load.wire import DATATYPES, HEAD_LENGTH, decode, decode_error, decode_metadata, encode

tensors = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda name: (
        hnp.arrays(DATATYPES[name], hnp.array_shapes(max_dims=3, max_side=4), elements={"allow_nan": False})
        if name.startswith("FP")
        else hnp.arrays(DATATYPES[name], hnp.array_shapes(max_dims=3, max_side=4))
    )
)


@given(tensors, tensors)
def test_binary_requests_carry_their_tensors(a: np.ndarray, b: np.ndarray) -> None:
    body = encode({"a": a, "b": b}, ("y",), binary=True)
    length = int(body.headers[HEAD_LENGTH])
    head = json.loads(body.data[:length])
    # A request and an answer describe tensors alike, so the answer's reader reads the request back.
    echoed = json.dumps({"outputs": head["inputs"]}).encode()
    back = decode(echoed + body.data[length:], len(echoed)).outputs
    assert head["outputs"] == [{"name": "y", "parameters": {"binary_data": True}}]
    for name, sent in (("a", a), ("b", b)):
        assert back[name].dtype == sent.dtype
        assert np.array_equal(back[name], sent)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(max_dims=3, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_json_requests_carry_their_tensors(a: np.ndarray) -> None:
    body = encode({"a": a}, (), binary=False)
    head = json.loads(body.data)
    assert "outputs" not in head
    back = decode(json.dumps({"outputs": head["inputs"]}).encode(), None).outputs["a"]
    assert np.array_equal(back, a)


def test_big_endian_data_are_sent_little_endian() -> None:
    body = encode({"a": np.array([1, 2], ">i4")}, (), binary=True)
    assert body.data.endswith(np.array([1, 2], "<i4").tobytes())


def test_what_cannot_be_sent_is_told() -> None:
    with pytest.raises(LoadError, match="cannot be sent"):
        encode({"a": np.array(["text"])}, (), binary=True)
    with pytest.raises(LoadError, match="cannot be sent"):
        encode({"a": np.zeros(1, np.float16)}, (), binary=False)


def test_answers_tell_who_answered() -> None:
    answer = decode(
        b'{"model_version":"a+b","parameters":{"variant.x":"a","variant.y":"b","accuracy":0.5,"plan":"p"},"outputs":[]}',
        None,
    )
    assert answer.variants == {"x": "a", "y": "b"}
    assert (answer.version, answer.accuracy, answer.plan) == ("a+b", 0.5, "p")
    bare = decode(b'{"outputs":[]}', None)
    assert (bare.variants, bare.version, bare.accuracy, bare.plan) == ({}, None, None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[1]",
        b'{"outputs": 3}',
        b'{"outputs": [{"name": "y"}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}]}',
    ],
)
def test_unreadable_answers_are_told(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|output"):
        decode(data, len(data))


def test_metadata() -> None:
    told = decode_metadata(
        b'{"name":"m","inputs":[{"name":"x","datatype":"UINT8","shape":[-1,2]}],"outputs":[],"parameters":{"slo_s":0.4}}'
    )
    assert told.inputs[0].shape == (-1, 2)
    assert told.parameters == {"slo_s": 0.4}
    with pytest.raises(ValueError, match="metadata"):
        decode_metadata(b'{"name":"m"}')


def test_errors_are_one_short_line() -> None:
    assert decode_error(b'{"error": "queue\\nfull"}') == "queue full"
    assert decode_error(b"<html>") == "<html>"
    assert len(decode_error(b"x" * 5000)) == 200
