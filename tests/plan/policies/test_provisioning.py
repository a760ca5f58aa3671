from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, TaskPlan
from trimtab.plan.policies.oracle import OraclePolicy
from trimtab.plan.policies.provisioning import (
    StaticMinPolicy,
    StaticMinSettings,
    StaticPeakPolicy,
    StaticPeakSettings,
)
from trimtab.plan.policies.trimtab import TrimtabPolicy
from trimtab.plan.pool import UTILISATION_CAP
from trimtab.testing import check_policy, make_chain

TASKS = {"a": {"s": (0.8, 0.004), "l": (0.95, 0.02)}, "b": {"s": (0.8, 0.003), "l": (0.9, 0.012)}}


def question(rate: float, cores: float = 30.0) -> PlanRequest:
    pipeline, profile = make_chain(TASKS, slo_s=0.2, shapes=((1, 1), (2, 2)), batches=(1, 4), batch_gain=0.6)
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores))


def fewest_cores(request: PlanRequest, variant: str) -> int:
    """By enumeration, one variant for both tasks."""
    groups = [
        [
            Allocation(variant, n, p.cores, p.threads, p.batch)
            for p in request.profile.variants[task][variant].points
            for n in range(1, 8)
        ]
        for task in request.pipeline.tasks
    ]
    best = 10**9
    for picks in itertools.product(*groups):
        cores = sum(a.total_cores for a in picks)
        if cores < best:
            tasks = {t: TaskPlan(t, (a,), (variant,)) for t, a in zip(request.pipeline.tasks, picks, strict=True)}
            found = estimate(Plan(tasks, request.rate_rps), request.pipeline, request.profile, request.rate_rps)
            if found.meets_slo and max(t.utilisation for t in found.tasks.values()) <= UTILISATION_CAP:
                best = cores
    return best


@pytest.mark.parametrize("rate", [3.0, 60.0])
def test_it_is_the_smallest_plan_that_holds_the_rate(rate: float) -> None:
    for policy in (StaticMinPolicy(), StaticPeakPolicy()):
        result = policy.propose(question(rate))
        assert result.feasible
        assert result.plan.variants() == {"a": ("l",), "b": ("l",)}
        assert result.plan.cores == fewest_cores(question(rate), "l")


def test_the_rate_of_the_settings_counts_and_no_other() -> None:
    low = StaticMinPolicy(StaticMinSettings(min_rps=3.0))
    high = StaticPeakPolicy(StaticPeakSettings(peak_rps=60.0))
    for policy, rate in ((low, 3.0), (high, 60.0)):
        plans = {policy.propose(question(r)).plan.id for r in (0.0, 3.0, 60.0, 500.0)}
        assert plans == {policy.propose(question(rate)).plan.id}
    assert not low.propose(question(60.0)).feasible, "it is judged at the rate asked for"
    assert high.propose(question(3.0)).feasible
    bursty = replace(question(3.0), arrival_scv=4.0, service_ratio={"a": 3.0})
    assert high.propose(bursty).plan.id == high.propose(question(3.0)).plan.id, "what is measured live does not count"


def test_a_simulation_asks_for_the_least_and_the_highest_rate() -> None:
    for policy, first in ((StaticMinPolicy(), "least"), (StaticPeakPolicy(), "peak")):
        assert policy.rhythm.first == first
        assert policy.rhythm.every_s >= 1e9, "once and not again"


def test_variants_can_be_set() -> None:
    request = question(60.0)
    written = replace(
        request.pipeline,
        policies={"static-peak": {"pin": "least-accurate"}, "static-min": {"variants": {"a": "s"}, "min_rps": 7.0}},
    )
    light = StaticPeakPolicy().propose(replace(request, pipeline=written)).plan
    assert light.variants() == {"a": ("s",), "b": ("s",)}
    assert light.cores == fewest_cores(request, "s")
    mixed = StaticMinPolicy().propose(replace(request, pipeline=written))
    assert mixed.plan.variants() == {"a": ("s",), "b": ("l",)}
    assert "for 7/s" in mixed.steps[0].reason


def test_too_much_is_answered_with_what_is_held() -> None:
    result = StaticPeakPolicy().propose(question(5000.0, cores=4.0))
    assert not result.feasible
    assert result.plan.cores <= 4
    assert "nothing holds 5000/s" in result.steps[0].reason
    wrong = replace(question(1.0).pipeline, policies={"static-min": {"min_rps": -1.0}})
    with pytest.raises(PlanRequestError, match="static-min"):
        StaticMinPolicy().propose(replace(question(1.0), pipeline=wrong))


def test_the_oracle_is_the_exact_plan_asked_each_second() -> None:
    oracle = OraclePolicy()
    for rate in (0.0, 20.0, 200.0, 5000.0):
        mine, exact = oracle.propose(question(rate, 6.0)), TrimtabPolicy().propose(question(rate, 6.0))
        assert mine.plan == exact.plan
        assert mine.policy == "oracle"
    assert oracle.decides == TrimtabPolicy.decides
    assert (oracle.rhythm.every_s, oracle.rhythm.horizon_s, oracle.rhythm.forecaster) == (1.0, 1.0, "oracle")


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("policy", [StaticMinPolicy(), StaticPeakPolicy(), OraclePolicy()], ids=lambda p: p.name)
def test_they_pass_the_kit(policy: StaticMinPolicy | StaticPeakPolicy | OraclePolicy, tasks: int) -> None:
    check_policy(policy, tasks=tasks)
