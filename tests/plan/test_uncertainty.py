"""Plans for a rate that is known as scenarios, against plans for every single rate."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, PlanResult, Scenario, TaskPlan
from trimtab.plan.policies import make_policy
from trimtab.plan.pool import UTILISATION_CAP
from trimtab.plan.uncertainty import from_quantiles
from trimtab.profile.model import Profile
from trimtab.spec.model import Objective, Pipeline, Planning
from trimtab.testing import make_chain

TASKS = {"a": {"s": (0.8, 0.01), "l": (0.93, 0.03)}, "b": {"s": (0.85, 0.008), "l": (0.95, 0.02)}}
SCENARIOS = st.lists(
    st.tuples(st.sampled_from([0.0, 5.0, 12.0, 30.0, 55.0, 90.0]), st.integers(1, 5)), min_size=1, max_size=4
)


def question(objective: Objective, scenarios: list[tuple[float, int]], latency: str = "tail") -> PlanRequest:
    pipeline, profile = make_chain(TASKS, slo_s=0.2, objective=objective, batches=(1, 4))
    planning = Planning(latency=latency)  # type: ignore[arg-type]  # one of two words
    total = sum(weight for _, weight in scenarios)
    return PlanRequest(
        replace(pipeline, planning=planning), profile, 0.0, Limits(cores=5.0, in_place_variants=False),
        scenarios=tuple(Scenario(rate, weight / total) for rate, weight in scenarios),
    )  # fmt: skip


def propose(request: PlanRequest) -> PlanResult:
    return make_policy("trimtab").propose(request)


def test_quantiles_become_scenarios_and_leave_open_what_is_above_them() -> None:
    scenarios = from_quantiles({0.9: 60.0, 0.5: 40.0, 0.99: 80.0})
    assert [(s.rate_rps, round(s.probability, 9)) for s in scenarios] == [(40.0, 0.5), (60.0, 0.4), (80.0, 0.09)]
    for rates, words in (
        ({1.0: 5.0}, "not a quantile"),
        ({0.5: -1.0}, r"quantile 0\.5.*no meaning"),
        ({0.5: 10.0, 0.9: 9.0}, r"quantile 0\.9.*got 9.*at least 10"),
        ({0.5: math.nan}, "no meaning"),
    ):
        with pytest.raises(PlanRequestError, match=words):
            from_quantiles(rates)


@settings(max_examples=30, deadline=None)
@given(SCENARIOS, st.sampled_from([0.05, 0.5, 0.8, 1.0]), st.sampled_from(["tail", "paper"]))
def test_the_plan_holds_with_the_chosen_probability(
    scenarios: list[tuple[float, int]], probability: float, latency: str
) -> None:
    request = replace(question(Objective(), scenarios, latency), hold_probability=probability)
    result = propose(request)
    if not result.feasible:
        return
    held = 0.0
    for scenario in request.scenarios:
        found = estimate(
            result.plan, request.pipeline, request.profile, scenario.rate_rps,
            latency_model=request.pipeline.planning.latency,
        )  # fmt: skip
        held += scenario.probability if found.meets_slo else 0.0
    assert held >= probability - 1e-9


@settings(max_examples=25, deadline=None)
@given(SCENARIOS, st.sampled_from([0.0, 0.02, 0.1, 0.3]))
def test_the_expected_objective_equals_exhaustive_search(scenarios: list[tuple[float, int]], beta: float) -> None:
    pipeline, profile = make_chain(
        {"a": TASKS["a"]}, slo_s=0.2, objective=Objective("weighted", 1.0, beta), batches=(1, 4)
    )
    total = sum(weight for _, weight in scenarios)
    spread = tuple(Scenario(rate, weight / total) for rate, weight in scenarios)
    request = PlanRequest(pipeline, profile, 0.0, Limits(cores=4.0, in_place_variants=False), scenarios=spread)

    def expected(plan: Plan) -> float:
        """α·A·P(held) - cost: accuracy counts nothing in a scenario that is not held."""
        held, accuracy = 0.0, 0.0
        for scenario in spread:
            found = estimate(plan, pipeline, profile, scenario.rate_rps)
            busy = max(task.utilisation for task in found.tasks.values())
            held += scenario.probability if found.meets_slo and busy <= UTILISATION_CAP else 0.0
            accuracy = found.accuracy
        batches = sum(a.batch for task in plan.tasks.values() for a in task.allocations)
        return accuracy * held - beta * plan.cores - 1e-6 * batches if held > 0.0 else -math.inf

    plans = [
        Plan({"a": TaskPlan("a", (Allocation(variant, replicas, 1, 1, batch),), (variant,))}, 0.0)
        for variant in TASKS["a"]
        for replicas in range(1, 5)
        for batch in (1, 4)
    ]
    best = max(map(expected, plans))
    result = propose(request)
    assert result.feasible == (best > -math.inf)
    if result.feasible:
        assert expected(result.plan) == pytest.approx(best, rel=1e-9, abs=1e-9)


def test_without_weights_as_many_scenarios_are_held_as_can_be() -> None:
    result = propose(question(Objective(), [(5.0, 1), (30.0, 1), (4000.0, 1)]))
    assert result.feasible
    assert result.plan.rate_rps == 30.0
    assert "66.67 % probability" in result.steps[1].reason
    hopeless = propose(question(Objective(), [(4000.0, 1), (9000.0, 1)]))
    assert not hopeless.feasible
    assert hopeless.plan.rate_rps == 4000.0


def test_a_higher_probability_never_takes_less(chain: tuple[Pipeline, Profile]) -> None:
    scenarios = from_quantiles({0.5: 20.0, 0.9: 40.0, 0.99: 90.0})
    request = PlanRequest(*chain, 0.0, Limits(cores=9.0), scenarios=scenarios)
    rates = [propose(replace(request, hold_probability=p)).plan.rate_rps for p in (0.3, 0.5, 0.7, 0.95, 0.99)]
    assert rates == [20.0, 20.0, 40.0, 90.0, 90.0]


@pytest.mark.parametrize(
    ("scenarios", "hold", "words"),
    [
        ([Scenario(5.0, 0.7), Scenario(9.0, 0.7)], None, "no distribution"),
        ([Scenario(5.0, 0.0)], None, "no distribution"),
        ([Scenario(-5.0, 1.0)], None, "scenario 1"),
        ([Scenario(math.nan, 1.0)], None, "scenario 1"),
        ([Scenario(5.0, 0.5), Scenario(9.0, 0.4)], 0.95, r"got 0\.95.*at most 0\.9"),
        ([Scenario(5.0, 1.0)], 0.0, "not a probability"),
    ],
)
def test_scenarios_without_meaning_are_refused(
    chain: tuple[Pipeline, Profile], scenarios: list[Scenario], hold: float | None, words: str
) -> None:
    request = PlanRequest(*chain, 0.0, Limits(cores=4.0), scenarios=tuple(scenarios), hold_probability=hold)
    with pytest.raises(PlanRequestError, match=words):
        propose(request)
