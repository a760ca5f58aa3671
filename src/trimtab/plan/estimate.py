"""What any plan is expected to do at a rate: latency, accuracy, goodput and cost. Every policy and report asks here.

Both latency models and their validity are stated in `plan.latency`. Tasks add up along the longest path of the DAG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from trimtab.errors import PlanRequestError
from trimtab.plan.latency import (
    BatchTime,
    Conditions,
    GroupLatency,
    batch_times,
    group_latency,
    item_scv,
    ratio_of,
)
from trimtab.plan.model import Allocation, LatencyModel, Plan, PlanEstimate, TaskEstimate
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

_STEPS = 30
"""Halvings when a largest rate is looked for: a billionth of the range."""


def estimate(
    plan: Plan,
    pipeline: Pipeline,
    profile: Profile,
    rate_rps: float,
    *,
    latency_model: LatencyModel = "tail",
    arrival_scv: float = 1.0,
    service_ratio: Mapping[str, float] | None = None,
) -> PlanEstimate:
    """Predict what `plan` does at `rate_rps` requests per second at the gateway.

    `goodput_rps` is the rate itself when the SLO is met; else the largest rate at which it would be met, since the
    gateway refuses early what cannot be saved and so holds the admitted rate there (0 when it is met at no rate).
    `latency_s` is infinite when some task cannot keep up.

    Raises:
        PlanRequestError: the rate is negative or not finite, or the plan uses what the pipeline or profile lacks.
    """
    check_rate(rate_rps)
    model = _Model(plan, pipeline, profile, latency_model, arrival_scv, service_ratio or {})
    latency_s, tasks = model.at(rate_rps)
    meets = latency_s <= pipeline.slo.latency_s
    goodput_rps = rate_rps if meets else model.sustained(rate_rps)
    return PlanEstimate(
        latency_s=latency_s,
        latency_model=latency_model,
        meets_slo=meets,
        accuracy=plan_accuracy(plan, pipeline),
        cores=plan.cores,
        goodput_rps=goodput_rps,
        cost_per_hour=None if pipeline.prices.core_hour is None else pipeline.prices.core_hour * plan.cores,
        tasks=tasks,
        extrapolated=model.extrapolated,
    )


def sustained_rate(
    plan: Plan,
    pipeline: Pipeline,
    profile: Profile,
    *,
    latency_model: LatencyModel = "tail",
    arrival_scv: float = 1.0,
    service_ratio: Mapping[str, float] | None = None,
) -> float:
    """The plan's capacity: the largest rate within the SLO, requests per second; 0 when it is met at no rate."""
    model = _Model(plan, pipeline, profile, latency_model, arrival_scv, service_ratio or {})
    return model.sustained(math.inf)


def plan_accuracy(plan: Plan, pipeline: Pipeline) -> float:
    """Product over the tasks of the traffic-weighted mean accuracy of their allocations (PAS as a fraction)."""
    accuracy = 1.0
    for name, task in pipeline.tasks.items():
        accuracy *= sum(a.share * task.variants[a.variant].accuracy for a in plan.tasks[name].allocations)
    return accuracy


def check_rate(rate_rps: float) -> None:
    """Refuse a rate that means nothing. 0 means no traffic: the plan that would answer a lone request.

    Raises:
        PlanRequestError: NaN, infinite or negative.
    """
    if not 0.0 <= rate_rps < math.inf:
        raise PlanRequestError(
            "the arrival rate has no meaning",
            where="rate",
            got=f"{rate_rps}",
            wanted="requests per second, a finite number of at least 0",
        )


class _Model:
    """A plan with everything about it that does not depend on the rate."""

    def __init__(
        self,
        plan: Plan,
        pipeline: Pipeline,
        profile: Profile,
        latency_model: LatencyModel,
        arrival_scv: float,
        service_ratio: Mapping[str, float],
    ) -> None:
        self._pipeline, self._latency_model, self._arrival_scv = pipeline, latency_model, arrival_scv
        self._visits = pipeline.visits()
        notes: list[str] = []
        self._groups: dict[str, list[tuple[tuple[BatchTime, ...], int, float]]] = {}
        for name in pipeline.tasks:
            if name not in plan.tasks or not plan.tasks[name].allocations:
                raise PlanRequestError("the plan gives this task nothing", where=f"task {name}")
            self._groups[name] = []
            for allocation in plan.tasks[name].allocations:
                times, extrapolated = _times(name, allocation, pipeline, profile, service_ratio)
                self._groups[name].append((times, allocation.concurrency, allocation.share))
                notes += extrapolated
        self.extrapolated = tuple(dict.fromkeys(notes))

    def at(self, rate_rps: float) -> tuple[float, dict[str, TaskEstimate]]:
        """End-to-end latency in seconds, and every task's part."""
        tasks: dict[str, TaskEstimate] = {}
        done_s: dict[str, float] = {}
        for name, task in self._pipeline.tasks.items():
            tasks[name] = self._task(name, rate_rps)
            reach_s = max((done_s[e.upstream] for e in task.after), default=0.0)
            done_s[name] = reach_s + tasks[name].service_s + tasks[name].waiting_s
        return max(done_s.values()), tasks

    def sustained(self, most_rps: float) -> float:
        """The largest rate up to `most_rps` that meets the SLO, by bisection; 0 when a lone request misses it."""
        slo_s = self._pipeline.slo.latency_s
        capacity_rps = min(t.capacity_rps for t in self.at(0.0)[1].values())
        low, high = 0.0, min(most_rps, capacity_rps)
        if self.at(high)[0] <= slo_s:
            return high
        for _ in range(_STEPS):
            middle = (low + high) / 2.0
            if self.at(middle)[0] <= slo_s:
                low = middle
            else:
                high = middle
        return low

    def _task(self, name: str, rate_rps: float) -> TaskEstimate:
        """The slowest, the busiest and the first to fill of the task's groups."""
        visits = self._visits[name]
        results: list[tuple[GroupLatency, float]] = []
        for times, servers, share in self._groups[name]:
            conditions = Conditions(
                rate=rate_rps * visits * share,
                quantile=self._pipeline.slo.quantile,
                arrival_scv=item_scv(self._arrival_scv, visits),
                model=self._latency_model,
            )
            results.append((group_latency(times, servers, conditions), share))
        slowest = max((result for result, _ in results), key=lambda r: r.total_s)
        return TaskEstimate(
            service_s=slowest.service_s,
            waiting_s=slowest.waiting_s,
            utilisation=max(result.utilisation for result, _ in results),
            capacity_rps=min(result.capacity / (visits * share) for result, share in results if share > 0.0),
        )


def _times(
    task: str, allocation: Allocation, pipeline: Pipeline, profile: Profile, service_ratio: Mapping[str, float]
) -> tuple[tuple[BatchTime, ...], tuple[str, ...]]:
    """Service times of an allocation, and what had to be extrapolated."""
    where = f"task {task}, variant {allocation.variant}"
    known = profile.variants.get(task, {})
    if allocation.variant not in pipeline.tasks[task].variants or allocation.variant not in known:
        raise PlanRequestError(
            "the plan uses a variant that the pipeline or its profile lacks",
            where=where,
            wanted=f"one of {', '.join(v for v in pipeline.tasks[task].variants if v in known)}",
        )
    try:
        return batch_times(
            known[allocation.variant],
            allocation.cores,
            allocation.threads,
            allocation.batch,
            pipeline.slo.quantile,
            ratio_of(service_ratio, task),
        )
    except KeyError:
        measured = ", ".join(f"{c} cores × {t} threads" for c, t in known[allocation.variant].shapes())
        raise PlanRequestError(
            "the plan uses a shape that was not measured",
            where=where,
            got=f"{allocation.cores} cores × {allocation.threads} threads",
            wanted=f"one of {measured or 'none: nothing was measured'}",
        ) from None
