"""Quantiles that hold: forecasts are compared with what came, and moved until they are right as often as they say.

Each tracked quantile q has an offset θ, in units of the forecast's own spread. After every outcome y it moves by
γ·(1{y > forecast} - (1 - q)): up a little where the forecast was too low, down much less where it held. Whatever the
data, the share that held then tends to q (adaptive conformal inference, I. Gibbs and E. Candès 2021, eq. 2; as quantile
tracking in A. Angelopoulos, E. Candès and R. Tibshirani 2023, §2.1). The expected value has an offset too: the mean of
its errors so far, newer ones counting more.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""What is forecast and kept right."""
HORIZONS_S = (2, 10, 20, 60, 180, 600)
"""Horizons at which outcomes are compared; offsets between them are interpolated in the logarithm."""
STRIDES_S = (10, 10, 10, 60, 60, 60)
"""How often, on the clock: the published systems ask every ten seconds and every minute."""
_GAIN = 0.04
_BIAS_GAIN = 0.002
_MEMORY = 1000
"""Outcomes over which the share that held is averaged for the warning."""
_TOLERATED, _SIGMAS = 0.03, 5.0
"""A quantile is said not to hold when its share is off by more than this and by so many standard errors."""
_WATCHED = (0.5, 0.9, 0.95)
_MIDDLE = QUANTILES.index(0.5)
_COUNTABLE = 5.0
"""Where fewer are usual, outcomes are small whole numbers: no quantile of them can hold just as often as it says."""


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A forecast that waits for its outcome."""

    ends_s: int
    values: Vector
    """With offsets, shape (quantiles,)."""
    expected: float
    """Without its offset."""
    spread: float
    """Unit of the offsets, requests per second."""


@dataclass(slots=True)
class Track:
    """One horizon's offsets, what is still open, and how well it held."""

    offsets: Vector = field(default_factory=lambda: np.zeros(len(QUANTILES)))
    bias: float = 0.0
    """Mean error of the expected value as the model has it, in units of the spread."""
    open: deque[Pending] = field(default_factory=deque)
    """Forecasts whose outcome is not known yet, oldest first."""
    held: Vector = field(default_factory=lambda: np.array(QUANTILES))
    """Exponentially weighted share of outcomes at or below each quantile."""
    outcomes: int = 0
    watched: int = 0
    """Outcomes that `held` is about."""

    def settle(self, outcome: float) -> None:
        """The oldest open forecast's outcome is known."""
        pending = self.open.popleft()
        # Where both are the same number, as through a night without requests, nothing is learned of how sure it is.
        held = np.where(pending.values == outcome, QUANTILES, outcome < pending.values)
        error = (outcome - pending.expected) / pending.spread
        self.bias += max(_BIAS_GAIN, 1.0 / (self.outcomes + 20)) * (error - self.bias)
        self.offsets += _GAIN * (np.array(QUANTILES) - held)
        self.outcomes += 1
        if pending.values[_MIDDLE] >= _COUNTABLE:
            self.watched += 1
            self.held += (held - self.held) / min(self.watched + 20, _MEMORY)

    def drift(self) -> str | None:
        """What does not hold, in words."""
        if self.watched < _MEMORY // 10:
            return None
        for q in _WATCHED:
            held = float(self.held[QUANTILES.index(q)])
            seen = min(self.watched, _MEMORY)
            # An exponential mean of memory m has the variance of a plain one over about 2·m outcomes.
            error = math.sqrt(q * (1.0 - q) / (2.0 * seen))
            if abs(held - q) > max(_TOLERATED, _SIGMAS * error):
                return f"the {100 * q:g} % quantile held {100 * held:.0f} % of the time lately"
        return None


class Calibration:
    """Offsets by horizon."""

    def __init__(self, offsets: Mapping[int, Vector] | None = None) -> None:
        self.tracks = {h: Track() for h in HORIZONS_S}
        for horizon_s, given in (offsets or {}).items():
            self.tracks[horizon_s].offsets = np.array(given, dtype=np.float64)

    def offsets(self, horizon_s: float) -> Vector:
        """Offsets at a horizon, shape (quantiles,)."""
        low, high, share = _around(horizon_s)
        return (1.0 - share) * self.tracks[low].offsets + share * self.tracks[high].offsets

    def unbiased(self, expected: float, spread: float, horizon_s: float) -> float:
        """The expected value with its offset; not below zero."""
        low, high, share = _around(horizon_s)
        bias = (1.0 - share) * self.tracks[low].bias + share * self.tracks[high].bias
        return max(0.0, expected + bias * spread)

    def apply(self, values: Vector, spread: float, horizon_s: float) -> Vector:
        """Forecast values with their offsets; ascending, none below zero."""
        moved: Vector = np.maximum.accumulate(np.maximum(values + self.offsets(horizon_s) * spread, 0.0))
        return moved

    def due(self, clock_s: int) -> list[int]:
        """Horizons whose turn it is at this second of the clock."""
        return [h for h, stride_s in zip(HORIZONS_S, STRIDES_S, strict=True) if clock_s % stride_s == 0]

    def warning(self, horizon_s: float) -> str | None:
        """What does not hold at the tracked horizon nearest to this one."""
        nearest = min(HORIZONS_S, key=lambda h: abs(math.log(h / horizon_s)))
        return self.tracks[nearest].drift()

    def forget_open(self) -> None:
        """The clock was set: what was forecast before is not compared any more."""
        for track in self.tracks.values():
            track.open.clear()


def _around(horizon_s: float) -> tuple[int, int, float]:
    """The tracked horizons below and above, and how far between them it lies, by logarithm."""
    i = bisect.bisect_left(HORIZONS_S, horizon_s)
    if i == 0 or i == len(HORIZONS_S):
        nearest = HORIZONS_S[min(i, len(HORIZONS_S) - 1)]
        return nearest, nearest, 0.0
    low, high = HORIZONS_S[i - 1], HORIZONS_S[i]
    return low, high, math.log(horizon_s / low) / math.log(high / low)
