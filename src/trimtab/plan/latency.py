"""How long one group of equal replicas takes, by either latency model. Used for options and for the estimate of plans.

`paper`: service time of a full batch at the SLO's quantile, plus (b - 1)/λ for the batch to fill; stable while λ is at
most what the replicas serve. Nothing waits for a busy replica. Source: IPA, Journal of Systems Research 4(1), 2024.

`tail`: service quantile + formation + quantile of the wait for a busy replica, where batches of b are customers of a
GI/G/c queue (`queueing.ggc`) with arrival variability ca²/b. A dispatcher that starts whatever waits as soon as a slot
is free does no worse than one that fills batches of any b' up to the limit, so the best measured b' is taken. Quantiles
are summed, which overstates the sum's quantile unless the parts move together: the model errs on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.plan.model import LatencyModel
from trimtab.profile.model import VariantProfile
from trimtab.queueing.batch import batch_arrival_scv, formation_wait_first
from trimtab.queueing.ggc import ggc_waiting_quantile, scv_from_quantiles


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
class Conditions:
    """What a task meets, whichever option it takes."""

    rate: float
    """Items per second."""
    quantile: float
    arrival_scv: float
    model: LatencyModel


@dataclass(frozen=True, slots=True)
class GroupLatency:
    """What a group of replicas does under its conditions."""

    service_s: float
    waiting_s: float
    utilisation: float
    capacity: float
    """Items per second that it can serve at all."""

    @property
    def total_s(self) -> float:
        """Service and waiting."""
        return self.service_s + self.waiting_s


def batch_times(
    profile: VariantProfile, cores: int, threads: int, limit: int, quantile: float, ratio: float = 1.0
) -> tuple[tuple[BatchTime, ...], tuple[str, ...]]:
    """Times of the measured batch sizes up to `limit`, and of `limit`; and what had to be extrapolated, in words.

    Raises:
        KeyError: (cores, threads) was not measured.
    """
    sizes = sorted({*(b for b in profile.batches(cores, threads) if b <= limit), limit})
    times, notes = [], []
    for batch in sizes:
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


def group_latency(times: Sequence[BatchTime], servers: int, conditions: Conditions) -> GroupLatency:
    """What `servers` concurrent slots do with batches up to the last of `times`.

    Waiting is infinite where they cannot keep up (`tail`: utilisation ≥ 1; `paper`: > 1).
    """
    if conditions.model == "paper":
        return _paper(times[-1], servers, conditions)
    return prefix_latencies(times, servers, conditions)[-1]


def prefix_latencies(times: Sequence[BatchTime], servers: int, conditions: Conditions) -> list[GroupLatency]:
    """The `tail` model for each batch limit in `times`: item i may form the batches 0 … i."""
    best_service, best_waiting, capacity = math.inf, math.inf, 0.0
    results = []
    for time in times:
        waiting = (
            formation_wait_first(conditions.rate, time.batch)
            + ggc_waiting_quantile(
                conditions.rate / time.batch,
                time.mean_s,
                servers,
                conditions.quantile,
                batch_arrival_scv(conditions.arrival_scv, time.batch),
                time.scv,
            )
        )  # fmt: skip
        if time.quantile_s + waiting < best_service + best_waiting or math.isinf(best_service):
            best_service, best_waiting = time.quantile_s, waiting
        capacity = max(capacity, servers * time.batch / time.mean_s)
        results.append(GroupLatency(best_service, best_waiting, conditions.rate / capacity, capacity))
    return results


def _paper(time: BatchTime, servers: int, conditions: Conditions) -> GroupLatency:
    capacity = servers * time.batch / time.mean_s
    utilisation = conditions.rate / capacity
    # A tenth of a billionth: ⌈λ/h⌉·h may fall short of λ by rounding.
    waiting = formation_wait_first(conditions.rate, time.batch) if utilisation <= 1.0 + 1e-10 else math.inf
    return GroupLatency(time.quantile_s, waiting, utilisation, capacity)


def item_scv(arrival_scv: float, visits: float) -> float:
    """Variability of a task's items when each request brings `visits` of them at once: requests' scv × max(1, visits).

    The index of dispersion of a process whose every arrival brings k equal items is k times that of the arrivals.
    """
    return arrival_scv * max(1.0, visits)


def ratio_of(service_ratio: Mapping[str, float], task: str) -> float:
    """Measured ÷ profiled service time of a task; 1 where nothing was measured."""
    return service_ratio.get(task, 1.0)
