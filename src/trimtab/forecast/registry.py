"""Forecasters by name. Built-in ones enter by the door that is open to everyone: a dotted `module:Class`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from trimtab.errors import ForecastError
from trimtab.forecast.file import read_fitted
from trimtab.forecast.model import ClockedForecaster, Forecaster

DEFAULT_FORECASTER = "quantile"

FORECASTERS: Mapping[str, str] = MappingProxyType(
    {
        "quantile": "trimtab.forecast.quantile:QuantileForecaster",
        "clock": "trimtab.forecast.clock:ClockForecaster",
        "last": "trimtab.forecast.windowed:LastForecaster",
        "max-window": "trimtab.forecast.windowed:MaxWindowForecaster",
        "ewm": "trimtab.forecast.windowed:EwmForecaster",
        "lstm-infadapter": "trimtab.forecast.lstm:infadapter",
        "lstm-ipa": "trimtab.forecast.lstm:ipa",
        "themis": "trimtab.forecast.exceed:themis",
        "mark": "trimtab.forecast.headroom:mark",
        "arima": "trimtab.forecast.statistical:ArimaForecaster",
        "holt-winters": "trimtab.forecast.statistical:HoltWintersForecaster",
    }
)
"""Name → where its class is."""


def make_forecaster(name: str, clock_s: float | None = None) -> Forecaster:
    """The forecaster called `name`, of a file `….json`, or at a dotted `module:Class` that takes no arguments.

    Args:
        name: which one.
        clock_s: when the next observed second begins, for those that learn the clock (see `ClockedForecaster`).

    Raises:
        ForecastError: there is none, or what is there is no forecaster.
    """
    made = read_fitted(Path(name)).forecaster(name) if name.endswith(".json") else _by_name(name)
    if clock_s is not None and isinstance(made, ClockedForecaster):
        made.set_clock(clock_s)
    return made


def _by_name(name: str) -> Forecaster:
    module_name, separator, class_name = FORECASTERS.get(name, name).partition(":")
    if not separator:
        close = difflib.get_close_matches(name, FORECASTERS, n=1)
        raise ForecastError(
            "no such forecaster",
            got=name,
            wanted=f"one of {', '.join(FORECASTERS)}, a fitted one's file (….json), or module:Class of your own",
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
