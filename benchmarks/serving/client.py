"""The one client of the benchmark: HTTP/1.1 over kept-alive sockets, one thread, a few microseconds a request.

`saturate` keeps a fixed number of requests under way (a closed loop); `replay` sends each at its own moment, whether or
not earlier ones were answered, and counts its time from that moment (an open loop, no coordinated omission).
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

MOST_CONNECTIONS = 256
_ANSWER_WITHIN_S = 10.0


@dataclass(slots=True)
class Seen:
    """What the client saw."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    refused: int = 0
    """Answers other than 200."""

    @property
    def rate_rps(self) -> float:
        """Good answers a second."""
        return len(self.latencies_s) / self.seconds

    def quantile_s(self, q: float) -> float:
        """A quantile of the latency of good answers."""
        return float(np.quantile(self.latencies_s, q))


class _Connection:
    """One socket and the answer that it waits for."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began_s = 0.0
        self._data = b""

    def receive(self) -> int | None:
        """The status of the answer, once it is whole."""
        chunk = self.socket.recv(1 << 20)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._data += chunk
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._data[:end].lower()
        if b"transfer-encoding: chunked" in head:
            if not self._data.endswith(b"0\r\n\r\n"):
                return None
        else:
            at = head.index(b"content-length:") + 15
            if len(self._data) < end + 4 + int(head[at:].split(b"\r\n", 1)[0]):
                return None
        self._data = b""
        return int(head[9:12])


def saturate(host: str, port: int, request: bytes, *, connections: int, seconds: float) -> Seen:
    """Keep `connections` requests under way for `seconds`."""
    seen = Seen()
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = _Connection(host, port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.began_s = time.perf_counter()
            connection.socket.sendall(request)
        started_s = time.perf_counter()
        while (now_s := time.perf_counter()) < started_s + seconds:
            for key, _ in selector.select(0.1):
                if _take(key.data, seen) is not None:
                    key.data.began_s = time.perf_counter()
                    key.data.socket.sendall(request)
        seen.seconds = now_s - started_s
        _close(selector)
    return seen


def replay(host: str, port: int, request: bytes, moments_s: Sequence[float]) -> Seen:
    """Send one request at each moment (seconds from now, ascending) and wait for all answers."""
    seen = Seen()
    idle: deque[_Connection] = deque()
    open_connections = under_way = 0
    due: deque[float] = deque()
    with selectors.DefaultSelector() as selector:
        started_s = time.perf_counter()
        k = 0
        while k < len(moments_s) or due or under_way:
            now_s = time.perf_counter() - started_s
            if now_s > moments_s[-1] + _ANSWER_WITHIN_S:
                raise TimeoutError(f"{under_way + len(due)} requests were not answered")
            while k < len(moments_s) and moments_s[k] <= now_s:
                due.append(moments_s[k])
                k += 1
            while due and (idle or open_connections < MOST_CONNECTIONS):
                if idle:
                    connection = idle.popleft()
                else:
                    connection = _Connection(host, port)
                    selector.register(connection.socket, selectors.EVENT_READ, connection)
                    open_connections += 1
                connection.began_s = started_s + due.popleft()
                connection.socket.sendall(request)
                under_way += 1
            wait_s = moments_s[k] - (time.perf_counter() - started_s) if k < len(moments_s) else 0.1
            for key, _ in selector.select(max(wait_s, 0.0)):
                if _take(key.data, seen) is not None:
                    under_way -= 1
                    idle.append(key.data)
        seen.seconds = time.perf_counter() - started_s
        _close(selector)
    return seen


def _take(connection: _Connection, seen: Seen) -> int | None:
    status = connection.receive()
    if status == 200:
        seen.latencies_s.append(time.perf_counter() - connection.began_s)
    elif status is not None:
        seen.refused += 1
    return status


def _close(selector: selectors.BaseSelector) -> None:
    for key in list(selector.get_map().values()):
        selector.unregister(key.fileobj)
        key.data.socket.close()
