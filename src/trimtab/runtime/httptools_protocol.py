"""One HTTP/1.1 connection: httptools parses it, an ASGI application answers, and the limits on a client hold.

It takes the place of uvicorn's own protocol: errors in JSON, limits on heads, on slow senders and slow readers, a body
handed on without copies, an answer in one write, and no task that watches for a client that leaves. Answers must state
their length; there is nothing else here that an ASGI application could miss, but WebSockets.

Imported only where httptools is installed.
"""

from __future__ import annotations

import asyncio
import http
import logging
import urllib.parse
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.server import ServerState

from trimtab.runtime.asgi import BODY_IS_HERE, ON_DISCONNECT, AsgiApp, Message, Scope
from trimtab.runtime.clients import Clients
from trimtab.runtime.oip import codec

log = logging.getLogger(__name__)

_BUFFERED_BYTES = 256 * 1024
"""Of a body, before the application takes it; reading pauses there."""
_JOINED_BYTES = 64 * 1024
"""Answers up to this length are copied behind their head: one write."""
_PIPELINED = 256
"""Requests that may wait for the answer of the one before; what comes behind them is not read, and not answered."""
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_ASGI = {"version": "3.0", "spec_version": "2.3"}


class _RefusedError(Exception):
    """Raised inside the parser's callbacks, which ends the parsing."""


class Connection(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def __init__(self, app: AsgiApp, clients: Clients, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._clients = clients
        self._limits = clients.limits
        self._state = state
        self.loop = loop
        self._parser: Any = httptools.HttpRequestParser(self)
        # What follows a request that ends the connection is ignored, as it should be, and not an error.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        self._in_head = False
        self._head_bytes = self._part_bytes = 0  # of the headers that are whole; of all that arrived of a head
        self._refusal: tuple[int, str] | None = None
        self._incoming: _Exchange | None = None  # whose body arrives
        self._answering: _Exchange | None = None
        self._waiting: deque[_Exchange] = deque()
        self._last_came = False  # no request is taken after those that are here
        self._closed = False
        self._reading_paused = self._writing_paused = False
        self._addresses: tuple[Any, Any] = (None, None)
        self._scheme = "http"

    # --- asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.transport = cast("asyncio.Transport", transport)
        self._state.connections.add(cast("Any", self))
        get = transport.get_extra_info
        self._addresses = (get("sockname"), get("peername"))
        self._scheme = "https" if get("sslcontext") else "http"
        if not self._clients.opened(self, self.loop.time()):
            self._refuse(503, "too many connections", b"retry-after: 1\r\n")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 — why it ended makes no difference
        """The client is gone, or the connection was closed from here."""
        self._state.connections.discard(cast("Any", self))
        self._clients.closed(self)
        self._closed = True
        self._waiting.clear()
        if self._answering is not None:
            self._answering.client_left()
        self._incoming = self._answering = self._parser = None

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._closed or (self._last_came and self._incoming is None):
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # refused by answering in HTTP/1.1; what follows is another protocol
            self._hear_no_more()
        except httptools.HttpParserError:
            self._unreadable()
        else:
            if self._in_head:
                self._part_bytes += len(data)
                if self._part_bytes > self._limits.head_bytes:
                    self._refuse(431, f"the head exceeds {self._limits.head_bytes} bytes")
                else:
                    self._clients.head_begun(self, self.loop.time())

    def eof_received(self) -> None:
        """The client sends no more: the transport closes itself, which cancels what it asked for."""

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._writing_paused = True
        self._clients.stalled(self, self.loop.time())

    def resume_writing(self) -> None:
        """It has read."""
        self._writing_paused = False
        if self._closed:
            return
        self._clients.reads(self)
        if self._answering is None:
            self._answer_next()

    # --- the parser calls ---

    def on_message_begin(self) -> None:
        """A request starts."""
        self._in_head, self._head_bytes, self._part_bytes = True, 0, 0
        self._clients.busy(self)
        self._url = b""
        self._headers = []
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        """A part of its URL."""
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._head_bytes += len(name) + len(value)
        if len(self._headers) >= self._limits.headers:
            self._refusal = (431, f"more than {self._limits.headers} headers")
            raise _RefusedError
        if self._head_bytes > self._limits.head_bytes:
            self._refusal = (431, f"the head exceeds {self._limits.head_bytes} bytes")
            raise _RefusedError
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete: the answer may begin."""
        self._in_head = False
        self._clients.head_done(self)
        if self._last_came:
            return
        parser, url = self._parser, self._url
        if not url.startswith(b"/"):
            url = httptools.parse_url(url).path or b"/"
        raw_path, _, query = url.partition(b"?")
        path = raw_path.decode("ascii")
        version = parser.get_http_version()
        exchange = _Exchange(self, parser.should_keep_alive() and version != "1.0", self._expects_continue)
        exchange.scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "scheme": self._scheme,
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "server": self._addresses[0],
            "client": self._addresses[1],
            "extensions": {ON_DISCONNECT: exchange.on_disconnect, BODY_IS_HERE: exchange.body_is_here},
        }
        self._incoming = exchange
        self._last_came = not exchange.keep_alive
        if self._answering is None and not self._waiting and not self._writing_paused:
            self._answer(exchange)
            return
        self._waiting.append(exchange)
        if len(self._waiting) >= _PIPELINED:
            self._hear_no_more()
        self._flow()

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        exchange = self._incoming
        if exchange is None:
            return
        exchange.received_bytes += len(body)
        if not exchange.answered:
            exchange.body_came(body)
            self._flow()
        elif exchange.received_bytes > self._limits.drain_bytes:
            self.abort()

    def on_message_complete(self) -> None:
        """Its body is complete."""
        exchange, self._incoming = self._incoming, None
        if exchange is None:
            return
        exchange.body_ended()
        if exchange.answered:
            self._ended(exchange)

    # --- the exchange calls ---

    def write_answer(self, exchange: _Exchange, head: bytes, body: bytes) -> None:
        """Send an answer; the next request's turn comes."""
        if len(body) <= _JOINED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self._answering = None
        self._state.total_requests += 1
        if exchange.body_is_whole or exchange.closes_at_once:
            self._ended(exchange)
        else:  # the rest of the body is thrown away as it comes; a client that were cut off would not see the answer
            self._clients.idle(self, self.loop.time())
            self._flow()

    def wanted(self) -> None:
        """The application took what had arrived of the body."""
        self._flow()

    # --- others call ---

    def shutdown(self) -> None:
        """End: now when idle, else after the answer under way."""
        if self._answering is None:
            self.close()
        else:
            self._hear_no_more()
            self._answering.keep_alive = False

    def close(self) -> None:
        """End, after what is written has been sent; a client that does not read it has no longer than others."""
        self._closed = True
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._clients.stalled(self, self.loop.time())

    def abort(self) -> None:
        """End at once."""
        self._closed = True
        self.transport.abort()

    def head_is_late(self) -> None:
        """A client that sends its head byte by byte holds a place that others need."""
        self._refuse(408, f"the head did not arrive within {self._limits.head_s:g} s")

    # --- inside ---

    def _answer(self, exchange: _Exchange) -> None:
        self._answering = exchange
        task = self.loop.create_task(exchange.run(self._app))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _answer_next(self) -> None:
        if self._waiting and not self._writing_paused:
            self._answer(self._waiting.popleft())
        self._flow()

    def _ended(self, exchange: _Exchange) -> None:
        """A request is answered, and its body is over."""
        if not exchange.keep_alive:
            self.close()
        elif self._waiting:
            self._answer_next()
        elif self._answering is None:
            self._clients.idle(self, self.loop.time())
            self._flow()

    def _hear_no_more(self) -> None:
        """Take no further request; the connection ends with the last answer that is owed."""
        self._last_came = True
        last = self._waiting[-1] if self._waiting else self._answering
        if last is not None:
            last.keep_alive = False

    def _unreadable(self) -> None:
        """The parser gave up: say so once all that came before is answered, which then is the last answer."""
        broken, self._incoming = self._incoming, None
        if broken is not None and broken in self._waiting:
            self._waiting.remove(broken)
        elif broken is not None and broken is self._answering:
            self._answering = None
            broken.client_left()
        if self._answering is None:
            self._refuse(*(self._refusal or (400, "this is not an HTTP/1.1 request")))
        else:
            self._hear_no_more()

    def _flow(self) -> None:
        """Read no more than what can be put somewhere."""
        full = len(self._waiting) > 0 or (self._incoming is not None and self._incoming.held_bytes > _BUFFERED_BYTES)
        if full is self._reading_paused or self.transport.is_closing():
            return
        self._reading_paused = full
        if full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _refuse(self, status: int, text: str, more: bytes = b"") -> None:
        """Answer what never became a request, and end the connection."""
        if not self.transport.is_closing():
            body = codec.encode_error(text)
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n%b\r\n"
            self.transport.write(_STATUS_LINES[status] + head % (len(body), more) + body)
        self.close()


class _Exchange:
    """One request and its answer, as ASGI's `receive` and `send`."""

    __slots__ = (
        "_callback",
        "_chunks",
        "_connection",
        "_end_told",
        "_expects_continue",
        "_gone",
        "_head",
        "_waiter",
        "answered",
        "body_is_whole",
        "closes_at_once",
        "held_bytes",
        "keep_alive",
        "received_bytes",
        "scope",
    )

    def __init__(self, connection: Connection, keep_alive: bool, expects_continue: bool) -> None:
        self.scope: Scope
        self.keep_alive = keep_alive
        self.body_is_whole = self.answered = self.closes_at_once = False
        self.held_bytes = self.received_bytes = 0
        self._connection = connection
        self._expects_continue = expects_continue
        self._chunks: list[bytes] = []
        self._end_told = self._gone = False
        self._waiter: asyncio.Future[None] | None = None
        self._callback: Callable[[], None] | None = None
        self._head: list[bytes] | None = None

    async def run(self, app: AsgiApp) -> None:
        """Have it answered."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("the application failed")
        finally:
            if not self.answered and not self._gone:
                self._connection.abort()

    # --- the connection calls ---

    def body_came(self, chunk: bytes) -> None:
        """A part of the body."""
        self._chunks.append(chunk)
        self.held_bytes += len(chunk)
        self._wake()

    def body_ended(self) -> None:
        """There is no more of it."""
        self.body_is_whole = True
        self._wake()

    def client_left(self) -> None:
        """Nobody waits for the answer any more."""
        self._gone = True
        if self._callback is not None:
            self._callback()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the application calls ---

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        """See `ON_DISCONNECT`."""
        self._callback = callback
        if self._gone and callback is not None:
            callback()

    def body_is_here(self) -> bool:
        """See `BODY_IS_HERE`."""
        return self.body_is_whole

    async def receive(self) -> Message:
        """The next part of the body; after its end, wait until the client leaves."""
        if self._expects_continue and not self.answered:
            self._expects_continue = False
            if not self._chunks and not self.body_is_whole and not self._gone:
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._gone or self.answered or self._chunks or (self.body_is_whole and not self._end_told)):
            self._waiter = self._connection.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._gone or self.answered:
            return {"type": "http.disconnect"}
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self.held_bytes = 0
        self._end_told = self.body_is_whole
        if not self._end_told:
            self._connection.wanted()
        return {"type": "http.request", "body": body, "more_body": not self._end_told}

    async def send(self, message: Message) -> None:
        """First the head, which is kept back, then the body in one piece."""
        if self._gone or self.answered:
            return
        if message["type"] == "http.response.start":
            self._head = [_STATUS_LINES[message["status"]]]
            for name, value in message["headers"]:
                if name == b"connection" and value == b"close":
                    self.closes_at_once, self.keep_alive = True, False
                else:
                    self._head += (name, b": ", value, b"\r\n")
            return
        if self._head is None or message.get("more_body", False):
            raise RuntimeError("an answer here is one head and one body")
        self._head.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        self.answered = True
        self._chunks.clear()
        self.held_bytes = 0
        body = b"" if self.scope["method"] == "HEAD" else message["body"]
        self._connection.write_answer(self, b"".join(self._head), body)
        self._wake()
