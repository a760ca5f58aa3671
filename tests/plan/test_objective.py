from __future__ import annotations

from dataclasses import replace

import pytest

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Allocation, ObjectiveValue, Plan, PlanEstimate, TaskPlan
from trimtab.plan.objective import criteria, objective_value, rank
from trimtab.spec.model import Objective

PLAN = Plan(
    {
        "a": TaskPlan("a", (Allocation("s", 1, 2, 1, 4, 0.5), Allocation("l", 1, 2, 1, 2, 0.5)), ("s", "l")),
        "b": TaskPlan("b", (Allocation("v", 1, 1, 1, 8),), ("v",)),
    },
    10.0,
)
GOOD = PlanEstimate(
    latency_s=0.1, latency_model="tail", meets_slo=True, accuracy=0.8, cores=5, goodput_rps=10.0, cost_per_hour=0.6,
    tasks={}, load_s=7.0,
)  # fmt: skip
MISSES = replace(GOOD, meets_slo=False, goodput_rps=4.0)
CHEAPEST = Objective("cheapest", accuracy_floor=0.75)


def value(objective: Objective, estimate: PlanEstimate = GOOD) -> ObjectiveValue:
    return objective_value(PLAN, estimate, 10.0, objective)


def test_the_parts_are_the_same_for_every_kind() -> None:
    parts = {"held": 1.0, "accuracy": 0.8, "cores": 5.0, "cost": 5.0, "load_s": 7.0, "batches": 14.0}
    assert value(Objective()).parts == value(Objective("weighted")).parts == parts
    assert value(CHEAPEST).parts == {**parts, "floor": 0.75}
    assert value(Objective(), MISSES).parts["held"] == pytest.approx(0.4)
    assert objective_value(PLAN, replace(MISSES, goodput_rps=0.0), 0.0, Objective()).parts["held"] == 0.0


def test_cost_is_cores_or_money() -> None:
    weights = Objective("weighted", alpha=2.0, beta=0.1, gamma=0.01, delta=0.001)
    assert value(weights).value == pytest.approx(2 * 0.8 - 0.1 * 5 - 0.01 * 7 - 0.001 * 14)
    money = replace(weights, cost="money")
    assert value(money).value == pytest.approx(2 * 0.8 - 0.1 * 0.6 - 0.01 * 7 - 0.001 * 14)
    assert value(replace(CHEAPEST, cost="money")).value == -0.6
    with pytest.raises(PlanRequestError, match="counts money"):
        value(money, replace(GOOD, cost_per_hour=None))
    with pytest.raises(PlanRequestError, match="needs an accuracy floor"):
        value(Objective("cheapest"))


@pytest.mark.parametrize("objective", [Objective(), CHEAPEST, Objective("weighted")])
def test_holding_the_slo_comes_first(objective: Objective) -> None:
    better = replace(MISSES, accuracy=0.99, cores=1, load_s=0.0)
    assert next(iter(criteria(value(objective)))) == "held"
    assert rank(value(objective)) > rank(value(objective, better))
    assert rank(value(objective, replace(MISSES, goodput_rps=5.0))) > rank(value(objective, better))


def test_under_a_budget_accuracy_comes_before_cost() -> None:
    assert rank(value(Objective(), replace(GOOD, accuracy=0.81, cores=9))) > rank(value(Objective()))
    assert rank(value(Objective(), replace(GOOD, cores=4))) > rank(value(Objective()))
    assert list(criteria(value(Objective()))) == ["held", "accuracy", "cost", "batches"]


def test_the_cheapest_meets_its_floor_then_costs_least_then_is_most_accurate() -> None:
    below, at = replace(GOOD, accuracy=0.7, cores=1), replace(GOOD, accuracy=0.75 * (1 - 1e-12), cores=4)
    assert rank(value(CHEAPEST)) > rank(value(CHEAPEST, below))
    assert rank(value(CHEAPEST, at)) > rank(value(CHEAPEST)), "rounding does not miss the floor"
    assert rank(value(CHEAPEST, replace(GOOD, accuracy=0.9))) > rank(value(CHEAPEST))
    assert list(criteria(value(CHEAPEST))) == ["held", "meets_floor", "cost", "accuracy", "batches"]
