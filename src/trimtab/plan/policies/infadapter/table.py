"""InfAdapter's capacity table: what a replica of each variant is planned to carry, by its number of cores.

    th(n) = ⌊0.8 · (slope · n + i)⌋,  i = the intercept, at most 0.99, without its fraction

with a least-squares line through the capacities at 1, 2, 4, 8 and 16 cores. A capacity is the largest rate that a
replica served within the SLO. Source: Salmani et al., EuroMLSys 2023, and the program published with it.

Ours: a size must have been measured, within the SLO, for a plan is judged by what was measured. A profile of service
times instead of a capacity table gives, for lack of measured rates, cores ÷ threads ÷ the mean time of one request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.errors import PlanRequestError
from trimtab.plan.latency import is_within
from trimtab.plan.model import Allocation, PlanRequest
from trimtab.plan.policies.infadapter.settings import InfAdapterSettings
from trimtab.plan.prices import allocation_cost_per_hour
from trimtab.profile.model import VariantProfile

_ROUNDING = 1e-9
"""What a rate is forgiven before it is rounded down."""
_MOST_INTERCEPT = 0.99


@dataclass(frozen=True, slots=True)
class Size:
    """One replica of a variant, serving one request at a time on each of its threads' slots."""

    cores: int
    threads: int
    rate_rps: float
    """th: what it is planned to carry; a whole number."""
    money_per_hour: float
    """0 where nothing has a price."""


@dataclass(frozen=True, slots=True)
class VariantSizes:
    """What one variant may be given."""

    variant: str
    accuracy: float
    load_s: float
    """0 where it is not known."""
    memory_bytes: int
    """0 where it is not known."""
    sizes: tuple[Size, ...]
    """Ascending in cores, within the limits; may be empty."""


@dataclass(frozen=True, slots=True)
class _Capacity:
    """What one replica was measured to do, one request at a time."""

    threads: int
    rate_rps: float
    latency_s: float


def capacity_table(
    request: PlanRequest, task: str, settings: InfAdapterSettings
) -> tuple[tuple[VariantSizes, ...], tuple[str, ...]]:
    """The measured variants of the task, the most accurate first, and what has to be said of them.

    Sizes are within the SLO; if none is, the SLO is not asked for, so that there is something to be judged.

    Raises:
        PlanRequestError: nothing of the task was measured, or no size is within the limits and planned to carry 1/s.
    """
    table, notes = _table(request, task, settings, request.pipeline.slo.latency_s)
    if not any(entry.sizes for entry in table):
        table, notes = _table(request, task, settings, math.inf)
        notes.append(f"{task}: no replica that may be used is within the SLO, so none is left out for it")
    if not any(entry.sizes for entry in table):
        raise PlanRequestError(
            "no variant of this task was measured to carry one request per second in a size that may be used",
            where=f"task {task}",
            got=f"{request.limits.cores:g} cores",
            wanted=f"a replica of {settings.min_cores} cores or more",
            next_step="raise the budget, lower the policy's min_cores, or measure with `trimtab profile`",
        )
    return tuple(table), tuple(notes)


def _table(
    request: PlanRequest, task: str, settings: InfAdapterSettings, slo_s: float
) -> tuple[list[VariantSizes], list[str]]:
    table, notes = list[VariantSizes](), list[str]()
    profiles = request.profile.variants.get(task, {})
    for variant in request.pipeline.tasks[task].by_accuracy():
        profile = profiles.get(variant.name)
        if profile is None:
            continue
        capacities = _capacities(profile, request)
        rates, words = planned_rates({n: c.rate_rps for n, c in capacities.items()}, settings)
        notes += [f"{task}/{variant.name}: {text}" for text in (*words, *_unknown(profile))]
        sizes = tuple(
            Size(n, capacity.threads, rates[n], money)
            for n, capacity in capacities.items()
            if settings.min_cores <= n <= request.limits.cores
            and rates[n] > 0.0
            and is_within(capacity.latency_s, slo_s)
            and (money := _money_per_hour(request, profile, n, capacity)) is not None
        )
        table.append(
            VariantSizes(variant.name, variant.accuracy, profile.load_time_s or 0.0, profile.memory_bytes or 0, sizes)
        )
    return table, notes


def planned_rates(
    capacities: Mapping[int, float], settings: InfAdapterSettings
) -> tuple[dict[int, float], tuple[str, ...]]:
    """Cores → th, requests per second, for measured capacities by cores; and how it came about if not as published."""
    factor, words = settings.capacity_factor, ()
    if settings.capacity == "measured":
        return {n: math.floor(factor * rate + _ROUNDING) for n, rate in capacities.items()}, words
    fitted = [n for n in settings.fit_cores if n in capacities]
    if len(fitted) < 2:
        fitted = list(capacities)
    if len(fitted) < 2:
        note = f"measured on {fitted[0]} cores only, so no line is fitted" if fitted else "no capacity was measured"
        return {n: math.floor(factor * rate + _ROUNDING) for n, rate in capacities.items()}, (note,)
    slope, intercept = fit_line(fitted, [capacities[n] for n in fitted])
    return {n: max(0.0, math.floor(factor * (slope * n + intercept) + _ROUNDING)) for n in capacities}, words


def fit_line(cores: Sequence[int], rates: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept of the least-squares line, the intercept as published: at most 0.99, without its fraction."""
    x, y = np.array(cores, dtype=np.float64), np.array(rates, dtype=np.float64)
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return slope, float(math.trunc(min(float(y.mean()) - slope * float(x.mean()), _MOST_INTERCEPT)))


def _capacities(profile: VariantProfile, request: PlanRequest) -> dict[int, _Capacity]:
    """Cores, ascending, → what a replica does; of several numbers of threads, those that serve most within the SLO.

    As everywhere, the capacity table speaks for one thread per inference and for numbers of cores that no point has.
    """
    slo = request.pipeline.slo
    found: dict[int, _Capacity] = {}
    for cores, threads in profile.shapes():
        mean_s = profile.service_time(1, cores, threads).seconds
        quantile_s = profile.service_time(1, cores, threads, slo.quantile).seconds
        made = _Capacity(threads, (cores // threads) / mean_s, quantile_s)
        if cores not in found or _rank(made, slo.latency_s) > _rank(found[cores], slo.latency_s):
            found[cores] = made
    rows = {row.cores: _Capacity(1, row.rate_rps, row.latency_s) for row in profile.capacity}
    return dict(sorted({**rows, **found}.items()))


def _rank(capacity: _Capacity, slo_s: float) -> tuple[bool, float]:
    return is_within(capacity.latency_s, slo_s), capacity.rate_rps


def _unknown(profile: VariantProfile) -> list[str]:
    words = []
    if profile.points:
        words.append("capacity taken from service times, one request at a time")
    if profile.load_time_s is None:
        words.append("load time not known, counted as nothing")
    return words


def _money_per_hour(request: PlanRequest, profile: VariantProfile, cores: int, capacity: _Capacity) -> float | None:
    """Price of such a replica at its full rate; 0 where nothing has a price, None where nothing runs it."""
    if not request.pipeline.prices.known:
        return 0.0
    replica = Allocation(profile.variant, 1, cores, capacity.threads, 1)
    core_s = cores / capacity.rate_rps
    try:
        return allocation_cost_per_hour(
            request.pipeline.prices, replica, profile.memory_bytes or 0, capacity.rate_rps, core_s
        )
    except PlanRequestError:
        return None
