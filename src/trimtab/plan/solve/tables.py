"""The choices of all tasks in flat arrays, and how kernels make them fewer before any search.

Choices of task s lie at `first[s]:first[s + 1]` of every column. What cannot be part of any answer goes first: choices
that do not fit even with the least of everything else, limits that cannot bind, choices that another one of the same
task dominates.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Flags, Floats, Ints

Numbers = TypeVar("Numbers", Floats, Ints)

SLACK = 1e-12
"""Relative: what a sum may be above its limit, for rounding can explain it."""
MARGIN = 1e-11
"""Relative to the sum of the largest terms: sums closer than this are equal."""


class Table(NamedTuple):
    """N choices of S tasks."""

    accuracy: Floats
    """Shape (N,)."""
    latency: Floats
    """Shape (N,), seconds."""
    cost: Floats
    """Shape (N,)."""
    use: Floats
    """Shape (N, R)."""
    first: Ints
    """Shape (S + 1,)."""
    place: Ints
    """Shape (N,): where the choice stood before any was left out."""


class Bounds(NamedTuple):
    """What a choice per task has to keep."""

    longest: float
    """Seconds along any path; infinite where no path can take longer."""
    limits: Floats
    """Shape (R,), finite."""


class Slots(NamedTuple):
    """The DAG; shapes and meaning as in `graph.Frontier`."""

    slot: Ints
    source: Ints
    adds: Ints
    width: Ints
    before: Ints


@kernel()
def subset(table: Table, keep: Flags) -> Table:
    """The choices that are flagged, (N,), in the same order."""
    chosen = np.flatnonzero(keep)
    first = np.zeros_like(table.first)
    for s in range(first.size - 1):
        first[s + 1] = first[s] + np.count_nonzero(keep[table.first[s] : table.first[s + 1]])
    return pick(table, chosen, first)


@kernel()
def pick(table: Table, chosen: Ints, first: Ints) -> Table:
    """The choices at the places `chosen`, those of task s at `first[s]:first[s + 1]` of it."""
    return Table(
        table.accuracy[chosen],
        table.latency[chosen],
        table.cost[chosen],
        table.use[chosen],
        first,
        table.place[chosen],
    )


@kernel()
def with_resource(table: Table, use: Floats) -> Table:
    """The same choices with one more resource, of which they take `use`, (N,)."""
    n, resources = table.use.shape
    wider = np.empty((n, resources + 1))
    for i in range(n):
        for r in range(resources):
            wider[i, r] = table.use[i, r]
        wider[i, resources] = use[i]
    return Table(table.accuracy, table.latency, table.cost, wider, table.first, table.place)


@kernel()
def with_limit(bounds: Bounds, limit: float) -> Bounds:
    """One more limit."""
    limits = np.full(bounds.limits.size + 1, limit)
    for r in range(bounds.limits.size):
        limits[r] = bounds.limits[r]
    return Bounds(bounds.longest, limits)


@kernel()
def fitting(table: Table, slots: Slots, bounds: Bounds) -> Table:
    """Leave out what is too long or takes too much even with the least of all other tasks."""
    tasks, resources = table.first.size - 1, bounds.limits.size
    while True:
        first = table.first
        if np.any(first[1:] == first[:-1]):
            return table
        head, rest = _around(table, slots)
        keep = np.ones(table.cost.size, dtype=np.bool_)
        for s in range(tasks):
            span = slice(first[s], first[s + 1])
            keep[span] &= head[s] + table.latency[span] + rest[s] <= bounds.longest
        for r in range(resources):
            least = np.empty(tasks)
            for s in range(tasks):
                least[s] = np.min(table.use[first[s] : first[s + 1], r])
            total = np.sum(least)
            for s in range(tasks):
                span = slice(first[s], first[s + 1])
                keep[span] &= table.use[span, r] + (total - least[s]) <= bounds.limits[r]
        if np.all(keep):
            return table
        table = subset(table, keep)


@kernel()
def _around(table: Table, slots: Slots) -> tuple[Floats, Floats]:
    """The least time from the start to each task and from its end to the end of all, (S,) each, seconds."""
    tasks = table.first.size - 1
    fastest, head, rest = np.empty(tasks), np.zeros(tasks), np.zeros(tasks)
    for s in range(tasks):
        fastest[s] = np.min(table.latency[table.first[s] : table.first[s + 1]])
        for u in range(s):
            if slots.before[s, u] == 1:
                head[s] = max(head[s], head[u] + fastest[u])
    for s in range(tasks - 1, -1, -1):
        for t in range(s + 1, tasks):
            if slots.before[t, s] == 1:
                rest[s] = max(rest[s], rest[t] + fastest[t])
    return head, rest


@kernel()
def binding(table: Table, bounds: Bounds) -> tuple[Table, Bounds]:
    """Leave out the limits that the largest uses together keep, and those that another one implies."""
    tasks, resources = table.first.size - 1, bounds.limits.size
    stays = np.zeros(resources, dtype=np.bool_)
    for r in range(resources):
        total = 0.0
        for s in range(tasks):
            total += np.max(table.use[table.first[s] : table.first[s + 1], r])
        if not total > bounds.limits[r]:
            continue
        stays[r] = True
        for q in range(r):
            # Both columns in shares of their limits: the one that is nowhere smaller is the only one that counts.
            if stays[q]:
                mine, other = table.use[:, r] * bounds.limits[q], table.use[:, q] * bounds.limits[r]
                if np.all(mine <= other * (1.0 + 1e-15)):
                    stays[r] = False
                    break
                if np.all(other <= mine * (1.0 + 1e-15)):
                    stays[q] = False
    columns = np.flatnonzero(stays)
    use = np.empty((table.cost.size, columns.size))
    limits = np.empty(columns.size)
    for c in range(columns.size):
        use[:, c] = table.use[:, columns[c]]
        limits[c] = bounds.limits[columns[c]]
    return (
        Table(table.accuracy, table.latency, table.cost, use, table.first, table.place),
        Bounds(bounds.longest, limits),
    )


@kernel()
def slowest(table: Table, slots: Slots) -> float:
    """The longest path's latency with the slowest choice of every task, seconds."""
    tasks = table.first.size - 1
    done, most = np.zeros(tasks), 0.0
    for s in range(tasks):
        for u in range(s):
            if slots.before[s, u] == 1:
                done[s] = max(done[s], done[u])
        done[s] += np.max(table.latency[table.first[s] : table.first[s + 1]])
        most = max(most, done[s])
    return most


@kernel()
def without_paths(tasks: int) -> Slots:
    """Slots of a DAG whose latency does not matter."""
    return Slots(
        np.full((tasks + 1, tasks), -1, dtype=np.int64),
        np.full((tasks, 1), -1, dtype=np.int64),
        np.zeros((tasks, 1), dtype=np.int64),
        np.zeros(tasks + 1, dtype=np.int64),
        np.zeros((tasks, tasks), dtype=np.int64),
    )


@kernel()
def undominated(table: Table, bounds: Bounds) -> Table:
    """Leave out what another choice of the task is no worse than in everything; weights ascending.

    The weight is the latency where it can bind, else the use of the first resource: what `knapsack` wants.
    """
    tasks, resources = table.first.size - 1, bounds.limits.size
    timed = bounds.longest < np.inf
    weight = table.latency if timed or resources == 0 else table.use[:, 0].copy()
    criteria = np.empty((table.cost.size, resources + 2))
    criteria[:, 0] = table.cost
    dims = 1
    if timed:
        criteria[:, 1] = table.latency
        dims = 2
    for r in range(resources):
        column = table.use[:, r]
        if not proportional(column, table.cost):
            criteria[:, dims] = column
            dims += 1
    compared = criteria[:, :dims].copy()
    chosen, first = np.empty(table.cost.size, dtype=np.int64), np.zeros(tasks + 1, dtype=np.int64)
    count = 0
    for s in range(tasks):
        begin, end = table.first[s], table.first[s + 1]
        # The best come first, and of equally accurate ones the cheapest and then the lightest.
        order = np.argsort(weight[begin:end], kind="mergesort")
        order = order[np.argsort(table.cost[begin:end][order], kind="mergesort")]
        order = order[np.argsort(-table.accuracy[begin:end][order], kind="mergesort")] + begin
        kept = np.empty(order.size, dtype=np.int64)
        found = kept[: staircase(compared, order, kept)]
        found = found[np.argsort(weight[found], kind="mergesort")]
        chosen[count : count + found.size] = found
        count += found.size
        first[s + 1] = count
    return pick(table, chosen[:count].copy(), first)


@kernel()
def proportional(a: Floats, b: Floats) -> bool:
    """Whether two columns, (N,), rank all choices and their sums alike."""
    top = np.argmax(b)
    if not 0.0 < a[top] < np.inf:
        return False
    return bool(np.all(np.abs(a * b[top] - b * a[top]) <= 1e-14 * a[top] * b[top]))


@kernel()
def staircase(criteria: Floats, order: Ints, kept: Ints) -> int:
    """Write those that no earlier one in `order` (the most valuable first) dominates into `kept`; their number.

    `criteria` has the shape (N, D): smaller is better.
    """
    dims = criteria.shape[1]
    if dims == 0:
        kept[0] = order[0]
        return 1
    if dims == 1:
        return _falling(criteria, order, kept)
    if dims == 2:
        return _stairs(criteria, order, kept)
    count = 0
    for at in range(order.size):
        candidate = order[at]
        dominated = False
        for q in range(count):
            worse = True
            for d in range(dims):
                if criteria[kept[q], d] > criteria[candidate, d]:
                    worse = False
                    break
            if worse:
                dominated = True
                if q > 0:  # what dominates one often dominates the next: look at it earlier
                    kept[q], kept[q - 1] = kept[q - 1], kept[q]
                break
        if not dominated:
            kept[count] = candidate
            count += 1
    return count


@kernel()
def _falling(criteria: Floats, order: Ints, kept: Ints) -> int:
    """`staircase` with one criterion."""
    least, count = np.inf, 0
    for at in range(order.size):
        if count == 0 or criteria[order[at], 0] < least:
            least = criteria[order[at], 0]
            kept[count] = order[at]
            count += 1
    return count


@kernel()
def _stairs(criteria: Floats, order: Ints, kept: Ints) -> int:
    """`staircase` with two criteria: what is dominated so far lies above a flight of steps."""
    steps, heights = np.empty(order.size), np.empty(order.size)
    size, count = 0, 0
    for at in range(order.size):
        added = step_down(steps, heights, size, criteria[order[at], 0], criteria[order[at], 1])
        if added >= 0:
            size = added
            kept[count] = order[at]
            count += 1
    return count


@kernel()
def step_down(steps: Floats, heights: Floats, size: int, x: float, y: float) -> int:
    """Add the point (x, y) to `size` steps that rise in x and fall in y; their new number, -1 if it lies above them."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if steps[middle] <= x:
            low = middle + 1
        else:
            high = middle
    if low > 0 and heights[low - 1] <= y:
        return -1
    start = low
    if low > 0 and steps[low - 1] == x:
        start = low - 1
    stop = start
    while stop < size and heights[stop] >= y:
        stop += 1
    if stop == start:
        for q in range(size, start, -1):
            steps[q], heights[q] = steps[q - 1], heights[q - 1]
        size += 1
    elif stop > start + 1:
        shift = stop - start - 1
        for q in range(stop, size):
            steps[q - shift], heights[q - shift] = steps[q], heights[q]
        size -= shift
    steps[start], heights[start] = x, y
    return size


@kernel()
def doubled(column: Numbers) -> Numbers:
    """The same column, (N,), with as much room again."""
    longer = np.empty(2 * column.size, dtype=column.dtype)
    longer[: column.size] = column
    return longer


@kernel()
def first_of(ranked: Ints, most: int) -> Ints:
    """The first `most` of a permutation, in ascending order."""
    flags = np.zeros(ranked.size, dtype=np.bool_)
    flags[ranked[:most]] = True
    return np.flatnonzero(flags)


@kernel()
def rounding(value: Floats, first: Ints) -> float:
    """How far apart two sums of one value a task may be and still count as equal; `value` is finite."""
    total = 0.0
    for s in range(first.size - 1):
        total += np.max(np.abs(value[first[s] : first[s + 1]]))
    return MARGIN * total
