"""What must be remembered of a DAG while its tasks are decided one after another: when the open tasks can start.

Before task i is decided, an undecided task can start when the last of its decided predecessors has finished. Tasks that
wait for the same predecessors share one such *slot*; a predecessor that an other one waits for anyway is left out. A
chain has one slot, a fork and its join have two or three however many branches they have, a nested fork two more: so
series-parallel graphs keep few, and any DAG keeps as few as its shape allows in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trimtab.plan.solve.problem import Ints


@dataclass(frozen=True, slots=True)
class Frontier:
    """The slots of a DAG of S tasks, decided in the order `order`; everything else counts tasks in that order."""

    order: Ints
    """Shape (S,): position → the task as given."""
    slot: Ints
    """Shape (S + 1, S): before step i, the slot that task t waits for; -1 if it can start at once or is decided."""
    source: Ints
    """Shape (S, W): after step i, slot j is at least this slot from before the step; -1: none."""
    adds: Ints
    """Shape (S, W): 1 if the slot also waits for the task that the step decides."""
    width: Ints
    """Shape (S + 1,): number of slots before step i."""
    before: Ints
    """Shape (S, S): 1 where the task of the row comes directly after that of the column."""


@lru_cache(maxsize=64)
def frontier(after: tuple[tuple[int, ...], ...]) -> Frontier:
    """The slots of a DAG; `after` as in `Problem`."""
    order = _depth_first(after)
    place = {task: i for i, task in enumerate(order)}
    ups = [frozenset(place[u] for u in after[task]) for task in order]
    tasks = len(order)
    above: list[frozenset[int]] = []
    for direct in ups:
        above.append(frozenset(direct).union(*(above[u] for u in direct)))
    slots: list[list[frozenset[int]]] = []
    slot = np.full((tasks + 1, tasks), -1, dtype=np.int64)
    for i in range(tasks + 1):
        names: list[frozenset[int]] = []
        for t in range(i, tasks):
            waits = _last(frozenset(u for u in ups[t] if u < i), above)
            if waits:
                if waits not in names:
                    names.append(waits)
                slot[i, t] = names.index(waits)
        slots.append(names)
    most = max(1, *(len(names) for names in slots))
    source, adds = np.full((tasks, most), -1, dtype=np.int64), np.zeros((tasks, most), dtype=np.int64)
    for i in range(tasks):
        for j in range(len(slots[i + 1])):
            t = next(t for t in range(i + 1, tasks) if slot[i + 1, t] == j)
            source[i, j] = slot[i, t]
            adds[i, j] = int(i in ups[t])
    before = np.zeros((tasks, tasks), dtype=np.int64)
    for t, direct in enumerate(ups):
        before[t, list(direct)] = 1
    width = np.array([len(names) for names in slots], dtype=np.int64)
    return Frontier(np.array(order, dtype=np.int64), slot, source, adds, width, before)


def _last(waits: frozenset[int], above: list[frozenset[int]]) -> frozenset[int]:
    """Those of the tasks that no other one of them comes after."""
    return frozenset(u for u in waits if not any(u in above[v] for v in waits))


def _depth_first(after: tuple[tuple[int, ...], ...]) -> list[int]:
    """An order in which a branch is finished before the next one begins: few tasks are open at once."""
    below: list[list[int]] = [[] for _ in after]
    for task, ups in enumerate(after):
        for up in dict.fromkeys(ups):
            below[up].append(task)
    missing = [len(set(ups)) for ups in after]
    stack = [task for task in reversed(range(len(after))) if missing[task] == 0]
    order: list[int] = []
    while stack:
        task = stack.pop()
        order.append(task)
        for down in reversed(below[task]):
            missing[down] -= 1
            if missing[down] == 0:
                stack.append(down)
    return order
