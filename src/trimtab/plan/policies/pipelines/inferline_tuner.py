"""InferLine's tuner: replicas by traffic envelopes, between two plans.

A traffic envelope says for windows of several lengths ΔT the most requests q that any window of that length held; its
rates are r = q/ΔT. The lengths start at the pipeline's service time (here that of all tasks in a row), double, and end
at 60 s.

Up, at once: where a rate of what was seen exceeds that of the sample trace, r the largest such rate,

    n_m = ⌈r·s_m / (μ_m·ρ_m)⌉,    ρ_m = λ·s_m / (n_m·μ_m) as planned,

with s_m items per request, μ_m the throughput of a replica and λ the rate of the sample. Down, once the plan has stood
for 15 s: with λ' the highest rate of the last 30 s in windows of 5 s and ρ the least ρ_m,

    n_m = ⌈λ'·s_m / (μ_m·ρ)⌉.

Source: Crankshaw et al., SoCC 2020, §6; 15, 30 and 5 s from memory, the least ρ_m and 30 s also from its
re-implementation in Themis. Observations count whole seconds, so no window is shorter than one: bursts within a second
are not seen. Ours: what the envelope still asks for is not taken away, or the two rules would swing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Planned:
    """What was planned for a task."""

    rate: float
    """μ: items per second of one replica."""
    visits: float
    """s: items per request."""
    utilisation: float
    """ρ, in (0, 1]."""

    def replicas(self, rate_rps: float, utilisation: float) -> int:
        """Replicas for so many requests per second at this utilisation, at least 1."""
        needed = rate_rps * self.visits / (self.rate * utilisation)
        return max(1, math.ceil(needed * (1.0 - _ROUNDING)))


def windows_s(service_s: float, longest_s: int) -> tuple[int, ...]:
    """Lengths of windows in whole seconds: from the service time, at least 1, doubled, and the longest."""
    lengths, length = [], max(1, math.ceil(service_s))
    while length < longest_s:
        lengths.append(length)
        length *= 2
    return (*lengths, longest_s)


def envelope_of_counts(counts: Sequence[int | None], windows: Sequence[int]) -> dict[int, float]:
    """Window → its highest rate, of counts per second; windows that no known stretch fills are left out."""
    rates: dict[int, float] = {}
    for window in windows:
        stretches = (counts[i : i + window] for i in range(len(counts) - window + 1))
        sums = [sum(c for c in s if c is not None) for s in stretches if None not in s]
        if sums:
            rates[window] = max(sums) / window
    return rates


def envelope_of_arrivals(arrivals_s: NDArray[np.float64], windows: Sequence[int]) -> dict[int, float]:
    """Window → its highest rate, of arrival times; a window longer than the trace has the trace's own rate."""
    rates = {}
    length_s = max(float(arrivals_s[-1] - arrivals_s[0]), 1.0)
    for window in windows:
        inside = np.searchsorted(arrivals_s, arrivals_s + min(float(window), length_s), side="left")
        rates[window] = float((inside - np.arange(arrivals_s.size)).max()) / min(float(window), length_s)
    return rates


def tuned(
    current: Mapping[str, int],
    planned: Mapping[str, Planned],
    counts: Sequence[int | None],
    sample: Mapping[int, float],
    *,
    may_shrink: bool,
    recent_s: int,
    bucket_s: int,
) -> tuple[dict[str, int], str]:
    """Task → replicas, and why.

    Args:
        current: task → replicas in force.
        planned: what they were planned with.
        counts: requests per second as seen, oldest first.
        sample: the sample trace's envelope.
        may_shrink: whether the plan has stood long enough.
        recent_s: seconds that the way down looks back.
        bucket_s: windows of it.
    """
    seen = envelope_of_counts(counts, tuple(sample))
    exceeding = [rate for window, rate in seen.items() if rate > sample[window] * (1.0 + _ROUNDING)]
    asked = {t: p.replicas(max(exceeding), p.utilisation) if exceeding else 1 for t, p in planned.items()}
    if any(asked[task] > current[task] for task in current):
        more = {task: max(current[task], asked[task]) for task in current}
        return more, f"up to {max(exceeding):.4g}/s came, more than the sample's envelope"
    buckets = envelope_of_counts(counts[-recent_s:], (bucket_s,))
    if not may_shrink or not buckets:
        return dict(current), "within the envelope that the replicas are for"
    least = min(p.utilisation for p in planned.values())
    enough = {t: max(asked[t], p.replicas(buckets[bucket_s], least)) for t, p in planned.items()}
    fewer = {task: min(current[task], enough[task]) for task in current}
    return fewer, f"at most {buckets[bucket_s]:.4g}/s in {bucket_s} s of the last {recent_s} s"
