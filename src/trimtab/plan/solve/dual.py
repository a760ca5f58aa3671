"""How good can a partial choice still become? An upper bound by Lagrangian relaxation of the limits.

For any multipliers m ≥ 0, Σ over stages of max (quality - m·w) + m·1 is at least the best quality within the limits,
where w are a choice's criteria as shares of their limits (H. Everett, Operations Research 11, 1963; M. L. Fisher,
Management Science 27, 1981). The multipliers come from subgradient steps (B. T. Polyak 1969); any would be valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_STEPS = 60


@dataclass(frozen=True, slots=True)
class DualBound:
    """Valid for one chain and its limits."""

    multipliers: Floats
    """Shape (K,), one per limited criterion."""
    best_left: tuple[float, ...]
    """After stage i: Σ over later stages of max (quality - m·w)."""
    most_left: tuple[float, ...]
    """The same for m = 0: the highest qualities, whatever they take."""
    incumbent: tuple[int, ...] | None
    """A good choice within the limits, met on the way; None when none was."""

    def reach(self, stage: int, quality: Floats, shares: Floats) -> Floats:
        """Upper bound on the final quality of labels after `stage`: shape (N,) from (N,) and (N, K)."""
        relaxed = quality + self.best_left[stage] + (1.0 - shares) @ self.multipliers
        return np.minimum(relaxed, quality + self.most_left[stage])


def dual_bound(qualities: Sequence[Floats], shares: Sequence[Floats]) -> DualBound:
    """Multipliers and what follows from them.

    Args:
        qualities: per stage, shape (O,); they add up.
        shares: per stage, shape (O, K): each criterion as a share of its limit.
    """
    multipliers = best = np.zeros(shares[0].shape[1])
    best_value, incumbent, incumbent_value = np.inf, None, -np.inf
    for step in range(_STEPS):
        picks = [int(np.argmax(q - share @ multipliers)) for q, share in zip(qualities, shares, strict=True)]
        slope = 1.0 - np.sum([share[i] for share, i in zip(shares, picks, strict=True)], axis=0)
        reached = float(sum(q[i] for q, i in zip(qualities, picks, strict=True)))
        value = reached + float(multipliers @ slope)
        if value < best_value:
            best_value, best = value, multipliers
        if (slope >= 0.0).all() and reached > incumbent_value:
            incumbent, incumbent_value = tuple(picks), reached
        length = float(slope @ slope)
        aim = incumbent_value if incumbent is not None else best_value - 1.0 / (1 + step)
        if length == 0.0 or value <= aim:
            break
        multipliers = np.maximum(0.0, multipliers - (value - aim) / length * slope)
    relaxed = [float(np.max(q - share @ best)) for q, share in zip(qualities, shares, strict=True)]
    highest = [float(np.max(q)) for q in qualities]
    return DualBound(
        multipliers=best,
        best_left=tuple(sum(relaxed[i + 1 :]) for i in range(len(qualities))),
        most_left=tuple(sum(highest[i + 1 :]) for i in range(len(qualities))),
        incumbent=None if incumbent is None else _improve(incumbent, qualities, shares),
    )


def _improve(picks: tuple[int, ...], qualities: Sequence[Floats], shares: Sequence[Floats]) -> tuple[int, ...]:
    """Swap single choices for better ones that still fit, the largest gain first, until none is left."""
    chosen = list(picks)
    used = np.sum([share[i] for share, i in zip(shares, chosen, strict=True)], axis=0)
    while True:
        gain, where = 1e-12, (-1, -1)
        for stage, (quality, share) in enumerate(zip(qualities, shares, strict=True)):
            gains = quality - quality[chosen[stage]]
            gains[((used - share[chosen[stage]] + share) > 1.0).any(axis=1)] = -np.inf
            best = int(np.argmax(gains))
            if gains[best] > gain:
                gain, where = float(gains[best]), (stage, best)
        if where[0] < 0:
            return tuple(chosen)
        stage, best = where
        used = used - shares[stage][chosen[stage]] + shares[stage][best]
        chosen[stage] = best
