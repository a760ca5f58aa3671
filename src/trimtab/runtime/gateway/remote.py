"""The service as a front process has it: calls go to the data-plane process, what is cheap to know is pushed from it.

`RemoteService` is an `InferenceService`, and what the protocol layers take for their metrics. When the data plane is
gone it is not live, and every call is refused. It holds no request back: what the data plane does not take is refused.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from trimtab.errors import FailedError, RefusedError, RequestError, UnknownModelError
from trimtab.runtime.gateway import messages, wire
from trimtab.runtime.gateway.connection import WAITING_BYTES, Connection
from trimtab.runtime.service import InferRequest, InferResponse, ModelInfo, ModelStatistics, RepositoryEntry

SILENT_S = 10.0
"""A data plane that pushed nothing for so long is stuck; it pushes every second."""
M = TypeVar("M", bound=messages.Message)

_UNKNOWN = messages.State(0, (), False, {}, (), ())  # noqa: FBT003 — a message's fields


class RemoteService:
    """Made by `connect`. Use it on one event loop; `close` once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds, and the data plane's too."""
        self._clock = clock
        self._connection = Connection(self._received, self._tell_rejected)
        self._state = _UNKNOWN
        self._heard_s = clock()
        self._described: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: dict[int, asyncio.Future[wire.Frame]] = {}
        self._last_id = 0
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._exposition = (b"", "text/plain; charset=utf-8")
        self.asked: asyncio.Queue[messages.Setup | messages.Stop] = asyncio.Queue()
        """What the data-plane process asks of this process."""
        self._connection.closed.add_done_callback(lambda _: self._lost())

    @classmethod
    async def connect(
        cls, sock: socket.socket, clock: Callable[[], float] = time.monotonic, waiting_bytes: int = WAITING_BYTES
    ) -> RemoteService:
        """Take over a socket whose other end a `ServiceServer` serves; returns once its state is known.

        Raises:
            RefusedError: the other end is gone.
        """
        remote = cls(clock)
        await remote._connection.connect(sock, waiting_bytes)
        try:
            await remote._described
        except BaseException:
            remote.close()
            raise
        return remote

    @property
    def closed(self) -> asyncio.Future[None]:
        """Resolves when the data plane is gone."""
        return self._connection.closed

    def close(self) -> None:
        """Cut the connection; calls under way are refused."""
        self._connection.abort()

    async def flush(self) -> None:
        """Send what waits, then cut the connection."""
        self._connection.close()
        await self._connection.closed

    def say(self, message: messages.Listening | messages.Problem) -> None:
        """Answer what was `asked`."""
        self._connection.send(message)

    # --- InferenceService ---

    def models(self) -> tuple[ModelInfo, ...]:
        """The pipeline first, then its tasks."""
        return self._state.models

    def live(self) -> bool:
        """Whether the data plane is there and works."""
        return not self.closed.done() and self._clock() - self._heard_s < SILENT_S

    def ready(self, model: str | None = None) -> bool:
        """Whether the data plane is ready for `model`; see `InferenceService.ready`."""
        if model is not None and model not in self._state.ready:
            known = ", ".join(info.name for info in self._state.models)
            raise UnknownModelError(f"no model '{model}'", wanted=known or None)
        return self.live() and (self._state.all_ready if model is None else self._state.ready[model])

    async def infer(self, request: InferRequest) -> InferResponse:
        """Have the data plane answer. A cancelled call is cancelled there too."""
        if self._connection.full:
            self.request_rejected("gateway", "busy")
            raise RefusedError("the gateway is busy: its data plane does not keep up", retry_after_s=1.0, reason="busy")
        call = messages.Infer(
            self._next_id(),
            request.model,
            request.id,
            request.version,
            request.outputs,
            request.timeout_s,
            request.priority,
            self._clock() if request.arrived_s is None else request.arrived_s,
        )
        frame = await self._exchange(call.id, wire.encode(call, request.inputs))
        answer = _expect(frame, messages.Answer)
        return InferResponse(answer.model, answer.version, frame.tensors, answer.request_id, answer.parameters)

    def statistics(self) -> tuple[ModelStatistics, ...]:
        """As pushed last; `refresh` makes it those of this moment."""
        return self._state.statistics

    def repository(self) -> tuple[RepositoryEntry, ...]:
        """As pushed last."""
        return self._state.repository

    async def load(self, model: str) -> None:
        """See `InferenceService.load`."""
        await self._load(model, unload=False)

    async def unload(self, model: str) -> None:
        """See `InferenceService.unload`."""
        await self._load(model, unload=True)

    # --- metrics ---

    def request_rejected(self, protocol: str, reason: str) -> None:
        """A protocol layer of this process turned a request away: the data plane counts it."""
        self._rejected[protocol, reason] += 1
        if not self._connection.full:
            self._tell_rejected()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics of all processes as the last `refresh` brought them; `accept` was said there."""
        del accept
        return self._exposition

    async def refresh(self, accept: str = "") -> None:
        """Fetch the metrics of all processes, in the format that `accept` asks for, and the state of this moment.

        Raises:
            RefusedError: the data plane is gone.
        """
        ask = messages.AskMetrics(self._next_id(), accept)
        got = _expect(await self._exchange(ask.id, wire.encode(ask)), messages.Metrics)
        self._exposition = got.body, got.content_type

    # --- calls and answers ---

    async def _load(self, model: str, *, unload: bool) -> None:
        call = messages.Load(self._next_id(), model, unload)
        _expect(await self._exchange(call.id, wire.encode(call)), messages.Done)

    async def _exchange(self, call_id: int, frame: list[bytes | memoryview]) -> wire.Frame:
        if self.closed.done():
            raise _gone()
        future: asyncio.Future[wire.Frame] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = future
        self._connection.send_frame(frame)
        try:
            return await future
        except asyncio.CancelledError:
            self._connection.send(messages.Cancel(call_id))
            raise
        finally:
            del self._waiting[call_id]

    def _received(self, frame: wire.Frame) -> None:
        self._heard_s = self._clock()
        match frame.message:
            case messages.State() as state:
                self._state = state
                if not self._described.done():
                    self._described.set_result(None)
            case messages.Setup() | messages.Stop() as asked:
                self.asked.put_nowait(asked)
            case message:
                future = self._waiting.get(message.id)
                if future is None or future.done():  # who called is gone
                    return
                if isinstance(message, messages.Fault):
                    future.set_exception(messages.error_of(message))
                else:
                    future.set_result(frame)

    def _tell_rejected(self) -> None:
        """Send what was counted; while nothing can be sent it stays counted here."""
        if self._rejected:
            counts = tuple((protocol, reason, count) for (protocol, reason), count in self._rejected.items())
            self._rejected.clear()
            self._connection.send(messages.Rejected(0, counts))

    def _lost(self) -> None:
        if not self._described.done():
            self._described.set_exception(_gone())
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_gone())

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


def _gone() -> RequestError:
    return RefusedError("the data plane is gone", retry_after_s=1.0, reason="gone")


def _expect(frame: wire.Frame, kind: type[M]) -> M:
    if not isinstance(frame.message, kind):
        raise FailedError("the data plane gave another answer than was asked for", got=type(frame.message).__name__)
    return frame.message
