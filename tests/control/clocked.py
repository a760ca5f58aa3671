"""A forecaster that goes by the clock, as those that learn it do, but with a rule that a test can work out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.forecast import RateForecast

CLOCKED = "tests.control.clocked:Clocked"
"""How `make_forecaster` finds it."""
FAULT_S = 30
"""It doubts itself once it has observed so many seconds."""


class Clocked:
    """The last count, and in odd minutes of the clock `factor` times as much."""

    name = "clocked"

    def __init__(self, factor: float = 3.0) -> None:
        self.factor = factor
        self.clocks: list[float] = []
        """What it was told of the clock."""
        self.told: list[int | None] = []

    def set_clock(self, now_s: float) -> None:
        assert not self.told, "the clock is told before anything else"
        self.clocks.append(now_s)

    def observe(self, counts: Sequence[int | None]) -> None:
        self.told += counts

    def forecast(self, horizon_s: float) -> RateForecast | None:
        last = next((count for count in reversed(self.told) if count is not None), None)
        if last is None:
            return None
        odd = bool(self.clocks) and (self.clocks[0] + len(self.told)) // 60 % 2 == 1
        rate = float(last) * (self.factor if odd else 1.0)
        warning = "it has not held lately" if len(self.told) >= FAULT_S else None
        return RateForecast(horizon_s, last, {0.5: rate, 0.99: 2.0 * rate}, 1.0, "the minute", warning=warning)


def from_parameters(parameters: Mapping[str, Any]) -> Clocked:
    """What a file of the kind `clocked` holds; tests put it among the kinds."""
    return Clocked(float(parameters["factor"]))
