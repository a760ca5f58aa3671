"""What a change of plan waits for: replicas that start and variants that load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from trimtab.plan.model import Allocation, Limits, Plan, TaskPlan
from trimtab.profile.model import Profile, VariantProfile


def replicas_there(variant: str, cores: int, before: TaskPlan | None, *, in_place_cores: bool = False) -> int:
    """Replicas of a task's plan in force that a group of this variant with this many cores could take over at once.

    They have the variant resident and, where cores do not change in place, at least as many: those of the groups that
    serve it, or all of the task's where it is resident but serves nothing. 0: it is not resident, or the task has no
    plan in force.
    """
    if before is None or variant not in before.resident:
        return 0
    serving = [a for a in before.allocations if a.variant == variant]
    return sum(a.replicas for a in serving or before.allocations if in_place_cores or a.cores >= cores)


def needs_loading(allocation: Allocation, before: TaskPlan | None, *, in_place_cores: bool = False) -> bool:
    """Whether the group must load its variant somewhere: it wants more, or larger, replicas than are there."""
    there = replicas_there(allocation.variant, allocation.cores, before, in_place_cores=in_place_cores)
    return allocation.replicas > there


def task_load_s(
    allocations: Sequence[Allocation],
    before: TaskPlan | None,
    profiles: Mapping[str, VariantProfile],
    *,
    in_place_cores: bool = False,
) -> float:
    """The longest load time among the groups that need loading, seconds: they load at the same time.

    Each group is judged for itself. Source: LC = max tc of InfAdapter (EuroMLSys 2023), except that a group that
    shrinks is free. A load time that is not known counts as 0.
    """
    loads = (a for a in allocations if needs_loading(a, before, in_place_cores=in_place_cores))
    return max((profiles[a.variant].load_time_s or 0.0 for a in loads), default=0.0)


def change_s(before: Plan, after: Plan, profile: Profile, limits: Limits) -> float:
    """How long it takes until everything of a plan is there, seconds: replicas that start, variants that load.

    A replica loads what it lacks one after the other. Other cores or variants need a new replica where the plant cannot
    change them in place. What only goes takes no time, and a load time that is not known counts as 0.
    """
    each_s = (_task_change_s(before.tasks[name], task, profile, limits) for name, task in after.tasks.items())
    return max(each_s, default=0.0)


def _task_change_s(before: TaskPlan, after: TaskPlan, profile: Profile, limits: Limits) -> float:
    def loads_s(variants: Iterable[str]) -> float:
        return sum(profile.variants[after.task][v].load_time_s or 0.0 for v in variants)

    longest_s = 0.0
    for allocation, started in _started(before, after, limits):
        held = after.resident if limits.in_place_variants else (allocation.variant,)
        if started:
            longest_s = max(longest_s, limits.start_s + loads_s(held))
        elif limits.in_place_variants:
            longest_s = max(longest_s, loads_s(v for v in held if v not in before.resident))
    return longest_s


def _started(before: TaskPlan, after: TaskPlan, limits: Limits) -> list[tuple[Allocation, int]]:
    """Every group, and how many of its replicas are new: none that is there can become one."""
    there = [a.replicas for a in before.allocations]
    found = []
    for allocation in after.allocations:
        missing = allocation.replicas
        for i, one in enumerate(before.allocations):
            same_variant = limits.in_place_variants or one.variant == allocation.variant
            same_shape = limits.in_place_cores or (one.cores, one.threads) == (allocation.cores, allocation.threads)
            if same_variant and same_shape:
                some = min(missing, there[i])
                missing, there[i] = missing - some, there[i] - some
        found.append((allocation, missing))
    return found


def started_cores(before: Plan, after: Plan, limits: Limits) -> int:
    """Cores of the replicas that a plan starts."""
    return sum(a.cores * n for name, task in after.tasks.items() for a, n in _started(before.tasks[name], task, limits))


def until_started(before: Plan, after: Plan) -> Plan:
    """What serves until the new replicas of a plan are there, where running ones change in place: those that are."""
    tasks = {}
    for name, task in after.tasks.items():
        left = sum(a.replicas for a in before.tasks[name].allocations)
        kept = []
        for allocation in task.allocations:
            some = min(left, allocation.replicas)
            left -= some
            if some:
                kept.append(replace(allocation, replicas=some))
        total = sum(a.share for a in kept) or 1.0
        tasks[name] = replace(task, allocations=tuple(replace(a, share=a.share / total) for a in kept))
    return Plan(tasks, after.rate_rps)


def grown(before: Plan, after: Plan) -> Plan:
    """The tasks that `after` gives more cores with as many by more replicas of what runs; the others as they are.

    Of a task in several groups, the first one grows.
    """
    tasks = {}
    for name, task in before.tasks.items():
        missing, first = after.tasks[name].cores - task.cores, task.allocations[0]
        more = max(0, -(-missing // first.cores))
        tasks[name] = replace(task, allocations=(replace(first, replicas=first.replicas + more), *task.allocations[1:]))
    return Plan(tasks, after.rate_rps)


def plan_load_s(
    plan: Plan, current: Plan | None, profile: Profile, *, in_place_cores: bool = False
) -> tuple[float, tuple[str, ...]]:
    """Load time of a change from `current` to `plan`, seconds, summed over the tasks; and what was not known, in words.

    0 when `current` is None: what runs is not known then.
    """
    if current is None:
        return 0.0, ()
    total_s, notes = 0.0, []
    for name, task in plan.tasks.items():
        before, profiles = current.tasks.get(name), profile.variants[name]
        total_s += task_load_s(task.allocations, before, profiles, in_place_cores=in_place_cores)
        notes += [
            f"{name}/{a.variant}: load time not known, counted as nothing"
            for a in task.allocations
            if profiles[a.variant].load_time_s is None and needs_loading(a, before, in_place_cores=in_place_cores)
        ]
    return total_s, tuple(dict.fromkeys(notes))
