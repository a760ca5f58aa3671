"""Server reflection: generic clients learn from the server itself what it serves and which messages that takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from trimtab.runtime.oip import messages

_ALPHA = "grpc.reflection.v1alpha"
_STABLE = "grpc.reflection.v1"
"""Differs from the one before in its name only."""
HEALTH = "grpc.health.v1.Health"
SERVICES = (messages.SERVICE, HEALTH, f"{_ALPHA}.ServerReflection", f"{_STABLE}.ServerReflection")


def handlers() -> Mapping[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]]:
    """Name of a service → its calls, for both versions of reflection."""
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(SERVICES, pool=_pool()).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"{version}.ServerReflection": {"ServerReflectionInfo": handler} for version in (_ALPHA, _STABLE)}


def _pool() -> descriptor_pool.DescriptorPool:
    """Everything that is served here, and nothing that is not."""
    pool = descriptor_pool.DescriptorPool()
    alpha = reflection_pb2.DESCRIPTOR.serialized_pb
    for served in (
        messages.POOL.FindFileContainingSymbol(messages.SERVICE).serialized_pb,
        health_pb2.DESCRIPTOR.serialized_pb,
        alpha,
    ):
        pool.AddSerializedFile(served)
    stable = descriptor_pb2.FileDescriptorProto.FromString(alpha)
    stable.name, stable.package = stable.name.replace("v1alpha", "v1"), _STABLE
    for message in stable.message_type:
        for field in message.field:
            if field.HasField("type_name"):
                field.type_name = field.type_name.replace(_ALPHA, _STABLE)
    for call in stable.service[0].method:
        call.input_type = call.input_type.replace(_ALPHA, _STABLE)
        call.output_type = call.output_type.replace(_ALPHA, _STABLE)
    pool.Add(stable)
    return pool
