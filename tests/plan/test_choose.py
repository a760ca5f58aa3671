"""The planner against exhaustive search over whole plans, judged by `estimate`, which no solver uses.

Mixes, DAGs, fan-outs that follow the variant, limits of every kind, money, switching, measured accuracy, capacity
tables, and pools of replicas that step down.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan import search
from trimtab.plan.estimate import estimate
from trimtab.plan.latency import is_within
from trimtab.plan.model import Allocation, Limits, Plan, PlanEstimate, PlanRequest, TaskPlan
from trimtab.plan.objective import objective_value, rank
from trimtab.plan.policies import make_policy
from trimtab.plan.pool import UTILISATION_CAP
from trimtab.plan.prices import SERVERLESS
from trimtab.plan.residents import with_freedoms
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import (
    AccuracyModel,
    Edge,
    Instance,
    Objective,
    Pipeline,
    Planning,
    Prices,
    Serverless,
)
from trimtab.testing import make_chain

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SECONDS = st.sampled_from([0.004, 0.011, 0.03, 0.07])
VARIANTS = st.lists(st.tuples(st.sampled_from([0.6, 0.8, 0.9, 0.97]), SECONDS), min_size=1, max_size=2)
OBJECTIVES = st.sampled_from(
    [
        Objective(),
        Objective("cheapest", accuracy_floor=0.6),
        Objective("cheapest", accuracy_floor=0.75),
        Objective("weighted", 1.0, 0.02, delta=1e-3),
        Objective("weighted", 1.0, 0.1, gamma=0.02, delta=1e-6),
    ]
)
RATES = st.sampled_from([0.0, 2.0, 9.0, 26.0, 70.0])
SLOS = st.sampled_from([0.05, 0.12, 0.3])


@dataclass(frozen=True)
class Asked:
    """A question, and what an option may be."""

    request: PlanRequest
    replicas: int
    """Most replicas of a group that are enumerated; the limits make sure that no more help."""

    @property
    def mix(self) -> int:
        """Groups of a task."""
        return min(self.request.pipeline.planning.mix, self.request.limits.max_allocations_per_task)


def groups(asked: Asked, task: str) -> list[Allocation]:
    """Every group of replicas by itself."""
    request = asked.request
    serverless = request.pipeline.prices.serverless
    found = []
    for variant, known in request.profile.variants[task].items():
        shapes = [(p.cores, p.threads, p.batch) for p in known.points] + [(c.cores, 1, 1) for c in known.capacity]
        for cores, threads, batch in shapes:
            wanted = request.pipeline.planning.cores.get(task, cores)
            if cores == wanted and batch <= (request.pipeline.planning.max_batch or batch):
                for replicas in range(1, asked.replicas + 1):
                    found.append(Allocation(variant, replicas, cores, threads, batch))
                    if serverless is not None and cores <= serverless.cores:
                        found.append(replace(found[-1], instance=SERVERLESS))
    return found


def task_plans(asked: Asked, task: str) -> list[TaskPlan]:
    """Every single group and every mix of two variants."""
    alone = groups(asked, task)
    plans = [TaskPlan(task, (a,), (a.variant,)) for a in alone]
    steps = asked.request.pipeline.planning.share_steps
    if asked.mix > 1:
        for a, b in itertools.product(alone, alone):
            if a.variant < b.variant:
                for part in range(1, steps):
                    pair = (replace(a, share=part / steps), replace(b, share=1 - part / steps))
                    plans.append(TaskPlan(task, pair, (a.variant, b.variant)))
    return plans


def every_plan(asked: Asked) -> Iterator[Plan]:
    """Every plan within the core limit."""
    request = asked.request
    per_task = [task_plans(asked, task) for task in request.pipeline.tasks]
    for chosen in itertools.product(*per_task):
        if sum(t.cores for t in chosen) <= request.limits.cores:
            yield Plan({t.task: t for t in chosen}, request.rate_rps)


def judge(plan: Plan, asked: Asked, rate_rps: float | None = None) -> PlanEstimate | None:
    """The estimate; None where nothing can be rented for it."""
    request = asked.request
    try:
        return estimate(
            plan, request.pipeline, request.profile, request.rate_rps if rate_rps is None else rate_rps,
            latency_model=request.pipeline.planning.latency, current=request.current,
        )  # fmt: skip
    except PlanRequestError:
        return None


def is_allowed(found: PlanEstimate | None, asked: Asked) -> bool:
    """Whether a plan holds the SLO within all limits, and the utilisation that may be planned."""
    if found is None or not found.meets_slo:
        return False
    limits = asked.request.limits
    # A capacity table's rates are within the SLO as they are.
    tables = any(p.capacity for known in asked.request.profile.variants.values() for p in known.values())
    cap = UTILISATION_CAP if asked.request.pipeline.planning.latency == "tail" and not tables else 1.0
    return (
        (limits.memory_bytes is None or found.memory_bytes <= limits.memory_bytes)
        and (limits.replicas is None or found.replicas <= limits.replicas)
        and (limits.cost_per_hour is None or is_within(found.cost_per_hour or 0.0, limits.cost_per_hour))
        and all(is_within(t.utilisation, cap) for t in found.tasks.values())
    )


def best_of(asked: Asked, plans: Sequence[Plan] | None = None) -> tuple[float, ...] | None:
    """What the best allowed plan is worth; a plan below an accuracy floor is not allowed."""
    best: tuple[float, ...] | None = None
    objective = asked.request.pipeline.objective
    for plan in every_plan(asked) if plans is None else plans:
        found = judge(plan, asked)
        if is_allowed(found, asked):
            assert found is not None
            value = objective_value(plan, found, asked.request.rate_rps, objective)
            if objective.kind == "cheapest" and not is_within(objective.accuracy_floor or 0.0, found.accuracy):
                continue
            worth = rank(value)
            best = worth if best is None else max(best, worth)
    return best


def check(asked: Asked) -> None:
    """The policy's answer is as good as the best of all plans, and within all limits."""
    result = make_policy("trimtab").propose(asked.request)
    best = best_of(asked)
    objective = asked.request.pipeline.objective
    holds = result.feasible
    if objective.kind == "cheapest":
        holds = holds and is_within(objective.accuracy_floor or 0.0, result.estimate.accuracy)
    assert holds == (best is not None)
    assert result.gap == 0.0
    if best is not None:
        assert is_allowed(judge(result.plan, asked), asked)
        assert result.plan.cores <= asked.request.limits.cores
        assert rank(result.objective) == pytest.approx(best, rel=1e-8, abs=1e-9)


def chain_of(
    tasks: Sequence[Sequence[tuple[float, float]]],
    *,
    slo_s: float,
    objective: Objective,
    planning: Planning | None = None,
    **more: Any,
) -> tuple[Pipeline, Profile]:
    """A chain of tasks t0, t1 … with variants v0, v1 …"""
    named = {f"t{i}": {f"v{j}": v for j, v in enumerate(variants)} for i, variants in enumerate(tasks)}
    pipeline, profile = make_chain(named, slo_s=slo_s, objective=objective, batch_gain=0.7, **more)
    known = {
        task: {v: replace(p, load_time_s=1.0 + 2.0 * j) for j, (v, p) in enumerate(variants.items())}
        for task, variants in profile.variants.items()
    }
    return replace(pipeline, planning=planning or Planning()), Profile(known)


def rewired(pipeline: Pipeline, after: Mapping[str, tuple[Edge, ...]]) -> Pipeline:
    """The pipeline with other edges."""
    tasks = {name: replace(task, after=after.get(name, task.after)) for name, task in pipeline.tasks.items()}
    return replace(pipeline, tasks=tasks)


@SLOW
@given(
    st.lists(VARIANTS, min_size=1, max_size=2), RATES, st.integers(2, 5), SLOS, OBJECTIVES,
    st.sampled_from(["tail", "paper"]), st.sampled_from([2, 4]),
)  # fmt: skip
def test_mixes_equal_exhaustive_search(
    tasks: list[list[tuple[float, float]]], rate: float, cores: int, slo_s: float, objective: Objective, latency: Any,
    steps: int,
) -> None:  # fmt: skip
    planning = Planning(mix=2, share_steps=steps, latency=latency)
    batches = (1, 4) if len(tasks) == 1 else (1,)
    pipeline, profile = chain_of(tasks, slo_s=slo_s, objective=objective, planning=planning, batches=batches)
    limits = Limits(cores=float(cores), in_place_variants=False, max_allocations_per_task=2)
    check(Asked(PlanRequest(pipeline, profile, rate, limits), replicas=cores))


@SLOW
@given(st.data(), RATES, SLOS, OBJECTIVES)
def test_limits_of_every_kind_equal_exhaustive_search(
    data: Any, rate: float, slo_s: float, objective: Objective
) -> None:
    tasks = data.draw(st.lists(VARIANTS, min_size=2, max_size=2))
    pipeline, profile = chain_of(
        tasks, slo_s=slo_s, objective=objective, shapes=((1, 1), (2, 2)), batches=(1, 4), variant_bytes=100,
        planning=Planning(
            cores=data.draw(st.sampled_from([{}, {"t0": 1}, {"t1": 2}])),
            max_batch=data.draw(st.sampled_from([None, 2])),
        ),
    )  # fmt: skip
    limits = Limits(
        cores=6.0,
        in_place_variants=False,
        memory_bytes=data.draw(st.sampled_from([None, 200, 400])),
        replicas=data.draw(st.sampled_from([None, 2, 3])),
        replicas_per_task=data.draw(st.sampled_from([2, 4])),
    )
    check(Asked(PlanRequest(pipeline, profile, rate, limits), replicas=limits.replicas_per_task))


@SLOW
@given(st.data(), RATES, SLOS, OBJECTIVES)
def test_money_equals_exhaustive_search(data: Any, rate: float, slo_s: float, objective: Objective) -> None:
    small, large = Instance("small", 1, 1.0 / 3600), Instance("large", 4, 2.5 / 3600, memory_bytes=250)
    prices = data.draw(
        st.sampled_from(
            [
                Prices(core_hour=0.5),
                Prices(instances={"small": small, "large": large}),
                Prices(instances={"large": large}),
                Prices(core_hour=1.0, serverless=Serverless(core_second=3e-4, request=1e-6, cores=1)),
                Prices(serverless=Serverless(core_second=1e-3, cores=2)),
            ]
        )
    )
    mix = data.draw(st.sampled_from([1, 2]))
    pipeline, profile = chain_of(
        data.draw(st.lists(VARIANTS, min_size=1, max_size=1)), slo_s=slo_s, objective=replace(objective, cost="money"),
        shapes=((1, 1), (2, 2)), batches=(1, 4), variant_bytes=100, planning=Planning(mix=mix, share_steps=2),
    )  # fmt: skip
    limits = Limits(
        cores=4.0, in_place_variants=False, max_allocations_per_task=2,
        cost_per_hour=data.draw(st.sampled_from([None, 2.5])),
    )  # fmt: skip
    check(Asked(PlanRequest(replace(pipeline, prices=prices), profile, rate, limits), replicas=4))


@SLOW
@given(st.data(), RATES, SLOS, st.sampled_from([0.0, 0.002, 0.05]))
def test_switching_cost_equals_exhaustive_search(data: Any, rate: float, slo_s: float, gamma: float) -> None:
    tasks = data.draw(st.lists(VARIANTS, min_size=2, max_size=2))
    objective = Objective("weighted", 1.0, 0.03, gamma=gamma)
    pipeline, profile = chain_of(
        tasks, slo_s=slo_s, objective=objective, batches=(1,), planning=Planning(mix=2, share_steps=2)
    )
    limits = Limits(cores=5.0, in_place_variants=False, max_allocations_per_task=2)
    asked = Asked(PlanRequest(pipeline, profile, rate, limits), replicas=3)
    before = {task: data.draw(st.sampled_from(task_plans(asked, task))) for task in pipeline.tasks}
    check(replace(asked, request=replace(asked.request, current=Plan(before, rate)), replicas=4))


DIAMOND = {"t0": (), "t1": (Edge("t0"),), "t2": (Edge("t0"),), "t3": (Edge("t1"), Edge("t2"))}
BRIDGE = {"t0": (), "t1": (), "t2": (Edge("t0"), Edge("t1")), "t3": (Edge("t1"),)}


@SLOW
@given(
    st.lists(VARIANTS, min_size=4, max_size=4), RATES, SLOS, OBJECTIVES, st.sampled_from([DIAMOND, BRIDGE]),
    st.sampled_from(["tail", "paper"]),
)  # fmt: skip
def test_dags_equal_exhaustive_search(
    tasks: list[list[tuple[float, float]]], rate: float, slo_s: float, objective: Objective,
    after: dict[str, tuple[Edge, ...]], latency: Any,
) -> None:  # fmt: skip
    pipeline, profile = chain_of(
        tasks, slo_s=2 * slo_s, objective=objective, batches=(1,), planning=Planning(latency=latency)
    )
    request = PlanRequest(rewired(pipeline, after), profile, rate, Limits(cores=6.0, in_place_variants=False))
    check(Asked(request, replicas=3))


@SLOW
@given(st.data(), RATES, SLOS, OBJECTIVES, st.sampled_from([1, 2]))
def test_fan_out_that_follows_the_variant_equals_exhaustive_search(
    data: Any, rate: float, slo_s: float, objective: Objective, mix: int
) -> None:
    tasks = data.draw(st.lists(VARIANTS, min_size=2, max_size=3 - mix + 1))
    pipeline, profile = chain_of(
        tasks, slo_s=slo_s, objective=objective, batches=(1,), planning=Planning(mix=mix, share_steps=2)
    )
    by = {"v0": data.draw(st.sampled_from([0.5, 1.0, 3.0])), "v1": data.draw(st.sampled_from([1.0, 2.0]))}
    after = {f"t{i}": (Edge(f"t{i - 1}", 1.0, by),) for i in range(1, len(tasks))}
    limits = Limits(cores=5.0, in_place_variants=False, max_allocations_per_task=2)
    check(Asked(PlanRequest(rewired(pipeline, after), profile, rate, limits), replicas=4))


@SLOW
@given(st.data(), RATES, SLOS, OBJECTIVES, st.sampled_from([1, 2]))
def test_a_measured_accuracy_equals_exhaustive_search(
    data: Any, rate: float, slo_s: float, objective: Objective, mix: int
) -> None:
    tasks = data.draw(st.lists(VARIANTS, min_size=2, max_size=2))
    pipeline, profile = chain_of(
        tasks, slo_s=slo_s, objective=objective, batches=(1,), planning=Planning(mix=mix, share_steps=2)
    )
    combinations = itertools.product(*(task.variants for task in pipeline.tasks.values()))
    table = {names: data.draw(st.sampled_from([0.5, 0.62, 0.7, 0.81])) for names in combinations}
    pipeline = replace(pipeline, accuracy=AccuracyModel("measured", table))
    limits = Limits(cores=4.0, in_place_variants=False, max_allocations_per_task=2)
    check(Asked(PlanRequest(pipeline, profile, rate, limits), replicas=3))


@SLOW
@given(st.lists(VARIANTS, min_size=1, max_size=3), RATES, SLOS, st.sampled_from([1, 2]))
def test_ranked_accuracy_equals_exhaustive_search(
    tasks: list[list[tuple[float, float]]], rate: float, slo_s: float, mix: int
) -> None:
    pipeline, profile = chain_of(
        tasks, slo_s=slo_s, objective=Objective("weighted", 0.3, 0.05), batches=(1,),
        planning=Planning(mix=mix if len(tasks) < 3 else 1, share_steps=2),
    )  # fmt: skip
    pipeline = replace(pipeline, accuracy=AccuracyModel("rank-sum"))
    limits = Limits(cores=5.0, replicas_per_task=3, in_place_variants=False, max_allocations_per_task=2)
    check(Asked(PlanRequest(pipeline, profile, rate, limits), replicas=3))


@SLOW
@given(st.data(), st.sampled_from([0.0, 15.0, 40.0, 75.0]), OBJECTIVES)
def test_capacity_tables_equal_exhaustive_search(data: Any, rate: float, objective: Objective) -> None:
    pipeline, _ = chain_of(
        [[(0.7, 0.1), (0.8, 0.1)]], slo_s=0.75, objective=objective, planning=Planning(mix=2, share_steps=4)
    )
    known = {}
    for variant in ("v0", "v1"):
        rows = tuple(
            CapacityPoint(cores, data.draw(st.sampled_from([8.0, 20.0, 35.0])), data.draw(st.sampled_from([0.6, 0.75])))
            for cores in (2, 3)
        )
        known[variant] = VariantProfile("t0", variant, (), load_time_s=2.0, capacity=rows)
    limits = Limits(cores=9.0, in_place_variants=False, max_allocations_per_task=2)
    check(Asked(PlanRequest(pipeline, Profile({"t0": known}), rate, limits), replicas=4))


def test_one_group_where_the_plant_cannot_split_traffic() -> None:
    pipeline, profile = chain_of(
        [[(0.6, 0.01), (0.9, 0.05)]], slo_s=0.3, objective=Objective(), planning=Planning(mix=2, share_steps=4)
    )
    one = make_policy("trimtab").propose(
        PlanRequest(pipeline, profile, 45.0, Limits(cores=2.0, in_place_variants=False))
    )
    two = make_policy("trimtab").propose(
        PlanRequest(pipeline, profile, 45.0, Limits(cores=2.0, in_place_variants=False, max_allocations_per_task=2))
    )
    assert len(one.plan.tasks["t0"].allocations) == 1
    assert len(two.plan.tasks["t0"].allocations) == 2
    assert two.estimate.accuracy > one.estimate.accuracy
    assert math.isclose(sum(a.share for a in two.plan.tasks["t0"].allocations), 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": Objective("cheapest")}, "accuracy floor"),
        ({"objective": Objective(cost="money")}, "nothing has a price"),
        ({"planning": Planning(cores={"t0": 3})}, r"planning\.cores\.t0.*got 3.*wanted one of 1"),
    ],
)
def test_a_question_without_an_answer_is_refused(change: dict[str, Any], words: str) -> None:
    pipeline, profile = chain_of([[(0.9, 0.01)]], slo_s=0.3, objective=Objective())
    with pytest.raises(PlanRequestError, match=words):
        make_policy("trimtab").propose(PlanRequest(replace(pipeline, **change), profile, 1.0, Limits(cores=4.0)))


def coupled(rate: float) -> PlanRequest:
    """Two tasks of two variants, mixes and a fan-out that follows the variant."""
    tasks = [[(0.7, 0.01), (0.9, 0.03)], [(0.8, 0.01), (0.95, 0.02)]]
    pipeline, profile = chain_of(
        tasks, slo_s=0.3, objective=Objective(), batches=(1,), planning=Planning(mix=2, share_steps=4)
    )
    pipeline = rewired(pipeline, {"t1": (Edge("t0", 1.0, {"v1": 2.0}),)})
    return PlanRequest(pipeline, profile, rate, Limits(cores=4.0, in_place_variants=False, max_allocations_per_task=2))


def test_too_many_combinations_leave_a_proved_gap_or_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    request = coupled(60.0)
    exact = make_policy("trimtab").propose(request)
    assert exact.gap == 0.0
    monkeypatch.setattr(search, "MOST_COMBINATIONS", 2)
    cut = make_policy("trimtab").propose(request)
    assert cut.feasible
    assert cut.gap > 0.0
    assert cut.estimate.accuracy <= exact.estimate.accuracy <= cut.estimate.accuracy + cut.gap + 1e-12
    with pytest.raises(PlanRequestError, match="more combinations of coupled variants than can be looked at"):
        make_policy("trimtab").propose(coupled(4000.0))


# --- pools: replicas that step down ---------------------------------------------------------------------------------

FORGIVEN = 1e-4
"""A pool is offered no further replicas once its accuracy is so near that of its dearest variant."""


def pooled_plans(asked: Asked) -> list[Plan]:
    """Every group of every task, each with all variants resident and free to use all cheaper ones."""
    request = asked.request
    per_task = []
    for task, known in request.profile.variants.items():
        resident, some = tuple(known), groups(asked, task)
        if request.at_once and request.current is not None:
            before = request.current.tasks[task]
            resident, now = before.resident, before.allocations[0]
            some = [a for a in some if a.replicas == now.replicas and a.variant in resident]
            if not request.limits.in_place_cores:
                some = [a for a in some if (a.cores, a.threads) == (now.cores, now.threads)]
        per_task.append([with_freedoms(request, TaskPlan(task, (a,), resident)) for a in some])
    return [
        Plan({t.task: t for t in chosen}, request.rate_rps)
        for chosen in itertools.product(*per_task)
        if sum(t.cores for t in chosen) <= request.limits.cores
    ]


def is_held(plan: Plan, found: PlanEstimate, asked: Asked) -> bool:
    """Whether a plan holds the SLO within the limits; groups that cannot step down keep their utilisation."""
    limits = asked.request.limits
    rigid = [found.tasks[name] for name, task in plan.tasks.items() if not task.may_use]
    return (
        found.meets_slo
        and (limits.replicas is None or found.replicas <= limits.replicas)
        and all(is_within(t.utilisation, UTILISATION_CAP) for t in rigid)
    )


def is_wider_than_needed(plan: Plan, found: PlanEstimate, asked: Asked) -> bool:
    """Whether nobody steps down, and a smaller batch would hold the SLO too: the planner offers the smallest alone.

    By `estimate` a larger one may be calm where that is not, for who waits for a longer service may wait longer.
    """
    smaller = {n: replace(t, allocations=(replace(t.allocations[0], batch=1),)) for n, t in plan.tasks.items()}
    other = judge(Plan(smaller, plan.rate_rps), asked)
    variants = asked.request.pipeline.tasks
    dearest = math.prod(variants[n].variants[t.allocations[0].variant].accuracy for n, t in plan.tasks.items())
    wider = any(t.allocations[0].batch > 1 for t in plan.tasks.values())
    return wider and found.accuracy == dearest and other is not None and is_held(plan, other, asked)


def check_pooled(asked: Asked) -> None:
    """The answer is one of the plans, and no other is better by more than is forgiven."""
    request, objective = asked.request, asked.request.pipeline.objective
    result = make_policy("trimtab").propose(request)
    floor = objective.accuracy_floor or 0.0
    sure, worths = [], []
    for plan in pooled_plans(asked):
        found = judge(plan, asked)
        if found is not None and is_held(plan, found, asked):
            worth = rank(objective_value(plan, found, request.rate_rps, objective))
            if objective.kind != "cheapest" or is_within(floor, found.accuracy):
                worths.append(worth)
            enough = objective.kind != "cheapest" or found.accuracy >= floor + FORGIVEN
            if enough and not is_wider_than_needed(plan, found, asked):
                sure.append(worth)
    holds = result.feasible and (objective.kind != "cheapest" or is_within(floor, result.estimate.accuracy))
    assert holds or not sure
    assert worths or not holds
    if holds:
        own = rank(result.objective)
        assert is_held(result.plan, result.estimate, asked)
        assert own <= max(worths) or own == pytest.approx(max(worths), rel=1e-8)
        if sure:
            best = max(sure)
            lacks = FORGIVEN * objective.alpha * len(request.pipeline.tasks) if objective.kind != "cheapest" else 1e-9
            first = next((i for i, (a, b) in enumerate(zip(own, best, strict=True)) if not is_same(a, b)), None)
            assert first is None or own[first] > best[first] - lacks


def is_same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-8, abs_tol=1e-9)


STEPPING = st.lists(
    st.tuples(st.sampled_from([0.6, 0.8, 0.9, 0.97]), SECONDS), min_size=2, max_size=3, unique_by=lambda v: v[1]
)
POOLED_GOALS = st.sampled_from(
    [
        Objective(),
        Objective("cheapest", accuracy_floor=0.55),
        Objective("cheapest", accuracy_floor=0.77),
        Objective("weighted", 1.0, 0.02, delta=1e-3),
        Objective("weighted", 1.0, 0.1, delta=1e-6),
    ]
)


@settings(SLOW, max_examples=30)
@given(STEPPING, st.sampled_from([0.0, 2.0, 9.0, 26.0, 70.0, 150.0]), SLOS, POOLED_GOALS, st.integers(2, 6))
def test_a_pool_equals_exhaustive_search(
    variants: list[tuple[float, float]], rate: float, slo_s: float, objective: Objective, cores: int
) -> None:
    pipeline, profile = chain_of(
        [variants], slo_s=slo_s, objective=objective, shapes=((1, 1), (2, 1), (2, 2)), batches=(1, 4)
    )
    check_pooled(Asked(PlanRequest(pipeline, profile, rate, Limits(cores=float(cores))), replicas=cores))


@settings(SLOW, max_examples=15)
@given(
    st.lists(STEPPING, min_size=2, max_size=2), RATES, SLOS, POOLED_GOALS, st.sampled_from([None, 3]),
    st.sampled_from([1.0, 2.0]),
)  # fmt: skip
def test_pools_of_two_tasks_equal_exhaustive_search(
    tasks: list[list[tuple[float, float]]], rate: float, slo_s: float, objective: Objective, replicas: int | None,
    fan_out: float,
) -> None:  # fmt: skip
    pipeline, profile = chain_of(
        tasks, slo_s=2 * slo_s, objective=objective, shapes=((1, 1), (2, 1)), batches=(1,), fan_out=fan_out
    )  # fmt: skip
    limits = Limits(cores=4.0, replicas=replicas, replicas_per_task=3)
    check_pooled(Asked(PlanRequest(pipeline, profile, rate, limits), replicas=3))


@pytest.mark.parametrize("surge", [30.0, 80.0, 200.0, 390.0])
def test_a_pool_is_planned_for_the_rate_and_holds_the_surge_with_its_fastest(surge: float) -> None:
    pipeline, profile = chain_of(
        [[(0.7, 0.005), (0.8, 0.02), (0.9, 0.05)]], slo_s=0.4, objective=Objective("cheapest", accuracy_floor=0.75),
        batches=(1,), shapes=((1, 1), (2, 1)),
    )  # fmt: skip
    request = PlanRequest(pipeline, profile, 30.0, Limits(cores=9.0), surge_rps=surge)
    result = make_policy("trimtab").propose(request)
    assert result.feasible
    assert result.estimate.accuracy >= 0.75
    slots = result.plan.tasks["t0"].allocations[0].concurrency
    assert surge * 0.005 <= UTILISATION_CAP * slots * (1.0 + 1e-9)
    held = estimate(result.plan, pipeline, profile, surge)
    assert held.meets_slo
    alone = make_policy("trimtab").propose(replace(request, limits=replace(request.limits, in_place_variants=False)))
    assert alone.plan.cores >= result.plan.cores


@pytest.mark.parametrize("tasks", [[(0.7, 0.005)], [(0.7, 0.005), (0.8, 0.02), (0.9, 0.05)]])
def test_the_fastest_alone_holds_the_surge_too(tasks: list[tuple[float, float]]) -> None:
    pipeline, profile = chain_of([tasks], slo_s=0.4, objective=Objective("cheapest", accuracy_floor=0.5), batches=(1,))
    request = PlanRequest(pipeline, profile, 30.0, Limits(cores=9.0))
    for surge, cores in ((None, 1), (169.0, 1), (171.0, 2), (500.0, 3)):
        result = make_policy("trimtab").propose(replace(request, surge_rps=surge))
        assert result.feasible
        assert result.plan.cores == cores
    lacking = make_policy("trimtab").propose(replace(request, limits=Limits(cores=2.0), surge_rps=500.0))
    assert estimate(lacking.plan, pipeline, profile, 30.0).meets_slo
    rows = (CapacityPoint(1, 50.0, 0.3), CapacityPoint(2, 120.0, 0.3))
    tables = Profile({"t0": {"v0": VariantProfile("t0", "v0", (), capacity=rows)}})
    for surge, cores in ((None, 1), (50.0, 1), (51.0, 2), (121.0, 3)):
        result = make_policy("trimtab").propose(replace(request, profile=tables, surge_rps=surge))
        assert result.plan.cores == cores


@settings(SLOW, max_examples=30)
@given(
    STEPPING, st.sampled_from([2.0, 9.0, 26.0, 70.0]), st.sampled_from([0.12, 0.3]), POOLED_GOALS, st.integers(1, 2),
    st.integers(1, 3), st.booleans(),
)  # fmt: skip
def test_what_changes_at_once_equals_exhaustive_search(
    variants: list[tuple[float, float]], rate: float, slo_s: float, objective: Objective, replicas: int, loaded: int,
    in_place: bool,
) -> None:  # fmt: skip
    pipeline, profile = chain_of(
        [variants], slo_s=slo_s, objective=objective, shapes=((1, 1), (2, 1), (3, 1)), batches=(1, 4)
    )
    resident = tuple(profile.variants["t0"])[:loaded]
    before = with_freedoms(
        PlanRequest(pipeline, profile, rate, Limits(cores=6.0)),
        TaskPlan("t0", (Allocation(resident[0], replicas, 1, 1, 1),), resident),
    )
    limits = Limits(cores=6.0, in_place_cores=in_place)
    request = PlanRequest(pipeline, profile, rate, limits, current=Plan({"t0": before}, rate), at_once=True)
    after = make_policy("trimtab").propose(request).plan.tasks["t0"]
    assert set(after.resident) == set(resident), "nothing is loaded"
    assert [a.replicas for a in after.allocations] == [replicas], "and nothing is started"
    check_pooled(Asked(replace(request, limits=replace(limits, in_place_cores=in_place)), replicas=replicas))


def test_where_nothing_at_once_holds_the_rate_it_is_what_holds_most() -> None:
    pipeline, profile = chain_of([[(0.7, 0.01), (0.9, 0.05)]], slo_s=0.3, objective=Objective(), batches=(1,))
    request = PlanRequest(pipeline, profile, 5.0, Limits(cores=4.0))
    current = make_policy("trimtab").propose(request).plan
    assert current.cores == 1
    result = make_policy("trimtab").propose(replace(request, rate_rps=300.0, current=current, at_once=True))
    assert not result.feasible
    assert "what holds most" in result.steps[0].reason
    assert result.plan.cores == 1
    assert 0.0 < result.estimate.goodput_rps < 300.0


@pytest.mark.parametrize("rate", [40.0, 60.0])
def test_where_cores_follow_in_place_one_replica_is_better_than_many_small_ones(rate: float) -> None:
    """Replicas of a group grow together, so of many more cores are held than needed, on average."""
    pipeline, profile = chain_of(
        [[(0.7, 0.005), (0.9, 0.05)]], slo_s=0.4, objective=Objective("cheapest", accuracy_floor=0.89),
        shapes=((1, 1), (2, 1), (3, 1), (4, 1)), batches=(1,),
    )  # fmt: skip
    limits = Limits(cores=9.0, in_place_cores=True)
    plan = make_policy("trimtab").propose(PlanRequest(pipeline, profile, rate, limits)).plan
    (group,) = plan.tasks["t0"].allocations
    assert (group.replicas, group.cores) == (1, plan.cores)
    assert plan.cores >= 2
