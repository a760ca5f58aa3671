"""InfAdapter's problem for one request, in the numbers of `solve.sets`. What it is is said in `policy`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trimtab.errors import PlanRequestError
from trimtab.plan.model import PlanRequest
from trimtab.plan.policies.infadapter.settings import InfAdapterSettings
from trimtab.plan.policies.infadapter.table import VariantSizes
from trimtab.plan.solve.sets import SetProblem, Sizes


@dataclass(frozen=True, slots=True)
class Question:
    """InfAdapter's problem for one request."""

    table: tuple[VariantSizes, ...]
    """The most accurate variant first."""
    kept: tuple[int, ...]
    """For each variant the index of the size that it has in the plan in force, as one replica; -1: it has none."""
    budget: int
    """B, in cores."""
    longest_load_s: float
    """max rt; 0 where no load time is known."""
    problem: SetProblem
    """The same in numbers, its variants in the order of the table."""

    def load_s(self, picks: Iterable[int]) -> float:
        """LC: the longest load time of the members that are new or change their size, seconds."""
        sizes = zip(self.table, self.kept, picks, strict=True)
        return max((entry.load_s for entry, kept, i in sizes if i >= 0 and i != kept), default=0.0)

    def alone(self, m: int, i: int) -> tuple[int, ...]:
        """The set of variant m in its size i."""
        return tuple(i if other == m else -1 for other in range(len(self.table)))

    def has_room(self, m: int, i: int) -> bool:
        """Whether size i of variant m is within the limits for itself."""
        use = self.problem.variants[m].use[i]
        return bool((use <= np.array(self.problem.limits)).all())


def make_question(
    request: PlanRequest, task: str, settings: InfAdapterSettings, table: tuple[VariantSizes, ...], *, exact: bool
) -> Question:
    """The problem of one task. `exact` is that of `SetProblem`.

    Raises:
        PlanRequestError: the limits leave no room for one replica.
    """
    budget, limits = math.floor(request.limits.cores), _limits(request, task, len(table))
    longest_s = max(entry.load_s for entry in table)
    kept = tuple(_kept(request, task, entry) for entry in table)
    costs = (settings.gamma * entry.load_s / (longest_s or 1.0) for entry in table)
    # A rate that every size carries is as good as any other such rate, and this one is not 0.
    least = min(size.rate_rps for entry in table for size in entry.sizes) / 2.0
    return Question(
        table=table,
        kept=kept,
        budget=budget,
        longest_load_s=longest_s,
        problem=SetProblem(
            variants=tuple(_sizes(*each, limits) for each in zip(table, kept, costs, strict=True)),
            demand=max(request.rate_rps, least),
            cores=budget,
            alpha=settings.alpha,
            price=settings.beta / budget,
            limits=tuple(limits.values()),
            exact=exact,
        ),
    )


def _limits(request: PlanRequest, task: str, variants: int) -> dict[str, float]:
    """The limits beside the cores that can bind: groups, bytes, money per hour."""
    limits = request.limits
    groups = limits.max_allocations_per_task
    groups = groups if limits.replicas is None else min(groups, limits.replicas)
    if groups < 1 or limits.replicas_per_task < 1:
        raise PlanRequestError(
            "the limits leave no room for one replica",
            where=f"task {task}",
            got=f"{limits.replicas_per_task} replicas per task, {groups} groups of replicas",
        )
    found = {
        "groups": float(groups) if groups < variants else None,
        "memory": limits.memory_bytes,
        "money": limits.cost_per_hour,
    }
    return {name: float(limit) for name, limit in found.items() if limit is not None}


def _sizes(entry: VariantSizes, kept: int, load: float, limits: dict[str, float]) -> Sizes:
    """The variant's sizes in numbers; all but the one at `kept` cost `load`."""
    count = len(entry.sizes)
    columns = {
        "groups": [1.0] * count,
        "memory": [float(entry.memory_bytes)] * count,
        "money": [size.money_per_hour for size in entry.sizes],
    }
    return Sizes(
        accuracy=entry.accuracy,
        cores=np.array([size.cores for size in entry.sizes], dtype=np.int64),
        rate=np.array([size.rate_rps for size in entry.sizes], dtype=np.float64),
        load=np.array([0.0 if i == kept else load for i in range(count)], dtype=np.float64),
        use=np.array([columns[name] for name in limits], dtype=np.float64).reshape(len(limits), count).T,
    )


def _kept(request: PlanRequest, task: str, entry: VariantSizes) -> int:
    before = request.current.tasks.get(task) if request.current is not None else None
    groups = before.allocations if before is not None else ()
    held = {(g.cores, g.threads) for g in groups if g.variant == entry.variant and g.replicas == 1}
    return next((i for i, size in enumerate(entry.sizes) if (size.cores, size.threads) in held), -1)
