"""Clamp a proposed plan to what it may hold. It only takes away: replicas, residents, freedoms; it chooses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Limits, Plan, TaskPlan
from trimtab.profile.model import Profile


def constrain(plan: Plan, profile: Profile, limits: Limits) -> tuple[Plan, tuple[str, ...]]:
    """The plan within the limits, and what was taken away, in words (nothing, from a policy that heeds them).

    Allocations beyond what the plant can split over fall away, the smallest share first; replicas go down to
    `replicas_per_task`, then, one at a time from the task with most cores, until the cores fit; residents that are not
    allocated go until the memory fits, the last listed first.

    Raises:
        PlanRequestError: even one replica per allocation is too much.
    """
    tasks, words = dict(plan.tasks), list[str]()
    for name, task in plan.tasks.items():
        tasks[name] = _within_task(task, limits, words)
    while sum(t.cores for t in tasks.values()) > limits.cores:
        shrinkable = [(t.cores, name) for name, t in tasks.items() if any(a.replicas > 1 for a in t.allocations)]
        if not shrinkable:
            raise PlanRequestError(
                "the proposed plan cannot be cut down to the core limit",
                where="plan",
                got=f"{sum(t.cores for t in tasks.values())} cores with one replica of everything",
                wanted=f"at most {limits.cores:g}",
            )
        name = max(shrinkable)[1]
        tasks[name] = _with_one_replica_less(tasks[name])
        words.append(f"{name}: one replica less, to fit {limits.cores:g} cores")
    if limits.memory_bytes is not None:
        _fit_memory(tasks, profile, limits.memory_bytes, words)
    return Plan(tasks=tasks, rate_rps=plan.rate_rps), tuple(words)


def memory_bytes(tasks: Mapping[str, TaskPlan], profile: Profile) -> int:
    """Memory of all resident variants in all replicas; a variant of unknown size counts as nothing."""
    return sum(
        (profile.variants[name][variant].memory_bytes or 0) * sum(a.replicas for a in task.allocations)
        for name, task in tasks.items()
        for variant in task.resident
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
        raise PlanRequestError(
            "the proposed plan cannot be cut down to the memory limit",
            where="plan",
            got=f"{memory_bytes(tasks, profile)} bytes for the allocated variants alone",
            wanted=f"at most {limit}",
        )
