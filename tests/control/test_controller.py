from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.control.clocked import FAULT_S, Clocked

from trimtab.control.controller import Controller
from trimtab.control.protocols import Decision
from trimtab.control.settings import ControllerSettings, limits_of
from trimtab.errors import PlanRequestError
from trimtab.forecast import QuantileForecaster
from trimtab.observe.model import Observation, TaskObservation
from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.spec.model import Budget
from trimtab.testing import CAPABLE, make_chain, observation

STAGES = ["observe", "forecast", "propose", "constrain", "stabilize", "diff"]
PIPELINE, PROFILE = make_chain({"a": {"s": (0.8, 0.004), "l": (0.95, 0.04)}})


RIGID = Limits(cores=1.0, in_place_variants=False)
"""One core whose replica holds one variant: what is not planned for cannot be stepped down to."""


def controller_of(rate: float = 1.0, limits: Limits = RIGID) -> Controller:
    stated = ControllerSettings(start_rate_rps=rate, permitted_share=1.0)
    return Controller(PIPELINE, PROFILE, make_policy("trimtab"), QuantileForecaster(), limits, stated)


def variant(decision: Decision) -> str:
    return decision.plan.tasks["a"].allocations[0].variant


def reason(decision: Decision, stage: str) -> str:
    return " | ".join(f"{s.value}: {s.reason}" for s in decision.steps if s.name == stage)


def feed(controller: Controller, *counts: int | None, start_s: float = 0.0) -> list[Decision]:
    return [controller.step(observation(start_s + i, count)) for i, count in enumerate(counts, start=1)]


def test_the_first_plan_is_for_the_stated_rate() -> None:
    assert variant(controller_of(1.0).start(0.0)) == "l"
    first = controller_of(100.0).start(3.0)
    assert variant(first) == "s"
    assert (first.sequence, first.now_s, first.changed, first.feasible) == (0, 3.0, True, True)
    assert [step.name for step in first.steps] == STAGES
    assert "start rate" in reason(first, "forecast")
    assert first.actions


def test_without_a_start_the_first_observation_makes_the_first_plan() -> None:
    (decision,) = feed(controller_of(1.0), 100)
    assert decision.changed
    assert variant(decision) == "s"
    assert variant(controller_of(1.0).step(observation(1.0, None))) == "l"


def test_a_burst_changes_the_plan_in_the_same_second() -> None:
    controller = controller_of()
    controller.start(0.0)
    calm = feed(controller, *[4] * 20)
    assert {variant(d) for d in calm[3:]} == {"l"}
    (burst,) = feed(controller, 60, start_s=20.0)
    assert burst.changed
    assert variant(burst) == "s"
    assert "more than the plan holds" in reason(burst, "propose")
    assert {a.kind for a in burst.actions} == {"set-variant", "set-resident"}


def test_after_the_burst_accuracy_returns_when_it_has_been_worth_it_for_a_while() -> None:
    controller = controller_of(limits=replace(RIGID, start_s=7.0))
    controller.start(0.0)
    feed(controller, *[4] * 20, *[60] * 10)
    back = feed(controller, *[4] * 30, start_s=30.0)
    changes = [d for d in back if d.changed]
    assert len(changes) == 1
    assert variant(changes[0]) == "l"
    waiting = [d for d in back if "it pays for the change after 7 s" in reason(d, "stabilize")]
    assert waiting
    assert waiting[0].now_s <= changes[0].now_s - 7


def test_missing_data_keeps_the_plan_and_says_so() -> None:
    controller = controller_of()
    controller.start(0.0)
    before = feed(controller, *[60] * 10)[-1]
    for decision in feed(controller, *[None] * 40, start_s=10.0):
        assert not decision.changed
        assert decision.plan == before.plan
        assert "the last plan stays" in reason(decision, "propose")
    empty = controller.step(replace(observation(60.0), window_s=0.2))
    assert "the last plan stays" in reason(empty, "propose")
    (back,) = feed(controller, 60, start_s=61.0)
    assert "the last plan stays" not in reason(back, "propose")


def test_where_nothing_is_counted_a_queue_that_builds_up_is_a_reason_to_plan() -> None:
    controller = controller_of()
    controller.start(0.0)
    feed(controller, *[4] * 15)
    small = controller.step(observation(16.0, None, queued={"a": 2}))
    assert "the last plan stays" in reason(small, "propose")
    large = controller.step(observation(17.0, None, queued={"a": 40}))
    assert large.changed
    assert variant(large) == "s"
    assert "nothing is counted, and 40 requests wait" in reason(large, "propose")


def test_between_plans_it_waits_unless_something_is_wrong() -> None:
    controller = controller_of()
    controller.start(0.0)
    planned = [d.now_s for d in feed(controller, *[4] * 20) if "nothing is wrong" not in reason(d, "propose")]
    assert planned == [5.0, 10.0, 15.0, 20.0]


def test_a_backlog_is_a_reason_to_plan_at_once() -> None:
    controller = controller_of()
    controller.start(0.0)
    feed(controller, *[4] * 15)
    decision = controller.step(observation(16.0, 4, queued={"a": 40}))
    assert decision.changed
    assert variant(decision) == "s"
    assert "backlog takes 2.12 s" in reason(decision, "propose")


def test_what_is_measured_slower_than_profiled_steps_down() -> None:
    controller = controller_of()
    controller.start(0.0)
    steady = feed(controller, *[8] * 20)
    assert variant(steady[-1]) == "l"
    for second in range(21, 41):
        seen = observation(float(second), 8)
        task = TaskObservation(0, 0, 1, 0, 1, service_ratio=2.5)
        last = controller.step(replace(seen, tasks={"a": task}))
    assert variant(last) == "s"


def test_too_much_traffic_is_served_by_the_least_bad_plan_and_said() -> None:
    controller = controller_of()
    controller.start(0.0)
    decision = feed(controller, *[900] * 5)[-1]
    assert not decision.feasible
    assert variant(decision) == "s"
    assert "the least bad plan" in reason(decision, "stabilize")
    assert "nothing holds the SLO" in reason(decision, "propose")


def test_no_plan_at_all_is_an_error_at_the_start() -> None:
    two, profile = make_chain({"a": {"s": (0.8, 0.004)}, "b": {"s": (0.8, 0.004)}})
    controller = Controller(two, profile, make_policy("trimtab"), QuantileForecaster(), Limits(cores=1.0))
    with pytest.raises(PlanRequestError, match="core limit"):
        controller.start(0.0)


def test_a_policy_that_breaks_leaves_the_plan_in_force() -> None:
    class Moody:
        name = "moody"
        decides = frozenset[str]()
        broken = False

        def propose(self, request: PlanRequest) -> PlanResult:
            if self.broken:
                raise RuntimeError("out of order")
            return make_policy("trimtab").propose(request)

    policy = Moody()
    controller = Controller(PIPELINE, PROFILE, policy, QuantileForecaster(), RIGID)
    plan = controller.start(0.0).plan
    policy.broken = True
    with pytest.raises(RuntimeError, match="out of order"):
        feed(controller, 50)
    assert controller.plan == plan
    policy.broken = False
    (decision,) = feed(controller, 50, start_s=1.0)
    assert decision.sequence == 1
    assert decision.changed


def test_a_greedy_policy_is_clamped() -> None:
    class Greedy:
        name = "greedy"
        decides = frozenset({"replicas"})

        def propose(self, request: PlanRequest) -> PlanResult:
            roomy = replace(request, limits=Limits(cores=64.0), rate_rps=2000.0)
            return make_policy("trimtab").propose(roomy)

    controller = Controller(PIPELINE, PROFILE, Greedy(), QuantileForecaster(), Limits(cores=3.0))
    decision = controller.start(0.0)
    assert decision.plan.cores == 3
    assert "one replica less" in reason(decision, "constrain")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.none() | st.integers(0, 300), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_same_inputs_same_decisions_and_never_over_budget(counts: list[int | None], draw: object) -> None:
    one, other = controller_of(), controller_of()
    assert one.start(0.0) == other.start(0.0)
    for second, count in enumerate(counts, start=1):
        queued = {"a": draw.randint(0, 30)}  # type: ignore[attr-defined]  # random.Random, which pure code may not import
        seen: Observation = observation(float(second), count, queued=queued)
        decision = one.step(seen)
        assert decision == other.step(seen)
        assert decision.plan.cores <= 1
        assert decision.sequence == second
        assert decision.changed == bool(decision.actions)


@pytest.mark.parametrize(
    ("budget", "cores", "memory"),
    [(Budget(), 2.0, None), (Budget(cores=1.5), 1.5, None), (Budget(cores=64.0, memory_bytes=10), 2.0, 10)],
)
def test_limits_are_the_tighter_of_budget_and_plant(budget: Budget, cores: float, memory: int | None) -> None:
    limits = limits_of(replace(PIPELINE, budget=budget), CAPABLE)
    assert (limits.cores, limits.memory_bytes) == (cores, memory)
    assert limits_of(replace(PIPELINE, budget=budget), replace(CAPABLE, memory_bytes=5)).memory_bytes == 5


def test_what_a_forecaster_says_against_itself_is_in_the_decision() -> None:
    controller = Controller(PIPELINE, PROFILE, make_policy("trimtab"), Clocked(), Limits(cores=1.0))
    controller.start(0.0)
    assert controller.forecast is None
    sound, doubtful = feed(controller, *[5] * FAULT_S)[-2:]
    assert "beware" not in reason(sound, "forecast")
    assert reason(doubtful, "forecast").endswith("; beware: it has not held lately")
    assert controller.forecast is not None
    assert controller.forecast.warning == "it has not held lately"


def test_every_decision_names_its_stages(make_controller: Callable[[], Controller]) -> None:
    controller = make_controller()
    controller.start(0.0)
    for decision in feed(controller, *[5, 80, 200, None, 10, 10, 10] * 3):
        names = list(dict.fromkeys(step.name for step in decision.steps))
        assert names == [stage for stage in STAGES if stage in names]
        assert {"observe", "forecast", "propose", "diff"} <= set(names)
        assert all(step.value for step in decision.steps)
        assert all(step.reason for step in decision.steps)
