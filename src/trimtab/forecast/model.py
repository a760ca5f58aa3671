"""A forecast of the arrival rate as a value, and what a forecaster is."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is known about one number to come: some quantiles, and what is expected."""

    quantiles: Mapping[float, float]
    """Quantile → value, ascending in both."""
    expected: float
    """The mean of the distribution: the best single answer where errors count by their square."""

    def at(self, quantile: float) -> float:
        """The value at `quantile`: linear between the quantiles given, the nearest one outside them."""
        return _between(self.quantiles, quantile)


@dataclass(frozen=True, slots=True)
class RateForecast:
    """What is known about the arrival rate over the next `horizon_s` seconds.

    The *rate* is the mean of the arrival process (its intensity), not a count: that a Poisson process of 10/s puts 17
    arrivals in some second is waiting, which the latency model accounts for, not a higher rate. What can be counted
    afterwards, the highest second and the mean, is forecast beside it.
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
    peak: Distribution | None = None
    """The highest count of a whole second within the horizon, which is what the published systems forecast; None: not
    told apart from the highest rate."""
    mean: Distribution | None = None
    """Arrivals within the horizon ÷ its length, requests per second; None: not told apart from the level."""
    warning: str | None = None
    """What is wrong with this forecaster, in words: its quantiles have not held lately. None: nothing is."""

    def at(self, quantile: float) -> float:
        """The highest rate at `quantile`: linear between the quantiles given, the nearest one outside them."""
        return _between(self.quantiles_rps, quantile)


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


@runtime_checkable
class ClockedForecaster(Forecaster, Protocol):
    """A forecaster that learns what happens at which time of the hour, day and week."""

    def set_clock(self, now_s: float) -> None:
        """Say when the next observed second begins: Unix time, or seconds since any midnight that begins a trace.

        Called at most once, before anything is observed. What happened since the end of a training is unknown.
        """
        ...


def _between(quantiles: Mapping[float, float], quantile: float) -> float:
    kept = sorted(quantiles)
    i = bisect.bisect_left(kept, quantile)
    if i == 0:
        return quantiles[kept[0]]
    if i == len(kept):
        return quantiles[kept[-1]]
    low, high = quantiles[kept[i - 1]], quantiles[kept[i]]
    return low + (quantile - kept[i - 1]) / (kept[i] - kept[i - 1]) * (high - low)
