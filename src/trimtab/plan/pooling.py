"""The groups that are worth a thought where replicas step down: those that never have to, and the pools.

A group is a shape, a number of replicas and a batch size; `plan.options` makes options of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trimtab.plan.latency import TOLERANCE, Tail, item_scv, ratio_of, width_of
from trimtab.plan.model import PlanRequest
from trimtab.plan.pool import PATIENCE, UTILISATION_CAP, list_pools, lone_patience_s
from trimtab.plan.pool_tables import pool_table, within
from trimtab.plan.tables import Floats, Ints, TaskTable, task_table

_MANY = 2**62


def with_pools(
    request: PlanRequest,
    task: str,
    rate_rps: float,
    visits: float,
    usable: NDArray[np.bool_],
    groups: tuple[Ints, Floats, Floats, Ints],
) -> tuple[Ints, Floats, Floats, Ints]:
    """Groups of the whole traffic where replicas step down: (shape, replicas, batch), terms, scores, bytes of each.

    Groups that serve their own variant alone stay where nobody waits longer than the dispatcher lets them, and where
    the fastest variant, or their own where there is no faster one, carries the surge; where memory is limited, also
    where their own carries it, without the others. The pools of `plan.pool` join them. `usable` has shape (J,): the
    shapes that may be chosen.
    """
    pipeline, limits = request.pipeline, request.limits
    table, pools = task_table(pipeline, request.profile, task), pool_table(pipeline, request.profile, task)
    if request.at_once and request.current is not None:  # who steps down has just what is loaded
        loaded = request.current.tasks[task].resident
        pools = within(pools, [v for v, name in enumerate(table.variants) if name in loaded])
    found, terms, score, memory = groups
    ratio, tail = ratio_of(request.service_ratio, task), Tail.of(pipeline.slo.quantile, visits, width_of(pipeline))
    rate = rate_rps * visits
    surge = rate
    if request.surge_rps is not None and request.rate_rps > 0.0:
        surge *= max(1.0, request.surge_rps / request.rate_rps)
    wide = int(pools.batch.max(initial=0)) + int(found[:, 2].max(initial=0)) + 1
    key = pools.shape * wide + pools.batch
    row = np.searchsorted(key, found[:, 0] * wide + found[:, 2], side="right") - 1
    pooled = (row >= 0) & (pools.shape[row] == found[:, 0]) if key.size else np.zeros(len(found), dtype=np.bool_)
    own = row[pooled]
    slots = (table.cores // table.threads)[found[pooled, 0]] * found[pooled, 1]
    fastest_s = pools.work_s[own, pools.levels[own] - 1] * ratio
    mean_s, spread_s = pools.batches[own, 0, 1, 1] * ratio, pools.batches[own, 0, 1, 2] * ratio * tail.stretch
    longest_s = mean_s + spread_s + np.maximum(PATIENCE * (mean_s + spread_s), lone_patience_s(pipeline))
    calm = terms[pooled, 0] + np.sqrt(terms[pooled, 1]) <= longest_s * (1.0 + TOLERANCE)
    keep = ~pooled & _carry(request, table, found, terms[:, 2], ratio, surge, rate)
    keep[pooled] = calm & (surge * fastest_s <= UTILISATION_CAP * slots * (1.0 + TOLERANCE))
    # Where memory is scarce, who never steps down may be without the cheaper variants.
    lone = np.zeros(len(found), dtype=np.bool_)
    if limits.memory_bytes is not None:
        own_s = pools.work_s[own, 0] * ratio
        lone[pooled] = keep[pooled] & (surge * own_s <= UTILISATION_CAP * slots * (1.0 + TOLERANCE))
    own_bytes, memory = memory[lone], memory.copy()
    memory[pooled] = pools.memory_bytes[own]
    room = 1024
    while True:
        some, of = np.empty((room, 3), dtype=np.int64), np.empty((room, 3))
        n = list_pools(
            pools.shape, pools.batch, pools.levels, pools.work_s, pools.score, pools.batches, table.cores,
            table.threads, usable, ratio, rate, surge, item_scv(request.arrival_scv, visits), tail.late, tail.normal,
            tail.stretch, lone_patience_s(pipeline), limits.replicas_per_task, int(min(limits.cores, _MANY)),
            pipeline.planning.max_batch or _MANY, some, of,
        )  # fmt: skip
        if n >= 0:
            break
        room = -n
    some, of = some[:n], of[:n]
    if not n and not keep.any():  # nothing carries the surge: one task's lack is no reason to let the others do less
        keep = ~pooled
    shapes = np.column_stack([pools.shape[some[:, 0]], some[:, 1:]])
    loads = np.zeros(n)
    return (
        np.concatenate([found[keep], found[lone], shapes]),
        np.concatenate([terms[keep], terms[lone], np.column_stack([of[:, :2], loads])]),
        np.concatenate([score[keep], score[lone], of[:, 2]]),
        np.concatenate([memory[keep], own_bytes, pools.memory_bytes[some[:, 0]]]),
    )


def _carry(
    request: PlanRequest, table: TaskTable, found: Ints, utilisation: Floats, ratio: float, surge: float, rate: float
) -> NDArray[np.bool_]:
    """Which groups carry a surge by themselves in their best batches, or by their capacity table; shape (G,)."""
    work_s = table.mean_s / table.batch
    work_s[table.batch > (request.pipeline.planning.max_batch or _MANY)] = np.inf
    bounds = zip(table.first[:-1], table.first[1:], strict=True)
    least_s = np.array([work_s[start:end].min(initial=np.inf) for start, end in bounds])[found[:, 0]]
    slots = (table.cores // table.threads)[found[:, 0]] * found[:, 1]
    measured = surge * least_s * ratio <= UTILISATION_CAP * slots * (1.0 + TOLERANCE)
    tabled = surge * utilisation <= rate * (1.0 + TOLERANCE)
    return np.where(table.rate[found[:, 0]] > 0.0, tabled, measured)
