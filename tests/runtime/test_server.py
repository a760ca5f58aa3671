"""The server on a real socket: what a port, a slow client, a rude client and a stop do to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.runtime.test_security import write_certificate

from trimtab.errors import AddressInUseError, PlantError
from trimtab.runtime.http import HttpLimits, make_app
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.security import read_security
from trimtab.runtime.server import HttpServer, new_event_loop, raise_descriptor_limit
from trimtab.spec.model import Pipeline, Slo, Task, Variant
from trimtab.testing.inference import EchoService

pytestmark = pytest.mark.live

HOST = "127.0.0.1"
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
HEAD = b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n"
INFER = HEAD % len(BODY) + BODY
LIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: here\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on the server's own kind of loop; what it leaves open is a warning, and so an error."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(bounded())
    gc.collect()


@asynccontextmanager
async def serving(service: EchoService | None = None, limits: HttpLimits | None = None) -> AsyncIterator[int]:
    metrics = Metrics(Pipeline("pipe", {"echo": Task("echo", {"a": Variant("a", Path("a.onnx"), 0.9)})}, Slo(0.1)))
    server = HttpServer(make_app(service or EchoService(), metrics, limits), limits)
    port = await server.start(HOST, 0)
    try:
        yield port
    finally:
        await server.stop(0.0)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    """One answer: its status, its headers and its JSON."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, json.loads(body)


async def ask(port: int, request: bytes) -> tuple[int, dict[str, str], Any]:
    async with connected(port) as (reader, writer):
        writer.write(request)
        return await answer(reader)


def test_one_connection_serves_many_requests() -> None:
    async def test() -> None:
        async with serving() as port, connected(port) as (reader, writer):
            for _ in range(3):
                writer.write(INFER)
                status, _, body = await answer(reader)
                assert (status, body["outputs"][0]["data"]) == (200, [1, 2, 3, 4])
            writer.write(INFER + INFER)  # pipelined
            assert [(await answer(reader))[0] for _ in range(2)] == [200, 200]

    run(test)


def test_a_port_in_use_is_told() -> None:
    async def test() -> None:
        async with serving() as port:
            with pytest.raises(AddressInUseError, match=rf"^{HOST}:{port}: the port is in use\s+→ .*--port"):
                await HttpServer(make_app(EchoService(), _metrics())).start(HOST, port)
            assert (await ask(port, INFER))[0] == 200

    run(test)


def _metrics() -> Metrics:
    return Metrics(Pipeline("pipe", {}, Slo(0.1)))


@pytest.mark.parametrize(("host", "port"), [("203.0.113.1", 0), ("no such host.invalid", 80), (HOST, 65536), ("", -1)])
def test_an_address_that_is_not_here_is_told(host: str, port: int) -> None:
    async def test() -> None:
        with pytest.raises(PlantError, match=r"--(host|port)"):
            await HttpServer(make_app(EchoService(), _metrics())).start(host, port)

    run(test)


def test_a_stopped_server_frees_its_port_and_can_start_again() -> None:
    async def test() -> None:
        server = HttpServer(make_app(EchoService(), _metrics()))
        port = await server.start(HOST, 0)
        with pytest.raises(PlantError, match="running"):
            await server.start(HOST, 0)
        await server.stop()
        await server.stop()
        assert await server.start(HOST, port) == port
        assert (await ask(port, INFER))[0] == 200
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)

    run(test)


def test_signals_stay_the_programs_own() -> None:
    async def test() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        async with serving():
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    run(test)


def test_stop_answers_what_is_under_way_and_closes_idle_connections() -> None:
    async def test() -> None:
        service = EchoService(held=True)
        server = HttpServer(make_app(service, _metrics()))
        port = await server.start(HOST, 0)
        async with (
            connected(port) as (reader, writer),
            connected(port) as (idle, idle_writer),
            connected(port) as (new, _),
        ):
            idle_writer.write(LIVE)
            assert (await answer(idle))[0] == 200
            writer.write(INFER)
            await service.called.wait()
            stopping = asyncio.create_task(server.stop(10.0))
            assert await idle.read() == b""
            assert await new.read() == b""
            service.release()
            status, headers, _ = await answer(reader)
            assert (status, headers["connection"]) == (200, "close")
            await stopping

    run(test)


def test_stop_does_not_wait_longer_than_its_grace(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = EchoService(held=True)
        server = HttpServer(make_app(service, _metrics()))
        port = await server.start(HOST, 0)
        async with connected(port) as (reader, writer), connected(port) as (half, half_writer):
            writer.write(INFER)
            half_writer.write(INFER[:-5])
            await service.called.wait()
            await server.stop(0.05)
            assert (await answer(reader))[0] == 503
            assert (await answer(half))[0] == 503
            assert service.cancelled == 1

    run(test)
    assert [record for record in caplog.records if record.exc_info] == []


def test_half_open_clients_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = EchoService()
        async with serving(service) as port:
            for part in (b"", b"POST /v2/mod", INFER[:60], INFER[:-5]):
                async with connected(port) as (_, writer):
                    writer.write(part)
                    await writer.drain()
                    assert (await ask(port, INFER))[0] == 200
                assert (await ask(port, INFER))[0] == 200
            assert len(service.requests) == 8

    run(test)
    assert caplog.records == []


def test_a_client_that_resets_while_it_waits_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        service = EchoService(held=True)
        async with serving(service) as port, connected(port) as (reader, writer):
            async with connected(port) as (_, rude):
                rude.write(INFER)
                await service.called.wait()
                writer.write(INFER)
                sock: socket.socket = rude.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                rude.transport.abort()
            await service.gave_up.wait()
            service.release()
            assert (await answer(reader))[0] == 200

    run(test)
    assert caplog.records == []


def test_fifty_megabytes_are_refused_and_the_connection_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        size = 50 * 1024 * 1024
        async with serving() as port, connected(port) as (reader, writer):
            writer.write(HEAD % size)
            status, _, body = await answer(reader)  # nothing of the body was sent so far
            assert status == 413
            assert f"got {size} bytes, wanted at most {32 * 1024 * 1024}" in body["error"]
            chunk = bytes(1024 * 1024)
            for _ in range(50):  # a client that sends on all the same is not cut off, and can go on afterwards
                writer.write(chunk)
                await writer.drain()
            writer.write(INFER)
            assert (await answer(reader))[0] == 200

    run(test)
    assert caplog.records == []


def test_fifty_megabytes_of_unknown_length_are_refused_on_the_way() -> None:
    async def test() -> None:
        limits = HttpLimits(body_bytes=1024 * 1024)
        async with serving(limits=limits) as port, connected(port) as (reader, writer):
            writer.write(HEAD.replace(b"content-length: %d", b"transfer-encoding: chunked"))
            chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
            for _ in range(50):
                writer.write(chunk)
                await writer.drain()
            writer.write(b"0\r\n\r\n" + INFER)
            assert (await answer(reader))[0] == 413
            assert (await answer(reader))[0] == 200

    run(test)


def test_a_client_that_asks_first_never_sends_its_body() -> None:
    async def test() -> None:
        async with serving() as port, connected(port) as (reader, writer):
            writer.write((HEAD % 10**12).replace(b"host", b"expect: 100-continue\r\nhost"))
            status, headers, _ = await answer(reader)
            assert (status, headers["connection"]) == (413, "close")
            assert await reader.read() == b""

    run(test)


@pytest.mark.parametrize("request_", [b"\x16\x03\x01 TLS\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_not_http_is_told_in_json(request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving() as port:
            status, headers, body = await ask(port, request_)
            assert (status, headers["connection"]) == (400, "close")
            assert body["error"]

    run(test)
    assert caplog.records == []


def test_headers_without_end_are_refused() -> None:
    pytest.importorskip("httptools", reason="h11 has its own limit")

    async def test() -> None:
        async with serving() as port, connected(port) as (reader, writer):
            writer.write(LIVE[:-2] + b"endless: ")
            for _ in range(10):
                writer.write(b"x" * 16 * 1024)
            assert (await answer(reader))[0] == 431

    run(test)


def test_a_head_of_too_many_headers_is_refused() -> None:
    pytest.importorskip("httptools", reason="h11 has its own limit")

    async def test() -> None:
        async with serving(limits=HttpLimits(headers=10)) as port:
            many = b"".join(b"x-%d: y\r\n" % number for number in range(10))
            assert (await ask(port, LIVE[:-2] + many + b"\r\n"))[0] == 431
            assert (await ask(port, LIVE))[0] == 200

    run(test)


# --- clients that take too much of the server ---


def test_a_head_that_comes_too_slowly_is_given_up() -> None:
    async def test() -> None:
        async with serving(limits=HttpLimits(head_s=0.05)) as port, connected(port) as (reader, writer):
            writer.write(LIVE)
            assert (await answer(reader))[0] == 200  # an idle connection is no slow head
            writer.write(LIVE[:9])
            status, headers, _ = await answer(reader)
            assert (status, headers["connection"]) == (408, "close")
            assert await reader.read() == b""

    run(test)


def test_an_idle_connection_is_closed_at_last() -> None:
    async def test() -> None:
        async with serving(limits=HttpLimits(idle_s=0.05)) as port, connected(port) as (silent, _):
            assert await silent.read() == b""

    run(test)


async def send_until_cut_off(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0)


def test_a_client_that_does_not_read_is_cut_off() -> None:
    async def test() -> None:
        numbers = ", ".join(["0.125"] * 1_000_000)
        body = f'{{"inputs": [{{"name": "x", "shape": [1000000], "datatype": "FP32", "data": [{numbers}]}}]}}'.encode()
        service = EchoService()
        async with serving(service, HttpLimits(write_s=0.1)) as port, connected(port) as (_, writer):
            cast("asyncio.ReadTransport", writer.transport).pause_reading()
            for _ in range(4):  # answers of several megabytes: more than all buffers between us
                writer.write(HEAD % len(body) + body)
            assert (await ask(port, LIVE))[0] == 200
            with pytest.raises(ConnectionError):
                await send_until_cut_off(writer)
            assert len(service.requests) < 4  # no answer is begun before the last is read

    run(test)


def test_many_idle_connections_are_held_and_harm_nobody() -> None:
    async def test() -> None:
        async with serving() as port:
            idle = [await asyncio.open_connection(HOST, port) for _ in range(300)]
            try:
                assert (await ask(port, INFER))[0] == 200
                for reader, writer in (idle[0], idle[-1]):
                    writer.write(INFER)
                    assert (await answer(reader))[0] == 200
            finally:
                for _, writer in idle:
                    writer.close()

    run(test)


def test_a_full_server_closes_the_oldest_idle_connection() -> None:
    async def test() -> None:
        limits = HttpLimits(connections=2)
        async with (
            serving(limits=limits) as port,
            connected(port) as (first, _),
            connected(port) as (second, writer),
            connected(port) as (third, third_writer),
        ):
            third_writer.write(LIVE)
            assert (await answer(third))[0] == 200
            assert await first.read() == b""
            writer.write(LIVE)
            assert (await answer(second))[0] == 200

    run(test)


def test_a_server_full_of_busy_connections_refuses() -> None:
    async def test() -> None:
        service = EchoService(held=True)
        async with serving(service, HttpLimits(connections=1)) as port, connected(port) as (reader, writer):
            writer.write(INFER)
            await service.called.wait()
            async with connected(port) as (refused, _):
                status, headers, _ = await answer(refused)
                assert (status, headers["retry-after"]) == (503, "1")
            service.release()
            assert (await answer(reader))[0] == 200

    run(test)


def test_a_broken_body_ends_its_request_alone() -> None:
    async def test() -> None:
        service = EchoService()
        async with serving(service) as port:
            chunked = HEAD.replace(b"content-length: %d", b"transfer-encoding: chunked") + b"nonsense\r\n"
            assert (await ask(port, chunked))[0] == 400
            async with connected(port) as (reader, writer):
                writer.write(INFER + b"nonsense\r\n\r\n")
                assert (await answer(reader))[0] == 200
                assert await reader.read() == b""
            assert len(service.requests) == 1

    run(test)


# --- TLS, and processes that share a port ---


def test_tls(tmp_path: Path) -> None:
    async def test() -> None:
        security = read_security(*write_certificate(tmp_path))
        server = HttpServer(make_app(EchoService(), _metrics()), security=security)
        port = await server.start(HOST, 0)
        client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        reader, writer = await asyncio.open_connection(HOST, port, ssl=client)
        for _ in range(2):
            writer.write(INFER)
            assert (await answer(reader))[0] == 200
        writer.close()
        await writer.wait_closed()
        async with connected(port) as (plain, plain_writer):
            plain_writer.write(LIVE)
            with contextlib.suppress(ConnectionError):
                assert not (await plain.read()).startswith(b"HTTP")
        await server.stop(0.0)

    run(test)


def test_two_servers_can_share_a_port() -> None:
    async def test() -> None:
        first, second = (HttpServer(make_app(EchoService(), _metrics())) for _ in range(2))
        port = await first.start(HOST, 0, reuse_port=True)
        assert await second.start(HOST, port, reuse_port=True) == port
        await first.stop(0.0)
        assert (await ask(port, INFER))[0] == 200
        await second.stop(0.0)

    run(test)


def test_the_limit_of_open_files_is_raised_and_told(caplog: pytest.LogCaptureFixture) -> None:
    limit = raise_descriptor_limit(1)
    assert limit >= 1
    assert caplog.records == []
    raise_descriptor_limit(limit)
    assert ["ulimit" in record.getMessage() for record in caplog.records] == [True]


def test_it_serves_with_the_standard_library_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no uvloop and no httptools (Windows), asyncio and h11 take their place."""
    monkeypatch.setitem(__import__("sys").modules, "trimtab.runtime.httptools_protocol", None)
    monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    async def test() -> None:
        assert "uvloop" not in type(asyncio.get_running_loop()).__module__
        async with serving() as port:
            assert (await ask(port, INFER))[0] == 200
            assert (await ask(port, LIVE))[0] == 200

    run(test)
