"""INFaaS: its rules by hand, what it replicates and what it upgrades, and that accuracy is never traded."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.policies.autoscalers.watching import watch

from trimtab.observe.model import Observation, Outcomes
from trimtab.plan.constrain import constrain
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, TaskPlan
from trimtab.plan.policies.autoscalers.infaas import InfaasPolicy, InfaasSettings
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Pipeline, Slo, Task, Variant
from trimtab.testing import make_chain


def table(rate: float, cores: float = 40.0, *, load_s: float | None = 5.0) -> PlanRequest:
    """Replicas of 1, 2, 4 and 8 cores serve 10, 20, 45 and 60 items a second."""
    rows = tuple(CapacityPoint(n, mu, 0.1) for n, mu in ((1, 10.0), (2, 20.0), (4, 45.0), (8, 60.0)))
    profile = Profile({"a": {"v": VariantProfile("a", "v", (), load_time_s=load_s, capacity=rows)}})
    pipeline = Pipeline("one", {"a": Task("a", {"v": Variant("v", None, 0.9)})}, Slo(1.0))
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores))


def held(cores: int, count: int, rate: float = 1.0) -> Plan:
    return Plan({"a": TaskPlan("a", (Allocation("v", count, cores, 1, 1),), ("v",))}, rate)


def size(plan: Plan) -> tuple[int, int]:
    """Cores of one replica, and how many."""
    (group,) = plan.tasks["a"].allocations
    return group.cores, group.replicas


def step(
    rate: float, cores: int, count: int, *, limit: float = 40.0, load_s: float | None = 5.0, **settings: float
) -> tuple[int, int]:
    """What follows from so many replicas at a rate, with nothing seen before."""
    policy = InfaasPolicy(InfaasSettings(**settings))  # type: ignore[arg-type]
    return size(policy.propose(replace(table(rate, limit, load_s=load_s), current=held(cores, count))).plan)


def test_the_first_plan_is_the_fixed_replica_with_slack() -> None:
    assert size(InfaasPolicy().propose(table(0.0)).plan) == (1, 1)
    assert size(InfaasPolicy().propose(table(19.0)).plan) == (1, 2)
    assert size(InfaasPolicy().propose(table(19.1)).plan) == (1, 3)
    assert size(InfaasPolicy(InfaasSettings(slack=0.0)).propose(table(19.1)).plan) == (1, 2)
    assert size(InfaasPolicy(InfaasSettings(cores={"a": 4})).propose(table(100.0)).plan) == (4, 3)


def test_going_up_by_hand() -> None:
    assert step(9.5, 1, 1) == (1, 1)
    # 0.1 too much: one replica more costs one load, and the next version as much.
    assert step(9.6, 1, 1) == (1, 2)
    # Three would be beyond the cap of two; one of two cores serves 19 with slack, so two of it are needed.
    assert step(19.1, 1, 2) == (2, 2)
    assert step(19.1, 1, 2, replica_cap=3) == (1, 3)
    assert step(19.1, 1, 1, replica_cap=3) == (1, 2)
    # Two more replicas, and two of two cores.
    assert step(25.0, 1, 1, replica_cap=3) == (1, 3)
    assert step(38.5, 2, 1, replica_cap=9) == (2, 2), "the excess, 19.5, is less than one more serves"
    assert step(43.0, 2, 1, replica_cap=9) == (2, 3), "two of four cores are needed, which costs as much"
    assert step(41.0, 2, 1, replica_cap=9) == (4, 1), "two replicas more, against one"
    assert step(41.0, 2, 1, replica_cap=9, upgrade_factor=3.0) == (2, 3)
    # The largest version has none above it.
    assert step(200.0, 8, 2) == (8, 4)


def test_an_upgrade_needs_room() -> None:
    assert step(30.0, 1, 2, limit=4.0) == (2, 2)
    assert step(30.0, 1, 2, limit=3.0) == (1, 3), "two of two cores do not fit; neither do four of one"


def test_load_times_decide_and_unknown_ones_count_as_equal() -> None:
    assert step(41.0, 2, 1, replica_cap=9, load_s=None) == (4, 1)


def watch_rates(policy: InfaasPolicy, request: PlanRequest, plan: Plan, rates: list[float]) -> list[tuple[int, int]]:
    turns = watch(policy, request, len(rates), lambda _: {"a": 0.0}, plan=plan, rate_rps=lambda s: rates[s - 1])
    return [size(plan) for _, plan in turns[1:]]


def test_one_replica_goes_after_ten_votes_in_a_row() -> None:
    sizes = watch_rates(InfaasPolicy(), table(1.0), held(1, 3), [19.0] * 12)
    assert sizes == [(1, 3)] * 10 + [(1, 2)] * 2
    broken = watch_rates(InfaasPolicy(), table(1.0), held(1, 3), [19.0] * 9 + [21.0] + [19.0] * 12)
    assert broken == [(1, 3)] * 20 + [(1, 2)] * 2
    hasty = watch_rates(InfaasPolicy(InfaasSettings(down_votes=0)), table(1.0), held(1, 3), [5.0] * 3)
    assert hasty == [(1, 2), (1, 1), (1, 1)]


def test_the_published_rules_contradict_each_other_close_to_full_use() -> None:
    # Two replicas serve 20 and are enough to go down to, and too few to stay at: 5 % of 20 have to be free.
    sizes = watch_rates(InfaasPolicy(InfaasSettings(replica_cap=3)), table(1.0), held(1, 3), [20.0] * 24)
    assert sizes == [(1, 3)] * 10 + [(1, 2)] + [(1, 3)] * 11 + [(1, 2), (1, 3)]


def test_each_replica_needs_its_own_votes() -> None:
    sizes = watch_rates(InfaasPolicy(), table(1.0), held(1, 3), [5.0] * 24)
    assert sizes == [(1, 3)] * 10 + [(1, 2)] * 11 + [(1, 1)] * 3


def test_a_last_replica_goes_back_to_the_version_below() -> None:
    sizes = watch_rates(InfaasPolicy(), table(1.0), held(4, 1), [20.0] * 11)
    assert sizes == [(4, 1)] * 10 + [(2, 1)]
    kept = watch_rates(InfaasPolicy(), table(1.0), held(4, 1), [21.0] * 20)
    assert set(kept) == {(4, 1)}


def test_what_was_not_counted_is_no_vote() -> None:
    policy, request, plan = InfaasPolicy(), table(5.0), held(1, 2)
    for second in range(1, 31):
        arrivals = (5,) if second > 20 else (None,)
        policy.observe(Observation(float(second), 1.0, arrivals, Outcomes(), {}), plan)
    assert size(policy.propose(replace(request, current=plan)).plan) == (1, 2)
    policy.observe(Observation(31.0, 1.0, (5, None), Outcomes(), {}), plan)
    assert size(policy.propose(replace(request, current=plan)).plan) == (1, 1)


def test_versions_that_are_slower_or_hold_more_for_as_much_are_left_out() -> None:
    pipeline, profile = make_chain(
        {"a": {"low": (0.7, 0.001), "quick": (0.9, 0.02), "same": (0.9, 0.03)}},
        slo_s=1.0, shapes=((1, 1), (2, 1), (2, 2)), batches=(1, 2), batch_gain=0.5,
    )  # fmt: skip
    settings = InfaasSettings(variants={"a": "same"}, replica_cap=1)
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=64.0))
    first = InfaasPolicy(settings).propose(request).plan.tasks["a"].allocations[0]
    assert (first.variant, first.cores, first.batch) == ("same", 1, 1)
    # On one core, batches of 2 serve 67/s and single requests 50/s; on two, 133/s. One replica is all that is cheap.
    held, plan = [], Plan({"a": TaskPlan("a", (first,), ("same",))}, 1.0)
    for rate in (60.0, 120.0, 120.0, 127.0):
        plan = InfaasPolicy(settings).propose(replace(request, rate_rps=rate, current=plan)).plan
        group = plan.tasks["a"].allocations[0]
        held.append((group.variant, group.replicas, group.cores, group.threads, group.batch))
    assert held == [("quick", 1, 1, 1, 2), ("quick", 1, 2, 1, 2), ("quick", 1, 2, 1, 2), ("quick", 2, 2, 1, 2)]


@given(st.lists(st.floats(0.0, 400.0), min_size=1, max_size=40), st.integers(2, 20), st.integers(0, 3))
def test_accuracy_is_never_traded_and_limits_hold(rates: list[float], cores: int, votes: int) -> None:
    pipeline, profile = make_chain(
        {"a": {"low": (0.7, 0.001), "high": (0.9, 0.02)}, "b": {"low": (0.7, 0.001), "high": (0.9, 0.05)}},
        shapes=((1, 1), (2, 1), (2, 2)), batches=(1, 4),
    )  # fmt: skip
    policy = InfaasPolicy(InfaasSettings(down_votes=votes))
    request = PlanRequest(pipeline, profile, rates[0], Limits(cores=float(cores)))
    plan = policy.propose(request).plan
    for second, rate in enumerate(rates):
        policy.observe(Observation(second + 1.0, 1.0, (round(rate),), Outcomes(), {}), plan)
        plan = policy.propose(replace(request, rate_rps=rate, current=plan)).plan
        assert plan.variants() == {"a": ("high",), "b": ("high",)}
        assert constrain(plan, pipeline, profile, request.limits)[0] == plan


@pytest.mark.parametrize(
    "wrong", [{"slack": 1.0}, {"down_votes": 601}, {"replica_cap": 0}, {"upgrade_factor": -1.0}, {"batch": 0}]
)
def test_settings_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        InfaasSettings(**wrong)  # type: ignore[arg-type]
