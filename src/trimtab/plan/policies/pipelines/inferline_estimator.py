"""InferLine's estimator: the latency quantile of a pipeline, by a small discrete-event simulation of a sample trace.

Every task has one queue, first come, first served. A slot that is free takes whatever waits, up to the batch, and works
on it for the profile's mean time of a batch of that size; it never waits for more to come. A request that brings
several items to a task is done there when the last one is, and goes on to the next tasks then. Tasks feed forward, so
they are simulated one after another; what was simulated of the first tasks is kept for the next question.

Source: Crankshaw et al., "InferLine: Latency-Aware Provisioning and Scaling for Prediction Serving Pipelines", SoCC
2020, §4: profiled latency by model, hardware and batch; centralised batched queueing; a scale factor per model, the
probability that a query visits it. Here the factor is the pipeline's fan-out, which may exceed 1; how many items each
request brings is drawn once, from the sample's seed. A replica of a capacity table has a slot per core, which together
serve the table's rate, and no answer is earlier than its latency.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.plan.latency import table_row
from trimtab.plan.model import PlanRequest
from trimtab.plan.policies.fixed import batch_time_s, shape_rate

_KEPT = 4000
"""Simulated tasks that are kept for the next question."""


@dataclass(frozen=True, slots=True)
class Config:
    """What a task gets."""

    cores: int
    threads: int
    batch: int
    replicas: int

    @property
    def total_cores(self) -> int:
        """Cores of all replicas."""
        return self.cores * self.replicas


Configs = Mapping[str, Config]


class Estimator:
    """Latencies of a pipeline with fixed variants on one sample trace."""

    def __init__(
        self, request: PlanRequest, variants: Mapping[str, str], arrivals_s: NDArray[np.float64], seed: int
    ) -> None:
        """For `arrivals_s`, ascending, at least one of them."""
        self._pipeline, self._quantile = request.pipeline, request.pipeline.slo.quantile
        self._profiles = {task: request.profile.variants[task][variant] for task, variant in variants.items()}
        self._arrivals_s = arrivals_s
        self._items = _items(request, variants, arrivals_s.size, seed)
        self._known: dict[tuple[tuple[str, Config], ...], NDArray[np.float64]] = {}
        self._times: dict[tuple[str, int, int, int], tuple[list[float], float]] = {}
        self._upto: dict[str, tuple[str, ...]] = {}
        for name, task in self._pipeline.tasks.items():
            before = {t for edge in task.after for t in self._upto[edge.upstream]}
            self._upto[name] = (*(t for t in self._pipeline.tasks if t in before), name)

    def rate(self, task: str, config: Config) -> float:
        """μ: items per second of one replica in full batches."""
        return shape_rate(self._profiles[task], config.cores, config.threads, config.batch)

    def service_s(self, task: str, config: Config) -> float:
        """Mean service time of a full batch."""
        return batch_time_s(self._profiles[task], config.cores, config.threads, config.batch)

    def latency_s(self, configs: Configs) -> float:
        """The SLO's quantile of the time from arrival to the end of the last task."""
        done = np.max([self._done(task, configs) for task in self._pipeline.leaves()], axis=0)
        latencies = np.sort(done - self._arrivals_s)
        return float(latencies[max(0, math.ceil(self._quantile * latencies.size - 1e-9) - 1)])

    def _done(self, task: str, configs: Configs) -> NDArray[np.float64]:
        """Shape (N,): when each request is done with the task."""
        key = tuple((name, configs[name]) for name in self._upto[task])
        found = self._known.get(key)
        if found is None:
            ups = [self._done(edge.upstream, configs) for edge in self._pipeline.tasks[task].after]
            starts = np.max(ups, axis=0) if ups else self._arrivals_s
            config = configs[task]
            times, least_s = self._batch_times(task, config)
            slots = config.replicas * (config.cores // config.threads)
            found = queue_done(starts, self._items[task], times, slots)
            found = np.maximum(found, starts + least_s * (self._items[task] > 0))
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = found
        return found

    def _batch_times(self, task: str, config: Config) -> tuple[list[float], float]:
        """Service time of 0 … batch items, and the least time of an answer, which a capacity table knows."""
        key = (task, config.cores, config.threads, config.batch)
        if key not in self._times:
            profile, shape = self._profiles[task], (config.cores, config.threads)
            row = table_row(profile, *shape)
            if row is None:
                times = [0.0, *(batch_time_s(profile, *shape, size) for size in range(1, config.batch + 1))]
                self._times[key] = times, 0.0
            else:  # as many slots as cores that together serve the table's rate
                service_s = config.cores // config.threads / row.rate_rps
                self._times[key] = [0.0, service_s], row.latency_s
        return self._times[key]


def queue_done(
    starts_s: NDArray[np.float64], items: NDArray[np.int64], times_s: Sequence[float], slots: int
) -> NDArray[np.float64]:
    """When each request's last item is done, of one queue before `slots` servers that take batches; shape (N,).

    Args:
        starts_s: shape (N,), when each request's items join the queue; in any order.
        items: shape (N,), how many items each brings; a request without any is done when it comes.
        times_s: service time of a batch by its size, 0 … the largest batch.
        slots: servers.
    """
    order = np.argsort(starts_s, kind="stable")
    owner = np.repeat(order, items[order])
    joins = starts_s[owner].tolist()
    ends = np.empty(owner.size)
    most, total = len(times_s) - 1, owner.size
    free = [-math.inf] * min(slots, max(1, total))
    first = 0
    while first < total:
        begin = max(free[0], joins[first])
        after = first + 1
        last = min(total, first + most)
        while after < last and joins[after] <= begin:
            after += 1
        end = begin + times_s[after - first]
        heapq.heapreplace(free, end)
        ends[first:after] = end
        first = after
    done = starts_s.astype(np.float64, copy=True)
    np.maximum.at(done, owner, ends)
    return done


def sample_arrivals(
    rate_rps: float, duration_s: float, most: int, seed: int, counts: Sequence[int] = ()
) -> NDArray[np.float64]:
    """Arrival times of the sample trace, seconds, at least one.

    Without `counts` a Poisson process of `rate_rps` over `duration_s`, cut after `most` requests. The same seed gives
    the same process at every rate, stretched. With `counts`, requests of each second, placed uniformly within it.
    """
    random = rng.generator(seed, "inferline", "arrivals")
    if counts:
        seconds = np.repeat(np.arange(len(counts)), counts)[:most]
        placed = np.sort(seconds + random.random(seconds.size))
        return placed if placed.size else np.zeros(1)
    number = min(most, math.floor(rate_rps * duration_s))
    if number <= 1:
        return np.zeros(1)
    return np.asarray(np.cumsum(random.exponential(size=most))[:number] / rate_rps)


def _items(request: PlanRequest, variants: Mapping[str, str], requests: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Task → shape (N,): items that each request brings; fractions are drawn."""
    items: dict[str, NDArray[np.int64]] = {}
    for name, task in request.pipeline.tasks.items():
        random = rng.generator(seed, "inferline", "items", name)
        items[name] = np.zeros(requests, dtype=np.int64) if task.after else np.ones(requests, dtype=np.int64)
        for edge in task.after:
            mean = items[edge.upstream] * edge.fan_out_of(variants[edge.upstream])
            whole = np.floor(mean)
            drawn = whole + (random.random(requests) < mean - whole)
            items[name] = np.maximum(items[name], drawn.astype(np.int64))
    return items
