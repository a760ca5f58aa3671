"""The baseline forecaster: the recent level, how sure it is, and how much the rate moved lately. O(1) per second.

Level: the mean of the last 15 s. When the last 2 s lie three standard errors above it, that is a burst and they are
the level; when the last 5 s lie three below it, the burst is over and they are.

Spread: counts are noise around a rate that wanders. Over the last minute, the mean squared difference of counts 1 s and
10 s apart separates the two (a variogram: what is there at lag 1 is noise, what is added by lag 10 is wandering; J. von
Neumann 1941 for the first, G. Matheron 1963 for the method). The highest rate within the horizon is then that of a
Brownian path started at the level: P(max - start > x) = 2·P(N(0, σ²) > x), by the reflection principle, with
σ² = squared standard error of the level + wandering per second × horizon.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import NormalDist

from trimtab.forecast.model import RateForecast

_FAST_S, _MEDIUM_S, _SLOW_S, _SPREAD_S, _LAG_S = 2, 5, 15, 60, 10
_STANDARD_ERRORS = 3.0
_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
_UNIT_SCORES = {q: NormalDist().inv_cdf((1.0 + q) / 2.0) for q in _QUANTILES}
_PRIOR_SECONDS = 20
"""Weight, in seconds of data, of the belief that arrivals are Poisson."""


class QuantileForecaster:
    """Recent level with quantiles from its standard error and from how the rate wandered; stated at the top."""

    name = "quantile"

    def __init__(self) -> None:
        self._fast, self._medium, self._slow = _Window(_FAST_S), _Window(_MEDIUM_S), _Window(_SLOW_S)
        self._step_1, self._step_lag, self._counts = _Window(_SPREAD_S), _Window(_SPREAD_S), _Window(_SPREAD_S)
        self._history: deque[int | None] = deque(maxlen=_LAG_S)

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        for count in counts:
            for window in (self._fast, self._medium, self._slow, self._counts):
                window.add(count)
            self._step_1.add(_squared_step(count, self._history[-1] if self._history else None))
            self._step_lag.add(_squared_step(count, self._history[0] if len(self._history) == _LAG_S else None))
            self._history.append(count)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """Quantiles of the highest rate within the horizon; None when the last 15 s hold no count."""
        if not self._slow.known:
            return None
        level, seconds, basis = self._level()
        variance = level / seconds + self._wandering() * horizon_s
        spread = math.sqrt(variance)
        return RateForecast(
            horizon_s=horizon_s,
            level_rps=level,
            quantiles_rps={q: level + score * spread for q, score in _UNIT_SCORES.items()},
            burstiness=self._burstiness(),
            basis=basis,
        )

    def _level(self) -> tuple[float, int, str]:
        """Rate, the seconds it rests on, and words. Half a count is added, so that silence is not certainty."""
        slow = self._slow.rate
        if self._fast.known:
            error = math.sqrt(slow / self._fast.known)
            if self._fast.rate > slow + _STANDARD_ERRORS * error:
                return self._fast.rate, self._fast.known, f"burst: the last {self._fast.known} s"
        if self._medium.known == _MEDIUM_S:
            error = math.sqrt(slow / _MEDIUM_S)
            if self._medium.rate < slow - _STANDARD_ERRORS * error:
                return self._medium.rate, _MEDIUM_S, f"falling: the last {_MEDIUM_S} s"
        return slow, self._slow.known, f"the last {self._slow.known} s"

    def _wandering(self) -> float:
        """Variance that the rate gains per second, (requests/s)²/s; 0 until lag 10 was seen ten times."""
        if self._step_lag.known < _LAG_S:
            return 0.0
        return max(0.0, (self._step_lag.mean - self._step_1.mean) / (_LAG_S - 1))

    def _burstiness(self) -> float:
        """Half the mean squared difference of neighbouring counts ÷ their mean, drawn to 1 while data is short."""
        known, mean = self._step_1.known, self._counts.mean
        if not known or mean <= 0.0:
            return 1.0
        seen = self._step_1.mean / 2.0 / mean
        return (known * seen + _PRIOR_SECONDS) / (known + _PRIOR_SECONDS)


class _Window:
    """Sum and number of the known values among the last `seconds`; integers, so that sums stay exact."""

    def __init__(self, seconds: int) -> None:
        self._values: deque[int | None] = deque(maxlen=seconds)
        self._sum = 0
        self.known = 0

    def add(self, value: int | None) -> None:
        if len(self._values) == self._values.maxlen and (oldest := self._values[0]) is not None:
            self._sum -= oldest
            self.known -= 1
        self._values.append(value)
        if value is not None:
            self._sum += value
            self.known += 1

    @property
    def mean(self) -> float:
        return self._sum / self.known if self.known else 0.0

    @property
    def rate(self) -> float:
        return (self._sum + 0.5) / self.known if self.known else 0.0


def _squared_step(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else (now - before) ** 2
