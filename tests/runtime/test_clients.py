"""Connections that wait: who is ended, when, and who makes room."""

from __future__ import annotations

from trimtab.runtime.asgi import HttpLimits
from trimtab.runtime.clients import Clients


class Recorded:
    def __init__(self) -> None:
        self.ends: list[str] = []

    def close(self) -> None:
        self.ends.append("idle")

    def head_is_late(self) -> None:
        self.ends.append("head")

    def abort(self) -> None:
        self.ends.append("stalled")


LIMITS = HttpLimits(connections=2, idle_s=10.0, head_s=3.0, write_s=5.0)


def test_the_one_that_is_idle_longest_makes_room() -> None:
    clients, (first, second, third) = Clients(LIMITS), [Recorded() for _ in range(3)]
    assert clients.opened(first, 0.0)
    assert clients.opened(second, 1.0)
    clients.busy(first)
    clients.idle(first, 2.0)
    assert clients.opened(third, 3.0)
    assert (first.ends, second.ends, len(clients)) == ([], ["idle"], 2)


def test_busy_ones_make_no_room() -> None:
    clients, (first, second, third) = Clients(LIMITS), [Recorded() for _ in range(3)]
    for client in (first, second):
        clients.opened(client, 0.0)
        clients.busy(client)
    assert not clients.opened(third, 1.0)
    clients.closed(first)
    assert clients.opened(third, 2.0)


def test_each_kind_of_waiting_has_its_end() -> None:
    clients, (idle, slow, stalled) = (
        Clients(HttpLimits(idle_s=10.0, head_s=3.0, write_s=5.0)),
        [Recorded() for _ in range(3)],
    )
    for client in (idle, slow, stalled):
        clients.opened(client, 0.0)
    for client in (slow, stalled):
        clients.busy(client)
    clients.head_begun(slow, 0.0)
    clients.head_begun(slow, 2.5)  # more of the same head buys no time
    clients.stalled(stalled, 0.0)
    clients.sweep(2.9)
    assert (idle.ends, slow.ends, stalled.ends) == ([], [], [])
    clients.sweep(3.0)
    clients.sweep(10.0)
    clients.sweep(99.0)
    assert (idle.ends, slow.ends, stalled.ends) == (["idle"], ["head"], ["stalled"])


def test_what_goes_on_is_left_alone() -> None:
    clients, client = Clients(LIMITS), Recorded()
    clients.opened(client, 0.0)
    clients.busy(client)
    clients.head_begun(client, 0.0)
    clients.head_done(client)
    clients.stalled(client, 1.0)
    clients.reads(client)
    clients.sweep(99.0)
    assert client.ends == []
