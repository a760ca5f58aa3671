"""Exact label setting over a DAG: the largest sum of values within a latency along every path and limits on sums.

Partial choices (*labels*) are extended task by task in the order of `solve.graph`. A label knows when the open slots
can start, what it has used and what it is worth, and is dropped when

- the least that the rest takes no longer fits the latency or a limit;
- its most favourable completion, bounded with the prices of `solve.relax`, is no match for what is known;
- another label is worth at least as much, starts every slot as early and uses no more.

With more labels than asked for the least promising ones are dropped too, and the best bound among them is the proof of
how much better than the answer anything can be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Floats, Ints
from trimtab.plan.solve.relax import PATHS, Prices, charged, improve, relaxed, worthwhile
from trimtab.plan.solve.tables import Bounds, Slots, Table, doubled, first_of, pick, staircase, subset

BEAM = 24
"""Labels of the first pass, which finds a good choice to beat; every further pass has `WIDER` times as many."""
WIDER = 16
SURPLUS = 4
"""Times the labels that are kept may be looked at for dominance."""


@kernel(inline=True)
def best_labels(
    value: Floats,
    table: Table,
    slots: Slots,
    bounds: Bounds,
    floor: float,
    margin: float,
    most: int,
    prices: Prices,
    path: Ints,
) -> tuple[float, float]:
    """Write the choice of each task with the largest sum of values into `path`, where it is above `floor`.

    Args:
        value: shape (N,).
        table: the choices.
        slots: the DAG.
        bounds: latency and limits.
        floor: what is known; -inf: nothing.
        margin: sums closer than this are equal.
        most: labels a task at most.
        prices: where the search for prices starts; they are improved.
        path: shape (S,).

    Returns:
        The value, -inf if nothing is above `floor`; and a bound on what was not looked at, -inf if there is nothing.
    """
    tasks = table.first.size - 1
    trial = np.zeros(tasks, dtype=np.int64)
    best = -np.inf
    met = relaxed(value, table, slots, bounds, floor, prices, trial)
    if met > -np.inf:
        improve(value, table, slots, bounds, trial)
        met = total(value, trial)
        if met > floor + margin:
            best = met
            path[:] = trial
    # From here on `places` are those of the choices left in the table that came in.
    places = np.arange(value.size)
    left, worth, labels, lost = table, value, min(BEAM, most), -np.inf
    while True:
        known = max(floor, best)
        if known > -np.inf:
            keep = worthwhile(worth, left, bounds, prices, known + margin)
            left, worth, places = subset(left, keep), worth[keep], places[keep]
            for s in range(tasks):
                if left.first[s] == left.first[s + 1]:
                    return best, -np.inf
        by_worth = _descending(worth, left.first)
        left, worth, places = pick(left, by_worth, left.first), worth[by_worth], places[by_worth]
        reached, lost = _extend(worth, left, slots, bounds, known, margin, labels, prices, trial)
        if reached > known + margin:
            best = reached
            path[:] = places[trial]
        known = max(floor, best)
        if lost <= known + margin and not (known == -np.inf and lost > -np.inf):
            return best, -np.inf
        if labels >= most:
            return best, lost
        labels = min(labels * WIDER, most)


@kernel()
def _descending(value: Floats, first: Ints) -> Ints:
    """The places of each task's choices, the most valuable first."""
    order = np.empty(value.size, dtype=np.int64)
    for s in range(first.size - 1):
        span = slice(first[s], first[s + 1])
        order[span] = np.argsort(-value[span], kind="mergesort") + first[s]
    return order


@kernel()
def total(value: Floats, path: Ints) -> float:
    """The sum of the values of one choice per task."""
    reached = 0.0
    for s in range(path.size):
        reached += value[path[s]]
    return reached


class Ahead(NamedTuple):
    """What the tasks from each one on take at least and give at most; the last row is zero."""

    least: Floats
    """Shape (S + 1, R): use."""
    charged: Floats
    """Shape (S + 1,): value less what it is charged."""
    easy: Floats
    """Shape (S + 1,): value."""
    after: Floats
    """Shape (S,): seconds from the end of the task to the end of all."""


class Labels(NamedTuple):
    """Partial choices, N of them, all up to the same task."""

    value: Floats
    """Shape (N,)."""
    bound: Floats
    """Shape (N,): what the whole choice is worth at most."""
    criteria: Floats
    """Shape (N, W + R): when each slot can start at the earliest, and what is used."""
    parent: Ints
    """Shape (N,): the label of one task less."""
    choice: Ints
    """Shape (N,)."""


@kernel()
def _extend(
    value: Floats,
    table: Table,
    slots: Slots,
    bounds: Bounds,
    known: float,
    margin: float,
    most: int,
    prices: Prices,
    path: Ints,
) -> tuple[float, float]:
    """One pass of at most `most` labels a task: the best above `known` into `path`; results as of `best_labels`."""
    tasks, resources = table.first.size - 1, bounds.limits.size
    ahead = _ahead(value, table, slots, prices)
    parent, choice = np.empty(256, dtype=np.int64), np.empty(256, dtype=np.int64)
    begins, end, lost = np.zeros(tasks + 1, dtype=np.int64), 0, -np.inf
    none = np.zeros(1, dtype=np.int64)
    labels = Labels(np.zeros(1), np.zeros(1), np.zeros((1, resources)), none, none)
    for s in range(tasks):
        labels = _next(s, labels, value, table, slots, bounds, known + margin, prices, ahead)
        if labels.value.size == 0:
            return -np.inf, lost
        chosen = np.arange(labels.value.size)
        if chosen.size > SURPLUS * most:
            ranked = np.argsort(-labels.bound, kind="mergesort")
            lost = max(lost, labels.bound[ranked[SURPLUS * most]])
            chosen = first_of(ranked, SURPLUS * most)
        order = chosen[np.argsort(-labels.value[chosen], kind="mergesort")]
        if s + 1 == tasks:
            order = order[:1]
        kept = np.empty(order.size, dtype=np.int64)
        kept = kept[: staircase(labels.criteria, order, kept)]
        if kept.size > most:
            ranked = np.argsort(-labels.bound[kept], kind="mergesort")
            lost = max(lost, labels.bound[kept[ranked[most]]])
            kept = kept[first_of(ranked, most)]
        labels = _some(labels, kept)
        begins[s] = end
        while end + kept.size > parent.size:
            parent, choice = doubled(parent), doubled(choice)
        parent[end : end + kept.size] = labels.parent
        choice[end : end + kept.size] = labels.choice
        end += kept.size
    at = 0
    for s in range(tasks - 1, -1, -1):
        path[s] = choice[begins[s] + at]
        at = parent[begins[s] + at]
    return labels.value[0], lost


@kernel()
def _ahead(value: Floats, table: Table, slots: Slots, prices: Prices) -> Ahead:
    first, tasks, resources = table.first, table.first.size - 1, prices.on_limits.size
    least, charges, easy = np.zeros((tasks + 1, resources)), np.zeros(tasks + 1), np.zeros(tasks + 1)
    down, after = np.zeros(tasks), np.zeros(tasks)
    worth = np.empty(value.size)
    charged(value, table, prices, worth)
    for s in range(tasks - 1, -1, -1):
        span = slice(first[s], first[s + 1])
        charges[s], easy[s] = charges[s + 1] + np.max(worth[span]), easy[s + 1] + np.max(value[span])
        for t in range(s + 1, tasks):
            if slots.before[t, s] == 1:
                after[s] = max(after[s], down[t])
        down[s] = np.min(table.latency[span]) + after[s]
        for r in range(resources):
            least[s, r] = least[s + 1, r] + np.min(table.use[span, r])
    return Ahead(least, charges, easy, after)


@kernel()
def _charges(s: int, slots: Slots, bounds: Bounds, prices: Prices, ahead: Ahead) -> tuple[float, Floats]:
    """The bound of a label after task s is its value, this constant, less these prices of each slot's start, (W,).

    What the label has used is charged besides.
    """
    constant, on_slots = ahead.charged[s + 1], np.zeros(slots.width[s + 1])
    for r in range(bounds.limits.size):
        constant += prices.on_limits[r] * bounds.limits[r]
    for p in range(PATHS):
        if prices.on_paths[p] > 0.0:
            for t in range(s + 1, ahead.after.size):
                if prices.paths[p, t] == 1:
                    # The path goes on from here: its tasks so far count by when the slot can start.
                    constant += prices.on_paths[p] * bounds.longest
                    if slots.slot[s + 1, t] >= 0:
                        on_slots[slots.slot[s + 1, t]] += prices.on_paths[p]
                    break
    return constant, on_slots


@kernel()
def _next(
    s: int,
    labels: Labels,
    value: Floats,
    table: Table,
    slots: Slots,
    bounds: Bounds,
    aim: float,
    prices: Prices,
    ahead: Ahead,
) -> Labels:
    """Every label with every choice of task s that still fits and can be worth more than `aim`."""
    first, use, limits = table.first, table.use, bounds.limits
    resources, wide, before = limits.size, slots.width[s + 1], slots.width[s]
    constant, on_slots = _charges(s, slots, bounds, prices, ahead)
    capacity = 4 * (labels.value.size + first[s + 1] - first[s])
    values, reach, criteria = np.empty(capacity), np.empty(capacity), np.empty((capacity, wide + resources))
    parent, choice = np.empty(capacity, dtype=np.int64), np.empty(capacity, dtype=np.int64)
    n, held = 0, slots.slot[s, s]
    for label in range(labels.value.size):
        start = 0.0
        if held >= 0:
            start = labels.criteria[label, held]
        for i in range(first[s], first[s + 1]):
            now = labels.value[label] + value[i]
            if now + ahead.easy[s + 1] <= aim:
                break  # the choices that follow are worth less
            finish = start + table.latency[i]
            fine = finish + ahead.after[s] <= bounds.longest
            for r in range(resources):
                if labels.criteria[label, before + r] + use[i, r] + ahead.least[s + 1, r] > limits[r]:
                    fine = False
                    break
            if not fine:
                continue
            if n == capacity:
                capacity *= 2
                values, reach, parent, choice = doubled(values), doubled(reach), doubled(parent), doubled(choice)
                wider = np.empty((capacity, wide + resources))
                wider[:n] = criteria
                criteria = wider
            bound = now + constant
            for j in range(wide):
                time = 0.0
                if slots.source[s, j] >= 0:
                    time = labels.criteria[label, slots.source[s, j]]
                if slots.adds[s, j] == 1 and finish > time:
                    time = finish
                criteria[n, j] = time
                bound -= on_slots[j] * time
            for r in range(resources):
                used = labels.criteria[label, before + r] + use[i, r]
                criteria[n, wide + r] = used
                bound -= prices.on_limits[r] * used
            bound = min(bound, now + ahead.easy[s + 1])
            if bound > aim:
                values[n], reach[n], parent[n], choice[n] = now, bound, label, i
                n += 1
    return Labels(values[:n].copy(), reach[:n].copy(), criteria[:n].copy(), parent[:n].copy(), choice[:n].copy())


@kernel()
def _some(labels: Labels, kept: Ints) -> Labels:
    return Labels(
        labels.value[kept], labels.bound[kept], labels.criteria[kept], labels.parent[kept], labels.choice[kept]
    )
