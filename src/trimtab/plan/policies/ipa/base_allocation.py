"""IPA's base allocation: for every variant, once and for all rates, the cores of one replica.

Source: Ghafouri et al., "IPA", Journal of Systems Research 4(1), 2024, and the program published with it. A replica
passes with a batch where it serves at least `threshold_rps` and the batch takes at most the task's SLA.

`paper`: the smallest measured replica that passes with some batch that IPA may choose.

`as-coded`: a pointer over the task's core counts that never goes back. Variants are taken from the least accurate to
the most accurate. The first gets the fewest cores that pass with any measured batch. Each next one starts where the one
before it ended, moves up by one where that passes with more batches, and on until some batch passes.

Where nothing passes, the published program stops with an error. Here the variant gets its smallest measured replica and
a note says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.errors import PlanRequestError
from trimtab.plan.latency import known_shapes, table_row
from trimtab.plan.model import PlanRequest
from trimtab.plan.policies.ipa.settings import IpaSettings
from trimtab.profile.model import VariantProfile
from trimtab.units import format_duration


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """What one replica does with batches of `batch`, margins included."""

    batch: int
    latency_s: float
    """l(b), at the SLO's quantile."""
    rate_rps: float
    """h(b), items per second."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of one variant."""

    cores: int
    threads: int
    points: tuple[BatchPoint, ...]
    """By batch, ascending."""


Replicas = Mapping[str, Mapping[str, Replica]]
"""Task → variant → its base allocation; variants from the least accurate to the most accurate."""


def base_allocations(request: PlanRequest, settings: IpaSettings) -> tuple[Replicas, tuple[str, ...]]:
    """The base allocation of every measured variant, and where the rule found none, in words.

    Raises:
        PlanRequestError: nothing of a task was measured within the core limit, or `base_cores` names what is not known.
    """
    _check_names(request, settings)
    chosen: dict[str, dict[str, Replica]] = {}
    notes: list[str] = []
    for task in request.pipeline.tasks:
        measured = _measured(request, task, settings)
        sla_s = task_sla_s(request, measured, settings)
        picked = (
            _walk(measured, sla_s, settings) if settings.form == "as-coded" else _smallest(measured, sla_s, settings)
        )
        chosen[task] = {}
        for variant, sizes in measured.items():
            cores = settings.base_cores.get(task, {}).get(variant, picked[variant])
            if cores is None:
                cores = min(sizes)
                notes.append(
                    f"no measured replica of {task}/{variant} serves {settings.threshold_rps:g}/s within "
                    f"{format_duration(sla_s)}: its base allocation is the smallest, {cores} cores"
                )
            if cores not in sizes:
                raise PlanRequestError(
                    "the base allocation was not measured, or exceeds the core limit",
                    where=f"base_cores, task {task}, variant {variant}",
                    got=f"{cores} cores",
                    wanted=f"one of {', '.join(map(str, sizes))}",
                )
            chosen[task][variant] = sizes[cores]
    return chosen, tuple(notes)


def task_sla_s(request: PlanRequest, measured: Mapping[str, Mapping[int, Replica]], settings: IpaSettings) -> float:
    """The SLA that a task's replicas are held to, seconds; see `IpaSettings.sla_factor`."""
    if settings.sla_factor is None:
        return request.pipeline.slo.latency_s
    lone = [sizes[max(sizes)].points[0].latency_s for sizes in measured.values()]
    return settings.sla_factor * sum(lone) / len(lone)


def _measured(request: PlanRequest, task: str, settings: IpaSettings) -> dict[str, dict[int, Replica]]:
    """Variant, from the least accurate, → cores, ascending → the replica, all of its cores on as few batches as can be.

    Raises:
        PlanRequestError: there is nothing.
    """
    profiles = request.profile.variants.get(task, {})
    found: dict[str, dict[int, Replica]] = {}
    for variant in reversed(request.pipeline.tasks[task].by_accuracy()):
        shapes = known_shapes(profiles[variant.name]) if variant.name in profiles else ()
        threads = {cores: threads for cores, threads in shapes if cores <= request.limits.cores}
        if threads:
            found[variant.name] = {
                cores: _replica(profiles[variant.name], cores, threads[cores], request.pipeline.slo.quantile, settings)
                for cores in threads
            }
    if not found:
        raise PlanRequestError(
            "no variant of this task was measured in a shape within the core limit",
            where=f"task {task}",
            got=f"{request.limits.cores:g} cores",
            next_step="measure the pipeline with `trimtab profile`, or raise the budget",
        )
    return found


def _replica(profile: VariantProfile, cores: int, threads: int, quantile: float, settings: IpaSettings) -> Replica:
    slower, faster = 1.0 + settings.latency_margin, 1.0 + settings.throughput_margin
    row = table_row(profile, cores, threads)
    if row is not None:
        return Replica(cores, threads, (BatchPoint(1, row.latency_s * slower, row.rate_rps * faster),))
    points = []
    for batch in profile.batches(cores, threads):
        latency_s = profile.service_time(batch, cores, threads, quantile).seconds
        rate = (cores // threads) * batch / profile.service_time(batch, cores, threads).seconds
        points.append(BatchPoint(batch, latency_s * slower, rate * faster))
    return Replica(cores, threads, tuple(points))


def _passing(replica: Replica | None, sla_s: float, settings: IpaSettings, cap: int | None = None) -> int:
    """Number of batches, up to `cap`, with which the replica passes; 0 for a replica that was not measured."""
    points = replica.points if replica else ()
    return sum(
        p.rate_rps >= settings.threshold_rps and p.latency_s <= sla_s for p in points if cap is None or p.batch <= cap
    )


def _smallest(
    measured: Mapping[str, Mapping[int, Replica]], sla_s: float, settings: IpaSettings
) -> dict[str, int | None]:
    """Variant → fewest cores that pass with a batch within the cap; None where none does."""
    return {
        variant: next((c for c in sizes if _passing(sizes[c], sla_s, settings, settings.batching_cap)), None)
        for variant, sizes in measured.items()
    }


def _walk(measured: Mapping[str, Mapping[int, Replica]], sla_s: float, settings: IpaSettings) -> dict[str, int | None]:
    """Variant → cores by the pointer that never goes back; None where it runs out of core counts."""
    levels = sorted({cores for sizes in measured.values() for cores in sizes})
    picked: dict[str, int | None] = {}
    start: int | None = None
    for variant, sizes in measured.items():
        passing = [_passing(sizes.get(cores), sla_s, settings) for cores in levels]
        at = start or 0
        if start is not None and at + 1 < len(levels) and passing[at + 1] > passing[at]:
            at += 1
        while at < len(levels) and not passing[at]:
            at += 1
        picked[variant] = levels[at] if at < len(levels) else None
        start = at if at < len(levels) else start
    return picked


def _check_names(request: PlanRequest, settings: IpaSettings) -> None:
    """Raise PlanRequestError where the settings name a task or a variant that the pipeline lacks."""
    tasks = request.pipeline.tasks
    pinned = settings.replicas if isinstance(settings.replicas, Mapping) else {}
    for task in (*settings.variants, *settings.base_cores, *pinned):
        if task not in tasks:
            raise PlanRequestError(
                "the policy's settings name a task that the pipeline lacks",
                where=f"pipeline {request.pipeline.name}",
                got=task,
                wanted=f"one of {', '.join(tasks)}",
            )
    named = [(task, variant) for task, variant in settings.variants.items()]
    named += [(task, variant) for task, variants in settings.base_cores.items() for variant in variants]
    for task, variant in named:
        if variant not in tasks[task].variants:
            raise PlanRequestError(
                "the policy's settings name a variant that the task lacks",
                where=f"task {task}",
                got=variant,
                wanted=f"one of {', '.join(tasks[task].variants)}",
            )
