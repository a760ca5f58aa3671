"""InfAdapter and MS+ beyond the published profile: limits, settings, overload, and what a question may lack."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.constrain import constrain
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies import make_policy
from trimtab.plan.policies.infadapter.policy import InfAdapterAsCodedPolicy, InfAdapterPolicy, MsPlusPolicy
from trimtab.plan.policies.infadapter.settings import InfAdapterSettings
from trimtab.plan.policies.infadapter.table import fit_line, planned_rates
from trimtab.plan.policies.settings import override
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Pipeline, Prices, Slo, Task, Variant
from trimtab.testing import make_chain

NAMES = ("infadapter", "infadapter-as-coded", "ms+")
CORES = (1, 2, 3, 4, 6, 8)
TABLE = {"heavy": (0.9, 4.0, 3.0), "middle": (0.8, 10.0, 2.0), "light": (0.6, 25.0, 1.0)}
"""Variant → accuracy, capacity per core in requests per second, load time in seconds."""
RATES = (0.0, 0.3, 3.0, 17.0, 60.0, 120.0, 1000.0)


def model(table: Mapping[str, tuple[float, float, float]] = TABLE, *, slo_s: float = 0.5) -> tuple[Pipeline, Profile]:
    variants = {name: Variant(name, None, accuracy) for name, (accuracy, _, _) in table.items()}
    profiles = {
        name: VariantProfile(
            "task", name, (), load_s, 1000, capacity=tuple(CapacityPoint(n, rate * n, 0.4) for n in CORES)
        )
        for name, (_, rate, load_s) in table.items()
    }
    return Pipeline("one", {"task": Task("task", variants)}, Slo(slo_s)), Profile({"task": profiles})


def request(rate: float, cores: float = 8.0, *, groups: int = 3, **others: Any) -> PlanRequest:
    return PlanRequest(*model(), rate, Limits(cores=cores, max_allocations_per_task=groups), **others)


def running(**sizes: int) -> Plan:
    groups = tuple(Allocation(v, 1, n, 1, 1, share=1.0 / len(sizes)) for v, n in sizes.items())
    return Plan({"task": TaskPlan("task", groups, tuple(sizes))}, 1.0)


def sizes(answer: PlanResult) -> dict[str, int]:
    return {a.variant: a.cores for a in answer.plan.tasks["task"].allocations}


def best_by_enumeration(rate: float, cores: int, settings: InfAdapterSettings, current: Plan | None) -> float | None:
    """The best objective of all sets, from the numbers above; None where no set carries the rate."""
    held = {} if current is None else {a.variant: a.cores for a in current.tasks["task"].allocations}
    best = None
    for chosen in itertools.product((0, *CORES[1:]), repeat=len(TABLE)):
        th = {v: math.floor(0.8 * TABLE[v][1] * n + 1e-9) for v, n in zip(TABLE, chosen, strict=True)}
        if sum(chosen) > cores or sum(th.values()) < rate or not any(chosen):
            continue
        rest, accuracy, load_s = rate, 0.0, 0.0
        for (variant, n), (acc, _, wait_s) in zip(zip(TABLE, chosen, strict=True), TABLE.values(), strict=True):
            quota = min(rest, th[variant])
            rest, accuracy = rest - quota, accuracy + quota / rate * acc
            load_s = max(load_s, wait_s) if n and held.get(variant) != n else load_s
        value = settings.alpha * accuracy - settings.beta * sum(chosen) / cores - settings.gamma * load_s / 3.0
        best = value if best is None else max(best, value)
    return best


@given(
    rate=st.floats(0.5, 170.0) | st.integers(1, 170).map(float),
    cores=st.integers(2, 14),
    weights=st.tuples(
        st.sampled_from([0.5, 1.0]), st.sampled_from([0.0, 0.05, 1.0]), st.sampled_from([0.0, 0.001, 0.3])
    ),
    held=st.sampled_from([None, {"heavy": 8}, {"middle": 3, "light": 2}, {"heavy": 2, "middle": 4}]),
)
def test_the_objective_equals_enumeration(
    rate: float, cores: int, weights: tuple[float, float, float], held: dict[str, int] | None
) -> None:
    settings = InfAdapterSettings(*weights)
    current = None if held is None else running(**held)
    answer = InfAdapterPolicy(settings).propose(request(rate, float(cores), current=current))
    best = best_by_enumeration(rate, cores, settings, current)
    assert answer.feasible == (best is not None)
    if best is not None:
        assert answer.objective.value == pytest.approx(best, abs=1e-9)
        assert answer.gap == 0.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_answers_are_sound(name: str, groups: int) -> None:
    policy = make_policy(name)
    pipeline, profile = model()
    task = pipeline.tasks["task"]
    turned = replace(task, variants=dict(reversed(list(task.variants.items()))))
    shuffled = replace(pipeline, tasks={"task": turned})
    for rate in RATES:
        asked = request(rate, groups=groups)
        answer = policy.propose(asked)
        allocations = answer.plan.tasks["task"].allocations
        assert all((a.replicas, a.threads, a.batch) == (1, 1, 1) for a in allocations)
        assert sum(a.share for a in allocations) == pytest.approx(1.0)
        assert constrain(answer.plan, pipeline, profile, asked.limits) == (answer.plan, ())
        assert answer.estimate == estimate(answer.plan, pipeline, profile, rate, latency_model="paper")
        assert answer.estimate.meets_slo or not answer.feasible
        assert policy.propose(asked) == answer
        assert policy.propose(replace(asked, pipeline=shuffled)).plan == answer.plan
    for rate in (math.nan, math.inf, -1.0):
        with pytest.raises(PlanRequestError):
            policy.propose(request(rate))


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_of_several_tasks_is_refused(name: str) -> None:
    chain = make_chain({"a": {"s": (0.9, 0.01)}, "b": {"s": (0.9, 0.01)}})
    with pytest.raises(PlanRequestError, match="plans a single task"):
        make_policy(name).propose(PlanRequest(*chain, 1.0, Limits(cores=4.0)))


def test_more_load_never_gains_and_more_budget_never_costs() -> None:
    # β weighs cores as a share of the budget; with β 0 nothing but the load time is paid for.
    free = InfAdapterSettings(beta=0.0)
    for current in (None, running(heavy=8), running(middle=3, light=2)):
        by_rate = [InfAdapterPolicy().propose(request(r, current=current)) for r in (1.0, 9.0, 22.0, 40.0, 90.0, 150.0)]
        values = [a.objective.value for a in by_rate]
        assert values == sorted(values, reverse=True)
        by_cores = [
            InfAdapterPolicy(free).propose(request(30.0, c, current=current)) for c in (2.0, 4.0, 6.5, 9.0, 13.0)
        ]
        values = [a.objective.value for a in by_cores]
        assert values == sorted(values)


def test_a_rate_of_0_is_the_plan_for_a_lone_request() -> None:
    lone = InfAdapterPolicy().propose(request(0.0))
    assert sizes(lone) == sizes(InfAdapterPolicy().propose(request(0.1))) == {"heavy": 2}
    assert lone.feasible
    # As coded, heavy's 6/s would exceed the rate, and only the least accurate variant is let to.
    assert sizes(InfAdapterAsCodedPolicy().propose(request(0.0))) == {"light": 2}


def test_overload_carries_most_and_then_counts_the_objective() -> None:
    answer = InfAdapterPolicy().propose(request(200.0))
    assert not answer.feasible
    assert sizes(answer) == {"light": 8}
    assert "no set carries this rate" in answer.steps[0].reason
    assert "160/s" in answer.steps[0].reason
    # light carries 160/s on its largest size; on the 5 cores left, middle carries 32/s, middle and heavy 30/s.
    assert sizes(InfAdapterPolicy().propose(request(1000.0, 13.0))) == {"light": 8, "middle": 4}


@pytest.mark.parametrize("policy", [InfAdapterAsCodedPolicy(), MsPlusPolicy()])
def test_where_published_programmes_fail_the_least_accurate_variant_gets_all_cores(policy: InfAdapterPolicy) -> None:
    answer = policy.propose(request(1000.0))
    assert not answer.feasible
    assert sizes(answer) == {"light": 8}
    assert "infeasible; as published" in answer.steps[0].reason


def test_as_coded_hits_the_rate_exactly_or_needs_the_least_accurate_variant() -> None:
    for rate in (16.0, 17.0, 33.0, 41.0):
        answer = InfAdapterAsCodedPolicy().propose(request(rate))
        th = {v: math.floor(0.8 * TABLE[v][1] * n) for v, n in sizes(answer).items()}
        assert sum(t for v, t in th.items() if v != "light") <= rate
        assert answer.objective.value <= InfAdapterPolicy().propose(request(rate)).objective.value + 1e-12
    # middle carries 16/s on 2 cores and 24/s on 3, which is more than 17/s.
    dear = InfAdapterSettings(beta=1.0)
    assert sizes(InfAdapterAsCodedPolicy(dear).propose(request(16.0))) == {"middle": 2}
    assert sizes(InfAdapterPolicy(dear).propose(request(17.0))) == {"middle": 3}
    assert sizes(InfAdapterAsCodedPolicy(dear).propose(request(17.0))) == {"light": 2}


def test_ms_plus_takes_one_variant_no_larger_than_the_most_accurate_one_needs() -> None:
    answers = {rate: MsPlusPolicy().propose(request(rate)) for rate in (5.0, 20.0, 30.0, 60.0, 90.0, 150.0)}
    assert {rate: sizes(a) for rate, a in answers.items()} == {
        5.0: {"heavy": 2}, 20.0: {"heavy": 8}, 30.0: {"middle": 4}, 60.0: {"middle": 8}, 90.0: {"light": 6},
        150.0: {"light": 8},
    }  # fmt: skip
    slow = {"heavy": (0.7, 40.0, 1.0), "light": (0.6, 5.0, 1.0)}
    asked = PlanRequest(*model(slow), 25.0, Limits(cores=8.0))
    dear = MsPlusPolicy(InfAdapterSettings(alpha=0.0, beta=0.0, gamma=0.5))
    # light is running in the size that would do, but heavy needs 2 cores, and that is the cap.
    assert sizes(dear.propose(replace(asked, current=running(light=8)))) == {"heavy": 2}


def test_objective_and_parts_are_the_published_ones() -> None:
    answer = InfAdapterPolicy().propose(request(22.0, current=running(heavy=6, middle=2)))
    parts = answer.objective.parts
    shares = {a.variant: a.share for a in answer.plan.tasks["task"].allocations}
    assert parts["accuracy"] == pytest.approx(sum(TABLE[v][0] * s for v, s in shares.items()))
    assert parts["cores"] == answer.plan.cores
    assert parts["cost"] == answer.plan.cores / 8
    assert parts["load"] == parts["load_s"] / 3.0
    assert answer.objective.value == pytest.approx(
        parts["accuracy"] - 0.05 * parts["cost"] - 0.001 * parts["load"], abs=1e-12
    )


def test_a_smaller_replica_loads_anew_as_published() -> None:
    answer = MsPlusPolicy().propose(request(5.0, current=running(heavy=8)))
    assert sizes(answer) == {"heavy": 2}
    assert answer.objective.parts["load_s"] == 3.0
    assert answer.estimate.load_s == 0.0
    same = MsPlusPolicy(InfAdapterSettings(gamma=0.0)).propose(request(5.0, current=running(heavy=2)))
    assert same.objective.parts["load_s"] == 0.0


def test_other_limits_hold() -> None:
    pipeline, profile = model()
    limits = Limits(cores=8.0, max_allocations_per_task=3)
    wide = InfAdapterPolicy().propose(PlanRequest(pipeline, profile, 70.0, limits))
    assert len(sizes(wide)) == 2
    for tighter in (
        replace(limits, memory_bytes=1500), replace(limits, replicas=1), replace(limits, max_allocations_per_task=1),
    ):  # fmt: skip
        answer = InfAdapterPolicy().propose(PlanRequest(pipeline, profile, 70.0, tighter))
        assert len(sizes(answer)) == 1
        assert answer.feasible
        assert answer.objective.value < wide.objective.value
    priced = replace(pipeline, prices=Prices(core_hour=1.0))
    cheap = InfAdapterPolicy().propose(PlanRequest(priced, profile, 70.0, replace(limits, cost_per_hour=6.0)))
    assert cheap.estimate.cost_per_hour == sum(sizes(cheap).values()) <= 6
    crowded = InfAdapterPolicy().propose(PlanRequest(pipeline, profile, 500.0, replace(limits, memory_bytes=1500)))
    assert not crowded.feasible
    assert sizes(crowded) == {"light": 8}
    for name in NAMES:
        for nothing in (replace(limits, memory_bytes=10), replace(limits, replicas=0), replace(limits, cores=1.0)):
            with pytest.raises(PlanRequestError):
                make_policy(name).propose(PlanRequest(pipeline, profile, 70.0, nothing))


def test_a_profile_of_service_times_is_used_and_said_so() -> None:
    shapes = tuple((c, t) for c in (1, 2, 4, 8) for t in (1, 2) if c >= t)
    pipeline, profile = make_chain({"task": {"s": (0.7, 0.05), "l": (0.9, 0.1)}}, slo_s=0.2, shapes=shapes)
    asked = PlanRequest(pipeline, profile, 30.0, Limits(cores=8.0, max_allocations_per_task=2))
    answer = InfAdapterPolicy().propose(asked)
    # Two threads are √2 times as fast as one, so one thread each serves more: 8 ÷ 0.1 s.
    assert answer.feasible
    assert [(a.variant, a.cores, a.threads) for a in answer.plan.tasks["task"].allocations] == [("l", 4, 1)]
    notes = [step.reason for step in answer.steps[1:]]
    assert "task/l: capacity taken from service times, one request at a time" in notes
    assert "task/l: load time not known, counted as nothing" in notes
    # The lone thread takes 0.12 s at the quantile; only two threads are within 0.1 s.
    tight = InfAdapterPolicy().propose(replace(asked, pipeline=replace(pipeline, slo=Slo(0.1)), rate_rps=5.0))
    assert [(a.variant, a.threads) for a in tight.plan.tasks["task"].allocations] == [("l", 2)]
    # Nothing is within 0.01 s.
    late = InfAdapterPolicy().propose(replace(asked, pipeline=replace(pipeline, slo=Slo(0.01)), rate_rps=5.0))
    assert not late.feasible
    assert "no replica that may be used is within the SLO" in " ".join(step.reason for step in late.steps)


def test_what_was_measured_has_the_last_word() -> None:
    pipeline, profile = model()
    odd = replace(
        profile.variants["task"]["heavy"],
        capacity=tuple(CapacityPoint(n, 1.0 if n == 6 else 8.0 * n, 0.4) for n in CORES),
    )
    asked = PlanRequest(pipeline, Profile({"task": {"heavy": odd}}), 30.0, Limits(cores=6.0))
    answer = InfAdapterPolicy().propose(asked)
    assert sizes(answer) == {"heavy": 6}
    assert not answer.feasible
    assert "what was measured of these replicas does not" in answer.steps[-1].reason
    measured = InfAdapterPolicy(InfAdapterSettings(capacity="measured")).propose(asked)
    assert sizes(measured) == {"heavy": 4}


def test_the_line_is_fitted_as_published() -> None:
    assert fit_line([1, 2, 4], [3.0, 5.0, 9.0]) == pytest.approx((2.0, 0.0))  # the intercept of 1 is cut to 0.99 to 0
    assert fit_line([1, 2, 4], [0.5, 2.5, 6.5]) == pytest.approx((2.0, -1.0))  # -1.5 without its fraction
    capacities = {n: 10.0 * n for n in (1, 2, 3)}
    assert planned_rates(capacities, InfAdapterSettings())[0] == {1: 8, 2: 16, 3: 24}
    assert planned_rates(capacities, InfAdapterSettings(fit_cores=(3,)))[0] == {1: 8, 2: 16, 3: 24}
    rates, words = planned_rates({4: 11.0}, InfAdapterSettings())
    assert rates == {4: 8}
    assert words == ("measured on 4 cores only, so no line is fitted",)


def test_settings_come_from_the_pipeline_and_are_checked() -> None:
    pipeline, _ = model()
    given = {"beta": 0.2, "min_cores": 1, "fit_cores": (1, 2), "capacity": "measured"}
    found = override(InfAdapterSettings(), replace(pipeline, policies={"infadapter": given}), "infadapter")
    assert found == InfAdapterSettings(beta=0.2, min_cores=1, fit_cores=(1, 2), capacity="measured")
    asked = request(1.0)
    small = replace(asked, pipeline=replace(pipeline, policies={"ms+": {"min_cores": 1}}))
    assert sizes(MsPlusPolicy().propose(small)) == {"heavy": 1}
    for wrong in ({"beta": -1.0}, {"gamma": math.nan}, {"capacity_factor": 0.0}, {"min_cores": 0}, {"fit_cores": (0,)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InfAdapterSettings(**wrong)


def test_a_plan_in_force_of_another_shape_is_not_what_is_kept() -> None:
    groups = (Allocation("heavy", 2, 2, 1, 1), Allocation("middle", 1, 5, 1, 1, share=0.0))
    strange = Plan({"task": TaskPlan("task", groups, ("heavy", "middle"))}, 1.0)
    answer = MsPlusPolicy().propose(request(5.0, current=strange))
    assert answer.objective.parts["load_s"] == 3.0
    assert np.isfinite(answer.objective.value)
