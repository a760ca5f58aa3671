"""Policies that remember: every built-in one passes the kit's day, and each way of remembering wrongly is caught."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest

from trimtab.errors import PlanRequestError
from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Allocation, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies import POLICIES, ObservingPolicy, make_policy
from trimtab.plan.policies.base import Rhythm, result
from trimtab.testing import check_observing_policy, check_policy

OBSERVING = [name for name in POLICIES if isinstance(make_policy(name), ObservingPolicy)]


class Wary:
    """Small replicas for the highest load of the last ten observations: sound, and it remembers."""

    name = "wary"
    decides = frozenset({"replicas"})
    rhythm: Rhythm | None = None

    def __init__(self) -> None:
        self.rates_rps: list[float] = []

    def observe(self, observation: Observation, plan: Plan) -> None:
        known = [count for count in observation.arrivals if count is not None]
        if known:
            self.rates_rps = [*self.rates_rps, sum(known) / len(known)][-10:]

    def propose(self, request: PlanRequest) -> PlanResult:
        check_rate(request.rate_rps)
        if request.limits.cores < len(request.pipeline.tasks):
            raise PlanRequestError("no room for one replica of every task")
        return self.answer(request, max([request.rate_rps, *self.rates_rps]))

    def answer(self, request: PlanRequest, rate_rps: float, *, most: int = 2) -> PlanResult:
        """A replica of each task for every 100/s, up to `most`."""
        replicas = min(most, 1 + math.floor(rate_rps / 100.0))
        tasks = {
            name: TaskPlan(name, (Allocation("small", replicas, 1, 1, 1),), ("small",))
            for name in request.pipeline.tasks
        }
        objective = request.pipeline.objective
        return result(
            self.name, request, tasks, feasible=True, reason="as seen", latency_model="tail", objective=objective
        )


@pytest.mark.parametrize("name", OBSERVING)
def test_every_built_in_policy_that_observes_passes_the_day(name: str) -> None:
    check_observing_policy(lambda: make_policy(name))  # type: ignore[arg-type,return-value]  # OBSERVING holds no others


@pytest.mark.parametrize("name", ["hpa", "vpa+", "infaas", "themis"])
def test_a_single_task_will_do(name: str) -> None:
    check_observing_policy(lambda: make_policy(name), tasks=1)  # type: ignore[arg-type,return-value]  # as above


def test_the_list_above_holds_the_autoscalers() -> None:
    assert {"hpa", "vpa", "vpa+", "autopilot", "mark", "infaas", "fa2", "themis"} <= set(OBSERVING)
    assert not {"trimtab", "cheapest", "infadapter"} & set(OBSERVING)


def test_a_sound_policy_of_ones_own_passes() -> None:
    check_policy(Wary())
    check_observing_policy(Wary)


class OutOfOrder(Wary):
    """Every answer tells how often it was asked."""

    asked = 0

    def propose(self, request: PlanRequest) -> PlanResult:
        self.asked += 1
        answer = super().propose(request)
        return replace(answer, steps=(*answer.steps, replace(answer.steps[0], value=f"question {self.asked}")))


class LearnsFromQuestions(Wary):
    """Keeps the rate of a question about no plan for what it says later."""

    first_rps = 0.0

    def propose(self, request: PlanRequest) -> PlanResult:
        if request.current is None:
            self.first_rps = request.rate_rps
        return self.answer(request, self.first_rps)


class AsksOnlyOnce(Wary):
    """Answers a question that comes again before the next observation from another point of view."""

    before: PlanRequest | None = None

    def observe(self, observation: Observation, plan: Plan) -> None:
        super().observe(observation, plan)
        self.before = None

    def propose(self, request: PlanRequest) -> PlanResult:
        again, self.before = request == self.before, request
        return self.answer(request, 0.0 if again else 100.0)


class Shared(Wary):
    """All policies of the process remember in the same place."""

    everywhere: ClassVar[list[float]] = []

    def observe(self, observation: Observation, plan: Plan) -> None:
        self.everywhere.append(sum(count or 0 for count in observation.arrivals))
        self.rates_rps = self.everywhere[-100:]


class ByIdentity(Wary):
    """Looks whether the plan is the same object, which no journal keeps."""

    last: PlanResult | None = None

    def observe(self, observation: Observation, plan: Plan) -> None:
        self.rates_rps = [0.0 if self.last is not None and plan is self.last.plan else 100.0]

    def propose(self, request: PlanRequest) -> PlanResult:
        self.last = super().propose(request)
        return self.last


class DividesByBatches(Wary):
    def observe(self, observation: Observation, plan: Plan) -> None:
        super().observe(observation, plan)
        for task in observation.tasks.values():
            self.rates_rps.append(sum(task.served.values()) / task.batches)


class DividesByReplicas(Wary):
    ready = 1

    def observe(self, observation: Observation, plan: Plan) -> None:
        self.ready = min((task.replicas_ready for task in observation.tasks.values()), default=1)

    def propose(self, request: PlanRequest) -> PlanResult:
        return self.answer(request, request.rate_rps / self.ready)


class CountsOnEverySecond(Wary):
    def observe(self, observation: Observation, plan: Plan) -> None:
        self.rates_rps = [float(sum(observation.arrivals))]  # type: ignore[arg-type]  # the fault


class NeedsASecond(Wary):
    def observe(self, observation: Observation, plan: Plan) -> None:
        self.rates_rps = [float(observation.arrivals[-1] or 0)]


class NeedsEveryTask(Wary):
    def observe(self, observation: Observation, plan: Plan) -> None:
        self.rates_rps = [float(observation.tasks[name].queued) for name in plan.tasks]


class NeedsResponses(Wary):
    def observe(self, observation: Observation, plan: Plan) -> None:
        self.rates_rps = [observation.response_s[0.99]]


class Boundless(Wary):
    """Grows with what it saw, beyond all limits."""

    def propose(self, request: PlanRequest) -> PlanResult:
        return self.answer(request, max(self.rates_rps, default=0.0), most=100)


class Stuck(Wary):
    """Gives back the plan in force as it is, with the rate that it was made for."""

    def propose(self, request: PlanRequest) -> PlanResult:
        answer = super().propose(request)
        return answer if request.current is None else replace(answer, plan=request.current)


class Confident(Wary):
    """Sure that its plan holds what it saw."""

    def propose(self, request: PlanRequest) -> PlanResult:
        return replace(super().propose(request), feasible=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (OutOfOrder, "at the start: asked twice, answered differently"),
        (LearnsFromQuestions, "what it was asked before changes the answer"),
        (AsksOnlyOnce, "asked twice, answered differently"),
        (Shared, "a fresh policy that was told the same answers differently"),
        (ByIdentity, "a fresh policy that was told the same answers differently"),
        (DividesByBatches, r"observe raised ZeroDivisionError"),
        (DividesByReplicas, r"propose raised ZeroDivisionError"),
        (CountsOnEverySecond, r"after look \d+, a gap: observe raised TypeError"),
        (NeedsASecond, r"less than a second: observe raised IndexError"),
        (NeedsEveryTask, r"tells of no task: observe raised KeyError"),
        (NeedsResponses, r"observe raised KeyError"),
        (Boundless, "exceeds the limits"),
        (Stuck, "the plan is for another rate"),
        (Confident, "called feasible and misses the SLO"),
    ],
)
def test_a_policy_that_remembers_wrongly_is_caught(make: Callable[[], ObservingPolicy], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_observing_policy(make)


def test_what_does_not_observe_or_is_not_fresh_is_caught() -> None:
    with pytest.raises(AssertionError, match="has name, decides, propose and observe"):
        check_observing_policy(lambda: make_policy("trimtab"))  # type: ignore[arg-type,return-value]  # the fault
    policy = Wary()
    with pytest.raises(AssertionError, match="a fresh policy every time"):
        check_observing_policy(lambda: policy)


class Listening(Wary):
    """Keeps what it is told."""

    told: ClassVar[list[list[tuple[Observation, Plan]]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.told.append([])
        self.mine = self.told[-1]

    def observe(self, observation: Observation, plan: Plan) -> None:
        super().observe(observation, plan)
        self.mine.append((observation, plan))


class Slow(Listening):
    rhythm = Rhythm(every_s=300.0, horizon_s=300.0)
    told: ClassVar[list[list[tuple[Observation, Plan]]]] = []


class Once(Listening):
    rhythm = Rhythm(every_s=1e9, horizon_s=1.0)
    told: ClassVar[list[list[tuple[Observation, Plan]]]] = []


def test_the_day_holds_what_it_says() -> None:
    Listening.told.clear()
    check_observing_policy(Listening)
    days = [day for day in Listening.told if day]
    assert len(days) == 3
    assert days[0] == days[1] == days[2]
    seen = [observation for observation, _ in days[0]]
    assert [o.now_s for o in seen] == sorted({o.now_s for o in seen})
    assert any(None in o.arrivals for o in seen)
    assert any(o.arrivals == () for o in seen)
    assert any(o.tasks == {} for o in seen)
    assert sum(o.outcomes.refused for o in seen) > 1000
    tasks = [task for o in seen for task in o.tasks.values()]
    assert max(task.queued for task in tasks) >= 100
    assert any(task.replicas_ready == 0 and task.replicas_starting > 0 for task in tasks)
    assert any(task.replicas_ready > 0 and task.replicas_starting > 0 for task in tasks)
    assert any(task.batches == 0 and not task.served and task.service_ratio is None for task in tasks)
    for o, plan in days[0]:
        assert o.plan_id == plan.id
        for name, task in o.tasks.items():
            assert task.replicas_ready + task.replicas_starting == sum(a.replicas for a in plan.tasks[name].allocations)
            assert 0.0 <= task.busy_core_s <= plan.tasks[name].cores * o.window_s
            assert bool(task.served) == (task.batches > 0)
    assert max(task.busy_core_s for task in tasks) > 0.5


def test_the_day_of_a_slow_policy_is_longer() -> None:
    Slow.told.clear()
    check_observing_policy(Slow)
    assert {observation.window_s for observation, _ in Slow.told[-1]} == {75.0, 0.5}
    Once.told.clear()
    check_observing_policy(Once)
    assert max(observation.window_s for observation, _ in Once.told[-1]) == 100.0
