"""From a planning question to the best allocations: options of every task, the exact solver, and what if none fits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Allocation, PlanRequest
from trimtab.plan.options import Option, Rules, candidates, options
from trimtab.plan.solve.chain import Bounds, Choice, solve_chain
from trimtab.spec.model import Objective

_RATE_TOLERANCE = 1e-3
"""Relative width at which the search for the largest rate that can be held stops."""
_LEAST_BAD = Objective(kind="accurate-under-budget")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One allocation per task, in the pipeline's order."""

    allocations: dict[str, Allocation]
    rate_rps: float
    """The rate that they were found for: the one asked for, or the largest that can be held."""
    feasible: bool
    considered: int
    """Options looked at for the answer."""


def check_request(request: PlanRequest, rules: Rules) -> None:
    """Refuse a question that no plan can answer at any rate.

    Raises:
        PlanRequestError: the rate has no meaning, the pipeline is no chain, some task has nothing to choose from, or
            the limits are too small for one replica of every task.
    """
    check_rate(request.rate_rps)
    pipeline, limits = request.pipeline, request.limits
    if not pipeline.is_chain():
        raise PlanRequestError(
            "planning needs a chain of tasks; this pipeline branches or joins",
            where=f"pipeline {pipeline.name}",
            wanted="every task after at most one other, and at most one task after each",
        )
    if not request.arrival_scv >= 0.0 or math.isinf(request.arrival_scv):
        raise PlanRequestError(
            "the variability of arrivals has no meaning",
            where="arrival_scv",
            got=f"{request.arrival_scv}",
            wanted="a finite number of at least 0",
        )
    least_cores, least_memory = 0, 0
    for task in pipeline.tasks:
        profiles = [request.profile.variants[task][v] for v in candidates(request, task, rules)]
        least_cores += min(cores for p in profiles for cores, _ in p.shapes())
        least_memory += min(p.memory_bytes or 0 for p in profiles)
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


def choose(request: PlanRequest, objective: Objective, rules: Rules) -> Chosen:
    """The best allocations at the request's rate; where none holds the SLO, those that hold it at the largest rate.

    Where no rate can be held at all, those of the least latency.

    Raises:
        PlanRequestError: as `check_request`, or no combination fits cores and memory together.
    """
    check_request(request, rules)
    best = _solve(request, request.rate_rps, objective, rules)
    if best is not None:
        return best
    return largest_rate(request, request.rate_rps, rules)


def largest_rate(request: PlanRequest, most_rps: float, rules: Rules) -> Chosen:
    """The most accurate allocations at the largest rate up to `most_rps` that can be held, never called feasible."""
    low, high = 0.0, most_rps
    best = _solve(request, low, _LEAST_BAD, rules)
    while best is not None and high - low > _RATE_TOLERANCE * high:
        middle = (low + high) / 2.0
        found = _solve(request, middle, _LEAST_BAD, rules)
        if found is None:
            high = middle
        else:
            low, best = middle, found
    if best is None:
        best = _fastest(request, replace(rules, one_shape=False))
    return Chosen(best.allocations, best.rate_rps, feasible=False, considered=best.considered)


def _solve(request: PlanRequest, rate_rps: float, objective: Objective, rules: Rules) -> Chosen | None:
    stages = [options(request, task, rate_rps, rules) for task in request.pipeline.tasks]
    bounds = Bounds(
        latency_s=request.pipeline.slo.latency_s,
        cores=math.floor(request.limits.cores),
        memory_bytes=request.limits.memory_bytes,
    )
    path = solve_chain([[_choice(o) for o in stage] for stage in stages], bounds, objective)
    if path is None:
        return None
    return Chosen(
        allocations={
            task: stage[i].allocation for task, stage, i in zip(request.pipeline.tasks, stages, path, strict=True)
        },
        rate_rps=rate_rps,
        feasible=True,
        considered=sum(len(stage) for stage in stages),
    )


def _fastest(request: PlanRequest, rules: Rules) -> Chosen:
    """Least latency for a lone request within cores and memory, for where the SLO is shorter than any service.

    Raises:
        PlanRequestError: cores and memory do not suffice together.
    """
    stages = [options(request, task, 0.0, rules) for task in request.pipeline.tasks]
    latest_s = sum(max(o.latency_s for o in stage) for stage in stages)
    bounds = Bounds(latest_s, math.floor(request.limits.cores), request.limits.memory_bytes)
    # Latency takes the place of accuracy: e^(-latency) multiplies where latency adds, and ranks the same way.
    scale_s = latest_s or 1.0
    choices = [
        [replace(_choice(option), accuracy=math.exp(-option.latency_s / scale_s)) for option in stage]
        for stage in stages
    ]
    path = solve_chain(choices, bounds, _LEAST_BAD)
    if path is None:
        raise PlanRequestError(
            "no combination of variants fits the core and memory limits together",
            where=f"pipeline {request.pipeline.name}",
            next_step="raise budget.cores or budget.memory",
        )
    return Chosen(
        allocations={
            task: stage[i].allocation for task, stage, i in zip(request.pipeline.tasks, stages, path, strict=True)
        },
        rate_rps=0.0,
        feasible=False,
        considered=sum(len(stage) for stage in stages),
    )


def _choice(option: Option) -> Choice:
    allocation = option.allocation
    return Choice(option.accuracy, option.latency_s, allocation.total_cores, allocation.batch, option.memory_bytes)
