"""The gRPC server on a real socket: every call, every code, and what rude clients and a stop do to it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tests.runtime.test_security import write_certificate

from trimtab.errors import (
    AddressInUseError,
    DeadlineError,
    FailedError,
    InvalidInputError,
    PlantError,
    RefusedError,
    TooLargeError,
)
from trimtab.runtime.grpc_server import GrpcLimits, GrpcServer
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.oip import describe, messages
from trimtab.runtime.security import Security
from trimtab.runtime.server import new_event_loop
from trimtab.spec.model import Pipeline, Slo, Task, Variant
from trimtab.testing.inference import EchoService

pytestmark = pytest.mark.live

HOST = "127.0.0.1"
CODE = grpc.StatusCode
HEALTH = health_pb2.HealthCheckResponse
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on the server's own kind of loop; what it leaves open is a warning, and so an error."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(bounded())
    gc.collect()


def new_metrics() -> Metrics:
    return Metrics(Pipeline("pipe", {"echo": Task("echo", {"a": Variant("a", Path("a.onnx"), 0.9)})}, Slo(0.1)))


class Client:
    """Calls by name, with messages of our pool or with bytes."""

    def __init__(self, channel: grpc.aio.Channel, server: GrpcServer, metrics: Metrics, port: int) -> None:
        self.channel, self.server, self.metrics, self.port = channel, server, metrics, port

    async def raw(self, name: str, data: bytes, **options: Any) -> bytes:
        call: Any = self.channel.unary_unary(f"/{messages.SERVICE}/{name}")
        reply: bytes = await call(data, **options)
        return reply

    async def __call__(self, name: str, /, **fields: Any) -> dict[str, Any]:
        data = messages.message_type(f"{name}Request")(**fields).SerializeToString()
        reply = messages.message_type(f"{name}Response").FromString(await self.raw(name, data))
        values: dict[str, Any] = json_format.MessageToDict(
            reply,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            descriptor_pool=messages.POOL,
        )
        return values

    async def infer(self, data: bytes | None = None, **options: Any) -> Any:
        return messages.ModelInferResponse.FromString(await self.raw("ModelInfer", data or question(), **options))

    def stream(self) -> Any:
        kind: Any = self.channel.stream_stream(
            f"/{messages.SERVICE}/{messages.STREAM_CALL}",
            response_deserializer=messages.ModelStreamInferResponse.FromString,
        )
        return kind()

    def rejected(self, reason: str) -> float | None:
        labels = {"pipeline": "pipe", "protocol": "grpc", "reason": reason}
        return self.metrics.registry.get_sample_value("trimtab_rejected_requests_total", labels)


@asynccontextmanager
async def serving(
    service: EchoService | None = None,
    limits: GrpcLimits | None = None,
    security: Security | None = None,
    *,
    repository: bool = True,
) -> AsyncIterator[Client]:
    metrics = new_metrics()
    server = GrpcServer(service or EchoService(), metrics, limits=limits, security=security, repository=repository)
    port = await server.start(HOST, 0)
    try:
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            yield Client(channel, server, metrics, port)
    finally:
        await server.stop(0.0)


def question(id: str = "7", *, raw: bool = True, model: str = "echo") -> bytes:  # noqa: A002 — as the protocol calls it
    request = messages.ModelInferRequest(model_name=model, id=id)
    tensor = request.inputs.add(name="x", datatype="FP32", shape=ROWS.shape)
    if raw:
        request.raw_input_contents.append(ROWS.tobytes())
    else:
        tensor.contents.fp32_contents.extend(ROWS.reshape(-1).tolist())
    data: bytes = request.SerializeToString()
    return data


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def test_what_the_server_tells() -> None:
    async def test() -> None:
        service = EchoService()
        async with serving(service) as client:
            (info,) = service.models()
            assert await client("ServerLive") == {"live": True}
            assert await client("ServerReady") == {"ready": True}
            assert await client("ModelReady", name="echo", version="plain") == {"ready": True}
            assert await client("ServerMetadata") == describe.server_metadata()
            told = await client("ModelMetadata", name="echo")
            assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]
            assert (await client("ModelConfig", name="echo"))["config"]["max_batch_size"] == info.max_rows
            await client.infer()
            for name in ("", "echo"):
                (statistics,) = (await client("ModelStatistics", name=name))["model_stats"]
                assert statistics["inference_stats"]["success"] == {"count": "1", "ns": "100000000"}
            assert (await client("ModelStatistics", name="echo", version="plain"))["model_stats"]
            index = await client("RepositoryIndex")
            assert index == {"models": describe.repository_index(service.repository())}
            service.is_ready = False
            assert await client("ServerReady") == {"ready": False}
            assert await client("RepositoryIndex", ready=True) == {"models": []}

    run(test)


def test_load_and_unload() -> None:
    async def test() -> None:
        service = EchoService()
        async with serving(service) as client:
            loaded = await client("RepositoryModelLoad", model_name="echo")
            assert loaded == {"model_name": "echo", "isLoaded": True}
            await client("RepositoryModelUnload", repository_name="echo")  # KServe's clients use this field
            dependents = {"unload_dependents": {"bool_param": True}}
            await client("RepositoryModelUnload", model_name="echo", parameters=dependents)
            assert service.loads == [("load", "echo"), ("unload", "echo"), ("unload", "echo")]
            for name in ("config", "file:1/model.onnx", "other", "unload_dependents"):  # as in REST
                parameters = {name: {"string_param": "{}"}}
                error = await refused(client("RepositoryModelLoad", model_name="echo", parameters=parameters))
                assert error.code() is CODE.INVALID_ARGUMENT
                assert name in (error.details() or "")
            assert (await refused(client("RepositoryModelLoad"))).code() is CODE.INVALID_ARGUMENT
            assert (await refused(client("RepositoryModelLoad", model_name="no"))).code() is CODE.NOT_FOUND

    run(test)


def test_loading_can_be_forbidden() -> None:
    async def test() -> None:
        service = EchoService()
        async with serving(service, repository=False) as client:
            for name in ("RepositoryModelLoad", "RepositoryModelUnload"):
                assert (await refused(client(name, model_name="echo"))).code() is CODE.PERMISSION_DENIED
            assert len((await client("RepositoryIndex"))["models"]) == 2
            assert service.loads == []
            assert client.rejected("forbidden") == 2

    run(test)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_an_answer_has_the_form_of_its_request(raw: bool) -> None:
    async def test() -> None:
        async with serving() as client:
            told = await client.infer(question(raw=raw))
            assert (told.model_name, told.model_version, told.id) == ("echo", "plain", "7")
            assert told.parameters["variant.echo"].string_param == "plain"
            assert told.parameters["accuracy"].double_param == 1.0
            assert bool(told.raw_output_contents) == raw
            sent = told.raw_output_contents[0] if raw else np.array(told.outputs[0].contents.fp32_contents, np.float32)
            np.testing.assert_array_equal(np.frombuffer(sent, np.float32).reshape(ROWS.shape), ROWS)

    run(test)


@pytest.mark.parametrize(
    ("error", "code", "pushback_ms"),
    [
        (InvalidInputError("no"), CODE.INVALID_ARGUMENT, None),
        (TooLargeError("no"), CODE.RESOURCE_EXHAUSTED, None),
        (RefusedError("no", retry_after_s=1.5, reason="overload"), CODE.RESOURCE_EXHAUSTED, "1500"),
        (RefusedError("no", retry_after_s=1.0, reason="not_ready"), CODE.UNAVAILABLE, "1000"),
        (RefusedError("no", retry_after_s=1.0, reason="stopping"), CODE.UNAVAILABLE, "1000"),
        (DeadlineError("no"), CODE.DEADLINE_EXCEEDED, None),
        (FailedError("no"), CODE.INTERNAL, None),
    ],
)
def test_codes_of_what_the_service_raises(error: Exception, code: CODE, pushback_ms: str | None) -> None:
    async def test() -> None:
        async with serving(EchoService(error=error)) as client:
            told = await refused(client.infer())
            assert (told.code(), told.details()) == (code, "no")
            assert dict(told.trailing_metadata()).get("grpc-retry-pushback-ms") == pushback_ms

    run(test)


def test_a_fault_of_ours_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving(EchoService(error=ValueError("secret"))) as client:
            told = await refused(client.infer())
            assert (told.code(), told.details()) == (CODE.INTERNAL, "internal error")

    run(test)
    assert "secret" in caplog.text


def test_codes_of_what_never_reaches_the_service() -> None:
    async def test() -> None:
        service = EchoService()
        async with serving(service, GrpcLimits(message_bytes=10_000)) as client:
            assert (await refused(client.infer(b"\xff"))).code() is CODE.INVALID_ARGUMENT
            assert (await refused(client.infer(b"\0" * 20_000))).code() is CODE.RESOURCE_EXHAUSTED
            bomb = messages.ModelInferRequest(id="0" * 1_000_000).SerializeToString()
            packed = client.infer(bomb, compression=grpc.Compression.Gzip)
            assert (await refused(packed)).code() is CODE.RESOURCE_EXHAUSTED
            big = (("x-big", "0" * 20_000),)
            assert (await refused(client.infer(metadata=big))).code() is CODE.RESOURCE_EXHAUSTED
            assert (await refused(client.raw("TraceSetting", b""))).code() is CODE.UNIMPLEMENTED
            for name in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
                assert (await refused(client(name, name="no"))).code() is CODE.NOT_FOUND
                assert (await refused(client(name, name="echo", version="no"))).code() is CODE.NOT_FOUND
                assert (await refused(client.raw(name, b"\xff"))).code() is CODE.INVALID_ARGUMENT
            assert not service.requests
            assert client.rejected("invalid") == 5
            assert client.rejected("unknown") == 8
            assert (await client.infer()).id == "7"

    run(test)


def test_deadlines_and_cancelling() -> None:
    async def test() -> None:
        service = EchoService(held=True)
        async with serving(service) as client:
            before_s = time.monotonic()
            told = await refused(client.infer(timeout=0.2))
            assert told.code() is CODE.DEADLINE_EXCEEDED
            await service.gave_up.wait()
            timeout_s, arrived_s = service.requests[0].timeout_s, service.requests[0].arrived_s
            assert arrived_s is not None
            assert before_s <= arrived_s <= time.monotonic()
            assert timeout_s is not None
            assert 0 < timeout_s <= 0.2
            service.gave_up.clear()
            service.called.clear()
            call = asyncio.ensure_future(client.infer(metadata=(("x-request-timeout-ms", "5000"),)))
            await service.called.wait()
            assert service.requests[1].timeout_s == 5.0
            call.cancel()
            await service.gave_up.wait()
            assert service.cancelled == 2

    run(test)


def test_a_stream_answers_each_request_and_goes_on_after_errors() -> None:
    async def test() -> None:
        async with serving(limits=GrpcLimits(stream_calls=2)) as client:
            stream = client.stream()
            for data in (question("1"), b"\xff", question("2"), question("3", raw=False)):
                await stream.write(data)
            await stream.done_writing()
            told = [reply async for reply in stream]
            assert {reply.infer_response.id for reply in told} == {"1", "2", "3", ""}
            (error,) = [reply.error_message for reply in told if reply.error_message]
            assert "protobuf" in error
            final = [reply.infer_response.parameters["triton_final_response"].bool_param for reply in told]
            assert sum(final) == 3
            assert await stream.code() is CODE.OK

    run(test)


def test_a_stream_that_is_cancelled_cancels_its_requests() -> None:
    async def test() -> None:
        service = EchoService(held=True)
        async with serving(service) as client:
            stream = client.stream()
            await stream.write(question())
            await service.called.wait()
            stream.cancel()
            await service.gave_up.wait()
            assert service.cancelled == 1

    run(test)


def test_stopping_ends_idle_streams_and_watchers() -> None:
    async def test() -> None:
        async with serving() as client:
            stream = client.stream()
            await stream.write(question())
            assert (await stream.read()).infer_response.id == "7"
            health: Any = health_pb2_grpc.HealthStub(client.channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == HEALTH.SERVING
            await client.server.stop(15.0)
            assert (await watch.read()).status == HEALTH.NOT_SERVING
            assert await stream.code() is CODE.UNAVAILABLE

    run(test)


def test_health_follows_readiness() -> None:
    async def test() -> None:
        service = EchoService()
        async with serving(service) as client:
            health: Any = health_pb2_grpc.HealthStub(client.channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service="echo"))
            assert (await watch.read()).status == HEALTH.SERVING
            for ready, wanted in ((True, HEALTH.SERVING), (False, HEALTH.NOT_SERVING)):
                service.is_ready = ready
                for name in ("", messages.SERVICE, "echo"):
                    assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == wanted
            assert (await watch.read()).status == HEALTH.NOT_SERVING
            watch.cancel()
            unknown = health_pb2.HealthCheckRequest(service="no")
            assert (await refused(health.Check(unknown))).code() is CODE.NOT_FOUND
            watch = health.Watch(unknown)
            assert (await watch.read()).status == HEALTH.SERVICE_UNKNOWN
            watch.cancel()

    run(test)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services_and_resolves_them(version: str) -> None:
    async def test() -> None:
        async with serving() as client:
            kind: Any = client.channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            call = kind()
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            names = [service.name for service in (await call.read()).list_services_response.service]
            assert {messages.SERVICE, "grpc.health.v1.Health"} < set(names)
            pool = descriptor_pool.DescriptorPool()
            for name in names:
                await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
                (file,) = (await call.read()).file_descriptor_response.file_descriptor_proto
                pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
                assert pool.FindServiceByName(name).methods
            await call.done_writing()

    run(test)


def test_a_token_is_asked_for_everywhere_but_in_health() -> None:
    async def test() -> None:
        token = "a-token-of-some-length"
        async with serving(security=Security(token=token)) as client:
            for metadata in ((), (("authorization", "Bearer wrong"),)):
                assert (await refused(client.infer(metadata=metadata))).code() is CODE.UNAUTHENTICATED
            stream = client.stream()
            assert await stream.code() is CODE.UNAUTHENTICATED
            assert client.rejected("token") == 3
            assert (await client.infer(metadata=(("authorization", f"Bearer {token}"),))).id == "7"
            health: Any = health_pb2_grpc.HealthStub(client.channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == HEALTH.SERVING

    run(test)


def test_with_a_certificate_only_tls_is_spoken(tmp_path: Path) -> None:
    async def test() -> None:
        certificate, key = write_certificate(tmp_path)
        async with serving(security=Security(certificate, key)) as client:
            credentials = grpc.ssl_channel_credentials((tmp_path / "ca.pem").read_bytes())
            name = (("grpc.ssl_target_name_override", "localhost"),)
            async with grpc.aio.secure_channel(f"{HOST}:{client.port}", credentials, name) as channel:
                secure = Client(channel, client.server, client.metrics, client.port)
                assert (await secure.infer()).id == "7"
            assert (await refused(client.infer())).code() is CODE.UNAVAILABLE

    run(test)


def test_addresses_that_cannot_be_had(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving() as client:
            other = GrpcServer(EchoService(), new_metrics())
            with pytest.raises(AddressInUseError):
                await other.start(HOST, client.port)
            with pytest.raises(PlantError, match="no such port"):
                await other.start(HOST, 65536)
            with pytest.raises(PlantError, match="no such address"):
                await other.start("no.such.host.invalid", 0)
            with pytest.raises(PlantError, match="running already"):
                await client.server.start(HOST, 0)
            secure = GrpcServer(EchoService(), new_metrics(), security=Security(certificate=tmp_path / "none.pem"))
            with pytest.raises(PlantError, match="certificate"):
                await secure.start(HOST, 0)
            await other.stop(0.0)

    run(test)


def test_two_servers_share_a_port_when_both_ask_for_it() -> None:
    async def test() -> None:
        servers = [GrpcServer(EchoService(), new_metrics()) for _ in range(2)]
        port = await servers[0].start(HOST, 0, reuse_port=True)
        assert await servers[1].start(HOST, port, reuse_port=True) == port
        for server in servers:
            await server.stop(0.0)
        assert await servers[0].start(HOST, port) == port
        await servers[0].stop(0.0)

    run(test)


def test_noise_does_not_hurt_the_server() -> None:
    async def test() -> None:
        rng = np.random.default_rng(7)
        good = question()
        async with serving() as client:
            kind: Any = client.channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
            codes = set()
            for _ in range(200):
                data = bytearray(good)
                for place in rng.integers(0, len(data), 3):
                    data[place] = rng.integers(0, 256)
                codes.add(await kind(bytes(data)).code())
            assert codes == {CODE.OK, CODE.INVALID_ARGUMENT}
            assert (await client.infer()).id == "7"

    run(test)
