"""IPA's choices at a rate, as a problem of numbers: one for every task, variant and batch, in the fewest replicas.

What the two forms are is said in `policy`, their source too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from trimtab.plan.accuracy import variant_scores
from trimtab.plan.latency import core_seconds, group_times
from trimtab.plan.model import Allocation, PlanRequest
from trimtab.plan.policies.ipa.base_allocation import Replicas
from trimtab.plan.policies.ipa.settings import IpaSettings
from trimtab.plan.prices import allocation_cost_per_hour
from trimtab.plan.solve import Choices, Goal, Problem, solve
from trimtab.queueing.batch import formation_wait_first
from trimtab.spec.model import AccuracyModel, Objective

_ROUNDING = 1e-10
"""Relative rounding that λ/h is forgiven before it is rounded up."""
_PRODUCT_TASKS = 3
"""Tasks whose accuracies the published program multiplies."""


@dataclass(frozen=True, slots=True)
class _Option:
    allocation: Allocation
    latency_s: float
    score: float
    memory_bytes: int
    money_per_hour: float


class ChoiceTable:
    """Every choice that IPA has at a rate, as a problem of numbers."""

    def __init__(self, request: PlanRequest, settings: IpaSettings, objective: Objective, replicas: Replicas) -> None:
        self._request, self._settings, self._objective, self._replicas = request, settings, objective, replicas
        self._visits = request.pipeline.visits()
        self._scores = _scores(request, settings)

    def best(self, rate_rps: float, goal: Goal, *, within_slo: bool = True) -> dict[str, Allocation] | None:
        """One allocation per task; None where nothing is within SLO and limits. Without SLO, that of least latency."""
        options = [self._options(task, rate_rps) for task in self._request.pipeline.tasks]
        if not all(options):
            return None
        latest_s = sum(max(o.latency_s for o in task) for task in options)
        problem = self._problem(options, self._latency_s(rate_rps) if within_slo else latest_s)
        if not within_slo:
            problem = _by_speed(problem, latest_s)
        solution = solve(problem, goal)
        if solution is None:
            return None
        return {
            task: some[i].allocation
            for task, some, i in zip(self._request.pipeline.tasks, options, solution.path, strict=True)
        }

    def _latency_s(self, rate_rps: float) -> float:
        """The bound on latency: the SLO, in the as-coded form loosened by its queueing term."""
        slo_s = self._request.pipeline.slo.latency_s
        if self._settings.form == "paper" or rate_rps == 0.0:
            return slo_s
        profiles = [p for variants in self._request.profile.variants.values() for p in variants.values()]
        cap = self._settings.batching_cap or math.inf
        batches = {1, *(point.batch for p in profiles for point in p.points if point.batch <= cap)}
        variants = sum(len(task.variants) for task in self._request.pipeline.tasks.values())
        return slo_s + variants * (len(batches) - 1) / rate_rps

    def _options(self, task: str, rate_rps: float) -> list[_Option]:
        rate = rate_rps * self._visits[task]
        most = min(self._settings.scaling_cap, self._request.limits.replicas_per_task)
        cap = self._settings.batching_cap or math.inf
        found = []
        for variant, replica in self._replicas[task].items():
            for point in replica.points:
                needed = max(1, math.ceil(rate / point.rate_rps * (1.0 - _ROUNDING)))
                count = self._settings.replicas_of(task) or needed
                if point.batch > cap or not needed <= count <= most:
                    continue
                queueing_s = formation_wait_first(rate, point.batch) if self._settings.form == "paper" else 0.0
                allocation = Allocation(variant, count, replica.cores, replica.threads, point.batch)
                memory = self._request.profile.variants[task][variant].memory_bytes or 0
                money = self._money(task, allocation, memory, rate)
                score = self._scores[task][variant]
                found.append(_Option(allocation, point.latency_s + queueing_s, score, memory * count, money))
        return found

    def _money(self, task: str, allocation: Allocation, memory_bytes: int, rate: float) -> float:
        """Price per hour of an allocation; 0 where no limit asks for it."""
        if self._request.limits.cost_per_hour is None:
            return 0.0
        pipeline, a = self._request.pipeline, allocation
        profile = self._request.profile.variants[task][a.variant]
        times, _ = group_times(profile, a.cores, a.threads, a.batch, pipeline.slo.quantile)
        seconds = core_seconds(times, a.cores, a.threads)
        return allocation_cost_per_hour(pipeline.prices, a, memory_bytes, rate, seconds)

    def _problem(self, options: list[list[_Option]], latency_s: float) -> Problem:
        limits = self._request.limits
        place = {task: i for i, task in enumerate(self._request.pipeline.tasks)}
        return Problem(
            choices=tuple(self._choices(task) for task in options),
            after=tuple(
                tuple(place[edge.upstream] for edge in task.after) for task in self._request.pipeline.tasks.values()
            ),
            latency_s=latency_s,
            limits=np.array([limits.cores, *map(_bound, (limits.memory_bytes, limits.replicas, limits.cost_per_hour))]),
            combine="sum" if self._settings.accuracy == "rank-sum" else "product",
        )

    def _choices(self, options: list[_Option]) -> Choices:
        beta, delta = self._objective.beta, self._objective.delta
        return Choices(
            accuracy=np.array([o.score for o in options]),
            latency_s=np.array([o.latency_s for o in options]),
            cost=np.array([beta * o.allocation.total_cores + delta * o.allocation.batch for o in options]),
            use=np.array(
                [[o.allocation.total_cores, o.memory_bytes, o.allocation.replicas, o.money_per_hour] for o in options],
                dtype=np.float64,
            ),
        )


def _scores(request: PlanRequest, settings: IpaSettings) -> dict[str, dict[str, float]]:
    """Task → variant → what it brings to PAS."""
    kind: Mapping[str, AccuracyModel] = {"product": AccuracyModel("product")}
    scored = replace(request.pipeline, accuracy=kind.get(settings.accuracy, AccuracyModel("rank-sum")))
    scores = {task: variant_scores(scored, task) for task in request.pipeline.tasks}
    if settings.accuracy != "product":
        scores = {task: {v: max(s, settings.rank_floor) for v, s in some.items()} for task, some in scores.items()}
    if settings.form == "as-coded" and settings.accuracy != "rank-sum":
        for task in list(scores)[_PRODUCT_TASKS:]:
            scores[task] = dict.fromkeys(scores[task], 1.0)
    return scores


def _by_speed(problem: Problem, latest_s: float) -> Problem:
    """The problem whose accuracy is e^(-latency): it multiplies where latency adds, so the fastest is the best."""
    scale_s = latest_s or 1.0
    choices = tuple(replace(table, accuracy=np.exp(-table.latency_s / scale_s)) for table in problem.choices)
    return replace(problem, choices=choices, combine="product")


def _bound(limit: float | None) -> float:
    return math.inf if limit is None else limit
