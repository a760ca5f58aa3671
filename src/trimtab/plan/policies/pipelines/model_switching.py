"""Model-Switching: on fixed hardware, the variant that makes the most answers that are right and in time.

    argmax over m of a_m · p_m(λ),      p_m(λ) = P(response ≤ SLO's bound) of variant m at rate λ

a_m · p_m is the *effective accuracy*. All variants are resident in every replica, so switching is instant; replicas,
cores and batch stay as they are. Asked every 2 s, for the rate that was measured.

Source: Zhang et al., "Model-Switching: Dealing with Fluctuating Workloads in Machine-Learning-as-a-Service Systems",
HotCloud 2020; the interval is one of a few seconds, and that all variants are resident is from memory. There p_m is
measured for every load before. Here it comes from the tail model (`plan.latency`): p_m(λ) is the largest quantile
whose latency is within the bound, by bisection, for Poisson arrivals and the service times as profiled; it is 0 where
the replicas cannot keep up. Where it is 0 for all, the variant that sustains most is taken.

Published for a single task, and refused for several. Ours: the hardware is `replicas` replicas of `cores` cores.
Absent, the cores follow the rule of `policies.fixed` for the most accurate variant, and the replicas are all that fit
the limits with every variant loaded. Variants that were not measured in that shape are not considered. A plant that
cannot hold several variants in a replica has just the one in use, and every switch loads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import check_rate, estimate, sustained_rate
from trimtab.plan.latency import is_within
from trimtab.plan.model import Allocation, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.fixed import Fixed, FixedSettings, fixed_choice, measured_shapes
from trimtab.plan.policies.pinned import check_positive, fits
from trimtab.plan.policies.settings import override

_STEPS = 20
"""Halvings of the quantile: a millionth."""
_LEAST, _MOST = 0.001, 0.999999
"""Quantiles that are looked at; below the first p is 0, above the last it is 1."""


@dataclass(frozen=True, slots=True)
class ModelSwitchingSettings:
    """The hardware."""

    cores: int | None = None
    """Cores of one replica; None: by the rule above."""
    replicas: int | None = None
    """Replicas; None: all that fit."""
    batch: int = 1
    """Largest batch."""

    def __post_init__(self) -> None:
        check_positive(cores=self.cores, replicas=self.replicas, batch=self.batch)


class ModelSwitchingPolicy:
    """The variant of the highest effective accuracy."""

    name = "model-switching"
    decides = frozenset({"variant"})
    defaults = ModelSwitchingSettings()
    rhythm = Rhythm(every_s=2.0, horizon_s=2.0, forecaster="last")

    def __init__(self, settings: ModelSwitchingSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults

    def propose(self, request: PlanRequest) -> PlanResult:
        """The fixed hardware with the best variant.

        Raises:
            PlanRequestError: the rate has no meaning, the pipeline has several tasks, the settings do not fit it, it
                was not measured, or the limits leave no room for one replica with all variants.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        asked = replace(request, arrival_scv=1.0, service_ratio={})
        plans = _plans(asked, settings)
        scores = {v: effective_accuracy(asked, v, plan) for v, plan in plans.items()}
        if any(scores.values()):
            best = max(plans, key=lambda v: (scores[v], asked.pipeline.tasks[plans[v].task].variants[v].accuracy))
            reason = f"effective accuracy {scores[best]:.4f}, the highest of {len(plans)} variants"
        else:
            held = {v: sustained_rate(_whole(asked, p), asked.pipeline, asked.profile) for v, p in plans.items()}
            best = max(reversed(plans), key=lambda v: held[v])
            reason = f"no variant answers in time; this one sustains most of {len(plans)}"
        return result(
            self.name,
            asked,
            {plans[best].task: plans[best]},
            feasible=True,
            reason=reason,
            latency_model="tail",
            objective=request.pipeline.objective,
        )


def effective_accuracy(request: PlanRequest, variant: str, plan: TaskPlan) -> float:
    """Accuracy · p(λ) of a variant on its plan."""
    return request.pipeline.tasks[plan.task].variants[variant].accuracy * in_time(request, plan)


def in_time(request: PlanRequest, plan: TaskPlan) -> float:
    """p(λ): the share of the requests that the tail model takes to be answered within the SLO's bound."""
    slo = request.pipeline.slo

    def is_met(quantile: float) -> bool:
        pipeline = replace(request.pipeline, slo=replace(slo, quantile=quantile))
        judged = estimate(_whole(request, plan), pipeline, request.profile, request.rate_rps)
        return is_within(judged.latency_s, slo.latency_s)

    if not is_met(_LEAST):
        return 0.0
    if is_met(_MOST):
        return 1.0
    low, high = _LEAST, _MOST
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if is_met(middle) else (low, middle)
    return low


def _plans(request: PlanRequest, settings: ModelSwitchingSettings) -> dict[str, TaskPlan]:
    """Variant, the most accurate first, → the fixed hardware that serves it."""
    tasks = list(request.pipeline.tasks)
    if len(tasks) != 1:
        raise PlanRequestError(
            "model-switching plans a single task",
            where=f"pipeline {request.pipeline.name}",
            got=f"{len(tasks)} tasks: {', '.join(tasks)}",
            wanted="a pipeline of one task",
            next_step="use another policy, such as trimtab or loki",
        )
    (task,) = tasks
    cores = {} if settings.cores is None else {task: settings.cores}
    fixed = fixed_choice(request, task, FixedSettings(cores=cores, batch=settings.batch))
    variants = [
        v.name
        for v in request.pipeline.tasks[task].by_accuracy()
        if (fixed.cores, fixed.threads) in measured_shapes(request, task, v.name, settings.batch)
    ]
    resident = tuple(variants) if request.limits.in_place_variants else None
    most = min(math.floor(request.limits.cores / fixed.cores), request.limits.replicas_per_task)
    for replicas in range(min(most, settings.replicas or most), 0, -1):
        plans = {v: _task_plan(task, replace(fixed, variant=v), replicas, resident) for v in variants}
        if all(fits(request, {task: plan}) for plan in plans.values()):
            return plans
    raise PlanRequestError(
        "the limits leave no room for one replica with all variants loaded",
        where=f"task {task}",
        got=f"{request.limits.cores:g} cores, {request.limits.memory_bytes} bytes",
        wanted=f"at least {fixed.cores} cores, and memory for {', '.join(variants)}",
        next_step="raise the budget, or leave variants out",
    )


def _task_plan(task: str, fixed: Fixed, replicas: int, resident: Sequence[str] | None) -> TaskPlan:
    allocation = Allocation(fixed.variant, replicas, fixed.cores, fixed.threads, fixed.batch)
    return TaskPlan(task, (allocation,), tuple(resident or (fixed.variant,)))


def _whole(request: PlanRequest, plan: TaskPlan) -> Plan:
    return Plan({plan.task: plan}, request.rate_rps)
