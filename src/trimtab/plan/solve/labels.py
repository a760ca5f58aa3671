"""Exact label setting over a chain: the largest sum of qualities within limits on sums of criteria.

Partial choices are extended stage by stage, and dropped when

- another one is at least as good and takes no more of any criterion (both add up, so whatever completes the worse one
  completes the better one too);
- the least that the later stages take no longer fits the limits;
- even its most favourable completion (`solve.dual`) is no match for a complete choice that is already known.

With two criteria a label costs O(log n).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.plan.solve.dual import DualBound, Floats, dual_bound

_MARGIN = 1e-10
"""Relative: qualities closer than this are equal, for rounding can explain the difference."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The choices of one stage."""

    quality: Floats
    """Shape (O,)."""
    criteria: Floats
    """Shape (O, K); smaller is better."""


def best_path(stages: Sequence[Stage], limits: Floats, tie: int | None = None) -> tuple[int, ...] | None:
    """The choice of each stage with the largest sum of qualities; None when nothing is within the limits.

    Args:
        stages: at least one, none empty.
        limits: shape (K,); a limit may be infinite.
        tie: criterion whose smaller sum decides between equal qualities; None: any of them.
    """
    index = [_front(s.quality, s.criteria) for s in stages]
    lean = [Stage(s.quality[i], s.criteria[i]) for s, i in zip(stages, index, strict=True)]
    least = [s.criteria.min(axis=0) for s in lean]
    if (np.sum(least, axis=0) > limits).any():
        return None
    search = _Search(lean, limits, tie)
    quality, criteria = np.zeros(1), np.zeros((1, limits.size))
    origins: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for i, stage in enumerate(lean):
        parent, choice = np.divmod(np.arange(quality.size * stage.quality.size), stage.quality.size)
        quality, criteria = quality[parent] + stage.quality[choice], criteria[parent] + stage.criteria[choice]
        left = np.sum(least[i + 1 :], axis=0) if i + 1 < len(lean) else np.zeros(limits.size)
        promising = search.promising(i, quality, criteria, left)
        kept = promising[_front(quality[promising], criteria[promising])]
        origins.append((parent[kept], choice[kept]))
        quality, criteria = quality[kept], criteria[kept]
        if not kept.size:
            return None if search.known is None else _as_given(search.known, index)
    at = _best(quality, None if tie is None else criteria[:, tie])
    path: list[int] = []
    for parents, choices in reversed(origins):
        path.append(int(choices[at]))
        at = int(parents[at])
    return _as_given(tuple(reversed(path)), index)


class _Search:
    """What is known before the search: a bound for every label, and a complete choice to beat."""

    def __init__(self, stages: Sequence[Stage], limits: Floats, tie: int | None) -> None:
        self._limits, self._tie = limits, tie
        self._limited = np.isfinite(limits) & (limits > 0.0)
        self._dual: DualBound = dual_bound([s.quality for s in stages], [self._shares(s.criteria) for s in stages])
        self.known = self._dual.incumbent
        self._quality, self._cost = -np.inf, np.inf
        if self.known is not None:
            chosen = [(s.quality[i], s.criteria[i]) for s, i in zip(stages, self.known, strict=True)]
            used = np.sum([criteria for _, criteria in chosen], axis=0)
            if (used <= limits).all():
                self._quality = float(sum(quality for quality, _ in chosen))
                self._cost = np.inf if tie is None else float(used[tie])
            else:
                self.known = None

    def promising(self, stage: int, quality: Floats, criteria: Floats, left: Floats) -> NDArray[np.int64]:
        """Labels after `stage` that fit the limits with the least that is `left`, and may still beat what is known."""
        least = criteria + left
        reach = self._dual.reach(stage, quality, self._shares(criteria))
        margin = _MARGIN * (1.0 + abs(self._quality)) if self.known is not None else 0.0
        fine = reach > self._quality + margin
        if self._tie is not None:
            fine |= (reach >= self._quality - margin) & (least[:, self._tie] <= self._cost)
        return np.flatnonzero(fine & (least <= self._limits).all(axis=1))

    def _shares(self, criteria: Floats) -> Floats:
        """The limited criteria as shares of their limits."""
        return np.asarray(criteria[:, self._limited] / self._limits[self._limited])


def _best(quality: Floats, cost: Floats | None) -> int:
    """The best label; of those whose quality is the best but for rounding, the one of least cost."""
    if cost is None:
        return int(np.argmax(quality))
    most = float(quality.max())
    return int(np.argmin(np.where(quality >= most - _MARGIN * (1.0 + abs(most)), cost, np.inf)))


def _as_given(path: tuple[int, ...], index: Sequence[NDArray[np.int64]]) -> tuple[int, ...]:
    return tuple(int(positions[i]) for positions, i in zip(index, path, strict=True))


def _front(quality: Floats, criteria: Floats) -> NDArray[np.int64]:
    """Indices of those that no other one dominates, the best first; of equal ones, the first."""
    order = np.lexsort((*criteria.T[::-1], -quality))
    if criteria.shape[1] == 1:
        least = np.minimum.accumulate(criteria[order, 0])
        return order[np.concatenate(([True], criteria[order[1:], 0] < least[:-1]))] if order.size else order
    if criteria.shape[1] == 2:
        return order[_staircase(criteria[order, 0].tolist(), criteria[order, 1].tolist())]
    kept: list[int] = []
    table = np.empty_like(criteria)
    for i in order.tolist():
        if not (table[: len(kept)] <= criteria[i]).all(axis=1).any():
            table[len(kept)] = criteria[i]
            kept.append(i)
    return np.array(kept, dtype=np.int64)


def _staircase(firsts: list[float], seconds: list[float]) -> list[int]:
    """Positions that no earlier pair matches in both: the pairs seen form a staircase, one up, the other down."""
    kept: list[int] = []
    steps: list[float] = []
    heights: list[float] = []
    for position, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
        i = bisect.bisect_right(steps, first)
        if i and heights[i - 1] <= second:
            continue
        kept.append(position)
        start = stop = bisect.bisect_left(steps, first)
        while stop < len(heights) and heights[stop] >= second:
            stop += 1
        steps[start:stop] = [first]
        heights[start:stop] = [second]
    return kept
