"""One choice per task under one limit on a sum: the multiple-choice knapsack, exactly.

Linear relaxation on the concave hulls, a greedy integer solution, fixing by reduced costs, then labels over what is
left (P. Sinha and A. Zoltners, Operations Research 27, 1979; D. Pisinger, EJOR 83, 1995). Tables of all tasks lie in
one array; those of task s at `first[s]:first[s + 1]`, with the weights ascending.
"""

from __future__ import annotations

import numpy as np

from trimtab.compiled import kernel
from trimtab.plan.solve.problem import Floats, Ints
from trimtab.plan.solve.tables import doubled, first_of

FEW = 256
"""Labels of the first pass, which is nearly always enough."""


@kernel()
def hull_points(value: Floats, weight: Floats, start: int, stop: int, points: Ints) -> int:
    """Write the corners of the concave upper hull, weights ascending and values rising, into `points`; their number."""
    n = 0
    for i in range(start, stop):
        if n > 0 and value[i] <= value[points[n - 1]]:
            continue
        if n > 0 and weight[i] <= weight[points[n - 1]]:
            n -= 1  # the same weight, a higher value
        while n > 1:
            a, b = points[n - 2], points[n - 1]
            if (value[b] - value[a]) * (weight[i] - weight[b]) <= (value[i] - value[b]) * (weight[b] - weight[a]):
                n -= 1
            else:
                break
        points[n] = i
        n += 1
    return n


@kernel()
def knapsack(
    value: Floats, weight: Floats, first: Ints, limit: float, floor: float, margin: float, most: int, path: Ints
) -> tuple[float, float]:
    """Write the choice of each task with the largest sum of values into `path`, where it is above `floor`.

    Args:
        value: shape (N,).
        weight: shape (N,), not negative.
        first: shape (S + 1,).
        limit: of the sum of weights.
        floor: what is known; -inf: nothing.
        margin: sums closer than this are equal.
        most: labels a task at most.
        path: shape (S,).

    Returns:
        The value, -inf if nothing is above `floor`; and a bound on what was not looked at, -inf if there is nothing.
    """
    tasks = first.size - 1
    front, rise = np.empty(value.size, dtype=np.int64), np.empty(value.size)
    owner = np.empty(value.size, dtype=np.int64)
    points = np.empty(value.size, dtype=np.int64)
    greedy = np.empty(tasks, dtype=np.int64)
    used, reached, steps = 0.0, 0.0, 0
    for s in range(tasks):
        n = hull_points(value, weight, first[s], first[s + 1], points)
        greedy[s] = points[0]
        used += weight[points[0]]
        reached += value[points[0]]
        for i in range(1, n):
            a, b = points[i - 1], points[i]
            front[steps], owner[steps] = b, s
            rise[steps] = (value[b] - value[a]) / (weight[b] - weight[a])
            steps += 1
    if used > limit:
        return -np.inf, -np.inf
    order = np.argsort(-rise[:steps], kind="mergesort")
    slope, bound = 0.0, 0.0
    stuck = np.zeros(tasks, dtype=np.bool_)
    for at in range(steps):
        s, i = owner[order[at]], front[order[at]]
        if stuck[s]:
            continue
        more = weight[i] - weight[greedy[s]]
        if used + more <= limit:
            used += more
            reached += value[i] - value[greedy[s]]
            greedy[s] = i
        else:
            if slope == 0.0:
                slope = rise[order[at]]
                bound = reached + slope * (limit - used)
                if bound <= floor + margin:
                    return -np.inf, -np.inf
            stuck[s] = True
    best = -np.inf
    if reached > floor + margin:
        best = reached
        path[:] = greedy
    if slope == 0.0 or bound <= max(floor, best) + margin:
        return best, -np.inf
    lost = -np.inf
    for labels in (min(FEW, most), most):
        reached, lost = _labels(value, weight, first, limit, slope, max(floor, best), margin, labels, path)
        best = max(best, reached)
        if lost <= max(floor, best) + margin:
            return best, -np.inf
    return best, lost


@kernel()
def _labels(
    value: Floats,
    weight: Floats,
    first: Ints,
    limit: float,
    slope: float,
    known: float,
    margin: float,
    most: int,
    path: Ints,
) -> tuple[float, float]:
    """`knapsack` by labels: what is worth more than `known`; `slope` is the relaxation's price of the limit."""
    tasks = first.size - 1
    best, least = np.empty(tasks), np.empty(tasks)
    bound = slope * limit
    for s in range(tasks):
        best[s], least[s] = -np.inf, weight[first[s]]
        for i in range(first[s], first[s + 1]):
            best[s] = max(best[s], value[i] - slope * weight[i])
        bound += best[s]
    # A choice whose reduced cost alone eats up the gap is in no better solution.
    kept, count = np.empty(value.size, dtype=np.int64), np.zeros(tasks, dtype=np.int64)
    for s in range(tasks):
        for i in range(first[s], first[s + 1]):
            if bound - (best[s] - (value[i] - slope * weight[i])) > known + margin:
                kept[first[s] + count[s]] = i
                count[s] += 1
    order = np.argsort(count.astype(np.float64), kind="mergesort")
    rest_least = np.zeros(tasks + 1)
    for at in range(tasks - 1, -1, -1):
        rest_least[at] = rest_least[at + 1] + least[order[at]]
    size = 64
    parent, choice = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    # Labels: weight used, and the loss against the bound; value = bound - loss - slope · (limit - weight).
    w, loss = np.zeros(1), np.zeros(1)
    begins, end, lost = np.zeros(tasks, dtype=np.int64), 0, -np.inf
    for at in range(tasks):
        s = order[at]
        room = w.size * count[s]
        new_w, new_loss = np.empty(room), np.empty(room)
        new_parent, new_choice = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
        n = 0
        for label in range(w.size):
            for j in range(count[s]):
                i = kept[first[s] + j]
                now = w[label] + weight[i]
                gone = loss[label] + best[s] - (value[i] - slope * weight[i])
                if now + rest_least[at + 1] <= limit and bound - gone > known + margin:
                    new_w[n], new_loss[n], new_parent[n], new_choice[n] = now, gone, label, i
                    n += 1
        if n == 0:
            return -np.inf, lost
        ranked = np.argsort(new_w[:n], kind="mergesort")
        front = np.empty(n, dtype=np.int64)
        m, high = 0, -np.inf
        for r in range(n):
            worth = slope * new_w[ranked[r]] - new_loss[ranked[r]]
            if worth > high:
                high = worth
                front[m] = ranked[r]
                m += 1
        chosen = front[:m].copy()
        if m > most:
            by_loss = np.argsort(new_loss[chosen], kind="mergesort")
            lost = max(lost, bound - new_loss[chosen[by_loss[most]]])
            chosen = chosen[first_of(by_loss, most)]
            m = most
        w, loss = new_w[chosen], new_loss[chosen]
        begins[at] = end
        while end + m > parent.size:
            parent, choice = doubled(parent), doubled(choice)
        parent[end : end + m] = new_parent[chosen]
        choice[end : end + m] = new_choice[chosen]
        end += m
    # Heavier labels are worth more, so the last one is the best.
    top = w.size - 1
    reached = bound - loss[top] - slope * (limit - w[top])
    if reached <= known + margin:
        return -np.inf, lost
    for at in range(tasks - 1, -1, -1):
        path[order[at]] = choice[begins[at] + top]
        top = parent[begins[at] + top]
    return reached, lost
