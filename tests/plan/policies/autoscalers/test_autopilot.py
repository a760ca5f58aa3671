"""Autopilot's moving window: the statistics by hand, its half-life, and the hour that it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.plan.policies.autoscalers.watching import seen, watch

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Limits, Plan, PlanRequest
from trimtab.plan.policies.autoscalers.autopilot import AutopilotPolicy, AutopilotSettings
from trimtab.plan.policies.autoscalers.vpa_histogram import bucket_end, bucket_of
from trimtab.testing import make_chain


def question(rate: float = 10.0, cores: float = 40.0) -> PlanRequest:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.1)}}, slo_s=2.0, shapes=[(n, 1) for n in range(1, 25)])
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores))


def cores_of(plan: Plan) -> int:
    (group,) = plan.tasks["a"].allocations
    assert group.replicas == 1
    return group.cores


def after(usage: list[float], **settings: object) -> int:
    """Cores recommended after so many seconds of usage and an idle rest, to the end of 5 minutes."""
    policy = AutopilotPolicy(AutopilotSettings(cores={"a": 24}, **settings))  # type: ignore[arg-type]
    turns = watch(policy, question(), 300, lambda s: {"a": usage[s - 1] if s <= len(usage) else 0.0})
    return cores_of(turns[-1][1])


def end(cores: float) -> float:
    return bucket_end(bucket_of(cores))


def test_the_first_plan_serves_the_rate_with_the_margin_to_spare() -> None:
    # 10/s · 0.1 s = 1 core, + 15 %.
    assert cores_of(AutopilotPolicy().propose(question()).plan) == 2
    assert cores_of(AutopilotPolicy(AutopilotSettings(margin=0.0)).propose(question()).plan) == 1


def test_statistics_by_hand() -> None:
    # 288 s of 2 cores, 9 s of 10 and 3 s of 20. Of the time, 95 % are within 2 cores.
    usage = [2.0] * 288 + [10.0] * 9 + [20.0] * 3
    assert after(usage, by_load=False) == 3 == -int(-1.15 * end(2.0) // 1)
    # Of the load of about 726 core-seconds, 60 belong to the 20 cores (8 %), 90 to the 10 cores.
    assert after(usage, statistic="p95") == 24, "1.15 · 20.4 = 23.4"
    assert after(usage, statistic="p90") == 12, "1.15 · 10.3 = 11.9"
    assert after(usage, statistic="max") == 24
    assert after(usage, statistic="max", margin=0.0) == 21
    assert after(usage, statistic="p90", margin=0.1) == 12
    assert after(usage, statistic="p90", margin=0.1, max_cores=8) == 8


def test_nothing_is_recommended_before_five_minutes_are_over() -> None:
    turns = watch(AutopilotPolicy(AutopilotSettings(cores={"a": 5})), question(), 599, lambda _: {"a": 1.0})
    assert [(second, cores_of(plan)) for second, plan in turns] == [(0, 5), (300, 2)]


def test_twelve_hours_halve_a_sample() -> None:
    policy = AutopilotPolicy(AutopilotSettings(statistic="p90", by_load=False, margin=0.0, hold_s=0.0))
    request = question()
    plan = AutopilotPolicy(AutopilotSettings(cores={"a": 24})).propose(request).plan

    def cores_after(hours: int, used: float, seconds: int) -> int:
        for second in range(1, seconds + 1):
            policy.observe(seen(3600.0 * hours + second, {"a": used}, {"a": 1}), plan)
        policy.observe(seen(3600.0 * hours + 300.0, {"a": used}, {"a": 1}), plan)
        return cores_of(policy.propose(request).plan)

    assert cores_after(0, 8.0, 100) == 9  # the bucket of 8 ends at 8.3
    # 101 samples of 8 cores are now worth 50.5, those of 1 core 401: 11 % are above.
    assert cores_after(12, 1.0, 400) == 9
    assert cores_after(13, 1.0, 200) == 2  # 48 of 48 + 378 + 201: 8 %


def test_the_highest_recommendation_of_an_hour_counts() -> None:
    settings = AutopilotSettings(cores={"a": 24}, statistic="p90", by_load=False)
    # A tenth of the first 300 s, then less than a tenth of more.
    demand = lambda second: {"a": 10.0 if second <= 40 else 1.0}  # noqa: E731 - said once
    turns = watch(AutopilotPolicy(settings), question(), 4800, demand)
    sizes = {second: cores_of(plan) for second, plan in turns}
    assert {sizes[s] for s in range(300, 3901, 300)} == {12}
    assert sizes[4200] == 2
    quick = watch(
        AutopilotPolicy(replace(settings, hold_s=0.0)), question(), 900, lambda s: {"a": 10.0 if s <= 40 else 1.0}
    )
    assert [cores_of(plan) for _, plan in quick] == [24, 12, 2, 2]


def test_the_history_given_counts_and_is_told() -> None:
    settings = AutopilotSettings(cores={"a": 24}, by_load=False, history_s=86400, history_usage_cores={"a": 3})
    turns = watch(AutopilotPolicy(settings), question(), 300, lambda _: {"a": 20.0})
    assert cores_of(turns[-1][1]) == 4, "5 minutes are less than a twentieth of a day"
    answer = AutopilotPolicy(settings).propose(question())
    assert any(step.reason == "history given: 24 h of a 3 cores" for step in answer.steps), answer.steps
    with pytest.raises(PlanRequestError, match="not what was used in it"):
        AutopilotPolicy(AutopilotSettings(history_s=1.0)).propose(question())


def test_words_name_the_statistic() -> None:
    policy, request = AutopilotPolicy(), question()
    plan = policy.propose(request).plan
    policy.observe(seen(300.0, {"a": 300.0}, {"a": 1}, window_s=300.0), plan)
    words = [step.reason for step in policy.propose(request).steps]
    assert f"a: p95 of the load + 15 %: {1.15 * end(1.0):.3g} cores" in words


@pytest.mark.parametrize("wrong", [{"statistic": "p99"}, {"hold_s": -1.0}, {"hold_s": 1e6}, {"margin": -1.0}])
def test_settings_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AutopilotSettings(**wrong)  # type: ignore[arg-type]
