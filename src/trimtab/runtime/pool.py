"""The replicas of a task as the data plane sees them: who gets the next batch, and who gets none for now.

A batch goes to the replica that is expected to answer it first: the one whose running batches, times its own pace, come
to least (join the shortest expected wait). Its pace is what its batches take over what was expected of them.

A replica is left out when its pace is more than `SLOW_TIMES` that of its peers' median, or when a batch of it is long
overdue. Nobody is left out for ever: after a pause, longer each time, it gets one batch as a trial. The last replica of
a task is never left out, and when the others go, those that are left out come back: slow answers are better than none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from trimtab.runtime.replica import BatchResult
from trimtab.runtime.service import Tensor

SLOW_TIMES = 3.0
"""So much slower than its peers is a replica that is left out."""
LEAST_BATCHES = 5
"""Batches before a replica's pace is judged."""
PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""First and longest pause of a replica that is left out; doubled each time."""
_GAIN = 0.2
_MOST_TIMES = 10.0
"""What one batch counts for at most: a single stall (a paused machine, a page fault) leaves nobody out."""


class Server(Protocol):
    """What the data plane needs of a replica."""

    @property
    def id(self) -> str:
        """A name for logs."""
        ...

    @property
    def task(self) -> str:
        """The task it serves."""
        ...

    async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
        """Serve one batch; tensors have one row an item.

        Raises:
            WorkerError: it was lost.
            ModelError: this batch failed.
        """
        ...


@dataclass(eq=False, slots=True)
class Seat:
    """One replica: how many batches it serves at once, how many it serves now, and how fast."""

    replica: Server
    concurrency: int
    group: int = 0
    """The allocation that it belongs to."""
    busy: int = 0
    open: bool = True
    """False while it drains: no new batch."""
    pace: float = 1.0
    """Exponentially weighted time of its batches over what was expected."""
    batches: int = 0
    out_until_s: float = 0.0
    """Until then it gets no batch, and after that one as a trial."""
    pause_s: float = 0.0
    """The pause that it is or was last left out for; 0: it is in good standing."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()

    def free(self, now_s: float) -> int:
        """Batches that could start on it now."""
        if not self.open or now_s < self.out_until_s:
            return 0
        limit = 1 if self.pause_s else self.concurrency
        return max(limit - self.busy, 0)

    @property
    def serving(self) -> int:
        """Batches that count as its capacity: none while it is left out or drains."""
        return self.concurrency if self.open and not self.pause_s else 0


class Pool:
    """All replicas of one task."""

    def __init__(self) -> None:
        self.seats: list[Seat] = []

    def __iter__(self) -> Iterator[Seat]:
        return iter(self.seats)

    def of(self, replica: Server) -> Seat | None:
        """The seat of a replica; None when it has none."""
        return next((seat for seat in self.seats if seat.replica is replica), None)

    def slots(self, group: int, now_s: float) -> int:
        """Batches that a group serves at once. Where all are left out, the trials count that are due."""
        serving = sum(seat.serving for seat in self.seats if seat.group == group)
        return serving or self.free(group, now_s)

    def free(self, group: int, now_s: float) -> int:
        """Batches that a group could start now."""
        return sum(seat.free(now_s) for seat in self.seats if seat.group == group)

    def next(self, group: int, now_s: float) -> Seat | None:
        """The replica that is expected to answer a batch first; None when none is free."""
        free = [seat for seat in self.seats if seat.group == group and seat.free(now_s) > 0]
        if len(free) <= 1:
            return free[0] if free else None
        # One that is on trial first: without a batch it could never show that it is well again.
        return min(free, key=lambda seat: (not seat.pause_s, (seat.busy + 1) * seat.pace / seat.concurrency))

    def served(self, seat: Seat, measured_s: float, expected_s: float, now_s: float) -> bool:
        """Learn from a batch that was answered; returns whether somebody's standing changed."""
        if not 0.0 < expected_s < float("inf"):
            return False
        seat.batches += 1
        ratio = min(measured_s / expected_s, _MOST_TIMES)
        if now_s < seat.out_until_s:  # begun before it was left out: no trial
            return False
        if seat.pause_s:  # its trial
            if ratio > SLOW_TIMES * self._peers(seat):
                return self.leave_out(seat, now_s)
            seat.pause_s, seat.pace, seat.batches = 0.0, ratio, 1
            return True
        seat.pace += _GAIN * (ratio - seat.pace)
        if seat.batches < LEAST_BATCHES or seat.pace <= SLOW_TIMES * self._peers(seat):
            return False
        return self.leave_out(seat, now_s)

    def leave_out(self, seat: Seat, now_s: float) -> bool:
        """Give a replica no batch for a while, unless it is the last one; returns whether it gets none now."""
        if not any(s.serving for s in self.seats if s is not seat):
            return False
        if now_s < seat.out_until_s:
            return True
        seat.pause_s = min(max(2 * seat.pause_s, PAUSE_S), LONGEST_PAUSE_S)
        seat.out_until_s = now_s + seat.pause_s
        return True

    def recall(self) -> None:
        """Let those that are left out begin anew where nobody else is left to serve."""
        if not any(seat.serving for seat in self.seats):
            for seat in self.seats:
                seat.pause_s, seat.out_until_s, seat.pace, seat.batches = 0.0, 0.0, 1.0, 0

    def next_trial_s(self) -> float:
        """When the first pause ends; infinite when nobody is left out."""
        return min((seat.out_until_s for seat in self.seats if seat.pause_s), default=float("inf"))

    def _peers(self, seat: Seat) -> float:
        """The median pace of the others in its group that are in good standing; infinite when there are none."""
        others = [s.pace for s in self.seats if s is not seat and s.group == seat.group and s.serving]
        return median(others) if others else float("inf")
