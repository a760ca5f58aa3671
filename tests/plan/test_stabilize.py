"""Changes for the SLO come at once, changes for gain when the gain has lasted until it pays for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.plan.objective import objective_value
from trimtab.plan.stabilize import Hysteresis, Verdict, Weighed, stabilize
from trimtab.spec.model import Objective
from trimtab.testing import make_chain

VARIANTS = {"light": (0.8, 0.005), "middle": (0.9, 0.02), "twin": (0.9005, 0.02), "heavy": (0.95, 0.08)}
PIPELINE, PROFILE = make_chain({"a": VARIANTS})
WEIGHTED = Objective("weighted", 1.0, 0.02, delta=0.0)
NUMBERS = Hysteresis()


def weighed(variant: str, rate: float, replicas: int = 1, objective: Objective = PIPELINE.objective) -> Weighed:
    plan = Plan({"a": TaskPlan("a", (Allocation(variant, replicas, 1, 1, 1),), (variant,))}, rate)
    found = estimate(plan, PIPELINE, PROFILE, rate)
    return Weighed(plan, found, objective_value(plan, found, rate, objective))


def test_a_plan_that_misses_the_slo_is_left_at_once_however_long_the_change_takes() -> None:
    verdict = stabilize(weighed("heavy", 40.0), weighed("middle", 40.0), 5.0, None, NUMBERS, 60.0, 99.0)
    assert verdict.change
    assert "at once" in verdict.reason


def test_among_plans_that_miss_it_only_a_clear_gain_counts() -> None:
    assert stabilize(weighed("heavy", 500.0), weighed("light", 500.0), 5.0, None, NUMBERS).change
    assert not stabilize(weighed("light", 500.0), weighed("heavy", 500.0), 5.0, None, NUMBERS).change
    assert not stabilize(weighed("middle", 500.0), weighed("twin", 500.0), 5.0, None, NUMBERS).change


def test_a_gain_that_takes_no_time_is_had_at_once() -> None:
    verdict = stabilize(weighed("light", 5.0), weighed("middle", 5.0), 10.0, None, NUMBERS)
    assert verdict == Verdict(change=True, gaining_since_s=None, reason="accuracy +0.1000, cores +0")


def test_a_gain_must_last_as_long_as_the_change_takes_and_a_break_starts_anew() -> None:
    low, high = weighed("light", 5.0), weighed("middle", 5.0)
    first = stabilize(low, high, 10.0, None, NUMBERS, 8.0)
    assert (first.change, first.gaining_since_s) == (False, 10.0)
    assert "pays for the change after 8 s and has lasted 0 s" in first.reason
    second = stabilize(low, high, 17.9, first.gaining_since_s, NUMBERS, 8.0)
    assert (second.change, second.gaining_since_s) == (False, 10.0)
    third = stabilize(low, high, 18.0, second.gaining_since_s, NUMBERS, 8.0)
    assert third.change
    assert third.reason.endswith("for 8 s")
    for nothing in (stabilize(low, low, 17.0, 10.0, NUMBERS, 8.0), stabilize(high, low, 17.0, 10.0, NUMBERS, 8.0)):
        assert (nothing.change, nothing.gaining_since_s) == (False, None)


def test_a_gain_that_is_small_beside_what_the_change_costs_must_last_longer() -> None:
    low, high = weighed("light", 5.0, objective=WEIGHTED), weighed("middle", 5.0, objective=WEIGHTED)
    gain = high.objective.value - low.objective.value
    assert gain == pytest.approx(0.1)
    # 8 s at 0.3 a second cost 2.4, which a gain of 0.1 a second has paid after 24 s.
    assert not stabilize(low, high, 33.9, 10.0, NUMBERS, 8.0, 0.3).change
    assert stabilize(low, high, 34.1, 10.0, NUMBERS, 8.0, 0.3).change
    assert stabilize(low, high, 18.1, 10.0, NUMBERS, 8.0, 0.05).change, "it has paid long before the change is over"


@given(st.floats(0.1, 50.0), st.floats(0.0, 2.0), st.floats(0.0, 400.0))
def test_who_waits_pays_at_most_what_the_change_costs_more(takes_s: float, costs: float, lasts_s: float) -> None:
    """The ski-rental rule: what was forgone by waiting is never more than the cost of the change or its own time."""
    low, high = weighed("light", 5.0, objective=WEIGHTED), weighed("middle", 5.0, objective=WEIGHTED)
    gain = high.objective.value - low.objective.value
    verdict = stabilize(low, high, lasts_s, 0.0, NUMBERS, takes_s, costs)
    if not verdict.change:
        assert lasts_s * gain <= max(takes_s * costs, takes_s * gain) * (1.0 + 1e-9)
        assert verdict.gaining_since_s == 0.0
    else:
        assert lasts_s >= takes_s
        assert lasts_s * gain >= takes_s * costs * (1.0 - 1e-9)


def test_fewer_cores_are_a_gain_too() -> None:
    two, one = weighed("light", 5.0, replicas=2), weighed("light", 5.0)
    assert stabilize(two, one, 12.0, None, NUMBERS).reason == "accuracy +0.0000, cores -1"
    assert not stabilize(one, two, 12.0, None, NUMBERS).change


def test_a_gain_too_small_or_negative_is_none() -> None:
    assert not stabilize(weighed("middle", 5.0), weighed("twin", 5.0), 99.0, 0.0, NUMBERS).change
    assert not stabilize(weighed("middle", 5.0), weighed("light", 5.0), 99.0, 0.0, NUMBERS).change
    eager = replace(NUMBERS, least_gain=0.0001)
    assert stabilize(weighed("middle", 5.0), weighed("twin", 5.0), 99.0, 0.0, eager).change


def test_no_gain_is_worth_missing_the_slo() -> None:
    verdict = stabilize(weighed("light", 40.0), weighed("heavy", 40.0), 99.0, 0.0, NUMBERS)
    assert not verdict.change
    assert verdict.reason == "no gain worth a change"
