"""Requests and answers as bytes: what one side writes the other reads, and nothing malformed gets through."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trimtab.errors import InvalidInputError
from trimtab.runtime.oip import codec, describe, tensors
from trimtab.runtime.oip.codec import OutputForm, decode_request, encode_response
from trimtab.runtime.service import InferResponse, ModelInfo, TensorInfo


def _body(**changes: Any) -> bytes:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    return json.dumps({"inputs": [{**tensor, **changes.pop("tensor", {})}], **changes}).encode()


def test_request_in_full() -> None:
    body = _body(
        id="seven",
        parameters={"timeout": 250_000, "priority": 1, "binary_data_output": True},
        outputs=[{"name": "y", "parameters": {"binary_data": False}}, {"name": "z"}],
    )
    request, form = decode_request(body, model="m", version="v", deadlines={"x-request-timeout-ms": "300"})
    assert (request.model, request.version, request.id, request.outputs) == ("m", "v", "seven", ("y", "z"))
    assert request.timeout_s == 0.25
    assert request.inputs["x"].tolist() == [[1.0, 2.0]]
    assert form == OutputForm(binary=True, by_name={"y": False})


def test_request_at_its_shortest() -> None:
    request, form = decode_request(_body(), model="m")
    assert (request.id, request.version, request.outputs, request.timeout_s) == (None, None, None, None)
    assert form == OutputForm()


def _binary(inputs: list[dict[str, Any]], *chunks: bytes) -> tuple[bytes, str]:
    header = json.dumps({"inputs": inputs}).encode()
    return header + b"".join(chunks), str(len(header))


def test_binary_and_json_tensors_side_by_side() -> None:
    body, length = _binary(
        [
            {"name": "a", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
            {"name": "b", "shape": [1], "datatype": "INT64", "data": [5]},
            {"name": "c", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}},
        ],
        b"\x01\x02",
        b"\x02\0\0\0hi",
    )
    request, _ = decode_request(body, model="m", header_length=length)
    assert {name: array.tolist() for name, array in request.inputs.items()} == {"a": [1, 2], "b": [5], "c": [b"hi"]}


@pytest.mark.parametrize("sizes", [(1, 2), (3, 1), (-1, 5), (2, 3), (2, 1), (10**30, 2), (True, 2), ("2", 2), (2.0, 2)])
def test_binary_sizes_that_do_not_add_up(sizes: tuple[Any, Any]) -> None:
    body, length = _binary(
        [
            {"name": str(n), "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
            for n, size in enumerate(sizes)
        ],
        bytes(4),
    )
    with pytest.raises(InvalidInputError):
        decode_request(body, model="m", header_length=length)


@pytest.mark.parametrize("length", ["", "-1", "abc", "1e2", "99999", "9" * 5000, "5"])
def test_wrong_header_length(length: str) -> None:
    with pytest.raises(InvalidInputError):
        decode_request(_body(), model="m", header_length=length)


def test_binary_data_without_the_header_is_explained() -> None:
    body, _ = _binary([{"name": "a", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}}])
    with pytest.raises(InvalidInputError, match="Inference-Header-Content-Length"):
        decode_request(body, model="m")


def test_data_that_belongs_to_no_input() -> None:
    with pytest.raises(InvalidInputError, match="belongs to no input"):
        decode_request(_body() + b"more", model="m", header_length=str(len(_body())))


DEEP = b"[" * 100_000
MALFORMED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"1",
    b"{}",
    b'{"inputs":[]}',
    b'{"inputs":{}}',
    b'{"inputs":[{}]}',
    b'{"inputs":[1]}',
    b"\xff\xfe",
    b'{"inputs":[{"name":"\xff","shape":[1],"datatype":"FP32","data":[1]}]}',
    DEEP,
    b'{"inputs":' + DEEP,
    b'{"unknown":' + DEEP + b"]" * 100_000 + b"}",
    b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":' + DEEP + b"]" * 100_000 + b"}]}",
    b'{"inputs":[{"name":"x","shape":[' + b"1" * 5000 + b'],"datatype":"FP32","data":[1]}]}',
    _body()[:-1],
    _body() + b"}",
    _body(id=7),
    _body(parameters=[]),
    _body(parameters={"a": {"b": 1}}),
    _body(parameters={"binary_data_output": 1}),
    _body(parameters={"timeout": -5}),
    _body(parameters={"timeout": "soon"}),
    _body(outputs={}),
    _body(outputs=[{}]),
    _body(outputs=[{"name": "y"}, {"name": "y"}]),
    _body(outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]),
    _body(outputs=[{"name": "y", "parameters": {"classification": 3}}]),
    _body(tensor={"name": None}),
    _body(tensor={"shape": 2}),
    _body(tensor={"shape": ["2"]}),
    _body(tensor={"shape": [1.5, 2]}),
    _body(tensor={"shape": [True, 2]}),
    _body(tensor={"shape": [2, 2]}),
    _body(tensor={"datatype": "FP99"}),
    _body(tensor={"datatype": 32}),
    _body(tensor={"data": None}),
    _body(tensor={"data": "1,2"}),
    _body(tensor={"parameters": {"binary_data_size": 8}}),
    json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}).encode(),
    json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}] * 2}).encode(),
    json.dumps(
        {"inputs": [{"name": str(n), "shape": [1], "datatype": "FP32", "data": [1]} for n in range(257)]}
    ).encode(),
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_request_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode_request(body, model="m")


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_nan_in_json_is_explained(token: str) -> None:
    with pytest.raises(InvalidInputError, match="as binary data"):
        decode_request(_body().replace(b"[1, 2]}", f"[1, {token}]}}".encode()), model="m")


@given(st.data())
def test_a_truncated_or_damaged_request_raises_nothing_else(data: st.DataObject) -> None:
    body, length = _binary(
        [
            {"name": "a", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            {"name": "b", "shape": [1, 2], "datatype": "INT8", "data": [[1, 2]]},
        ],
        bytes(8),
    )
    damaged = bytearray(body[: data.draw(st.integers(0, len(body)))])
    for place in data.draw(st.lists(st.integers(0, max(len(damaged) - 1, 0)), max_size=3)):
        damaged[place : place + 1] = data.draw(st.binary(max_size=2))
    with contextlib.suppress(InvalidInputError):
        decode_request(bytes(damaged), model="m", header_length=length)


@given(
    st.dictionaries(
        st.text(max_size=5),
        hnp.arrays(np.float32, hnp.array_shapes(max_side=3), elements=st.floats(-9, 9, width=32)),
        max_size=4,
    ),
    st.booleans(),
    st.dictionaries(st.text(max_size=5), st.booleans(), max_size=4),
    st.none() | st.text(),
)
def test_an_answer_says_what_the_service_said(
    outputs: dict[str, Any], binary: bool, by_name: dict[str, bool], request_id: str | None
) -> None:
    form = OutputForm(binary, by_name)
    encoded = encode_response(InferResponse("m", "a+b", outputs, request_id, {"accuracy": 0.5}), form)
    header = json.loads(encoded.body[: encoded.header_bytes])
    rest = memoryview(encoded.body)[encoded.header_bytes or len(encoded.body) :]
    assert (header["model_name"], header["model_version"], header.get("id")) == ("m", "a+b", request_id)
    assert ("id" in header) == (request_id is not None)
    assert header["parameters"] == {"accuracy": 0.5}
    assert [output["name"] for output in header["outputs"]] == list(outputs)
    for output in header["outputs"]:
        array = outputs[output["name"]]
        assert ("data" not in output) == by_name.get(output["name"], binary)
        if "data" in output:
            data = json.dumps(output["data"]).encode()
            decoded = tensors.from_json(data, output["datatype"], output["shape"], "y")
        else:
            size = output["parameters"]["binary_data_size"]
            decoded = tensors.from_binary(rest[:size], output["datatype"], output["shape"], "y")
            rest = rest[size:]
        assert decoded.dtype == array.dtype
        assert decoded.tolist() == array.tolist()
    assert not rest


def test_metadata_and_errors() -> None:
    tensor = TensorInfo("x", np.dtype(np.float32), (-1, 3))
    info = json.loads(codec.encode_json(describe.model_metadata(ModelInfo("m", ("a", "b"), "onnx", (tensor,), ()))))
    assert info == {
        "name": "m",
        "versions": ["a", "b"],
        "platform": "onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [],
    }
    error = InvalidInputError("bad", where="x", next_step="do better")
    assert json.loads(codec.encode_error(error)) == {"error": "x: bad; do better"}
