"""A number to come that is either calm or a jump: the distribution of a mixture of two, each known by quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Piecewise:
    """A distribution whose density is constant between quantiles.

    Its ends are extended by as much as the outermost two quantiles lie apart, so that it has no mass at a point.
    """

    values: Vector
    """Ascending, shape (k + 2,)."""
    shares: Vector
    """Share of the distribution below each value: 0, the quantiles, 1."""

    @classmethod
    def of(cls, quantiles: Sequence[float], values: Vector) -> Piecewise:
        """The one with these values at these ascending quantiles; values that cross are put in order."""
        inner = np.sort(values)
        ends = (2.0 * inner[0] - inner[1], 2.0 * inner[-1] - inner[-2])
        tiny = 1e-9 * (1.0 + abs(float(inner[-1]))) * np.arange(len(inner) + 2)  # strictly ascending
        return cls(np.concatenate(([ends[0]], inner, [ends[1]])) + tiny, np.array([0.0, *quantiles, 1.0]))

    def share_below(self, values: Vector) -> Vector:
        """Distribution function at `values`."""
        below: Vector = np.interp(values, self.values, self.shares)
        return below

    def mean(self) -> float:
        """Expectation: each piece at its middle."""
        middles = 0.5 * (self.values[1:] + self.values[:-1])
        return float((np.diff(self.shares) * middles).sum())


def mixture_quantiles(
    calm: Piecewise, jump: Piecewise, chance: float | Sequence[float], quantiles: Sequence[float]
) -> Vector:
    """Values at `quantiles` of: with probability `chance` a jump, else calm. Exact, as both are piecewise linear.

    Each quantile may have a chance of its own; with one for all they are those of one distribution.
    """
    knots = np.sort(np.concatenate((calm.values, jump.values)))
    below_calm, below_jump = calm.share_below(knots), jump.share_below(knots)
    found: Vector = np.array(
        [
            np.interp(q, (1.0 - p) * below_calm + p * below_jump, knots)
            for q, p in zip(quantiles, np.broadcast_to(chance, len(quantiles)), strict=True)
        ]
    )
    return found


def heavier(chance: float, weight: float) -> float:
    """The chance when a jump weighs `weight` times: a quantile of this mixture minimises the pinball loss with jumps
    weighted so (cost-sensitive learning, C. Elkan 2001, theorem 2).
    """
    return weight * chance / (1.0 + (weight - 1.0) * chance)


def log_normal(median: float, spread: float, quantiles: Sequence[float], scores: Sequence[float]) -> Piecewise:
    """A log-normal distribution by its quantiles; `scores` are those of the standard normal."""
    return Piecewise.of(quantiles, np.array([median * math.exp(spread * score) for score in scores]))
