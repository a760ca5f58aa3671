"""How far batches may grow beyond what was planned: when more waits than expected, larger ones serve more.

A plan names the smallest batch that holds the load. The dispatcher may form larger ones, up to the largest measured
size that is worth it (less time an item) and that the time allows: all tasks of the longest path may take so many
times their planned service as fits into the SLO beside the wait that is allowed for (`plan.pool`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trimtab.plan.latency import path_latency, table_row
from trimtab.plan.model import Allocation, PlanRequest, TaskPlan
from trimtab.plan.pool import ANSWER_SHARE, PRESSURE
from trimtab.profile.model import VariantProfile

_WORTH = 0.98
"""A larger batch has to take at most this share of a smaller one's time per item."""


def widened(request: PlanRequest, plans: Mapping[str, TaskPlan]) -> dict[str, TaskPlan]:
    """The plans with `most` set where batches may grow; groups that are known by a capacity table keep theirs."""
    pipeline = request.pipeline
    quantile = pipeline.slo.quantile
    known = {name: request.profile.variants[name] for name in plans}
    planned_s = {
        name: max(_time_s(known[name][a.variant], a, a.batch, quantile) for a in plan.allocations)
        for name, plan in plans.items()
    }
    longest_s = path_latency(pipeline, {name: (seconds, 0.0) for name, seconds in planned_s.items()})
    room_s = (1.0 - PRESSURE - ANSWER_SHARE) * pipeline.slo.latency_s
    if longest_s == 0.0 or longest_s > room_s:
        return dict(plans)
    stretch = room_s / longest_s
    return {
        name: replace(
            plan,
            allocations=tuple(
                replace(a, most=_most(request, known[name][a.variant], a, stretch * planned_s[name]))
                for a in plan.allocations
            ),
        )
        for name, plan in plans.items()
    }


def _most(request: PlanRequest, profile: VariantProfile, allocation: Allocation, within_s: float) -> int | None:
    """The largest batch that is worth it and takes at most `within_s`; None: none beyond the planned one."""
    if table_row(profile, allocation.cores, allocation.threads) is not None:
        return None
    best, quantile = allocation.batch, request.pipeline.slo.quantile
    each_s = _time_s(profile, allocation, best, None) / best
    for batch in profile.batches(allocation.cores, allocation.threads):
        if best < batch <= (request.pipeline.planning.max_batch or batch):
            takes_s = _time_s(profile, allocation, batch, None) / batch
            if takes_s <= _WORTH * each_s and _time_s(profile, allocation, batch, quantile) <= within_s:
                best, each_s = batch, takes_s
    return best if best > allocation.batch else None


def _time_s(profile: VariantProfile, allocation: Allocation, batch: int, quantile: float | None) -> float:
    """Service time of a batch, or the table's latency; the mean where `quantile` is None."""
    row = table_row(profile, allocation.cores, allocation.threads)
    if row is not None:
        return row.latency_s
    args = (batch, allocation.cores, allocation.threads)
    return (profile.service_time(*args) if quantile is None else profile.service_time(*args, quantile)).seconds
