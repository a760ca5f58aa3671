"""A forecast of the arrival rate as a value, and what a forecaster is."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class RateForecast:
    """What is known about the arrival rate over the next `horizon_s` seconds.

    The *rate* is the mean of the arrival process (its intensity), not a count: that a Poisson process of 10/s puts 17
    arrivals in some second is waiting, which the latency model accounts for, not a higher rate.
    """

    horizon_s: float
    level_rps: float
    """The rate now, requests per second."""
    quantiles_rps: Mapping[float, float]
    """Quantile → requests per second, of the *highest* rate within the horizon; ascending."""
    burstiness: float
    """Variance ÷ mean of the arrivals in a second around the moving rate: 1 is Poisson, 0 is evenly spaced. For a
    renewal process it is near the squared coefficient of variation of the times between arrivals."""
    basis: str
    """What it rests on, in words."""

    def at(self, quantile: float) -> float:
        """The rate at `quantile`: linear between the quantiles given, the nearest one outside them."""
        kept = sorted(self.quantiles_rps)
        i = bisect.bisect_left(kept, quantile)
        if i == 0:
            return self.quantiles_rps[kept[0]]
        if i == len(kept):
            return self.quantiles_rps[kept[-1]]
        low, high = self.quantiles_rps[kept[i - 1]], self.quantiles_rps[kept[i]]
        return low + (quantile - kept[i - 1]) / (kept[i] - kept[i - 1]) * (high - low)


@runtime_checkable
class Forecaster(Protocol):
    """Learns from counts and says what is coming. Its state follows from what it observed alone, so it replays."""

    @property
    def name(self) -> str:
        """Short name, for journals and reports."""
        ...

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in the arrivals of the next whole seconds, oldest first; None: nothing was recorded then."""
        ...

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """The rate over the next `horizon_s` seconds; None while nothing recent is known. Changes no state."""
        ...
