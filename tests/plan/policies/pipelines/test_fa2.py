"""FA2's programme against brute force over batches, and when it scales in."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Limits, Plan, PlanRequest
from trimtab.plan.policies.pipelines.fa2 import Fa2Policy, Fa2Settings, Queueing, erlang_quantile, filling_s
from trimtab.testing import check_observing_policy, check_policy, make_chain, observation

SECONDS = st.sampled_from([0.003, 0.011, 0.04, 0.09])
BATCHES = (1, 2, 4, 8)


def brute_force(request: PlanRequest, queueing: Queueing) -> int | None:
    """The least cores over all batches, from the formulas alone: chains of one variant on one core."""
    options = []
    visits = 1.0
    for name, task in request.pipeline.tasks.items():
        visits *= task.after[0].fan_out if task.after else 1.0
        (points,) = (v.points for v in request.profile.variants[name].values())
        rate = request.rate_rps * visits
        some = []
        for p in points:
            latency_s = p.quantiles_s[0.99]
            wait_s = {
                "worst": (p.batch - 1) / rate,
                "exponential": 4.605170186 * (p.batch - 1) / rate,
                "gamma": stats.gamma.ppf(0.99, p.batch - 1) / rate if p.batch > 1 else 0.0,
            }[queueing]
            some.append((math.ceil(1000 * (latency_s + wait_s)), math.ceil(rate / (p.batch / latency_s))))
        options.append(some)
    within = [
        sum(n for _, n in picks)
        for picks in itertools.product(*options)
        if sum(ms for ms, _ in picks) < 1000 * request.pipeline.slo.latency_s
    ]
    return min(within, default=None)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(SECONDS, min_size=1, max_size=3),
    st.sampled_from([0.5, 7.0, 33.0, 120.0]),
    st.sampled_from([0.05, 0.3, 1.1]),
    st.sampled_from([0.5, 0.8, 1.0]),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from(["worst", "exponential", "gamma"]),
)
def test_the_plan_is_the_cheapest_of_all_batches(
    seconds: list[float], rate: float, slo_s: float, gain: float, fan_out: float, queueing: Queueing
) -> None:
    pipeline, profile = make_chain(
        {f"t{i}": {"v": (0.9, s)} for i, s in enumerate(seconds)},
        slo_s=slo_s,
        batches=BATCHES,
        batch_gain=gain,
        fan_out=fan_out,
    )
    request = PlanRequest(pipeline, profile, rate, Limits(cores=1000.0, replicas_per_task=1000))
    result = Fa2Policy(Fa2Settings(queueing=queueing)).propose(request)
    best = brute_force(request, queueing)
    assert result.feasible == (best is not None)
    if best is not None:
        assert result.plan.cores == best


@pytest.mark.parametrize("stages", [1, 3, 7, 63])
def test_the_erlang_quantile_is_that_of_scipy(stages: int) -> None:
    assert erlang_quantile(stages, 0.99) == pytest.approx(stats.gamma.ppf(0.99, stages), rel=1e-9)


def test_nobody_waits_for_a_batch_of_one_or_without_traffic() -> None:
    for form in ("worst", "exponential", "gamma"):
        assert filling_s(10.0, 1, 0.99, form) == 0.0
        assert filling_s(0.0, 8, 0.99, form) == 0.0
    assert filling_s(10.0, 5, 0.99, "worst") == pytest.approx(0.4)
    assert filling_s(10.0, 5, 0.99, "exponential") == pytest.approx(0.4 * 4.605170186)


def question(rate: float, current: Plan | None = None, cores: float = 100.0) -> PlanRequest:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}, "b": {"v": (0.9, 0.05)}}, slo_s=0.6, batches=(1,))
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores), current=current)


def replicas(plan: Plan) -> tuple[int, ...]:
    return tuple(task.allocations[0].replicas for task in plan.tasks.values())


def test_it_scales_out_at_once_and_in_after_ten_seconds() -> None:
    policy = Fa2Policy()
    # p99 is 120 ms and 60 ms, so a replica serves 8.33 and 16.67 a second.
    first = policy.propose(question(20.0)).plan
    assert replicas(first) == (3, 2)
    policy.observe(observation(1.0, 20), first)
    second = policy.propose(question(40.0, first)).plan
    assert replicas(second) == (5, 3)
    for t in range(2, 11):
        policy.observe(observation(float(t), 10), second)
        assert replicas(policy.propose(question(10.0, second)).plan) == (5, 3), f"second {t} is too early"
    policy.observe(observation(11.0, 10), second)
    assert replicas(policy.propose(question(10.0, second)).plan) == (2, 1)


def test_while_one_task_wants_more_the_others_may_have_less() -> None:
    policy = Fa2Policy()
    first = policy.propose(question(20.0)).plan
    task = first.tasks["b"]
    spare = replace(task, allocations=(replace(task.allocations[0], replicas=9),))
    first = Plan({**first.tasks, "b": spare}, 20.0)
    policy.observe(observation(1.0, 20), first)
    assert replicas(policy.propose(question(20.0, first)).plan) == (3, 9)
    assert replicas(policy.propose(question(30.0, first)).plan) == (4, 2)


def test_a_question_without_memory_is_answered_for_itself() -> None:
    policy = Fa2Policy()
    wide = policy.propose(question(200.0)).plan
    assert replicas(policy.propose(question(10.0, wide)).plan) == (2, 1)


def test_too_much_is_cut_to_what_can_be_held() -> None:
    result = Fa2Policy().propose(question(1000.0, cores=6.0))
    assert not result.feasible
    assert replicas(result.plan) == (4, 2)
    assert "hold 33.3" in result.steps[0].reason
    hopeless = replace(
        question(30.0), pipeline=replace(question(1.0).pipeline, slo=replace(question(1.0).pipeline.slo, latency_s=0.1))
    )
    slow = Fa2Policy().propose(hopeless)
    assert not slow.feasible
    assert replicas(slow.plan) == (4, 2), "single requests, in as many replicas as keep up"


def test_variant_and_cores_are_those_that_are_set() -> None:
    tasks = {"a": {"small": (0.8, 0.004), "large": (0.95, 0.012)}}
    pipeline, profile = make_chain(tasks, shapes=((1, 1), (2, 2)))
    asked = PlanRequest(pipeline, profile, 5.0, Limits(cores=8.0))
    for settings_, variant, cores in (
        ({}, "large", 1),
        ({"pin": "least-accurate"}, "small", 1),
        ({"variants": {"a": "small"}, "cores": {"a": 2}}, "small", 2),
    ):
        written = replace(pipeline, policies={"fa2": settings_})
        (group,) = Fa2Policy().propose(replace(asked, pipeline=written)).plan.tasks["a"].allocations
        assert (group.variant, group.cores) == (variant, cores)
    with pytest.raises(PlanRequestError, match=r"policies\.fa2\.queueing"):
        Fa2Policy().propose(replace(asked, pipeline=replace(pipeline, policies={"fa2": {"queueing": "none"}})))
    with pytest.raises(PlanRequestError, match="stable_s"):
        Fa2Policy().propose(replace(asked, pipeline=replace(pipeline, policies={"fa2": {"stable_s": -1.0}})))


@pytest.mark.parametrize("tasks", [1, 2])
def test_it_passes_the_kit(tasks: int) -> None:
    check_policy(Fa2Policy(), tasks=tasks)
    check_observing_policy(Fa2Policy, tasks=tasks)
