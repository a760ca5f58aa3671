"""Exact optimum over a chain: one choice per stage, latencies, cores, memory and batch sizes add, accuracies multiply.

Label setting with dominance: a partial choice is dropped when another one is at least as accurate and takes no more of
anything that still matters. Accuracies multiply and everything else adds, so whatever completes the worse label
completes the better one too, and the optimum of any objective that only improves with accuracy and only worsens with
the rest survives. Labels that cannot be completed within the bounds are dropped as well. The solver sees numbers only.

Criteria that cannot bind are left out of the comparison; with two left (latency, cost) a label costs O(log n).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.spec.model import Objective

_RELATIVE = 1e-12
"""Rounding that a sum of seconds is forgiven when it is compared with its bound."""


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


@dataclass(frozen=True, slots=True)
class _Label:
    accuracy: float
    criteria: tuple[float, ...]
    """latency, cost, then those of cores and memory that can bind."""
    path: tuple[int, ...]


def solve_chain(stages: Sequence[Sequence[Choice]], bounds: Bounds, objective: Objective) -> tuple[int, ...] | None:
    """Indices of the best choices, one a stage; None when nothing fits the bounds.

    `accurate-under-budget`: the largest product of accuracies, then the fewest cores, then the least sum of batches.
    `weighted`: the largest α·product - β·cores - δ·Σ batch. Exact up to rounding. Among equals, the first by index.
    """
    if not all(stages):
        return None
    costs = _Costs(stages, bounds, objective)
    labels = [_Label(1.0, costs.nothing, ())]
    for i, stage in enumerate(stages):
        rows = [(choice.accuracy, costs.of(choice)) for choice in stage]
        left = costs.left_after[i]
        extended = []
        for label in labels:
            for j, (accuracy, criteria) in enumerate(rows):
                total = tuple(a + b for a, b in zip(label.criteria, criteria, strict=True))
                if all(value <= bound for value, bound in zip(total, left, strict=True)):
                    extended.append(_Label(label.accuracy * accuracy, total, (*label.path, j)))
        labels = _front(extended)
    if not labels:
        return None
    return min(labels, key=lambda label: (*costs.worth(label), label.path)).path


class _Costs:
    """Which criteria matter, their bounds, and how a finished label is judged."""

    def __init__(self, stages: Sequence[Sequence[Choice]], bounds: Bounds, objective: Objective) -> None:
        self._objective = objective
        self._weighted = objective.kind == "weighted"
        # In the lexicographic objective one core outweighs all batches together: exact in integers.
        self._core_weight = 1 + sum(max(c.batch for c in stage) for stage in stages)
        most_cores = sum(max(c.cores for c in stage) for stage in stages)
        most_memory = sum(max(c.memory_bytes for c in stage) for stage in stages)
        # The lexicographic cost bounds cores by itself: cost < weight·(C + 1) exactly when cores ≤ C.
        self._cores_bind = self._weighted and most_cores > bounds.cores
        self._memory_binds = bounds.memory_bytes is not None and most_memory > bounds.memory_bytes
        limits = [bounds.latency_s * (1.0 + _RELATIVE)]
        limits.append(float("inf") if self._weighted else float(self._core_weight * (bounds.cores + 1) - 1))
        if self._cores_bind:
            limits.append(float(bounds.cores))
        if self._memory_binds and bounds.memory_bytes is not None:
            limits.append(float(bounds.memory_bytes))
        self.nothing = tuple(0.0 for _ in limits)
        least = [[min(column) for column in zip(*(self.of(c) for c in stage), strict=True)] for stage in stages]
        self.left_after = [
            [limit - sum(row[k] for row in least[i + 1 :]) for k, limit in enumerate(limits)]
            for i in range(len(stages))
        ]

    def of(self, choice: Choice) -> tuple[float, ...]:
        """The criteria of one choice; smaller is better in each."""
        if self._weighted:
            cost = self._objective.beta * choice.cores + self._objective.delta * choice.batch
        else:
            cost = float(self._core_weight * choice.cores + choice.batch)
        criteria = [choice.latency_s, cost]
        if self._cores_bind:
            criteria.append(float(choice.cores))
        if self._memory_binds:
            criteria.append(float(choice.memory_bytes))
        return tuple(criteria)

    def worth(self, label: _Label) -> tuple[float, ...]:
        """Smaller is better."""
        if self._weighted:
            return (label.criteria[1] - self._objective.alpha * label.accuracy,)
        return (-label.accuracy, label.criteria[1])


def _front(labels: list[_Label]) -> list[_Label]:
    """The labels that no other one dominates; of equal ones, the first."""
    labels.sort(key=lambda label: (-label.accuracy, *label.criteria, label.path))
    if labels and len(labels[0].criteria) == 2:
        return _front_of_two(labels)
    kept: list[_Label] = []
    table = np.empty((len(labels), len(labels[0].criteria) if labels else 0))
    for label in labels:
        if not (table[: len(kept)] <= label.criteria).all(axis=1).any():
            table[len(kept)] = label.criteria
            kept.append(label)
    return kept


def _front_of_two(labels: list[_Label]) -> list[_Label]:
    """As `_front` for two criteria: those seen so far form a staircase, latency up and cost down."""
    kept: list[_Label] = []
    latencies: list[float] = []
    costs: list[float] = []
    for label in labels:
        latency, cost = label.criteria
        i = bisect.bisect_right(latencies, latency)
        if i and costs[i - 1] <= cost:
            continue
        kept.append(label)
        start = bisect.bisect_left(latencies, latency)
        stop = start
        while stop < len(costs) and costs[stop] >= cost:
            stop += 1
        latencies[start:stop] = [latency]
        costs[start:stop] = [cost]
    return kept
