"""Themis's vertical programme against brute force, and when which programme is asked."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.forecast.exceed import themis
from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, PlanResult
from trimtab.plan.policies.pipelines.instances import instances
from trimtab.plan.policies.pipelines.themis import ThemisPolicy
from trimtab.plan.policies.pipelines.themis_programmes import ThemisSettings, vertical_choice
from trimtab.testing import check_observing_policy, check_policy, make_chain

SHAPES = ((1, 1), (2, 2), (4, 4))
EXACT = ThemisSettings(latency="measured", queueing="worst")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from([0.004, 0.02, 0.06]), min_size=1, max_size=2),
    st.sampled_from([1.0, 9.0, 40.0, 150.0]),
    st.sampled_from([0.08, 0.3, 1.0]),
    st.lists(st.integers(1, 6), min_size=2, max_size=2),
    st.lists(st.sampled_from([1, 2, 4]), min_size=2, max_size=2),
)
def test_the_vertical_programme_equals_enumeration(
    seconds: list[float], rate: float, slo_s: float, counts: list[int], least: list[int]
) -> None:
    names = [f"t{i}" for i in range(len(seconds))]
    pipeline, profile = make_chain(
        {name: {"v": (0.9, s)} for name, s in zip(names, seconds, strict=True)},
        slo_s=slo_s,
        shapes=SHAPES,
        batches=(1, 2, 4),
        batch_gain=0.5,
    )
    request = PlanRequest(pipeline, profile, rate, Limits(cores=100.0))
    tables = {name: instances(request, name, "v", SHAPES) for name in names}
    has = dict(zip(names, counts, strict=False))
    found = vertical_choice(
        request, tables, has, dict(zip(names, least, strict=False)), dict.fromkeys(names, rate), "worst"
    )
    best = math.inf
    for points in itertools.product(*(profile.variants[name]["v"].points for name in names)):
        latency_ms = 0
        fits = True
        for name, p, fewest in zip(names, points, least, strict=False):
            latency_s = p.quantiles_s[0.99]
            latency_ms += math.ceil(1000 * (latency_s + (p.batch - 1) / rate))
            carried = has[name] * p.batch / latency_s
            fits = fits and p.cores >= fewest and carried >= rate + math.sqrt(rate)
        if fits and latency_ms < 1000 * slo_s:
            best = min(best, sum(has[name] * p.cores for name, p in zip(names, points, strict=True)))
    assert (found is None) == math.isinf(best)
    if found is not None:
        assert sum(has[name] * one.cores for name, one in found.items()) == best


def question(rate: float, current: Plan | None = None, cores: float = 40.0, groups: int = 8) -> PlanRequest:
    """One task: p99 is 120, 85 and 60 ms on 1, 2 and 4 cores: 8.3, 11.8 and 16.7 a second."""
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}}, slo_s=0.6, shapes=SHAPES, batches=(1,))
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores, max_allocations_per_task=groups), current=current)


def seen(now_s: float, ready: int) -> Observation:
    task = TaskObservation(queued=0, in_service=0, replicas_ready=ready, replicas_starting=0, cores=0)
    return Observation(now_s, 1.0, (10,), Outcomes(), {"a": task})


def shape(result: PlanResult | Plan) -> list[tuple[int, int]]:
    plan = result if isinstance(result, Plan) else result.plan
    return [(group.replicas, group.cores) for group in plan.tasks["a"].allocations]


def test_it_grows_in_place_first_and_then_out() -> None:
    policy = ThemisPolicy(EXACT)
    first = policy.propose(question(20.0)).plan
    assert shape(first) == [(3, 1)], "replicas of one core"
    policy.observe(seen(1.0, 3), first)
    # 28 + √28 = 33.3: three replicas of two cores serve 35.4.
    grown = policy.propose(question(28.0, first))
    assert grown.feasible
    assert shape(grown) == [(3, 2)]
    # Carried: 35.4 > 28. Nothing changes for ten seconds, then there are enough small ones, and one more.
    for t in range(2, 11):
        policy.observe(seen(float(t), 3), grown.plan)
        assert shape(policy.propose(question(28.0, grown.plan))) == [(3, 2)]
    policy.observe(seen(11.0, 3), grown.plan)
    between = policy.propose(question(28.0, grown.plan)).plan
    assert shape(between) == [(3, 2), (2, 1)], "4 of one core serve 33.3, and one more; the old ones stay meanwhile"
    assert [group.share for group in between.tasks["a"].allocations] == pytest.approx(
        [35.36 / 52.02, 16.67 / 52.02], rel=1e-3
    )
    policy.observe(seen(12.0, 3), between)
    assert shape(policy.propose(question(28.0, between))) == [(3, 2), (2, 1)], "the new ones are not ready"
    policy.observe(seen(13.0, 5), between)
    assert shape(policy.propose(question(28.0, between))) == [(5, 1)]


def test_a_plant_with_one_group_shrinks_at_once() -> None:
    policy = ThemisPolicy(EXACT)
    grown = policy.propose(question(28.0, policy.propose(question(20.0)).plan)).plan
    assert shape(policy.propose(question(28.0, grown, groups=1))) == [(5, 1)]


def test_cores_never_fall_while_the_load_is_not_carried() -> None:
    policy = ThemisPolicy(EXACT)
    start = policy.propose(question(20.0)).plan
    two = replace(start.tasks["a"], allocations=(Allocation("v", 3, 2, 2, 1),))
    large = Plan({"a": two}, 20.0)
    # 36 > 35.4: four cores each serve 50, and no fewer than two are looked at.
    assert shape(policy.propose(question(36.0, large))) == [(3, 4)]


def test_what_cores_cannot_carry_starts_more_replicas() -> None:
    policy = ThemisPolicy(EXACT)
    start = policy.propose(question(20.0)).plan
    result = policy.propose(question(60.0, start))
    # r + √r ≤ 3 · 16.67 = 50 gives r = 43.41; the rest, 16.59, needs one more.
    assert shape(result) == [(4, 4)]
    assert "carry 43.39" in result.steps[0].reason


def test_a_task_at_its_most_cores_goes_out() -> None:
    policy = ThemisPolicy(EXACT)
    start = policy.propose(question(20.0)).plan
    full = Plan({"a": replace(start.tasks["a"], allocations=(Allocation("v", 3, 4, 4, 1),))}, 20.0)
    policy.observe(seen(1.0, 3), full)
    result = policy.propose(question(60.0, full))
    # ⌈60 / 8.33⌉ = 8 small ones and one more, beside the three that stay until those are ready.
    assert shape(result) == [(3, 4), (6, 1)]
    # Without room for that, the large ones get company of their size as far as it goes.
    assert shape(policy.propose(question(600.0, full, cores=20.0))) == [(5, 4)]


def test_a_rise_that_is_likely_keeps_large_replicas() -> None:
    start = ThemisPolicy(EXACT).propose(question(20.0)).plan
    large = Plan({"a": replace(start.tasks["a"], allocations=(Allocation("v", 5, 2, 2, 1),))}, 50.0)
    counts = [*range(30, 54, 2)] * 5
    chance = themis()
    chance.observe(counts)
    told = chance.probability(58.93)
    assert told is not None
    assert told == pytest.approx(0.2, abs=0.15), "the counts were chosen to leave room on both sides"
    for least, wanted in ((None, [(5, 2), (2, 1)]), (0.9 * told, [(5, 2)]), (1.1 * told, [(5, 2), (2, 1)])):
        policy = ThemisPolicy(replace(EXACT, rise_chance=least, stable_s=1.0))
        for t, count in enumerate(counts, start=1):
            policy.observe(replace(seen(float(t), 5), arrivals=(count,)), large)
        result = policy.propose(question(50.0, large))
        assert shape(result) == wanted
        assert ("more than 58.93/s within 10 s" in result.steps[0].reason) == (len(wanted) == 1)


def test_a_fit_has_a_tenth_more() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}}, slo_s=0.6, batches=(1, 2))
    request = PlanRequest(pipeline, profile, 41.0, Limits(cores=40.0))
    # p99 of one request is 120 ms, so 8.33 a second; with a tenth more 132 ms and 7.58.
    single = {"max_batch": 1, "queueing": "worst"}
    for margin, replicas in ((0.0, 5), (0.1, 6)):
        written = replace(pipeline, policies={"themis": {**single, "margin": margin}})
        (group,) = ThemisPolicy().propose(replace(request, pipeline=written)).plan.tasks["a"].allocations
        assert group.replicas == replicas


@pytest.mark.parametrize("tasks", [1, 2])
def test_it_passes_the_kit(tasks: int) -> None:
    check_policy(ThemisPolicy(), tasks=tasks)
    check_observing_policy(ThemisPolicy, tasks=tasks)
    check_observing_policy(lambda: ThemisPolicy(ThemisSettings(rise_chance=0.2)), tasks=tasks)


def test_a_chance_is_a_probability() -> None:
    with pytest.raises(ValueError, match="rise_chance is 2"):
        ThemisSettings(rise_chance=2.0)
