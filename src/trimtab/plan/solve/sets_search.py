"""The best set of variants, exactly: label setting over the variants from the most to the least accurate.

In some best set just the last member, the least accurate one, is not used to its full rate: members after the demand is
met serve nothing and can go. So a *label* is a choice of options for the first variants whose rates stay below the
demand: cores, rate and value so far. Any later variant can complete it, with its fewest cores that carry the rest.

A label goes when

- its bound (`solve.sets_bounds`, the least over a few multipliers) is no better than a complete set that is known;
- another label of no more cores and no less rate has at least its value - worth·rate, with the worth of one request
  per second at the next variant: more rate leaves less to serve, and what is left is worth at most that.

The cost of loading is the largest of the set. There is one search for each variant that may cause it, with that variant
in the set and all that load longer kept out, and one in which nothing loads; most are closed by their bound.

Of these searches the one with the highest bound is made next, and made again with room for more labels where some were
dropped for want of it: narrow searches find a good set, wider ones prove it. What is dropped leaves its bound behind,
so that a gap is proved when the effort is spent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Flags, Floats, Ints
from trimtab.plan.solve.sets_bounds import Answer, Bounds, Table, carried, tighten
from trimtab.plan.solve.sets_labels import Labels, empty, extend, taken, undominated, widest, within

NARROW, WIDER = 32, 8
"""Labels that the first search keeps per variant, and how many times more each next one."""
TABLES = 4
"""Multipliers that a search has bounds by."""
STEPS = 40
"""Most steps in the look-out for the first multiplier."""
ROUNDING = 1e-12
"""Relative to the parts of the value."""


class History(NamedTuple):
    """All labels that were kept, for reading a set back."""

    parent: Ints
    option: Ints
    size: Ints
    """Shape (1,)."""


class Effort(NamedTuple):
    """What a search may spend and has spent."""

    width: int
    """Labels kept per stage; 0: bounds only."""
    limit: int
    """Extensions of labels, all searches together."""
    spent: Ints
    """Shape (2,): extensions that were looked at, labels that were kept."""


@kernel(inline=True)
def completing(t: Table, allowed: Flags, m: int, labels: Labels, i: int, most: Floats) -> int:
    """The option of variant m with the fewest cores that completes label i; -1 if none does.

    `most` has the largest rate up to each option.
    """
    rest = t.demand - labels.rate[i]
    low, high = t.first[m], t.first[m + 1]
    while low < high:
        middle = (low + high) // 2
        if most[middle] >= rest:
            high = middle
        else:
            low = middle + 1
    equal = t.exact and m < t.worth.size - 1
    for o in range(low, t.first[m + 1]):
        if labels.cores[i] + t.cores[o] > t.budget:
            break
        carries = t.rate[o] == rest if equal else t.rate[o] >= rest
        if allowed[o] and carries and within(t, labels, i, o):
            return int(o)
    return -1


@kernel(inline=True)
def complete(t: Table, allowed: Flags, m: int, labels: Labels, history: History, answer: Answer) -> None:
    """Complete every label with variant m, and keep the best set as the answer."""
    most, top = np.zeros(t.cores.size), 0.0
    for o in range(t.first[m], t.first[m + 1]):
        top = max(top, t.rate[o]) if allowed[o] else top
        most[o] = top
    first = history.size[0] - labels.cores.size
    for i in range(labels.cores.size):
        o = completing(t, allowed, m, labels, i, most)
        if o < 0:
            continue
        value = labels.value[i] + t.worth[m] * (t.demand - labels.rate[i]) - t.price * t.cores[o]
        if value > answer.value[0]:
            answer.value[0] = value
            answer.picks[:] = -1
            answer.picks[m] = o
            at = first + i
            for j in range(m - 1, -1, -1):
                answer.picks[j] = history.option[at]
                at = history.parent[at]


@kernel(inline=True)
def search(
    t: Table, allowed: Flags, forced: int, level: float, bounds: Bounds, effort: Effort, answer: Answer
) -> float:
    """Look for sets better than the answer; the largest bound of what was dropped for want of room.

    `level` is what loading costs, the largest among the allowed options.
    """
    variants = t.worth.size
    history = History(np.full(1, -1, dtype=np.int64), np.full(1, -1, dtype=np.int64), np.ones(1, dtype=np.int64))
    labels = empty(1, t.limits.size)
    labels.value[0] = -level
    dropped = -np.inf
    for m in range(variants):
        if forced <= m:
            complete(t, allowed, m, labels, history, answer)
        if m == variants - 1:
            break
        start = history.size[0] - labels.cores.size
        floor = answer.value[0] + t.margin
        made = extend(t, allowed, forced, m, labels, start, bounds, floor, effort.spent)
        room = (effort.limit - effort.spent[0]) // (t.first[m + 2] - t.first[m + 1] + 1)
        which, lost = widest(made, undominated(t, m + 1, made), max(1, min(effort.width, room)))
        dropped = max(dropped, lost)
        labels = taken(made, which)
        if which.size == 0:
            break
        effort.spent[1] += which.size
        history = History(
            np.concatenate((history.parent, labels.parent)),
            np.concatenate((history.option, labels.option)),
            history.size,
        )
        history.size[0] += which.size
    return dropped


@kernel(inline=True)
def allow(t: Table, cause: int, levels: Floats, allowed: Flags) -> float:
    """Mark the options of the search in which variant `cause` causes the cost of loading (-1: nothing loads); the cost.

    An option that loads counts with its variant's level.
    """
    level = levels[cause] if cause >= 0 else 0.0
    for m in range(levels.size):
        for o in range(t.first[m], t.first[m + 1]):
            loads = t.load[o] > 0.0
            allowed[o] = loads if m == cause else not loads or levels[m] <= level
    return float(level)


@kernel(inline=True)
def visit(
    t: Table, cause: int, levels: Floats, effort: Effort, start: float, bounds: Bounds, answer: Answer
) -> tuple[float, float]:
    """Bound, and search if the effort has a width, the sets whose cost of loading is caused by `cause`.

    Returns what they are worth at most if they are better than the answer, and a better multiplier to start with next
    time. `bounds` has room for tables.
    """
    trial, allowed = np.empty(t.worth.size, dtype=np.int64), np.empty(t.cores.size, dtype=np.bool_)
    level = allow(t, cause, levels, allowed)
    steps = TABLES if effort.width > 0 else 1
    bound, best, made = tighten(t, allowed, cause, start, steps, bounds.best, bounds.multiplier, trial, answer)
    ceiling = bound - level
    if effort.width > 0 and ceiling > answer.value[0] + t.margin:
        ceiling = min(ceiling, search(t, allowed, cause, level, made, effort, answer))
    return ceiling, best


@kernel(
    "void(float64[::1], int64[::1], int64[::1], float64[::1], float64[::1], float64[:, ::1], float64[::1], float64,"
    " int64, float64, boolean, int64, int64, int64[::1], float64[::1])"
)
def best_set(
    worth: Floats,
    first: Ints,
    cores: Ints,
    rate: Floats,
    load: Floats,
    use: Floats,
    limits: Floats,
    price: float,
    budget: int,
    demand: float,
    exact: bool,
    width: int,
    limit: int,
    picks: Ints,
    facts: Floats,
) -> None:
    """Write the option of each variant, -1 for none, into `picks`; value, bound, extensions and labels into `facts`.

    The other arguments are the fields of `Table` and `Effort`. The value is -inf where no set was found; the bound too
    where there is none.
    """
    variants = worth.size
    levels = np.zeros(variants)
    for m in range(variants):
        for o in range(first[m], first[m + 1]):
            levels[m] = max(levels[m], load[o])
    margin = ROUNDING * (worth[0] * demand + price * budget + levels.max())
    t = Table(worth, first, cores, rate, load, use, limits, price, budget, demand, exact, margin)
    answer = Answer(np.full(1, -np.inf), picks)
    picks[:] = -1
    facts[:2], facts[2:] = -np.inf, 0.0
    if carried(t) < demand:
        return
    spent = np.zeros(2, dtype=np.int64)
    bounds = Bounds(np.empty((TABLES, variants + 1, budget + 1)), np.empty(TABLES), 0, 0)
    overall, start, _ = tighten(
        t, np.ones(cores.size, dtype=np.bool_), -1, worth[variants - 1], STEPS, bounds.best, bounds.multiplier,
        np.empty(variants, dtype=np.int64), answer,
    )  # fmt: skip
    # The last cause is none, for sets that need no loading.
    causes = np.append(np.flatnonzero(levels > 0.0), -1)
    ceiling, starts, widths = np.empty(causes.size), np.full(causes.size, start), np.full(causes.size, -1)
    for c in range(causes.size):
        ceiling[c] = overall - (levels[causes[c]] if causes[c] >= 0 else 0.0)
    while spent[0] < limit:
        c = int(np.argmax(np.where(widths < width, ceiling, -np.inf)))
        if widths[c] >= width or ceiling[c] <= answer.value[0] + margin:
            break
        # Bounds alone first, then a narrow search, then wider ones.
        widths[c] = 0 if widths[c] < 0 else min(width, max(NARROW, WIDER * widths[c]))
        found, starts[c] = visit(t, causes[c], levels, Effort(widths[c], limit, spent), starts[c], bounds, answer)
        ceiling[c] = min(ceiling[c], found)
    facts[0] = answer.value[0]
    facts[1] = ceiling.max() if ceiling.max() > answer.value[0] + margin else answer.value[0]
    facts[2], facts[3] = spent[0], spent[1]
