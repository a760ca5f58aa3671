"""The cheapest choice per task within a latency budget, by a dynamic programme over whole milliseconds.

For a part G of the pipeline let cost_G(t) be the least cost of choices whose longest path through G takes at most t
milliseconds. For one task it is a step function of its choices; for parts that follow each other

    cost(t) = min over s of cost_first(s) + cost_second(t - s),

and for parts side by side cost(t) = cost_one(t) + cost_other(t). The programme keeps just the steps of these functions,
which is exact. Source: FA2 (Razavi et al., RTAS 2022), which turns the graph into a simpler one and then runs such a
programme. Its transformation was not available, so this one is ours.

Which parts follow each other is read from the order of the tasks: the longest path is the heaviest chain of that order.
Tasks that are not ordered with each other, not even through others, fall apart into parts side by side; tasks that are
unordered with none outside of their part make up parts that follow each other. Pipelines in which neither is so (they
hold an N: a before c and d, b before d alone) are first cut into layers by depth, every task of a layer coming before
every one of the next. That adds waiting that is not there, so the answer stays within the budget but may cost more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.spec.model import Pipeline

_ROUNDING = 1e-9
"""What a latency may be above a whole millisecond without being the next one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run a task."""

    latency_ms: int
    cost: float


@dataclass(frozen=True, slots=True)
class _Step:
    """A point where a cost function falls."""

    latency_ms: int
    cost: float
    picks: Mapping[str, int]


def whole_ms(seconds: float) -> int:
    """Seconds as whole milliseconds, rounded up: a plan that fits rounded fits."""
    return math.ceil(1000.0 * seconds - _ROUNDING)


def budget_ms(slo_s: float) -> int:
    """The largest whole number of milliseconds below the SLO."""
    return math.ceil(1000.0 * slo_s - _ROUNDING) - 1


def cheapest_within(
    pipeline: Pipeline, choices: Mapping[str, Sequence[Choice]], budget: int
) -> tuple[dict[str, int], float] | None:
    """Task → index of its choice, and the cost in all: the cheapest within `budget` milliseconds; None where none is.

    Of equal costs the one of least latency.
    """
    if not all(choices[task] for task in pipeline.tasks):
        return None
    before = _ancestors(pipeline)
    steps = _solve(tuple(pipeline.tasks), before, choices, budget)
    if not steps:
        return None
    best = min(steps, key=lambda step: (step.cost, step.latency_ms))
    return dict(best.picks), best.cost


def _ancestors(pipeline: Pipeline) -> dict[str, frozenset[str]]:
    """Task → all tasks that come before it."""
    before: dict[str, frozenset[str]] = {}
    for name, task in pipeline.tasks.items():
        before[name] = frozenset[str]().union(*({e.upstream} | before[e.upstream] for e in task.after))
    return before


def _solve(
    tasks: tuple[str, ...],
    before: Mapping[str, frozenset[str]],
    choices: Mapping[str, Sequence[Choice]],
    budget: int,
) -> list[_Step]:
    """The cost function of a part, by latency."""
    if len(tasks) == 1:
        (task,) = tasks
        own = [_Step(c.latency_ms, c.cost, {task: i}) for i, c in enumerate(choices[task])]
        return _falling([step for step in own if step.latency_ms <= budget])
    parts = _split(tasks, before, join_ordered=True)
    in_series = len(parts) == 1
    if in_series:
        parts = _split(tasks, before, join_ordered=False)
    if len(parts) == 1:
        parts = _layers(tasks, before)
    found = [_solve(part, before, choices, budget) for part in parts]
    steps = found[0]
    for more in found[1:]:
        steps = _falling(_series(steps, more, budget) if in_series else _parallel(steps, more))
    return steps


def _series(first: list[_Step], second: list[_Step], budget: int) -> list[_Step]:
    return [
        _Step(a.latency_ms + b.latency_ms, a.cost + b.cost, {**a.picks, **b.picks})
        for a in first
        for b in second
        if a.latency_ms + b.latency_ms <= budget
    ]


def _parallel(one: list[_Step], other: list[_Step]) -> list[_Step]:
    return [_Step(max(a.latency_ms, b.latency_ms), a.cost + b.cost, {**a.picks, **b.picks}) for a in one for b in other]


def _falling(steps: list[_Step]) -> list[_Step]:
    """The steps that cost less than all of no more latency, by latency."""
    kept: list[_Step] = []
    for step in sorted(steps, key=lambda step: (step.latency_ms, step.cost)):
        if not kept or step.cost < kept[-1].cost:
            kept.append(step)
    return kept


def _split(
    tasks: tuple[str, ...], before: Mapping[str, frozenset[str]], *, join_ordered: bool
) -> list[tuple[str, ...]]:
    """Connected parts of the graph that joins tasks with an order between them, or of the one that joins the others.

    Parts of the latter are wholly ordered among themselves, and come in that order, for tasks are in topological order.
    """
    parts: list[tuple[str, ...]] = []
    left = list(tasks)
    while left:
        reached, grown = [left[0]], 0
        while grown < len(reached):
            here = reached[grown]
            grown += 1
            for other in left:
                is_ordered = other in before[here] or here in before[other]
                if other not in reached and is_ordered == join_ordered:
                    reached.append(other)
        parts.append(tuple(task for task in tasks if task in reached))
        left = [task for task in left if task not in reached]
    return parts


def _layers(tasks: tuple[str, ...], before: Mapping[str, frozenset[str]]) -> list[tuple[str, ...]]:
    """Tasks by depth within the part."""
    depth: dict[str, int] = {}
    for task in tasks:
        depth[task] = 1 + max((depth[up] for up in before[task] if up in depth), default=-1)
    return [tuple(t for t in tasks if depth[t] == level) for level in sorted(set(depth.values()))]
