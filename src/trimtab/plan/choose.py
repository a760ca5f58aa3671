"""From a planning question to the best plan: options of every task, the exact solver, and what if nothing fits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Allocation, PlanRequest
from trimtab.plan.options import Rules, candidates
from trimtab.plan.search import Search, fastest
from trimtab.plan.tables import task_table
from trimtab.spec.model import Objective

_RATE_TOLERANCE = 1e-3
"""Relative width at which the search for the largest rate that can be held stops."""
_LEAST_BAD = Objective(kind="accurate-under-budget")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Allocations of every task, in the pipeline's order."""

    allocations: dict[str, tuple[Allocation, ...]]
    rate_rps: float
    """The rate that they were found for: the one asked for, or the largest that can be held."""
    feasible: bool
    considered: int
    """Options looked at for the answer."""
    value: float = -math.inf
    """What counts first: accuracy, -cost or the weighted sum."""
    gap: float = 0.0
    """How much better that could still be at most, as proved."""


def check_request(request: PlanRequest, rules: Rules) -> None:
    """Refuse a question that no plan can answer at any rate.

    Raises:
        PlanRequestError: the rate has no meaning, some task has nothing to choose from, the limits are too small for
            one replica of every task, or the objective lacks what it needs.
    """
    check_rate(request.rate_rps)
    pipeline, limits = request.pipeline, request.limits
    if not request.arrival_scv >= 0.0 or math.isinf(request.arrival_scv):
        raise PlanRequestError(
            "the variability of arrivals has no meaning",
            where="arrival_scv",
            got=f"{request.arrival_scv}",
            wanted="a finite number of at least 0",
        )
    least_cores, least_memory = 0, 0
    for task in pipeline.tasks:
        names = candidates(request, task, rules)
        table = task_table(pipeline, request.profile, task)
        known = [table.variants.index(name) for name in names]
        least_cores += int(table.cores[np.isin(table.variant, known)].min())
        least_memory += int(table.memory_bytes[known].min())
    if limits.replicas_per_task < 1 or least_cores > limits.cores:
        raise PlanRequestError(
            "the core limit is too small for any plan: every task needs a replica of at least one measured shape",
            where=f"pipeline {pipeline.name}",
            got=f"{limits.cores:g} cores, {limits.replicas_per_task} replicas per task",
            wanted=f"at least {least_cores} cores for {len(pipeline.tasks)} tasks",
            next_step="raise budget.cores, or give the pipeline a machine with more cores",
        )
    if limits.memory_bytes is not None and least_memory > limits.memory_bytes:
        raise PlanRequestError(
            "the memory limit is too small for any plan",
            where=f"pipeline {pipeline.name}",
            got=f"{limits.memory_bytes} bytes",
            wanted=f"at least {least_memory} bytes for the smallest variant of every task",
            next_step="raise budget.memory",
        )
    _check_objective(request)


def _check_objective(request: PlanRequest) -> None:
    objective, prices = request.pipeline.objective, request.pipeline.prices
    if objective.kind == "cheapest" and objective.accuracy_floor is None:
        raise PlanRequestError("the cheapest plan needs an accuracy floor", where="objective.accuracy_floor")
    for where, counts in (
        ("objective.cost", objective.cost == "money"),
        ("limits.cost_per_hour", request.limits.cost_per_hour is not None),
    ):
        if counts and not prices.known:
            raise PlanRequestError(
                "money counts, and nothing has a price", where=where, next_step="state prices, or count cores"
            )


def choose(request: PlanRequest, objective: Objective, rules: Rules, lowest_rps: float | None = None) -> Chosen:
    """The best plan at the request's rate; where none holds the SLO, the most accurate one at the largest rate held.

    Where no rate can be held at all, that of the least latencies. `lowest_rps` as in `options`.

    Raises:
        PlanRequestError: as `check_request`, or no combination fits the limits together.
    """
    check_request(request, rules)
    best = best_at(request, request.rate_rps, objective, rules, lowest_rps)
    return largest_rate(request, request.rate_rps, rules) if best is None else best


def best_at(
    request: PlanRequest, rate_rps: float, objective: Objective, rules: Rules, lowest_rps: float | None = None
) -> Chosen | None:
    """The best plan that holds the SLO at a rate; None where there is none."""
    search = Search(request, rate_rps, objective, rules, lowest_rps)
    best = search.run()
    return (
        None
        if best is None
        else Chosen(best, rate_rps, feasible=True, considered=search.considered, value=search.value, gap=search.gap)
    )


def largest_rate(request: PlanRequest, most_rps: float, rules: Rules) -> Chosen:
    """The most accurate plan at the largest rate up to `most_rps` that can be held, never called feasible.

    Raises:
        PlanRequestError: no combination fits the limits together.
    """
    low, high = 0.0, most_rps
    objective = replace(_LEAST_BAD, cost=request.pipeline.objective.cost)
    best = best_at(request, low, objective, rules)
    while best is not None and high - low > _RATE_TOLERANCE * high:
        middle = (low + high) / 2.0
        found = best_at(request, middle, objective, rules)
        if found is None:
            high = middle
        else:
            low, best = middle, found
    if best is None:
        allocations = fastest(request, rules)
        if allocations is None:
            raise PlanRequestError(
                "no combination of variants fits the limits together",
                where=f"pipeline {request.pipeline.name}",
                next_step="raise budget.cores, budget.memory, budget.replicas or budget.cost_per_hour",
            )
        return Chosen(allocations, 0.0, feasible=False, considered=0)
    return replace(best, feasible=False, gap=0.0)
