"""Dispatch kernels: the decisions of the request path as functions of scalars and NumPy arrays.

This is their only source: the local runtime calls them as they stand, and the simulator compiles these very functions.
So they use nothing but numbers, arrays and loops, take time as an argument and keep no state.

Arrays over variants are ordered most accurate first. `service_s[v, b]` is the time of a batch of b at variant v, for
b = 1 … B (column 0 is unused), non-decreasing in b; `ratio[v]` corrects it by what is measured live.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trimtab.compiled import kernel
from trimtab.plan.pool import PRESSURE

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


@kernel()
def fitting_batch(slack_s: float, service_s: Floats, ratio: float, most: int) -> int:
    """Largest batch of at most `most` whose service ends within `slack_s`; 0 when not even one item fits.

    `service_s`: shape (B + 1,), one variant's row.
    """
    batch = most
    while batch > 0 and service_s[batch] * ratio > slack_s:
        batch -= 1
    return batch


@kernel()
def choose(
    slack_s: float,
    last_slack_s: float,
    queued: int,
    free_slots: int,
    slots: int,
    service_s: Floats,
    ratio: Floats,
    allowed: Flags,
    max_batch: int,
    pressure_s: float,
) -> tuple[int, int]:
    """Variant and batch size for the head of an earliest-deadline-first queue: (variant, batch), or (-1, 0).

    The most accurate allowed variant is taken whose batch ends within the head's `slack_s` (this task's part of the
    time left) and whose use for all that stays behind would take at most `pressure_s`. Where none does, the allowed
    variant with the least time per item is taken that still saves the head, which may now use up `last_slack_s` (all
    the time left but what the fastest way through the later tasks takes). (-1, 0): nothing can save the head.

    Free slots share the queue: a batch takes at most ⌈queued ÷ free_slots⌉, since b items in one batch end together
    while b parallel batches of one end sooner.

    Args:
        slack_s: seconds this task may take for the head, by plan.
        last_slack_s: seconds it may take at the very most.
        queued: items waiting, at least 1.
        free_slots: batches that could start now, at least 1.
        slots: batches that all ready replicas serve at once.
        service_s: shape (V, B + 1).
        ratio: shape (V,).
        allowed: shape (V,).
        max_batch: the plan's largest batch, at most B.
        pressure_s: bound on the time to drain what stays behind.
    """
    most = min(max_batch, (queued + free_slots - 1) // free_slots)
    for v in range(service_s.shape[0]):
        if allowed[v]:
            batch = fitting_batch(slack_s, service_s[v], ratio[v], most)
            if batch > 0:
                drain_s = (queued - batch) * service_s[v, batch] * ratio[v] / (batch * slots)
                if drain_s <= pressure_s:
                    return v, batch
    best, best_batch, best_per_item_s = -1, 0, np.inf
    for v in range(service_s.shape[0]):
        if allowed[v]:
            batch = fitting_batch(last_slack_s, service_s[v], ratio[v], most)
            if batch > 0 and service_s[v, batch] * ratio[v] / batch < best_per_item_s:
                best, best_batch = v, batch
                best_per_item_s = service_s[v, batch] * ratio[v] / batch
    return best, best_batch


@kernel()
def next_batch(
    head_deadline_s: float,
    now_s: float,
    slack_share: float,
    reserve_s: float,
    queued: int,
    free_slots: int,
    slots: int,
    service_s: Floats,
    ratio: Floats,
    allowed: Flags,
    max_batch: int,
    pressure_s: float,
) -> tuple[int, int]:
    """What to start for the head of a queue, by `choose`: (variant, batch), or (-1, 0) when nothing can save the head.

    Args:
        head_deadline_s: deadline of the head.
        now_s: the moment.
        slack_share: the task's share of the time left, by plan.
        reserve_s: least time that the tasks after this one need.
        queued: see `choose`, as for the rest.
        free_slots: see `choose`.
        slots: see `choose`.
        service_s: see `choose`.
        ratio: see `choose`.
        allowed: see `choose`.
        max_batch: see `choose`.
        pressure_s: see `choose`.
    """
    left_s = head_deadline_s - now_s
    return choose(
        left_s * slack_share,
        left_s - reserve_s,
        queued,
        free_slots,
        slots,
        service_s,
        ratio,
        allowed,
        max_batch,
        pressure_s,
    )


@kernel()
def route(share: Floats, credit: Floats) -> int:
    """Which group of replicas gets the next item, by smooth weighted round robin; changes `credit`.

    Every group is credited its share; the one with most credit gets the item and pays one. Any run of items is spread
    as evenly as the shares allow (the scheduler of nginx' upstream module, I. Sysoev and M. Dounin 2012).

    Args:
        share: shape (G,), summing to 1; a group of share 0 gets nothing.
        credit: shape (G,), what each group is owed, about between -1 and 1.
    """
    best = -1
    for g in range(share.shape[0]):
        if share[g] > 0.0:
            credit[g] += share[g]
            if best < 0 or credit[g] > credit[best]:
                best = g
    if best >= 0:
        credit[best] -= 1.0
    return best


@kernel()
def fastest(alone_s: Floats, per_item_s: Floats, ratio: Floats, allowed: Flags) -> tuple[float, float]:
    """Least seconds for one item alone, and least seconds per item in any batch, of the variants allowed.

    Args:
        alone_s: shape (V,), service time of a lone item.
        per_item_s: shape (V,), least service time per item of any batch.
        ratio: shape (V,).
        allowed: shape (V,).
    """
    best_alone_s, best_per_item_s = np.inf, np.inf
    for v in range(alone_s.shape[0]):
        if allowed[v]:
            best_alone_s = min(best_alone_s, alone_s[v] * ratio[v])
            best_per_item_s = min(best_per_item_s, per_item_s[v] * ratio[v])
    return best_alone_s, best_per_item_s


@kernel()
def split_deadline(
    own_s: Floats, alone_s: Floats, upstream: Flags, slo_s: float, planned_s: Floats, fastest_s: Floats, parts: Floats
) -> None:
    """Share the end-to-end time over the tasks, in proportion to what their planned variants take here and now.

    A task's share of the time *left* is its own planned time over that of itself and the longest way after it, so a
    request that is behind schedule is hurried by every task that is still to come, and one ahead is not.

    Args:
        own_s: shape (T,), service time of a lone item at the task's slowest planned variant.
        alone_s: shape (T,), service time of a lone item at its fastest allowed variant.
        upstream: shape (T, T); upstream[t, u] when u runs directly before t.
        slo_s: the SLO's bound, end to end.
        planned_s: shape (T,), room to work in.
        fastest_s: shape (T,), room to work in.
        parts: shape (3, T), the answer: shares of the time left, least seconds that the tasks behind need, and seconds
            within which a backlog has to drain before a cheaper variant is used.
    """
    tasks = own_s.shape[0]
    end_to_end_s = 0.0
    for t in range(tasks - 1, -1, -1):
        planned_s[t], fastest_s[t] = 0.0, 0.0
        for d in range(t + 1, tasks):
            if upstream[d, t]:
                planned_s[t] = max(planned_s[t], planned_s[d])
                fastest_s[t] = max(fastest_s[t], fastest_s[d])
        parts[1, t] = fastest_s[t]
        planned_s[t] += own_s[t]
        fastest_s[t] += alone_s[t]
        end_to_end_s = max(end_to_end_s, planned_s[t])
    for t in range(tasks):
        parts[0, t] = own_s[t] / planned_s[t]
        parts[2, t] = PRESSURE * slo_s * own_s[t] / end_to_end_s


@kernel()
def predicted_response_s(
    queued: Ints,
    in_service: Ints,
    slots: Ints,
    per_item_s: Floats,
    alone_s: Floats,
    upstream: Flags,
    enter: Flags,
    done_s: Floats,
) -> float:
    """Least response time that a request arriving now can hope for, in seconds, over the tasks in topological order.

    A fluid bound: at each task it finds the backlog that is left when it gets there, drained at the fastest rate.
    Half of what is in service counts as still to be done. Infinite when a task on the way has no slot at all.

    Args:
        queued: shape (T,), items waiting.
        in_service: shape (T,), items in service.
        slots: shape (T,), batches served at once.
        per_item_s: shape (T,), from `fastest`.
        alone_s: shape (T,), from `fastest`.
        upstream: shape (T, T); upstream[t, u] when u runs directly before t.
        enter: shape (T,); the tasks that this request visits.
        done_s: shape (T,); room to work in.
    """
    tasks = queued.shape[0]
    response_s = 0.0
    for t in range(tasks):
        if not enter[t]:
            continue
        reach_s = 0.0
        for u in range(t):
            if upstream[t, u] and enter[u]:
                reach_s = max(reach_s, done_s[u])
        if slots[t] == 0:
            return np.inf
        backlog_s = (queued[t] + 0.5 * in_service[t]) * per_item_s[t] / slots[t]
        waiting_s = 0.0 if queued[t] == 0 and in_service[t] < slots[t] else max(0.0, backlog_s - reach_s)
        done_s[t] = reach_s + waiting_s + alone_s[t]
        response_s = max(response_s, done_s[t])
    return response_s


@kernel()
def corrected_ratio(ratio: float, measured_s: float, expected_s: float, gain: float = 0.1) -> float:
    """Exponentially weighted ratio of measured to expected time; one measurement counts as at most 5 times expected.

    The cap keeps a single stall (a page fault, a paused machine) from closing a variant for long.
    """
    return ratio + gain * (min(max(measured_s / expected_s, 0.2), 5.0) - ratio)
