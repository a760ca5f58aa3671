"""Puts an ASGI application on a socket, inside an asyncio program that runs already: uvicorn without its habits.

It installs no signal handlers, writes no access log and says nothing: the program around it owns signals and words.
`httptools_protocol` speaks HTTP where httptools is installed; elsewhere uvicorn's own protocol does, without most of
the limits. The event loop is the caller's (`new_event_loop`: uvloop's where it is installed).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from trimtab.errors import AddressInUseError, PlantError
from trimtab.runtime.asgi import AsgiApp, HttpLimits
from trimtab.runtime.clients import Clients
from trimtab.runtime.security import Security
from trimtab.runtime.sockets import bound_socket

log = logging.getLogger(__name__)

BACKLOG = 2048
_OTHER_DESCRIPTORS = 512
"""Files and sockets of the process that are no client's connection, at most."""
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


def raise_descriptor_limit(connections: int = HttpLimits().connections) -> int:
    """Let this process open as many files as it may; says in the log when that is too few for so many connections.

    Returns the number of files that it may have open.
    """
    try:
        import resource
    except ImportError:  # not a POSIX system: there is no such limit
        return connections + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems name a hard limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return connections + _OTHER_DESCRIPTORS
    if soft < connections + _OTHER_DESCRIPTORS:
        log.warning(
            "only %d files may be open at once: fewer than %d clients can be connected; raise it with ulimit -n",
            soft,
            max(0, soft - _OTHER_DESCRIPTORS),
        )
    return soft


class HttpServer:
    """One server on one address. `start`, then `stop`; afterwards it can be started again."""

    def __init__(self, app: AsgiApp, limits: HttpLimits | None = None, security: Security | None = None) -> None:
        """`limits` are those of connections; of `security`, TLS is done here (the token is the application's)."""
        self._app = app
        self._limits = limits or HttpLimits()
        self._security = security or Security()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen; returns the port, which is a free one for `port` 0.

        With `reuse_port` several processes that all say so listen on one port, and share its connections.

        Raises:
            AddressInUseError: something else listens there.
            PlantError: there is no such address here, no permission to use it, or the certificate cannot be used.
        """
        if self._serving is not None:
            raise PlantError("the server is running already", next_step="stop it first")
        context = self._security.ssl_context()
        sock = bound_socket(host, port, option="--port", reuse_port=reuse_port)
        try:
            sock.listen(BACKLOG)
        except OSError as error:  # bound by two, but only one may listen
            sock.close()
            raise AddressInUseError(
                "the port is in use", where=f"{host}:{port}", next_step="stop what listens there"
            ) from error
        sock.setblocking(False)  # noqa: FBT003 — the standard library's own signature
        bound: int = sock.getsockname()[1]
        clients = Clients(self._limits)
        config = uvicorn.Config(
            self._app,
            http=_protocol(self._app, clients),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=int(self._limits.idle_s),
        )
        self._server = _Server(config, clients, context)
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

    def __init__(self, config: uvicorn.Config, clients: Clients, context: ssl.SSLContext | None) -> None:
        super().__init__(config)
        config.load()
        config.ssl = context
        self._clients = clients
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        self._clients.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

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


def _protocol(app: AsgiApp, clients: Clients) -> Any:
    """What speaks HTTP for one connection; uvicorn calls it for each."""
    try:
        from trimtab.runtime.httptools_protocol import Connection
    except ImportError:
        return "h11"

    def connection(*, server_state: Any, _loop: asyncio.AbstractEventLoop | None = None, **_: Any) -> Connection:
        return Connection(app, clients, server_state, _loop or asyncio.get_running_loop())

    return connection
