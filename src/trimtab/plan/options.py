"""What a task could get: every (variant, cores, threads, batch, replicas) that the profile has measured and that helps.

Only measured shapes and batch sizes are offered. Replicas run from the fewest that keep up to the number beyond which
no request waits at the SLO's quantile, for more would cost and change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from trimtab.errors import PlanRequestError
from trimtab.plan.latency import (
    BatchTime,
    Conditions,
    GroupLatency,
    batch_times,
    group_latency,
    item_scv,
    prefix_latencies,
    ratio_of,
)
from trimtab.plan.model import Allocation, LatencyModel, PlanRequest
from trimtab.profile.model import VariantProfile


@dataclass(frozen=True, slots=True)
class Option:
    """One way to do one task, and what it takes."""

    allocation: Allocation
    accuracy: float
    latency_s: float
    memory_bytes: int
    """Of the allocated variant in all replicas; 0 where the profile does not know."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a policy lets options be."""

    latency_model: LatencyModel
    utilisation_cap: float = 1.0
    """Largest share of a task's capacity that may be planned to be used."""
    variants: Mapping[str, Collection[str]] | None = None
    """Task → variants to choose from; None: all."""
    one_shape: bool = False
    """Each variant only at the smallest measured replica whose lone request fits the SLO (IPA's base allocation)."""


def options(request: PlanRequest, task: str, rate_rps: float, rules: Rules) -> tuple[Option, ...]:
    """The options of `task` at `rate_rps` requests per second at the gateway, in an order that names decide.

    Empty when nothing within the limits keeps up.
    """
    visits = request.pipeline.visits()[task]
    conditions = Conditions(
        rate=rate_rps * visits,
        quantile=request.pipeline.slo.quantile,
        arrival_scv=item_scv(request.arrival_scv, visits),
        model=rules.latency_model,
    )
    found: list[Option] = []
    for variant in sorted(candidates(request, task, rules)):
        profile = request.profile.variants[task][variant]
        accuracy = request.pipeline.tasks[task].variants[variant].accuracy
        for cores, threads in _shapes(profile, request, rules):
            times, _ = batch_times(
                profile,
                cores,
                threads,
                max(profile.batches(cores, threads)),
                conditions.quantile,
                ratio_of(request.service_ratio, task),
            )
            for replicas, batch, latency in _groups(times, cores, threads, request, rules, conditions):
                found.append(
                    Option(
                        allocation=Allocation(variant, replicas, cores, threads, batch),
                        accuracy=accuracy,
                        latency_s=latency.total_s,
                        memory_bytes=replicas * (profile.memory_bytes or 0),
                    )
                )
    return tuple(found)


def candidates(request: PlanRequest, task: str, rules: Rules) -> tuple[str, ...]:
    """Variants of the task that were measured in some shape that fits the core limit, and that the rules allow.

    Raises:
        PlanRequestError: there is none, so that no plan can exist at any rate.
    """
    allowed = None if rules.variants is None else rules.variants.get(task)
    known = request.profile.variants.get(task, {})
    measured = [v for v in request.pipeline.tasks[task].variants if v in known and known[v].points]
    if not measured:
        raise PlanRequestError(
            "no variant of this task was measured",
            where=f"task {task}",
            next_step="measure the pipeline with `trimtab profile`, or write its profile into the file",
        )
    fitting = [v for v in measured if min(c for c, _ in known[v].shapes()) <= request.limits.cores]
    if not fitting:
        raise PlanRequestError(
            "no measured shape of this task fits the core limit",
            where=f"task {task}",
            got=f"{request.limits.cores:g} cores",
            wanted=f"at least {min(c for v in measured for c, _ in known[v].shapes())}",
            next_step="raise the budget, or measure smaller replicas",
        )
    chosen = tuple(v for v in fitting if allowed is None or v in allowed)
    if not chosen:
        raise PlanRequestError(
            "none of the variants that the policy allows was measured in a shape that fits",
            where=f"task {task}",
            got=", ".join(sorted(allowed or ())),
            wanted=f"one of {', '.join(fitting)}",
        )
    return chosen


def _shapes(profile: VariantProfile, request: PlanRequest, rules: Rules) -> list[tuple[int, int]]:
    """The (cores, threads) to consider, ascending."""
    shapes = [shape for shape in profile.shapes() if shape[0] <= request.limits.cores]
    if not rules.one_shape:
        return shapes
    slo = request.pipeline.slo
    fitting = [
        (cores, threads)
        for cores, threads in shapes
        if profile.service_time(1, cores, threads, slo.quantile).seconds <= slo.latency_s
    ] or shapes
    cores = min(c for c, _ in fitting)
    return [(cores, max(t for c, t in fitting if c == cores))]


def _groups(
    times: tuple[BatchTime, ...],
    cores: int,
    threads: int,
    request: PlanRequest,
    rules: Rules,
    conditions: Conditions,
) -> list[tuple[int, int, GroupLatency]]:
    """(replicas, batch limit, what they do) for every number of replicas and batch limit worth a thought."""
    slots = cores // threads
    most = min(request.limits.replicas_per_task, int(request.limits.cores // cores))
    groups = []
    if rules.latency_model == "paper":
        # Latency does not depend on replicas, so the fewest that keep up are best: n = ⌈λ / h⌉.
        for time in times:
            for replicas in range(1, most + 1):
                latency = group_latency((time,), replicas * slots, conditions)
                if latency.utilisation <= rules.utilisation_cap + 1e-10:
                    groups.append((replicas, time.batch, latency))
                    break
        return groups
    for replicas in range(1, most + 1):
        latencies = prefix_latencies(times, replicas * slots, conditions)
        groups += [
            (replicas, time.batch, latency)
            for time, latency in zip(times, latencies, strict=True)
            if latency.utilisation <= rules.utilisation_cap
        ]
        if latencies[0].utilisation <= rules.utilisation_cap and not any(latency.waiting_s for latency in latencies):
            break
    return groups
