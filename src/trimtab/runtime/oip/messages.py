"""The protobuf messages of the Open Inference Protocol's gRPC service, with the calls that Triton and KServe add.

They are built from the tables below in a descriptor pool of their own. Every inference client registers files of the
package `inference` in the default pool, and no two can; this module lives beside any of them in one process.

A field's type is a scalar's name, a message's or an enum's; `[…]` is repeated, `{…}` a map from strings. Numbers are
those of the public protocol: they must never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_FILE = "trimtab/inference.proto"

_Fields = Mapping[str, tuple[int, str]]

_PARAMETERS = {"bool_param": (1, "bool"), "int64_param": (2, "int64"), "string_param": (3, "string")}
_TENSOR = {
    "name": (1, "string"),
    "datatype": (2, "string"),
    "shape": (3, "[int64]"),
    "parameters": (4, "{InferParameter}"),
    "contents": (5, "InferTensorContents"),
}
_NAME_AND_VERSION = {"name": (1, "string"), "version": (2, "string")}
_REPOSITORY_CALL = {
    "repository_name": (1, "string"),
    "model_name": (2, "string"),
    "parameters": (3, "{ModelRepositoryParameter}"),
}

_MESSAGES: Mapping[str, _Fields] = {
    # --- health and metadata ---
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": _NAME_AND_VERSION,
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {**_NAME_AND_VERSION, "extensions": (3, "[string]")},
    "ModelMetadataRequest": _NAME_AND_VERSION,
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "[string]"),
        "platform": (3, "string"),
        "inputs": (4, "[ModelMetadataResponse.TensorMetadata]"),
        "outputs": (5, "[ModelMetadataResponse.TensorMetadata]"),
    },
    "ModelMetadataResponse.TensorMetadata": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "[int64]"),
    },
    # --- inference ---
    "InferParameter": {**_PARAMETERS, "double_param": (4, "double"), "uint64_param": (5, "uint64")},
    "InferTensorContents": {
        "bool_contents": (1, "[bool]"),
        "int_contents": (2, "[int32]"),
        "int64_contents": (3, "[int64]"),
        "uint_contents": (4, "[uint32]"),
        "uint64_contents": (5, "[uint64]"),
        "fp32_contents": (6, "[float]"),
        "fp64_contents": (7, "[double]"),
        "bytes_contents": (8, "[bytes]"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "{InferParameter}"),
        "inputs": (5, "[ModelInferRequest.InferInputTensor]"),
        "outputs": (6, "[ModelInferRequest.InferRequestedOutputTensor]"),
        "raw_input_contents": (7, "[bytes]"),
    },
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, "{InferParameter}")},
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "{InferParameter}"),
        "outputs": (5, "[ModelInferResponse.InferOutputTensor]"),
        "raw_output_contents": (6, "[bytes]"),
    },
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelStreamInferResponse": {"error_message": (1, "string"), "infer_response": (2, "ModelInferResponse")},
    # --- configuration: as much of it as a pipeline can say ---
    "ModelConfigRequest": _NAME_AND_VERSION,
    "ModelConfigResponse": {"config": (1, "ModelConfig")},
    "ModelConfig": {
        "name": (1, "string"),
        "platform": (2, "string"),
        "max_batch_size": (4, "int32"),
        "input": (5, "[ModelInput]"),
        "output": (6, "[ModelOutput]"),
        "backend": (17, "string"),
    },
    "ModelInput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (4, "[int64]")},
    "ModelOutput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (3, "[int64]")},
    # --- statistics ---
    "ModelStatisticsRequest": _NAME_AND_VERSION,
    "ModelStatisticsResponse": {"model_stats": (1, "[ModelStatistics]")},
    "ModelStatistics": {
        "name": (1, "string"),
        "version": (2, "string"),
        "last_inference": (3, "uint64"),
        "inference_count": (4, "uint64"),
        "execution_count": (5, "uint64"),
        "inference_stats": (6, "InferStatistics"),
        "batch_stats": (7, "[InferBatchStatistics]"),
    },
    "InferStatistics": {
        "success": (1, "StatisticDuration"),
        "fail": (2, "StatisticDuration"),
        "queue": (3, "StatisticDuration"),
        "compute_input": (4, "StatisticDuration"),
        "compute_infer": (5, "StatisticDuration"),
        "compute_output": (6, "StatisticDuration"),
    },
    "InferBatchStatistics": {
        "batch_size": (1, "uint64"),
        "compute_input": (2, "StatisticDuration"),
        "compute_infer": (3, "StatisticDuration"),
        "compute_output": (4, "StatisticDuration"),
    },
    "StatisticDuration": {"count": (1, "uint64"), "ns": (2, "uint64")},
    # --- repository; KServe's answers say what Triton's leave out ---
    "ModelRepositoryParameter": {**_PARAMETERS, "bytes_param": (4, "bytes")},
    "RepositoryIndexRequest": {"repository_name": (1, "string"), "ready": (2, "bool")},
    "RepositoryIndexResponse": {"models": (1, "[RepositoryIndexResponse.ModelIndex]")},
    "RepositoryIndexResponse.ModelIndex": {
        **_NAME_AND_VERSION,
        "state": (3, "string"),
        "reason": (4, "string"),
    },
    "RepositoryModelLoadRequest": _REPOSITORY_CALL,
    "RepositoryModelLoadResponse": {"model_name": (1, "string"), "isLoaded": (2, "bool")},
    "RepositoryModelUnloadRequest": _REPOSITORY_CALL,
    "RepositoryModelUnloadResponse": {"model_name": (1, "string"), "isUnloaded": (2, "bool")},
}
_ONEOFS = {"InferParameter": "parameter_choice", "ModelRepositoryParameter": "parameter_choice"}
"""Messages of whose fields only one can be set → the name of that choice."""
_ENUMS: Mapping[str, tuple[str, ...]] = {
    "DataType": (
        *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8"),
        *("TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
    ),
}
"""Names of values, counted from 0."""
UNARY_CALLS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
)
"""Calls of the service with one request and one answer: messages `…Request` and `…Response`."""
STREAM_CALL = "ModelStreamInfer"
"""The call with a stream of `ModelInferRequest` and a stream of `ModelStreamInferResponse`."""


def _file() -> descriptor_pb2.FileDescriptorProto:
    """The tables as protobuf describes a file to itself."""
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=PACKAGE, syntax="proto3")
    declared: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in _MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        message = declared[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
        declared[name] = message
        if name in _ONEOFS:
            message.oneof_decl.add(name=_ONEOFS[name])
        for field, (number, kind) in fields.items():
            _add_field(message, name, field, number, kind)
    for name, values in _ENUMS.items():
        outer, _, inner = name.rpartition(".")
        enum = declared[outer].enum_type.add(name=inner) if outer else file.enum_type.add(name=inner)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    service = file.service.add(name=SERVICE.removeprefix(f"{PACKAGE}."))
    for call in UNARY_CALLS:
        service.method.add(name=call, input_type=f".{PACKAGE}.{call}Request", output_type=f".{PACKAGE}.{call}Response")
    service.method.add(
        name=STREAM_CALL,
        input_type=f".{PACKAGE}.ModelInferRequest",
        output_type=f".{PACKAGE}.ModelStreamInferResponse",
        client_streaming=True,
        server_streaming=True,
    )
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, owner: str, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    if owner in _ONEOFS:
        field.oneof_index = 0
    if kind.startswith("{"):
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "key", 1, "string")
        _add_field(entry, "", "value", 2, kind[1:-1])
        kind = f"[{owner}.{entry.name}]"
    if kind.startswith("["):
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
        kind = kind[1:-1]
    if kind[0].islower():
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    else:
        types = descriptor_pb2.FieldDescriptorProto
        field.type = types.TYPE_ENUM if kind in _ENUMS else types.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


POOL = descriptor_pool.DescriptorPool()
"""Holds the file of this module and nothing else."""
POOL.Add(_file())


def message_type(name: str) -> Any:
    """The class of a message, by its name in the package.

    Raises:
        KeyError: there is no such message.
    """
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


ModelInferRequest = message_type("ModelInferRequest")
ModelInferResponse = message_type("ModelInferResponse")
ModelStreamInferResponse = message_type("ModelStreamInferResponse")
