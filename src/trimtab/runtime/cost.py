"""What the local plant costs: core-seconds of all that it holds, and CPU time of this process and its gateways."""

from __future__ import annotations

import time
from collections.abc import Callable


class CostMeter:
    """Adds up core-seconds. Starting and draining replicas count; the caller says how many cores are held."""

    def __init__(self, now_s: float) -> None:
        self._at_s = now_s
        self._cores = 0
        self._held = 0.0
        self._started_cpu_s = time.process_time()
        self.others: Callable[[], float] = float
        """Core-seconds since the start of what else belongs to the plant; by default none."""

    def hold(self, now_s: float, cores: int) -> None:
        """From now on `cores` cores are held."""
        self._held += self._cores * max(now_s - self._at_s, 0.0)
        self._at_s, self._cores = now_s, cores

    def total(self, now_s: float) -> float:
        """Core-seconds since the start."""
        self.hold(now_s, self._cores)
        return self._held + time.process_time() - self._started_cpu_s + self.others()
