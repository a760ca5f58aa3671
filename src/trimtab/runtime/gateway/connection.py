"""One end of the socket between a front process and the data plane: frames in, frames out, and whether they get out."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import cast

from trimtab.errors import WorkerError
from trimtab.runtime.gateway import wire
from trimtab.runtime.gateway.messages import Message
from trimtab.runtime.service import Tensor

log = logging.getLogger(__name__)

WAITING_BYTES = 64 << 20
"""So many bytes may wait for the other side to read them; then the connection is `full`."""


class Connection(asyncio.BufferedProtocol):
    """Made by `connect`. `receive` gets every frame, `drained` is called when it is `full` no more."""

    def __init__(self, receive: Callable[[wire.Frame], None], drained: Callable[[], None] | None = None) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Resolves when the connection is gone, for whatever reason."""
        self.full = False
        """Whether the other side does not read what it is sent."""
        self._receive = receive
        self._drained = drained
        self._decoder = wire.Decoder()
        self._transport: asyncio.Transport | None = None

    async def connect(self, sock: socket.socket, waiting_bytes: int = WAITING_BYTES) -> None:
        """Take over a connected socket.

        Raises:
            OSError: it is none.
        """
        sock.setblocking(False)  # noqa: FBT003 — the standard library's own signature
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=waiting_bytes)

    def send(self, message: Message, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Send, or do nothing when the connection is gone.

        Raises:
            InvalidInputError: the tensors cannot be sent.
        """
        self.send_frame(wire.encode(message, tensors))

    def send_frame(self, buffers: list[bytes | memoryview]) -> None:
        """Send a frame that is encoded already."""
        if self._transport is None or self._transport.is_closing():
            return
        if len(buffers) == 1:
            self._transport.write(buffers[0])
        else:
            self._transport.writelines(buffers)

    def read_on(self, *, go_on: bool) -> None:
        """Stop reading, or go on: how to keep the other side from sending more."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if go_on else self._transport.pause_reading)()

    def close(self) -> None:
        """Send what waits, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now; what was not sent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses of it

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._decoder.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for frame in self._decoder.buffer_updated(nbytes):
                self._receive(frame)
        except WorkerError as error:
            log.error("a gateway's connection is given up: %s", error)
            self.abort()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self._drained is not None:
            self._drained()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.closed.done():
            self.closed.set_result(None)
