"""Whether this machine can follow a plan: asked before anything is changed for it."""

from __future__ import annotations

from trimtab.errors import PlantError
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

START_S = 0.2
"""From asking for a replica to its process being up, before it loads models (measured: `benchmarks/switch_time.py`)."""
MOST_GROUPS = 8
"""Allocations of a task: groups of replicas between which its items are routed by their shares."""


def check_followable(plan: Plan, pipeline: Pipeline, profile: Profile, cores: int) -> None:
    """Refuse a plan that `cores` cores cannot follow.

    Raises:
        PlantError: it is for other tasks, variants or shapes, or holds too much; with what was wanted.
    """
    if plan.tasks.keys() != pipeline.tasks.keys():
        raise PlantError("the plan is for other tasks", got=", ".join(plan.tasks), wanted=", ".join(pipeline.tasks))
    for task in plan.tasks.values():
        if not 1 <= len(task.allocations) <= MOST_GROUPS:
            raise PlantError(
                f"task '{task.task}': too many groups of replicas, or none",
                got=f"{len(task.allocations)} allocations",
                wanted=f"1 to {MOST_GROUPS}",
            )
        known = pipeline.tasks[task.task].variants
        for variant in (*(a.variant for a in task.allocations), *task.resident, *task.may_use):
            if variant not in known:
                raise PlantError(f"task '{task.task}' has no variant '{variant}'", wanted=", ".join(known))
        for allocation in task.allocations:
            _check_allocation(task, allocation, profile)
    if plan.cores > cores:
        raise PlantError("the plan holds too many cores", got=f"{plan.cores}", wanted=f"at most {cores}")


def _check_allocation(task: TaskPlan, allocation: Allocation, profile: Profile) -> None:
    if allocation.replicas < 1 or allocation.batch < 1:
        raise PlantError(f"task '{task.task}': a plan needs at least one replica and batches of at least one")
    for name, measured in profile.variants[task.task].items():
        if (allocation.cores, allocation.threads) not in measured.shapes():
            raise PlantError(
                f"task '{task.task}': {allocation.cores} cores with {allocation.threads} threads were not "
                f"profiled for variant '{name}'"
            )
