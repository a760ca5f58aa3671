"""Proteus's programme against enumeration of the cluster, with the traffic shared out by hand."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies.pipelines.cluster import Host
from trimtab.plan.policies.pipelines.loki import LokiPolicy
from trimtab.plan.policies.pipelines.proteus import ProteusPolicy, ProteusSettings, host
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.testing import check_observing_policy, check_policy, make_chain, observation

PIPELINE, PROFILE = make_chain({"a": {"v": (0.9, 0.01)}, "b": {"v": (0.9, 0.01)}})
HOSTS = st.lists(
    st.tuples(st.sampled_from([0.6, 0.8, 0.9, 0.95]), st.sampled_from([4.0, 9.0, 25.0, 60.0])), min_size=1, max_size=3
)


def hosts_of(task: str, pairs: list[tuple[float, float]], cores: int) -> list[Host]:
    return [Host(task, f"v{i}", accuracy, cores, 1, 1, 0.1, rate, 0) for i, (accuracy, rate) in enumerate(pairs)]


def best_accuracy(hosts: Mapping[str, list[Host]], rates: Mapping[str, float], beta: float, cores: int) -> float | None:
    """Σ A·f / Σ s by enumeration, for β ≥ 1: each task's most accurate replicas are filled first, up to P/β."""
    every = [h for some in hosts.values() for h in some]
    best = None
    for counts in itertools.product(*(range(cores // h.cores + 1) for h in every)):
        n = dict(zip(every, counts, strict=True))
        if sum(h.cores * n[h] for h in every) > cores:
            continue
        worth = 0.0
        for task, some in hosts.items():
            left = rates[task]
            for h in sorted(some, key=lambda h: -h.accuracy):
                sent = min(left, n[h] * h.rate / beta)
                worth, left = worth + h.accuracy * sent, left - sent
            if left > 1e-9:
                break
        else:
            worth /= sum(rates.values())
            best = worth if best is None else max(best, worth)
    return best


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    HOSTS,
    HOSTS,
    st.sampled_from([3.0, 20.0, 70.0]),
    st.sampled_from([1.0, 30.0]),
    st.sampled_from([1.0, 1.05, 1.4]),
    st.integers(2, 5),
)
def test_the_programme_equals_enumeration(
    first: list[tuple[float, float]],
    second: list[tuple[float, float]],
    one: float,
    other: float,
    beta: float,
    cores: int,
) -> None:
    hosts = {"a": hosts_of("a", first, 1), "b": hosts_of("b", second, 2)}
    rates = {"a": one, "b": other}
    request = PlanRequest(PIPELINE, PROFILE, 1.0, Limits(cores=float(cores), max_allocations_per_task=8))
    found = host(request, hosts, rates, beta, float(cores), 8)
    best = best_accuracy(hosts, rates, beta, cores)
    assert (found is None) == (best is None)
    if found is not None and best is not None:
        groups, gap = found
        assert gap == 0.0
        assert sum(g.host.cores * g.replicas for some in groups.values() for g in some) <= cores
        worth = 0.0
        for task, some in groups.items():
            assert sum(g.traffic for g in some) == pytest.approx(rates[task])
            for g in some:
                assert beta * g.traffic <= g.replicas * g.host.rate * (1.0 + 1e-6) + 1e-6
                worth += g.host.accuracy * g.traffic
        assert worth / sum(rates.values()) == pytest.approx(best, abs=2e-5)


TASK = {"a": {"small": (0.80, 0.010), "large": (0.90, 0.040)}}


def ask(
    rate: float, cores: float = 4.0, groups: int = 8, policy: ProteusPolicy | None = None, **written: object
) -> PlanResult:
    """One core serves 100 or 25 a second, in batches of one."""
    pipeline, profile = make_chain(TASK, batches=(1,))
    pipeline = replace(pipeline, policies={"proteus": written})
    limits = Limits(cores=cores, max_allocations_per_task=groups)
    return (policy or ProteusPolicy()).propose(PlanRequest(pipeline, profile, rate, limits))


def groups_of(result: PlanResult) -> dict[str, tuple[int, float]]:
    return {g.variant: (g.replicas, round(g.share, 4)) for g in result.plan.tasks["a"].allocations}


def test_variants_share_the_cluster_by_hand() -> None:
    # Three large ones carry 75 / 1.05 = 71.43 of 150; one small one carries 95.2 and has to take the other 78.57.
    result = ask(150.0)
    assert groups_of(result) == {"small": (1, round(78.5714 / 150, 4)), "large": (3, round(71.4286 / 150, 4))}
    assert "1.05 times" in result.steps[0].reason
    # With one variant at a time, two small ones carry 190 and two idle cores join them.
    assert groups_of(ask(150.0, groups=1)) == {"small": (4, 1.0)}
    assert groups_of(ask(150.0, groups=1, whole_cluster=False)) == {"small": (2, 1.0)}


def test_the_whole_cluster_is_held_also_without_need() -> None:
    assert groups_of(ask(10.0)) == {"large": (4, 1.0)}
    assert groups_of(ask(10.0, whole_cluster=False)) == {"large": (1, 1.0)}
    assert ask(10.0).feasible


def test_beyond_capacity_beta_falls_and_the_plan_is_called_infeasible() -> None:
    # All small: 400. 395 · 1.05 is more, 395 · 1 is not.
    result = ask(395.0)
    assert "capacity of 1 times" in result.steps[0].reason
    result = ask(500.0)
    # 0.8 · 500 = 400; what is routed to a small one beyond its capacity is not served.
    assert "capacity of 0.8 times" in result.steps[0].reason
    assert not result.feasible
    result = ask(5000.0)
    assert not result.feasible
    assert "not 20 % of 5000/s" in result.steps[0].reason
    assert groups_of(result) == {"small": (4, 1.0)}


def test_batches_stay_below_half_of_the_tasks_slo() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.02)}}, slo_s=0.3)
    asked = PlanRequest(pipeline, profile, 10.0, Limits(cores=4.0))
    # p99 of 1, 2, 4, 8: 24, 45.6, 88.8, 175 ms; half of the SLO is 150 ms.
    assert ProteusPolicy().propose(asked).plan.tasks["a"].allocations[0].batch == 4
    assert ProteusPolicy(ProteusSettings(max_batch=2)).propose(asked).plan.tasks["a"].allocations[0].batch == 2
    slow = replace(asked, pipeline=replace(pipeline, slo=replace(pipeline.slo, latency_s=0.04)))
    result = ProteusPolicy().propose(slow)
    assert not result.feasible
    assert "no batch of some task is fast enough" in result.steps[0].reason


def test_a_capacity_tables_latency_is_held_against_the_whole_slo() -> None:
    pipeline, _ = make_chain({"a": {"v": (0.9, 0.02)}}, slo_s=0.75)
    rows = (CapacityPoint(2, 40.0, 0.7),)
    profile = Profile({"a": {"v": VariantProfile("a", "v", (), capacity=rows)}})
    for slo_s, feasible in ((0.75, True), (0.69, False)):
        asked = replace(pipeline, slo=replace(pipeline.slo, latency_s=slo_s))
        for policy in (ProteusPolicy(), LokiPolicy()):
            assert policy.propose(PlanRequest(asked, profile, 30.0, Limits(cores=4.0))).feasible == feasible


def test_rates_are_rounded_down_only_where_asked() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.6)}}, slo_s=3.0, batches=(1,))
    asked = PlanRequest(pipeline, profile, 1.2, Limits(cores=2.0))
    # 1.67 a second each, 3.33 in all; rounded down 2, which is 1.2 · 1.05 too.
    assert ProteusPolicy().propose(asked).plan.cores == 2
    floored = replace(asked, rate_rps=2.0, pipeline=replace(pipeline, policies={"proteus": {"whole_rates": True}}))
    assert "1.05 times" in ProteusPolicy().propose(replace(asked, rate_rps=2.0)).steps[0].reason
    assert "capacity of 1 times" in ProteusPolicy().propose(floored).steps[0].reason


def test_the_demand_is_what_was_counted() -> None:
    policy = ProteusPolicy()
    plan = ask(10.0).plan
    policy.observe(observation(1.0, 150), plan)
    assert groups_of(ask(10.0, policy=policy)) == groups_of(ask(150.0))


@pytest.mark.parametrize("tasks", [1, 2])
def test_it_passes_the_kit(tasks: int) -> None:
    check_policy(ProteusPolicy(), tasks=tasks)
    check_observing_policy(ProteusPolicy, tasks=tasks)
