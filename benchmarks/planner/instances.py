"""Random instances of IPA's problem and its joint form, from a seed; and how times are taken and said.

Synthetic: accuracies even in 0.5 to 0.99; a request's work grows with the accuracy, 20 ms of a core for the least and
about ten times that for the best variant, times a lognormal factor (σ 0.3). A batch of b takes 0.3 + 0.7 b of the work
of one (10 % noise); c cores divide it by c^0.85. Throughput of a replica is b over that. IPA's form: one variant per
task, each on one number of cores of 1, 2, 4, 8; 20 requests per second. Joint form: 1, 2, 4, 8 or 16 cores, mixes of
two variants; 100 requests per second, so that there are replicas to mix. The SLO is drawn between the tightest possible
and five times that, α between 5 and 500, evenly in its logarithm; β is 0.5 and δ 1e-6.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from trimtab.plan.solve.coefficients import Groups, Weights
from trimtab.plan.solve.problem import Floats

T = TypeVar("T")

BATCHES = np.array([1, 2, 4, 8, 16, 32, 64])
LEVELS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


@dataclass(frozen=True, slots=True)
class Instance:
    """One planning problem in coefficient arrays."""

    groups: Groups
    weights: Weights
    rate_rps: float
    latency_s: float


def make_instance(seed: int, tasks: int, variants: int, *, joint: bool = False) -> Instance:
    """One instance of the kind described above."""
    rng = np.random.default_rng([seed, tasks, variants, joint])
    total, levels = tasks * variants, LEVELS.size if joint else 1
    accuracy = rng.uniform(0.5, 0.99, total)
    work_s = 0.02 * 10.0 ** ((accuracy - 0.5) / 0.49) * rng.lognormal(0.0, 0.3, total)
    cores = np.tile(np.repeat(LEVELS, BATCHES.size), (total, 1)) if joint else np.ones((total, BATCHES.size))
    if not joint:
        cores = cores * rng.choice(LEVELS[:4], (total, 1))
    batch = np.tile(BATCHES, levels)
    noise = rng.uniform(0.9, 1.1, cores.shape)
    latency_s = work_s[:, None] * (0.3 + 0.7 * batch) / cores**0.85 * noise
    first = np.arange(tasks + 1) * variants
    rate_rps = 100.0 if joint else 20.0
    waits_s = latency_s + (batch - 1) / rate_rps
    tightest_s = sum(float(waits_s[a:b].min()) for a, b in itertools.pairwise(first))
    return Instance(
        Groups(accuracy, first, latency_s, batch / latency_s, cores, batch),
        Weights(float(10.0 ** rng.uniform(-1.0, 1.0)) * 50.0, 0.5, 1e-6),
        rate_rps,
        tightest_s * float(rng.uniform(1.05, 5.0)),
    )


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """The answer of a call and its milliseconds."""
    start = time.perf_counter()
    answer = call()
    return answer, 1e3 * (time.perf_counter() - start)


def spread(times_ms: list[float]) -> str:
    """Median, 99th percentile and largest, for a table."""
    values: Floats = np.array(times_ms)
    return f"{np.median(values):9.3f}{np.quantile(values, 0.99):9.3f}{values.max():9.3f}"
