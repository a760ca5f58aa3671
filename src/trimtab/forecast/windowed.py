"""Forecasters that look at maxima of the recent past, as published policies use them.

They forecast the highest *second* within the horizon and know no uncertainty: all quantiles are that one value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from itertools import islice

from trimtab.forecast.model import RateForecast

_LONGEST_S = 3600
"""Seconds of history that are kept."""
_LEVEL_S = 3
_WINDOWS = 100
"""Windows that a weighted mean looks at; those before weigh less than 1e-8 of the newest."""


class _Windowed(ABC):
    """Keeps counts; says how the maximum follows from them."""

    name = "windowed"

    def __init__(self) -> None:
        self._counts: deque[int | None] = deque(maxlen=_LONGEST_S)

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        self._counts.extend(counts)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """The highest second within the horizon; None while no recent second is known."""
        recent = [count for count in islice(reversed(self._counts), _LEVEL_S) if count is not None]
        seconds = max(1, round(horizon_s))
        highest = self._highest(seconds)
        if highest is None:
            return None
        level = sum(recent) / len(recent) if recent else highest
        quantiles = dict.fromkeys((0.5, 0.9, 0.95, 0.99), highest)
        return RateForecast(horizon_s, level, quantiles, burstiness=1.0, basis=self._basis(seconds))

    @abstractmethod
    def _highest(self, seconds: int) -> float | None:
        """The forecast for a horizon of so many seconds; None while nothing is known."""

    @abstractmethod
    def _basis(self, seconds: int) -> str:
        """What it rests on, in words."""

    def _maximum(self, back: int, seconds: int) -> int | None:
        """The highest known count of the `seconds` that end `back` seconds ago; None where none is known."""
        window = [c for c in islice(reversed(self._counts), back, back + seconds) if c is not None]
        return max(window, default=None)


class LastForecaster(_Windowed):
    """The next maximum is the last one: the highest second of a past as long as the horizon (IPA's `reactive`)."""

    name = "last"

    def _highest(self, seconds: int) -> float | None:
        highest = self._maximum(0, seconds)
        return None if highest is None else float(highest)

    def _basis(self, seconds: int) -> str:
        return f"the highest of the last {seconds} s"


class MaxWindowForecaster(_Windowed):
    """The highest second of the last two minutes, whatever the horizon: what IPA falls back to without its LSTM."""

    name = "max-window"
    window_s = 120

    def _highest(self, seconds: int) -> float | None:  # noqa: ARG002 - the same for every horizon
        highest = self._maximum(0, self.window_s)
        return None if highest is None else float(highest)

    def _basis(self, seconds: int) -> str:  # noqa: ARG002 - as above
        return f"the highest of the last {self.window_s} s"


class EwmForecaster(_Windowed):
    """Exponentially weighted mean, span 10, of the maxima of past windows as long as the horizon.

    InfAdapter's (EuroMLSys 2023) while its LSTM has fewer than ten minutes of history, there with windows of a minute.
    Weights are those of pandas' `ewm(span=10)`, adjusted for the start: α = 2 ÷ (span + 1), (1 - α)^k for the maximum
    k windows ago.
    """

    name = "ewm"
    span = 10

    def _highest(self, seconds: int) -> float | None:
        kept, weight, total, weights = 1.0 - 2.0 / (self.span + 1), 1.0, 0.0, 0.0
        newest = list(islice(reversed(self._counts), seconds * _WINDOWS))
        for back in range(0, len(newest), seconds):
            known = [count for count in newest[back : back + seconds] if count is not None]
            if known:
                total, weights = total + weight * max(known), weights + weight
            weight *= kept
        return total / weights if weights else None

    def _basis(self, seconds: int) -> str:
        return f"the weighted mean of {seconds} s maxima"
