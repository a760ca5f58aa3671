"""An earliest-deadline-first queue with removal. Order is total: by deadline, then by order of arrival."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class EdfQueue(Generic[T]):
    """Items by deadline. `push`, `pop` and `discard` take O(log n); discarded items are skipped when they surface."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._waiting: dict[T, int] = {}
        """Item → its sequence number: an entry of the heap counts only while it is the item's latest."""
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, item: T) -> bool:
        return item in self._waiting

    def push(self, item: T, deadline_s: float) -> None:
        """Add an item that is not waiting yet."""
        if item in self._waiting:
            raise ValueError(f"{item!r} is waiting already")
        self._waiting[item] = self._sequence
        heapq.heappush(self._heap, (deadline_s, self._sequence, item))
        self._sequence += 1

    def head_deadline_s(self) -> float:
        """The earliest deadline.

        Raises:
            IndexError: the queue is empty.
        """
        self._surface()
        return self._heap[0][0]

    def pop(self) -> T:
        """Take the item with the earliest deadline.

        Raises:
            IndexError: the queue is empty.
        """
        self._surface()
        item = heapq.heappop(self._heap)[2]
        del self._waiting[item]
        return item

    def discard(self, item: T) -> bool:
        """Take an item out of turn; False when it is not waiting."""
        if item not in self._waiting:
            return False
        del self._waiting[item]
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._waiting):
            self._heap = [entry for entry in self._heap if self._waiting.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
        return True

    def _surface(self) -> None:
        while self._heap and self._waiting.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
