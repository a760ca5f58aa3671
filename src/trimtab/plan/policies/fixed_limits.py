"""How many replicas, or how large ones, the limits of a request leave to tasks that each hold one kind of replica.

Every task asks for a ladder of holdings, from the least to what it wants. It gets the first rung, and then rungs are
granted one at a time, to the task that holds the least share of the cores that it wants. So where the limits cut,
every task ends with about the same share of what it asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import plan_cost_per_hour
from trimtab.plan.latency import is_within
from trimtab.plan.model import Allocation, Plan, PlanRequest, TaskPlan
from trimtab.plan.residents import memory_bytes


@dataclass(frozen=True, slots=True)
class Fixed:
    """One replica of a task."""

    variant: str
    cores: int
    threads: int
    batch: int


Holding = tuple[Fixed, int]
"""A kind of replica, and how many of it."""


def fixed_plan(request: PlanRequest, wanted: Mapping[str, Holding]) -> dict[str, TaskPlan]:
    """Task plans of so many replicas each, or as many as all limits of the request leave.

    Raises:
        PlanRequestError: not even one replica of every task fits, or cost is limited and has no price.
    """
    ladders = {}
    for task in request.pipeline.tasks:
        fixed, count = wanted[task]
        ladders[task] = [(fixed, n) for n in range(1, max(1, min(count, request.limits.replicas_per_task)) + 1)]
    return ladder_plan(request, ladders)


def ladder_plan(request: PlanRequest, ladders: Mapping[str, Sequence[Holding]]) -> dict[str, TaskPlan]:
    """Task plans of the highest rungs that all limits of the request leave; rungs ascend in cores.

    Raises:
        PlanRequestError: the first rungs do not fit together, or cost is limited and has no price.
    """
    ladders = {task: ladders[task] for task in request.pipeline.tasks}
    wanted = {task: ladder[-1] for task, ladder in ladders.items()}
    if _excess(request, wanted) is None:
        return _task_plans(wanted)
    granted = {task: ladder[0] for task, ladder in ladders.items()}
    excess = _excess(request, granted)
    if excess is not None:
        raise PlanRequestError(
            "the limits leave no room for one replica of every task",
            where=f"pipeline {request.pipeline.name}",
            got=excess[0],
            wanted=excess[1],
            next_step="raise the budget, or give the policy's settings smaller `cores` or lighter `variants`",
        )
    rungs = dict.fromkeys(ladders, 0)
    growing = [task for task, ladder in ladders.items() if len(ladder) > 1]
    while growing:
        task = min(growing, key=lambda t: _cores(granted[t]) / _cores(wanted[t]))
        more = {**granted, task: ladders[task][rungs[task] + 1]}
        if _excess(request, more) is not None:
            growing.remove(task)
            continue
        granted, rungs[task] = more, rungs[task] + 1
        if rungs[task] + 1 == len(ladders[task]):
            growing.remove(task)
    return _task_plans(granted)


def cut_words(wanted: Mapping[str, Holding], plans: Mapping[str, TaskPlan]) -> tuple[str, ...]:
    """Where a plan holds less than was asked for, in words."""
    words = []
    for task, (fixed, count) in wanted.items():
        held = plans[task].allocations[0]
        if held.replicas < count:
            words.append(f"{task}: {held.replicas} of {count} replicas, all that the limits leave")
        elif held.cores < fixed.cores:
            words.append(f"{task}: {held.cores} of {fixed.cores} cores, all that the limits leave")
    return tuple(words)


def _cores(holding: Holding) -> int:
    return holding[0].cores * holding[1]


def _task_plans(holdings: Mapping[str, Holding]) -> dict[str, TaskPlan]:
    return {
        task: TaskPlan(task, (Allocation(f.variant, count, f.cores, f.threads, f.batch),), resident=(f.variant,))
        for task, (f, count) in holdings.items()
    }


def _excess(request: PlanRequest, holdings: Mapping[str, Holding]) -> tuple[str, str] | None:
    """What would be held and the limit that it exceeds, in words; None where all limits hold."""
    limits = request.limits
    cores, replicas = sum(map(_cores, holdings.values())), sum(count for _, count in holdings.values())
    if limits.replicas_per_task < max(count for _, count in holdings.values()):
        return "1 replica per task", f"at most {limits.replicas_per_task}"
    if cores > limits.cores:
        return f"{cores} cores", f"at most {limits.cores:g}"
    if limits.replicas is not None and replicas > limits.replicas:
        return f"{replicas} replicas", f"at most {limits.replicas}"
    if limits.memory_bytes is not None:
        held = memory_bytes(_task_plans(holdings), request.profile)
        if held > limits.memory_bytes:
            return f"{held} bytes", f"at most {limits.memory_bytes}"
    if limits.cost_per_hour is not None:
        plan = Plan(_task_plans(holdings), request.rate_rps)
        cost = plan_cost_per_hour(plan, request.pipeline, request.profile)
        if cost is None:
            raise PlanRequestError(
                "cost is limited, and nothing has a price",
                where="limits.cost_per_hour",
                next_step="state prices, or drop budget.cost_per_hour",
            )
        if not is_within(cost, limits.cost_per_hour):
            return f"{cost:.4g} an hour", f"at most {limits.cost_per_hour:.4g}"
    return None
