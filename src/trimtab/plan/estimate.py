"""What any plan is expected to do at a rate: latency, accuracy, goodput and cost. Every policy and report asks here.

Both latency models are stated in `plan.latency`. Tasks add up along the longest path of the DAG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from trimtab.errors import PlanRequestError
from trimtab.plan.accuracy import coupled_tasks, pipeline_accuracy, shares_of, variant_scores
from trimtab.plan.latency import (
    Conditions,
    GroupLatency,
    TableTime,
    Tail,
    Times,
    core_seconds,
    group_times,
    is_within,
    item_scv,
    known_shapes,
    path_latency,
    ratio_of,
    table_row,
    times_latency,
    width_of,
)
from trimtab.plan.model import Allocation, LatencyModel, Plan, PlanEstimate, TaskEstimate
from trimtab.plan.pool import UTILISATION_CAP, PoolState, lone_patience_s, pool_state
from trimtab.plan.pool_tables import PoolTable, pool_table
from trimtab.plan.prices import allocation_cost_per_hour
from trimtab.plan.residents import memory_bytes, replica_bytes
from trimtab.plan.switching import plan_load_s
from trimtab.plan.tables import TaskTable, task_table
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

_STEPS = 30
"""Halvings when a largest rate is looked for: a billionth of the range."""
_SHARES = 1e-6
"""Rounding that shares are forgiven when they are summed."""


def estimate(
    plan: Plan,
    pipeline: Pipeline,
    profile: Profile,
    rate_rps: float,
    *,
    latency_model: LatencyModel = "tail",
    arrival_scv: float = 1.0,
    service_ratio: Mapping[str, float] | None = None,
    current: Plan | None = None,
    in_place_cores: bool = False,
) -> PlanEstimate:
    """Predict what `plan` does at `rate_rps` requests per second at the gateway.

    `goodput_rps` is the rate itself when the SLO is met; else the largest rate at which it would be met, since the
    gateway refuses early what cannot be saved and so holds the admitted rate there (0 when it is met at no rate).
    `latency_s` is infinite when some task cannot keep up. `load_s` is that of a change from `current`, the plan in
    force, where cores change in place or not; 0 when that is None. What is paid for by use is priced at `rate_rps`, in
    full batches.

    Raises:
        PlanRequestError: the rate is negative or not finite, a task's shares do not sum to 1, the plan uses what the
            pipeline or profile lacks, or nothing in the price list can run its replicas.
    """
    check_rate(rate_rps)
    model = _Model(plan, pipeline, profile, latency_model, arrival_scv, service_ratio or {})
    latency_s, tasks = model.at(rate_rps)
    meets = is_within(latency_s, pipeline.slo.latency_s)
    goodput_rps = rate_rps if meets else model.sustained(rate_rps)
    load_s, unknown = plan_load_s(plan, current, profile, in_place_cores=in_place_cores)
    return PlanEstimate(
        latency_s=latency_s,
        latency_model=latency_model,
        meets_slo=meets,
        accuracy=model.accuracy(rate_rps),
        cores=plan.cores,
        goodput_rps=goodput_rps,
        cost_per_hour=model.cost_per_hour(rate_rps),
        tasks=tasks,
        load_s=load_s,
        replicas=sum(a.replicas for task in plan.tasks.values() for a in task.allocations),
        memory_bytes=memory_bytes(plan.tasks, profile),
        extrapolated=model.extrapolated + unknown,
    )


def sustained_rate(
    plan: Plan,
    pipeline: Pipeline,
    profile: Profile,
    *,
    latency_model: LatencyModel = "tail",
    arrival_scv: float = 1.0,
    service_ratio: Mapping[str, float] | None = None,
) -> float:
    """The plan's capacity: the largest rate within the SLO, requests per second; 0 when it is met at no rate."""
    model = _Model(plan, pipeline, profile, latency_model, arrival_scv, service_ratio or {})
    return model.sustained(math.inf)


def plan_cost_per_hour(plan: Plan, pipeline: Pipeline, profile: Profile) -> float | None:
    """Money per hour at the plan's own rate; None without a price.

    Raises:
        PlanRequestError: as `estimate`.
    """
    return _Model(plan, pipeline, profile, "tail", 1.0, {}).cost_per_hour(plan.rate_rps)


def check_rate(rate_rps: float) -> None:
    """Refuse a rate that means nothing. 0 means no traffic: the plan that would answer a lone request.

    Raises:
        PlanRequestError: NaN, infinite or negative.
    """
    if not 0.0 <= rate_rps < math.inf:
        raise PlanRequestError(
            "the arrival rate has no meaning",
            where="rate",
            got=f"{rate_rps}",
            wanted="requests per second, a finite number of at least 0",
        )


class _Model:
    """A plan with everything about it that does not depend on the rate."""

    def __init__(
        self,
        plan: Plan,
        pipeline: Pipeline,
        profile: Profile,
        latency_model: LatencyModel,
        arrival_scv: float,
        service_ratio: Mapping[str, float],
    ) -> None:
        self._plan, self._pipeline, self._profile = plan, pipeline, profile
        self._latency_model, self._arrival_scv = latency_model, arrival_scv
        notes: list[str] = []
        self._ratio = service_ratio
        self._steps = {} if latency_model == "paper" or coupled_tasks(pipeline) else _steps(plan, pipeline, profile)
        self._pools_at: dict[tuple[str, Allocation, float], PoolState | None] = {}
        self._groups: dict[str, list[tuple[Allocation, Times]]] = {}
        for name in pipeline.tasks:
            _check_shares(plan, name)
            self._groups[name] = []
            for allocation in plan.tasks[name].allocations:
                times, extrapolated = _times(name, allocation, pipeline, profile, service_ratio)
                self._groups[name].append((allocation, times))
                notes += extrapolated
        self.extrapolated = tuple(dict.fromkeys(notes))
        self._visits = pipeline.visits(shares_of(plan))
        self._width = width_of(pipeline)

    def at(self, rate_rps: float) -> tuple[float, dict[str, TaskEstimate]]:
        """End-to-end latency in seconds, and every task's part."""
        found = {name: self._groups_at(name, rate_rps) for name in self._pipeline.tasks}
        terms = {
            name: (max(g.mean_s for g, _ in groups), max(g.spread_s for g, _ in groups))
            for name, groups in found.items()
        }
        return path_latency(self._pipeline, terms), {name: _task(groups) for name, groups in found.items()}

    def accuracy(self, rate_rps: float) -> float:
        """The pipeline's, by its accuracy model; traffic-weighted for mixes, and of pools what they mix."""
        if not self._steps:
            return pipeline_accuracy(self._pipeline, shares_of(self._plan))
        scores = []
        for name in self._pipeline.tasks:
            own = variant_scores(self._pipeline, name)
            found = [(a, self._pool_at(name, a, t, rate_rps)) for a, t in self._groups[name] if a.share > 0.0]
            scores.append(math.fsum(a.share * (p.score if p else own[a.variant]) for a, p in found))
        return math.prod(scores) if self._pipeline.accuracy.kind == "product" else math.fsum(scores)

    def sustained(self, most_rps: float) -> float:
        """The largest rate up to `most_rps` that meets the SLO, by bisection; 0 when a lone request misses it."""
        slo_s = self._pipeline.slo.latency_s
        capacity_rps = min(t.capacity_rps for t in self.at(0.0)[1].values())
        low, high = 0.0, min(most_rps, capacity_rps)
        if is_within(self.at(high)[0], slo_s):
            return high
        for _ in range(_STEPS):
            middle = (low + high) / 2.0
            if is_within(self.at(middle)[0], slo_s):
                low = middle
            else:
                high = middle
        return low

    def cost_per_hour(self, rate_rps: float) -> float | None:
        """Money per hour at this rate; None without a price."""
        prices = self._pipeline.prices
        if not prices.known:
            return None
        return math.fsum(
            allocation_cost_per_hour(
                prices,
                allocation,
                replica_bytes(self._plan.tasks[name], self._profile.variants[name]),
                rate_rps * self._visits[name] * allocation.share,
                core_seconds(times, allocation.cores, allocation.threads),
            )
            for name, groups in self._groups.items()
            for allocation, times in groups
        )

    def _groups_at(self, name: str, rate_rps: float) -> list[tuple[GroupLatency, float]]:
        """What each of the task's groups that get traffic does, and its items per request."""
        visits = self._visits[name]
        results: list[tuple[GroupLatency, float]] = []
        for allocation, times in self._groups[name]:
            if allocation.share > 0.0:
                found = self._alone_at(name, allocation, times, rate_rps)
                pool = self._pool_at(name, allocation, times, rate_rps)
                if pool is not None:
                    busy = min(found.utilisation, 1.0)
                    found = GroupLatency(found.service_s, pool.mean_s, pool.spread_s, busy, pool.capacity)
                results.append((found, visits * allocation.share))
        return results

    def _alone_at(self, name: str, allocation: Allocation, times: Times, rate_rps: float) -> GroupLatency:
        """What a group does that serves its own variant alone."""
        visits = self._visits[name]
        conditions = Conditions(
            rate=rate_rps * visits * allocation.share,
            tail=Tail.of(self._pipeline.slo.quantile, visits, self._width),
            arrival_scv=item_scv(self._arrival_scv, visits),
            model=self._latency_model,
            formation_rate=rate_rps * visits,
        )
        return times_latency(times, allocation.replicas, allocation.cores // allocation.threads, conditions)

    def _pool_at(self, name: str, allocation: Allocation, times: Times, rate_rps: float) -> PoolState | None:
        """What a group does that may step down; None where it cannot."""
        if name not in self._steps or isinstance(times, TableTime):
            return None
        key = (name, allocation, rate_rps)
        if key not in self._pools_at:
            self._pools_at[key] = self._find_pool(name, allocation, times, rate_rps)
        return self._pools_at[key]

    def _find_pool(self, name: str, allocation: Allocation, times: Times, rate_rps: float) -> PoolState | None:
        table, pools, allowed = self._steps[name]
        shapes = (table.variant == table.variants.index(allocation.variant)) & (table.cores == allocation.cores)
        row = pools.row(int(np.flatnonzero(shapes & (table.threads == allocation.threads))[0]), allocation.batch)
        if row is None or allowed.isdisjoint(pools.variant[row, 1 : pools.levels[row]].tolist()):
            return None
        visits = self._visits[name]
        found = pool_state(
            pools,
            row,
            allowed,
            allocation.concurrency,
            rate_rps * visits * allocation.share,
            ratio_of(self._ratio, name),
            item_scv(self._arrival_scv, visits),
            Tail.of(self._pipeline.slo.quantile, visits, self._width),
            lone_patience_s(self._pipeline),
        )
        alone = self._alone_at(name, allocation, times, rate_rps)
        if alone.utilisation <= UTILISATION_CAP and is_within(alone.total_s, found.longest_s):
            return replace(found, mean_s=alone.mean_s, spread_s=alone.spread_s, score=found.dearest)
        return found


def _steps(plan: Plan, pipeline: Pipeline, profile: Profile) -> dict[str, tuple[TaskTable, PoolTable, frozenset[int]]]:
    """Of the tasks that may step down: their tables, and the variants, as these number them, that they may use."""
    found = {}
    for name, task in plan.tasks.items():
        if task.may_use and name in pipeline.tasks:
            table = task_table(pipeline, profile, name)
            allowed = frozenset(table.variants.index(v) for v in task.may_use if v in table.variants)
            found[name] = (table, pool_table(pipeline, profile, name), allowed)
    return found


def _task(groups: list[tuple[GroupLatency, float]]) -> TaskEstimate:
    """The slowest, the busiest and the first to fill of a task's groups."""
    slowest = max((group for group, _ in groups), key=lambda g: (g.total_s, g.service_s))
    return TaskEstimate(
        service_s=slowest.service_s,
        waiting_s=slowest.waiting_s,
        utilisation=max(group.utilisation for group, _ in groups),
        capacity_rps=min(group.capacity / part if part else math.inf for group, part in groups),
    )


def _check_shares(plan: Plan, task: str) -> None:
    if task not in plan.tasks or not plan.tasks[task].allocations:
        raise PlanRequestError("the plan gives this task nothing", where=f"task {task}")
    shares = [a.share for a in plan.tasks[task].allocations]
    if min(shares) < 0.0 or not math.isclose(sum(shares), 1.0, rel_tol=_SHARES):
        raise PlanRequestError(
            "the shares of traffic of this task's groups make no whole",
            where=f"task {task}",
            got=", ".join(f"{share:g}" for share in shares),
            wanted="shares of at least 0 that sum to 1",
        )


def _times(
    task: str, allocation: Allocation, pipeline: Pipeline, profile: Profile, service_ratio: Mapping[str, float]
) -> tuple[Times, tuple[str, ...]]:
    """Service times of an allocation, and what had to be extrapolated."""
    where = f"task {task}, variant {allocation.variant}"
    known = profile.variants.get(task, {})
    if allocation.variant not in pipeline.tasks[task].variants or allocation.variant not in known:
        raise PlanRequestError(
            "the plan uses a variant that the pipeline or its profile lacks",
            where=where,
            wanted=f"one of {', '.join(v for v in pipeline.tasks[task].variants if v in known)}",
        )
    measured = known[allocation.variant]
    try:
        return group_times(
            measured,
            allocation.cores,
            allocation.threads,
            allocation.batch,
            pipeline.slo.quantile,
            ratio_of(service_ratio, task),
        )
    except KeyError:
        if table_row(measured, allocation.cores, allocation.threads) is not None:
            raise PlanRequestError(
                "the plan forms batches where the profile has just a capacity table, which knows none",
                where=where,
                got=f"batch {allocation.batch}",
                wanted="batch 1",
            ) from None
        shapes = ", ".join(f"{c} cores × {t} threads" for c, t in known_shapes(measured))
        raise PlanRequestError(
            "the plan uses a shape that was not measured",
            where=where,
            got=f"{allocation.cores} cores × {allocation.threads} threads",
            wanted=f"one of {shapes or 'none: nothing was measured'}",
        ) from None
