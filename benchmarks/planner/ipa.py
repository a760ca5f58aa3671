"""IPA's problem, one variant per task: ours compiled and plain against HiGHS and, where it is installed, Gurobi.

Ours is timed from coefficient arrays to the plan, so the choices are built and pruned inside. HiGHS gets the same
problem as an exact linear program, as the tests have it: once with every choice, as the paper writes it, once with the
choices that ours keeps. Its model is built inside its time too, on one thread. Where it stops at the limit of time, a
ratio is a lower bound and says so.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.planner.instances import Instance, make_instance, spread, timed
from tests.plan.solve.highs import highs

from trimtab import compiled
from trimtab.plan.solve import Choices, Problem, Weighted, chain
from trimtab.plan.solve.coefficients import best_groups, group_problem

SIZES = ((2, 5), (3, 5), (5, 5), (5, 10), (10, 10), (20, 10), (20, 50))
Solver = Callable[[Problem, float], float | None]

LIMIT_S = 30.0
EQUAL = 1e-5
"""Relative: HiGHS's own tolerances."""


class TooLargeError(Exception):
    """A solver's licence ends below this size: nothing was measured."""


def ours(instance: Instance, *, mixes: bool = False) -> float:
    """Our objective."""
    picked = best_groups(
        instance.groups, instance.weights, rate_rps=instance.rate_rps, latency_s=instance.latency_s, mixes=mixes
    )
    if picked is None or picked.gap > 0.0:
        raise AssertionError("an instance that is feasible was not solved exactly")
    return picked.objective


def kept(instance: Instance, *, mixes: bool = False) -> Problem:
    """The choices that are left after pruning."""
    return group_problem(
        instance.groups, instance.weights, rate_rps=instance.rate_rps, latency_s=instance.latency_s, mixes=mixes
    )


def whole(instance: Instance) -> Problem:
    """Every choice of one variant, as the paper has it."""
    groups, weights = instance.groups, instance.weights
    count = np.maximum(1.0, np.ceil(instance.rate_rps / groups.throughput_rps * (1.0 - 1e-10)))
    cost = weights.beta * count * groups.cores + weights.delta * groups.batch
    latency_s = groups.latency_s + (groups.batch - 1) / instance.rate_rps
    accuracy = np.repeat(groups.accuracy, groups.batch.size).reshape(cost.shape)
    tables = tuple(
        Choices(accuracy[a:b].ravel(), latency_s[a:b].ravel(), cost[a:b].ravel(), np.empty((cost[a:b].size, 0)))
        for a, b in itertools.pairwise(groups.first)
    )
    return Problem(tables, chain(len(tables)), instance.latency_s, np.empty(0))


def measured(call: Callable[[Instance], float], instances: list[Instance]) -> tuple[list[float], list[float]]:
    """Objectives and milliseconds, after one call that does not count."""
    call(instances[0])
    values, times = [], []
    for instance in instances:
        value, time_ms = timed(functools.partial(call, instance))
        values.append(value)
        times.append(time_ms)
    return values, times


def compared(
    wanted: list[float], times_ms: list[float], problems: list[Problem], alphas: list[float], solver: Solver
) -> str:
    """Median time of another solver and its ratio to ours, for a table; the objectives are equal.

    Raises:
        AssertionError: they are not.
    """
    found: list[float] = []
    finished = True
    for problem, alpha, value in zip(problems, alphas, wanted, strict=False):
        try:
            other, time_ms = timed(functools.partial(solver, problem, alpha))
        except TooLargeError:
            return "licence         "
        except TimeoutError:
            found, finished = [*found, 1e3 * LIMIT_S], False
            break
        found.append(time_ms)
        if other is None or not math.isclose(other, value, rel_tol=EQUAL, abs_tol=EQUAL):
            raise AssertionError(f"{other} against ours, {value}")
    ratio = float(np.median(found) / np.median(times_ms[: len(found)]))
    return f"{np.median(found):>10.0f}{' ' if finished else 't'}{'' if finished else '>':>3}{ratio:>8.0f}x"


def by_highs(problem: Problem, alpha: float) -> float | None:
    """HiGHS within the limit of time."""
    return highs(problem, Weighted(alpha), time_limit_s=LIMIT_S)


def run(*, quick: bool, out: Path) -> None:
    """Print the table."""
    del out
    count, others = (200, 3) if quick else (1000, 5)
    solvers = [("HiGHS", whole, by_highs), ("HiGHS, pruned", kept, by_highs)]
    if importlib.util.find_spec("gurobipy"):
        solvers.append(("Gurobi", whole, by_gurobi))
    print(f"IPA's problem: milliseconds from coefficient arrays, {count} instances; other solvers the first {others}")
    print("(t: stopped after 30 s, so that the ratio is a lower bound)")
    print(f"{'tasks x variants':<17}{'p50':>9}{'p99':>9}{'max':>9}{'plain p50':>11}", end="")
    print("".join(f"{name:>14}{'ratio':>9}" for name, _, _ in solvers))
    for tasks, variants in SIZES:
        instances = [make_instance(seed, tasks, variants) for seed in range(count)]
        few = instances[:others]
        compiled.load()
        values, times = measured(ours, instances)
        compiled.unload()
        plain_values, plain = measured(ours, few)
        compiled.load()
        if not np.allclose(plain_values, values[:others], rtol=1e-9):
            raise AssertionError("the two forms differ")
        print(f"{f'{tasks} x {variants}':<17}{spread(times)}{np.median(plain):>11.2f}", end="", flush=True)
        alphas = [one.weights.alpha for one in few]
        for _, problem, solver in solvers:
            words = compared(values, times, [problem(one) for one in few], alphas, solver)
            print(f"{words:>23}", end="", flush=True)
        print()


def by_gurobi(problem: Problem, alpha: float) -> float | None:
    """Gurobi on the same linear program; its free licence takes 2,000 variables.

    Raises:
        TimeoutError: it did not finish.
        TooLargeError: the licence does not take a problem of this size.
    """
    import gurobipy

    with gurobipy.Env(params={"OutputFlag": 0, "Threads": 1, "TimeLimit": LIMIT_S, "MIPGap": 1e-7}) as env:
        model = gurobipy.Model(env=env)
        so_far, most, cost, latency = 1.0, 1.0, 0.0, 0.0
        for table in problem.choices:
            x = model.addMVar(table.cost.size, vtype="B")
            w = model.addMVar(table.cost.size, ub=most)
            model.addConstr(x.sum() == 1)
            model.addConstr(w.sum() == so_far)
            model.addConstr(w <= most * x)
            so_far, most = table.accuracy @ w, most * float(table.accuracy.max())
            cost, latency = cost + table.cost @ x, latency + table.latency_s @ x
        model.addConstr(latency <= problem.latency_s)
        model.setObjective(alpha * so_far - cost, gurobipy.GRB.MAXIMIZE)
        try:
            model.optimize()
        except gurobipy.GurobiError as error:
            if error.errno == gurobipy.GRB.Error.SIZE_LIMIT_EXCEEDED:
                raise TooLargeError from error
            raise
        if model.Status != gurobipy.GRB.OPTIMAL:
            raise TimeoutError
        return float(model.ObjVal)
