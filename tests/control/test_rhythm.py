"""A policy's own loop: when it is asked and for which rate, what it is told, and that its word is taken."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from tests.control.scripted import Echo, Noting, plan_of

from trimtab.control.controller import Controller
from trimtab.control.protocols import Decision
from trimtab.control.settings import ControllerSettings, settings_for
from trimtab.errors import PlanRequestError
from trimtab.observe.model import Observation
from trimtab.plan.model import Limits, Plan
from trimtab.plan.policies.base import Rhythm
from trimtab.plan.stabilize import Hysteresis
from trimtab.testing import make_chain, observation

PIPELINE, PROFILE = make_chain({"a": {"s": (0.8, 0.004), "l": (0.95, 0.04)}})
TEN = Rhythm(every_s=10.0, horizon_s=1.0)
DAMPED = Rhythm(every_s=10.0, horizon_s=1.0, margin=0.1, skips=4)


class Watching(Noting):
    """Notes what it is told too, and how often it had been asked by then."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Observation, Plan, int]] = []

    def observe(self, observation: Observation, plan: Plan) -> None:
        self.told.append((observation, plan, len(self.asked)))


def started(
    policy: Noting, stated: Rhythm | ControllerSettings, rate_rps: float = 1.0, plan: Plan | None = None
) -> Controller:
    """A controller on a small plant that has its first plan at second 0."""
    if isinstance(stated, Rhythm):
        policy.rhythm = stated  # type: ignore[attr-defined]  # as a policy with a loop of its own has it
        stated = settings_for(policy, rate_rps)
    controller = Controller(PIPELINE, PROFILE, policy, Echo(), Limits(cores=4.0), stated)
    controller.start(0.0, plan)
    return controller


def feed(controller: Controller, *counts: int | None, start_s: int = 0) -> list[Decision]:
    """One observation a second, from the one after `start_s` on."""
    return [controller.step(observation(float(second), count)) for second, count in enumerate(counts, start_s + 1)]


def reason(decision: Decision, stage: str) -> str:
    return " | ".join(f"{s.value}: {s.reason}" for s in decision.steps if s.name == stage)


def turns(policy: Noting, controller: Controller, *counts: int | None) -> list[int]:
    """The seconds at which a feed makes the controller ask, counted on from second 0."""
    asked = []
    for second, count in enumerate(counts, start=1):
        before = len(policy.asked)
        controller.step(observation(float(second), count))
        asked += [second] * (len(policy.asked) - before)
    return asked


def test_it_is_asked_at_its_own_interval() -> None:
    policy = Noting()
    assert turns(policy, started(policy, Rhythm(every_s=30.0, horizon_s=60.0)), *[5] * 100) == [30, 60, 90]
    policy = Noting()
    assert turns(policy, started(policy, TEN), *range(35)) == [10, 20, 30]
    policy = Noting()
    assert turns(policy, started(policy, Rhythm(every_s=0.5, horizon_s=1.0)), *[5] * 4) == [1, 2, 3, 4]


def test_horizon_quantile_and_margin_make_the_rate() -> None:
    policy = Noting()
    controller = started(policy, Rhythm(every_s=10.0, horizon_s=60.0, quantile=0.9, margin=0.25), rate_rps=3.0)
    feed(controller, *[8] * 10)
    assert policy.rates_rps == [3.0, pytest.approx(8 * 2 * 1.25)]  # the first is for the start rate as it is
    assert isinstance(controller.forecaster, Echo)
    assert set(controller.forecaster.horizons_s) == {60.0}
    assert policy.asked[-1].current == plan_of(rate_rps=3.0)
    assert policy.asked[-1].limits == Limits(cores=4.0)


def test_between_turns_nothing_makes_it_plan() -> None:
    policy = Noting()
    controller = started(policy, TEN)
    assert turns(policy, controller, *[5] * 4, *[5000] * 5) == []
    late = controller.step(observation(9.5, 5000, queued={"a": 100_000}))
    assert len(policy.asked) == 1
    assert not late.changed
    assert "at once" not in reason(late, "propose")
    controller.step(observation(10.0, 5000))
    assert policy.rates_rps == [1.0, 5000.0]  # the backlog is no part of it


def test_the_same_load_makes_trimtabs_own_loop_plan_at_once() -> None:
    policy = Noting()
    own = ControllerSettings(replan_s=10.0, hysteresis=None)
    assert turns(policy, started(policy, own), *[5] * 4, *[5000] * 3) == [5, 6, 7]
    policy = Noting()
    assert turns(policy, started(policy, replace(own, at_once=False)), *[5] * 4, *[5000] * 7) == [10]


def test_a_turn_without_counts_is_held_as_soon_as_there_are_some() -> None:
    policy = Noting()
    assert turns(policy, started(policy, TEN), *[5] * 9, None, None, *[5] * 20) == [12, 22]


def test_less_load_is_skipped_four_times_and_planned_for_the_fifth_time() -> None:
    policy = Noting()
    controller = started(policy, DAMPED)
    decisions = feed(controller, *[100] * 10, *[50] * 100)
    assert policy.rates_rps == pytest.approx([1.0, 110.0, 55.0, 55.0])
    words = [reason(decision, "propose") for decision in decisions]
    assert [second for second, said in enumerate(words, start=1) if "skipped" in said] == [
        *(20, 30, 40, 50),
        *(70, 80, 90, 100),
    ]
    assert [f"skipped {n} of 4 times" in words[10 * n + 9] for n in (1, 2, 3, 4)] == [True] * 4


def test_the_same_load_is_no_higher_and_a_bit_more_is() -> None:
    policy = Noting()
    assert turns(policy, started(policy, DAMPED), *[100] * 60) == [10, 60]
    policy = Noting()
    assert turns(policy, started(policy, DAMPED), *[100] * 10, *[101] * 10) == [10, 20]


def test_more_load_is_planned_for_and_the_skips_begin_anew() -> None:
    policy = Noting()
    counts = [*[100] * 10, *[50] * 30, *[120] * 10, *[90] * 50]
    assert turns(policy, started(policy, DAMPED), *counts) == [10, 50, 100]
    assert policy.rates_rps == pytest.approx([1.0, 110.0, 132.0, 99.0])


def test_what_was_skipped_is_asked_again_a_whole_turn_later() -> None:
    policy = Noting()
    controller = started(policy, DAMPED)
    feed(controller, *[100] * 20)  # planned at 10, skipped at 20
    feed(controller, *[300] * 9, start_s=20)
    assert len(policy.asked) == 2
    feed(controller, 300, start_s=29)
    assert policy.rates_rps[2:] == pytest.approx([330.0])


def test_gaps_are_no_skips() -> None:
    policy = Noting()
    counts = [*[100] * 10, *[None] * 30, *[50] * 60]
    assert turns(policy, started(policy, DAMPED), *counts) == [10, 81]  # skipped at 41, 51, 61 and 71


def test_without_skips_every_turn_is_held() -> None:
    policy = Noting()
    assert turns(policy, started(policy, TEN), *[100] * 10, *[50] * 30) == [10, 20, 30, 40]


def test_the_policys_word_is_taken_though_nothing_is_gained() -> None:
    policy = Noting()
    controller = started(policy, TEN)
    policy.proposal = plan_of("s", replicas=3)
    (*_, decision) = feed(controller, *[1] * 10)
    assert decision.changed
    assert decision.plan == plan_of("s", replicas=3)
    assert reason(decision, "stabilize") == "change: the policy's word is taken"
    assert [action.kind for action in decision.actions] == ["add-replicas"]
    policy.proposal = plan_of("l", replicas=4)
    (*_, decision) = feed(controller, *[1] * 10, start_s=10)
    assert decision.plan == plan_of("l", replicas=4)


def test_with_hysteresis_the_same_word_is_weighed() -> None:
    policy = Noting()
    controller = started(policy, ControllerSettings(replan_s=10.0, at_once=False, hysteresis=Hysteresis()))
    policy.proposal = plan_of("s", replicas=3)
    assert not any(decision.changed for decision in feed(controller, *[1] * 60))
    assert len(policy.asked) == 7


def test_the_policys_word_is_still_clamped_and_judged() -> None:
    policy = Noting()
    controller = started(policy, TEN)
    policy.proposal = plan_of("l", replicas=9)
    (*_, decision) = feed(controller, *[5000] * 10)
    assert decision.plan.tasks == plan_of("l", replicas=4).tasks
    assert "one replica less" in reason(decision, "constrain")
    assert not decision.feasible
    assert "the least bad plan" in reason(decision, "stabilize")


def test_the_same_plan_again_is_no_change_but_has_the_new_rate() -> None:
    policy = Noting()
    controller = started(policy, TEN)
    (*_, decision) = feed(controller, *[40] * 10)
    assert not decision.changed
    assert decision.actions == ()
    assert decision.plan.rate_rps == 40.0


def test_an_observing_policy_is_told_everything_once_with_the_plan_in_force() -> None:
    policy = Watching()
    controller = started(policy, DAMPED)
    first = controller.plan
    assert policy.told == []
    policy.proposal = plan_of("s", replicas=2)
    feed(controller, *[100] * 9, None)  # keeps: no turn, and at 10 nothing was counted
    feed(controller, 100, *[50] * 19, start_s=10)  # planned at 11, skipped at 21
    feed(controller, *[300] * 5, start_s=30)  # planned at 31
    assert [seen.now_s for seen, _, _ in policy.told] == [float(second) for second in range(1, 36)]
    assert {plan.id for _, plan, _ in policy.told[:11]} == {plan_of("s", 1).id}
    assert first is not None
    assert first.id == plan_of("s", 1).id
    assert {plan.id for _, plan, _ in policy.told[11:]} == {plan_of("s", 2).id}
    assert [plan.rate_rps for _, plan, _ in policy.told[10:32:7]] == pytest.approx([1.0, 110.0, 110.0, 330.0])
    assert [asked for _, _, asked in policy.told] == [1] * 11 + [2] * 20 + [3] * 4  # told before it is asked


def test_it_is_told_what_was_seen_though_it_cannot_answer() -> None:
    policy = Watching()
    controller = started(policy, TEN)
    policy.error = PlanRequestError("out of order")
    feed(controller, *[5] * 9)
    with pytest.raises(PlanRequestError, match="out of order"):
        feed(controller, 5, start_s=9)
    policy.error = None
    feed(controller, 5, start_s=10)
    assert [seen.now_s for seen, _, _ in policy.told] == [float(second) for second in range(1, 12)]
    assert len(policy.asked) == 3  # start, the turn that failed and the one after it


def test_before_the_first_plan_there_is_nothing_to_tell_it() -> None:
    policy = Watching()
    controller = Controller(PIPELINE, PROFILE, policy, Echo(), Limits(cores=4.0), ControllerSettings())
    feed(controller, 5)
    assert (len(policy.told), len(policy.asked)) == (0, 1)
    feed(controller, 5, start_s=1)
    assert len(policy.told) == 1


def test_a_plan_that_is_given_is_in_force_without_a_question() -> None:
    policy = Watching()
    controller = Controller(PIPELINE, PROFILE, policy, Echo(), Limits(cores=4.0), settings_for(policy, 2.0))
    given = plan_of("l", 2, rate_rps=30.0)
    decision = controller.start(7.0, given)
    assert policy.asked == []
    assert (decision.plan, controller.plan) == (given, given)
    assert (decision.sequence, decision.now_s, decision.changed, decision.feasible) == (0, 7.0, True, True)
    assert decision.actions
    assert "it is given" in reason(decision, "propose")
    assert [step.name for step in decision.steps] == ["observe", "forecast", "propose", "constrain", "diff"]


def test_a_given_plan_is_judged_at_the_start_rate() -> None:
    policy = Noting()
    for rate_rps, holds in ((2.0, True), (500.0, False)):
        controller = Controller(PIPELINE, PROFILE, policy, Echo(), Limits(cores=4.0), ControllerSettings(rate_rps))
        assert controller.start(0.0, plan_of("l")).feasible is holds


def test_turns_and_skips_count_from_a_given_plan() -> None:
    policy = Noting()
    controller = started(policy, DAMPED, plan=plan_of("l", rate_rps=500.0))
    assert turns(policy, controller, *[100] * 60) == [50]  # skipped at 10, 20, 30 and 40
    assert policy.rates_rps == pytest.approx([110.0])
    assert policy.asked[0].current == plan_of("l", rate_rps=500.0)


def test_every_decision_is_numbered_whatever_it_does() -> None:
    controller = started(Watching(), DAMPED)
    decisions = feed(controller, *[100, None, 50] * 20)
    assert all(after.sequence == before.sequence + 1 for before, after in pairwise(decisions))
    assert decisions[0].sequence == 1


def test_a_turn_forgives_the_jitter_of_a_clock() -> None:
    policy = Noting()
    controller = started(policy, Rhythm(every_s=1.0, horizon_s=1.0))
    for k in range(1, 21):
        controller.step(observation(k + (0.002 if k % 2 else 0.001), 5))
    assert len(policy.asked) == 21
