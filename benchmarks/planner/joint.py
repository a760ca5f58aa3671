"""The joint problem: five core levels and mixes of two variants per task.

Two tables. From coefficient arrays (`solve.coefficients`): shares saturate a group. From a pipeline and its profile, as
the policy `trimtab` plans: options and search in both latency models, shares in tenths, replicas free. HiGHS gets the
choices that ours keeps, so its ratio leaves out what pruning is worth.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
from benchmarks.planner.instances import BATCHES, LEVELS, make_instance, spread, timed
from benchmarks.planner.ipa import by_highs, compared, kept, measured, ours

from trimtab import compiled
from trimtab.plan.choose import best_at
from trimtab.plan.model import LatencyModel, Limits, PlanRequest
from trimtab.plan.options import options
from trimtab.plan.policies.trimtab import rules_for
from trimtab.plan.solve import Choices, Problem, chain
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.spec.model import Edge, Objective, Pipeline, Planning, Slo, Task, Variant

SIZES = ((3, 5), (5, 10), (10, 10))


def run(*, quick: bool, out: Path) -> None:
    """Print both tables."""
    del out
    compiled.load()
    _from_arrays(*((50, 2) if quick else (300, 4)))
    print()
    _from_profiles(*((15, 2) if quick else (50, 4)))


def _from_arrays(count: int, others: int) -> None:
    print(f"Joint problem: milliseconds from coefficient arrays, {count} instances; HiGHS the first {others}")
    print(f"{'tasks x variants':<17}{'p50':>9}{'p99':>9}{'max':>9}{'choices':>10}{'HiGHS, pruned':>14}{'ratio':>9}")
    for tasks, variants in SIZES:
        instances = [make_instance(seed, tasks, variants, joint=True) for seed in range(count)]
        values, times = measured(functools.partial(ours, mixes=True), instances)
        few = instances[:others]
        problems = [kept(one, mixes=True) for one in few]
        size = np.median([table.cost.size for problem in problems for table in problem.choices])
        print(f"{f'{tasks} x {variants}':<17}{spread(times)}{size:>10.0f}", end="", flush=True)
        print(f"{compared(values, times, problems, [one.weights.alpha for one in few], by_highs):>23}", flush=True)


def _from_profiles(count: int, others: int) -> None:
    print(f"Joint problem as the policy plans it: milliseconds from a pipeline and its profile, {count} instances")
    print(f"{'tasks x variants':<17}{'model':>7}{'goal':>10}{'p50':>9}{'p99':>9}{'max':>9}{'HiGHS':>14}{'ratio':>9}")
    for tasks, variants in SIZES:
        for latency in get_args(LatencyModel):
            for goal in ("weighted", "budget"):
                requests = [_request(seed, tasks, variants, latency, goal) for seed in range(count)]
                values, times = _measured(requests)
                words = ""
                if latency == "paper" and goal == "weighted":
                    few = requests[:others]
                    problems = [_problem(request) for request in few]
                    alphas = [request.pipeline.objective.alpha for request in few]
                    words = compared(values, times, problems, alphas, by_highs)
                name = f"{tasks} x {variants}"
                print(f"{name:<17}{latency:>7}{goal:>10}{spread(times)}{words:>23}", flush=True)


def _measured(requests: list[PlanRequest]) -> tuple[list[float], list[float]]:
    """Objectives and milliseconds; a profile's tables are made before, as in a server that plans again and again."""
    values, times = [], []
    for request in requests:
        call: Callable[[], float] = functools.partial(_plan, request)
        call()
        value, time_ms = timed(call)
        values.append(value)
        times.append(time_ms)
    return values, times


def _plan(request: PlanRequest) -> float:
    chosen = best_at(request, request.rate_rps, request.pipeline.objective, rules_for(request))
    if chosen is None or chosen.gap > 0.0:
        raise AssertionError("an instance that is feasible was not solved exactly")
    return chosen.value


def _problem(request: PlanRequest) -> Problem:
    """What the solver gets where latencies add: the `paper` model."""
    objective, rules, tables = request.pipeline.objective, rules_for(request), []
    for task in request.pipeline.tasks:
        found = options(request, task, request.rate_rps, 1.0, rules)
        assert found is not None
        cost = objective.beta * found.uses[:, 0] + objective.delta * found.batches
        tables.append(Choices(found.accuracy, found.mean_s, cost, np.empty((cost.size, 0))))
    return Problem(tuple(tables), chain(len(tables)), request.pipeline.slo.latency_s, np.empty(0))


def _request(seed: int, tasks: int, variants: int, latency: LatencyModel, goal: str) -> PlanRequest:
    """The instance of the first table as a pipeline with its profile; cores are limited where the goal is a budget."""
    instance = make_instance(seed, tasks, variants, joint=True)
    groups, names = instance.groups, [f"t{i}" for i in range(tasks)]
    specs, profiles = {}, {}
    for i, name in enumerate(names):
        rows = range(i * variants, (i + 1) * variants)
        specs[name] = Task(
            name,
            {f"v{v}": Variant(f"v{v}", None, float(groups.accuracy[row])) for v, row in enumerate(rows)},
            after=(Edge(names[i - 1]),) if i else (),
        )
        profiles[name] = {
            f"v{v}": VariantProfile(name, f"v{v}", _points(groups.latency_s[row])) for v, row in enumerate(rows)
        }
    weights = instance.weights
    weighted = Objective("weighted", alpha=weights.alpha, beta=weights.beta, delta=weights.delta)
    pipeline = Pipeline(
        "joint",
        specs,
        Slo(1.6 * instance.latency_s),
        objective=weighted if goal == "weighted" else Objective(),
        planning=Planning(mix=2, latency=latency),
    )
    cores = 1e6 if goal == "weighted" else 40.0 * tasks
    limits = Limits(cores=cores, max_allocations_per_task=2, replicas_per_task=64)
    request = PlanRequest(pipeline, Profile(profiles), instance.rate_rps / 2.0, limits)
    while best_at(request, request.rate_rps, pipeline.objective, rules_for(request)) is None:
        pipeline = replace(pipeline, slo=Slo(1.5 * pipeline.slo.latency_s))
        request = replace(request, pipeline=pipeline)
    return request


def _points(latency_s: np.ndarray) -> tuple[ServicePoint, ...]:
    """Service times of a variant with one thread a core, of which the 99 % quantile is 1.2 times the mean."""
    shapes = [(int(cores), int(batch)) for cores in LEVELS for batch in BATCHES]
    return tuple(
        ServicePoint(cores, cores, batch, s, {0.5: s, 0.9: 1.1 * s, 0.99: 1.2 * s}, samples=100)
        for (cores, batch), s in zip(shapes, map(float, latency_s), strict=True)
    )
