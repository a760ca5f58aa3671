from __future__ import annotations

import pytest

from trimtab.errors import PlanRequestError
from trimtab.plan.constrain import constrain, memory_bytes
from trimtab.plan.model import Allocation, Limits, Plan, TaskPlan
from trimtab.testing import make_chain

_, PROFILE = make_chain({"a": {"s": (0.8, 0.005), "l": (0.9, 0.02)}, "b": {"s": (0.8, 0.005)}}, variant_bytes=100)


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
    assert constrain(plan, PROFILE, Limits(cores=3.0, memory_bytes=500)) == (plan, ())


def test_replicas_go_from_the_task_that_holds_most() -> None:
    plan, words = constrain(plan_of(5, 2), PROFILE, Limits(cores=4.0))
    assert (plan.tasks["a"].cores, plan.tasks["b"].cores) == (2, 2)
    assert len(words) == 3
    plan, words = constrain(plan_of(5, 2), PROFILE, Limits(cores=100.0, replicas_per_task=1))
    assert plan.cores == 2
    assert words == ("a: 1 replicas instead of 5", "b: 1 replicas instead of 2")


def test_residents_go_before_the_memory_is_exceeded() -> None:
    plan, words = constrain(plan_of(2, 1), PROFILE, Limits(cores=9.0, memory_bytes=300))
    assert plan.tasks["a"].resident == ("l",)
    assert plan.tasks["a"].may_use == ()
    assert memory_bytes(plan.tasks, PROFILE) == 300
    assert "s is not resident" in words[0]


def test_what_the_plant_cannot_do_falls_away() -> None:
    plan, words = constrain(plan_of(1, 1), PROFILE, Limits(cores=9.0, in_place_variants=False))
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
    plan, words = constrain(split, PROFILE, Limits(cores=9.0))
    assert plan.tasks["a"].allocations == (Allocation("l", 1, 1, 1, 1, share=1.0),)
    assert "1 of 2 groups" in words[0]


def test_what_cannot_be_clamped_is_an_error() -> None:
    with pytest.raises(PlanRequestError, match=r"core limit.*got 4 cores.*at most 3"):
        constrain(plan_of(2, 3, cores=3), PROFILE, Limits(cores=3.0))
    with pytest.raises(PlanRequestError, match="memory limit"):
        constrain(plan_of(1, 1), PROFILE, Limits(cores=3.0, memory_bytes=199))
