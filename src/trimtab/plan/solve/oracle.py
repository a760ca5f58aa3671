"""The largest sum of values within latency and limits, by the cheapest method that is exact for what binds."""

from __future__ import annotations

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.knapsack import knapsack
from trimtab.plan.solve.labels import best_labels, total
from trimtab.plan.solve.problem import Floats, Ints
from trimtab.plan.solve.relax import Prices, free_of_charge, relaxed, worthwhile
from trimtab.plan.solve.tables import Bounds, Slots, Table, pick, rounding, subset, with_limit, with_resource


@kernel()
def largest(
    value: Floats, table: Table, slots: Slots, bounds: Bounds, floor: float, most: int, prices: Prices, path: Ints
) -> tuple[float, float]:
    """Write the choice of each task with the largest sum of values into `path`, where it is above `floor`.

    Arguments and results are those of `labels.best_labels`. The weights of the choices ascend as `tables.undominated`
    leaves them.
    """
    margin = rounding(value, table.first)
    timed, resources = bounds.longest < np.inf, bounds.limits.size
    if not timed and resources == 0:
        for s in range(path.size):
            path[s] = table.first[s] + np.argmax(value[table.first[s] : table.first[s + 1]])
        reached, lost = total(value, path), -np.inf
        return (reached if reached > floor + margin else -np.inf), lost
    if (timed and resources == 0 and is_chain(slots)) or (not timed and resources == 1):
        weight, limit = table.latency, bounds.longest
        if not timed:
            weight, limit = table.use[:, 0].copy(), bounds.limits[0]
        return knapsack(value, weight, table.first, limit, floor, margin, most, path)
    return best_labels(value, table, slots, bounds, floor, margin, most, prices, path)


@kernel()
def is_chain(slots: Slots) -> bool:
    """Whether every task comes after the one before it; edges that skip tasks change nothing then."""
    links = 0
    for s in range(1, slots.before.shape[0]):
        links += slots.before[s, s - 1]
    return bool(links == slots.before.shape[0] - 1)


@kernel(inline=True)
def settle_ties(
    value: Floats, second: Floats, table: Table, slots: Slots, bounds: Bounds, most: int, path: Ints
) -> None:
    """Among the choices worth as much as `path`, which is the best, write that with the largest sum of `second`.

    Values that are worth less than the best by rounding count as equal. Where the labels do not suffice, `path` gets
    the best that was found.
    """
    tasks, resources = table.first.size - 1, bounds.limits.size
    aim = total(value, path) - 2.0 * rounding(value, table.first)
    prices, picks = free_of_charge(tasks, resources), path.copy()
    if bounds.longest < np.inf or resources > 0:
        relaxed(value, table, slots, bounds, aim, prices, picks)
    keep = worthwhile(value, table, bounds, prices, aim)
    if np.count_nonzero(keep) <= tasks:
        return
    places = np.flatnonzero(keep)
    left, worth = subset(table, keep), value[keep]
    # That the values sum up to `aim` is one more limit, on what each choice lacks to its task's best value.
    lacks, spare = np.empty(worth.size), -aim
    for s in range(tasks):
        span = slice(left.first[s], left.first[s + 1])
        lacks[span] = np.max(worth[span]) - worth[span]
        spare += np.max(worth[span])
    by_lack = _ascending(lacks, left.first)
    left, other, places = pick(left, by_lack, left.first), second[keep][by_lack], places[by_lack]
    picks = np.zeros(tasks, dtype=np.int64)
    reached, _ = largest(
        other,
        with_resource(left, lacks[by_lack]),
        slots,
        with_limit(bounds, spare),
        total(second, path),
        most,
        free_of_charge(tasks, resources + 1),
        picks,
    )
    if reached > -np.inf:
        path[:] = places[picks]


@kernel()
def _ascending(weight: Floats, first: Ints) -> Ints:
    """The places of each task's choices, the lightest first."""
    order = np.empty(weight.size, dtype=np.int64)
    for s in range(first.size - 1):
        span = slice(first[s], first[s + 1])
        order[span] = np.argsort(weight[span], kind="mergesort") + first[s]
    return order
