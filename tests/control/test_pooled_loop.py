"""The loop on a plant that steps down: cores every second, replicas every few, surges, a floor on average."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.control.scripted import Echo, Noting, plan_of

from trimtab.control.controller import Controller
from trimtab.control.floor import MOST
from trimtab.control.protocols import Decision
from trimtab.control.settings import ControllerSettings
from trimtab.forecast import QuantileForecaster
from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.spec.model import Objective
from trimtab.testing import make_chain, observation

PIPELINE, PROFILE = make_chain(
    {"a": {"s": (0.8, 0.004), "l": (0.95, 0.04)}}, shapes=tuple((cores, 1) for cores in (1, 2, 3, 4)), batches=(1, 2)
)
CHEAPEST = replace(PIPELINE, objective=Objective("cheapest", accuracy_floor=0.9))
SOFT = Limits(cores=4.0, in_place_cores=True, start_s=8.0)
"""Replicas that hold all variants and whose cores change at once; a new one takes a while."""


class Adjusting(Noting):
    """Says that it knows what a plan becomes at once."""

    decides = frozenset({"variant", "replicas", "cores", "adjust"})


def controller_of(
    policy: Noting | None = None,
    plan: Plan | None = None,
    limits: Limits = SOFT,
    *,
    cheapest: bool = False,
    **said: Any,
) -> Controller:
    """A controller with its first plan, at second 0."""
    settings = replace(ControllerSettings(start_rate_rps=4.0), **said)
    controller = Controller(
        CHEAPEST if cheapest else PIPELINE, PROFILE, policy or make_policy("trimtab"),
        QuantileForecaster() if policy is None else Echo(), limits, settings,
    )  # fmt: skip
    controller.start(0.0, plan)
    return controller


def feed(controller: Controller, *counts: int | None, start_s: int = 0) -> list[Decision]:
    """One observation a second, from the one after `start_s` on."""
    return [controller.step(observation(float(second), count)) for second, count in enumerate(counts, start_s + 1)]


def group(decision: Decision) -> Allocation:
    (only,) = decision.plan.tasks["a"].allocations
    return only


def reason(decision: Decision, stage: str) -> str:
    return " | ".join(f"{s.value}: {s.reason}" for s in decision.steps if s.name == stage)


# --- what changes at once -------------------------------------------------------------------------------------------


def test_a_burst_is_held_by_stepping_down_and_cores_follow_at_once() -> None:
    controller = controller_of()
    (*_, calm) = feed(controller, *[4] * 20)
    assert (group(calm).variant, group(calm).replicas, group(calm).cores) == ("l", 1, 1)
    assert calm.plan.tasks["a"].may_use == ("s",)
    burst, next_ = feed(controller, 60, 60, start_s=20)
    assert burst.changed
    assert {action.kind for action in (*burst.actions, *next_.actions)} <= {"set-cores", "set-batch"}
    assert (group(next_).variant, group(next_).replicas) == ("l", 1), "no replica is started, no variant loaded"
    assert group(next_).cores >= 3
    assert next_.feasible
    (*_, after) = feed(controller, *[4] * 20, start_s=22)
    assert group(after).cores == 1, "and they are given back"


def test_it_looks_every_second_and_plans_anew_every_few() -> None:
    decisions = feed(controller_of(), *[4] * 20)
    at_once = [d.now_s for d in decisions if "the best that changes at once" in reason(d, "propose")]
    optimal = [d.now_s for d in decisions if "optimal" in reason(d, "propose")]
    assert optimal == [5.0, 10.0, 15.0, 20.0]
    assert at_once == [float(second) for second in range(1, 20) if second % 5]
    assert not any(d.changed for d in decisions), "nothing is to be gained"


@pytest.mark.parametrize(
    ("policy", "limits", "said"),
    [
        (Adjusting(), SOFT, {"adjust_s": None}),
        (Noting(), SOFT, {}),
        (Adjusting(), replace(SOFT, in_place_variants=False), {}),
    ],
)
def test_plans_alone_change_anything_where_it_is_told_so_or_cannot(
    policy: Noting, limits: Limits, said: dict[str, Any]
) -> None:
    decisions = feed(controller_of(policy, limits=limits, **said), *[4] * 9)
    assert len(policy.asked) == 2
    assert [d.now_s for d in decisions if "nothing is wrong" in reason(d, "propose")] == [1, 2, 3, 4, 6, 7, 8, 9]


def test_what_changes_at_once_is_asked_for_with_the_plan_in_force() -> None:
    policy = Adjusting()
    controller = controller_of(policy, plan_of("l"))
    feed(controller, *[4] * 5)
    assert [request.at_once for request in policy.asked] == [True] * 4 + [False]
    assert policy.asked[0].current == plan_of("l")


def test_an_adjustment_that_gains_nothing_is_not_made() -> None:
    policy = Adjusting()
    policy.proposal = plan_of("l", cores=2)
    controller = controller_of(policy, plan_of("l"))
    assert not any(d.changed for d in feed(controller, *[4] * 4))
    policy.proposal = plan_of("s")
    assert not any(d.changed for d in feed(controller, *[4] * 4, start_s=5))


def test_while_a_larger_change_waits_the_cores_follow() -> None:
    """On its turn, too: what takes time is weighed against the plan in force as it can be now."""

    class Larger(Adjusting):
        def propose(self, request: PlanRequest) -> PlanResult:
            self.proposal = plan_of("l") if request.at_once else plan_of("l", 2)
            return super().propose(request)

    policy = Larger()
    controller = controller_of(policy, plan_of("l", cores=4), adjust_s=60.0)
    (*_, before, turn) = feed(controller, *[4] * 5)
    assert [request.at_once for request in policy.asked] == [False, True]
    assert (group(before).cores, group(turn).cores, group(turn).replicas) == (4, 1, 1)
    assert "adjust" in reason(turn, "stabilize")
    assert "no gain worth a change" in reason(turn, "stabilize"), "beside one core, two replicas gain nothing"


# --- surges ---------------------------------------------------------------------------------------------------------


def test_what_may_come_is_told_beside_what_is_expected() -> None:
    policy = Adjusting()
    feed(controller_of(policy, reactive_floor=False), *[8] * 5)
    assert [(r.rate_rps, r.surge_rps) for r in policy.asked] == [(4.0, 4.0)] + [(8.0, 24.0)] * 5
    unsurged = Adjusting()
    feed(controller_of(unsurged, reactive_floor=False, surge_quantile=None), *[8] * 5)
    assert {(r.rate_rps, r.surge_rps) for r in unsurged.asked[1:]} == {(8.0, 8.0)}


def test_a_surge_is_looked_for_as_far_ahead_as_a_change_takes() -> None:
    far = set()
    for limits in (SOFT, replace(SOFT, in_place_cores=False)):
        policy = Adjusting()
        controller = controller_of(policy, limits=limits)
        feed(controller, *[8] * 5)
        assert isinstance(controller.forecaster, Echo)
        far.add(max(controller.forecaster.horizons_s))
    assert far == {2.0, 2.0 + SOFT.start_s}


def test_a_surge_beyond_what_the_plan_holds_makes_it_plan_at_once() -> None:
    policy = Adjusting()
    controller = controller_of(policy, plan_of("l"))
    calm, urgent = feed(controller, 4, 12)
    assert "at once: 36/s may come, more than the plan holds" in reason(urgent, "propose")
    assert "at once" not in reason(calm, "propose").replace("changes at once", "")
    assert [request.at_once for request in policy.asked] == [True, False]


def test_a_pool_holds_surges_with_its_fastest_and_needs_no_plan_for_them() -> None:
    controller = controller_of()
    decisions = feed(controller, *[4] * 10, *[40] * 2)
    assert not any("may come" in reason(d, "propose") for d in decisions)
    assert all(d.feasible for d in decisions)


def test_plans_that_cannot_step_down_hold_the_surge_themselves() -> None:
    request_at = []
    for limits in (SOFT, replace(SOFT, in_place_variants=False)):
        controller = Controller(
            PIPELINE, PROFILE, make_policy("trimtab"), Echo(), limits, ControllerSettings(start_rate_rps=4.0)
        )
        controller.start(0.0)
        (*_, decision) = feed(controller, *[20] * 6)
        request_at.append(decision.plan.cores)
    pooled, alone = request_at
    assert alone > pooled


# --- replicas that start --------------------------------------------------------------------------------------------


def test_a_plan_that_would_starve_while_its_replicas_start_is_refused() -> None:
    policy = Noting()
    policy.proposal = plan_of("l", 3)
    controller = controller_of(policy, plan_of("l", cores=4), rate_quantile=0.5, surge_quantile=None)
    decisions = feed(controller, *[50] * 60)
    assert any("too little would be left while replicas start" in reason(d, "constrain") for d in decisions)
    assert not any(d.changed for d in decisions)
    assert any("it pays for the change" in reason(d, "stabilize") for d in decisions), "it was worth it and had lasted"


def test_instead_more_of_those_that_are_there_are_started() -> None:
    policy = Noting()
    policy.proposal = plan_of("l", 8)
    controller = controller_of(policy, plan_of("l", cores=4), replace(SOFT, cores=8.0), surge_quantile=None)
    changes = [d for d in feed(controller, *[150] * 30) if d.changed]
    assert [(group(d).replicas, group(d).cores) for d in changes] == [(2, 4)]


def test_the_same_plan_is_taken_when_one_replica_is_enough_meanwhile() -> None:
    policy = Noting()
    policy.proposal = plan_of("l", 3)
    controller = controller_of(policy, plan_of("l", cores=4), surge_quantile=None)
    decisions = feed(controller, *[5] * 60)
    (change,) = [d for d in decisions if d.changed]
    assert change.plan.tasks == plan_of("l", 3).tasks
    assert change.now_s >= 5.0 + SOFT.start_s


# --- an accuracy floor, on average ----------------------------------------------------------------------------------


def served(now_s: float, **of: int) -> Observation:
    total = sum(of.values())
    seen = TaskObservation(0, 0, 1, 0, 1, served=of)
    return replace(observation(now_s, total), tasks={"a": seen}, outcomes=Outcomes(in_time=total))


def floors(policy: Noting) -> list[float]:
    return [request.pipeline.objective.accuracy_floor or 0.0 for request in policy.asked]


def test_what_was_more_accurate_pays_for_what_is_less() -> None:
    policy = Adjusting()
    controller = controller_of(policy, cheapest=True)
    for second in range(1, 9):
        controller.step(served(second, l=10))
    assert floors(policy)[0] == 0.9
    assert floors(policy)[1:] == sorted(floors(policy)[1:], reverse=True)
    assert 0.9 * (1.0 - MOST) <= floors(policy)[-1] < 0.9
    for second in range(9, 40):
        controller.step(served(second, s=10))
    assert 0.9 < floors(policy)[-1] <= 0.9 * (1.0 + MOST)
    assert controller.pipeline.objective.accuracy_floor == 0.9


def test_where_it_is_to_be_kept_at_every_instant_the_floor_stays() -> None:
    policy = Adjusting()
    controller = controller_of(policy, cheapest=True, floor_on_average=False)
    for second in range(1, 9):
        controller.step(served(second, l=10))
    assert set(floors(policy)) == {0.9}


def test_the_mean_comes_to_the_floor_in_a_closed_loop() -> None:
    """A plant that serves as planned: the mean is near the floor, though cores come in whole numbers."""
    controller = controller_of(cheapest=True)
    delivered = []
    for second in range(1, 121):
        mixed = _mixed(controller)
        large = round(200 * (mixed - 0.8) / 0.15)
        seen = served(second, s=200 - large, l=large)
        controller.step(replace(seen, arrivals=(40,), outcomes=Outcomes(in_time=40)))
        delivered.append(mixed)
    assert sum(delivered[20:]) / 100 == pytest.approx(0.9, abs=0.01)


def _mixed(controller: Controller) -> float:
    """Accuracy that the plan in force is expected to deliver at 40/s."""
    assert controller.plan is not None
    return estimate(controller.plan, CHEAPEST, PROFILE, 40.0).accuracy
