"""Variants that could not be loaded: held back for a while, longer each time, so that nobody asks for them in vain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

HELD_BACK_S = (10.0, 30.0, 120.0, 600.0)
"""How long a variant is held back after the first failure in a row, the second, …"""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a variant could not be loaded, how often in a row, and from when it may be tried again."""

    reason: str
    times: int
    until_s: float


class FailedVariants:
    """By task and variant."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[tuple[str, str], Failure] = {}
        self.on_change: Callable[[], None] | None = None
        """Told that a variant failed."""

    def note(self, task: str, variant: str, reason: str) -> None:
        """It could not be loaded, once more."""
        before = self._failures.get((task, variant))
        times = 1 if before is None else before.times + 1
        held_s = HELD_BACK_S[min(times, len(HELD_BACK_S)) - 1]
        self._failures[task, variant] = Failure(reason, times, self._clock() + held_s)
        if self.on_change is not None:
            self.on_change()

    def forget(self, task: str, variant: str) -> None:
        """It was loaded, or its file is another one by now."""
        self._failures.pop((task, variant), None)

    def of(self, task: str, variant: str) -> Failure | None:
        """The failure for which it is held back now."""
        failure = self._failures.get((task, variant))
        return failure if failure is not None and failure.until_s > self._clock() else None

    def left_s(self, failure: Failure) -> float:
        """Seconds until it may be tried again."""
        return failure.until_s - self._clock()

    def held_back(self) -> frozenset[tuple[str, str]]:
        """All that are held back now."""
        return frozenset(key for key in self._failures if self.of(*key) is not None)

    def next_s(self) -> float | None:
        """Seconds until one of them may be tried again; None: none is held back."""
        left = [self.left_s(failure) for failure in self._failures.values()]
        return min((s for s in left if s > 0.0), default=None)
