from __future__ import annotations

from dataclasses import replace

from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.plan.objective import objective_value
from trimtab.plan.stabilize import Hysteresis, Verdict, Weighed, is_slow, stabilize
from trimtab.testing import make_chain

VARIANTS = {"light": (0.8, 0.005), "middle": (0.9, 0.02), "twin": (0.9005, 0.02), "heavy": (0.95, 0.08)}
PIPELINE, PROFILE = make_chain({"a": VARIANTS})
NUMBERS = Hysteresis(instant_hold_s=2.0, slow_hold_s=20.0)


def weighed(variant: str, rate: float, replicas: int = 1, resident: tuple[str, ...] = tuple(VARIANTS)) -> Weighed:
    plan = Plan({"a": TaskPlan("a", (Allocation(variant, replicas, 1, 1, 1),), resident)}, rate)
    found = estimate(plan, PIPELINE, PROFILE, rate)
    return Weighed(plan, found, objective_value(plan, found, rate, PIPELINE.objective))


def test_a_plan_that_misses_the_slo_is_left_at_once() -> None:
    verdict = stabilize(weighed("heavy", 40.0), weighed("middle", 40.0), 5.0, None, NUMBERS)
    assert verdict.change
    assert "at once" in verdict.reason


def test_among_plans_that_miss_it_only_a_clear_gain_counts() -> None:
    assert stabilize(weighed("heavy", 500.0), weighed("light", 500.0), 5.0, None, NUMBERS).change
    assert not stabilize(weighed("light", 500.0), weighed("heavy", 500.0), 5.0, None, NUMBERS).change
    assert not stabilize(weighed("middle", 500.0), weighed("twin", 500.0), 5.0, None, NUMBERS).change


def test_an_instant_gain_must_last_and_a_break_starts_anew() -> None:
    low, high = weighed("light", 5.0), weighed("middle", 5.0)
    first = stabilize(low, high, 10.0, None, NUMBERS)
    assert (first.change, first.gaining_since_s) == (False, 10.0)
    second = stabilize(low, high, 11.9, first.gaining_since_s, NUMBERS)
    assert (second.change, second.gaining_since_s) == (False, 10.0)
    assert stabilize(low, high, 12.0, second.gaining_since_s, NUMBERS).change
    nothing = stabilize(low, low, 11.0, first.gaining_since_s, NUMBERS)
    assert nothing == Verdict(change=False, gaining_since_s=None, reason=nothing.reason)


def test_a_slow_gain_must_last_longer() -> None:
    two, one = weighed("light", 5.0, replicas=2), weighed("light", 5.0)
    assert is_slow(two.plan, one.plan)
    assert not stabilize(two, one, 12.0, 10.0, NUMBERS).change
    assert stabilize(two, one, 30.0, 10.0, NUMBERS).change
    assert is_slow(one.plan, weighed("light", 5.0, resident=("light",)).plan)
    assert not is_slow(one.plan, weighed("middle", 5.0).plan)


def test_a_gain_too_small_or_negative_is_none() -> None:
    assert not stabilize(weighed("middle", 5.0), weighed("twin", 5.0), 99.0, 0.0, NUMBERS).change
    assert not stabilize(weighed("middle", 5.0), weighed("light", 5.0), 99.0, 0.0, NUMBERS).change
    eager = replace(NUMBERS, least_gain=0.0001)
    assert stabilize(weighed("middle", 5.0), weighed("twin", 5.0), 99.0, 0.0, eager).change
