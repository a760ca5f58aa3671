"""The baseline forecaster: the recent level, how sure it is, and how much the rate moved lately.

Level: the mean of the last 15 s. When the last 2 s lie three standard errors above it, that is a burst and they are
the level; when the last 5 s lie three below it, the burst is over and they are.

Spread: counts are noise around a rate that wanders. Of two Poisson counts x and y with one rate, (x - y)² ÷ (x + y)
has mean 1, whatever the rate. Its mean over neighbouring seconds of the last minute is therefore the burstiness, and
what it is more at a lag of 5 s has been added by wandering (a variogram: J. von Neumann 1941 for neighbours,
G. Matheron 1963 for lags). Each ratio is capped at 9, three standard errors: a jump is no noise, and the fast window
sees it at once.

The highest rate within the horizon is that of a Brownian path which starts at the level: P(max - start > x) =
2·P(N(0, σ²) > x), by the reflection principle, with σ² = squared standard error of the level + wandering per second ×
horizon. The highest *count* lies above the highest rate: of n independent counts around one rate, all stay below x
with the n-th power of the chance that one does. The two deviations are taken as independent, so their squares add.
The mean over the horizon has the standard error of the level, a third of the wandering (the variance of a Brownian
path's mean) and the noise of its own counts. Work and memory per second are constant.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import islice
from statistics import NormalDist

from trimtab.forecast.model import Distribution, RateForecast

_FAST_S, _MEDIUM_S, _SLOW_S, _SPREAD_S, _LAG_S = 2, 5, 15, 60, 5
_STANDARD_ERRORS = 3.0
_PRIOR_SECONDS = 20
"""Weight, in seconds of data, of the belief that arrivals are Poisson."""
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_NORMAL = NormalDist()
_SCORES = {q: _NORMAL.inv_cdf(q) for q in _QUANTILES}
_UNIT_SCORES = {q: _NORMAL.inv_cdf((1.0 + q) / 2.0) for q in _QUANTILES}
_MEAN_SCORE = math.sqrt(2.0 / math.pi)
"""Mean of the absolute value of a standard normal number."""
_SILENCE_S = 60
"""Silence that is as long as this, and five times the horizon, is expected to go on."""


class QuantileForecaster:
    """Recent level with quantiles from its standard error and from how the rate wandered; stated at the top."""

    name = "quantile"

    def __init__(self) -> None:
        self._counts: deque[int | None] = deque(maxlen=_SPREAD_S + _LAG_S)
        self._silent_s = 0
        self._unrests: tuple[float, float] | None = None
        """What follows from the counts so far, once it was asked for."""

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        self._counts.extend(counts)
        self._unrests = None
        for count in counts:
            if count is not None:
                self._silent_s = 0 if count else self._silent_s + 1

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """Quantiles of the highest rate within the horizon; None when the last 15 s hold no count."""
        if not self._known(_SLOW_S):
            return None
        level, seconds, basis = self._level()
        if self._unrests is None:
            self._unrests = self._unrest(1), self._unrest(_LAG_S)
        neighbours, apart = self._unrests
        wandering = 2.0 * level * max(0.0, apart - neighbours) / (_LAG_S - 1)
        spread = math.sqrt(level / seconds + wandering * horizon_s)
        return RateForecast(
            horizon_s=horizon_s,
            level_rps=level,
            quantiles_rps={q: level + score * spread for q, score in _UNIT_SCORES.items()},
            burstiness=neighbours,
            basis=basis,
            peak=_SILENT if self._silent(horizon_s) else _peak(level, spread, neighbours, horizon_s),
            mean=_mean(level, level / seconds + wandering * horizon_s / 3.0 + neighbours * level / horizon_s),
        )

    def _silent(self, horizon_s: float) -> bool:
        return self._silent_s >= max(_SILENCE_S, 5.0 * horizon_s)

    def _known(self, seconds: int) -> list[int]:
        """The known counts of the last `seconds`."""
        return [count for count in islice(reversed(self._counts), seconds) if count is not None]

    def _level(self) -> tuple[float, int, str]:
        """Rate, the seconds it rests on, and words."""
        fast, medium, slow = self._known(_FAST_S), self._known(_MEDIUM_S), self._known(_SLOW_S)
        rate = _rate(slow)
        if fast and _rate(fast) > rate + _STANDARD_ERRORS * math.sqrt(rate / len(fast)):
            return _rate(fast), len(fast), f"the last {len(fast)} s (a burst)"
        if len(medium) == _MEDIUM_S and _rate(medium) < rate - _STANDARD_ERRORS * math.sqrt(rate / _MEDIUM_S):
            return _rate(medium), _MEDIUM_S, f"the last {_MEDIUM_S} s (a burst has passed)"
        return rate, len(slow), f"the last {len(slow)} s"

    def _unrest(self, lag: int) -> float:
        """Mean of (x - y)² ÷ (x + y) over counts `lag` seconds apart, drawn to 1 while there are few of them."""
        counts = list(self._counts)
        total, pairs = 0.0, 0
        for before, now in zip(counts[:-lag], counts[lag:], strict=True):
            if before is not None and now is not None and before + now > 0:
                total += min((now - before) ** 2 / (now + before), _STANDARD_ERRORS**2)
                pairs += 1
        return (total + _PRIOR_SECONDS) / (pairs + _PRIOR_SECONDS)


def _rate(counts: list[int]) -> float:
    """Requests per second; half a request is added, so that silence is not certainty."""
    return (sum(counts) + 0.5) / len(counts)


_SILENT = Distribution(dict.fromkeys(_QUANTILES, 0.0), 0.0)


def _peak(level: float, spread: float, burstiness: float, horizon_s: float) -> Distribution:
    """The highest of the counts to come."""
    seconds = max(1.0, horizon_s)
    noise = math.sqrt(burstiness * level)
    highest = {q: _NORMAL.inv_cdf(q ** (1.0 / seconds)) * noise for q in _QUANTILES}
    middle, usual = level + _UNIT_SCORES[0.5] * spread + highest[0.5], highest[0.5]
    values = {}
    for q in _QUANTILES:
        away = math.hypot((_UNIT_SCORES[q] - _UNIT_SCORES[0.5]) * spread, highest[q] - usual)
        values[q] = max(0.0, middle + math.copysign(away, q - 0.5))
    # The mean of the highest lies above its median by what it does for the largest normal number: about a tenth of the
    # way from the median to the 99 % quantile.
    expected = level + _MEAN_SCORE * spread + usual + 0.1 * (highest[0.99] - usual)
    return Distribution(values, max(0.0, expected))


def _mean(level: float, variance: float) -> Distribution:
    error = math.sqrt(variance)
    return Distribution({q: max(0.0, level + score * error) for q, score in _SCORES.items()}, level)
