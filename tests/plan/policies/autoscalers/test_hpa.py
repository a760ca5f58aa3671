"""The horizontal pod autoscaler: the replica calculator, the window and the limits of a turn by hand, and as a loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.policies.autoscalers.watching import seen, watch

from trimtab.control.controller import Controller
from trimtab.control.settings import forecaster_for, settings_for
from trimtab.plan.constrain import constrain
from trimtab.plan.model import Limits, Plan, PlanRequest
from trimtab.plan.policies.autoscalers.hpa import HpaPolicy, HpaSettings, desired, stabilised
from trimtab.plan.policies.autoscalers.usage import Usage
from trimtab.testing import make_chain


def usage(share: float, ready: int, replicas: int | None = None, *, cores: int = 2) -> Usage:
    """15 s in which `ready` replicas used `share` of their cores."""
    busy = share * 15.0 * ready * cores
    return Usage(15.0, 15.0, busy, 15.0 * ready, ready, ready if replicas is None else replicas, float(cores))


@pytest.mark.parametrize(
    ("share", "ready", "wanted"),
    [
        (0.80, 4, 4),
        (0.88, 4, 4),  # 1.1 times the target
        (0.89, 4, 5),  # ⌈0.89 / 0.8 · 4⌉ = ⌈4.45⌉
        (0.8899, 4, 4),  # per cent are whole, and rounded down
        (0.72, 4, 4),  # 0.9 times
        (0.71, 4, 4),  # ⌈3.55⌉
        (0.60, 4, 3),
        (0.61, 4, 4),
        (0.0, 4, 0),
        (1.0, 4, 5),
        (1.0, 16, 20),
        (7.0, 16, 20),  # a replica cannot use more than it has
    ],
)
def test_the_replica_calculator_by_hand(share: float, ready: int, wanted: int) -> None:
    assert desired(usage(share, ready), HpaSettings()) == wanted


@pytest.mark.parametrize(
    ("share", "ready", "replicas", "wanted"),
    [
        (1.0, 4, 5, 5),  # 80 % over all five: within the tolerance
        (1.0, 9, 10, 12),  # 90 % over all ten: ⌈1.125 · 10⌉
        (1.0, 2, 8, 8),  # 25 % over all: the direction flips
        (0.4, 4, 6, 2),  # fewer are wanted: those that are not ready do not count
        (0.8, 4, 6, 6),  # within the tolerance
        (0.0, 0, 3, 3),  # nothing is known of any
    ],
)
def test_replicas_that_are_not_ready_by_hand(share: float, ready: int, replicas: int, wanted: int) -> None:
    assert desired(usage(share, ready, replicas), HpaSettings()) == wanted


def test_another_target_and_tolerance() -> None:
    assert desired(usage(0.6, 4), HpaSettings(target=0.5)) == 5
    assert desired(usage(0.6, 4), HpaSettings(target=0.5, tolerance=0.2)) == 4


def stable(current: int, *wanted: tuple[float, int], **settings: float) -> int:
    return stabilised(current, list(wanted), HpaSettings(**settings))  # type: ignore[arg-type]


def test_the_window_keeps_the_most_that_was_wanted() -> None:
    assert stable(10, (0.0, 10), (300.0, 2)) == 2, "300 s ago is no longer within the window"
    assert stable(10, (0.1, 10), (300.0, 2)) == 10
    assert stable(10, (100.0, 7), (200.0, 3), (300.0, 2)) == 7
    assert stable(10, (100.0, 30), (300.0, 2)) == 10, "what was wanted once does not raise it"
    assert stable(10, (100.0, 3), (300.0, 12)) == 12, "nothing holds growth back"
    assert stable(10, (100.0, 7), (300.0, 2), scale_down_window_s=0.0) == 2


def test_growth_is_limited_to_double_or_four_more() -> None:
    assert stable(1, (0.0, 50)) == 5
    assert stable(4, (0.0, 50)) == 8
    assert stable(5, (0.0, 50)) == 10
    assert stable(5, (0.0, 7)) == 7
    assert stable(5, (0.0, 50), scale_up_percent=0.0, scale_up_replicas=1) == 6
    assert stable(5, (0.0, 50), max_replicas=8) == 8


def test_a_fall_goes_to_one_at_most() -> None:
    assert stable(50, (0.0, 0)) == 1
    assert stable(50, (0.0, 0), min_replicas=3) == 3
    assert stable(50, (0.0, 0), scale_down_percent=10.0) == 45
    assert stable(5, (0.0, 0), scale_down_percent=10.0) == 4


def question(rate: float = 20.0, cores: float = 40.0, **limits: object) -> PlanRequest:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}}, slo_s=2.0)
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores, **limits))  # type: ignore[arg-type]


def replicas(plan: Plan, task: str = "a") -> int:
    return sum(a.replicas for a in plan.tasks[task].allocations)


def test_the_first_plan_serves_the_rate_at_the_target() -> None:
    # 20/s · 0.1 s = 2 cores; at 80 % 2.5.
    assert replicas(HpaPolicy().propose(question()).plan) == 3
    assert replicas(HpaPolicy(HpaSettings(target=0.5)).propose(question()).plan) == 4
    assert replicas(HpaPolicy(HpaSettings(min_replicas=7)).propose(question()).plan) == 7
    assert replicas(HpaPolicy().propose(question(rate=0.0)).plan) == 1


def test_a_step_is_followed_by_a_quarter_at_a_time_and_left_after_five_minutes() -> None:
    turns = watch(HpaPolicy(), question(), 900, lambda s: {"a": 2.0 if s <= 60 or s > 450 else 9.0})
    counts = {second: replicas(plan) for second, plan in turns}
    # 2 of 3 cores are 66 %: ⌈66/80 · 3⌉ = 3. Then all is in use, so that replicas grow by 100/80, but in every other
    # turn alone: those that are new were not ready when the interval began.
    assert [counts[s] for s in range(0, 211, 15)] == [3, 3, 3, 3, 3, 4, 4, 5, 5, 7, 7, 9, 9, 12, 12]
    # 9 of 12 are 75 %, within the tolerance. Then 2 of 12 are 16 %: ⌈16/80 · 12⌉ = 3, five minutes later.
    assert {counts[s] for s in range(210, 736, 15)} == {12}
    assert {counts[s] for s in range(750, 901, 15)} == {3}


def test_the_same_is_seen_whatever_the_clock_of_the_plant() -> None:
    demand = lambda s: {"a": 2.0 + (s % 100) / 10.0}  # noqa: E731 - said once
    early, late = (watch(HpaPolicy(), question(), 600, demand, start_s=s) for s in (0.0, 12345.678))
    assert early == late
    assert len({replicas(plan) for _, plan in early}) > 2


def test_replicas_count_once_they_were_ready_all_the_time() -> None:
    policy, request = HpaPolicy(), question()
    plan = HpaPolicy(HpaSettings(min_replicas=5)).propose(request).plan
    for second in range(1, 16):
        policy.observe(seen(float(second), {"a": 4.0}, {"a": 4 if second < 15 else 5}), plan)
    answer = policy.propose(replace(request, current=plan))
    # 60 of 61 core-seconds: 98 % of four, which over five are 78 %: within the tolerance.
    assert replicas(answer.plan) == 5
    assert any("a: 98 % of 4 ready replicas in use; 5 wanted" in step.reason for step in answer.steps)
    for second in range(16, 31):
        policy.observe(seen(float(second), {"a": 5.0}, {"a": 5}), plan)
    assert replicas(policy.propose(replace(request, current=plan)).plan) == 7


def test_long_and_uneven_windows_make_one_interval() -> None:
    policy, request = HpaPolicy(), question()
    plan = policy.propose(request).plan
    policy.observe(seen(4.0, {"a": 12.0}, {"a": 3}, window_s=4.0), plan)
    assert policy.propose(request).plan == plan, "no interval is over"
    policy.observe(seen(40.0, {"a": 108.0}, {"a": 3}, window_s=36.0), plan)
    assert replicas(policy.propose(replace(request, current=plan)).plan) == 4


def test_limits_cut_fairly_and_are_told() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}, "b": {"v": (0.9, 0.2)}}, slo_s=2.0)
    request = PlanRequest(pipeline, profile, 40.0, Limits(cores=9.0))
    answer = HpaPolicy().propose(request)
    # 5 and 10 are wanted.
    assert (replicas(answer.plan, "a"), replicas(answer.plan, "b")) == (3, 6)
    assert any("a: 3 of 5 replicas, all that the limits leave" in step.reason for step in answer.steps)
    assert not answer.feasible


def test_settings_come_from_the_pipelines_file_after_the_fact_too() -> None:
    policy, request = HpaPolicy(), question()
    plan = policy.propose(request).plan
    for second in range(1, 16):
        policy.observe(seen(float(second), {"a": 1.5}, {"a": 3}), plan)
    asked = replace(request, current=plan)
    other = replace(asked, pipeline=replace(request.pipeline, policies={"hpa": {"target": 0.25}}))
    assert replicas(policy.propose(asked).plan) == 3, "fewer would do; the window keeps three"
    assert replicas(policy.propose(other).plan) == 6, "50 % at 25 %"
    assert replicas(policy.propose(asked).plan) == 3


def test_the_control_loop_keeps_its_rhythm() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}}, slo_s=2.0)
    policy = HpaPolicy()
    controller = Controller(
        pipeline, profile, policy, forecaster_for(policy), Limits(cores=40.0), settings_for(policy, 20.0)
    )
    plan = controller.start(100.0).plan
    counts = []
    for second in range(1, 61):
        busy = float(min(9, plan.cores))
        plan = controller.step(seen(100.0 + second, {"a": busy}, {"a": replicas(plan)}, arrivals=(20,))).plan
        counts.append(replicas(plan))
    assert counts == [3] * 14 + [4] * 30 + [5] * 16


@given(
    shares=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40),
    cores=st.integers(1, 12),
    replicas_limit=st.none() | st.integers(1, 12),
)
def test_it_stays_within_limits_and_bounds_whatever_it_sees(
    shares: list[float], cores: int, replicas_limit: int | None
) -> None:
    policy, request = HpaPolicy(), question(cores=float(cores), replicas=replicas_limit)
    plan = policy.propose(request).plan
    for i, share in enumerate(shares):
        count = replicas(plan)
        policy.observe(seen(15.0 * (i + 1), {"a": share * count * 15.0}, {"a": count}, window_s=15.0), plan)
        plan = policy.propose(replace(request, current=plan)).plan
        assert constrain(plan, request.pipeline, request.profile, request.limits)[0] == plan
        assert replicas(plan) <= max(2 * count, count + 4)
        assert replicas(plan) >= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": 0.0},
        {"target": 1.1},
        {"tolerance": -0.1},
        {"min_replicas": 0},
        {"min_replicas": 3, "max_replicas": 2},
        {"max_replicas": 0},
        {"scale_up_replicas": -1},
        {"scale_down_percent": 101.0},
        {"scale_down_window_s": 3601.0},
    ],
)
def test_settings_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=list(wrong)[-1]):
        HpaSettings(**wrong)  # type: ignore[arg-type]
