"""`solve(problem, goal)`: the best choice per task."""

from __future__ import annotations

import math

import numpy as np

from trimtab.plan.solve.answer import CHEAPEST, MOST_ACCURATE, WEIGHTED, answer
from trimtab.plan.solve.graph import frontier
from trimtab.plan.solve.problem import Cheapest, Goal, MostAccurate, Problem, Solution

LABELS = 5_000
"""Partial choices that are kept per task at most.

On random problems of 10 tasks of 70 choices that is more than enough, whatever the DAG, with a latency and two more
limits that bind at once; with three that have nothing to do with each other, one in 120 was left with a gap.
"""


def solve(problem: Problem, goal: Goal, *, beat: float | None = None, labels: int = LABELS) -> Solution | None:
    """The best choice per task; None when nothing is within latency, limits and the goal's floor.

    The same problem gives the same answer. It is exact, on any DAG, as long as no more than `labels` partial choices
    that can still win are open at one task: always where the numbers of choices multiply to no more than that, along
    chains on which only the latency binds at any size met so far, and see `LABELS`. Beyond that `Solution.gap` says
    how much better anything can be, as proved.

    Args:
        problem: what there is to choose from.
        goal: what counts.
        beat: what the goal's first criterion (accuracy, -cost, alpha · accuracy - cost) is for an answer already
            known. None may come back where nothing is better, which is faster to find out.
        labels: how much memory and time a hard problem may take.

    Raises:
        ValueError: a negative alpha.
    """
    kind, weight = MOST_ACCURATE, 0.0
    if isinstance(goal, Cheapest):
        kind, weight = CHEAPEST, goal.floor
    elif not isinstance(goal, MostAccurate):
        kind, weight = WEIGHTED, goal.alpha
        if not weight >= 0.0:
            raise ValueError(f"alpha is {weight}, wanted a number that is not negative")
    known = -math.inf if beat is None else beat
    graph = frontier(problem.after)
    table = problem.packed(graph.order)
    picks = np.zeros(len(problem.choices), dtype=np.int64)
    while True:
        reached, bound = answer(
            table.accuracy, table.latency_s, table.cost, table.use, table.first,
            graph.slot, graph.source, graph.adds, graph.width, graph.before,
            problem.latency_s, problem.limits, problem.combine == "product", kind, weight, known, labels, picks,
        )  # fmt: skip
        if reached > -math.inf or bound == -math.inf:
            break
        # Nothing found and nothing proved: whatever there is is worth more than a bound.
        labels, known = (labels, -math.inf) if known > -math.inf else (8 * labels, known)
    if reached == -math.inf:
        return None
    path = [0] * len(picks)
    for place, task in enumerate(graph.order):
        path[task] = int(picks[place] - table.first[place])
    accuracy = math.prod if problem.combine == "product" else sum
    return Solution(
        path=tuple(path),
        accuracy=float(accuracy(table.accuracy[picks].tolist())),
        cost=float(table.cost[picks].sum()),
        gap=max(0.0, bound - reached),
    )
