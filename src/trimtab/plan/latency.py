"""How long one group of equal replicas takes, and a whole path of tasks; by either latency model.

`paper`: service time of a full batch at the SLO's quantile, plus (b - 1)/λ for the batch to fill; stable while λ is at
most what the replicas serve. Nothing waits for a busy replica, and a path takes the sum. Source: IPA, Journal of
Systems Research 4(1), 2024.

`tail`: service, batch formation and the wait for a busy replica each have a mean and a *spread*, the distance from the
mean to the quantile. Batches of b are customers of a GI/G/c queue (`queueing.ggc`) with arrival variability ca²/b. A
dispatcher that starts whatever waits as soon as a slot is free does no worse than one that fills batches of any b' up
to the limit, so the best b' is taken. Quantiles do not add: of independent times the means add and the spreads add in
squares, exactly for normal times and on the safe side for times with a longer tail to the right. So a path takes

    Σ mean + √(Σ spread²)  =  min over v > 0 of  v/2 + Σ (mean + spread²/2v),

and for a fixed *yardstick* v that is a sum over the tasks. v is taken from `YARDSTICKS`, steps of 2^(2/3) from the SLO
downwards, which states the root at most 2.7 % of itself too large, or 1.3 % of the SLO where that is more.
`docs/design/latency.md` derives and tests this.

Where a profile has no service times for a number of cores but a capacity table, both models read that: requests are
served one by one, and the response time at any rate up to the table's is the table's. Source: InfAdapter, EuroMLSys
2023 (its th(n) and p(n)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from trimtab.compiled import kernel
from trimtab.plan.model import LatencyModel
from trimtab.profile.model import CapacityPoint, VariantProfile
from trimtab.queueing.batch import formation_wait_first
from trimtab.queueing.erlang import blocking_after, blocking_between
from trimtab.queueing.ggc import peakedness, scv_from_quantiles, waiting_mean_and_spread
from trimtab.spec.model import Pipeline

TOLERANCE = 1e-9
"""Relative rounding that a sum is forgiven when it is compared with its bound: latency with the SLO, load with what can
be served, cost with its limit."""
_STEP = 2.0 ** (2.0 / 3.0)
YARDSTICKS = (0.0, *(_STEP**-k for k in range(9)))
"""Values of v as shares of the SLO. 0 stands for the limit v → 0, where nothing may have a spread."""
LONE = 1e-9
"""Requests per second below which each is alone: nobody thinks of waiting for a second one."""
_LONGER = tuple(_STEP**k for k in range(1, 10))
"""Further ones, for latencies beyond the SLO; within it they are never the best."""


def is_within(value: float, bound: float) -> bool:
    """Whether `value` is at most `bound`, up to `TOLERANCE`."""
    return value <= bound * (1.0 + TOLERANCE)


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Service time of one batch at one shape, as corrected by what is measured live."""

    batch: int
    mean_s: float
    quantile_s: float
    """At the SLO's quantile."""
    scv: float
    """Squared coefficient of variation."""


@dataclass(frozen=True, slots=True)
class TableTime:
    """What one replica does by a capacity table, as corrected by what is measured live."""

    rate: float
    """Items per second that it serves within `latency_s`."""
    latency_s: float


Times = tuple[BatchTime, ...] | TableTime
"""How fast a group of replicas is: by batch size, ascending, or by a row of a capacity table."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Which part of a task's answers may be late so that the pipeline's quantile holds, as formulas want it.

    A request is as slow as the slowest of its items and of its branches, so with k items at a task and at most w tasks
    side by side, (1 - q)/(k·w) of the items may be late (G. Boole's inequality).
    """

    late: float
    normal: float
    """Standard deviations from the mean to the quantile of a normal law."""
    stretch: float
    """`normal` as a multiple of that of the SLO's own quantile, for which service times are known."""

    @classmethod
    def of(cls, quantile: float, visits: float = 1.0, width: int = 1) -> Tail:
        """For the SLO's quantile, the items per request and the tasks side by side."""
        late = (1.0 - quantile) / (max(1.0, visits) * width)
        own, normal = NormalDist().inv_cdf(quantile), NormalDist().inv_cdf(1.0 - late)
        return cls(late, max(normal, 0.0), normal / own if own > 0.1 else 1.0)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a group of replicas meets, whichever option it is."""

    rate: float
    """Items per second that the group gets."""
    tail: Tail
    arrival_scv: float
    model: LatencyModel
    formation_rate: float | None = None
    """Items per second that batches are formed from: the whole task's, since its groups share one queue. None: `rate`,
    of a group that is alone."""

    @property
    def filling(self) -> float:
        """Items per second that batches are formed from."""
        return self.rate if self.formation_rate is None else self.formation_rate


@dataclass(frozen=True, slots=True)
class GroupLatency:
    """What a group of replicas does under its conditions."""

    service_s: float
    """Service time at the quantile that the task has to keep."""
    mean_s: float
    """Mean time from arrival to answer; for `paper` and for a table all of the latency."""
    spread_s: float
    """From that mean to the quantile; 0 for `paper` and for a table."""
    utilisation: float
    capacity: float
    """Items per second that it can serve at all."""

    @property
    def total_s(self) -> float:
        """The latency of this task alone."""
        return self.mean_s + self.spread_s

    @property
    def waiting_s(self) -> float:
        """What is not service."""
        return max(0.0, self.total_s - self.service_s)


def width_of(pipeline: Pipeline) -> int:
    """The largest number of tasks none of which comes after another: how many run side by side at most.

    It is the number of tasks less a largest matching between tasks and tasks after them (R. P. Dilworth, Annals of
    Mathematics 51, 1950; D. R. Fulkerson, Proceedings of the AMS 7, 1956).
    """
    below: dict[str, set[str]] = {name: set() for name in pipeline.tasks}
    for name in reversed(list(pipeline.tasks)):
        for edge in pipeline.tasks[name].after:
            below[edge.upstream] |= {name} | below[name]
    taken: dict[str, str] = {}

    def match(task: str, tried: set[str]) -> bool:
        for later in sorted(below[task] - tried):
            tried.add(later)
            if later not in taken or match(taken[later], tried):
                taken[later] = task
                return True
        return False

    return len(pipeline.tasks) - sum(match(task, set()) for task in pipeline.tasks)


def path_latency(pipeline: Pipeline, terms: Mapping[str, tuple[float, float]]) -> float:
    """Latency of the pipeline in seconds: the longest path, by the best of the `YARDSTICKS`; infinite if a mean is.

    Args:
        pipeline: for its DAG and SLO.
        terms: task → (mean, spread), seconds; of a mix the larger ones of its groups.
    """
    if any(math.isinf(mean) for mean, _ in terms.values()):
        return math.inf
    best = math.inf
    for share in (*YARDSTICKS, *_LONGER):
        yardstick_s = share * pipeline.slo.latency_s
        done_s: dict[str, float] = {}
        for name, task in pipeline.tasks.items():
            mean, spread = terms[name]
            takes_s = with_spread(mean, spread * spread, yardstick_s)
            done_s[name] = takes_s + max((done_s[e.upstream] for e in task.after), default=0.0)
        best = min(best, yardstick_s / 2.0 + max(done_s.values()))
    return best


def with_spread(mean_s: float, spread2: float, yardstick_s: float) -> float:
    """What a task adds to a path's latency for the yardstick v, seconds: mean + spread²/2v."""
    if yardstick_s > 0.0:
        return mean_s + spread2 / (2.0 * yardstick_s)
    return mean_s if spread2 == 0.0 else math.inf


def table_row(profile: VariantProfile, cores: int, threads: int) -> CapacityPoint | None:
    """The row of the capacity table that says what such a replica does; None where measured points do, or nothing.

    The table speaks for one thread per inference, and for numbers of cores that no point has.
    """
    if threads != 1 or any(point.cores == cores for point in profile.points):
        return None
    return next((row for row in profile.capacity if row.cores == cores), None)


def known_shapes(profile: VariantProfile) -> tuple[tuple[int, int], ...]:
    """The (cores, threads) that points or the capacity table know, ascending."""
    rows = ((row.cores, 1) for row in profile.capacity if table_row(profile, row.cores, 1) is not None)
    return tuple(sorted({*profile.shapes(), *rows}))


def shape_rate(profile: VariantProfile, cores: int, threads: int, batch: int) -> float:
    """Items per second of one replica that never idles: concurrency · batch ÷ mean service time, or the table's rate.

    Raises:
        KeyError: the shape was not measured.
    """
    row = table_row(profile, cores, threads)
    if row is not None:
        return row.rate_rps
    return (cores // threads) * batch / profile.service_time(batch, cores, threads).seconds


def lone_time_s(profile: VariantProfile, cores: int, threads: int) -> float | None:
    """Mean time of one item alone, seconds, by points or table; None for a shape that neither knows."""
    row = table_row(profile, cores, threads)
    if row is not None:
        return row.latency_s
    return profile.service_time(1, cores, threads).seconds if (cores, threads) in profile.shapes() else None


def group_times(
    profile: VariantProfile, cores: int, threads: int, limit: int, quantile: float, ratio: float = 1.0
) -> tuple[Times, tuple[str, ...]]:
    """`batch_times` or the row of the capacity table, whichever applies; and what had to be extrapolated, in words.

    `ratio` multiplies times; a table's rate is divided by it.

    Raises:
        KeyError: neither points nor the table know (cores, threads), or batches are asked of the table.
    """
    row = table_row(profile, cores, threads)
    if row is None:
        return batch_times(profile, cores, threads, limit, quantile, ratio)
    if limit != 1:
        raise KeyError((cores, threads, limit))
    return TableTime(row.rate_rps / ratio, row.latency_s * ratio), ()


def batch_sizes(profile: VariantProfile, cores: int, threads: int, limit: int) -> tuple[int, ...]:
    """Batch sizes that a dispatcher with this limit may be thought to fill, ascending.

    Those measured, the powers of two between them, where service times are interpolated, and the limit itself.
    """
    measured = profile.batches(cores, threads)
    between = (2**k for k in range(limit.bit_length()) if min(measured) <= 2**k <= min(limit, max(measured)))
    return tuple(sorted({*(b for b in measured if b <= limit), *between, limit}))


def batch_times(
    profile: VariantProfile, cores: int, threads: int, limit: int, quantile: float, ratio: float = 1.0
) -> tuple[tuple[BatchTime, ...], tuple[str, ...]]:
    """Times of the `batch_sizes`; and what had to be extrapolated, in words.

    Raises:
        KeyError: (cores, threads) was not measured.
    """
    if (cores, threads) not in profile.shapes():
        raise KeyError((cores, threads))
    times, notes = [], []
    for batch in batch_sizes(profile, cores, threads, limit):
        mean = profile.service_time(batch, cores, threads)
        at_quantile = profile.service_time(batch, cores, threads, quantile)
        median = profile.service_time(batch, cores, threads, 0.5)
        p99 = profile.service_time(batch, cores, threads, 0.99)
        scv = scv_from_quantiles(mean.seconds, median.seconds, p99.seconds)
        times.append(BatchTime(batch, mean.seconds * ratio, at_quantile.seconds * ratio, scv))
        if mean.extrapolated:
            notes.append(f"{profile.task}/{profile.variant}: batch {batch} was not measured at {cores} cores")
        elif at_quantile.extrapolated:
            notes.append(f"{profile.task}/{profile.variant}: no service time kept above the quantile asked for")
    return tuple(times), tuple(dict.fromkeys(notes))


def times_latency(times: Times, replicas: int, slots: int, conditions: Conditions) -> GroupLatency:
    """What `replicas` replicas of `slots` concurrent slots each do, by points or table."""
    if isinstance(times, TableTime):
        return table_latency(times, replicas, conditions)
    return group_latency(times, replicas * slots, conditions)


def core_seconds(times: Times, cores: int, threads: int) -> float:
    """Core-seconds that one item takes in full batches; by a table, those of a replica at its full rate."""
    if isinstance(times, TableTime):
        return cores / times.rate
    return threads * times[-1].mean_s / times[-1].batch


def table_latency(row: TableTime, replicas: int, conditions: Conditions) -> GroupLatency:
    """What `replicas` replicas do by a capacity table: its latency up to the rate they serve, else no bound."""
    capacity = replicas * row.rate
    total = row.latency_s if is_within(conditions.rate, capacity) else math.inf
    return GroupLatency(row.latency_s, total, 0.0, conditions.rate / capacity, capacity)


def group_latency(times: Sequence[BatchTime], servers: int, conditions: Conditions) -> GroupLatency:
    """What `servers` concurrent slots do with batches up to the last of `times`.

    The mean is infinite where they cannot keep up (`tail`: utilisation ≥ 1; `paper`: > 1).
    """
    if conditions.model == "paper":
        return _paper(times[-1], servers, conditions)
    tail, best = conditions.tail, GroupLatency(math.inf, math.inf, 0.0, math.inf, 0.0)
    capacity = max(servers * time.batch / time.mean_s for time in times)
    for time in times:
        load = conditions.rate / time.batch * time.mean_s
        peaks = peakedness(conditions.arrival_scv / time.batch)
        below = int(servers / peaks)
        whole = blocking_after(1.0, 1, below, load / peaks)
        blocking = blocking_between(whole, below, servers / peaks, load / peaks)
        service_spread = max(0.0, time.quantile_s - time.mean_s) * tail.stretch
        mean_s, spread2 = batch_terms(
            blocking, load, servers, time.batch, time.mean_s, service_spread, time.scv,
            conditions.filling, conditions.arrival_scv, tail.late, tail.normal,
        )  # fmt: skip
        found = GroupLatency(
            time.mean_s + service_spread, mean_s, math.sqrt(spread2), conditions.rate / capacity, capacity
        )
        if found.total_s < best.total_s or math.isinf(best.service_s):
            best = found
    return best


@kernel()
def batch_terms(
    blocking: float,
    load: float,
    servers: int,
    batch: int,
    mean_s: float,
    service_spread_s: float,
    service_scv: float,
    filling: float,
    arrival_scv: float,
    late: float,
    normal: float,
) -> tuple[float, float]:
    """Mean and squared spread of the `tail` model for full batches of one size, seconds and seconds².

    The first item of a batch waits for b - 1 more arrivals: mean (b - 1)/λ, deviation √(ca²·(b - 1))/λ, thought normal.

    Args:
        blocking: Erlang B of `servers` and `load`, both divided by the peakedness.
        load: batches per second × mean service time.
        servers: concurrent slots.
        batch: items in a batch, b.
        mean_s: mean service time of the batch.
        service_spread_s: from there to the service time's quantile.
        service_scv: squared coefficient of variation of the service time.
        filling: items per second that fill batches, λ; up to `LONE` no batch is waited for.
        arrival_scv: squared coefficient of variation between items, ca².
        late: as `Tail`.
        normal: as `Tail`.
    """
    # Between full batches the variability is ca²/b: the sum of b independent times has b times the mean and variance.
    variability = (arrival_scv / batch + service_scv) / 2.0
    wait_s, wait_spread_s = waiting_mean_and_spread(blocking, load, servers, mean_s, variability, late)
    fill_s, fill_spread_s = 0.0, 0.0
    if filling > LONE:
        fill_s = (batch - 1) / filling
        fill_spread_s = normal * math.sqrt(arrival_scv * (batch - 1)) / filling
    return mean_s + fill_s + wait_s, service_spread_s**2 + fill_spread_s**2 + wait_spread_s**2


def _paper(time: BatchTime, servers: int, conditions: Conditions) -> GroupLatency:
    capacity = servers * time.batch / time.mean_s
    utilisation = conditions.rate / capacity
    # ⌈λ/h⌉·h may fall short of λ by rounding.
    waiting = formation_wait_first(conditions.filling, time.batch) if is_within(utilisation, 1.0) else math.inf
    return GroupLatency(time.quantile_s, time.quantile_s + waiting, 0.0, utilisation, capacity)


def item_scv(arrival_scv: float, visits: float) -> float:
    """Variability of a task's items when each request brings `visits` of them at once: requests' scv × max(1, visits).

    The index of dispersion of a process whose every arrival brings k equal items is k times that of the arrivals.
    """
    return arrival_scv * max(1.0, visits)


def ratio_of(service_ratio: Mapping[str, float], task: str) -> float:
    """Measured ÷ profiled service time of a task; 1 where nothing was measured."""
    return service_ratio.get(task, 1.0)
