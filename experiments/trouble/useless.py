"""Forecasters that are of no use: what they say has nothing to do with what they see."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab import rng
from trimtab.forecast import Distribution, RateForecast

_QUANTILES = (0.5, 0.9, 0.95, 0.99)
_HOLDS_S = 10
"""Seconds for which a random answer stays."""
_RANGE = 3.0
"""Largest factor by which a random answer lies above or below the usual rate."""


class ConstantForecaster:
    """Says the same rate for ever, and is sure of it."""

    name = "constant"

    def __init__(self, rate_rps: float) -> None:
        """`rate_rps`: what it says."""
        self._rate_rps = rate_rps

    def observe(self, counts: Sequence[int | None]) -> None:
        """Learns nothing from it."""

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """The one rate."""
        return _sure(horizon_s, self._rate_rps, "a constant")


class RandomForecaster:
    """Says another rate every ten seconds, from a third to three times the usual one, and is sure of each."""

    name = "random"

    def __init__(self, usual_rps: float, seed: int) -> None:
        """`usual_rps`: the middle, on a scale of ratios, of what it says."""
        self._usual_rps, self._seed, self._seen = usual_rps, seed, 0

    def observe(self, counts: Sequence[int | None]) -> None:
        """Learns how much time has passed."""
        self._seen += len(counts)

    def forecast(self, horizon_s: float) -> RateForecast | None:
        """The rate of these ten seconds, whatever was counted."""
        draws = rng.generator(self._seed, "useless", str(self._seen // _HOLDS_S))
        return _sure(horizon_s, self._usual_rps * _RANGE ** draws.uniform(-1.0, 1.0), "a die")


def _sure(horizon_s: float, rate_rps: float, basis: str) -> RateForecast:
    known = Distribution(dict.fromkeys(_QUANTILES, rate_rps), rate_rps)
    return RateForecast(horizon_s, rate_rps, known.quantiles, 1.0, basis, peak=known, mean=known)
