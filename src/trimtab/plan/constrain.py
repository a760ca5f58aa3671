"""Clamp a proposed plan to what it may hold. It only takes away: replicas, residents, freedoms; it chooses nothing."""

from __future__ import annotations

from dataclasses import replace

from trimtab.errors import PlanRequestError
from trimtab.plan.estimate import plan_cost_per_hour
from trimtab.plan.latency import is_within
from trimtab.plan.model import Limits, Plan, TaskPlan
from trimtab.plan.prices import is_serverless
from trimtab.plan.residents import memory_bytes
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline


def constrain(plan: Plan, pipeline: Pipeline, profile: Profile, limits: Limits) -> tuple[Plan, tuple[str, ...]]:
    """The plan within the limits, and what was taken away, in words (nothing, from a policy that heeds them).

    Allocations beyond what the plant can split over fall away, the smallest share first; replicas go down to
    `replicas_per_task`, then, one at a time, from the task with most cores until the cores fit and from the task with
    most replicas until all replicas together do; residents that are not allocated go until the memory fits, the last
    listed first; then replicas go, one at a time, where that saves most, until the cost per hour fits.

    Raises:
        PlanRequestError: even one replica per allocation is too much, or cost is limited and has no price.
    """
    tasks, words = dict(plan.tasks), list[str]()
    for name, task in plan.tasks.items():
        tasks[name] = _within_task(task, limits, words)
    _fit_cores(tasks, limits.cores, words)
    if limits.replicas is not None:
        _fit_replicas(tasks, limits.replicas, words)
    if limits.memory_bytes is not None:
        _fit_memory(tasks, profile, limits.memory_bytes, words)
    fitting = Plan(tasks=tasks, rate_rps=plan.rate_rps)
    if limits.cost_per_hour is not None:
        fitting = _fit_cost(fitting, pipeline, profile, limits.cost_per_hour, words)
    return fitting, tuple(words)


def _fit_cores(tasks: dict[str, TaskPlan], limit: float, words: list[str]) -> None:
    while sum(t.cores for t in tasks.values()) > limit:
        shrinkable = [(t.cores, name) for name, t in tasks.items() if _can_shrink(t)]
        if not shrinkable:
            cores = sum(t.cores for t in tasks.values())
            raise _too_much("core", f"{cores} cores with one replica of everything", f"{limit:g}")
        name = max(shrinkable)[1]
        tasks[name] = _with_one_replica_less(tasks[name])
        words.append(f"{name}: one replica less, to fit {limit:g} cores")


def _fit_replicas(tasks: dict[str, TaskPlan], limit: int, words: list[str]) -> None:
    while sum(_replicas(t) for t in tasks.values()) > limit:
        shrinkable = [(_replicas(t), name) for name, t in tasks.items() if _can_shrink(t)]
        if not shrinkable:
            raise _too_much("replica", f"{sum(_replicas(t) for t in tasks.values())} groups of one replica", f"{limit}")
        name = max(shrinkable)[1]
        tasks[name] = _with_one_replica_less(tasks[name])
        words.append(f"{name}: one replica less, to fit {limit} replicas")


def _fit_cost(plan: Plan, pipeline: Pipeline, profile: Profile, limit: float, words: list[str]) -> Plan:
    cost = _cost(plan, pipeline, profile)
    while not is_within(cost, limit):
        # Fewer serverless replicas would save nothing.
        smaller = {
            name: Plan({**plan.tasks, name: _with_one_replica_less(task)}, plan.rate_rps)
            for name, task in plan.tasks.items()
            if _can_shrink(task) and not all(is_serverless(pipeline.prices, a.instance) for a in task.allocations)
        }
        if not smaller:
            least = f"{cost:.4g} {pipeline.prices.currency} an hour with one replica of everything"
            raise _too_much("cost", least, f"{limit:.4g}")
        costs = {name: _cost(other, pipeline, profile) for name, other in smaller.items()}
        # Where none saves at once (what is rented would still be needed), the task that holds most goes first.
        name = min(costs, key=lambda name: (costs[name], -plan.tasks[name].cores, name))
        plan, cost = smaller[name], costs[name]
        words.append(f"{name}: one replica less, to fit {limit:.4g} {pipeline.prices.currency} an hour")
    return plan


def _cost(plan: Plan, pipeline: Pipeline, profile: Profile) -> float:
    cost = plan_cost_per_hour(plan, pipeline, profile)
    if cost is None:
        raise PlanRequestError(
            "cost is limited, and nothing has a price",
            where="limits.cost_per_hour",
            next_step="state prices, or drop budget.cost_per_hour",
        )
    return cost


def _too_much(what: str, got: str, most: str) -> PlanRequestError:
    return PlanRequestError(
        f"the proposed plan cannot be cut down to the {what} limit", where="plan", got=got, wanted=f"at most {most}"
    )


def _within_task(task: TaskPlan, limits: Limits, words: list[str]) -> TaskPlan:
    allocations = task.allocations
    if len(allocations) > limits.max_allocations_per_task:
        allocations = tuple(sorted(allocations, key=lambda a: -a.share)[: limits.max_allocations_per_task])
        total = sum(a.share for a in allocations)
        allocations = tuple(replace(a, share=a.share / total) for a in allocations)
        words.append(
            f"{task.task}: {len(allocations)} of {len(task.allocations)} groups of replicas, all the plant has"
        )
    for i, allocation in enumerate(allocations):
        if allocation.replicas > limits.replicas_per_task:
            cut = replace(allocation, replicas=limits.replicas_per_task)
            allocations = (*allocations[:i], cut, *allocations[i + 1 :])
            words.append(f"{task.task}: {limits.replicas_per_task} replicas instead of {allocation.replicas}")
    resident, may_use = task.resident, task.may_use
    allocated = tuple(a.variant for a in allocations)
    if not limits.in_place_variants and set(resident) - set(allocated):
        resident, may_use = tuple(v for v in resident if v in allocated), ()
        words.append(f"{task.task}: only the allocated variant is resident, all the plant can hold")
    return replace(task, allocations=allocations, resident=resident, may_use=may_use)


def _replicas(task: TaskPlan) -> int:
    return sum(a.replicas for a in task.allocations)


def _can_shrink(task: TaskPlan) -> bool:
    return any(a.replicas > 1 for a in task.allocations)


def _with_one_replica_less(task: TaskPlan) -> TaskPlan:
    i = max(range(len(task.allocations)), key=lambda i: (task.allocations[i].replicas, -i))
    cut = replace(task.allocations[i], replicas=task.allocations[i].replicas - 1)
    return replace(task, allocations=(*task.allocations[:i], cut, *task.allocations[i + 1 :]))


def _fit_memory(tasks: dict[str, TaskPlan], profile: Profile, limit: int, words: list[str]) -> None:
    for name, task in list(tasks.items()):
        spare = [v for v in task.resident if v not in {a.variant for a in task.allocations}]
        while spare and memory_bytes(tasks, profile) > limit:
            out = spare.pop()
            tasks[name] = replace(
                tasks[name],
                resident=tuple(v for v in tasks[name].resident if v != out),
                may_use=tuple(v for v in tasks[name].may_use if v != out),
            )
            words.append(f"{name}: {out} is not resident, to fit the memory limit")
    if memory_bytes(tasks, profile) > limit:
        raise _too_much("memory", f"{memory_bytes(tasks, profile)} bytes for the allocated variants alone", f"{limit}")
