"""Messages ⇄ requests and answers: what goes in comes out, and whatever else comes is an error of the request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trimtab.errors import FailedError, InvalidInputError
from trimtab.runtime.oip import grpc_codec, tensors, wire
from trimtab.runtime.oip.messages import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from trimtab.runtime.service import InferResponse, Tensor

NUMBERS = np.arange(8, dtype=np.float32).reshape(2, 4)
SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


def message(**fields: Any) -> Any:
    """A request for `echo` with one raw tensor `x` of two rows."""
    request = ModelInferRequest(**{"model_name": "echo", "id": "7", **fields})
    if not request.inputs:
        request.inputs.add(name="x", datatype="FP32", shape=NUMBERS.shape)
        request.raw_input_contents.append(NUMBERS.tobytes())
    return request


def typed(datatype: str, shape: list[int], **contents: Any) -> Any:
    request = ModelInferRequest(model_name="echo")
    request.inputs.add(name="x", datatype=datatype, shape=shape, contents=contents)
    return request


def refused(request: Any) -> str:
    data = request if isinstance(request, bytes) else request.SerializeToString()
    with pytest.raises(InvalidInputError) as caught:
        grpc_codec.decode_request(data)
    return str(caught.value)


@st.composite
def tensor(draw: st.DrawFn, *, raw: bool) -> Tensor:
    kinds = [name for name in tensors.DATATYPES if raw or name != "FP16"]
    datatype = draw(st.sampled_from(kinds))
    shape = draw(SHAPES)
    if datatype == "BYTES":
        size = int(np.prod(shape))
        array = np.empty(size, np.object_)
        array[:] = draw(st.lists(st.binary(max_size=5), min_size=size, max_size=size))
        return array.reshape(shape)
    return draw(arrays.arrays(tensors.DATATYPES[datatype], shape))


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_every_tensor_comes_out_as_it_went_in(raw: bool) -> None:
    @given(tensor(raw=raw))
    def check(array: Tensor) -> None:
        answer = grpc_codec.encode_response(InferResponse("echo", "plain", {"x": array}), raw=raw)
        # the fields of an answer's tensors are those of a request's: what was written can be read again
        told = ModelInferResponse.FromString(answer)
        request = ModelInferRequest(model_name="echo", raw_input_contents=told.raw_output_contents)
        request.inputs.add().ParseFromString(told.outputs[0].SerializeToString())
        decoded, was_raw = grpc_codec.decode_request(request.SerializeToString())
        assert was_raw == raw
        assert decoded.inputs["x"].dtype == array.dtype
        np.testing.assert_array_equal(decoded.inputs["x"], array)

    check()


def test_a_request_in_full() -> None:
    sent = message(model_version="plain")
    sent.parameters["timeout"].int64_param = 250_000
    sent.parameters["priority"].uint64_param = 2
    sent.parameters["binary_data_output"].bool_param = True
    sent.outputs.add(name="y").parameters["binary_data"].bool_param = True
    request, raw = grpc_codec.decode_request(sent.SerializeToString())
    assert raw
    assert (request.model, request.version, request.id) == ("echo", "plain", "7")
    assert (request.outputs, request.timeout_s, request.priority) == (("y",), 0.25, 2)
    np.testing.assert_array_equal(request.inputs["x"], NUMBERS)


def test_what_is_not_said_has_its_default() -> None:
    request, _ = grpc_codec.decode_request(message(id="").SerializeToString())
    assert (request.version, request.id, request.outputs) == (None, None, None)
    assert (request.timeout_s, request.priority) == (None, 5)


@pytest.mark.parametrize(
    ("parameter_us", "header_ms", "remaining_s", "wanted_s"),
    [(None, None, None, None), (500_000, "300", 0.4, 0.3), (200_000, "300", 0.4, 0.2), (500_000, "300", 0.1, 0.1)],
)
def test_the_smallest_deadline_counts(
    parameter_us: int | None, header_ms: str | None, remaining_s: float | None, wanted_s: float | None
) -> None:
    sent = message()
    if parameter_us is not None:
        sent.parameters["timeout"].int64_param = parameter_us
    headers = {} if header_ms is None else {"x-request-timeout-ms": header_ms}
    request, _ = grpc_codec.decode_request(sent.SerializeToString(), deadlines=headers, remaining_s=remaining_s)
    assert request.timeout_s == wanted_s


@pytest.mark.parametrize("value", [-1, 10, True, "1", 1.5])
def test_a_priority_that_does_not_exist(value: Any) -> None:
    sent = message()
    kind = {bool: "bool_param", str: "string_param", float: "double_param"}.get(type(value), "int64_param")
    setattr(sent.parameters["priority"], kind, value)
    assert "priority" in refused(sent)


def test_priority_zero_is_the_default() -> None:
    sent = message()
    sent.parameters["priority"].int64_param = 0
    assert grpc_codec.decode_request(sent.SerializeToString())[0].priority == 5


@pytest.mark.parametrize("shape", [[2**40], [2**40, 2**40], [-1, 4], [], [1] * 17, [2, 5]])
def test_a_shape_that_does_not_fit_what_is_there(shape: list[int]) -> None:
    sent = message()
    del sent.inputs[0].shape[:]
    sent.inputs[0].shape.extend(shape)
    assert "input 'x'" in refused(sent)
    for datatype in ("FP32", "BYTES", "FP16"):
        assert "input 'x'" in refused(typed(datatype, shape))


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (typed("FP32", [2], fp32_contents=[1.0]), "1 elements"),
        (typed("FP32", [1], fp64_contents=[1.0]), "wrong field"),
        (typed("FP32", [1], fp32_contents=[1.0], int_contents=[1]), "wrong field"),
        (typed("INT8", [1], int_contents=[128]), "range of INT8"),
        (typed("UINT16", [1], uint_contents=[65536]), "range of UINT16"),
        (typed("FP16", [1], fp32_contents=[1.0]), "no typed form"),
        (typed("FP33", [1], fp32_contents=[1.0]), "unknown datatype"),
        (ModelInferRequest(model_name="echo"), "number of tensors"),
    ],
)
def test_typed_contents_that_do_not_fit(request_: Any, told: str) -> None:
    assert told in refused(request_)


def test_raw_contents_that_do_not_belong() -> None:
    assert "raw tensors" in refused(message(raw_input_contents=[b""]))
    both = message()
    both.inputs[0].contents.fp32_contents.append(1.0)
    assert "although" in refused(both)
    twice = message()
    twice.inputs.add().CopyFrom(twice.inputs[0])
    twice.raw_input_contents.append(NUMBERS.tobytes())
    assert "given twice" in refused(twice)


@pytest.mark.parametrize("name", ["shared_memory_region", "classification"])
def test_extensions_that_are_not_served(name: str) -> None:
    sent = message()
    sent.outputs.add(name="y").parameters[name].int64_param = 3
    assert name in refused(sent)
    sent = message()
    sent.inputs[0].parameters[name].string_param = "r"
    assert name in refused(sent)


def test_an_output_asked_for_twice() -> None:
    sent = message()
    sent.outputs.add(name="y")
    sent.outputs.add(name="y")
    assert "twice" in refused(sent)


def test_many_small_fields_are_refused_before_they_are_parsed() -> None:
    assert "too many fields" in refused(b"\x2a\x00" * 1_000_000)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_or_an_error_of_it(data: bytes) -> None:
    try:
        grpc_codec.decode_request(data)
    except InvalidInputError:
        grpc_codec.id_of(data)


@given(st.data(), st.booleans())
def test_any_change_of_a_request_is_a_request_or_an_error_of_it(data: st.DataObject, raw: bool) -> None:
    whole = (message() if raw else typed("FP32", [2, 4], fp32_contents=range(8))).SerializeToString()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 6)))
    changed = whole[:start] + data.draw(st.binary(max_size=6)) + whole[end:]
    try:
        request, _ = grpc_codec.decode_request(changed)
    except InvalidInputError:
        return
    assert request.inputs


@given(st.lists(st.binary(max_size=300), max_size=5), st.text(max_size=10))
def test_a_message_is_split_and_put_together(values: list[bytes], id: str) -> None:  # noqa: A002 — the field's name
    whole = ModelInferRequest(id=id, raw_input_contents=values).SerializeToString()
    rest, found = wire.split(whole, 7)
    assert [bytes(value) for value in found] == values
    assert ModelInferRequest.FromString(rest) == ModelInferRequest(id=id)
    parts = b"".join(part for value in found for part in wire.field(7, bytes(value)))
    assert ModelInferRequest.FromString(rest + parts).raw_input_contents == values


def test_an_answer_in_full() -> None:
    response = InferResponse("echo", "plain", {"x": NUMBERS}, "7", {"variant.echo": "plain", "accuracy": 0.5, "n": 3})
    told = ModelInferResponse.FromString(
        grpc_codec.encode_response(response, raw=False, parameters={"triton_final_response": True})
    )
    assert (told.model_name, told.model_version, told.id) == ("echo", "plain", "7")
    assert told.parameters["variant.echo"].string_param == "plain"
    assert told.parameters["accuracy"].double_param == 0.5
    assert told.parameters["n"].int64_param == 3
    assert told.parameters["triton_final_response"].bool_param
    assert list(told.outputs[0].contents.fp32_contents) == list(range(8))
    assert not told.raw_output_contents


def test_an_answer_with_fp16_is_raw_even_where_the_request_was_typed() -> None:
    outputs: dict[str, Tensor] = {"h": np.ones(2, np.float16), "x": NUMBERS}
    told = ModelInferResponse.FromString(grpc_codec.encode_response(InferResponse("m", "v", outputs), raw=False))
    assert [len(raw) for raw in told.raw_output_contents] == [4, 32]
    assert not any(output.HasField("contents") for output in told.outputs)


def test_an_answer_that_cannot_be_written() -> None:
    objects = np.array([3, None], np.object_)
    for array, raw in ((objects, False), (objects, True), (np.zeros(1, np.complex64), True)):
        with pytest.raises(FailedError):
            grpc_codec.encode_response(InferResponse("m", "v", {"x": array}), raw=raw)


def test_answers_and_errors_of_a_stream() -> None:
    encoded = grpc_codec.encode_response(InferResponse("m", "v", {"x": NUMBERS}, "7"), raw=True)
    told = ModelStreamInferResponse.FromString(grpc_codec.encode_streamed(encoded))
    assert told.infer_response == ModelInferResponse.FromString(encoded)
    told = ModelStreamInferResponse.FromString(grpc_codec.encode_stream_error("no", "7"))
    assert (told.error_message, told.infer_response.id) == ("no", "7")
    assert grpc_codec.id_of(message().SerializeToString()) == "7"
    assert grpc_codec.id_of(b"\xff") is None
