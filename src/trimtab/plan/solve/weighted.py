"""The largest alpha · Π a - C, exactly, by a search for the right exchange rate between accuracy and cost.

With L = Σ log a the objective is F = g(L) - C with g(L) = alpha · e^L. It is convex in (L, -C), so its optimum is a
supported point: it also maximises θ · L - C for θ = g'(L). (If some point were better for that θ, then convexity,
g(L') ≥ g(L) + g'(L) (L' - L), would make it better in F.) The range of L is narrowed from both ends by θ ← g'(L), then
halved on chords; an interval is closed when nothing above what is known fits under the lines that support its ends.
"""

from __future__ import annotations

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.labels import total
from trimtab.plan.solve.oracle import largest
from trimtab.plan.solve.problem import Floats, Ints
from trimtab.plan.solve.relax import free_of_charge
from trimtab.plan.solve.tables import MARGIN, Bounds, Slots, Table

CALLS = 64
"""Exchange rates at most; a handful are enough."""
_FROM_ABOVE, _FROM_BELOW, _BETWEEN = 0, 1, 2
"""Stages: the range of L is narrowed from its upper end, from its lower end, then searched by intervals."""
_NEAR = 1e-12
"""Of L: points closer than this are the same."""


@kernel(inline=True)
def largest_weighted(
    alpha: float, table: Table, slots: Slots, bounds: Bounds, floor: float, most: int, path: Ints
) -> tuple[float, float]:
    """Write the choices with the largest alpha · Π a - C into `path`, where it is above `floor`.

    Accuracies are positive; otherwise as `oracle.largest`.
    """
    tasks = table.first.size - 1
    logs, costs, low, high = np.log(table.accuracy), 0.0, 0.0, 0.0
    for s in range(tasks):
        span = slice(table.first[s], table.first[s + 1])
        low += np.min(logs[span])
        high += np.max(logs[span])
        costs += np.max(table.cost[span])
    lowest, highest = low, high
    margin = MARGIN * (alpha * np.exp(high) + costs)
    prices, trial = free_of_charge(tasks, bounds.limits.size), np.zeros(tasks, dtype=np.int64)
    # Every call gives a line that no better choice is above, rate · L - C ≤ reach, and the point (L, -C) that it found.
    rates, reaches, x, y = np.zeros(CALLS), np.zeros(CALLS), np.zeros(CALLS), np.zeros(CALLS)
    best, gap, exact = -np.inf, -np.inf, True
    # Intervals of L still to be searched, by the calls that gave their ends.
    lefts, rights, pending = np.zeros(CALLS + 2, dtype=np.int64), np.zeros(CALLS + 2, dtype=np.int64), 0
    a, b, stage = 0, 0, _FROM_ABOVE
    for call in range(CALLS):
        known = max(floor, best)
        if stage == _FROM_ABOVE:
            rate = alpha * np.exp(high)
            aim = _aim(alpha, known, rate, low, high)
        elif stage == _FROM_BELOW:
            rate = alpha * np.exp(low)
            aim = _aim(alpha, known, rate, low, high)
        else:
            # The next interval where something better fits under the lines through its ends.
            while pending > 0:
                pending -= 1
                a, b = lefts[pending], rights[pending]
                if x[b] - x[a] > _NEAR and _under(alpha, rates, reaches, a, b, b, x[a], x[b]) > known + margin:
                    pending += 1
                    break
            if pending == 0:
                break
            pending -= 1
            rate = (y[a] - y[b]) / (x[b] - x[a])
            aim = _aim(alpha, known, rate, x[a], x[b])
        reached, lost = largest(rate * logs - table.cost, table, slots, bounds, aim, most, prices, trial)
        rates[call], reaches[call] = rate, max(aim, reached, lost)
        if reached > -np.inf:
            x[call], y[call] = total(logs, trial), -total(table.cost, trial)
            worth = alpha * np.exp(x[call]) + y[call]
            if worth > known + margin:
                best = worth
                path[:] = trial
        if stage == _BETWEEN:
            if reached == -np.inf:
                if lost > -np.inf:
                    gap = max(gap, _under(alpha, rates, reaches, a, b, call, x[a], x[b]))
            elif x[a] < x[call] < x[b]:
                lefts[pending], rights[pending], lefts[pending + 1], rights[pending + 1] = a, call, call, b
                pending += 2
            continue
        exact = exact and lost == -np.inf
        if reached == -np.inf:
            if not exact:
                gap = _ceiling(alpha, rates[: call + 1], reaches[: call + 1], lowest, highest)
            break
        if stage == _FROM_ABOVE:
            b, moved = call, abs(high - x[call])
            high = x[call] if exact else high
            if moved <= _NEAR or not exact or call >= CALLS // 4:
                stage = _FROM_BELOW
        else:
            a, moved = call, abs(low - x[call])
            low = x[call] if exact else low
            if moved <= _NEAR or not exact or call >= CALLS // 2:
                stage = _BETWEEN
                lefts[0], rights[0], pending = a, b, 1
                if not exact:
                    gap = max(
                        _ceiling(alpha, rates[: call + 1], reaches[: call + 1], lowest, x[a]),
                        _ceiling(alpha, rates[: call + 1], reaches[: call + 1], x[b], highest),
                    )
    known = max(floor, best)
    for each in range(pending):
        a, b = lefts[each], rights[each]
        gap = max(gap, _under(alpha, rates, reaches, a, b, b, x[a], x[b]))
    return best, gap if gap > known + margin else -np.inf


@kernel()
def _under(alpha: float, rates: Floats, reaches: Floats, a: int, b: int, c: int, low: float, high: float) -> float:
    """`_ceiling` under three of the lines."""
    lines = np.array([a, b, c])
    return _ceiling(alpha, rates[lines], reaches[lines], low, high)


@kernel()
def _aim(alpha: float, known: float, rate: float, low: float, high: float) -> float:
    """What rate · L - C is at least for any choice with L between `low` and `high` that is better than `known`."""
    return float(min(known + rate * low - alpha * np.exp(low), known + rate * high - alpha * np.exp(high)))


@kernel()
def _ceiling(alpha: float, rates: Floats, reaches: Floats, low: float, high: float) -> float:
    """What F is at most under the lines rate · L - C ≤ reach, for L between `low` and `high`.

    Under the lowest of the lines F is convex between two corners of them, so that the corners and the ends decide.
    """
    corners = np.empty(rates.size * rates.size + 2)
    corners[0], corners[1] = low, high
    n = 2
    for a in range(rates.size):
        for b in range(a):
            if rates[a] != rates[b]:
                corners[n] = min(high, max(low, (reaches[a] - reaches[b]) / (rates[a] - rates[b])))
                n += 1
    most = -np.inf
    for c in range(n):
        most = max(most, alpha * np.exp(corners[c]) + np.min(reaches - rates * corners[c]))
    return float(most)
