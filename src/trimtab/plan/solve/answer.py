"""A problem in flat arrays, answered in one call: makes the table small, takes logarithms, chooses the method."""

from __future__ import annotations

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.labels import total
from trimtab.plan.solve.oracle import largest, settle_ties
from trimtab.plan.solve.problem import Floats, Ints
from trimtab.plan.solve.relax import free_of_charge
from trimtab.plan.solve.tables import (
    SLACK,
    Bounds,
    Slots,
    Table,
    binding,
    fitting,
    slowest,
    subset,
    undominated,
    with_limit,
    with_resource,
    without_paths,
)
from trimtab.plan.solve.weighted import largest_weighted

MOST_ACCURATE, CHEAPEST, WEIGHTED = 0, 1, 2
"""The goals; the second has its floor, the third its alpha as `weight`."""
_NOTHING = 1e4
"""Stands for -log 0 where only the order matters: more than any sum of logarithms of accuracies."""


@kernel(
    "Tuple((float64, float64))(float64[::1], float64[::1], float64[::1], float64[:,::1], int64[::1], int64[:,::1], "
    "int64[:,::1], int64[:,::1], int64[::1], int64[:,::1], float64, float64[::1], boolean, int64, float64, float64, "
    "int64, int64[::1])"
)
def answer(
    accuracy: Floats,
    latency: Floats,
    cost: Floats,
    use: Floats,
    first: Ints,
    slot: Ints,
    source: Ints,
    adds: Ints,
    width: Ints,
    before: Ints,
    longest: float,
    limits: Floats,
    product: bool,
    goal: int,
    weight: float,
    beat: float,
    most: int,
    path: Ints,
) -> tuple[float, float]:
    """Write the best choice of each task, as a place in the columns, into `path`.

    Args:
        accuracy: shape (N,); the choices of task s at `first[s]:first[s + 1]`, as in all columns.
        latency: shape (N,), seconds.
        cost: shape (N,).
        use: shape (N, R).
        first: shape (S + 1,).
        slot: as in `graph.Frontier`, and so are the four that follow.
        source: see there.
        adds: see there.
        width: see there.
        before: see there.
        longest: limit of the latency along every path, seconds.
        limits: shape (R,).
        product: whether accuracies multiply; else they add up.
        goal: MOST_ACCURATE, CHEAPEST or WEIGHTED.
        weight: the goal's floor or alpha.
        beat: what the goal's first criterion (accuracy, -cost, alpha · accuracy - cost) has to be above; -inf: nothing.
        most: labels a task at most.
        path: shape (S,).

    Returns:
        The first criterion's value, -inf if nothing is admissible and above `beat`; and what it is at most for
        anything that was not looked at, -inf if there is nothing such.
    """
    table = Table(accuracy, latency, cost, use, first, np.arange(accuracy.size))
    slots = Slots(slot, source, adds, width, before)
    bounds = Bounds(longest * (1.0 + SLACK), limits * (1.0 + SLACK))
    if goal == CHEAPEST and weight > 0.0:
        table, bounds = _above_floor(table, bounds, weight, product)
    table = fitting(table, slots, bounds)
    if not _is_full(table):
        return -np.inf, -np.inf
    table, bounds = binding(table, bounds)
    if slowest(table, slots) <= bounds.longest:
        slots, bounds = without_paths(first.size - 1), Bounds(np.inf, bounds.limits)
    table = undominated(table, bounds)
    if goal == WEIGHTED and product:
        return _weighted(table, slots, bounds, weight, beat, most, path)
    return _linear(table, slots, bounds, product, goal, weight, beat, most, path)


@kernel()
def _is_full(table: Table) -> bool:
    """Whether every task has a choice."""
    return bool(np.all(table.first[1:] > table.first[:-1]))


@kernel(inline=True)
def _above_floor(table: Table, bounds: Bounds, floor: float, product: bool) -> tuple[Table, Bounds]:
    """The floor of the accuracy as one more limit: on what each choice lacks to the best of its task."""
    if product:
        table = subset(table, table.accuracy > 0.0)
        gain, spare = np.log(table.accuracy), -np.log(floor) + SLACK
    else:
        gain, spare = table.accuracy, -floor * (1.0 - SLACK)
    lacks = np.zeros(gain.size)
    for s in range(table.first.size - 1):
        span = slice(table.first[s], table.first[s + 1])
        if table.first[s] < table.first[s + 1]:
            lacks[span] = np.max(gain[span]) - gain[span]
            spare += np.max(gain[span])
    return with_resource(table, lacks), with_limit(bounds, spare)


@kernel()
def _gains(table: Table, product: bool) -> Floats:
    """What adds up where accuracies multiply: their logarithms, with a finite stand-in for that of 0; (N,)."""
    if not product:
        return table.accuracy
    gains = np.full(table.accuracy.size, -_NOTHING)
    for i in range(gains.size):
        if table.accuracy[i] > 0.0:
            gains[i] = np.log(table.accuracy[i])
    return gains


@kernel(inline=True)
def _linear(
    table: Table,
    slots: Slots,
    bounds: Bounds,
    product: bool,
    goal: int,
    weight: float,
    beat: float,
    most: int,
    path: Ints,
) -> tuple[float, float]:
    """The goals that come down to sums, and their second criterion."""
    multiplies = product and goal == MOST_ACCURATE
    some, floor = table, beat
    if multiplies:
        some = subset(table, table.accuracy > 0.0)
        floor = np.log(beat) if beat > 0.0 else -np.inf
    # Where accuracies multiply, the second round is for answers of accuracy 0: the cheapest is the best of them.
    for last in (not multiplies, True):
        second = -some.cost
        if goal == CHEAPEST:
            value, second = -some.cost, _gains(some, product)
        elif goal == WEIGHTED:
            value = weight * some.accuracy - some.cost
        elif not product:
            value = some.accuracy.copy()
        elif last:
            value = -some.cost
        else:
            value = np.log(some.accuracy)
        if _is_full(some):
            picks = np.zeros(path.size, dtype=np.int64)
            prices = free_of_charge(path.size, bounds.limits.size)
            reached, lost = largest(value, some, slots, bounds, floor, most, prices, picks)
            if reached > -np.inf and goal != WEIGHTED:
                settle_ties(value, second, some, slots, bounds, most, picks)
            if reached > -np.inf:
                path[:] = some.place[picks]
            if multiplies and last:
                return (0.0 if reached > -np.inf else reached), (0.0 if reached < lost else -np.inf)
            if multiplies and (reached > -np.inf or lost > -np.inf):
                return np.exp(reached), (np.exp(lost) if lost > -np.inf else lost)
            if not multiplies:
                return reached, lost
        if beat >= 0.0:
            break
        some, floor = table, -np.inf
    return -np.inf, -np.inf


@kernel(inline=True)
def _weighted(
    table: Table, slots: Slots, bounds: Bounds, alpha: float, beat: float, most: int, path: Ints
) -> tuple[float, float]:
    """The largest alpha · Π a - C; the cheapest answer is the best of those whose accuracy is 0."""
    best, bound = -np.inf, -np.inf
    picks = np.zeros(path.size, dtype=np.int64)
    positive = table.accuracy > 0.0
    if alpha == 0.0 or not np.all(positive):
        prices = free_of_charge(path.size, bounds.limits.size)
        reached, bound = largest(-table.cost, table, slots, bounds, beat, most, prices, picks)
        if reached > -np.inf:
            product = 1.0
            for s in range(picks.size):
                product *= table.accuracy[picks[s]]
            best = alpha * product - total(table.cost, picks)
            path[:] = table.place[picks]
    some = subset(table, positive)
    if alpha > 0.0 and _is_full(some):
        reached, lost = largest_weighted(alpha, some, slots, bounds, max(beat, best), most, picks)
        bound = max(bound, lost)
        if reached > -np.inf:
            best = reached
            path[:] = some.place[picks]
    return best, bound
