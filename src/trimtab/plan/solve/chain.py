"""Exact optimum over a chain: one choice per stage, latencies, cores, memory and batch sizes add, accuracies multiply.

Both objectives come down to `solve.labels`, which maximises sums. `accurate-under-budget` is the largest Σ log a, then
the least cost. `weighted` is g(L) - C with L = Σ log a, g(L) = α·e^L and C = β·cores + δ·Σ batch. It is convex in
(L, -C), so its optimum is a supported point: it also maximises θ·L - C for θ = g'(L). A few θ find it; see `_weighted`.
The solver sees numbers only. Criteria that cannot bind are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.plan.solve.dual import Floats
from trimtab.plan.solve.labels import Stage, best_path
from trimtab.spec.model import Objective

_RELATIVE = 1e-12
"""Rounding that a sum of seconds is forgiven when it is compared with its bound."""
_CLOSED = 1e-10
"""Relative gap at which an interval of θ holds nothing better."""
_LEAST_ACCURACY = 1e-300
"""Accuracy 0 counts as this, so that it has a logarithm."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of one stage, as numbers."""

    accuracy: float
    latency_s: float
    cores: int
    batch: int
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a chain may take at most."""

    latency_s: float
    cores: int
    memory_bytes: int | None = None


def solve_chain(stages: Sequence[Sequence[Choice]], bounds: Bounds, objective: Objective) -> tuple[int, ...] | None:
    """Indices of the best choices, one a stage; None when nothing fits the bounds.

    `accurate-under-budget`: the largest product of accuracies, then the fewest cores, then the least sum of batches.
    `weighted`: the largest α·product - β·cores - δ·Σ batch. Exact up to rounding; the same input, the same answer.

    Raises:
        ValueError: a weight is negative.
    """
    if not stages or not all(stages):
        return None
    if objective.kind == "weighted":
        return _weighted(stages, bounds, objective)
    return _most_accurate(stages, bounds)


def _most_accurate(stages: Sequence[Sequence[Choice]], bounds: Bounds) -> tuple[int, ...] | None:
    # One core outweighs all batches together, exactly, in integers; cost < weight·(C + 1) just when cores ≤ C.
    weight = 1 + sum(max(c.batch for c in stage) for stage in stages)
    criteria = [[[c.latency_s, weight * c.cores + c.batch, c.memory_bytes] for c in stage] for stage in stages]
    limits = [
        bounds.latency_s * (1.0 + _RELATIVE),
        weight * (bounds.cores + 1) - 1,
        math.inf if bounds.memory_bytes is None else bounds.memory_bytes,
    ]
    tables, kept = _binding(criteria, limits, always=2)
    path = best_path([Stage(_logs(s), t) for s, t in zip(stages, tables, strict=True)], kept, tie=1)
    if path is not None and any(stage[i].accuracy <= _LEAST_ACCURACY for stage, i in zip(stages, path, strict=True)):
        # Then every product within the limits is 0, however many of its factors are: only the cost is left to count.
        return best_path([Stage(np.zeros(len(s)), t) for s, t in zip(stages, tables, strict=True)], kept, tie=1)
    return path


@dataclass(frozen=True, slots=True)
class _Point:
    """A complete choice that maximises θ·L - C."""

    theta: float
    path: tuple[int, ...]
    log_accuracy: float
    cost: float

    @property
    def intercept(self) -> float:
        """θ·L - C, which no choice within the bounds exceeds at this θ."""
        return self.theta * self.log_accuracy - self.cost


def _weighted(stages: Sequence[Sequence[Choice]], bounds: Bounds, objective: Objective) -> tuple[int, ...] | None:
    """Bracket θ = g'(L) by the least and largest L, then bisect.

    Between the supported points of θ₁ < θ₂, every choice lies above both tangents C = θL - intercept. g is convex, so
    g(L) - C is largest at one of the two points or where the tangents cross; if the crossing does not beat the best so
    far, the interval is closed. Otherwise the chord's slope is tried; a chord that meets no other point closes it too.
    """
    if min(objective.alpha, objective.beta, objective.delta) < 0.0:
        raise ValueError(f"weights are not negative, got {objective}")
    criteria = [[[c.latency_s, c.cores, c.memory_bytes] for c in stage] for stage in stages]
    memory = math.inf if bounds.memory_bytes is None else float(bounds.memory_bytes)
    tables, limits = _binding(criteria, [bounds.latency_s * (1.0 + _RELATIVE), bounds.cores, memory], always=1)
    logs = [_logs(stage) for stage in stages]
    costs = [np.array([objective.beta * c.cores + objective.delta * c.batch for c in stage]) for stage in stages]

    def at(theta: float) -> _Point | None:
        rows = zip(logs, costs, tables, strict=True)
        path = best_path([Stage(theta * log - cost, table) for log, cost, table in rows], limits)
        if path is None:
            return None
        log_accuracy = float(sum(log[i] for log, i in zip(logs, path, strict=True)))
        return _Point(theta, path, log_accuracy, float(sum(cost[i] for cost, i in zip(costs, path, strict=True))))

    def worth(point: _Point) -> float:
        return objective.alpha * math.exp(point.log_accuracy) - point.cost

    low = at(objective.alpha * math.exp(sum(float(log.min()) for log in logs)))
    high = at(objective.alpha * math.exp(sum(float(log.max()) for log in logs)))
    if low is None or high is None:
        return None
    best = max(low, high, key=worth)
    open_ = [(low, high)]
    while open_:
        left, right = open_.pop()
        if right.theta - left.theta <= _CLOSED * right.theta or right.log_accuracy - left.log_accuracy <= _CLOSED:
            continue
        crossing = (right.intercept - left.intercept) / (right.theta - left.theta)
        could = objective.alpha * math.exp(crossing) - (left.theta * crossing - left.intercept)
        if could <= worth(best) + _CLOSED * (1.0 + abs(worth(best))):
            continue
        middle = at((right.cost - left.cost) / (right.log_accuracy - left.log_accuracy))
        if middle is None or middle.intercept <= middle.theta * left.log_accuracy - left.cost + _CLOSED * (
            1.0 + abs(middle.intercept)
        ):
            continue
        best = max(best, middle, key=worth)
        open_ += [(left, middle), (middle, right)]
    return best.path


def _logs(stage: Sequence[Choice]) -> Floats:
    return np.log([max(c.accuracy, _LEAST_ACCURACY) for c in stage])


def _binding(
    criteria: Sequence[Sequence[Sequence[float]]], limits: Sequence[float], always: int
) -> tuple[list[Floats], Floats]:
    """The criteria as arrays, and their limits, without those that cannot bind; the first `always` stay."""
    tables = [np.array(rows, dtype=np.float64) for rows in criteria]
    bound = np.array(limits, dtype=np.float64)
    most = np.sum([table.max(axis=0) for table in tables], axis=0)
    kept = (most > bound) | (np.arange(bound.size) < always)
    return [table[:, kept] for table in tables], bound[kept]
