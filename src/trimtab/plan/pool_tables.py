"""The pools that a task's shapes allow, as arrays, made once and kept: what `plan.pool` computes with.

A pool is a dearest variant in a shape with a batch size; its *levels* are the variants that it steps through.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from trimtab.plan.accuracy import variant_scores
from trimtab.plan.tables import Floats, Ints, TaskTable, task_table
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

_BETTER = 1.01
"""A larger batch has to serve so many times the rate of a smaller one to be worth planning for."""
_KEPT = 16
"""Tables whose pools are kept."""
_NOTHING = [[0.0] * 4] * 2


@dataclass(frozen=True, slots=True)
class PoolTable:
    """The pools that a task's shapes allow, P of them: a dearest variant, a shape and a batch; L ≤ V levels each."""

    shape: Ints
    """Shape (P,): which of the table's shapes; ascending, and the batches of each ascending."""
    batch: Ints
    """Shape (P,): the batch size."""
    levels: Ints
    """Shape (P,): variants that it can step through, the dearest one included."""
    work_s: Floats
    """Shape (P, V): slot-seconds that an item takes at each level, in the best batch up to this size; descending."""
    score: Floats
    """Shape (P, V): what each level brings to the pipeline's accuracy."""
    variant: Ints
    """Shape (P, V): which variant each level is."""
    memory_bytes: Ints
    """Shape (P,): of all its variants together."""
    batches: Floats
    """Shape (P, V, 2, 4): at each level, of a lone item and of the batch of least work: size, mean, spread, scv."""

    def row(self, shape: int, batch: int) -> int | None:
        """The pool of this shape with the largest batch up to `batch`; None: there is none."""
        rows = np.flatnonzero((self.shape == shape) & (self.batch <= batch))
        return int(rows[-1]) if rows.size else None


_pools: OrderedDict[tuple[int, tuple[float, ...]], tuple[TaskTable, PoolTable]] = OrderedDict()


def pool_table(pipeline: Pipeline, profile: Profile, task: str) -> PoolTable:
    """The pools of a task, from the cache where its table was asked for before.

    A level is a variant that is no more accurate than the one before, takes less time alone and less work per item.
    Shapes that are known by a capacity table alone have no pools: it says nothing of single service times.
    """
    table = task_table(pipeline, profile, task)
    accuracy = tuple(pipeline.tasks[task].variants[v].accuracy for v in table.variants)
    scores = variant_scores(pipeline, task)
    key = (id(table), (*accuracy, *(scores[v] for v in table.variants)))
    found = _pools.get(key)
    if found is None or found[0] is not table:
        found = _pools[key] = (table, _make(table, accuracy, [scores[v] for v in table.variants]))
        while len(_pools) > _KEPT:
            _pools.popitem(last=False)
    return found[1]


def _make(table: TaskTable, accuracy: tuple[float, ...], scores: list[float]) -> PoolTable:
    variants = len(table.variants)
    columns: list[tuple[int, int, int, int]] = []
    ladders: list[tuple[list[float], list[float], list[int], list[list[list[float]]]]] = []
    peers: dict[tuple[int, int], dict[int, slice]] = {}
    for j in range(table.variant.size):
        if table.rate[j] == 0.0:
            rows = slice(int(table.first[j]), int(table.first[j + 1]))
            peers.setdefault((int(table.cores[j]), int(table.threads[j])), {})[int(table.variant[j])] = rows
    for j in range(table.variant.size):
        if table.rate[j] > 0.0:
            continue
        top = int(table.variant[j])
        rows_of = peers[int(table.cores[j]), int(table.threads[j])]
        alone = {v: float(table.mean_s[rows.start]) for v, rows in rows_of.items()}
        below = sorted(
            (v for v in rows_of if v != top and accuracy[v] <= accuracy[top] and alone[v] < alone[top]),
            key=lambda v: (-accuracy[v], alone[v]),
        )
        best_s = np.inf
        for i in range(rows_of[top].start, rows_of[top].stop):
            batch = int(table.batch[i])
            work = float(table.mean_s[i]) / batch
            if not table.limit[i] or work * _BETTER > best_s:
                continue
            best_s = work
            steps = [(top, work, i)]
            for v in below:
                least = _least_work(table, rows_of[v], batch)
                if least is not None and least[0] < steps[-1][1]:
                    steps.append((v, *least))
            if len(steps) == 1:  # it cannot step down
                continue
            pad = variants - len(steps)
            ladders.append(
                (
                    [w for _, w, _ in steps] + [0.0] * pad,
                    [scores[v] for v, _, _ in steps] + [0.0] * pad,
                    [v for v, _, _ in steps] + [-1] * pad,
                    [[_row(table, rows_of[v].start), _row(table, at)] for v, _, at in steps] + [_NOTHING] * pad,
                )
            )
            memory = int(sum(table.memory_bytes[v] for v in (top, *below)))
            columns.append((j, batch, len(steps), memory))
    shape, batches, levels, size = zip(*columns, strict=True) if columns else ((),) * 4
    work_s, score, variant, rows_at = zip(*ladders, strict=True) if ladders else ((),) * 4
    return PoolTable(
        shape=np.array(shape, dtype=np.int64),
        batch=np.array(batches, dtype=np.int64),
        levels=np.array(levels, dtype=np.int64),
        work_s=np.array(work_s, dtype=np.float64).reshape(-1, variants),
        score=np.array(score, dtype=np.float64).reshape(-1, variants),
        variant=np.array(variant, dtype=np.int64).reshape(-1, variants),
        memory_bytes=np.array(size, dtype=np.int64),
        batches=np.array(rows_at, dtype=np.float64).reshape(-1, variants, 2, 4),
    )


def _least_work(table: TaskTable, rows: slice, most: int) -> tuple[float, int] | None:
    """Least slot-seconds per item in a batch of at most `most`, and the row that says so; None: there is none."""
    fits = np.flatnonzero(table.batch[rows] <= most) + rows.start
    if not fits.size:
        return None
    work = table.mean_s[fits] / table.batch[fits]
    return float(work.min()), int(fits[work.argmin()])


def _row(table: TaskTable, i: int) -> list[float]:
    """Batch, mean, spread and scv of a row."""
    mean = float(table.mean_s[i])
    return [float(table.batch[i]), mean, max(0.0, float(table.quantile_s[i]) - mean), float(table.scv[i])]


def within(pools: PoolTable, variants: Collection[int]) -> PoolTable:
    """The pools where replicas hold these variants alone: fewer levels, and none where there is nothing to step to."""
    levels = [
        [0, *(k for k in range(1, n) if int(pools.variant[p, k]) in variants)] for p, n in enumerate(pools.levels)
    ]
    if all(len(some) == n for some, n in zip(levels, pools.levels, strict=True)):
        return pools
    rows = [p for p, some in enumerate(levels) if len(some) > 1]
    size = pools.work_s.shape[1]
    order = np.array([levels[p] + [0] * (size - len(levels[p])) for p in rows], dtype=np.int64).reshape(-1, size)
    at = np.array(rows, dtype=np.int64)
    return PoolTable(
        shape=pools.shape[at],
        batch=pools.batch[at],
        levels=np.array([len(levels[p]) for p in rows], dtype=np.int64),
        work_s=pools.work_s[at[:, None], order],
        score=pools.score[at[:, None], order],
        variant=pools.variant[at[:, None], order],
        memory_bytes=pools.memory_bytes[at],
        batches=pools.batches[at[:, None], order],
    )
