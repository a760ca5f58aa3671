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
horizon. Work and memory per second are constant.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import islice
from statistics import NormalDist

from trimtab.forecast.model import RateForecast

_FAST_S, _MEDIUM_S, _SLOW_S, _SPREAD_S, _LAG_S = 2, 5, 15, 60, 5
_STANDARD_ERRORS = 3.0
_PRIOR_SECONDS = 20
"""Weight, in seconds of data, of the belief that arrivals are Poisson."""
_UNIT_SCORES = {q: NormalDist().inv_cdf((1.0 + q) / 2.0) for q in (0.5, 0.75, 0.9, 0.95, 0.99)}


class QuantileForecaster:
    """Recent level with quantiles from its standard error and from how the rate wandered; stated at the top."""

    name = "quantile"

    def __init__(self) -> None:
        self._counts: deque[int | None] = deque(maxlen=_SPREAD_S + _LAG_S)

    def observe(self, counts: Sequence[int | None]) -> None:
        """Take in one count per second, oldest first; None is a second of which nothing is known."""
        self._counts.extend(counts)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """Quantiles of the highest rate within the horizon; None when the last 15 s hold no count."""
        if not self._known(_SLOW_S):
            return None
        level, seconds, basis = self._level()
        neighbours, apart = self._unrest(1), self._unrest(_LAG_S)
        wandering = 2.0 * level * max(0.0, apart - neighbours) / (_LAG_S - 1)
        spread = math.sqrt(level / seconds + wandering * horizon_s)
        return RateForecast(
            horizon_s=horizon_s,
            level_rps=level,
            quantiles_rps={q: level + score * spread for q, score in _UNIT_SCORES.items()},
            burstiness=neighbours,
            basis=basis,
        )

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
