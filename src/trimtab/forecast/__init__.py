"""What is coming: quantile forecasts of the arrival rate."""

from __future__ import annotations

from trimtab.forecast.model import ClockedForecaster, Distribution, Forecaster, RateForecast
from trimtab.forecast.quantile import QuantileForecaster
from trimtab.forecast.registry import DEFAULT_FORECASTER, FORECASTERS, make_forecaster

__all__ = [
    "DEFAULT_FORECASTER",
    "FORECASTERS",
    "ClockedForecaster",
    "Distribution",
    "Forecaster",
    "QuantileForecaster",
    "RateForecast",
    "make_forecaster",
]
