"""What a pool of replicas does whose dispatcher may step down: one queue, several variants, the choice per batch.

The dispatcher (`dispatch.kernels.choose`) takes the most accurate variant that lets the backlog drain within a
*patience*, else a cheaper one. So what waits is bounded by the patience, whatever the load, as long as the fastest
variant keeps up; what gives way is accuracy. That is planned for here:

- **Latency**: service of the dearest variant, after a wait of at most the patience. `PRESSURE` of the SLO may be waited
  for over a whole path, each task's part in proportion to its service; so a task's wait and service take at most its
  service × (1 + `PATIENCE`), and tasks that fit the SLO with that fit it under any backlog that the dispatcher allows.
- **Accuracy**: the smaller of two. With w_v slot-seconds an item at variant v, the best mix of two variants that c
  slots can serve when they never idle, Σ f_v·λ·w_v ≤ c: the linear programme over all variants. And
  the mix that the dispatcher makes: the number of batches in the system is taken as a birth-and-death chain whose
  service depends on what waits (a threshold policy; J. R. Jackson, Management Science 10(1), 1963, gives queues with
  such rates). Above c batches the steps' ratios are raised to 2/(ca²/b + cs²), which gives the queue the decay of heavy
  traffic (J. F. C. Kingman 1962): exact for exponential service, a correction for steady service.
  `benchmarks/planner/pool_model.py` compares with the simulator.
- **Surge**: the fastest variant has to carry the rate that may come before cores can follow, at `UTILISATION_CAP`.
  Where its own tail (`latency.batch_terms`) takes longer than all of the above, that is the pool's latency.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.latency import Tail, batch_terms
from trimtab.plan.pool_tables import PoolTable
from trimtab.plan.tables import Floats, Ints
from trimtab.queueing.erlang import blocking_after, blocking_between
from trimtab.queueing.ggc import peakedness
from trimtab.spec.model import Pipeline

PRESSURE = 0.35
"""Share of a task's part of the SLO that the backlog left behind may take at a variant before a cheaper one is used."""
ANSWER_SHARE = 0.05
"""Share of a request's time kept free for its answer's way out: the dispatcher works towards that much less. Under
overload all that is served finishes just before its deadline; without a margin much of it would reach clients late."""
PATIENCE = PRESSURE / (1.0 - PRESSURE - ANSWER_SHARE)
"""Longest wait as a multiple of the service time, where a path's service takes all the time that waiting leaves it."""
UTILISATION_CAP = 0.85
"""Largest utilisation planned for by the tail model, and by the fastest variant in a surge. Above it a queue's tail
grows like 1/(1 - ρ), faster than a profile is exact."""
_FULL = 1e-4
"""A pool whose accuracy is as near as this to its dearest variant's counts as that, and gains nothing by more."""
_NEVER = 1e-12
"""Chains are cut where what is left weighs less than this."""
_ROUNDING = 1e-9
_STEADY = 0.05
"""Least variability of arrivals and service together that a chain is thought to have."""


def lone_patience_s(pipeline: Pipeline) -> float:
    """The patience of a pipeline's only task, which has all of the pressure; 0 where there are several."""
    return PRESSURE * pipeline.slo.latency_s if len(pipeline.tasks) == 1 else 0.0


@dataclass(frozen=True, slots=True)
class PoolState:
    """What a pool does at a rate."""

    mean_s: float
    """With `spread_s` the latency of the pool; infinite where the fastest variant cannot keep up."""
    spread_s: float
    score: float
    """What its mix of variants brings to the pipeline's accuracy."""
    dearest: float
    """What its dearest variant alone would bring."""
    longest_s: float
    """Service of the dearest variant after the longest wait for it."""
    capacity: float
    """Items per second that the fastest variant may be planned to serve."""

    @property
    def total_s(self) -> float:
        """The latency of this task alone."""
        return self.mean_s + self.spread_s


def pool_state(
    pools: PoolTable,
    row: int,
    allowed: Collection[int],
    servers: int,
    rate: float,
    ratio: float,
    arrival_scv: float,
    tail: Tail,
    least_patience_s: float,
) -> PoolState:
    """What `servers` slots of a pool do at `rate` items per second, stepping down to `allowed` variants alone.

    Args:
        pools: of the task.
        row: which pool.
        allowed: variants, as the table numbers them, that may be used beside the dearest.
        servers: concurrent slots.
        rate: items per second.
        ratio: measured ÷ profiled service time.
        arrival_scv: squared coefficient of variation between items.
        tail: which part of the answers may be late.
        least_patience_s: as `pool_terms`.
    """
    levels = [k for k in range(int(pools.levels[row])) if k == 0 or int(pools.variant[row, k]) in allowed]
    own_s = (float(pools.batches[row, 0, 1, 1]) + float(pools.batches[row, 0, 1, 2]) * tail.stretch) * ratio
    work_s = pools.work_s[row, levels] * ratio
    mean, spread2, score = pool_terms(
        rate, rate, servers, work_s, pools.score[row, levels], len(levels), pools.batches[row, levels], ratio,
        arrival_scv, tail.late, tail.normal, tail.stretch, least_patience_s,
    )  # fmt: skip
    capacity = UTILISATION_CAP * servers / float(work_s[-1])
    longest_s = own_s + max(PATIENCE * own_s, least_patience_s)
    return PoolState(float(mean), math.sqrt(spread2), float(score), float(pools.score[row, 0]), longest_s, capacity)


@kernel()
def pool_terms(
    rate: float,
    surge: float,
    servers: int,
    work_s: Floats,
    score: Floats,
    levels: int,
    batches: Floats,
    ratio: float,
    arrival_scv: float,
    late: float,
    normal: float,
    stretch: float,
    least_patience_s: float,
) -> tuple[float, float, float]:
    """Mean time, squared spread and score of a pool at `rate` items per second; see the module's docstring.

    Args:
        rate: items per second.
        surge: items per second that the fastest variant has to carry.
        servers: concurrent slots.
        work_s: shape (V,): slot-seconds an item takes at each level, descending, as measured live.
        score: shape (V,): of each level.
        levels: how many there are.
        batches: shape (V, 2, 4): as the `PoolTable`, by level.
        ratio: measured ÷ profiled service time.
        arrival_scv: squared coefficient of variation between items.
        late: as `latency.Tail`.
        normal: as `latency.Tail`.
        stretch: as `latency.Tail`.
        least_patience_s: what is waited for at least: in a pipeline of one task all of the pressure is its own.
    """
    if surge * work_s[levels - 1] > UTILISATION_CAP * servers * (1.0 + _NEVER):
        return np.inf, 0.0, float(score[levels - 1])
    size, mean_s = batches[0, 1, 0], batches[0, 1, 1] * ratio
    spread_s = batches[0, 1, 2] * ratio * stretch
    own_s = mean_s + spread_s
    patience_s = max(PATIENCE * own_s, least_patience_s)
    mixed = float(score[0])
    if rate > 0.0:
        variability = max((arrival_scv / size + batches[0, 1, 3]) / 2.0, _STEADY)
        mixed = min(
            stepped_score(rate, servers, work_s, score, levels, size, patience_s, variability),
            mixed_score(rate / servers, work_s, score, levels),
        )
        if mixed >= score[0] - _FULL:
            mixed = float(score[0])
    # Whoever steps down waits for a slot that serves the dearest variant first.
    taken_s = mean_s / (servers + 1)
    mean_s, spread2 = mean_s + patience_s, spread_s * spread_s
    fast_mean, fast_spread2 = np.inf, 0.0
    for i in range(2):
        some = batches[levels - 1, i]
        load = surge / some[0] * some[1] * ratio
        if load >= servers:
            continue
        peaks = peakedness(arrival_scv / some[0])
        below = int(servers / peaks)
        whole = blocking_after(1.0, 1, below, load / peaks)
        blocking = blocking_between(whole, below, servers / peaks, load / peaks)
        takes, vary2 = batch_terms(
            blocking, load, servers, int(some[0]), some[1] * ratio, some[2] * ratio * stretch, some[3],
            surge, arrival_scv, late, normal,
        )  # fmt: skip
        takes += taken_s
        if takes + math.sqrt(vary2) < fast_mean + math.sqrt(fast_spread2):
            fast_mean, fast_spread2 = takes, vary2
    if fast_mean + math.sqrt(fast_spread2) > mean_s + math.sqrt(spread2):
        return fast_mean, fast_spread2, mixed
    return mean_s, spread2, mixed


@kernel()
def mixed_score(per_slot: float, work_s: Floats, score: Floats, levels: int) -> float:
    """The best mean score of what each slot gets, `per_slot` items per second, when it never idles."""
    if per_slot * work_s[0] <= 1.0 + _ROUNDING:
        return float(score[0])
    best = float(score[levels - 1])
    for k in range(1, levels):
        used = per_slot * work_s[k]
        if used <= 1.0:
            best = max(best, float(score[k]))
            for i in range(k):
                more = per_slot * work_s[i]
                if more > 1.0:
                    part = (1.0 - used) / (more - used)
                    best = max(best, float(score[k] + part * (score[i] - score[k])))
    return best


@kernel()
def stepped_score(
    rate: float,
    servers: int,
    work_s: Floats,
    score: Floats,
    levels: int,
    batch: float,
    patience_s: float,
    variability: float,
) -> float:
    """Mean score of what is served by a dispatcher that steps down: the birth-and-death chain at the top.

    Level k serves while what waits would drain within the patience at level k, the last one beyond that.
    """
    served, worth, weight, total = 0.0, 0.0, 1.0, 1.0
    level, room = 0, patience_s * servers / (work_s[0] * batch)
    j = 0
    while True:
        j += 1
        while level < levels - 1 and j - servers > room:
            level += 1
            room = patience_s * servers / (work_s[level] * batch)
        load = rate * work_s[level]
        if j <= servers:
            weight *= load / j
            flow = weight * j / work_s[level]
        else:
            step = (load / servers) ** (1.0 / variability)
            if level == levels - 1:
                if step >= 1.0:
                    return float(score[level])
                flow = weight * step / (1.0 - step) * servers / work_s[level]
                return float((worth + flow * score[level]) / (served + flow))
            weight *= step
            flow = weight * servers / work_s[level]
        served += flow
        worth += flow * score[level]
        total += weight
        if weight > 1e200:
            served, worth, total, weight = served / weight, worth / weight, total / weight, 1.0
        if weight < _NEVER * total and load < j:
            return float(worth / served)


@kernel(
    "int64(int64[::1], int64[::1], int64[::1], float64[:,::1], float64[:,::1], float64[:,:,:,::1], int64[::1], "
    "int64[::1], boolean[::1], float64, float64, float64, float64, float64, float64, float64, float64, "
    "int64, int64, int64, int64[:,::1], float64[:,::1])"
)
def list_pools(
    shape: Ints,
    batch: Ints,
    levels: Ints,
    work_s: Floats,
    score: Floats,
    batches: Floats,
    cores: Ints,
    threads: Ints,
    usable: np.ndarray,
    ratio: float,
    rate: float,
    surge: float,
    arrival_scv: float,
    late: float,
    normal: float,
    stretch: float,
    least_patience_s: float,
    most_replicas: int,
    most_cores: int,
    most_batch: int,
    found: Ints,
    terms: Floats,
) -> int:
    """Write the pools that hold `rate`, and `surge` at their fastest; their number, or the room it takes, negative.

    Replicas run from the fewest whose fastest variant carries the surge to those that need not step down.

    Args:
        shape: of the `PoolTable`, as all columns up to `batches`.
        batch: of the table.
        levels: of the table.
        work_s: of the table.
        score: of the table.
        batches: of the table.
        cores: of the `TaskTable`.
        threads: of the `TaskTable`.
        usable: shape (J,): shapes to consider.
        ratio: measured ÷ profiled service time.
        rate: items per second.
        surge: items per second that may come before cores can follow.
        arrival_scv: squared coefficient of variation between items.
        late: as `latency.Tail`.
        normal: as `latency.Tail`.
        stretch: as `latency.Tail`.
        least_patience_s: as `pool_terms`.
        most_replicas: of one pool.
        most_cores: of one pool.
        most_batch: largest batch size.
        found: shape (room, 3): gets row of the `PoolTable`, replicas and batch.
        terms: shape (room, 3): gets mean, squared spread and score.
    """
    n, room = 0, found.shape[0]
    own_work = np.empty(work_s.shape[1])
    for p in range(shape.size):
        j = shape[p]
        if not usable[j] or batch[p] > most_batch:
            continue
        slots = int(cores[j] // threads[j])
        last = int(levels[p])
        for k in range(last):
            own_work[k] = work_s[p, k] * ratio
        each = UTILISATION_CAP * slots / own_work[last - 1]
        fewest = max(1, math.ceil(surge / each * (1.0 - _ROUNDING)))
        for replicas in range(fewest, min(most_replicas, most_cores // cores[j]) + 1):
            mean, spread2, mixed = pool_terms(
                rate, surge, replicas * slots, own_work, score[p], last, batches[p], ratio,
                arrival_scv, late, normal, stretch, least_patience_s,
            )  # fmt: skip
            if n < room:
                found[n, 0], found[n, 1], found[n, 2] = p, replicas, batch[p]
                terms[n, 0], terms[n, 1], terms[n, 2] = mean, spread2, mixed
            n += 1
            if mixed == score[p, 0]:
                break
    return n if n <= room else -n
