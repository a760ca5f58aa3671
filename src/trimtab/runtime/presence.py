"""When this process was there to count: a second that it slept through was not counted, which is not zero."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

BEAT_S = 0.5
"""Time between two signs of life."""
AWAY_S = 3.0
"""Longer without one, and the process was away: suspended, stopped, or its clock leapt."""


class Presence:
    """Signs of life, and the gaps between them."""

    def __init__(self, now_s: float) -> None:
        self._seen_s = now_s
        self._gaps: deque[tuple[float, float]] = deque(maxlen=16)

    def seen(self, now_s: float) -> None:
        """A sign of life."""
        if now_s - self._seen_s > AWAY_S:
            self._gaps.append((self._seen_s, now_s))
        self._seen_s = max(self._seen_s, now_s)

    def counted(self, arrivals: tuple[int | None, ...], now_s: float) -> tuple[int | None, ...]:
        """The counts of the whole seconds before `now_s`, oldest first; None where the process was away all along."""
        if not self._gaps:
            return arrivals
        first = math.floor(now_s) - len(arrivals)
        return tuple(
            None if count == 0 and any(a <= first + i and first + i + 1 <= b for a, b in self._gaps) else count
            for i, count in enumerate(arrivals)
        )

    async def beat(self, clock: Callable[[], float]) -> None:
        """Give a sign of life, again and again."""
        while True:
            self.seen(clock())
            await asyncio.sleep(BEAT_S)
