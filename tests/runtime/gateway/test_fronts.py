"""Real front processes before a service of this process: how they start, answer, die, come back and end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import psutil
import pytest
from tests.runtime.test_security import TOKEN, write_certificate

from trimtab.errors import AddressInUseError, PlantError
from trimtab.runtime.gateway.answering import ServiceServer
from trimtab.runtime.gateway.fronts import Fronts
from trimtab.runtime.oip import messages
from trimtab.runtime.serve_options import Listening, addresses_of
from trimtab.testing.inference import EchoService

pytestmark = pytest.mark.live
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}]}
LISTENING = Listening(port=0, grpc_port=0)


class Counted:
    """The metrics of the data-plane process."""

    def __init__(self) -> None:
        self.rejected: Counter[tuple[str, str]] = Counter()

    def request_rejected(self, protocol: str, reason: str) -> None:
        self.rejected[protocol, reason] += 1

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        del accept
        return repr(dict(self.rejected)).encode(), "text/plain; charset=utf-8"


class Served:
    """Fronts, and what is behind them."""

    def __init__(self, echo: EchoService, metrics: Counted, fronts: Fronts, url: str) -> None:
        self.echo = echo
        self.metrics = metrics
        self.fronts = fronts
        self.url = url
        self.grpc: str | None = None

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """One call on a connection of its own, so that any front may get it."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body) as response,
        ):
            return response.status, await response.text()

    async def infer(self) -> int:
        return (await self.ask("POST", "/v2/models/echo/infer", BODY))[0]


@contextlib.asynccontextmanager
async def served(echo: EchoService, count: int = 2, listening: Listening = LISTENING) -> AsyncIterator[Served]:
    metrics = Counted()
    server = ServiceServer(echo, metrics)
    fronts = Fronts(server, listening, count)
    it = Served(echo, metrics, fronts, "")
    addresses = addresses_of(await fronts.start())
    it.url, it.grpc = addresses.url, addresses.grpc
    try:
        yield it
    finally:
        pids = fronts.pids
        await fronts.stop(5.0)
        await server.close()
        assert not any(psutil.pid_exists(pid) for pid in pids)


def run(act: Callable[[Served], Awaitable[Any]], echo: Callable[[], EchoService] = EchoService, count: int = 2) -> None:
    async def inside() -> None:
        async with asyncio.timeout(60), served(echo(), count) as it:
            await act(it)

    asyncio.run(inside())


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 — what is waited for sets no event
        await asyncio.sleep(0.01)


def test_fronts_answer_for_one_service_and_their_counts_add_up() -> None:
    async def act(it: Served) -> None:
        assert len(it.fronts.pids) == 2
        assert await asyncio.gather(*(it.infer() for _ in range(60))) == [200] * 60
        assert len(it.echo.requests) == 60
        wrong = [it.ask("POST", "/v2/models/echo/infer", {"inputs": 1}) for _ in range(20)]
        assert {status for status, _ in await asyncio.gather(*wrong)} == {400}
        _, shown = await it.ask("GET", "/metrics")
        assert shown == "{('rest', 'invalid'): 20}"
        assert it.fronts.cpu_s() > 0

    run(act)


def test_a_front_that_is_killed_comes_back_while_the_other_answers() -> None:
    async def act(it: Served) -> None:
        one, other = it.fronts.pids
        os.kill(one, signal.SIGKILL)
        await until(lambda: one not in it.fronts.pids)
        assert await asyncio.gather(*(it.infer() for _ in range(20))) == [200] * 20
        await until(lambda: len(it.fronts.pids) == 2)
        assert other in it.fronts.pids
        assert await it.infer() == 200

    run(act)


def test_calls_of_a_front_that_dies_end_in_the_service() -> None:
    async def act(it: Served) -> None:
        call = asyncio.create_task(it.infer())
        await it.echo.called.wait()
        os.kill(it.fronts.pids[0], signal.SIGKILL)
        await it.echo.gave_up.wait()
        with pytest.raises(aiohttp.ClientError):
            await call
        it.echo.release()

    run(act, lambda: EchoService(held=True), count=1)


def test_what_is_under_way_is_answered_at_the_end() -> None:
    async def act() -> None:
        async with served(EchoService(held=True), count=1) as it:
            call = asyncio.create_task(it.infer())
            await it.echo.called.wait()
            asyncio.get_running_loop().call_later(0.1, it.echo.release)
        assert await call == 200

    asyncio.run(act())


def test_a_front_ends_when_its_data_plane_is_gone() -> None:
    async def act(it: Served) -> None:
        front = next(iter(it.fronts._fronts))
        it.fronts._stopping = True  # so that it is not started again
        front.client.connection.abort()
        assert await front.process.wait() == 0

    run(act, count=1)


def test_ports_in_use_and_bad_files_are_said(tmp_path: Path) -> None:
    async def act(listening: Listening) -> None:
        server = ServiceServer(EchoService(), Counted())
        try:
            await Fronts(server, listening, 1).start()
        finally:
            await server.close()

    for shared in (0, 1):  # also by one that would share it
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(AddressInUseError, match="the port is in use"):
                asyncio.run(act(Listening(port=taken.getsockname()[1], grpc_port=None)))
    with pytest.raises(PlantError, match="a gateway did not start"):
        asyncio.run(act(Listening(port=0, grpc_port=None, token_file=tmp_path / "none")))


def test_tls_the_token_and_a_closed_repository_hold_for_both_protocols(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    listening = Listening(
        port=0, grpc_port=0, certificate=certificate, key=key, token_file=tmp_path / "token", repository=False
    )
    bearer = {"authorization": f"Bearer {TOKEN}"}

    async def rest(it: Served) -> None:
        trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        async with aiohttp.ClientSession(it.url, connector=aiohttp.TCPConnector(ssl=trust)) as session:

            async def post(path: str, headers: dict[str, str]) -> int:
                async with session.post(path, json=BODY, headers=headers) as response:
                    return response.status

            assert await post("/v2/models/echo/infer", bearer) == 200
            assert await post("/v2/models/echo/infer", {}) == 401
            assert await post("/v2/repository/models/echo/unload", bearer) == 403
            async with session.get("/v2/health/ready") as response:
                assert response.status == 200

    async def grpc_calls(it: Served) -> None:
        assert it.grpc is not None
        trust = grpc.ssl_channel_credentials((tmp_path / "ca.pem").read_bytes())
        async with grpc.aio.secure_channel(it.grpc, trust) as channel:

            async def call(name: str, message: Any, headers: dict[str, str]) -> bytes:
                method: Any = channel.unary_unary(f"/{messages.SERVICE}/{name}")
                reply: bytes = await method(message.SerializeToString(), metadata=tuple(headers.items()))
                return reply

            question = messages.ModelInferRequest(model_name="echo", id="7")
            question.inputs.add(name="x", datatype="FP32", shape=(1, 4))
            question.raw_input_contents.append(bytes(16))
            answer = messages.ModelInferResponse.FromString(await call("ModelInfer", question, bearer))
            assert (answer.id, answer.raw_output_contents[0]) == ("7", bytes(16))
            unload = messages.message_type("RepositoryModelUnloadRequest")(model_name="echo")
            for name, message, headers, code in (
                ("ModelInfer", question, {}, grpc.StatusCode.UNAUTHENTICATED),
                ("RepositoryModelUnload", unload, bearer, grpc.StatusCode.PERMISSION_DENIED),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(name, message, headers)
                assert caught.value.code() is code

    async def act() -> None:
        async with asyncio.timeout(60), served(EchoService(), 1, listening) as it:
            await rest(it)
            await grpc_calls(it)
            assert it.echo.loads == []
            told = {("rest", "token"): 1, ("grpc", "token"): 1, ("rest", "forbidden"): 1, ("grpc", "forbidden"): 1}
            await until(lambda: it.metrics.rejected == told)

    asyncio.run(act())
