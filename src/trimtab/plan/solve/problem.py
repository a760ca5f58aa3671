"""A planning problem as numbers: for every task a list of choices, of which the solver picks one. No names, no units.

The pipeline's latency is that of the longest path through its DAG; costs and uses add up over the tasks; accuracies
multiply or add up. What a choice stands for (one group of replicas, a mix of two) is the caller's affair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Combine = Literal["product", "sum"]


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of one task; K of them."""

    accuracy: Floats
    """Shape (K,), not negative."""
    latency_s: Floats
    """Shape (K,), not negative."""
    cost: Floats
    """Shape (K,): what the objective pays, not negative."""
    use: Floats
    """Shape (K, R): what each takes of the R limited resources, not negative."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One choice per task, within a latency along every path and within limits on sums of uses."""

    choices: tuple[Choices, ...]
    after: tuple[tuple[int, ...], ...]
    """For each task the tasks directly before it, all earlier in the order."""
    latency_s: float
    limits: Floats
    """Shape (R,); may be infinite."""
    combine: Combine = "product"
    """How the tasks' accuracies make up the pipeline's."""

    def __post_init__(self) -> None:
        if not self.choices or len(self.choices) != len(self.after):
            raise ValueError("choices and after speak of different numbers of tasks, or of none")
        if any(up >= task or up < 0 for task, ups in enumerate(self.after) for up in ups):
            raise ValueError("every task stands after those it depends on")
        resources = self.limits.size
        for table in self.choices:
            if table.use.shape != (table.cost.size, resources):
                raise ValueError(f"uses have the shape {table.use.shape}, wanted {(table.cost.size, resources)}")

    def packed(self, order: Ints) -> Packed:
        """The tasks in the given order, (S,), in flat arrays.

        Raises:
            ValueError: a number is negative or not one, or an accuracy or cost is infinite.
        """
        tables = [self.choices[task] for task in order]
        first = np.zeros(len(tables) + 1, dtype=np.int64)
        np.cumsum([table.cost.size for table in tables], out=first[1:])
        packed = Packed(
            accuracy=_joined([table.accuracy for table in tables]),
            latency_s=_joined([table.latency_s for table in tables]),
            cost=_joined([table.cost for table in tables]),
            use=_joined([table.use for table in tables]),
            first=first,
        )
        for column in (packed.accuracy, packed.latency_s, packed.cost, packed.use):
            if column.size and not column.min() >= 0.0:
                raise ValueError("accuracies, latencies, costs and uses are numbers that are not negative")
        if first[-1] and not math.isfinite(packed.accuracy.max() + packed.cost.max()):
            raise ValueError("accuracies and costs are finite")
        return packed


@dataclass(frozen=True, slots=True)
class Packed:
    """The choices of all tasks in flat arrays; those of the s-th task at `first[s]:first[s + 1]`."""

    accuracy: Floats
    latency_s: Floats
    cost: Floats
    use: Floats
    first: Ints


def _joined(columns: list[Floats]) -> Floats:
    return np.ascontiguousarray(np.concatenate(columns), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class MostAccurate:
    """The highest accuracy; of equal ones the least cost."""


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The least cost with an accuracy of at least `floor`; of equal ones the highest accuracy."""

    floor: float


@dataclass(frozen=True, slots=True)
class Weighted:
    """The largest alpha · accuracy - cost."""

    alpha: float


Goal = MostAccurate | Cheapest | Weighted


@dataclass(frozen=True, slots=True)
class Solution:
    """One choice per task."""

    path: tuple[int, ...]
    accuracy: float
    cost: float
    gap: float = 0.0
    """How much better the goal's first criterion could be at most (accuracy, cost, or the weighted sum), as proved."""

    @property
    def is_exact(self) -> bool:
        """Whether nothing better exists, up to rounding."""
        return self.gap == 0.0


def chain(tasks: int) -> tuple[tuple[int, ...], ...]:
    """`Problem.after` of tasks that run one after another."""
    return tuple((task - 1,) if task else () for task in range(tasks))


def measure(problem: Problem, path: Sequence[int]) -> tuple[float, float, float, Floats]:
    """Accuracy, cost, latency in seconds and uses of one choice per task, by plain sums, as no solver does it."""
    picked = list(zip(problem.choices, path, strict=True))
    accuracies = [float(table.accuracy[i]) for table, i in picked]
    done_s: list[float] = []
    for (table, i), before in zip(picked, problem.after, strict=True):
        done_s.append(max((done_s[up] for up in before), default=0.0) + float(table.latency_s[i]))
    return (
        math.prod(accuracies) if problem.combine == "product" else sum(accuracies),
        float(sum(table.cost[i] for table, i in picked)),
        max(done_s),
        np.sum([table.use[i] for table, i in picked], axis=0),
    )
