"""Forecasters by name. Built-in ones enter by the door that is open to everyone: a dotted `module:Class`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType

from trimtab.errors import ForecastError
from trimtab.forecast.model import Forecaster

DEFAULT_FORECASTER = "quantile"

FORECASTERS: Mapping[str, str] = MappingProxyType(
    {
        "quantile": "trimtab.forecast.quantile:QuantileForecaster",
        "last": "trimtab.forecast.windowed:LastForecaster",
        "max-window": "trimtab.forecast.windowed:MaxWindowForecaster",
        "ewm": "trimtab.forecast.windowed:EwmForecaster",
    }
)
"""Name → where its class is."""


def make_forecaster(name: str) -> Forecaster:
    """The forecaster called `name`, or the one at a dotted `module:Class` that takes no arguments.

    Raises:
        ForecastError: there is none, or what is there is no forecaster.
    """
    module_name, separator, class_name = FORECASTERS.get(name, name).partition(":")
    if not separator:
        close = difflib.get_close_matches(name, FORECASTERS, n=1)
        raise ForecastError(
            "no such forecaster",
            got=name,
            wanted=f"one of {', '.join(FORECASTERS)}, or module:Class of your own",
            next_step=f"did you mean '{close[0]}'?" if close else None,
        )
    try:
        forecaster = getattr(importlib.import_module(module_name), class_name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ForecastError(
            f"the forecaster cannot be loaded ({error})",
            got=name,
            wanted="module:Class, importable and made without arguments",
        ) from error
    if not isinstance(forecaster, Forecaster):
        raise ForecastError(
            "what was loaded is no forecaster",
            got=name,
            wanted="an object with name, observe(counts) and forecast(horizon_s)",
            next_step="trimtab.testing.check_forecaster says what is missing",
        )
    return forecaster
