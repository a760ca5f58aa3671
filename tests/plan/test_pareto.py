"""The front is that of an exhaustive search, for cores and for money, with mixes, fan-outs and a current plan's load.

The search knows nothing of the planner: it lists every plan and asks `estimate` what it does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate
from trimtab.plan.latency import is_within
from trimtab.plan.model import Allocation, Limits, Plan, PlanEstimate, PlanRequest, TaskPlan
from trimtab.plan.options import Rules
from trimtab.plan.pareto import CostKind, cost_of, front, locate
from trimtab.plan.policies.trimtab import TrimtabPolicy
from trimtab.spec.model import AccuracyModel, Instance, Objective, Planning, Prices
from trimtab.testing import make_chain

CORES, REPLICAS, BATCHES, SHAPES = 5, 3, (1, 2), ((1, 1), (2, 1))
INSTANCES = Prices(instances={"small": Instance("small", 1, 1e-5), "large": Instance("large", 2, 1.7e-5)})


@st.composite
def requests(draw: st.DrawFn, tasks: int = 2) -> PlanRequest:
    accuracy = st.sampled_from((0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95))
    seconds = st.sampled_from((0.005, 0.01, 0.02, 0.04, 0.06, 0.09))

    def variants() -> dict[str, tuple[float, float]]:
        """Slower ones are mostly more accurate, or there would be nothing to weigh."""
        count = draw(st.integers(2, 3))
        columns = [draw(st.lists(each, min_size=count, max_size=count)) for each in (accuracy, seconds)]
        if draw(st.integers(0, 3)):
            columns = [sorted(column) for column in columns]
        return {f"v{i}": (a, s) for i, (a, s) in enumerate(zip(*columns, strict=True))}

    pipeline, profile = make_chain(
        {f"t{t}": variants() for t in range(tasks)},
        slo_s=draw(st.sampled_from((0.2, 0.4, 0.8))),
        shapes=SHAPES,
        batches=BATCHES,
        fan_out=draw(st.sampled_from((1.0, 1.5))),
    )
    pipeline = replace(
        pipeline, prices=INSTANCES, accuracy=AccuracyModel(draw(st.sampled_from(("product", "rank-sum"))))
    )
    limits = Limits(cores=CORES, replicas_per_task=REPLICAS, in_place_variants=False)
    return PlanRequest(pipeline, profile, draw(st.sampled_from((12.0, 25.0, 40.0, 60.0))), limits)


def every_plan(request: PlanRequest, shares: tuple[float, ...] = ()) -> Iterator[Plan]:
    groups = []
    for task in request.pipeline.tasks:
        single = [
            Allocation(v, n, cores, threads, batch)
            for v in request.profile.variants[task]
            for n in range(1, REPLICAS + 1)
            for cores, threads in SHAPES
            for batch in BATCHES
        ]
        pairs = [
            (replace(one, share=share), replace(other, share=1.0 - share))
            for share in shares
            for one, other in itertools.permutations(single, 2)
            if one.variant != other.variant and one.replicas + other.replicas <= REPLICAS
        ]
        groups.append([(a,) for a in single] + pairs)
    for chosen in itertools.product(*groups):
        if sum(a.total_cores for each in chosen for a in each) <= request.limits.cores:
            named = zip(request.pipeline.tasks, chosen, strict=True)
            tasks = {task: TaskPlan(task, each, tuple(a.variant for a in each)) for task, each in named}
            yield Plan(tasks, request.rate_rps)


def exhaustive(request: PlanRequest, rules: Rules, cost: CostKind, shares: tuple[float, ...] = ()) -> list[list[float]]:
    """Cost and accuracy of everything that nothing beats, the cheapest first."""
    found = [judge(request, rules, plan) for plan in every_plan(request, shares)]
    points = sorted(
        (cost_of(e, cost), -e.accuracy)
        for e in found
        if e.meets_slo and all(is_within(t.utilisation, rules.utilisation_cap) for t in e.tasks.values())
    )
    best: list[list[float]] = []
    for price, less in points:
        if not best or -less > best[-1][1] * (1.0 + 1e-9):
            best.append([price, -less])
    return best


def judge(request: PlanRequest, rules: Rules, plan: Plan) -> PlanEstimate:
    return estimate(
        plan, request.pipeline, request.profile, request.rate_rps,
        latency_model=rules.latency_model, arrival_scv=request.arrival_scv,
    )  # fmt: skip


def numbers(request: PlanRequest, rules: Rules, cost: CostKind) -> list[list[float]]:
    return [[point.cost, point.estimate.accuracy] for point in front(request, rules, cost)]


@settings(max_examples=10, deadline=None)
@given(requests(), st.sampled_from(("cores", "money")), st.sampled_from(("tail", "paper")))
def test_the_front_is_that_of_an_exhaustive_search(request: PlanRequest, cost: CostKind, model: str) -> None:
    rules = Rules("paper", 1.0) if model == "paper" else Rules("tail", 0.85)
    wanted = exhaustive(request, rules, cost)
    found = numbers(request, rules, cost)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize("cost", ["cores", "money"])
def test_a_longer_front_is_that_of_an_exhaustive_search(cost: CostKind) -> None:
    pipeline, profile = make_chain(
        {"find": {"s": (0.6, 0.01), "m": (0.8, 0.05), "l": (0.9, 0.09)}, "read": {"s": (0.7, 0.01), "l": (0.9, 0.07)}},
        shapes=SHAPES,
        batches=BATCHES,
    )
    pipeline = replace(pipeline, prices=INSTANCES)
    request = PlanRequest(
        pipeline, profile, 25.0, Limits(cores=9.0, replicas_per_task=REPLICAS, in_place_variants=False)
    )
    rules = Rules("tail", 0.85)
    found = numbers(request, rules, cost)
    assert len(found) >= 4
    assert found == [pytest.approx(point, rel=1e-9) for point in exhaustive(request, rules, cost)]


@settings(max_examples=8, deadline=None)
@given(requests(tasks=1), st.sampled_from(("cores", "money")))
def test_mixes_are_on_it(request: PlanRequest, cost: CostKind) -> None:
    steps = 4
    request = replace(request, limits=replace(request.limits, max_allocations_per_task=2, replicas=REPLICAS))
    request = replace(request, pipeline=replace(request.pipeline, planning=Planning(mix=2, share_steps=steps)))
    rules = Rules("tail", 0.85, mix=2)
    wanted = exhaustive(request, rules, cost, tuple(i / steps for i in range(1, steps)))
    found = numbers(request, rules, cost)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(requests(), st.booleans())
def test_every_point_is_what_it_says(request: PlanRequest, pooled: bool) -> None:
    request = replace(request, limits=replace(request.limits, in_place_variants=pooled))
    rules = Rules("tail", 0.85, pooled=pooled)
    points = front(request, rules)
    for point in points:
        assert point.estimate == judge(request, rules, point.plan)
        assert point.estimate.meets_slo
        assert point.gap == 0.0
    assert [p.cost for p in points] == sorted({p.cost for p in points})
    assert [p.estimate.accuracy for p in points] == sorted({p.estimate.accuracy for p in points})


@settings(max_examples=20, deadline=None)
@given(requests(), st.sampled_from((0.3, 0.01)))
def test_what_the_policy_chooses_is_on_it(request: PlanRequest, beta: float) -> None:
    rules = Rules("tail", 0.85)
    points = front(request, rules)
    for objective in (Objective(), Objective("weighted", beta=beta, delta=0.0)):
        own = TrimtabPolicy().propose(replace(request, pipeline=replace(request.pipeline, objective=objective)))
        at = locate(points, own.estimate, "cores")
        assert own.feasible == bool(points)
        assert (at is None) == (not points)
        if objective.kind != "weighted" and points:
            assert at == len(points) - 1


def test_nothing_is_on_it_where_nothing_holds() -> None:
    pipeline, profile = make_chain({"t": {"v": (0.9, 0.05)}})
    assert front(PlanRequest(pipeline, profile, 1e4, Limits(4.0)), Rules("tail", 0.85)) == ()


def test_an_accuracy_of_zero_is_a_point_too() -> None:
    pipeline, profile = make_chain({"t": {"none": (0.0, 0.002), "some": (0.5, 0.05)}}, batches=(1,))
    points = front(PlanRequest(pipeline, profile, 30.0, Limits(4.0, in_place_variants=False)), Rules("tail", 0.85))
    assert [p.estimate.accuracy for p in points] == [0.0, 0.5]


def test_money_needs_prices() -> None:
    pipeline, profile = make_chain({"t": {"v": (0.9, 0.05)}})
    request = PlanRequest(pipeline, profile, 1.0, Limits(4.0))
    with pytest.raises(PlanRequestError, match="nothing has a price"):
        front(request, Rules("tail"), "money")
    (point,) = front(request, Rules("tail"))
    assert math.isnan(cost_of(point.estimate, "money"))
    assert locate([point], point.estimate, "money") is None
