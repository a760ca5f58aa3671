"""The service over a socket is the service: the same answers, the same errors, and no call is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest

from trimtab import errors
from trimtab.runtime.gateway import messages
from trimtab.runtime.gateway.answering import ServiceServer
from trimtab.runtime.gateway.process import refreshed
from trimtab.runtime.gateway.remote import SILENT_S, RemoteService
from trimtab.runtime.service import InferRequest, InferResponse
from trimtab.testing.inference import EchoService

X = np.arange(8, dtype=np.float32).reshape(2, 4)
ASK = InferRequest("echo", {"x": X}, id="one")


class Counted:
    """The metrics of the data-plane process."""

    def __init__(self) -> None:
        self.rejected: Counter[tuple[str, str]] = Counter()

    def request_rejected(self, protocol: str, reason: str) -> None:
        self.rejected[protocol, reason] += 1

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        return repr(sorted(self.rejected.items())).encode(), accept


class Pair:
    """A front's service and what is behind it."""

    def __init__(self, echo: EchoService, metrics: Counted, server: ServiceServer, remote: RemoteService) -> None:
        self.echo = echo
        self.metrics = metrics
        self.server = server
        self.remote = remote


@contextlib.asynccontextmanager
async def joined(
    echo: EchoService, clock: Callable[[], float] = lambda: 0.0, waiting_bytes: int = 1 << 26
) -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    metrics = Counted()
    server = ServiceServer(echo, metrics, clock)
    await server.add(ours, waiting_bytes=waiting_bytes)
    remote = await RemoteService.connect(theirs, clock, waiting_bytes)
    try:
        yield Pair(echo, metrics, server, remote)
    finally:
        remote.close()
        await server.close()


def run(act: Callable[[Pair], Awaitable[None]], echo: Callable[[], EchoService] = EchoService) -> None:
    async def inside() -> None:
        async with asyncio.timeout(20), joined(echo()) as pair:
            await act(pair)

    asyncio.run(inside())


def test_what_is_told_is_what_the_service_tells() -> None:
    async def act(pair: Pair) -> None:
        remote, echo = pair.remote, pair.echo
        assert remote.models() == echo.models()
        assert remote.repository() == echo.repository()
        assert remote.statistics() == echo.statistics()
        assert remote.live()
        assert remote.ready()
        assert remote.ready("echo")
        with pytest.raises(errors.UnknownModelError, match="no model 'ohce'"):
            remote.ready("ohce")
        echo.is_ready = False
        await remote.infer(ASK)
        await remote.refresh("text")
        assert not remote.ready()
        assert not remote.ready("echo")
        assert remote.statistics() == echo.statistics()
        assert remote.statistics()[0].items == 1
        assert remote.exposition()[1] == "text"

    run(act)


TENSORS = {
    **{
        str(np.dtype(kind)): np.ones((3, 2), kind)
        for kind in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
    },
    "big-endian": np.arange(4, dtype=">i4").reshape(2, 2),
    "strided": np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2],
    "none": np.empty((0, 4), np.float32),
    "texts": np.array([[b"a", b""], [b"\0\xff", b"long" * 100]], object),
    "no texts": np.empty((0,), object),
    "large": np.random.default_rng(1).standard_normal((1000, 1000)),
    "large texts": np.array([b"x" * 700_000, b"y" * 300_000], object),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_every_kind_come_back_as_they_were(name: str) -> None:
    async def act(pair: Pair) -> None:
        sent = TENSORS[name]
        answer = await pair.remote.infer(InferRequest("echo", {"x": sent, "other": X}))
        assert answer.outputs["x"].dtype == sent.dtype.newbyteorder("<")
        np.testing.assert_array_equal(answer.outputs["x"], sent)
        np.testing.assert_array_equal(answer.outputs["other"], X)

    run(act)


def test_every_field_of_a_request_and_an_answer_arrives() -> None:
    async def act(pair: Pair) -> None:
        asked = InferRequest("echo", {"x": X}, "id", "plain", ("x",), 0.5, 2, arrived_s=12.5)
        answer = await pair.remote.infer(asked)
        got = pair.echo.requests[0]
        assert replace(got, inputs={}) == replace(asked, inputs={})
        assert replace(answer, outputs={}) == InferResponse(
            "echo", "plain", {}, "id", {"variant.echo": "plain", "accuracy": 1.0}
        )

    run(act)


ERRORS: list[errors.RequestError] = [
    errors.InvalidInputError("wrong", where="here", got=[1], wanted="that", next_step="do this"),
    errors.UnknownModelError("unknown", wanted="another"),
    errors.TooLargeError("large"),
    errors.RefusedError("full", retry_after_s=2.5, reason="overload", next_step="wait"),
    errors.DeadlineError("late"),
    errors.FailedError("broken"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_keep_their_class_words_and_fields(error: errors.RequestError) -> None:
    async def act(pair: Pair) -> None:
        with pytest.raises(type(error)) as caught:
            await pair.remote.infer(ASK)
        assert type(caught.value) is type(error)
        assert str(caught.value) == str(error)
        assert caught.value.reason == error.reason
        if isinstance(error, errors.RefusedError):
            assert isinstance(caught.value, errors.RefusedError)
            assert caught.value.retry_after_s == error.retry_after_s

    run(act, lambda: EchoService(error=error))


def test_a_fault_of_the_server_is_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    async def act(pair: Pair) -> None:
        with pytest.raises(errors.FailedError, match=r"^internal error$"):
            await pair.remote.infer(ASK)

    run(act, lambda: EchoService(error=ValueError("secret")))
    assert "secret" in caplog.text


def test_a_tensor_that_cannot_travel_is_said() -> None:
    async def act(pair: Pair) -> None:
        with pytest.raises(errors.InvalidInputError, match="complex128"):
            await pair.remote.infer(InferRequest("echo", {"x": np.ones(2, np.complex128)}))
        with pytest.raises(errors.InvalidInputError, match="tensor 'x'"):
            await pair.remote.infer(InferRequest("echo", {"x": np.array([1, 2], object)}))
        assert (await pair.remote.infer(ASK)).id == "one"

    run(act)


def test_many_calls_at_once_get_their_own_answers() -> None:
    async def act(pair: Pair) -> None:
        inputs = [np.full((1 + i % 3, 4), i, np.float32) for i in range(300)]
        answers = await asyncio.gather(*(pair.remote.infer(InferRequest("echo", {"x": x})) for x in inputs))
        for x, answer in zip(inputs, answers, strict=True):
            np.testing.assert_array_equal(answer.outputs["x"], x)

    run(act)


def test_a_cancelled_call_is_cancelled_where_it_is_served() -> None:
    async def act(pair: Pair) -> None:
        gone = asyncio.create_task(pair.remote.infer(ASK))
        await pair.echo.called.wait()
        stays = asyncio.create_task(pair.remote.infer(replace(ASK, id="two")))
        gone.cancel()
        await pair.echo.gave_up.wait()
        pair.echo.release()
        assert (await stays).id == "two"
        assert pair.echo.cancelled == 1

    run(act, lambda: EchoService(held=True))


def test_a_request_arrived_when_its_front_had_it() -> None:
    async def act() -> None:
        now = [100.0]
        async with joined(EchoService(), lambda: now[0]) as pair:
            call = asyncio.create_task(pair.remote.infer(ASK))
            await asyncio.sleep(0)  # it is sent
            now[0] += 5.0
            await call
            await pair.remote.infer(replace(ASK, arrived_s=99.5))
            assert [request.arrived_s for request in pair.echo.requests] == [100.0, 99.5]

    asyncio.run(act())


def test_calls_end_on_both_sides_when_one_is_gone() -> None:
    async def act(pair: Pair) -> None:
        call = asyncio.create_task(pair.remote.infer(ASK))
        await pair.echo.called.wait()
        pair.remote.close()
        with pytest.raises(errors.RefusedError, match="the data plane is gone"):
            await call
        await pair.echo.gave_up.wait()
        assert not pair.remote.live()
        assert not pair.remote.ready()
        for gone in (pair.remote.infer(ASK), pair.remote.refresh(), pair.remote.load("echo")):
            with pytest.raises(errors.RefusedError):
                await gone

    run(act, lambda: EchoService(held=True))


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n" * 4, b"TTG1" + b"\xff" * 12, b"TTG1\x02\0\0\0" + bytes(80)])
def test_bytes_that_are_no_frame_end_the_connection_only(sent: bytes) -> None:
    async def act(pair: Pair) -> None:
        ours, theirs = socket.socketpair()
        client = await pair.server.add(ours)
        theirs.sendall(sent)
        await client.connection.closed
        theirs.close()
        assert (await pair.remote.infer(ASK)).id == "one"

    run(act)


def test_a_front_whose_data_plane_is_gone_at_once_is_told() -> None:
    async def act() -> None:
        ours, theirs = socket.socketpair()
        ours.close()
        with pytest.raises(errors.RefusedError, match="gone"):
            await RemoteService.connect(theirs)

    asyncio.run(act())


def test_a_silent_data_plane_is_not_live() -> None:
    async def act() -> None:
        now = [0.0]
        async with joined(EchoService(), lambda: now[0]) as pair:
            assert pair.remote.live()
            now[0] = SILENT_S
            assert not pair.remote.live()
            assert not pair.remote.ready()

    asyncio.run(act())


def test_what_a_data_plane_does_not_read_is_refused_and_counted_later() -> None:
    async def act() -> None:
        ours, theirs = socket.socketpair()
        server = ServiceServer(EchoService(), metrics := Counted())
        client = await server.add(ours)
        remote = await RemoteService.connect(theirs, waiting_bytes=1 << 20)
        client.connection.read_on(go_on=False)
        big = InferRequest("echo", {"x": np.zeros((1 << 20,), np.float32)})
        stuck = asyncio.create_task(remote.infer(big))
        await asyncio.sleep(0)  # it is sent
        with pytest.raises(errors.RefusedError, match="busy") as caught:
            await remote.infer(ASK)
        assert caught.value.reason == "busy"
        client.connection.read_on(go_on=True)
        assert (await stuck).outputs["x"].size == 1 << 20
        assert (await remote.infer(ASK)).id == "one"
        assert metrics.rejected == {("gateway", "busy"): 1}
        remote.close()
        await server.close()

    asyncio.run(act())


def test_loading_and_its_errors_pass() -> None:
    async def act(pair: Pair) -> None:
        await pair.remote.load("echo")
        await pair.remote.unload("echo")
        with pytest.raises(errors.UnknownModelError, match="no model 'x'"):
            await pair.remote.load("x")
        assert pair.echo.loads == [("load", "echo"), ("unload", "echo")]

    run(act)


def test_metrics_of_one_front_show_what_the_others_rejected() -> None:
    async def act(pair: Pair) -> None:
        ours, theirs = socket.socketpair()
        await pair.server.add(ours)
        other = await RemoteService.connect(theirs)
        other.request_rejected("rest", "invalid")
        other.request_rejected("grpc", "invalid")
        shown: list[bytes] = []

        async def app(*_: object) -> None:
            shown.append(pair.remote.exposition()[0])

        async def nothing(*_: object) -> dict[str, object]:
            return {}

        await other.refresh()
        front = refreshed(app, pair.remote)
        await front({"path": "/metrics", "headers": [(b"accept", b"x")]}, nothing, nothing)  # type: ignore[arg-type]
        assert shown == [b"[(('grpc', 'invalid'), 1), (('rest', 'invalid'), 1)]"]
        other.close()

    run(act)


def test_a_frame_that_nobody_asked_for_is_ignored() -> None:
    async def act(pair: Pair) -> None:
        client = next(iter(pair.server._clients))
        client.connection.send(messages.Done(999))
        assert (await pair.remote.infer(ASK)).id == "one"

    run(act)
