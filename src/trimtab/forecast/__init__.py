"""What is coming: quantile forecasts of the arrival rate."""

from __future__ import annotations

from trimtab.forecast.model import Forecaster, RateForecast
from trimtab.forecast.quantile import QuantileForecaster

__all__ = ["Forecaster", "QuantileForecaster", "RateForecast"]
