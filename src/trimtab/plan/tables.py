"""A pipeline's profile as arrays, made once and kept: what options are built from at every rate.

Rows of a task: its variants by name, for each its known shapes ascending, for each of those the batch sizes ascending.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.plan.latency import batch_times, known_shapes, table_row
from trimtab.profile.model import Profile, VariantProfile
from trimtab.spec.model import Pipeline

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_KEPT = 8
"""Profiles whose tables are kept; a process seldom has more than one."""


@dataclass(frozen=True, slots=True)
class TaskTable:
    """What one task's variants can do; J shapes of V variants, N rows."""

    variants: tuple[str, ...]
    """By name."""
    memory_bytes: Ints
    """Shape (V,); 0 where it is not known."""
    load_s: Floats
    """Shape (V,): load time; 0 where it is not known."""
    variant: Ints
    """Shape (J,): which variant."""
    cores: Ints
    """Shape (J,), of one replica."""
    threads: Ints
    """Shape (J,), of one inference."""
    rate: Floats
    """Shape (J,): items per second of a replica by a capacity table; 0 where there are rows."""
    latency_s: Floats
    """Shape (J,): the table's latency."""
    first: Ints
    """Shape (J + 1,): the rows of shape j are `first[j]:first[j + 1]`; none by a capacity table."""
    batch: Ints
    """Shape (N,)."""
    mean_s: Floats
    """Shape (N,): mean service time of a batch."""
    quantile_s: Floats
    """Shape (N,): service time of a batch at the SLO's quantile."""
    scv: Floats
    """Shape (N,): squared coefficient of variation of the service time."""
    limit: NDArray[np.bool_]
    """Shape (N,): whether the batch size was measured, and so may be a limit."""


_tables: OrderedDict[tuple[int, float], tuple[Profile, dict[tuple[str, tuple[str, ...]], TaskTable]]] = OrderedDict()


def task_table(pipeline: Pipeline, profile: Profile, task: str) -> TaskTable:
    """The table of a task, from the cache where this very profile was asked for before.

    Variants that were not measured in any shape are left out.
    """
    key = (id(profile), pipeline.slo.quantile)
    found = _tables.get(key)
    if found is None or found[0] is not profile:
        found = _tables[key] = (profile, {})
        while len(_tables) > _KEPT:
            _tables.popitem(last=False)
    wanted = tuple(pipeline.tasks[task].variants)
    table = found[1].get((task, wanted))
    if table is None:
        known = profile.variants.get(task, {})
        names = tuple(sorted(v for v in wanted if v in known and known_shapes(known[v])))
        table = found[1][task, wanted] = _make(names, known, pipeline.slo.quantile)
    return table


def _make(names: tuple[str, ...], known: Mapping[str, VariantProfile], quantile: float) -> TaskTable:
    shapes: list[tuple[int, int, int, float, float]] = []
    rows: list[tuple[int, float, float, float, bool]] = []
    first = [0]
    for v, name in enumerate(names):
        profile = known[name]
        for cores, threads in known_shapes(profile):
            row = table_row(profile, cores, threads)
            shapes.append((v, cores, threads, row.rate_rps if row else 0.0, row.latency_s if row else 0.0))
            if row is None:
                measured = profile.batches(cores, threads)
                times, _ = batch_times(profile, cores, threads, max(measured), quantile)
                rows += [(t.batch, t.mean_s, t.quantile_s, t.scv, t.batch in measured) for t in times]
            first.append(len(rows))
    variant, cores_, threads_, rate, latency_s = (np.array(c) for c in _columns(shapes))
    batch, mean_s, quantile_s, scv, limit = (np.array(c) for c in _columns(rows))
    return TaskTable(
        variants=names,
        memory_bytes=np.array([known[v].memory_bytes or 0 for v in names], dtype=np.int64),
        load_s=np.array([known[v].load_time_s or 0.0 for v in names], dtype=np.float64),
        variant=variant.astype(np.int64),
        cores=cores_.astype(np.int64),
        threads=threads_.astype(np.int64),
        rate=rate.astype(np.float64),
        latency_s=latency_s.astype(np.float64),
        first=np.array(first, dtype=np.int64),
        batch=batch.astype(np.int64),
        mean_s=mean_s.astype(np.float64),
        quantile_s=quantile_s.astype(np.float64),
        scv=scv.astype(np.float64),
        limit=limit.astype(np.bool_),
    )


def _columns(rows: Sequence[tuple[float, ...]]) -> tuple[tuple[float, ...], ...]:
    """Five columns from rows of five, of which there may be none."""
    return tuple(zip(*rows, strict=True)) or ((),) * 5
