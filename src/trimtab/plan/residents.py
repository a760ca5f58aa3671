"""Which variants are kept loaded beside the allocated one, and which of them the dispatcher may fall back to."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.plan.model import Allocation, PlanRequest, TaskPlan


def with_residents(
    request: PlanRequest, allocations: Mapping[str, Allocation]
) -> tuple[dict[str, TaskPlan], tuple[str, ...]]:
    """Task plans that hold as many variants as the memory limit lets in, and what stayed out, in words.

    Every task first gets its cheaper variants, the cheapest first (they are what saves a deadline), then the dearer
    ones, the next dearer first (they are what the next plan may want). Tasks take turns. Only variants that were
    measured at the allocated shape qualify, for the dispatcher must know what they take. A variant whose memory is not
    known counts as nothing against the limit, and is named.

    `may_use` are the resident variants that are less accurate than the allocated one and take less time.
    """
    resident = {task: [allocation.variant] for task, allocation in allocations.items()}
    notes: list[str] = []
    if request.limits.in_place_variants:
        left = _memory_left(request, allocations)
        queues = {task: _wanted(request, task, allocation) for task, allocation in allocations.items()}
        while any(queues.values()):
            for task, queue in queues.items():
                if not queue:
                    continue
                variant = queue.pop(0)
                size = _memory(request, task, variant) * allocations[task].replicas
                if left is None or size <= left:
                    resident[task].append(variant)
                    left = None if left is None else left - size
                else:
                    notes.append(f"{task}/{variant} does not fit the memory limit beside the others")
        if request.limits.memory_bytes is not None:
            notes += [
                f"{task}/{variant}: memory not known, counted as nothing"
                for task, variants in resident.items()
                for variant in variants
                if request.profile.variants[task][variant].memory_bytes is None
            ]
    plans = {
        task: TaskPlan(
            task=task,
            allocations=(allocation,),
            resident=_by_accuracy(request, task, resident[task]),
            may_use=_by_accuracy(request, task, [v for v in resident[task] if _saves(request, task, v, allocation)]),
        )
        for task, allocation in allocations.items()
    }
    return plans, tuple(notes)


def _wanted(request: PlanRequest, task: str, allocation: Allocation) -> list[str]:
    """Variants to load beside the allocated one, the most useful first."""
    known = request.profile.variants[task]
    times = {
        variant: known[variant].service_time(1, allocation.cores, allocation.threads).seconds
        for variant in request.pipeline.tasks[task].variants
        if variant in known and (allocation.cores, allocation.threads) in known[variant].shapes()
    }
    own = times[allocation.variant]
    others = sorted((seconds, variant) for variant, seconds in times.items() if variant != allocation.variant)
    return [v for seconds, v in others if seconds < own] + [v for seconds, v in others if seconds >= own]


def _saves(request: PlanRequest, task: str, variant: str, allocation: Allocation) -> bool:
    """Whether the variant is a step down that takes less time."""
    variants, known = request.pipeline.tasks[task].variants, request.profile.variants[task]
    shape = (allocation.cores, allocation.threads)
    return (
        variant != allocation.variant
        and variants[variant].accuracy <= variants[allocation.variant].accuracy
        and known[variant].service_time(1, *shape).seconds < known[allocation.variant].service_time(1, *shape).seconds
    )


def _by_accuracy(request: PlanRequest, task: str, variants: list[str]) -> tuple[str, ...]:
    return tuple(v.name for v in request.pipeline.tasks[task].by_accuracy() if v.name in variants)


def _memory(request: PlanRequest, task: str, variant: str) -> int:
    return request.profile.variants[task][variant].memory_bytes or 0


def _memory_left(request: PlanRequest, allocations: Mapping[str, Allocation]) -> int | None:
    if request.limits.memory_bytes is None:
        return None
    used = sum(_memory(request, task, a.variant) * a.replicas for task, a in allocations.items())
    return request.limits.memory_bytes - used
