"""Health and reflection by gRPC's own clients, and one call made from nothing but what reflection tells.

Runs in the environment `tritonclient`.
"""

from __future__ import annotations

from typing import Any

import grpc
from conformance.verdicts import Checks, arguments, same
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "inference.GRPCInferenceService"
METHODS = {
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelStreamInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
}


def run(channel: grpc.Channel, checks: Checks) -> None:
    """All checks."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    with checks("health: the server as a whole and the inference service are SERVING"):
        same(health.Check(health_pb2.HealthCheckRequest(), timeout=5).status, serving)
        same(health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5).status, serving)
    with checks("health: an unknown service is NOT_FOUND"):
        try:
            health.Check(health_pb2.HealthCheckRequest(service="nothing.Here"), timeout=5)
        except grpc.RpcError as error:
            same(error.code(), grpc.StatusCode.NOT_FOUND)
        else:
            raise AssertionError("an unknown service is healthy")
    with checks("health: watching begins with the present state"):
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=5)
        same(next(iter(watch)).status, serving)
        watch.cancel()
    database = ProtoReflectionDescriptorDatabase(channel)
    with checks("reflection: the services are listed"):
        listed = set(database.get_services())
        assert {SERVICE, "grpc.health.v1.Health"} <= listed, listed
    with checks("reflection: every method of the inference service"):
        service = DescriptorPool(database).FindServiceByName(SERVICE)
        assert set(service.methods_by_name) >= METHODS, sorted(service.methods_by_name)
    with checks("reflection: a client without stubs infers"):
        same(_sum_by_reflection(channel, DescriptorPool(database)), [10.0])


def _sum_by_reflection(channel: grpc.Channel, pool: DescriptorPool) -> list[float]:
    method = pool.FindServiceByName(SERVICE).methods_by_name["ModelInfer"]
    request_class = message_factory.GetMessageClass(method.input_type)
    answer_class = message_factory.GetMessageClass(method.output_type)
    request: Any = request_class(model_name="sum")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    tensor.contents.fp32_contents.extend([1.0, 2.0, 3.0, 4.0])
    call = channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=request_class.SerializeToString,
        response_deserializer=answer_class.FromString,
    )
    answer: Any = call(request, timeout=5)
    return list(answer.outputs[0].contents.fp32_contents)


def main() -> None:
    """Run all checks."""
    given = arguments()
    checks = Checks()
    try:
        with grpc.insecure_channel(given.grpc) as channel:
            run(channel, checks)
    finally:
        checks.save(given.out)


if __name__ == "__main__":
    main()
