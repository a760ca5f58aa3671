"""What a policy is, and how its plan becomes a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from trimtab.plan.estimate import estimate
from trimtab.plan.model import LatencyModel, Plan, PlanRequest, PlanResult, Step, TaskPlan
from trimtab.plan.objective import objective_value
from trimtab.plan.words import estimate_words, plan_words
from trimtab.spec.model import Objective


@runtime_checkable
class Policy(Protocol):
    """Proposes plans. A value: the same question gets the same answer, and asking changes nothing."""

    @property
    def name(self) -> str:
        """Short name, for journals, tables and metrics."""
        ...

    @property
    def decides(self) -> frozenset[str]:
        """What it chooses anew, of `variant`, `replicas`, `cores`, `batch`, `resident`, `per-batch variant` and `rate`.

        A policy that decides the rate heeds the scenarios of a request; others plan for `rate_rps`.
        """
        ...

    def propose(self, request: PlanRequest) -> PlanResult:
        """Answer a planning question.

        Raises:
            PlanRequestError: no plan can exist at any rate, or the question has no meaning.
        """
        ...


def result(
    policy: str,
    request: PlanRequest,
    plans: Mapping[str, TaskPlan],
    *,
    feasible: bool,
    reason: str,
    latency_model: LatencyModel,
    objective: Objective,
    notes: tuple[str, ...] = (),
    gap: float = 0.0,
) -> PlanResult:
    """Judge a plan at the request's rate and put it into words. `reason` begins the step's reason."""
    plan = Plan(tasks=dict(plans), rate_rps=request.rate_rps)
    judged = estimate(
        plan,
        request.pipeline,
        request.profile,
        request.rate_rps,
        latency_model=latency_model,
        arrival_scv=request.arrival_scv,
        service_ratio=request.service_ratio,
        current=request.current,
    )
    words = f"{reason}: {estimate_words(judged, request.pipeline, request.rate_rps)}"
    if not judged.meets_slo:
        words += f"; expected to answer {judged.goodput_rps:.4g}/s of it in time"
    steps = [Step("propose", plan_words(plan), words)]
    steps += [Step("propose", "note", note) for note in (*notes, *judged.extrapolated)]
    return PlanResult(
        policy=policy,
        plan=plan,
        feasible=feasible and judged.meets_slo,
        estimate=judged,
        objective=objective_value(plan, judged, request.rate_rps, objective),
        steps=tuple(steps),
        gap=gap,
    )
