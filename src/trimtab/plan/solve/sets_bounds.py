"""Upper bounds on the worth of a set of variants: exact in cores, with a multiplier on the load.

For sizes n, the best quotas q ≤ rate(n) with Σ q = demand are worth, by linear programming duality,

    min over p of  p·demand + Σ_m max(worth_m - p, 0)·rate_m(n_m),

where worth_m is what one request per second served by variant m is worth; p falls without end where the rates do not
suffice. So any p bounds every choice of sizes from above, and for one p the best sizes within a budget of cores follow
from a recursion over the variants, which gives the bound for every suffix of the variants and every number of cores
left (Lagrangian relaxation: H. Everett, Operations Research 11, 1963). The best p is found by intersecting tangents.

One search is for a fixed set of allowed options and, if `forced` is not negative, with that variant in the set.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Flags, Floats, Ints

FIRST_STEP = 0.02
"""Of the multiplier, relative to what a request per second may be worth; each further one is three times as long."""


class Table(NamedTuple):
    """The options of all variants in one table, those of variant m at `first[m]:first[m + 1]`, ascending in cores."""

    worth: Floats
    """Shape (V,): what one served request per second is worth, never rising."""
    first: Ints
    cores: Ints
    rate: Floats
    load: Floats
    """What loading the option costs; of a set, the largest counts."""
    use: Floats
    """Shape (O, R): what each takes of other limited resources."""
    limits: Floats
    price: float
    """Of a core."""
    budget: int
    demand: float
    exact: bool
    """Whether all but the last variant must not be able to carry more than the demand."""
    margin: float
    """Values closer than this are equal, for rounding can explain the difference."""


class Answer(NamedTuple):
    """The best set so far."""

    value: Floats
    """Shape (1,)."""
    picks: Ints
    """Shape (V,): option of each variant, -1 where it is not in the set."""


class Bounds(NamedTuple):
    """Bounds by several multipliers."""

    best: Floats
    """Shape (P, V + 1, budget + 1): what variants m … V - 1 add at most, with so many cores."""
    multiplier: Floats
    """Shape (P,)."""
    made: int
    """How many of the P there are."""
    main: int
    """The one with the least bound."""


@kernel()
def fits(t: Table, picks: Ints) -> bool:
    """Whether the set is within the limits beside the cores."""
    for r in range(t.limits.size):
        total = 0.0
        for m in range(picks.size):
            if picks[m] >= 0:
                total += t.use[picks[m], r]
        if total > t.limits[r]:
            return False
    return True


@kernel()
def set_value(t: Table, picks: Ints) -> float:
    """What the set is worth with greedy quotas, -inf if it does not do; members without a quota are taken out."""
    rest, value, load = t.demand, 0.0, 0.0
    for m in range(picks.size):
        if picks[m] < 0:
            continue
        if rest <= 0.0:
            picks[m] = -1
            continue
        o = picks[m]
        value += t.worth[m] * min(rest, t.rate[o]) - t.price * t.cores[o]
        load = max(load, t.load[o])
        rest -= t.rate[o]
        if t.exact and rest < 0.0 and m < picks.size - 1:
            return -np.inf
    return value - load if rest <= 0.0 and fits(t, picks) else -np.inf


@kernel()
def offer(t: Table, picks: Ints, answer: Answer) -> None:
    """Make the set the answer if it is better."""
    value = set_value(t, picks)
    if value > answer.value[0]:
        answer.value[0] = value
        answer.picks[:] = picks


@kernel()
def suffix_values(t: Table, allowed: Flags, forced: int, multiplier: float, best: Floats) -> None:
    """Write what variants m … V - 1 add at most with k cores, for every m and k, into `best` (V + 1, budget + 1)."""
    variants = t.worth.size
    best[variants, :] = 0.0
    for m in range(variants - 1, -1, -1):
        gain = max(t.worth[m] - multiplier, 0.0)
        for k in range(t.budget + 1):
            best[m, k] = -np.inf if m == forced else best[m + 1, k]
        if gain == 0.0 and m != forced:
            continue
        for o in range(t.first[m], t.first[m + 1]):
            if allowed[o]:
                n = t.cores[o]
                value = gain * t.rate[o] - t.price * n
                for k in range(n, t.budget + 1):
                    best[m, k] = max(best[m, k], value + best[m + 1, k - n])


@kernel()
def read_off(t: Table, allowed: Flags, forced: int, multiplier: float, best: Floats, picks: Ints) -> float:
    """Write the options that `best` stands for into `picks`; the rate of those that gain by serving more."""
    left, rate = t.budget, 0.0
    for m in range(picks.size):
        picks[m] = -1
        gain = max(t.worth[m] - multiplier, 0.0)
        if m != forced and best[m, left] == best[m + 1, left]:
            continue
        for o in range(t.first[m], t.first[m + 1]):
            n = t.cores[o]
            if allowed[o] and n <= left and gain * t.rate[o] - t.price * n + best[m + 1, left - n] == best[m, left]:
                picks[m] = o
                left -= n
                rate += t.rate[o] if gain > 0.0 else 0.0
                break
    return rate


@kernel()
def carried(t: Table) -> float:
    """The largest rate that can be carried within the cores, whatever the other limits."""
    best = np.full(t.budget + 1, 0.0)
    for m in range(t.worth.size):
        before = best.copy()
        for o in range(t.first[m], t.first[m + 1]):
            n = t.cores[o]
            for k in range(n, t.budget + 1):
                best[k] = max(best[k], t.rate[o] + before[k - n])
    return float(best[t.budget])


@kernel()
def next_multiplier(at: float, below: Floats, above: Floats, step: float, bound: float, margin: float) -> float:
    """Where to look next: at the crossing of two tangents, or a step out where one is missing. NaN: nowhere.

    A tangent is (multiplier, bound, slope); `below` has a negative slope, `above` a positive one.
    """
    if np.isnan(below[0]):
        return at - step
    if np.isnan(above[0]):
        return at + step
    crossing = (above[1] - below[1] + below[2] * below[0] - above[2] * above[0]) / (below[2] - above[2])
    return crossing if below[1] + below[2] * (crossing - below[0]) < bound - margin else np.nan


@kernel()
def tighten(
    t: Table,
    allowed: Flags,
    forced: int,
    start: float,
    steps: int,
    best: Floats,
    multiplier: Floats,
    picks: Ints,
    answer: Answer,
) -> tuple[float, float, Bounds]:
    """Look for the multiplier with the least bound, for at most `steps` steps from `start`.

    Returns the bound (without the cost of loading), its multiplier and the last tables made, which are in `best` (P, V
    + 1, budget + 1) and `multiplier` (P,). The sets met on the way are offered as answers.
    """
    slots = multiplier.size
    bound, argument, main, made = np.inf, start, 0, 0
    below, above = np.full(3, np.nan), np.full(3, np.nan)
    at, step = start, FIRST_STEP * (t.worth[0] + t.price * t.budget / t.demand)
    for i in range(steps):
        slot = min(i, slots - 1)
        made = slot + 1
        multiplier[slot] = at
        suffix_values(t, allowed, forced, at, best[slot])
        if best[slot, 0, t.budget] == -np.inf:
            return -np.inf, at, Bounds(best, multiplier, made, slot)
        found = at * t.demand + best[slot, 0, t.budget]
        slope = t.demand - read_off(t, allowed, forced, at, best[slot], picks)
        if found < bound or main == slot:
            bound, argument, main = min(found, bound), at, slot
        offer(t, picks, answer)
        if slope == 0.0:
            break
        side = above if slope > 0.0 else below
        side[0], side[1], side[2] = at, found, slope
        at = next_multiplier(at, below, above, step, bound, t.margin)
        step *= 3.0
        if np.isnan(at):
            break
    return bound, argument, Bounds(best, multiplier, made, main)
