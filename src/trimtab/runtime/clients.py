"""All connections of one HTTP server, by what they wait for: none may wait for ever, and none may crowd out the rest.

Each kind of waiting is a dict from connection to the moment at which it began, in the order of these moments: what is
due stands at the front, so that looking costs next to nothing however many connections there are.
"""

from __future__ import annotations

from typing import Protocol

from trimtab.runtime.asgi import HttpLimits


class Client(Protocol):
    """What is done to a connection that waits too long."""

    def close(self) -> None:
        """It was idle: end it."""
        ...

    def head_is_late(self) -> None:
        """The head of its request did not arrive in time."""
        ...

    def abort(self) -> None:
        """It does not read what it asked for: end it at once, with what it was owed."""
        ...


class Clients:
    """Connections that wait."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self._open: set[Client] = set()
        self._idle: dict[Client, float] = {}
        self._in_head: dict[Client, float] = {}
        self._stalled: dict[Client, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, client: Client, now_s: float) -> bool:
        """A new connection. False: there is no room for it, and no idle one that could make room."""
        if len(self._open) >= self.limits.connections:
            oldest = next(iter(self._idle), None)
            if oldest is None:
                return False
            self._open.discard(oldest)
            del self._idle[oldest]
            oldest.close()
        self._open.add(client)
        self._idle[client] = now_s
        return True

    def closed(self, client: Client) -> None:
        """A connection ended."""
        self._open.discard(client)
        self._idle.pop(client, None)
        self._in_head.pop(client, None)
        self._stalled.pop(client, None)

    def idle(self, client: Client, now_s: float) -> None:
        """Everything it asked is answered."""
        if client in self._open:
            self._idle.pop(client, None)  # so that it comes last
            self._idle[client] = now_s

    def busy(self, client: Client) -> None:
        """It sends a request."""
        self._idle.pop(client, None)

    def head_begun(self, client: Client, now_s: float) -> None:
        """A part of a head arrived; the first part counts."""
        self._in_head.setdefault(client, now_s)

    def head_done(self, client: Client) -> None:
        """The head arrived whole."""
        self._in_head.pop(client, None)

    def stalled(self, client: Client, now_s: float) -> None:
        """It does not read as fast as we write."""
        self._stalled.setdefault(client, now_s)

    def reads(self, client: Client) -> None:
        """It has read."""
        self._stalled.pop(client, None)

    def sweep(self, now_s: float) -> None:
        """End what waited too long; called several times a second."""
        for client in _due(self._idle, now_s - self.limits.idle_s):
            client.close()
        for client in _due(self._in_head, now_s - self.limits.head_s):
            client.head_is_late()
        for client in _due(self._stalled, now_s - self.limits.write_s):
            client.abort()


def _due(waiting: dict[Client, float], before_s: float) -> list[Client]:
    """Takes out those that wait since before then."""
    due: list[Client] = []
    for client, since_s in waiting.items():
        if since_s > before_s:
            break
        due.append(client)
    for client in due:
        del waiting[client]
    return due
