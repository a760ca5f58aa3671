"""The exact front of accuracy and cost: for every cost that is worth its price, the most accurate plan that has it.

By the ε-constraint method (Haimes, Lasdon and Wismer, 1971) on the exact planner: the cheapest plan above a floor of
accuracy, the most accurate of the cheapest ones, then the same with the floor just above that accuracy, until nothing
is more accurate. Every point is a plan that holds the SLO within the limits, and no plan that does so beats it in one
of accuracy and cost without losing in the other. Where replicas step down, accuracy is that of the mix at the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trimtab.plan.choose import Chosen, best_at, check_request
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Plan, PlanEstimate, PlanRequest
from trimtab.plan.options import Rules
from trimtab.plan.residents import with_residents
from trimtab.plan.widen import widened
from trimtab.spec.model import Objective

CostKind = Literal["cores", "money"]

_STEP = 1e-8
"""Part of itself by which the next accuracy is more, at least: ten times the rounding that the planner forgives."""
_SAME = 1e-7
"""Accuracies and costs closer than this part of themselves are equal."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One plan of the front."""

    cost: float
    """Cores, or money per hour."""
    plan: Plan
    estimate: PlanEstimate
    gap: float
    """How much cheaper a plan of this accuracy could be at most, as proved; 0: none is."""


def front(request: PlanRequest, rules: Rules, cost: CostKind = "cores") -> tuple[FrontPoint, ...]:
    """Every plan that is the most accurate one at its cost and the cheapest one at its accuracy, the cheapest first.

    Empty where nothing holds the SLO at the request's rate. The request's scenarios are not looked at.

    Raises:
        PlanRequestError: as `choose.check_request`; for money without prices too.
    """
    points: list[FrontPoint] = []
    # A plan costs what it holds at this rate. What more it holds while cores follow another load is not counted here.
    request = replace(request, limits=replace(request.limits, in_place_cores=False))
    objective = Objective(kind="cheapest", accuracy_floor=0.0, cost=cost)
    check_request(replace(request, pipeline=replace(request.pipeline, objective=objective)), rules)
    while True:
        chosen = best_at(request, request.rate_rps, objective, rules)
        if chosen is None:
            return tuple(points)
        point = _point(request, rules, chosen, cost)
        accuracy = point.estimate.accuracy
        if points and accuracy <= points[-1].estimate.accuracy:
            return tuple(points)
        if points and math.isclose(point.cost, points[-1].cost, rel_tol=_SAME):
            points.pop()
        points.append(point)
        objective = replace(objective, accuracy_floor=accuracy + _STEP * (accuracy or 1.0))


def cost_of(found: PlanEstimate, cost: CostKind) -> float:
    """What a plan costs, in cores or in money per hour; NaN where money is asked for and nothing has a price."""
    if cost == "cores":
        return float(found.cores)
    return math.nan if found.cost_per_hour is None else found.cost_per_hour


def locate(points: Sequence[FrontPoint], found: PlanEstimate, cost: CostKind) -> int | None:
    """Which point is as accurate and as dear as a plan that was found otherwise; None: it is none of them."""
    for i, point in enumerate(points):
        same_cost = math.isclose(cost_of(found, cost), point.cost, rel_tol=_SAME, abs_tol=_SAME)
        if same_cost and math.isclose(found.accuracy, point.estimate.accuracy, rel_tol=_SAME):
            return i
    return None


def _point(request: PlanRequest, rules: Rules, chosen: Chosen, cost: CostKind) -> FrontPoint:
    """The plan with its residents, judged by the rules that it was chosen by: only pools are counted to step down."""
    tasks, _ = with_residents(request, chosen.allocations)
    plan = Plan(widened(request, tasks), request.rate_rps)
    fixed = Plan({name: replace(task, may_use=()) for name, task in plan.tasks.items()}, request.rate_rps)
    found = estimate(
        plan if rules.pooled else fixed,
        request.pipeline,
        request.profile,
        request.rate_rps,
        latency_model=rules.latency_model,
        arrival_scv=request.arrival_scv,
        service_ratio=request.service_ratio,
        current=request.current,
    )
    return FrontPoint(cost_of(found, cost), plan, found, chosen.gap)
