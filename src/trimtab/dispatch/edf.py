"""An earliest-deadline-first queue with removal and levels of priority.

Order is total: by level (the lowest number first), then by deadline, then by order of arrival.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class EdfQueue(Generic[T]):
    """Items by deadline. `push`, `pop` and `discard` take O(log n); discarded items are skipped when they surface."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, T]] = []
        self._waiting: dict[T, tuple[int, int]] = {}
        """Item → its sequence number and level: an entry of the heap counts only while it is the item's latest."""
        self._by_level: dict[int, int] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, item: T) -> bool:
        return item in self._waiting

    def push(self, item: T, deadline_s: float, level: int = 0) -> None:
        """Add an item that is not waiting yet."""
        if item in self._waiting:
            raise ValueError(f"{item!r} is waiting already")
        self._waiting[item] = self._sequence, level
        self._by_level[level] = self._by_level.get(level, 0) + 1
        heapq.heappush(self._heap, (level, deadline_s, self._sequence, item))
        self._sequence += 1

    def ahead(self, level: int) -> int:
        """How many items wait that are at least as urgent as one of `level`."""
        return sum(count for at, count in self._by_level.items() if at <= level)

    def head_level(self) -> int:
        """The level of the item that is next.

        Raises:
            IndexError: the queue is empty.
        """
        self._surface()
        return self._heap[0][0]

    def head_deadline_s(self) -> float:
        """The deadline of the item that is next.

        Raises:
            IndexError: the queue is empty.
        """
        self._surface()
        return self._heap[0][1]

    def pop(self) -> T:
        """Take the item that is next.

        Raises:
            IndexError: the queue is empty.
        """
        self._surface()
        item = heapq.heappop(self._heap)[3]
        self._forget(item)
        return item

    def discard(self, item: T) -> bool:
        """Take an item out of turn; False when it is not waiting."""
        if item not in self._waiting:
            return False
        self._forget(item)
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._waiting):
            self._heap = [entry for entry in self._heap if self._lives(entry)]
            heapq.heapify(self._heap)
        return True

    def _forget(self, item: T) -> None:
        level = self._waiting.pop(item)[1]
        self._by_level[level] -= 1

    def _lives(self, entry: tuple[int, float, int, T]) -> bool:
        known = self._waiting.get(entry[3])
        return known is not None and known[0] == entry[2]

    def _surface(self) -> None:
        while self._heap and not self._lives(self._heap[0]):
            heapq.heappop(self._heap)
