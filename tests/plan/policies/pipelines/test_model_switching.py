from __future__ import annotations

from dataclasses import replace

import pytest

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, TaskPlan
from trimtab.plan.policies.pipelines.model_switching import ModelSwitchingPolicy, ModelSwitchingSettings, in_time
from trimtab.spec.model import Slo
from trimtab.testing import check_policy, make_chain

TASK = {"a": {"small": (0.85, 0.004), "medium": (0.92, 0.012), "large": (0.96, 0.045)}}


def question(rate: float, cores: float = 4.0, slo_s: float = 0.4, **limits: object) -> PlanRequest:
    pipeline, profile = make_chain(TASK, slo_s=slo_s, variant_bytes=100)
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores, **limits))  # type: ignore[arg-type]  # by name


def plan_of(variant: str, replicas: int = 4) -> TaskPlan:
    return TaskPlan("a", (Allocation(variant, replicas, 1, 1, 1),), tuple(TASK["a"]))


@pytest.mark.parametrize("rate", [1.0, 40.0, 80.0, 84.0, 87.0, 120.0, 310.0, 330.0, 500.0])
def test_it_takes_the_highest_effective_accuracy(rate: float) -> None:
    request = question(rate)
    result = ModelSwitchingPolicy().propose(request)
    scores = {}
    for variant, (accuracy, _) in TASK["a"].items():
        # p by a scan of quantiles in the place of bisection.
        met = [0.0]
        for q in [k / 200 for k in range(1, 200)]:
            pipeline = replace(request.pipeline, slo=Slo(0.4, q))
            if estimate(Plan({"a": plan_of(variant)}, rate), pipeline, request.profile, rate).latency_s <= 0.4:
                met.append(q)
        scores[variant] = accuracy * max(met)
    (group,) = result.plan.tasks["a"].allocations
    assert scores[group.variant] >= max(scores.values()) - 0.005
    assert (group.replicas, group.cores) == (4, 1)
    assert result.plan.tasks["a"].resident == ("large", "medium", "small")
    assert result.plan.tasks["a"].may_use == ()


def test_the_share_in_time_falls_with_the_rate() -> None:
    shares = [in_time(question(rate), plan_of("large")) for rate in (0.0, 40.0, 70.0, 80.0, 86.0, 88.0, 90.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    assert 0.8 < shares[-3] < 1.0
    assert shares[-1] == 0.0, "88.9 a second is all that four large ones serve"


def test_the_variant_alone_changes_with_the_rate() -> None:
    plans = [ModelSwitchingPolicy().propose(question(rate)).plan for rate in (1.0, 100.0, 500.0)]
    assert [plan.variants()["a"] for plan in plans] == [("large",), ("medium",), ("small",)]
    assert len({plan.cores for plan in plans}) == 1


def test_beyond_all_capacity_the_variant_that_serves_most_is_taken() -> None:
    result = ModelSwitchingPolicy().propose(question(5000.0))
    assert result.plan.variants() == {"a": ("small",)}
    assert not result.feasible
    assert "sustains most" in result.steps[0].reason


def test_the_hardware_is_what_is_set_or_what_fits() -> None:
    few = ModelSwitchingPolicy(ModelSwitchingSettings(replicas=3)).propose(question(1.0))
    assert few.plan.tasks["a"].allocations[0].replicas == 3
    # Three variants of 100 bytes in each replica.
    small = ModelSwitchingPolicy().propose(question(1.0, memory_bytes=700))
    assert small.plan.tasks["a"].allocations[0].replicas == 2
    with pytest.raises(PlanRequestError, match=r"no room.*all variants loaded"):
        ModelSwitchingPolicy().propose(question(1.0, memory_bytes=299))
    alone = ModelSwitchingPolicy().propose(question(1.0, in_place_variants=False, memory_bytes=299))
    assert alone.plan.tasks["a"].resident == ("large",)
    assert alone.plan.tasks["a"].allocations[0].replicas == 2


def test_several_tasks_are_refused() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.01)}, "b": {"v": (0.9, 0.01)}})
    with pytest.raises(PlanRequestError, match=r"single task.*2 tasks: a, b"):
        ModelSwitchingPolicy().propose(PlanRequest(pipeline, profile, 1.0, Limits(cores=4.0)))


def test_it_passes_the_kit() -> None:
    check_policy(ModelSwitchingPolicy(), tasks=1)
