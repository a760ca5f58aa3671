from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import estimate
from trimtab.plan.explain import explain
from trimtab.plan.latency import is_within
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.objective import objective_value, rank
from trimtab.plan.policies import make_policy
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Edge, Instance, Objective, Pipeline, Prices
from trimtab.testing import make_chain


class Exhaustive:
    """The best plan of one group, or two that halve the traffic, per task, by `estimate` and `rank` alone."""

    name = "exhaustive"
    decides = frozenset({"variant", "replicas", "cores", "batch"})

    def propose(self, request: PlanRequest) -> PlanResult:
        results = [
            PlanResult(self.name, plan, found.meets_slo, found, value, steps=())
            for plan in every_plan(request)
            for found in [estimate(plan, request.pipeline, request.profile, request.rate_rps, current=request.current)]
            for value in [objective_value(plan, found, request.rate_rps, request.pipeline.objective)]
            if request.limits.cost_per_hour is None
            or is_within(found.cost_per_hour or 0.0, request.limits.cost_per_hour)
        ]
        if not results:
            raise PlanRequestError("no plan fits")
        return max(results, key=lambda r: rank(r.objective))


def every_plan(request: PlanRequest) -> Iterator[Plan]:
    limits = request.limits
    for groups in itertools.product(*(list(every_group(request, task)) for task in request.pipeline.tasks)):
        tasks = {
            task: TaskPlan(task, each, tuple(a.variant for a in each))
            for task, each in zip(request.pipeline.tasks, groups, strict=True)
        }
        replicas = sum(a.replicas for each in groups for a in each)
        if sum(t.cores for t in tasks.values()) <= limits.cores and replicas <= (limits.replicas or replicas):
            yield Plan(tasks, request.rate_rps)


def every_group(request: PlanRequest, task: str) -> Iterator[tuple[Allocation, ...]]:
    known = request.profile.variants[task]
    single = [
        Allocation(v, n, cores, 1, 1)
        for v in sorted(known)
        for cores in sorted({*(p.cores for p in known[v].points), *(row.cores for row in known[v].capacity)})
        for n in range(1, min(3, request.limits.replicas_per_task) + 1)
    ]
    yield from ((a,) for a in single)
    if request.limits.max_allocations_per_task > 1:
        for a, b in itertools.combinations(single, 2):
            if a.variant != b.variant:
                yield replace(a, share=0.5), replace(b, share=0.5)


def search(pipeline: Pipeline, profile: Profile, rate: float, limits: Limits) -> PlanResult:
    request = PlanRequest(pipeline, profile, rate, limits)
    return explain(Exhaustive(), request, Exhaustive().propose(request))


RIGID = Limits(cores=2.0, in_place_variants=False)
"""Replicas of one variant each, so that accuracies come in steps."""


def explained(
    chain: tuple[Pipeline, Profile], rate: float, name: str = "trimtab", limits: Limits = RIGID
) -> PlanResult:
    policy, request = make_policy(name), PlanRequest(*chain, rate, limits)
    return explain(policy, request, policy.propose(request))


def test_cores_and_slo_bind_where_more_of_them_gives_accuracy(chain: tuple[Pipeline, Profile]) -> None:
    words = " | ".join(explained(chain, 12.0).binding)
    assert "cores: with 3 instead of 2, accuracy would be 0.9555" in words
    assert "SLO: with 500 ms instead of 400 ms" in words
    assert "read with heavy on the same cores has accuracy 0.9555 but takes" in words


def test_what_binds_a_pool_is_told_in_the_accuracy_of_its_mix(chain: tuple[Pipeline, Profile]) -> None:
    result = explained(chain, 40.0, limits=Limits(cores=2.0))
    more = make_policy("trimtab").propose(PlanRequest(*chain, 40.0, Limits(cores=3.0)))
    own = result.estimate.accuracy
    dearest = {task: max(v.accuracy for v in spec.variants.values()) for task, spec in chain[0].tasks.items()}
    assert own < more.estimate.accuracy <= math.prod(dearest.values())
    words = f"cores: with 3 instead of 2, accuracy would be {more.estimate.accuracy:.4f} instead of {own:.4f}"
    assert words in result.binding
    assert any(said.startswith("rate: at 32/s instead of 40/s, accuracy would be") for said in result.binding)


def test_nothing_binds_where_the_best_is_had_anyway(chain: tuple[Pipeline, Profile]) -> None:
    result = explained(chain, 1.0)
    assert result.binding == ()
    assert result.plan.variants() == {"locate": ("heavy",), "read": ("heavy",)}


def test_the_runner_up_is_the_best_other_combination(chain: tuple[Pipeline, Profile]) -> None:
    result = explained(chain, 1.0)
    assert result.runner_up is not None
    assert result.runner_up.plan.variants() == {"locate": ("middle",), "read": ("heavy",)}
    assert result.runner_up.reason == "its accuracy is 0.9409, 1.46 points less"


def test_a_policy_that_does_not_choose_says_so(chain: tuple[Pipeline, Profile]) -> None:
    result = explained(chain, 1.0, "cheapest")
    assert result.runner_up is not None
    assert "does not choose by it" in result.runner_up.reason


def test_there_is_no_runner_up_without_another_variant() -> None:
    assert explained(make_chain({"a": {"v": (0.9, 0.01)}}), 5.0).runner_up is None


def test_explaining_leaves_plan_and_estimate_alone(chain: tuple[Pipeline, Profile]) -> None:
    request = PlanRequest(*chain, 50.0, RIGID)
    plain = make_policy("ipa").propose(request)
    result = explained(chain, 50.0, "ipa")
    assert (result.plan, result.estimate, result.steps) == (plain.plan, plain.estimate, plain.steps)


ONE = {"only": {"s": (0.7, 0.01), "l": (0.9, 0.04)}}


def test_money_and_replicas_bind() -> None:
    pipeline, profile = make_chain(ONE, batches=(1,), slo_s=0.2)
    priced = replace(pipeline, prices=Prices(instances={"i": Instance("i", 1, 1.0 / 3600)}))
    result = search(priced, profile, 20.0, Limits(cores=9.0, cost_per_hour=1.6))
    assert result.plan.variants() == {"only": ("s",)}
    assert result.binding[-2] == ("cost: with 2 instead of 1.6 USD an hour, accuracy would be 0.9000 instead of 0.7000")
    assert result.binding[-1].startswith("SLO: only with l on the same cores")
    result = search(pipeline, profile, 20.0, Limits(cores=9.0, replicas=1))
    words = "replicas of all tasks: with 2 instead of 1, accuracy would be 0.9000 instead of 0.7000"
    assert words in result.binding


def test_a_floor_binds_and_a_plan_below_it_loses() -> None:
    money = Objective("cheapest", accuracy_floor=0.705, cost="money")
    pipeline, profile = make_chain(ONE, batches=(1,), slo_s=0.2, objective=money)
    priced = replace(pipeline, prices=Prices(core_hour=0.5))
    result = search(priced, profile, 20.0, Limits(cores=9.0))
    assert result.plan.variants() == {"only": ("l",)}
    assert "accuracy floor: at 0.6950 instead of 0.7050, 0.5 USD an hour would do instead of 1 USD an hour" in (
        result.binding
    )
    assert result.runner_up is not None
    assert result.runner_up.reason == "its accuracy is 0.7000, below the floor of 0.7050"
    low = replace(priced, objective=replace(money, accuracy_floor=0.6))
    result = search(low, profile, 20.0, Limits(cores=9.0))
    assert result.plan.variants() == {"only": ("s",)}
    assert result.runner_up is not None
    assert result.runner_up.reason == "it takes 1 USD an hour instead of 0.5 USD an hour"


def test_mixes_and_branches_are_explained() -> None:
    tasks = {name: {"s": (0.7, 0.01), "l": (accuracy, 0.04)} for name, accuracy in (("a", 0.8), ("b", 0.9), ("c", 0.8))}
    pipeline, profile = make_chain(tasks, batches=(1,), slo_s=0.25)
    fork = replace(pipeline, tasks={**pipeline.tasks, "c": replace(pipeline.tasks["c"], after=(Edge("a"),))})
    # One replica of the large variant cannot hold 20/s, but half of it.
    result = search(fork, profile, 20.0, Limits(cores=4.0, replicas_per_task=1, max_allocations_per_task=2))
    assert result.feasible
    assert {name: sorted(used) for name, used in result.plan.variants().items()} == {
        "a": ["s"], "b": ["l", "s"], "c": ["s"],
    }  # fmt: skip
    assert any(words.startswith("cores: with 5 instead of 4, accuracy would be") for words in result.binding)
    assert result.runner_up is not None
    assert result.runner_up.plan.variants() != result.plan.variants()
    assert "points less" in result.runner_up.reason


def test_the_ranks_of_what_is_left_stay_as_they_were() -> None:
    variants = {"s": (0.7, 0.001), "m": (0.8, 0.001), "l": (0.9, 0.001)}
    pipeline, profile = make_chain({"only": variants}, batches=(1,))
    ranked = replace(pipeline, accuracy=replace(pipeline.accuracy, kind="rank-sum"))
    result = search(ranked, profile, 1.0, Limits(cores=1.0))
    assert result.runner_up is not None
    assert result.runner_up.reason == "its accuracy is 0.5000, 50.00 points less"


def test_a_plan_by_capacity_tables_is_explained() -> None:
    pipeline, _ = make_chain(ONE, slo_s=0.75)
    rows = {"s": CapacityPoint(4, 50.0, 0.7), "l": CapacityPoint(4, 20.0, 0.7)}
    tables = Profile({"only": {v: VariantProfile("only", v, (), capacity=(row,)) for v, row in rows.items()}})
    result = search(pipeline, tables, 30.0, Limits(cores=4.0))
    assert result.plan.variants() == {"only": ("s",)}
    assert "SLO: only with l on the same cores has accuracy 0.9000 but cannot keep up" in result.binding


def test_a_plan_by_the_worth_of_accuracy_is_explained_in_it() -> None:
    pipeline, profile = make_chain(ONE, batches=(1,), slo_s=0.2, objective=Objective.exchange(0.02))
    result = search(pipeline, profile, 20.0, Limits(cores=9.0))
    assert result.plan.variants() == {"only": ("s",)}, "20 points are worth 0.4 cores, and cost one"
    assert result.runner_up is not None
    assert result.runner_up.reason == "it is worth 0.6 cores less (accuracy 0.9000, 2 cores)"
    dear = replace(pipeline, objective=Objective.exchange(0.1))
    result = search(dear, profile, 20.0, Limits(cores=1.0))
    assert "cores: with 2 instead of 1, the plan would be worth 1 core more (accuracy 0.9000, 2 cores)" in (
        result.binding
    )
    money = replace(pipeline, prices=Prices(core_hour=0.5), objective=Objective.exchange(0.02, "money"))
    result = search(money, profile, 20.0, Limits(cores=9.0))
    assert result.runner_up is not None
    assert result.runner_up.reason == "it is worth 0.1 USD an hour less (accuracy 0.9000, 1 USD an hour)"
