"""Which variants are kept loaded beside the allocated ones, which of them the dispatcher may use; their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trimtab.errors import PlanRequestError
from trimtab.plan.latency import lone_time_s
from trimtab.plan.model import Allocation, PlanRequest, TaskPlan
from trimtab.plan.prices import cost_table, is_serverless, serverless_cost_per_hour
from trimtab.profile.model import Profile, VariantProfile


def replica_bytes(task: TaskPlan, profiles: Mapping[str, VariantProfile]) -> int:
    """Memory of a task's resident variants in one replica; a variant of unknown size counts as nothing."""
    return sum(profiles[variant].memory_bytes or 0 for variant in task.resident)


def memory_bytes(tasks: Mapping[str, TaskPlan], profile: Profile) -> int:
    """Memory of all resident variants in all replicas; a variant of unknown size counts as nothing."""
    return sum(
        replica_bytes(task, profile.variants[name]) * sum(a.replicas for a in task.allocations)
        for name, task in tasks.items()
    )


def with_residents(
    request: PlanRequest, allocations: Mapping[str, Sequence[Allocation]]
) -> tuple[dict[str, TaskPlan], tuple[str, ...]]:
    """Task plans that hold as many variants as memory and prices let in, and what stayed out, in words.

    Every task holds the variants that its groups serve. Beside them it first gets its cheaper variants, the cheapest
    first (they are what saves a deadline), then the dearer ones, the next dearer first (they are what the next plan may
    want). Tasks take turns. Only variants that were measured at every allocated shape qualify, for the dispatcher must
    know what they take; and only those that fit the memory limit and make no instance dearer. A variant whose memory is
    not known counts as nothing against the limit, and is named.

    `may_use` are the resident variants that are less accurate than one that is allocated and take less time.
    """
    plans = {
        task: TaskPlan(task, tuple(groups), tuple(dict.fromkeys(a.variant for a in groups)))
        for task, groups in allocations.items()
    }
    notes: list[str] = []
    if request.limits.in_place_variants:
        queues = {task: _wanted(request, task, groups) for task, groups in allocations.items()}
        while any(queues.values()):
            for task, queue in queues.items():
                if queue:
                    variant = queue.pop(0)
                    reason = _keeps_out(request, plans, task, variant)
                    if reason is None:
                        plans[task] = _holding(plans[task], variant)
                    else:
                        notes.append(f"{task}/{variant} {reason}")
        if request.limits.memory_bytes is not None:
            notes += [
                f"{name}/{variant}: memory not known, counted as nothing"
                for name, task_plan in plans.items()
                for variant in task_plan.resident
                if request.profile.variants[name][variant].memory_bytes is None
            ]
    return {task: with_freedoms(request, plan) for task, plan in plans.items()}, tuple(notes)


def _holding(plan: TaskPlan, variant: str) -> TaskPlan:
    return TaskPlan(plan.task, plan.allocations, (*plan.resident, variant))


def with_freedoms(request: PlanRequest, plan: TaskPlan) -> TaskPlan:
    """The residents by accuracy, and which of them may be used."""
    resident = tuple(v.name for v in request.pipeline.tasks[plan.task].by_accuracy() if v.name in plan.resident)
    freely = request.limits.in_place_variants
    may_use = tuple(v for v in resident if freely and any(_saves(request, plan.task, v, a) for a in plan.allocations))
    return TaskPlan(plan.task, plan.allocations, resident, may_use)


def _wanted(request: PlanRequest, task: str, groups: Sequence[Allocation]) -> list[str]:
    """Variants to load beside the allocated ones, the most useful first."""
    times = {}
    for variant in request.pipeline.tasks[task].variants:
        each = [_time_s(request, task, variant, a) for a in groups]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) == len(groups):
            times[variant] = max(known)
    own = max(filter(None, (_time_s(request, task, a.variant, a) for a in groups)), default=0.0)
    allocated = {a.variant for a in groups}
    others = sorted((seconds, variant) for variant, seconds in times.items() if variant not in allocated)
    return [v for seconds, v in others if seconds < own] + [v for seconds, v in others if seconds >= own]


def _saves(request: PlanRequest, task: str, variant: str, allocation: Allocation) -> bool:
    """Whether the variant is a step down from the allocated one that takes less time."""
    variants = request.pipeline.tasks[task].variants
    own_s = _time_s(request, task, allocation.variant, allocation)
    other_s = _time_s(request, task, variant, allocation)
    return (
        own_s is not None
        and other_s is not None
        and other_s < own_s
        and variants[variant].accuracy <= variants[allocation.variant].accuracy
    )


def _time_s(request: PlanRequest, task: str, variant: str, allocation: Allocation) -> float | None:
    """Mean time of one item on the group's replicas; None where it was not measured."""
    known = request.profile.variants[task].get(variant)
    return None if known is None else lone_time_s(known, allocation.cores, allocation.threads)


def _keeps_out(request: PlanRequest, plans: Mapping[str, TaskPlan], task: str, variant: str) -> str | None:
    """Why the task may not hold this variant too, in words; None: it may."""
    more = _holding(plans[task], variant)
    limit = request.limits.memory_bytes
    if limit is not None and memory_bytes({**plans, task: more}, request.profile) > limit:
        return "does not fit the memory limit beside the others"
    before = replica_bytes(plans[task], request.profile.variants[task])
    after = replica_bytes(more, request.profile.variants[task])
    if after > before and not all(_same_price(request, a, before, after) for a in more.allocations):
        return "would need dearer instances"
    return None


def _same_price(request: PlanRequest, allocation: Allocation, before: int, after: int) -> bool:
    """Whether replicas of `after` bytes run where those of `before` bytes do, at the same price."""
    prices = request.pipeline.prices
    try:
        if is_serverless(prices, allocation.instance) and prices.serverless is not None:
            serverless_cost_per_hour(prices.serverless, allocation.cores, after, 0.0, 0.0)
        elif prices.instances:
            held = [
                cost_table(prices, allocation.cores, size, allocation.replicas, allocation.instance)[0][-1]
                for size in (before, after)
            ]
            return bool(held[0] == held[1])
    except PlanRequestError:
        return False
    return True
