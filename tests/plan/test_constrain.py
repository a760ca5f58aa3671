from __future__ import annotations

from dataclasses import replace

import pytest

from trimtab.errors import PlanRequestError
from trimtab.plan.constrain import constrain
from trimtab.plan.model import Allocation, Limits, Plan, TaskPlan
from trimtab.plan.residents import memory_bytes
from trimtab.spec.model import Instance, Prices, Serverless
from trimtab.testing import make_chain

TASKS = {"a": {"s": (0.8, 0.005), "l": (0.9, 0.02)}, "b": {"s": (0.8, 0.005)}}
PIPELINE, PROFILE = make_chain(TASKS, variant_bytes=100)


def plan_of(replicas_a: int, replicas_b: int, *, cores: int = 1) -> Plan:
    return Plan(
        {
            "a": TaskPlan("a", (Allocation("l", replicas_a, cores, 1, 1),), resident=("l", "s"), may_use=("s",)),
            "b": TaskPlan("b", (Allocation("s", replicas_b, 1, 1, 1),), resident=("s",)),
        },
        5.0,
    )


def test_a_plan_within_the_limits_passes_unchanged() -> None:
    plan = plan_of(2, 1)
    assert constrain(plan, PIPELINE, PROFILE, Limits(cores=3.0, memory_bytes=500)) == (plan, ())


def test_replicas_go_from_the_task_that_holds_most() -> None:
    plan, words = constrain(plan_of(5, 2), PIPELINE, PROFILE, Limits(cores=4.0))
    assert (plan.tasks["a"].cores, plan.tasks["b"].cores) == (2, 2)
    assert len(words) == 3
    plan, words = constrain(plan_of(5, 2), PIPELINE, PROFILE, Limits(cores=100.0, replicas_per_task=1))
    assert plan.cores == 2
    assert words == ("a: 1 replicas instead of 5", "b: 1 replicas instead of 2")


def test_residents_go_before_the_memory_is_exceeded() -> None:
    plan, words = constrain(plan_of(2, 1), PIPELINE, PROFILE, Limits(cores=9.0, memory_bytes=300))
    assert plan.tasks["a"].resident == ("l",)
    assert plan.tasks["a"].may_use == ()
    assert memory_bytes(plan.tasks, PROFILE) == 300
    assert "s is not resident" in words[0]


def test_what_the_plant_cannot_do_falls_away() -> None:
    plan, words = constrain(plan_of(1, 1), PIPELINE, PROFILE, Limits(cores=9.0, in_place_variants=False))
    assert plan.tasks["a"].resident == ("l",)
    assert plan.tasks["a"].may_use == ()
    assert words
    split = Plan(
        {
            "a": TaskPlan(
                "a",
                (Allocation("s", 1, 1, 1, 1, share=0.3), Allocation("l", 1, 1, 1, 1, share=0.7)),
                resident=("l", "s"),
            )
        },
        5.0,
    )
    plan, words = constrain(split, PIPELINE, PROFILE, Limits(cores=9.0))
    assert plan.tasks["a"].allocations == (Allocation("l", 1, 1, 1, 1, share=1.0),)
    assert "1 of 2 groups" in words[0]


def test_what_cannot_be_clamped_is_an_error() -> None:
    with pytest.raises(PlanRequestError, match=r"core limit.*got 4 cores.*at most 3"):
        constrain(plan_of(2, 3, cores=3), PIPELINE, PROFILE, Limits(cores=3.0))
    with pytest.raises(PlanRequestError, match="memory limit"):
        constrain(plan_of(1, 1), PIPELINE, PROFILE, Limits(cores=3.0, memory_bytes=199))


def test_all_replicas_together_are_limited() -> None:
    plan, words = constrain(plan_of(5, 3, cores=2), PIPELINE, PROFILE, Limits(cores=99.0, replicas=4))
    assert [t.allocations[0].replicas for t in plan.tasks.values()] == [2, 2]
    assert words[0] == "a: one replica less, to fit 4 replicas"
    assert len(words) == 4
    with pytest.raises(PlanRequestError, match=r"replica limit.*got 2 groups of one replica.*at most 1"):
        constrain(plan_of(1, 1), PIPELINE, PROFILE, Limits(cores=9.0, replicas=1))


def test_replicas_go_where_that_saves_most_money() -> None:
    # One instance runs two replicas of either task: three of a and three of b rent two instances each.
    priced = replace(PIPELINE, prices=Prices(instances={"i": Instance("i", 2, 1.0 / 3600)}))
    limits = Limits(cores=99.0, cost_per_hour=3.0)
    plan, words = constrain(plan_of(3, 3), priced, PROFILE, limits)
    assert [t.allocations[0].replicas for t in plan.tasks.values()] == [2, 3]
    assert words == ("a: one replica less, to fit 3 USD an hour",)
    plan, words = constrain(plan_of(4, 2), priced, PROFILE, replace(limits, cost_per_hour=2.0))
    assert [t.allocations[0].replicas for t in plan.tasks.values()] == [2, 2]
    assert constrain(plan, priced, PROFILE, replace(limits, cost_per_hour=2.0)) == (plan, ())
    with pytest.raises(PlanRequestError, match=r"cost limit.*2 USD an hour with one replica.*at most 1"):
        constrain(plan_of(3, 1), priced, PROFILE, replace(limits, cost_per_hour=1.0))
    with pytest.raises(PlanRequestError, match="cost is limited, and nothing has a price"):
        constrain(plan_of(1, 1), PIPELINE, PROFILE, limits)


def test_what_is_paid_by_use_is_not_cut_to_save_money() -> None:
    priced = replace(PIPELINE, prices=Prices(serverless=Serverless(core_second=1.0)))
    with pytest.raises(PlanRequestError, match="cost limit"):
        constrain(plan_of(3, 3), priced, PROFILE, Limits(cores=99.0, cost_per_hour=0.001))
