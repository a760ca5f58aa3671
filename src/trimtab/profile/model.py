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
    """Quantile → seconds; a measured point has those of `QUANTILES`. Empty where only the mean is known."""
    samples: int
    """Number of batches measured; 0 for published or hand-written profiles."""

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
class CapacityPoint:
    """One row of a capacity table: a replica of `cores` cores serves up to `rate_rps` within `latency_s`.

    Published profiles often keep no service times, just this (InfAdapter, EuroMLSys 2023). Requests are served one by
    one, and the response time at any rate up to this one is taken to be `latency_s`.
    """

    cores: int
    rate_rps: float
    latency_s: float


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
    capacity: tuple[CapacityPoint, ...] = ()
    """A capacity table, ascending in cores; used for a number of cores that no point has."""

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
        largest kept one, and where no quantile is kept it is the mean, both flagged.

        Raises:
            KeyError: (cores, threads) was not measured; shapes are never extrapolated.
        """
        row = sorted((p for p in self.points if (p.cores, p.threads) == (cores, threads)), key=lambda p: p.batch)
        if not row:
            raise KeyError((cores, threads))
        batches = [p.batch for p in row]
        i = bisect.bisect_left(batches, batch)
        if i < len(row) and batches[i] == batch:
            return Estimate(_value(row[i], quantile), _is_beyond(row[i], quantile))
        if i == 0:
            return Estimate(_value(row[0], quantile), extrapolated=True)
        if len(row) == 1:
            return Estimate(_value(row[0], quantile) * batch / batches[0], extrapolated=True)
        low, high = row[i - 1 : i + 1] if i < len(row) else row[-2:]
        low_s, high_s = _value(low, quantile), _value(high, quantile)
        slope = (high_s - low_s) / (high.batch - low.batch)
        if i == len(row):
            return Estimate(high_s + max(slope, 0.0) * (batch - high.batch), extrapolated=True)
        beyond = _is_beyond(low, quantile) or _is_beyond(high, quantile)
        return Estimate(low_s + slope * (batch - low.batch), beyond)


def _is_beyond(point: ServicePoint, quantile: float | None) -> bool:
    """Whether the point keeps neither this quantile nor a larger one."""
    return quantile is not None and quantile > max(point.quantiles_s, default=0.0)


def _value(point: ServicePoint, quantile: float | None) -> float:
    """The point's mean, or its quantile: linear between kept quantiles, the nearest kept one outside them."""
    if quantile is None or not point.quantiles_s:
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
