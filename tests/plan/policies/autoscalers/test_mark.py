"""MArk: replicas for a forecast by hand, and six plans of patience."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.plan.policies.autoscalers.watching import watch

from trimtab.control.controller import Controller
from trimtab.control.settings import forecaster_for, settings_for
from trimtab.observe.model import Observation, Outcomes
from trimtab.plan.model import Limits, Plan, PlanRequest
from trimtab.plan.policies.autoscalers.mark import MarkPolicy, MarkSettings
from trimtab.spec.model import Prices, Serverless
from trimtab.testing import make_chain


def question(rate: float, cores: float = 40.0) -> PlanRequest:
    """One replica serves ten items a second."""
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}}, slo_s=2.0)
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores))


def replicas(plan: Plan, task: str = "a") -> int:
    return sum(a.replicas for a in plan.tasks[task].allocations)


@pytest.mark.parametrize(("rate", "count"), [(0.0, 1), (9.0, 1), (10.0, 1), (10.1, 2), (55.0, 6), (60.0, 6)])
def test_as_many_as_the_rate_needs(rate: float, count: int) -> None:
    assert replicas(MarkPolicy().propose(question(rate)).plan) == count


def test_launched_at_once_and_removed_after_six_plans() -> None:
    # Rates of the turns at 60, 120, … s.
    rates = [20.0, 75.0, 35.0, 15.0, 15.0, 25.0, 15.0, 15.0, 15.0, 15.0, 15.0, 15.0, 5.0]
    turns = watch(
        MarkPolicy(), question(20.0), 60 * len(rates), lambda _: {"a": 1.0}, rate_rps=lambda s: rates[(s - 1) // 60]
    )
    # Plans want 2 2 8 4 2 2 3 2 2 2 2 2 2 1 and keep the most of the last six.
    assert [replicas(plan) for _, plan in turns] == [2, 2, 8, 8, 8, 8, 8, 8, 4, 3, 3, 3, 2, 2]


def test_none_is_removed_before_six_plans_were_made() -> None:
    quick = watch(MarkPolicy(), question(50.0), 420, lambda _: {"a": 1.0}, rate_rps=lambda _: 10.0)
    assert [replicas(plan) for _, plan in quick] == [5, 5, 5, 5, 5, 5, 1, 1]
    hasty = MarkPolicy(MarkSettings(kill_plans=1))
    assert [
        replicas(p) for _, p in watch(hasty, question(50.0), 60, lambda _: {"a": 1.0}, rate_rps=lambda _: 10.0)
    ] == [5, 1]


def test_six_steady_plans_keep_what_they_want_from_a_larger_start() -> None:
    large = MarkPolicy().propose(question(90.0)).plan
    start = replace(large, rate_rps=30.0)
    turns = watch(MarkPolicy(), question(30.0), 360, lambda _: {"a": 1.0}, plan=start)
    assert [replicas(plan) for _, plan in turns] == [9, 9, 9, 9, 9, 3, 3]


def test_the_loop_adds_a_fifth_to_the_highest_second() -> None:
    request = question(1.0)
    policy = MarkPolicy()
    controller = Controller(
        request.pipeline, request.profile, policy, forecaster_for(policy, "last"), request.limits,
        settings_for(policy, 20.0),
    )  # fmt: skip
    plan = controller.start(0.0).plan
    assert replicas(plan) == 2
    for second in range(1, 61):
        arrivals = (50 if second == 30 else 20,)
        plan = controller.step(Observation(float(second), 1.0, arrivals, Outcomes(), {})).plan
    assert plan.rate_rps == pytest.approx(60.0)
    assert replicas(plan) == 6


def test_limits_cut_and_what_is_left_out_is_told() -> None:
    request = question(100.0, cores=4.0)
    prices = Prices(core_hour=1.0, serverless=Serverless(core_second=0.001))
    answer = MarkPolicy().propose(replace(request, pipeline=replace(request.pipeline, prices=prices)))
    words = [step.reason for step in answer.steps]
    assert replicas(answer.plan) == 4
    assert "a: 4 of 10 replicas, all that the limits leave" in words
    assert any("serve by use" in word and "left out" in word for word in words)
    assert not any("serve by use" in step.reason for step in MarkPolicy().propose(request).steps)
    assert not answer.feasible


@pytest.mark.parametrize("wrong", [0, 101])
def test_settings_without_meaning_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="kill_plans"):
        MarkSettings(kill_plans=wrong)
