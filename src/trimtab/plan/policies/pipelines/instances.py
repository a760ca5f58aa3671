"""What one replica of a variant does by cores and batch size, as profiled or by the fit that Sponge and Themis use.

    l(b, c) = g·b/c + d·b + e/c + h

with b the batch and c the cores that one inference uses: g is work that cores share, d work that they do not, e and h
the same for what a batch costs whatever its size (Sponge, EuroMLSys 2024; Themis, arXiv 2407.14843: both fit it to
measured latencies). Here it is the least-squares fit to the profile's service times at the SLO's quantile, over all
measured batches and numbers of threads. Where the profile has too few different points, the fit of least norm is taken;
it goes through what there is. A capacity table knows no service times: its rates and latencies are read as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.plan.latency import table_row
from trimtab.plan.model import PlanRequest
from trimtab.profile.model import VariantProfile

_LEAST_S = 1e-6
"""A fit that says less than this, or below 0, says this."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One replica in one shape with batches of one size."""

    cores: int
    threads: int
    batch: int
    latency_s: float
    """l: of one batch, at the SLO's quantile."""
    rate: float
    """h: items per second, slots · b / l; by a capacity table the table's rate."""
    by_table: bool = False
    """Whether `latency_s` is a capacity table's, which holds waiting too."""


@dataclass(frozen=True, slots=True)
class LatencyFit:
    """l(b, c), seconds."""

    g: float
    d: float
    e: float
    h: float

    def seconds(self, batch: int, threads: int) -> float:
        """l(b, c), never 0 or less."""
        return max(self.g * batch / threads + self.d * batch + self.e / threads + self.h, _LEAST_S)


def fit_latency(profile: VariantProfile, shapes: Iterable[tuple[int, int]], quantile: float) -> LatencyFit | None:
    """The least-squares fit over the (cores, threads) `shapes` and the batches measured there; None without any."""
    rows, seconds = [], []
    for cores, threads in shapes:
        for batch in profile.batches(cores, threads):
            rows.append((batch / threads, float(batch), 1.0 / threads, 1.0))
            seconds.append(profile.service_time(batch, cores, threads, quantile).seconds)
    if not rows:
        return None
    found, *_ = np.linalg.lstsq(np.array(rows), np.array(seconds), rcond=None)
    return LatencyFit(*map(float, found))


def instances(
    request: PlanRequest,
    task: str,
    variant: str,
    shapes: Sequence[tuple[int, int]],
    *,
    max_batch: int | None = None,
    fit: LatencyFit | None = None,
    extra_s: float = 0.0,
) -> list[Instance]:
    """Every replica in one of `shapes` with one of the batches measured there, shapes as given, batches ascending.

    Args:
        request: for the profile and the SLO's quantile.
        task: which one.
        variant: of the task.
        shapes: known (cores, threads).
        max_batch: largest batch; None: the largest measured. The smallest measured one is always there.
        fit: what says the service time; None: the profile.
        extra_s: added to every service time.
    """
    profile, quantile = request.profile.variants[task][variant], request.pipeline.slo.quantile
    found = []
    for cores, threads in shapes:
        row = table_row(profile, cores, threads)
        if row is not None:
            found.append(Instance(cores, threads, 1, row.latency_s, row.rate_rps, by_table=True))
            continue
        measured = profile.batches(cores, threads)
        for batch in [b for b in measured if b <= (max_batch or math.inf)] or measured[:1]:
            if fit is None:
                latency_s = profile.service_time(batch, cores, threads, quantile).seconds + extra_s
            else:
                latency_s = fit.seconds(batch, threads) + extra_s
            found.append(Instance(cores, threads, batch, latency_s, cores // threads * batch / latency_s))
    return found
