"""What policies that hold variant, shape and batch fixed have in common: one replica of every task, and room for more.

The variant is the one that the settings name, or the most or least accurate one that was measured within the core
limit. The cores of a replica are those that the settings name. Where they name none, they are the fewest measured ones
on which a full batch (by default one request) takes, alone and at the SLO's quantile, at most half of the task's part
of the SLO; where no shape is so fast, they are those of the fastest shape. Half is the rule of Loki (HPDC 2024) and
Proteus (ASPLOS 2024), which leaves the other half to waiting. The latency of a capacity table has waiting in it, and
may take all of the part. Of several numbers of threads that are fast enough, the one that serves most counts.

A task's part of the SLO is in proportion to its time on its fastest shape: SLO · f(t) ÷ the longest path of f through
t. Along every path the parts sum to at most the SLO.

`policies.fixed_limits` says what is held where the limits leave less than a policy wants.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from trimtab.errors import PlanRequestError
from trimtab.plan.latency import is_within, known_shapes, shape_rate, table_row
from trimtab.plan.model import PlanRequest
from trimtab.plan.policies.fixed_limits import Fixed, cut_words, fixed_plan
from trimtab.profile.model import Profile, VariantProfile
from trimtab.spec.model import Pipeline

__all__ = [
    "Fixed",
    "FixedSettings",
    "batch_time_s",
    "ceil",
    "cut_words",
    "fixed_choice",
    "fixed_plan",
    "fixed_sizes",
    "measured_shapes",
    "needed_s",
    "remembered",
    "replica_rate",
    "replicas_for",
    "shape_rate",
    "slo_parts",
]

T = TypeVar("T")
_ROUNDING = 1e-9
"""Relative rounding that a number of replicas is forgiven."""


@dataclass(frozen=True, slots=True)
class FixedSettings:
    """What is held fixed."""

    pin: Literal["least-accurate", "most-accurate"] = "most-accurate"
    """Which variant a task has, where `variants` says nothing of it."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """Task → its variant."""
    cores: Mapping[str, int] = field(default_factory=dict)
    """Task → cores of one replica; a task that is not named gets them by the rule above."""
    batch: int = 1
    """Largest batch, of every task."""
    slo_share: float = 0.5
    """The part of a task's share of the SLO that a batch alone may take, where `cores` says nothing of the task."""

    def __post_init__(self) -> None:
        if self.pin not in ("least-accurate", "most-accurate"):
            raise ValueError(f"pin is '{self.pin}', wanted 'least-accurate' or 'most-accurate'")
        for task, count in self.cores.items():
            if count < 1:
                raise ValueError(f"cores of {task} are {count}, wanted at least 1")
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}, wanted at least 1")
        if not 0.0 < self.slo_share <= 1.0:
            raise ValueError(f"slo_share is {self.slo_share}, wanted a number above 0 and up to 1")


def fixed_choice(request: PlanRequest, task: str, settings: FixedSettings) -> Fixed:
    """The replica that the settings fix for `task`; the module says by which rule.

    Raises:
        PlanRequestError: the settings name a task or variant that the pipeline lacks, or a variant or number of cores
            that was not measured within the core limit; or nothing was measured that could be taken.
    """
    return remembered(request, settings, ("choice", task), lambda: _choice(request, task, settings))


def _choice(request: PlanRequest, task: str, settings: FixedSettings) -> Fixed:
    sizes = fixed_sizes(request, task, settings)
    if task in settings.cores:
        chosen = [size for size in sizes if size.cores == settings.cores[task]]
        if not chosen:
            raise PlanRequestError(
                "the cores that the policy's settings fix were not measured, or exceed the core limit",
                where=f"task {task}, variant {sizes[0].variant}",
                got=f"{settings.cores[task]} cores",
                wanted=f"one of {', '.join(str(size.cores) for size in sizes)}",
            )
        return chosen[0]
    part_s = slo_parts(request, settings)[task]
    needed = {size: needed_s(request, task, size, settings) for size in sizes}
    fitting = [size for size in sizes if is_within(needed[size], part_s)]
    return fitting[0] if fitting else min(sizes, key=lambda size: (needed[size], size.cores))


def fixed_sizes(request: PlanRequest, task: str, settings: FixedSettings) -> tuple[Fixed, ...]:
    """The fixed variant on each number of cores that was measured, ascending; the threads by the module's rule.

    Raises:
        PlanRequestError: as `fixed_choice`, but for the number of cores.
    """
    return remembered(request, settings, ("sizes", task), lambda: _sizes(request, task, settings))


def _sizes(request: PlanRequest, task: str, settings: FixedSettings) -> tuple[Fixed, ...]:
    _check_names(request.pipeline, settings)
    variant, shapes = _variant(request, task, settings)
    profile = request.profile.variants[task][variant]
    part_s = slo_parts(request, settings)[task]
    sizes = []
    for cores in sorted({cores for cores, _ in shapes}):
        kinds = [Fixed(variant, cores, threads, settings.batch) for each, threads in shapes if each == cores]
        needed = {kind: needed_s(request, task, kind, settings) for kind in kinds}
        fitting = [kind for kind in kinds if is_within(needed[kind], part_s)]
        if fitting:
            best = max(fitting, key=lambda k: (shape_rate(profile, k.cores, k.threads, k.batch), -k.threads))
        else:
            best = min(kinds, key=lambda kind: (needed[kind], kind.threads))
        sizes.append(best)
    return tuple(sizes)


def needed_s(request: PlanRequest, task: str, fixed: Fixed, settings: FixedSettings) -> float:
    """The part of the SLO that a full batch needs, seconds: its time at the SLO's quantile ÷ `slo_share`.

    A capacity table's latency has waiting in it, and is needed as it is.

    Raises:
        KeyError: the shape was not measured.
    """
    profile, quantile = request.profile.variants[task][fixed.variant], request.pipeline.slo.quantile
    alone_s = batch_time_s(profile, fixed.cores, fixed.threads, fixed.batch, quantile)
    return alone_s / (1.0 if table_row(profile, fixed.cores, fixed.threads) else settings.slo_share)


def slo_parts(request: PlanRequest, settings: FixedSettings) -> dict[str, float]:
    """Task → its part of the SLO, seconds, in proportion to its fixed variant's time on its fastest shape.

    Raises:
        PlanRequestError: as `fixed_choice`.
    """
    return dict(remembered(request, settings, ("parts", ""), lambda: _parts(request, settings)))


def _parts(request: PlanRequest, settings: FixedSettings) -> dict[str, float]:
    pipeline, quickest_s = request.pipeline, dict[str, float]()
    for task in pipeline.tasks:
        variant, shapes = _variant(request, task, settings)
        profile = request.profile.variants[task][variant]
        quickest_s[task] = min(batch_time_s(profile, *s, settings.batch, pipeline.slo.quantile) for s in shapes)
    until: dict[str, float] = {}
    for task, spec in pipeline.tasks.items():
        until[task] = quickest_s[task] + max((until[e.upstream] for e in spec.after), default=0.0)
    after: dict[str, float] = {}
    for task in reversed(list(pipeline.tasks)):
        after[task] = max((after[later] + quickest_s[later] for later in pipeline.downstream(task)), default=0.0)
    return {t: pipeline.slo.latency_s * quickest_s[t] / (until[t] + after[t]) for t in pipeline.tasks}


_Asked = tuple[Pipeline, Profile, float, FixedSettings, dict[tuple[str, str], Any]]
_recent: deque[_Asked] = deque(maxlen=8)
"""What was worked out for the questions asked last: a control loop asks about one pipeline again and again."""


def remembered(request: PlanRequest, settings: FixedSettings, key: tuple[str, str], make: Callable[[], T]) -> T:
    """What `make` gives, worked out once for this very pipeline and profile, the core limit and these settings.

    Args:
        request: the question; `make` may depend on nothing else of it.
        settings: of the policy.
        key: what is asked, and of which task.
        make: works it out.
    """
    pipeline, profile, cores = request.pipeline, request.profile, request.limits.cores
    for asked in list(_recent):
        if asked[0] is pipeline and asked[1] is profile and asked[2:4] == (cores, settings):
            known = asked[4]
            break
    else:
        known = {}
        _recent.append((pipeline, profile, cores, settings, known))
    if key not in known:
        known[key] = make()
    found: T = known[key]
    return found


def measured_shapes(request: PlanRequest, task: str, variant: str, batch: int = 1) -> tuple[tuple[int, int], ...]:
    """The (cores, threads) within the core limit that serve batches of `batch`, ascending; none if not measured.

    A capacity table knows no batches.
    """
    profile = request.profile.variants.get(task, {}).get(variant)
    if profile is None:
        return ()
    return tuple(
        shape
        for shape in known_shapes(profile)
        if shape[0] <= request.limits.cores and (batch == 1 or table_row(profile, *shape) is None)
    )


def batch_time_s(profile: VariantProfile, cores: int, threads: int, batch: int, quantile: float | None = None) -> float:
    """Service time of a batch, seconds: the mean, or at a quantile; by a capacity table its latency.

    Raises:
        KeyError: the shape was not measured.
    """
    row = table_row(profile, cores, threads)
    return profile.service_time(batch, cores, threads, quantile).seconds if row is None else row.latency_s


def replica_rate(request: PlanRequest, task: str, fixed: Fixed) -> float:
    """Items per second of one replica of `task`, as profiled; see `shape_rate`."""
    return shape_rate(request.profile.variants[task][fixed.variant], fixed.cores, fixed.threads, fixed.batch)


def replicas_for(request: PlanRequest, task: str, fixed: Fixed, utilisation: float = 1.0) -> int:
    """The fewest replicas that serve the task's items, rate · visits, at up to this utilisation; at least 1."""
    items = request.rate_rps * request.pipeline.visits()[task]
    return max(1, ceil(items / (utilisation * replica_rate(request, task, fixed))))


def ceil(value: float) -> int:
    """The next whole number, forgiving rounding."""
    return math.ceil(value * (1.0 - _ROUNDING))


def _variant(request: PlanRequest, task: str, settings: FixedSettings) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The variant of a task and the shapes that it may take, at least one."""
    by_accuracy = [v.name for v in request.pipeline.tasks[task].by_accuracy()]
    shapes = {name: measured_shapes(request, task, name, settings.batch) for name in by_accuracy}
    usable = [name for name in by_accuracy if shapes[name]]
    wanted = settings.variants.get(task)
    if not usable or (wanted is not None and wanted not in usable):
        batches = f", for batches of {settings.batch}" if settings.batch > 1 else ""
        raise PlanRequestError(
            f"the variant was not measured in a shape within the core limit{batches}"
            if wanted
            else f"no variant of this task was measured in a shape within the core limit{batches}",
            where=f"task {task}",
            got=f"{wanted}, {request.limits.cores:g} cores" if wanted else f"{request.limits.cores:g} cores",
            wanted=f"one of {', '.join(usable)}" if usable else None,
            next_step="measure the pipeline with `trimtab profile`, or raise the budget",
        )
    name = wanted or usable[0 if settings.pin == "most-accurate" else -1]
    return name, shapes[name]


def _check_names(pipeline: Pipeline, settings: FixedSettings) -> None:
    """Raise PlanRequestError where the settings name a task or a variant that the pipeline lacks."""
    for task in (*settings.variants, *settings.cores):
        if task not in pipeline.tasks:
            raise PlanRequestError(
                "the policy's settings name a task that the pipeline lacks",
                where=f"pipeline {pipeline.name}",
                got=task,
                wanted=f"one of {', '.join(pipeline.tasks)}",
            )
    for task, variant in settings.variants.items():
        if variant not in pipeline.tasks[task].variants:
            raise PlanRequestError(
                "the policy's settings name a variant that the task lacks",
                where=f"task {task}",
                got=variant,
                wanted=f"one of {', '.join(pipeline.tasks[task].variants)}",
            )
