"""Puts an ASGI application on a socket, inside an asyncio program that runs already: uvicorn without its habits.

It installs no signal handlers, writes no access log and says nothing: the program around it owns signals and words.
`httptools` parses where it is installed, h11 elsewhere; the event loop is the caller's (`new_event_loop`: uvloop's
where it is installed).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from trimtab.errors import AddressInUseError, PlantError
from trimtab.runtime.http import AsgiApp

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Idle time after which a connection is closed; longer than what clients keep theirs open for."""
_AFTERMATH_S = 1.0
_POLL_S = 0.01


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop to serve on: uvloop's where it is installed. For `asyncio.Runner(loop_factory=…)`."""
    try:
        import uvloop
    except ImportError:  # no wheel for this system (Windows)
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class HttpServer:
    """One server on one address. `start`, then `stop`; afterwards it can be started again."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which is a free one for `port` 0.

        Raises:
            AddressInUseError: something else listens there.
            PlantError: there is no such address here, or no permission to use it.
        """
        if self._serving is not None:
            raise PlantError("the server is running already", next_step="stop it first")
        sock = _listen(host, port)
        bound: int = sock.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=_protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[sock]), name=f"http {host}:{bound}")
        await self._server.listening.wait()
        if not self._server.started:
            await self._serving
        return bound

    async def stop(self, grace_s: float = 10.0) -> None:
        """Accept nothing more, answer what is under way for up to `grace_s`, then close every connection.

        What is unanswered after that is cancelled and answered with 503.
        """
        server, serving = self._server, self._serving
        if server is None or serving is None:
            return
        self._server = self._serving = None
        server.grace_s = grace_s
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """The server of uvicorn, less its signal handlers and its words, plus an event that says when it listens."""

    grace_s = 0.0

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()

    async def main_loop(self) -> None:
        try:
            await super().main_loop()
        except asyncio.CancelledError:  # the program ends without `stop`: at least nothing listens any more
            for server in self.servers:
                server.close()
            raise

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()  # idle ones close now, busy ones after their answer

        def quiet() -> bool:
            return not state.connections and not state.tasks

        if not await _until(quiet, self.grace_s):
            for task in list(state.tasks):
                task.cancel()  # the application still answers
            await _until(quiet, _AFTERMATH_S)
            for connection in list(state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        for server in self.servers:
            await server.wait_closed()


async def _until(true: Callable[[], bool], within_s: float) -> bool:
    """Wait for a state that has no event of its own; whether it came."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while not true():
        if loop.time() >= end_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; IPv4 first where a name has both."""
    where = f"{host}:{port}"
    if not 0 <= port <= 65535:
        raise PlantError(
            "there is no such port", where=where, wanted="0 to 65535", next_step="choose another with --port"
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError) as error:
        raise PlantError(
            "there is no such address", where=where, got=str(error), next_step="choose another with --host and --port"
        ) from error
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere the option means that two programs may share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)  # noqa: FBT003 — the standard library's own signature
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(
                "the port is in use",
                where=where,
                next_step="stop what listens there, or choose another port with --port",
            ) from error
        raise PlantError(
            "cannot listen there", where=where, got=error.strerror, next_step="choose another with --host and --port"
        ) from error
    return sock


def _protocol() -> Any:
    """The fastest HTTP protocol that is installed."""
    try:
        from trimtab.runtime.httptools_protocol import JsonHttpToolsProtocol
    except ImportError:
        return "h11"
    return JsonHttpToolsProtocol
