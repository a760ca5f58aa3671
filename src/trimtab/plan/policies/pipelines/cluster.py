"""What Proteus and Loki have in common: replicas of one size per task, each hosting one variant of several.

A task's replicas have the cores that the settings name, or by the rule of `policies.fixed` for its most accurate
variant. Variants that were not measured on so many cores are left out. Of several numbers of threads, that of the most
accurate variant is taken, or else the largest. A capacity table's latency holds waiting too, so it is held against all
of the time where a service time is held against a part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trimtab.plan.latency import TOLERANCE, table_row
from trimtab.plan.model import Allocation, PlanRequest, TaskPlan
from trimtab.plan.policies.fixed import FixedSettings, batch_time_s, ceil, fixed_choice, measured_shapes, shape_rate
from trimtab.plan.policies.fixed_limits import Fixed, fixed_plan
from trimtab.plan.policies.pinned import fits
from trimtab.plan.policies.pipelines.milp import Programme


@dataclass(frozen=True, slots=True)
class Host:
    """A replica that hosts one variant and serves batches of one size."""

    task: str
    variant: str
    accuracy: float
    cores: int
    threads: int
    batch: int
    latency_s: float
    """Of a batch, at the SLO's quantile; by a capacity table the part of its latency that counts."""
    rate: float
    """Items per second, as profiled."""
    memory_bytes: int
    """0 where it is not known."""


@dataclass(frozen=True, slots=True)
class Group:
    """Equal replicas, and the items per second that are sent to them."""

    host: Host
    replicas: int
    traffic: float


def hosts_of(
    request: PlanRequest, task: str, cores: Mapping[str, int], max_batch: int | None, slo_share: float = 1.0
) -> dict[str, list[Host]]:
    """Variant, by name, → its hosts by batch, ascending; variants not measured in the task's size are not there.

    `slo_share` is the part of the SLO that service times are held against.

    Raises:
        PlanRequestError: as `fixed.fixed_choice`.
    """
    size, quantile = fixed_choice(request, task, FixedSettings(cores=cores)), request.pipeline.slo.quantile
    hosts: dict[str, list[Host]] = {}
    for name in sorted(request.pipeline.tasks[task].variants):
        shapes = [shape for shape in measured_shapes(request, task, name) if shape[0] == size.cores]
        if not shapes:
            continue
        shape = (size.cores, size.threads) if (size.cores, size.threads) in shapes else shapes[-1]
        profile = request.profile.variants[task][name]
        measured = profile.batches(*shape) or (1,)
        counts = 1.0 if table_row(profile, *shape) is None else slo_share
        hosts[name] = [
            Host(
                task,
                name,
                request.pipeline.tasks[task].variants[name].accuracy,
                *shape,
                batch,
                counts * batch_time_s(profile, *shape, batch, quantile),
                shape_rate(profile, *shape, batch),
                profile.memory_bytes or 0,
            )
            for batch in ([b for b in measured if b <= (max_batch or math.inf)] or measured[:1])
        ]
    return hosts


def limit_rows(
    programme: Programme, request: PlanRequest, replicas: Mapping[Host, int], cores: float, mix: int
) -> None:
    """Add the rows that keep replicas (host → its column) within cores, replicas, memory and `mix` variants per task.

    With more than one variant in a task each replica holds all of them, which the row on memory does not know;
    `shrinking` sees to that.
    """
    limits = request.limits
    programme.row({column: float(h.cores) for h, column in replicas.items()}, high=cores)
    for task in request.pipeline.tasks:
        own = {h: column for h, column in replicas.items() if h.task == task}
        programme.row(dict.fromkeys(own.values(), 1.0), low=1.0, high=float(limits.replicas_per_task))
        if mix < len(own):
            used = {h: programme.column(upper=1.0, integer=True) for h in own}
            for h, column in own.items():
                programme.row({column: 1.0, used[h]: -most_replicas(request, h)}, high=0.0)
            programme.row(dict.fromkeys(used.values(), 1.0), high=float(mix))
    if limits.replicas is not None:
        programme.row(dict.fromkeys(replicas.values(), 1.0), high=float(limits.replicas))
    if limits.memory_bytes is not None:
        unit = max(1.0, float(limits.memory_bytes))
        programme.row(
            {column: h.memory_bytes / unit for h, column in replicas.items()}, high=limits.memory_bytes / unit
        )


def most_replicas(request: PlanRequest, host: Host) -> float:
    """More replicas than this cannot be held."""
    return float(min(request.limits.replicas_per_task, math.floor(request.limits.cores / host.cores + TOLERANCE)))


def shrinking(
    request: PlanRequest, plans_at: Callable[[float, int], dict[str, TaskPlan] | None]
) -> dict[str, TaskPlan] | None:
    """The first plan that is within all limits, of those for one variant per task, and then for fewer and fewer cores.

    `plans_at` takes the cores of the cluster and the most variants of a task. Its rows know cores, replicas and, for
    one variant per task, memory; what they do not know (memory of mixes, money) makes the next try smaller.
    """
    cores, mix = request.limits.cores, request.limits.max_allocations_per_task
    while cores >= 1.0:
        plans = plans_at(cores, mix)
        if plans is None:
            return None
        if fits(request, plans):
            return plans
        if mix > 1:
            mix = 1
            continue
        used = float(sum(plan.cores for plan in plans.values()))
        cores = min(used - 1.0, 0.9 * used)
    return None


def group_plans(groups: Mapping[str, Sequence[Group]]) -> dict[str, TaskPlan]:
    """Task plans, the groups with most traffic first."""
    plans: dict[str, TaskPlan] = {}
    for task, some in groups.items():
        total = sum(group.traffic for group in some)
        ordered = sorted(some, key=lambda g: (-g.traffic, g.host.variant))
        allocations = tuple(
            Allocation(g.host.variant, g.replicas, g.host.cores, g.host.threads, g.host.batch, share=g.traffic / total)
            for g in ordered
        )
        plans[task] = TaskPlan(task, allocations, resident=tuple(dict.fromkeys(a.variant for a in allocations)))
    return plans


def fastest_plan(request: PlanRequest, cores: Mapping[str, int], rates: Mapping[str, float]) -> dict[str, TaskPlan]:
    """For every task the variant of least latency with its smallest batch, in as many replicas as `rates` want.

    Raises:
        PlanRequestError: the limits leave no room for one replica of every task.
    """
    wanted = {}
    for task in request.pipeline.tasks:
        singles = [some[0] for some in hosts_of(request, task, cores, None).values()]
        best = min(singles, key=lambda h: (h.latency_s, h.variant))
        wanted[task] = (Fixed(best.variant, best.cores, best.threads, best.batch), ceil(rates[task] / best.rate))
    return fixed_plan(request, wanted)
