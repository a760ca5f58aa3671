"""Lagrangian relaxation: a bound on the sum of values when latency and limits have prices instead of being kept.

Multipliers on the limits and on paths through the DAG (H. Everett, Operations Research 11, 1963; M. L. Fisher,
Management Science 27, 1981), improved by subgradient steps of B. T. Polyak's length (1969). With multipliers fixed, the
tasks fall apart: each takes its best choice, and a choice that is worse than that by more than the whole gap is in no
better answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Flags, Floats, Ints
from trimtab.plan.solve.tables import Bounds, Slots, Table

PATHS = 12
"""Most paths of the DAG that get a multiplier; the others are bounded by their least latencies alone."""
STEPS = 60
PATIENCE = 4
"""Steps without a better bound after which the steps become half as long."""


class Prices(NamedTuple):
    """What the relaxation charges."""

    paths: Ints
    """Shape (PATHS, S): 1 where the path passes the task; rows of zeros are not in use."""
    on_paths: Floats
    """Shape (PATHS,): value per second."""
    on_limits: Floats
    """Shape (R,): value per unit of each resource."""


@kernel()
def free_of_charge(tasks: int, resources: int) -> Prices:
    """No prices yet."""
    return Prices(np.zeros((PATHS, tasks), dtype=np.int64), np.zeros(PATHS), np.zeros(resources))


@kernel()
def longest_path(latency: Floats, picks: Ints, before: Ints, on_path: Ints) -> float:
    """The latency of one choice per task, seconds; the tasks of the longest path get 1 in `on_path`, (S,)."""
    tasks = picks.size
    done, via = np.zeros(tasks), np.full(tasks, -1, dtype=np.int64)
    end = 0
    for s in range(tasks):
        on_path[s] = 0
        for u in range(s):
            if before[s, u] == 1 and (via[s] < 0 or done[u] > done[via[s]]):
                via[s] = u
        done[s] = latency[picks[s]]
        if via[s] >= 0:
            done[s] += done[via[s]]
        if done[s] > done[end]:
            end = s
    at = end
    while at >= 0:
        on_path[at] = 1
        at = via[at]
    return float(done[end])


@kernel()
def charged(value: Floats, table: Table, prices: Prices, worth: Floats) -> float:
    """Write the value of every choice less what it is charged into `worth`, (N,); the sum of the tasks' best."""
    total = 0.0
    for s in range(table.first.size - 1):
        span = slice(table.first[s], table.first[s + 1])
        price = np.sum(prices.on_paths * prices.paths[:, s])
        if price > 0.0:
            worth[span] = value[span] - price * table.latency[span]
        else:
            worth[span] = value[span]
        for r in range(prices.on_limits.size):
            if prices.on_limits[r] > 0.0:
                worth[span] -= prices.on_limits[r] * table.use[span, r]
        total += np.max(worth[span])
    return total


@kernel()
def paid_back(prices: Prices, bounds: Bounds) -> float:
    """What keeping latency and limits exactly would cost: the constant of the bound."""
    total = 0.0
    for p in range(PATHS):
        if prices.on_paths[p] > 0.0:
            total += prices.on_paths[p] * bounds.longest
    for r in range(bounds.limits.size):
        total += prices.on_limits[r] * bounds.limits[r]
    return total


@kernel()
def relaxed(
    value: Floats, table: Table, slots: Slots, bounds: Bounds, floor: float, prices: Prices, path: Ints
) -> float:
    """Write good prices, and into `path` the best choice that was met and fits; its value, -inf if none was.

    The steps aim at `floor`, or the best choice met where that is more; they stop early where the bound is below it.
    """
    tasks, resources = table.first.size - 1, bounds.limits.size
    trial = free_of_charge(tasks, resources)
    trial.paths[:] = prices.paths
    trial.on_paths[:] = prices.on_paths
    trial.on_limits[:] = prices.on_limits
    picks = np.zeros(tasks, dtype=np.int64)
    slopes = Prices(trial.paths, np.zeros(PATHS), np.zeros(resources))
    worth = np.empty(value.size)
    known = 0
    while known < PATHS and np.any(trial.paths[known] == 1):
        known += 1
    best, found, stride, since = np.inf, -np.inf, 1.0, 0
    for step in range(STEPS):
        bound = charged(value, table, trial, worth) + paid_back(trial, bounds)
        for s in range(tasks):
            picks[s] = table.first[s] + np.argmax(worth[table.first[s] : table.first[s + 1]])
        since += 1
        if bound < best:
            best, since = bound, 0
            prices.paths[:] = trial.paths
            prices.on_paths[:] = trial.on_paths
            prices.on_limits[:] = trial.on_limits
        elif since == PATIENCE:
            stride, since = 0.5 * stride, 0
        known, inside, square = _slopes(table, slots, bounds, picks, known, trial, slopes)
        if inside:
            reached = np.sum(value[picks])
            if reached > found:
                found = reached
                path[:] = picks
        aim = max(found, floor)
        if aim == -np.inf:
            aim = best - (0.1 * abs(best) + np.max(value) - np.min(value)) / (1 + step)
        if square == 0.0 or bound <= aim or stride < 1e-3:
            break
        length = stride * (bound - aim) / square
        for p in range(known):
            price = trial.on_paths[p] * bounds.longest - length * slopes.on_paths[p]
            trial.on_paths[p] = max(0.0, price) / bounds.longest
        for r in range(resources):
            price = trial.on_limits[r] * bounds.limits[r] - length * slopes.on_limits[r]
            trial.on_limits[r] = max(0.0, price) / bounds.limits[r]
    return found


@kernel()
def _slopes(
    table: Table, slots: Slots, bounds: Bounds, picks: Ints, known: int, trial: Prices, slopes: Prices
) -> tuple[int, bool, float]:
    """Write what is left of latency and limits by one choice per task, and learn the path that takes the longest.

    They are shares of the limits, so that seconds, cores and bytes weigh alike.

    Returns:
        How many paths have a price now, whether the choice fits, and the square of the slopes' length.
    """
    inside, square = True, 0.0
    if bounds.longest < np.inf:
        on_path = np.zeros(picks.size, dtype=np.int64)
        inside = longest_path(table.latency, picks, slots.before, on_path) <= bounds.longest
        same = False
        for p in range(known):
            same = same or bool(np.all(trial.paths[p] == on_path))
        if not same and known < PATHS:
            trial.paths[known, :] = on_path
            known += 1
    for p in range(known):
        slopes.on_paths[p] = 1.0 - np.sum(trial.paths[p] * table.latency[picks]) / bounds.longest
        if trial.on_paths[p] > 0.0 or slopes.on_paths[p] < 0.0:
            square += slopes.on_paths[p] ** 2
    for r in range(bounds.limits.size):
        used = np.sum(table.use[picks, r])
        inside = inside and used <= bounds.limits[r]
        slopes.on_limits[r] = 1.0 - used / bounds.limits[r]
        if trial.on_limits[r] > 0.0 or slopes.on_limits[r] < 0.0:
            square += slopes.on_limits[r] ** 2
    return known, inside, square


@kernel()
def worthwhile(value: Floats, table: Table, bounds: Bounds, prices: Prices, aim: float) -> Flags:
    """Which choices, (N,), can be part of an answer worth more than `aim`."""
    worth = np.empty(value.size)
    bound = charged(value, table, prices, worth) + paid_back(prices, bounds)
    keep = np.ones(value.size, dtype=np.bool_)
    for s in range(table.first.size - 1):
        span = slice(table.first[s], table.first[s + 1])
        keep[span] = bound - np.max(worth[span]) + worth[span] > aim
    return keep


@kernel()
def fits(table: Table, slots: Slots, bounds: Bounds, picks: Ints) -> bool:
    """Whether one choice per task, (S,), is within latency and limits."""
    if bounds.longest < np.inf:
        on_path = np.zeros(picks.size, dtype=np.int64)
        if longest_path(table.latency, picks, slots.before, on_path) > bounds.longest:
            return False
    for r in range(bounds.limits.size):
        total = 0.0
        for s in range(picks.size):
            total += table.use[picks[s], r]
        if total > bounds.limits[r]:
            return False
    return True


@kernel()
def improve(value: Floats, table: Table, slots: Slots, bounds: Bounds, path: Ints) -> None:
    """Swap single choices for better ones that still fit, as long as there are any."""
    trial = path.copy()
    better = True
    while better:
        better = False
        for s in range(path.size):
            for i in range(table.first[s], table.first[s + 1]):
                if value[i] > value[path[s]]:
                    trial[s] = i
                    if fits(table, slots, bounds, trial):
                        path[s] = i
                        better = True
                    trial[s] = path[s]
