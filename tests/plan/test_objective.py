from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Allocation, ObjectiveValue, Plan, PlanEstimate, TaskPlan
from trimtab.plan.objective import cost_words, criteria, net_worth, objective_value, rank, worth_words
from trimtab.spec.model import Objective, Pipeline, Prices, Slo

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


ACCURACIES, CORES = st.integers(0, 100).map(lambda n: n / 100), st.integers(1, 64)


@given(worth=st.floats(0.01, 100.0), plans=st.lists(st.tuples(ACCURACIES, CORES), min_size=2, max_size=2))
def test_cores_are_added_as_long_as_a_point_takes_no_more_than_it_is_worth(
    worth: float, plans: list[tuple[float, int]]
) -> None:
    one, other = (replace(GOOD, accuracy=accuracy, cores=cores) for accuracy, cores in plans)
    points, more = 100.0 * (one.accuracy - other.accuracy), one.cores - other.cores
    objective = Objective.exchange(worth)
    if abs(points * worth - more) > 1e-6:
        is_better = points * worth > more
        assert (rank(value(objective, one)) > rank(value(objective, other))) == is_better
    net = [net_worth(value(objective, each), objective) for each in (one, other)]
    assert net[0] is not None
    assert net[1] is not None
    assert net[0] - net[1] == pytest.approx(points * worth - more, rel=1e-9, abs=1e-6)


def test_of_plans_that_are_worth_the_same_the_smaller_batches_win() -> None:
    objective, smaller = Objective.exchange(4.0), replace(PLAN, tasks={"b": PLAN.tasks["b"]})
    assert rank(objective_value(smaller, GOOD, 10.0, objective)) > rank(value(objective))
    saves_a_core = replace(GOOD, cores=4)
    assert rank(value(objective, saves_a_core)) > rank(objective_value(smaller, GOOD, 10.0, objective))


def test_a_worth_is_told_in_its_own_words() -> None:
    pipeline = Pipeline("p", {}, Slo(1.0), prices=Prices(core_hour=0.04, currency="EUR"))
    assert worth_words(pipeline) is None
    told = {o: worth_words(replace(pipeline, objective=o)) for o in (Objective.exchange(1.0), Objective.exchange(2.5))}
    assert list(told.values()) == [f"one point of accuracy (0.01) is worth {each}" for each in ("1 core", "2.5 cores")]
    money = replace(pipeline, objective=Objective.exchange(0.3, "money"))
    assert worth_words(money) == "one point of accuracy (0.01) is worth 0.3 EUR an hour"
    assert cost_words(12.0, pipeline) == "12 cores"
    with pytest.raises(PlanRequestError, match="point_worth_per_hour"):
        value(money.objective, replace(GOOD, cost_per_hour=None))


def test_a_policy_with_weights_of_its_own_has_no_worth() -> None:
    stated = Objective.exchange(4.0)
    assert net_worth(value(Objective("weighted", beta=0.0025)), Objective("weighted", beta=0.0025)) is None
    assert net_worth(value(Objective()), stated) is None
    assert net_worth(replace(value(stated), value=0.1), stated) is None
    assert net_worth(value(stated), stated) == pytest.approx(80.0 * 4.0 - 5.0, abs=1e-3)
