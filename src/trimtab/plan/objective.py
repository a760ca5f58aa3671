"""What makes one plan better than another, as a value that can be compared and shown."""

from __future__ import annotations

from trimtab.errors import PlanRequestError
from trimtab.plan.latency import is_within
from trimtab.plan.model import ObjectiveValue, Plan, PlanEstimate
from trimtab.spec.model import Objective, Pipeline

_SAME = 1e-9


def objective_value(plan: Plan, estimate: PlanEstimate, rate_rps: float, objective: Objective) -> ObjectiveValue:
    """The objective of a plan.

    Its parts are `held`, the share of the rate that the plan holds within the SLO, which comes first in every kind;
    `accuracy`, `cores`, `cost` (cores, or money per hour, as the objective says), `load_s`, `batches` (the sum of batch
    sizes) and, for `cheapest`, `floor`. The value, larger for the better plan, is the accuracy for
    `accurate-under-budget`, -cost for `cheapest`, and α·accuracy - β·cost - γ·load_s - δ·batches for `weighted` (γ 0:
    IPA, Journal of Systems Research 4(1), 2024; δ 0: InfAdapter, EuroMLSys 2023). `criteria` says what counts after it.

    Raises:
        PlanRequestError: cost means money and the pipeline has no prices, or `cheapest` has no floor.
    """
    held = 1.0 if estimate.meets_slo else (estimate.goodput_rps / rate_rps if rate_rps > 0.0 else 0.0)
    cost = float(estimate.cores)
    if objective.cost == "money":
        if estimate.cost_per_hour is None:
            raise PlanRequestError(
                "the objective counts money, and nothing has a price",
                where="objective.cost" if objective.point_worth is None else "objective.point_worth_per_hour",
                next_step="state prices, or count cores",
            )
        cost = estimate.cost_per_hour
    parts = {
        "held": held,
        "accuracy": estimate.accuracy,
        "cores": float(estimate.cores),
        "cost": cost,
        "load_s": estimate.load_s,
        "batches": float(sum(a.batch for task in plan.tasks.values() for a in task.allocations)),
    }
    if objective.kind == "accurate-under-budget":
        return ObjectiveValue(objective.kind, estimate.accuracy, parts)
    if objective.kind == "cheapest":
        if objective.accuracy_floor is None:
            raise PlanRequestError("the cheapest plan needs an accuracy floor", where="objective.accuracy_floor")
        return ObjectiveValue(objective.kind, -cost, {**parts, "floor": objective.accuracy_floor})
    value = (
        objective.alpha * parts["accuracy"]
        - objective.beta * cost
        - objective.gamma * parts["load_s"]
        - objective.delta * parts["batches"]
    )
    return ObjectiveValue(objective.kind, value, parts)


def core_price(value: ObjectiveValue, objective: Objective) -> float:
    """What a core more takes from the value; 0 for `accurate-under-budget`, where cores have no price."""
    if objective.kind == "accurate-under-budget" or value.parts["cores"] == 0.0:
        return 0.0
    weight = objective.beta if objective.kind == "weighted" else 1.0
    return weight * value.parts["cost"] / value.parts["cores"]


def criteria(value: ObjectiveValue) -> dict[str, float]:
    """What counts, in the order in which it counts; more is better for each.

    `held`; then for `accurate-under-budget` accuracy, cost, batches; for `cheapest` whether the floor is met, cost,
    accuracy, batches; for `weighted` the value alone.
    """
    parts = value.parts
    costs = {"cost": -parts["cost"]}
    accuracy, batches = {"accuracy": parts["accuracy"]}, {"batches": -parts["batches"]}
    if value.kind == "weighted":
        return {"held": parts["held"], "value": value.value}
    if value.kind == "cheapest":
        meets = {"meets_floor": float(is_within(parts["floor"], parts["accuracy"]))}
        return {"held": parts["held"], **meets, **costs, **accuracy, **batches}
    return {"held": parts["held"], **accuracy, **costs, **batches}


def rank(value: ObjectiveValue) -> tuple[float, ...]:
    """A tuple that is larger for the better plan: its criteria in order."""
    return tuple(criteria(value).values())


def net_worth(value: ObjectiveValue, objective: Objective) -> float | None:
    """What a plan's accuracy is worth less what it costs, in what `cost` counts, where the objective states a worth.

    None where it states none, or where the value is that of a policy with weights of its own.
    """
    if objective.point_worth is None or value.kind != "weighted":
        return None
    parts = value.parts
    stated = objective.alpha * parts["accuracy"] - objective.beta * parts["cost"] - objective.delta * parts["batches"]
    return value.value / objective.beta if abs(stated - value.value) <= _SAME * max(1.0, abs(stated)) else None


def worth_words(pipeline: Pipeline) -> str | None:
    """`one point of accuracy (0.01) is worth 4 cores`; None where the objective was not stated so."""
    worth = pipeline.objective.point_worth
    return None if worth is None else f"one point of accuracy (0.01) is worth {cost_words(worth, pipeline)}"


def cost_words(amount: float, pipeline: Pipeline) -> str:
    """`3 cores`, or `0.12 USD an hour`, as the pipeline's objective counts."""
    if pipeline.objective.cost == "money":
        return f"{amount:.4g} {pipeline.prices.currency} an hour"
    return f"{amount:g} core{'' if amount == 1.0 else 's'}"
