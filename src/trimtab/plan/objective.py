"""What makes one plan better than another, as a value that can be compared and shown."""

from __future__ import annotations

from trimtab.plan.model import ObjectiveValue, Plan, PlanEstimate
from trimtab.spec.model import Objective


def objective_value(plan: Plan, estimate: PlanEstimate, rate_rps: float, objective: Objective) -> ObjectiveValue:
    """The objective of a plan.

    Holding the SLO comes first in both kinds: `held` is the share of the rate that the plan holds within it.
    `accurate-under-budget` then counts accuracy, cores and the sum of batch sizes in this order; its value is the
    accuracy. `weighted` then counts α·PAS - β·cores - δ·Σ batch (IPA, Journal of Systems Research 4(1), 2024).
    """
    held = 1.0 if estimate.meets_slo else (estimate.goodput_rps / rate_rps if rate_rps > 0.0 else 0.0)
    batches = float(sum(a.batch for task in plan.tasks.values() for a in task.allocations))
    parts = {"held": held, "accuracy": estimate.accuracy, "cores": float(estimate.cores), "batches": batches}
    value = estimate.accuracy
    if objective.kind == "weighted":
        value = objective.alpha * estimate.accuracy - objective.beta * estimate.cores - objective.delta * batches
    return ObjectiveValue(kind=objective.kind, value=value, parts=parts)


def rank(value: ObjectiveValue) -> tuple[float, ...]:
    """A tuple that is larger for the better plan."""
    held, parts = value.parts["held"], value.parts
    if value.kind == "weighted":
        return (held, value.value)
    return (held, parts["accuracy"], -parts["cores"], -parts["batches"])
