"""What a change of plan waits for: replicas that start and variants that load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, VariantProfile


def replicas_there(variant: str, cores: int, before: TaskPlan | None) -> int:
    """Replicas of a task's plan in force that a group of this variant with this many cores could take over at once.

    They have the variant resident and at least as many cores: those of the groups that serve it, or all of the task's
    where it is resident but serves nothing. 0: it is not resident, or the task has no plan in force.
    """
    if before is None or variant not in before.resident:
        return 0
    serving = [a for a in before.allocations if a.variant == variant]
    return sum(a.replicas for a in serving or before.allocations if a.cores >= cores)


def needs_loading(allocation: Allocation, before: TaskPlan | None) -> bool:
    """Whether the group must load its variant somewhere: it wants more, or larger, replicas than are there."""
    return allocation.replicas > replicas_there(allocation.variant, allocation.cores, before)


def task_load_s(
    allocations: Sequence[Allocation], before: TaskPlan | None, profiles: Mapping[str, VariantProfile]
) -> float:
    """The longest load time among the groups that need loading, seconds: they load at the same time.

    Each group is judged for itself. Source: LC = max tc of InfAdapter (EuroMLSys 2023), except that a group that
    shrinks is free. A load time that is not known counts as 0.
    """
    return max((profiles[a.variant].load_time_s or 0.0 for a in allocations if needs_loading(a, before)), default=0.0)


def plan_load_s(plan: Plan, current: Plan | None, profile: Profile) -> tuple[float, tuple[str, ...]]:
    """Load time of a change from `current` to `plan`, seconds, summed over the tasks; and what was not known, in words.

    0 when `current` is None: what runs is not known then.
    """
    if current is None:
        return 0.0, ()
    total_s, notes = 0.0, []
    for name, task in plan.tasks.items():
        before, profiles = current.tasks.get(name), profile.variants[name]
        total_s += task_load_s(task.allocations, before, profiles)
        notes += [
            f"{name}/{a.variant}: load time not known, counted as nothing"
            for a in task.allocations
            if profiles[a.variant].load_time_s is None and needs_loading(a, before)
        ]
    return total_s, tuple(dict.fromkeys(notes))
