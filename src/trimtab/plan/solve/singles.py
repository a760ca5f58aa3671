"""Choices of one variant per task from coefficient arrays: the fewest replicas that carry the rate, n = ⌈λ/h⌉.

With n so given, IPA's program (S. Ghafouri et al., Journal of Systems Research 4(1), 2024) falls apart into one choice
per task: its integer variables for replicas and its products of variables are gone.
"""

from __future__ import annotations

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Floats, Ints
from trimtab.plan.solve.tables import step_down

ROUNDING = 1e-10
"""Relative rounding that λ/h is forgiven before it is rounded up."""
LONGEST = 1e300
"""Seconds: what takes longer, an infinite time among them, is not there."""


@kernel()
def replicas(rate: float, throughput: float) -> float:
    """The fewest replicas that carry a rate."""
    return float(max(1.0, np.ceil(rate / throughput * (1.0 - ROUNDING))))


@kernel(
    "Tuple((float64[::1], float64[::1], float64[::1], int64[::1], int64[:,::1]))(float64[::1], int64[::1], "
    "float64[:,::1], float64[:,::1], float64[:,::1], int64[::1], float64, float64, float64, float64, float64)"
)
def single_choices(
    accuracy: Floats,
    first: Ints,
    latency: Floats,
    throughput: Floats,
    cores: Floats,
    batch: Ints,
    rate: float,
    longest: float,
    beta: float,
    delta: float,
    cap: float,
) -> tuple[Floats, Floats, Floats, Ints, Ints]:
    """All choices that no other one of the task dominates in accuracy, latency and cost.

    Args:
        accuracy: shape (V,); the variants of task s at `first[s]:first[s + 1]`.
        first: shape (S + 1,).
        latency: shape (V, G): seconds of a batch in each group size; infinite where there is none.
        throughput: shape (V, G): requests per second of a replica.
        cores: shape (V, G): of a replica.
        batch: shape (G,).
        rate: requests per second.
        longest: what takes longer is left out, seconds.
        beta: cost of a core.
        delta: cost of a place in a batch.
        cap: replicas at most.

    Returns:
        Accuracy, latency with (b-1)/λ for the batch to form, and cost, (N,) each; where each task's begin, (S + 1,);
        and what they stand for, (N, 4): the group as v · G + g, its replicas, -1 and 0.
    """
    tasks, groups = first.size - 1, batch.size
    out_accuracy, out_latency = np.empty(latency.size), np.empty(latency.size)
    out_cost, meaning = np.empty(latency.size), np.empty((latency.size, 4), dtype=np.int64)
    begins = np.zeros(tasks + 1, dtype=np.int64)
    steps, heights = np.empty(latency.size), np.empty(latency.size)
    n = 0
    for s in range(tasks):
        size = 0
        # The most accurate first: what comes later is dominated by what lies below the steps.
        order = np.argsort(-accuracy[first[s] : first[s + 1]], kind="mergesort")
        for place in order:
            v = first[s] + place
            for g in range(groups):
                time = latency[v, g] + (batch[g] - 1) / rate
                if not time <= min(longest, LONGEST):
                    continue
                count = replicas(rate, throughput[v, g])
                if count > cap:
                    continue
                cost = beta * count * cores[v, g] + delta * batch[g]
                added = step_down(steps, heights, size, time, cost)
                if added < 0:
                    continue
                size = added
                out_accuracy[n], out_latency[n], out_cost[n] = accuracy[v], time, cost
                meaning[n, 0], meaning[n, 1], meaning[n, 2], meaning[n, 3] = v * groups + g, int(count), -1, 0
                n += 1
        begins[s + 1] = n
    return out_accuracy[:n].copy(), out_latency[:n].copy(), out_cost[:n].copy(), begins, meaning[:n].copy()
