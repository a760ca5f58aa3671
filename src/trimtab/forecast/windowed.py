"""Forecasters that look at maxima of the recent past, as published policies use them.

They forecast the highest *second* within the horizon and know no uncertainty: all quantiles are that one value. The
mean within the horizon is taken to be that of the seconds they look at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from trimtab.forecast.model import Distribution, RateForecast

Told = tuple[Distribution, str]
"""A number to come, and what its forecast rests on, in words."""
QUANTILES = (0.5, 0.9, 0.95, 0.99)
_LONGEST_S = 3600
"""Seconds of history that are kept."""
_LEVEL_S = 3
_WINDOWS = 100
"""Windows that a weighted mean looks at; those before weigh less than 1e-8 of the newest."""


def certain(value: float) -> Distribution:
    """A number to come of which no uncertainty is known: all quantiles are one value."""
    return Distribution(dict.fromkeys(QUANTILES, value), value)


def unready(name: str, instead: RateForecast | None) -> Told | None:
    """What a forecaster answers that knows too little yet: what another one says, and that it is another one's."""
    if instead is None or instead.peak is None:
        return None
    return instead.peak, f"{instead.basis}: {name} knows too little yet"


class Windowed(ABC):
    """Keeps counts; says how the maximum follows from them. Windows end with the newest second."""

    name = "windowed"

    def __init__(self) -> None:
        self._counts: deque[int | None] = deque(maxlen=_LONGEST_S)

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        self._counts.extend(counts)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """The highest second within the horizon; None while no recent second is known."""
        seconds = max(1, round(horizon_s))
        told = self._told(seconds)
        if told is None:
            return None
        peak, basis = told
        recent, mean = self._mean_of(_LEVEL_S), self._mean(seconds)
        level = peak.expected if recent is None else recent
        return RateForecast(
            horizon_s,
            level,
            peak.quantiles,
            burstiness=1.0,
            basis=basis,
            peak=peak,
            mean=certain(level if mean is None else mean),
        )

    @abstractmethod
    def _told(self, seconds: int) -> Told | None:
        """The highest count of a second within so many, and what that rests on; None while nothing is known."""

    def _mean(self, seconds: int) -> float | None:
        """Requests per second over so many seconds to come; None: nothing tells it apart from the level."""
        return self._mean_of(seconds)

    def _known(self, seconds: int) -> list[int]:
        """The known counts of the last `seconds`, newest first."""
        return [count for count in islice(reversed(self._counts), seconds) if count is not None]

    def _highest_of(self, seconds: int) -> Told | None:
        known = self._known(seconds)
        return (certain(float(max(known))), f"the highest of the last {seconds} s") if known else None

    def _mean_of(self, seconds: int) -> float | None:
        known = self._known(seconds)
        return sum(known) / len(known) if known else None

    def _maxima(self, seconds: int, windows: int) -> list[float] | None:
        """The highest known second of each of the newest `windows` windows, oldest first; None where one has none."""
        if len(self._counts) < seconds * windows:
            return None
        newest = list(islice(reversed(self._counts), seconds * windows))
        maxima: list[float] = []
        for end in range(len(newest), 0, -seconds):
            known = [count for count in newest[end - seconds : end] if count is not None]
            if not known:
                return None
            maxima.append(float(max(known)))
        return maxima


class LastForecaster(Windowed):
    """The next maximum is the last one: the highest second of a past as long as the horizon (IPA's `reactive`)."""

    name = "last"

    def _told(self, seconds: int) -> Told | None:
        return self._highest_of(seconds)


class MaxWindowForecaster(Windowed):
    """The highest second of the last two minutes, whatever the horizon: what IPA falls back to without its LSTM."""

    name = "max-window"
    window_s = 120

    def _told(self, seconds: int) -> Told | None:  # noqa: ARG002 - the same for every horizon
        return self._highest_of(self.window_s)

    def _mean(self, seconds: int) -> float | None:  # noqa: ARG002 - as above
        return self._mean_of(self.window_s)


class EwmForecaster(Windowed):
    """Exponentially weighted mean, span 10, of the maxima of past windows as long as the horizon.

    InfAdapter's (EuroMLSys 2023) while its LSTM has fewer than ten minutes of history, there with windows of a minute.
    Weights are those of pandas' `ewm(span=10)`, adjusted for the start: α = 2 ÷ (span + 1), (1 - α)^k for the maximum
    k windows ago. The mean within the horizon is that of the windows' means, weighted alike.
    """

    name = "ewm"
    span = 10

    def _told(self, seconds: int) -> Told | None:
        highest = self._weighted(seconds, max)
        return None if highest is None else (certain(highest), f"the weighted mean of {seconds} s maxima")

    def _mean(self, seconds: int) -> float | None:
        return self._weighted(seconds, lambda known: sum(known) / len(known))

    def _weighted(self, seconds: int, of: Callable[[list[int]], float]) -> float | None:
        """The weighted mean of what `of` makes of the known counts of each window; None while none is known."""
        kept, weight, total, weights = 1.0 - 2.0 / (self.span + 1), 1.0, 0.0, 0.0
        newest = list(islice(reversed(self._counts), seconds * _WINDOWS))
        for back in range(0, len(newest), seconds):
            known = [count for count in newest[back : back + seconds] if count is not None]
            if known:
                total, weights = total + weight * of(known), weights + weight
            weight *= kept
        return total / weights if weights else None
