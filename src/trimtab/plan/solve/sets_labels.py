"""Labels of the search for the best set of variants: how they are extended, bounded and dominated.

The method is stated in `solve.sets_search`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Flags, Floats, Ints
from trimtab.plan.solve.sets_bounds import Bounds, Table


class Labels(NamedTuple):
    """Labels of one stage, side by side."""

    cores: Ints
    rate: Floats
    value: Floats
    """Less the cost of cores and loading."""
    bound: Floats
    """What a set that completes it is worth at most."""
    parent: Ints
    """Where its label of the stage before is in the history."""
    option: Ints
    """-1: the variant is not in the set."""
    use: Floats
    """Shape (L, R)."""


@kernel()
def empty(size: int, resources: int) -> Labels:
    """Room for so many labels."""
    return Labels(
        np.zeros(size, dtype=np.int64),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size),
        np.zeros(size, dtype=np.int64),
        np.zeros(size, dtype=np.int64),
        np.zeros((size, resources)),
    )


@kernel()
def doubled(a: Labels) -> Labels:
    """The same labels with room for as many more."""
    return Labels(
        np.concatenate((a.cores, a.cores)),
        np.concatenate((a.rate, a.rate)),
        np.concatenate((a.value, a.value)),
        np.concatenate((a.bound, a.bound)),
        np.concatenate((a.parent, a.parent)),
        np.concatenate((a.option, a.option)),
        np.concatenate((a.use, a.use)),
    )


@kernel()
def taken(a: Labels, which: Ints) -> Labels:
    """The labels at these places."""
    return Labels(
        a.cores[which], a.rate[which], a.value[which], a.bound[which], a.parent[which], a.option[which], a.use[which]
    )


@kernel()
def label_bound(bounds: Bounds, m: int, left: int, value: float, rest: float, floor: float) -> float:
    """What a label before variant m is worth at most, or something at most `floor`."""
    i = bounds.main
    least = value + bounds.multiplier[i] * rest + bounds.best[i, m, left]
    for i in range(bounds.made):
        if least <= floor:
            break
        least = min(least, value + bounds.multiplier[i] * rest + bounds.best[i, m, left])
    return float(least)


@kernel()
def within(t: Table, labels: Labels, i: int, o: int) -> bool:
    """Whether the label leaves the option its share of the other resources."""
    for r in range(t.limits.size):
        if labels.use[i, r] + t.use[o, r] > t.limits[r]:
            return False
    return True


@kernel(inline=True)
def promising(
    t: Table, allowed: Flags, m: int, left: int, offset: float, bounds: Bounds, least: int, floor: float, found: Ints
) -> int:
    """Write the options of variant m that may lead to something better than `floor` into `found`; their number.

    `offset` is the largest value + multiplier·rest, at the main multiplier, of labels with so many cores left; `least`
    the fewest cores that a later variant needs.
    """
    best, p, n = bounds.best[bounds.main], bounds.multiplier[bounds.main], 0
    for o in range(t.first[m], t.first[m + 1]):
        k = left - t.cores[o]
        if not allowed[o] or k < least:
            continue
        if offset + (t.worth[m] - p) * t.rate[o] - t.price * t.cores[o] + best[m + 1, k] > floor:
            found[n] = o
            n += 1
    return n


@kernel(inline=True)
def extend(
    t: Table, allowed: Flags, forced: int, m: int, labels: Labels, start: int, bounds: Bounds, floor: float, spent: Ints
) -> Labels:
    """Every label with every option of variant m, or without the variant, as far as the bound is above `floor`.

    `start` is where the labels begin in the history.
    """
    made, n = empty(2 * labels.cores.size + 64, t.limits.size), 0
    least = t.budget + 1
    for o in range(t.first[m + 1], t.cores.size):
        least = min(least, t.cores[o]) if allowed[o] else least
    order = np.argsort(labels.cores, kind="mergesort")
    options = np.empty(t.first[m + 1] - t.first[m] + 1, dtype=np.int64)
    p = bounds.multiplier[bounds.main]
    group, count = 0, 0
    for at in range(order.size):
        i = order[at]
        if at == group:
            # Labels of as many cores share the options that are worth a look.
            offset = -np.inf
            while group < order.size and labels.cores[order[group]] == labels.cores[i]:
                j = order[group]
                offset = max(offset, labels.value[j] + p * (t.demand - labels.rate[j]))
                group += 1
            left = t.budget - labels.cores[i]
            count = promising(t, allowed, m, left, offset, bounds, least, floor, options)
            if forced != m:
                options[count] = -1
                count += 1
        spent[0] += count
        for c in range(count):
            o = options[c]
            cores, rate, value = labels.cores[i], labels.rate[i], labels.value[i]
            if o >= 0:
                cores, rate = cores + t.cores[o], rate + t.rate[o]
                value += t.worth[m] * t.rate[o] - t.price * t.cores[o]
                if rate >= t.demand or not within(t, labels, i, o):
                    continue
            bound = label_bound(bounds, m + 1, t.budget - cores, value, t.demand - rate, floor)
            if bound <= floor:
                continue
            if n == made.cores.size:
                made = doubled(made)
            made.cores[n], made.rate[n], made.value[n], made.bound[n] = cores, rate, value, bound
            made.parent[n], made.option[n] = start + i, o
            for r in range(t.limits.size):
                made.use[n, r] = labels.use[i, r] + (t.use[o, r] if o >= 0 else 0.0)
            n += 1
    return taken(made, np.arange(n))


@kernel(inline=True)
def undominated(t: Table, m: int, labels: Labels) -> Ints:
    """Where the labels are that no other one makes superfluous before variant m.

    Labels are taken from the largest rate on, in classes of the same use of other resources (and of the same rate where
    the demand must be met exactly); a Fenwick tree has the best value - worth·rate for up to k cores.
    """
    order = np.argsort(-labels.rate, kind="mergesort")
    for r in range(t.limits.size):
        order = order[np.argsort(labels.use[order, r], kind="mergesort")]
    best = np.full(t.budget + 2, -np.inf)
    kept, n = np.empty(order.size, dtype=np.int64), 0
    for at in range(order.size):
        i = order[at]
        if at > 0 and differs(t, labels, i, order[at - 1]):
            best[:] = -np.inf
        worth = labels.value[i] - t.worth[m] * labels.rate[i]
        k = labels.cores[i] + 1
        top = -np.inf
        while k > 0:
            top = max(top, best[k])
            k -= k & -k
        if top >= worth - t.margin:
            continue
        kept[n] = i
        n += 1
        k = labels.cores[i] + 1
        while k < best.size:
            best[k] = max(best[k], worth)
            k += k & -k
    return kept[:n].copy()


@kernel()
def differs(t: Table, labels: Labels, i: int, j: int) -> bool:
    """Whether neither label can dominate the other, for they are in different classes."""
    for r in range(t.limits.size):
        if labels.use[i, r] != labels.use[j, r]:
            return True
    return bool(t.exact and labels.rate[i] != labels.rate[j])


@kernel(inline=True)
def widest(labels: Labels, which: Ints, width: int) -> tuple[Ints, float]:
    """The `width` labels of the largest bounds, and the largest bound of the others."""
    if which.size <= width:
        return which, -np.inf
    order = np.argsort(-labels.bound[which], kind="mergesort")
    return which[order[:width]], float(labels.bound[which[order[width]]])
