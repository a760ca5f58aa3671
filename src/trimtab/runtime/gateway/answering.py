"""The data plane's side: answers what front processes ask, by calling the one service that all of them share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from trimtab.errors import FailedError, InvalidInputError, RequestError, UnknownModelError
from trimtab.runtime.gateway import messages, wire
from trimtab.runtime.gateway.connection import WAITING_BYTES, Connection
from trimtab.runtime.service import InferenceService, InferRequest

log = logging.getLogger(__name__)

PUSH_S = 0.25
"""How often the state is looked at; it is sent when it changed."""
HEARTBEAT_S = 1.0
"""How often it is sent in any case."""


class CentralMetrics(Protocol):
    """The metrics of all processes, which the data-plane process keeps."""

    def request_rejected(self, protocol: str, reason: str) -> None:
        """A request was turned away before it was offered."""
        ...

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that `accept` asks for, and its content type."""
        ...


class ServiceServer:
    """Serves any number of fronts. Make it on a running event loop; `add` a socket for each front; `close` once."""

    def __init__(
        self, service: InferenceService, metrics: CentralMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self.service = service
        self.metrics = metrics
        self.clock = clock
        self._clients: set[Client] = set()
        self._pushing: asyncio.Task[None] | None = None

    async def add(
        self,
        sock: socket.socket,
        heard: Callable[[messages.Message], None] | None = None,
        waiting_bytes: int = WAITING_BYTES,
    ) -> Client:
        """Serve one front over a connected socket; `heard` gets what it says of itself (`Listening`, `Problem`)."""
        client = Client(self, heard)
        await client.connection.connect(sock, waiting_bytes)
        client.connection.send_frame(wire.encode(self.state()))
        self._clients.add(client)
        client.connection.closed.add_done_callback(lambda _: self._clients.discard(client))
        if self._pushing is None:
            self._pushing = asyncio.create_task(self._push(), name="push state to gateways")
        return client

    def state(self) -> messages.State:
        """What fronts answer by themselves."""
        models, repository = self.service.models(), self.service.repository()
        ready: dict[str, bool] = {}
        names = [info.name for info in models] + [f"{e.name}.{e.version}" for e in repository if e.version]
        for name in names:
            with contextlib.suppress(UnknownModelError):
                ready[name] = self.service.ready(name)
        return messages.State(0, models, self.service.ready(), ready, repository, self.service.statistics())

    async def close(self) -> None:
        """Cut every connection; calls under way are cancelled."""
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.gather(self._pushing, return_exceptions=True)
        for client in list(self._clients):
            await client.close()

    async def _push(self) -> None:
        """Send the state to all fronts whenever it changed; once for all."""
        last: list[bytes | memoryview] = []
        sent_s = -HEARTBEAT_S
        while True:
            try:
                frame = wire.encode(self.state())
            except Exception:  # a service that cannot tell its state still serves
                log.exception("the state cannot be told to gateways")
            else:
                now_s = self.clock()
                if frame != last or now_s - sent_s >= HEARTBEAT_S:
                    last, sent_s = frame, now_s
                    for client in self._clients:
                        if not client.connection.full:
                            client.connection.send_frame(frame)
            await asyncio.sleep(PUSH_S)


class Client:
    """One front as the data plane sees it. Made by `ServiceServer.add`."""

    def __init__(self, server: ServiceServer, heard: Callable[[messages.Message], None] | None) -> None:
        """For `ServiceServer` alone."""
        self.connection = _Connection(self._received)
        self._server = server
        self._heard = heard
        self._calls: dict[int, asyncio.Task[None]] = {}
        self.connection.closed.add_done_callback(lambda _: self._cancel_all())

    async def close(self) -> None:
        """Cut the connection and see every call of it end."""
        self.connection.abort()
        await self.connection.closed
        self._cancel_all()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)

    def _received(self, frame: wire.Frame) -> None:
        match frame.message:
            case messages.Infer() as call:
                self._start(call.id, lambda: self._infer(call, frame))
            case messages.Cancel(id=call_id):
                if call_id in self._calls:
                    self._calls[call_id].cancel()
            case messages.Rejected(counts=counts):
                for protocol, reason, count in counts:
                    for _ in range(count):
                        self._server.metrics.request_rejected(protocol, reason)
            case messages.AskMetrics() as ask:
                self._start(ask.id, lambda: self._expose(ask))
            case messages.Load() as load:
                self._start(load.id, lambda: self._load(load))
            case message:
                if self._heard is not None:
                    self._heard(message)

    def _start(self, call_id: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(call_id, work))
        self._calls[call_id] = task
        task.add_done_callback(lambda _: self._calls.pop(call_id, None))

    async def _answer(self, call_id: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Whatever becomes of a call, its front is told."""
        try:
            await work()
        except RequestError as error:
            self.connection.send(messages.fault(call_id, error))
        except Exception:
            log.exception("a gateway's call failed")
            self.connection.send(messages.fault(call_id, FailedError("internal error")))

    async def _infer(self, call: messages.Infer, frame: wire.Frame) -> None:
        request = InferRequest(
            call.model,
            frame.tensors,
            call.request_id,
            call.version,
            call.outputs,
            call.timeout_s,
            call.priority,
            call.arrived_s,
        )
        response = await self._server.service.infer(request)
        answer = messages.Answer(call.id, response.model, response.version, response.id, dict(response.parameters))
        try:
            self.connection.send(answer, response.outputs)
        except InvalidInputError as error:  # the model's fault, not the client's
            raise FailedError(error.what, got=str(error.got)) from error

    async def _load(self, call: messages.Load) -> None:
        service = self._server.service
        await (service.unload if call.unload else service.load)(call.model)
        self.connection.send(self._server.state())  # before the answer: who asks next sees what was done
        self.connection.send(messages.Done(call.id))

    async def _expose(self, ask: messages.AskMetrics) -> None:
        body, content_type = self._server.metrics.exposition(ask.accept)
        self.connection.send(self._server.state())
        self.connection.send(messages.Metrics(ask.id, body, content_type))

    def _cancel_all(self) -> None:
        for task in self._calls.values():
            task.cancel()


class _Connection(Connection):
    """Takes no more calls from a front that does not read its answers."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self.read_on(go_on=False)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.read_on(go_on=True)
