"""Time-series models from the library `river`, which is the extra of that name: ARIMA and Holt-Winters.

Both learn online, from maxima of windows that follow one another from the first second on, in constant time and memory
per second. River is used rather than a library that fits a whole series anew, so that state follows from what was
observed alone and a forecast takes microseconds. Their forecasts are single values.

Sources: Box & Jenkins 1970 and Winters 1960 for the models; Ghafouri et al. (IPA, JSys 2024), whose program offers an
ARIMA(1,0,0) over maxima of 10 s, two steps ahead, of which the higher one counts. It fits it to the last twelve.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from trimtab.errors import MissingExtraError
from trimtab.forecast.windowed import EwmForecaster, MaxWindowForecaster, Told, Windowed, certain, unready

_LEARNT = 12
"""Windows that an autoregression has seen before it is asked: IPA's two minutes of 10 s."""


class _Closing:
    """Windows of a length that follow one another, and the highest known second of each when it ends."""

    def __init__(self, seconds: int) -> None:
        self.seconds, self.open_s = seconds, 0
        """Length of a window, and how much of the newest one has passed."""
        self._highest: int | None = None

    def closed(self, counts: Sequence[int | None]) -> Iterator[float | None]:
        """The maximum of each window that ends within the next `counts`; None: no second of it is known."""
        for count in counts:
            if count is not None:
                self._highest = count if self._highest is None else max(self._highest, count)
            self.open_s += 1
            if self.open_s == self.seconds:
                highest, self._highest, self.open_s = self._highest, None, 0
                yield None if highest is None else float(highest)


class ArimaForecaster(Windowed):
    """ARIMA(1,0,0) over maxima of windows of about half of the horizon, iterated to its end; the highest step counts.

    One autoregression per length of window learns all the time, so that a forecast for any horizon changes nothing. The
    maximum it goes on from is that of the window that ends with the newest second. Windows without a known second are
    passed over. Until twelve windows are known it is the highest of two minutes, IPA's fallback.
    """

    name = "arima"
    steps_s = (5, 10, 30, 60, 300)
    """Lengths of windows, seconds: the longest one that fits into the horizon twice is used."""

    def __init__(self) -> None:
        """A model that has learnt nothing.

        Raises:
            MissingExtraError: river is not installed.
        """
        super().__init__()
        self._windows = {seconds: _Closing(seconds) for seconds in self.steps_s}
        self._models = {seconds: _autoregression() for seconds in self.steps_s}
        self._learnt = dict.fromkeys(self.steps_s, 0)
        self._fallback = MaxWindowForecaster()

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        super().observe(counts)
        self._fallback.observe(counts)
        for seconds, windows in self._windows.items():
            for highest in windows.closed(counts):
                if highest is not None:
                    self._models[seconds].learn_one(highest)
                    self._learnt[seconds] += 1

    def _told(self, seconds: int) -> Told | None:
        step_s = self._step(seconds)
        newest = None if step_s is None else max(self._known(step_s), default=None)
        if step_s is None or newest is None:
            return unready(self.name, self._fallback.forecast(seconds))
        regressor, value, highest = self._models[step_s].regressor, float(newest), 0.0
        steps = math.ceil(seconds / step_s)
        for _ in range(steps):
            value = regressor.predict_one({"y-1": value})
            highest = max(highest, value)
        return certain(highest), f"an autoregression of {step_s} s maxima, {steps} steps"

    def _step(self, seconds: int) -> int | None:
        """The length of the windows that answer for a horizon; None while none has learnt enough."""
        fitting = [step for step in self.steps_s if 2 * step <= max(seconds, 2 * self.steps_s[0])]
        return max((step for step in fitting if self._learnt[step] >= _LEARNT), default=None)


class HoltWintersForecaster(Windowed):
    """Holt-Winters, additive, over maxima of a minute with a season of an hour.

    For a horizon it is the highest of the minutes that it touches. A minute without a known second is taken to be what
    was forecast, so that the season keeps its place; after an hour of them all is forgotten. In the first hour it is
    the weighted mean of the minute's maxima (`ewm`).

    Smoothing of level and season were chosen on days 4–13 of the Twitter trace that IPA replays; the trend hardly
    moves, for a steeper one runs away with each burst.
    """

    name = "holt-winters"
    window_s, season = 60, 60
    level_smoothing, trend_smoothing, season_smoothing = 0.95, 0.001, 0.02

    def __init__(self) -> None:
        """A model that has learnt nothing.

        Raises:
            MissingExtraError: river is not installed.
        """
        super().__init__()
        self._windows = _Closing(self.window_s)
        self._fallback = EwmForecaster()
        self._model = self._new()
        self._learnt, self._gap, self._newest = 0, 0, 0.0

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        super().observe(counts)
        self._fallback.observe(counts)
        for highest in self._windows.closed(counts):
            self._learn(highest)

    def _learn(self, highest: float | None) -> None:
        """Take in a minute."""
        self._gap = self._gap + 1 if highest is None else 0
        if self._gap >= self.season:
            self._model, self._learnt = self._new(), 0
        elif highest is not None or self._learnt:
            told = highest if highest is not None else self._model.forecast(1)[0] if self._ready else self._newest
            self._model.learn_one(told)
            self._newest, self._learnt = told, self._learnt + 1

    def _new(self) -> Any:
        smoothing = self.level_smoothing, self.trend_smoothing, self.season_smoothing
        return _river("time_series").HoltWinters(*smoothing, self.season)

    @property
    def _ready(self) -> bool:
        return self._learnt >= self.season

    def _told(self, seconds: int) -> Told | None:
        if not self._ready:
            return unready(self.name, self._fallback.forecast(self.window_s))
        steps = math.ceil((self._windows.open_s + seconds) / self.window_s)  # of the minute that has begun, too
        highest = max(0.0, *self._model.forecast(steps))
        return certain(highest), f"Holt-Winters over maxima of a minute, the season an hour, {steps} steps"


def _autoregression() -> Any:
    """An ARIMA(1,0,0). Both sides are standardised, so that any scale of load is learnt at one speed."""
    preprocessing, linear_model = _river("preprocessing"), _river("linear_model")
    regressor = preprocessing.TargetStandardScaler(preprocessing.StandardScaler() | linear_model.LinearRegression())
    return _river("time_series").SNARIMAX(p=1, d=0, q=0, regressor=regressor)


def _river(module: str) -> Any:
    try:
        return importlib.import_module(f"river.{module}")
    except ModuleNotFoundError:
        raise MissingExtraError("river", "river", "forecasting by ARIMA or Holt-Winters") from None
