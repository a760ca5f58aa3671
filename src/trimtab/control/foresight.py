"""What to plan for: the rate that is expected, and the surge that may come before a plan can be changed.

A forecaster may be wrong, trained on another load, or late. So under its word lies a floor: what the last seconds alone
say (`forecast.quantile`). A controller that plans for the larger of the two never does worse than one that reacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.forecast import Forecaster, RateForecast
from trimtab.forecast.quantile import QuantileForecaster


@dataclass(frozen=True, slots=True)
class Expected:
    """What to plan for."""

    rate_rps: float
    surge_rps: float
    """At least `rate_rps`."""
    arrival_scv: float = 1.0
    urgent: str | None = None
    """Why a plan is needed at once, in words."""


class Foresight:
    """A forecaster and the floor under it; both see the same counts."""

    def __init__(self, forecaster: Forecaster, *, with_floor: bool) -> None:
        """`with_floor`: whether what the last seconds say counts too."""
        self.forecaster = forecaster
        self._floor = None if not with_floor or isinstance(forecaster, QuantileForecaster) else QuantileForecaster()

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second."""
        self.forecaster.observe(counts)
        if self._floor is not None:
            self._floor.observe(counts)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """The forecaster's word."""
        return self.forecaster.forecast(horizon_s)

    def rate(self, forecast: RateForecast, quantile: float) -> float:
        """A quantile of the highest rate within the forecast's horizon, requests per second; the floor's if higher."""
        floor = None if self._floor is None else self._floor.forecast(forecast.horizon_s)
        return max(forecast.at(quantile), 0.0 if floor is None else floor.at(quantile))
