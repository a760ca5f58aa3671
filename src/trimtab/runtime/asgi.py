"""The ASGI types that the REST side shares, what a client may take from the server, and answers as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from trimtab.runtime.oip import codec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

ON_DISCONNECT = "trimtab.on_disconnect"
"""Name under `scope["extensions"]` of a function that takes a callback, or None for none: it is called when the client
goes away before its answer. Where a server has no such extension, `receive` tells the same at the price of a task."""

BODY_IS_HERE = "trimtab.body_is_here"
"""Name under `scope["extensions"]` of a function that says whether the body has arrived whole: then nothing that reads
it has to wait."""

JSON: Header = (b"content-type", b"application/json")
CLOSE: Header = (b"connection", b"close")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What clients may take from the server."""

    body_bytes: int = 32 * 1024 * 1024
    """Largest body."""
    body_s: float = 30.0
    """Longest time that a body may take to arrive."""
    drain_bytes: int = 256 * 1024 * 1024
    """A body that nobody wants is read and thrown away up to this length, so that its sender sees the answer; beyond it
    the connection is closed."""
    bodies_bytes: int = 512 * 1024 * 1024
    """All bodies together that are held at one moment, from their first byte to the answer."""
    head_bytes: int = 64 * 1024
    """Largest head of a request: its line and its headers."""
    headers: int = 100
    """Most headers of one request."""
    head_s: float = 10.0
    """Longest time that a head may take to arrive."""
    connections: int = 16_384
    """Most open connections; beyond it the one that has been idle longest is closed for a new one."""
    idle_s: float = 75.0
    """Idle time after which a connection is closed; longer than what clients keep theirs open for."""
    write_s: float = 60.0
    """Longest time that a client may take to read an answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (JSON,)
    """All but the content's length."""


def json_reply(value: object, *headers: Header, status: int = 200) -> Reply:
    """`value` as JSON."""
    return Reply(status, codec.encode_json(value), (JSON, *headers))


def error_reply(status: int, text: str, *headers: Header) -> Reply:
    """An error as JSON."""
    return Reply(status, codec.encode_error(text), (JSON, *headers))
