"""What each variant can do, as measured: service time by batch size × cores × threads, load time, memory, provenance.

A replica of c cores runs `c / threads` inferences at once, each with `threads` threads. A `ServicePoint` is the time of
one batch while *all* of the replica's concurrent slots are busy, so that capacity follows from it directly.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

QUANTILES = (0.5, 0.9, 0.95, 0.99)
"""The quantiles of service time that a profile keeps beside mean, minimum and maximum."""


@dataclass(frozen=True, slots=True)
class ServicePoint:
    """Time of one batch of `batch` on a replica of `cores` cores with `threads` threads per inference, seconds."""

    cores: int
    threads: int
    batch: int
    mean_s: float
    quantiles_s: Mapping[float, float]
    """Quantile → seconds; at least 0.5 and 0.99."""
    samples: int
    """Number of batches measured."""

    @property
    def concurrency(self) -> int:
        """Batches that such a replica serves at once."""
        return self.cores // self.threads

    @property
    def throughput_rps(self) -> float:
        """Requests per second of one replica that never idles: concurrency · batch / mean service time."""
        return self.concurrency * self.batch / self.mean_s


@dataclass(frozen=True, slots=True)
class CapacityCheck:
    """An open-loop check: Poisson arrivals at `rate_rps` gave `p99_s` response time."""

    cores: int
    threads: int
    batch: int
    rate_rps: float
    served_rps: float
    p50_s: float
    p99_s: float
    seconds: float
    sustained: bool
    """Whether the served rate kept up with the offered one and the queue did not grow."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A service time read from a profile; `extrapolated` when it lies outside what was measured."""

    seconds: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class VariantProfile:
    """All that was measured of one variant."""

    task: str
    variant: str
    points: tuple[ServicePoint, ...]
    load_time_s: float | None = None
    memory_bytes: int | None = None
    """Resident memory that one loaded copy adds."""
    model_sha256: str | None = None
    """Digest of the model file that was measured; None for published or hand-written profiles."""
    checks: tuple[CapacityCheck, ...] = ()

    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The (cores, threads) pairs that were measured, ascending."""
        return tuple(sorted({(p.cores, p.threads) for p in self.points}))

    def batches(self, cores: int, threads: int) -> tuple[int, ...]:
        """Batch sizes measured for (cores, threads), ascending."""
        return tuple(sorted(p.batch for p in self.points if (p.cores, p.threads) == (cores, threads)))

    def service_time(self, batch: int, cores: int, threads: int, quantile: float | None = None) -> Estimate:
        """Service time of one batch in seconds; the mean when `quantile` is None.

        Between measured batch sizes it is linear; beyond the largest it goes on with the last slope, and below the
        smallest it is that of the smallest, both flagged `extrapolated`. A quantile above the largest kept one is the
        largest kept one, flagged.

        Raises:
            KeyError: (cores, threads) was not measured; shapes are never extrapolated.
        """
        row = sorted((p for p in self.points if (p.cores, p.threads) == (cores, threads)), key=lambda p: p.batch)
        if not row:
            raise KeyError((cores, threads))
        values = [_value(p, quantile) for p in row]
        beyond = quantile is not None and quantile > max(row[0].quantiles_s)
        batches = [p.batch for p in row]
        i = bisect.bisect_left(batches, batch)
        if i < len(batches) and batches[i] == batch:
            return Estimate(values[i], beyond)
        if i == 0:
            return Estimate(values[0], extrapolated=True)
        if i < len(batches):
            share = (batch - batches[i - 1]) / (batches[i] - batches[i - 1])
            return Estimate(values[i - 1] + share * (values[i] - values[i - 1]), beyond)
        if len(batches) == 1:
            return Estimate(values[0] * batch / batches[0], extrapolated=True)
        slope = (values[-1] - values[-2]) / (batches[-1] - batches[-2])
        return Estimate(values[-1] + max(slope, 0.0) * (batch - batches[-1]), extrapolated=True)


def _value(point: ServicePoint, quantile: float | None) -> float:
    """The point's mean, or its quantile: linear between kept quantiles, the nearest kept one outside them."""
    if quantile is None:
        return point.mean_s
    kept = sorted(point.quantiles_s)
    i = bisect.bisect_left(kept, quantile)
    if i == len(kept):
        return point.quantiles_s[kept[-1]]
    if i == 0 or math.isclose(kept[i], quantile):
        return point.quantiles_s[kept[i]]
    share = (quantile - kept[i - 1]) / (kept[i] - kept[i - 1])
    low, high = point.quantiles_s[kept[i - 1]], point.quantiles_s[kept[i]]
    return low + share * (high - low)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where, when and with what the numbers were measured."""

    measured_at: str
    """ISO 8601, UTC."""
    host: str
    cpu: str
    cores_available: int
    os: str
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    notes: tuple[str, ...] = ()
    """Capabilities that were missing (no affinity), budgets that cut the run short, and the like."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Profiles of the variants of a pipeline: task → variant → what was measured."""

    variants: Mapping[str, Mapping[str, VariantProfile]]
    provenance: Provenance | None = None
