from __future__ import annotations

import pytest

from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.plan.policies.pipelines.seen import Demand, Standing
from trimtab.testing import observation


def plan(replicas: int, rate_rps: float = 1.0) -> Plan:
    return Plan({"a": TaskPlan("a", (Allocation("v", replicas, 1, 1, 1),), ("v",))}, rate_rps)


def test_a_plan_stands_until_it_changes() -> None:
    standing = Standing()
    assert standing.stood_s(plan(1)) is None
    standing.observe(observation(11.0, 5), plan(1))
    assert standing.stood_s(plan(1)) == 1.0, "it was in force over the second that was seen"
    standing.observe(observation(12.0, 5), plan(1, rate_rps=7.0))
    assert standing.stood_s(plan(1)) == 2.0, "the rate that it was made for does not matter"
    assert standing.stood_s(plan(2)) is None
    standing.observe(observation(13.0, 5), plan(2))
    assert standing.stood_s(plan(2)) == 1.0
    assert standing.stood_s(plan(1)) is None


def test_the_demand_is_the_weighted_mean_of_pandas() -> None:
    demand = Demand()
    assert demand.mean_rps(1.6, 20) is None
    demand.observe(observation(3.0, 10, 20, 40))
    # pandas.Series([10, 20, 40]).ewm(com=1.6).mean(): weights (1.6/2.6)², 1.6/2.6, 1.
    kept = 1.6 / 2.6
    assert demand.mean_rps(1.6, 20) == pytest.approx((40 + kept * 20 + kept**2 * 10) / (1 + kept + kept**2))
    assert demand.mean_rps(1.6, 20) == pytest.approx(28.1306, abs=1e-4)
    assert demand.mean_rps(0.0, 20) == 40.0
    assert demand.mean_rps(1.6, 1) == 40.0


def test_seconds_that_were_not_counted_have_no_weight() -> None:
    demand = Demand()
    demand.observe(observation(2.0, None, None))
    assert demand.mean_rps(1.6, 20) is None
    demand.observe(observation(4.0, 10, None))
    assert demand.mean_rps(1.6, 20) == 10.0
    demand.observe(observation(5.0, 20))
    kept = 1.6 / 2.6
    assert demand.mean_rps(1.6, 20) == pytest.approx((20 + kept**2 * 10) / (1 + kept**2))
