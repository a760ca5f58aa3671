"""The protocol's messages: numbers that must never change, and a pool that is nobody else's."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2

from trimtab.runtime.oip import messages

OTHERS = """
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(name="grpc_service.proto", package="inference", syntax="proto3")
file.message_type.add(name="ModelInferRequest").field.add(name="other", number=1, type=9, label=1)
descriptor_pool.Default().Add(file)
assert descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest").fields[0].name == "other"
"""
OURS = """
from trimtab.runtime.oip import messages
message = messages.ModelInferRequest(model_name="here")
assert messages.ModelInferRequest.FromString(message.SerializeToString()).model_name == "here"
"""


@pytest.mark.live
@pytest.mark.parametrize("program", [OTHERS + OURS, OURS + OTHERS], ids=["they are first", "we are first"])
def test_it_lives_beside_another_package_of_the_same_name(program: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ("ModelReadyRequest", "name version"),
        ("InferParameter", "bool_param int64_param string_param double_param uint64_param"),
        ("ModelInferRequest", "model_name model_version id parameters inputs outputs raw_input_contents"),
        ("ModelInferResponse", "model_name model_version id parameters outputs raw_output_contents"),
        ("ModelInferRequest.InferInputTensor", "name datatype shape parameters contents"),
        ("ModelStreamInferResponse", "error_message infer_response"),
        ("RepositoryModelLoadRequest", "repository_name model_name parameters"),
    ],
)
def test_numbers_of_fields(message: str, names: str) -> None:
    fields = messages.message_type(message).DESCRIPTOR.fields
    assert {field.name: field.number for field in fields} == {n: 1 + i for i, n in enumerate(names.split())}


def test_of_a_parameter_only_one_value_can_be_set() -> None:
    parameter = messages.message_type("InferParameter")(bool_param=True)
    parameter.string_param = "x"
    assert parameter.WhichOneof("parameter_choice") == "string_param"
    assert not parameter.bool_param


def test_every_call_has_its_messages() -> None:
    service = messages.POOL.FindServiceByName(messages.SERVICE)
    file = descriptor_pb2.FileDescriptorProto()
    service.file.CopyToProto(file)
    calls = {call.name: (call.client_streaming, call.server_streaming) for call in file.service[0].method}
    assert calls == {**dict.fromkeys(messages.UNARY_CALLS, (False, False)), messages.STREAM_CALL: (True, True)}
    for name in messages.UNARY_CALLS:
        assert messages.message_type(f"{name}Request")() == messages.message_type(f"{name}Request").FromString(b"")


def test_an_unknown_message() -> None:
    with pytest.raises(KeyError):
        messages.message_type("Unheard")
