"""The vertical pod autoscaler: its histogram against numpy, its formulas by hand, and how fast it follows a step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.policies.autoscalers.watching import seen, watch

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Limits, Plan, PlanRequest
from trimtab.plan.policies.autoscalers.vpa import VpaPlusPolicy, VpaPolicy, VpaSettings, recommend
from trimtab.plan.policies.autoscalers.vpa_histogram import (
    BUCKETS,
    DecayingHistogram,
    bucket_end,
    bucket_of,
    bucket_start,
)
from trimtab.testing import make_chain

DAY_S = 86400.0
EDGES = 0.01 * (1.05 ** np.arange(176) - 1.0) / 0.05
"""Where buckets start, worked out at once."""


def percentile_by_numpy(samples: list[tuple[float, float, float]], share: float, half_life_s: float) -> float:
    """The end of the bucket that holds the weighted percentile of (usage, weight, time)."""
    usage, weight, at_s = (np.array(column) for column in zip(*samples, strict=True))
    weight = weight * 2.0 ** ((at_s - at_s[0]) / half_life_s)
    bucket = np.clip(np.searchsorted(EDGES, usage * (1 + 1e-12), side="right") - 1, 0, 175)
    mass = np.bincount(bucket, weights=weight, minlength=176)
    mass[mass < 1e-4] = 0.0
    at = int(np.argmax(np.cumsum(mass) >= share * mass.sum() * (1 - 1e-12)))
    return float(EDGES[min(at + 1, 175)])


def test_buckets_by_hand() -> None:
    assert BUCKETS == 176
    assert [bucket_of(v) for v in (0.0, 0.0099, 0.01, 0.0204, 0.0206, 1e9)] == [0, 0, 1, 1, 2, 175]
    assert bucket_start(0) == 0.0
    assert bucket_start(1) == pytest.approx(0.01)
    assert bucket_start(2) == pytest.approx(0.0205)
    assert bucket_start(175) >= 1000.0 > bucket_start(174)
    assert bucket_end(175) == bucket_start(175), "the last bucket has no end"
    # log_1.05(4 · 5 + 1) = 62.4: bucket 62 ends at 0.2 · (1.05^63 - 1).
    assert bucket_of(4.0) == 62
    assert bucket_end(62) == pytest.approx(4.124, abs=1e-3)


@given(st.integers(0, 175), st.floats(0.01, 0.99))
def test_what_lies_within_a_bucket_falls_into_it(bucket: int, part: float) -> None:
    end = bucket_start(bucket + 1)
    assert bucket_of(bucket_start(bucket) + part * (end - bucket_start(bucket))) == bucket


SAMPLES = st.lists(
    st.tuples(st.floats(0.0, 60.0), st.floats(0.1, 20.0), st.floats(0.0, 3 * DAY_S)), min_size=1, max_size=60
)


@given(SAMPLES, st.floats(0.01, 0.99))
def test_percentiles_equal_those_of_numpy(samples: list[tuple[float, float, float]], share: float) -> None:
    histogram = DecayingHistogram(DAY_S, samples[0][2])
    for sample in samples:
        histogram.add(*sample)
    found = histogram.percentile(share)
    near = [percentile_by_numpy(samples, share + nudge, DAY_S) for nudge in (-1e-9, 0.0, 1e-9)]
    assert any(found == pytest.approx(value, rel=1e-9) for value in near)


def test_a_percentile_is_the_end_of_its_bucket() -> None:
    histogram = DecayingHistogram(DAY_S, 0.0)
    assert (histogram.percentile(0.9), histogram.highest, histogram.is_empty) == (0.0, 0.0, True)
    for usage in (1.0,) * 9 + (3.0,):
        histogram.add(usage, 0.1, 0.0)
    assert histogram.percentile(0.9) == pytest.approx(0.2 * (1.05**37 - 1.0))  # log_1.05(6) = 36.7
    assert histogram.percentile(0.91) == pytest.approx(0.2 * (1.05**57 - 1.0))  # log_1.05(16) = 56.8
    assert histogram.highest == histogram.percentile(0.99)
    # Of the load, 1.0's share is about 9 of 12.
    assert histogram.percentile(0.7, by_load=True) == histogram.percentile(0.5)
    assert histogram.percentile(0.8, by_load=True) == histogram.highest


def test_a_day_halves_a_sample() -> None:
    histogram = DecayingHistogram(DAY_S, 0.0)
    for _ in range(3):
        histogram.add(8.0, 0.1, 0.0)
    histogram.add(1.0, 0.1, DAY_S)
    # 3 halves against 1: the larger ones hold 60 %.
    assert histogram.percentile(0.39) == bucket_end(bucket_of(1.0))
    assert histogram.percentile(0.41) == bucket_end(bucket_of(8.0))


def test_very_old_samples_are_forgotten_and_weights_stay_finite() -> None:
    histogram = DecayingHistogram(DAY_S, 0.0)
    histogram.add(8.0, 0.1, 0.0)
    for days in (50, 150, 5000):
        histogram.add(1.0, 0.1, days * DAY_S)
        assert histogram.highest == (bucket_end(bucket_of(8.0)) if days == 50 else bucket_end(bucket_of(1.0)))
    assert math.isfinite(histogram.percentile(0.5))


@given(st.integers(1, 300), st.floats(0.1, 20.0), st.floats(0.05, 0.95))
def test_a_history_is_what_its_samples_are(count: int, cores: float, share: float) -> None:
    closed = DecayingHistogram(DAY_S, 1e6)
    one_by_one = closed.copy()
    for seconds in range(1, 40):
        closed.add(5.0, 0.1, 1e6 + 60.0 * seconds)
    closed = closed.with_history(cores, 0.1, 60.0 * count, 60.0)
    for back in range(count, 0, -1):
        one_by_one.add(cores, 0.1, 1e6 - 60.0 * back)
    for seconds in range(1, 40):
        one_by_one.add(5.0, 0.1, 1e6 + 60.0 * seconds)
    assert closed.confidence == pytest.approx(one_by_one.confidence)
    near = {one_by_one.percentile(share + nudge) for nudge in (-1e-9, 0.0, 1e-9)}
    assert closed.percentile(share) in near


def test_a_copy_goes_its_own_way() -> None:
    histogram = DecayingHistogram(DAY_S, 0.0)
    histogram.add(1.0, 0.1, 0.0)
    other = histogram.copy()
    other.add(9.0, 0.1, 60.0)
    assert (histogram.samples, other.samples) == (1, 2)
    assert histogram.highest < other.highest


def test_confidence_is_the_lesser_of_time_and_samples() -> None:
    histogram = DecayingHistogram(DAY_S, 0.0)
    assert histogram.confidence == 0.0
    for minute in range(20):
        histogram.add(1.0, 0.1, 60.0 * minute)
    assert histogram.confidence == pytest.approx(19 / 1440)
    histogram.add(1.0, 0.1, DAY_S)
    assert histogram.confidence == pytest.approx(21 / 1440)


def test_target_and_bounds_by_the_formulas() -> None:
    histogram = DecayingHistogram(DAY_S, 0.0)
    assert recommend(histogram, VpaSettings()) is None
    for minute in range(100):
        histogram.add(2.0 if minute < 60 else 6.0, 0.1, 60.0 * minute)
    found = recommend(histogram, VpaSettings())
    assert found is not None
    two, six, days = bucket_end(bucket_of(2.0)), bucket_end(bucket_of(6.0)), 99 / 1440
    assert found.target == pytest.approx(1.15 * six)
    assert found.lower == pytest.approx(1.15 * two * (1 + 0.001 / days) ** -2)
    assert found.upper == pytest.approx(1.15 * six * (1 + 1 / days))
    slow = recommend(histogram, VpaSettings(margin=0.0, target_quantile=0.5))
    assert slow is not None
    assert slow.target == pytest.approx(two)


def test_floors_and_a_single_sample() -> None:
    histogram = DecayingHistogram(DAY_S, 0.0)
    histogram.add(0.0, 0.1, 0.0)
    found = recommend(histogram, VpaSettings())
    assert found is not None
    assert (found.target, found.lower, found.upper) == (0.025, 0.025, math.inf)


def test_the_upper_bound_after_twenty_minutes_is_1480_cores() -> None:
    histogram = DecayingHistogram(DAY_S, 0.0)
    for minute in range(20):
        histogram.add(16.0, 0.1, 60.0 * minute)
    found = recommend(histogram, VpaSettings())
    assert found is not None
    assert found.upper == pytest.approx(1480, rel=0.002)


def one_task(*, rate: float = 10.0, cores: float = 40.0, sizes: tuple[int, ...] = tuple(range(1, 25))) -> PlanRequest:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}}, slo_s=2.0, shapes=[(n, 1) for n in sizes])
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores))


def configured(request: PlanRequest, policy: str, **settings: object) -> PlanRequest:
    return replace(request, pipeline=replace(request.pipeline, policies={policy: settings}))


def cores_of(plan: Plan, task: str = "a") -> int:
    (group,) = plan.tasks[task].allocations
    assert group.replicas == 1
    return group.cores


@pytest.mark.parametrize(("minutes", "follows_after"), [(5, 7), (20, 22)])
def test_a_step_from_4_to_16_cores_is_followed_as_late_as_the_real_one(minutes: int, follows_after: int) -> None:
    request = configured(one_task(), "vpa+", cores={"a": 5})
    turns = watch(VpaPlusPolicy(), request, 60 * (minutes + 30), lambda s: {"a": 4.0 if s <= 60 * minutes else 16.0})
    first = next(second for second, plan in turns if cores_of(plan) >= 16)
    assert (first / 60 - minutes) == pytest.approx(follows_after, abs=0.5)


@pytest.mark.parametrize(("weight", "follows_after"), [("constant", 57), ("request", 34)])
def test_history_given_is_as_slow_as_history_seen_and_request_weights_are_faster(
    weight: str, follows_after: int
) -> None:
    request = configured(
        one_task(), "vpa+", cores={"a": 5}, history_s=3600, history_usage_cores={"a": 4}, sample_weight=weight
    )
    turns = watch(VpaPlusPolicy(), request, 4200, lambda _: {"a": 16.0})
    first = next(second for second, plan in turns if cores_of(plan) >= 16)
    assert first / 60 == pytest.approx(follows_after, abs=1.5)
    answer = VpaPlusPolicy().propose(request)
    assert any(step.reason == "history given: 1 h of a 4 cores" for step in answer.steps), answer.steps


def test_vanilla_never_scales_down_within_twenty_minutes_and_the_adapter_does() -> None:
    request = one_task()
    idle = lambda second: {"a": 12.0 if second <= 300 else 2.0}  # noqa: E731 - said once
    vanilla = watch(VpaPolicy(VpaSettings(cores={"a": 20})), request, 1200, idle)
    assert {cores_of(plan) for _, plan in vanilla} == {20}
    adapter = watch(VpaPlusPolicy(VpaSettings(cores={"a": 20}, min_cores=2)), request, 1200, idle)
    assert cores_of(adapter[-1][1]) == 15  # 1.15 · 12.5, while 12 cores are more than a tenth of all samples


def test_vanilla_scales_up_once_half_of_all_samples_want_more() -> None:
    request = one_task()
    turns = watch(VpaPolicy(VpaSettings(cores={"a": 4})), request, 1800, lambda s: {"a": 3.0 if s <= 300 else 9.0})
    sizes = [cores_of(plan) for _, plan in turns]
    assert sizes[:6] == [4] * 6
    first = next(i for i, size in enumerate(sizes) if size > 4)
    # 4 cores in use, of 4, are 1.15 · 4.12 · (1 + 0.001 · 1440 ÷ c)^-2 > 4 from c = 17 min on.
    assert 1.15 * bucket_end(bucket_of(4.0)) * (1 + 1.44 / (first - 1)) ** -2 > 4.0
    assert 1.15 * bucket_end(bucket_of(4.0)) * (1 + 1.44 / (first - 2)) ** -2 <= 4.0
    assert sizes == sorted(sizes)


def test_vanilla_resizes_within_the_bounds_after_twelve_hours() -> None:
    request = configured(one_task(), "vpa", old_after_s=600, cores={"a": 20})
    turns = watch(VpaPolicy(), request, 900, lambda _: {"a": 2.0})
    sizes = [cores_of(plan) for _, plan in turns]
    assert sizes == [20] * 10 + [3] * 6  # 1.15 · 2.02 cores
    assert VpaSettings().old_after_s == 12 * 3600
    near = configured(one_task(), "vpa", old_after_s=600, min_change=0.9, cores={"a": 20})
    assert {cores_of(plan) for _, plan in watch(VpaPolicy(), near, 900, lambda _: {"a": 2.0})} == {20}


def test_a_replica_is_as_old_as_its_size() -> None:
    request = configured(one_task(), "vpa", old_after_s=600, target_quantile=0.1, cores={"a": 20})
    turns = watch(VpaPolicy(), request, 1500, lambda s: {"a": 2.0 if s <= 600 else 1.0})
    sizes = {second: cores_of(plan) for second, plan in turns}
    # From 720 s on a tenth of the samples is 1 core, and 2 would do; 3 cores lie within the bounds.
    assert {sizes[s] for s in range(600, 1200, 60)} == {3}
    assert {sizes[s] for s in range(1200, 1501, 60)} == {2}


def test_the_adapter_skips_four_turns_before_it_scales_down_and_none_before_it_scales_up() -> None:
    request = configured(one_task(), "vpa+", cores={"a": 10})
    turns = watch(VpaPlusPolicy(), request, 300, lambda _: {"a": 3.0})
    # The first recommendation is there after 60 s; turns at 60, 90, 120 and 150 s are skipped.
    assert [(s, cores_of(p)) for s, p in turns if s in (60, 90, 120, 150, 180)] == [
        (60, 10), (90, 10), (120, 10), (150, 10), (180, 4),
    ]  # fmt: skip
    up = watch(VpaPlusPolicy(), configured(one_task(), "vpa+", cores={"a": 10}), 120, lambda _: {"a": 10.0})
    assert [(s, cores_of(p)) for s, p in up] == [(0, 10), (30, 10), (60, 12), (90, 12), (120, 12)]


def test_turns_below_count_only_in_a_row() -> None:
    policy, request = VpaPlusPolicy(), configured(one_task(), "vpa+", cores={"a": 10}, target_quantile=0.5)
    # The median is 3 cores after one and two minutes, 8 after three, and 3 again from the fourth on.
    demand = {1: 3.0, 2: 8.0, 3: 8.0}
    turns = watch(policy, request, 600, lambda s: {"a": demand.get((s - 1) // 60 + 1, 3.0)})
    sizes = {second: cores_of(plan) for second, plan in turns}
    assert {sizes[second] for second in range(0, 360, 30)} == {10}, "240 s would be the fifth turn, were it not for 180"
    assert sizes[360] == 4


def test_cores_are_measured_ones_within_the_settings_and_the_limits() -> None:
    some = one_task(sizes=(1, 2, 4, 8), rate=0.0)
    assert cores_of(VpaPolicy().propose(some).plan) == 1
    assert cores_of(VpaPlusPolicy().propose(some).plan) == 2
    # 25 items a second with 15 % to spare: 28.75 · 0.1 s = 2.9 cores.
    assert cores_of(VpaPolicy().propose(replace(some, rate_rps=25.0)).plan) == 4
    assert cores_of(VpaPolicy().propose(replace(some, rate_rps=1e4)).plan) == 8
    assert cores_of(VpaPolicy(VpaSettings(max_cores=7)).propose(replace(some, rate_rps=1e4)).plan) == 4
    assert cores_of(VpaPolicy().propose(replace(some, rate_rps=1e4, limits=Limits(cores=5.0))).plan) == 4


def test_tasks_share_what_there_is() -> None:
    pipeline, profile = make_chain(
        {"a": {"v": (0.9, 0.1)}, "b": {"v": (0.9, 0.1)}}, slo_s=2.0, shapes=[(n, 1) for n in range(1, 25)]
    )
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=15.0))
    policy = VpaPlusPolicy(VpaSettings(cores={"a": 6, "b": 5}, history_s=3600, history_usage_cores={"a": 12, "b": 4}))
    first = policy.propose(request)
    for second in range(1, 31):
        policy.observe(seen(float(second), {"a": 6.0, "b": 5.0}, {"a": 1, "b": 1}), first.plan)
    answer = policy.propose(replace(request, current=first.plan))
    # 15 and 5 cores are wanted of 15.
    assert (cores_of(answer.plan, "a"), cores_of(answer.plan, "b")) == (11, 4)
    assert any("a: 11 of 15 cores, all that the limits leave" in step.reason for step in answer.steps)


def test_usage_is_capped_by_the_limit_and_the_plan_may_come_from_elsewhere() -> None:
    policy, request = VpaPolicy(), one_task()
    plan = VpaPolicy(VpaSettings(cores={"a": 4})).propose(request).plan
    for second in range(1, 61):
        policy.observe(seen(float(second), {"a": 9.0}, {"a": 1}), plan)
    answer = policy.propose(request)
    assert cores_of(answer.plan) == 5, "1.15 · 4.12, since 4 cores cannot work for 9"
    other = replace(request, current=replace(plan, tasks={"a": replace(plan.tasks["a"], allocations=(
        replace(plan.tasks["a"].allocations[0], cores=77),))}))  # fmt: skip
    assert policy.propose(other).plan == answer.plan


def test_a_history_without_usage_is_refused() -> None:
    with pytest.raises(PlanRequestError, match="given a history, and not what was used in it: got nothing of a"):
        VpaPolicy(VpaSettings(history_s=60.0)).propose(one_task())
    with pytest.raises(PlanRequestError, match="task that the pipeline lacks: got x"):
        VpaPolicy(VpaSettings(history_usage_cores={"x": 1.0})).propose(one_task())


@pytest.mark.parametrize(
    "wrong",
    [
        {"margin": -0.1},
        {"min_cores": 0},
        {"min_cores": 4, "max_cores": 3},
        {"history_s": math.inf},
        {"history_usage_cores": {"a": -1.0}},
        {"target_quantile": 1.0},
        {"old_after_s": -1.0},
        {"min_change": math.nan},
        {"skips": 101},
        {"batch": 0},
    ],
)
def test_settings_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_cores", maxsplit=1)[0]):
        VpaSettings(**wrong)  # type: ignore[arg-type]
