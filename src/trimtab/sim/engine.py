"""The event loop of the simulator: from one moment to another, every arrival, batch and deadline in a total order.

It decides nothing itself: admission, routing, batches and variants are the kernels of `dispatch`, the very ones that
the live data plane calls. It runs as plain Python, or compiled (`trimtab.compiled`, part `sim`); both give the same.

Events happen by (time, kind, sequence). At one moment batches end first, then requests arrive, then waits are over,
then deadlines pass, so that what ends just in time is in time; last, once a second, deadlines are shared anew.

What the data plane does and when is `runtime.dataplane`; this is the same life of a request without tensors:

    arrives → admitted or refused → items wait at the first tasks → batches → items of the next tasks … → answered
    its deadline passes while items wait, or nothing saves it any more → dropped (refused before any work)

`s` is the state (`layout.Arrays`) throughout; every function changes it in place.
"""

from __future__ import annotations

import math

import numpy as np

from trimtab.compiled import kernel
from trimtab.dispatch.kernels import (
    corrected_ratio,
    fastest,
    next_batch,
    predicted_response_s,
    route,
    split_deadline,
)
from trimtab.dispatch.rules import CLIPPER, DROP, SERVE, TRIMTAB, WAIT, adjusted_bound, rule_step
from trimtab.plan.pool import ANSWER_SHARE
from trimtab.sim import layout as at
from trimtab.sim.layout import Arrays, Floats, Ints

_ENDED, _ARRIVED, _WOKEN, _DUE, _TICKED, _CHANGED = range(6)
"""Kinds of events. `_CHANGED`: the plant changed from outside, and everything that waits is looked at."""


@kernel()
def push(key: Floats, item: Ints, entries: int, moment: float, sequence: int, what: int) -> None:
    """Add to a binary heap ordered by (key, sequence). Shapes (Q,) and (Q, 2); `entries` are there already."""
    i = entries
    while i > 0:
        above = (i - 1) >> 1
        if key[above] < moment or (key[above] == moment and item[above, 0] < sequence):
            break
        key[i] = key[above]
        item[i, 0], item[i, 1] = item[above, 0], item[above, 1]
        i = above
    key[i] = moment
    item[i, 0], item[i, 1] = sequence, what


@kernel()
def pop(key: Floats, item: Ints, entries: int) -> int:
    """Take the first of a heap of `entries`, at least 1; what is left is one entry less."""
    first = int(item[0, 1])
    last = entries - 1
    moment, sequence, what = key[last], item[last, 0], item[last, 1]
    i = 0
    while True:
        below = 2 * i + 1
        if below >= last:
            break
        right = below + 1
        if right < last and (key[right] < key[below] or (key[right] == key[below] and item[right, 0] < item[below, 0])):
            below = right
        if moment < key[below] or (moment == key[below] and sequence < item[below, 0]):
            break
        key[i] = key[below]
        item[i, 0], item[i, 1] = item[below, 0], item[below, 1]
        i = below
    key[i] = moment
    item[i, 0], item[i, 1] = sequence, what
    return first


# --- requests ---------------------------------------------------------------------------------------------------------


@kernel()
def living(s: Arrays, serial: int) -> bool:
    """Whether a request has not ended."""
    slot = serial & (s.request_i.shape[0] - 1)
    return bool(s.request_i[slot, at.ALIVE] == 1 and s.request_i[slot, at.SERIAL] == serial)


@kernel()
def leave(s: Arrays, slot: int, outcome: int) -> None:
    """A request ends: its items that wait count no more, and their queues skip them when they surface."""
    s.outcomes[outcome] += 1
    if s.request_i[slot, at.NUMBER] < s.record_outcome.shape[0]:
        s.record_outcome[s.request_i[slot, at.NUMBER]] = outcome
    s.request_i[slot, at.ALIVE] = 0
    for g in range(s.group_i.shape[0]):
        waiting = s.waits[slot, g]
        if waiting > 0:
            s.group_i[g, at.QUEUED] -= waiting
            s.task_i[at.WAITING, s.group_i[g, at.TASK]] -= waiting
            s.waits[slot, g] = 0


@kernel()
def give_up(s: Arrays, slot: int) -> None:
    """Nothing can save a request any more: a refusal before any work on it, dropped after some."""
    leave(s, slot, at.DROPPED if s.request_i[slot, at.SERVED] else at.REFUSED)


@kernel()
def answer(s: Arrays, slot: int, now_s: float) -> None:
    """A request is answered, in time or late."""
    response_s = now_s - s.request_f[slot, at.ARRIVED_S]
    outcome = at.IN_TIME if now_s <= s.request_f[slot, at.DUE_S] else at.LATE
    value = 1.0
    for t in range(s.items.shape[1]):
        if s.items[slot, t] > 0:
            value *= s.worth[slot, t] / s.items[slot, t]
    s.outcomes[outcome] += 1
    s.window_f[at.WORTH] += value
    s.window_f[at.RESPONSE_S] += response_s
    bucket = int(math.log(max(response_s, at.LEAST_RESPONSE_S) / at.LEAST_RESPONSE_S) / at.RESPONSE_STEP)
    s.responses[min(bucket, at.BUCKETS - 1)] += 1
    if s.request_i[slot, at.NUMBER] < s.record_outcome.shape[0]:
        s.record_outcome[s.request_i[slot, at.NUMBER]] = outcome
        s.record_s[s.request_i[slot, at.NUMBER]] = response_s
    s.request_i[slot, at.ALIVE] = 0


@kernel()
def is_first(s: Arrays, task: int) -> bool:
    """Whether a task reads the request."""
    for u in range(task):
        if s.upstream[task, u]:
            return False
    return True


@kernel()
def is_refused(s: Arrays, left_s: float) -> bool:
    """Whether a request that arrives now, and has so much left to its deadline, is turned away."""
    if s.option_i[at.RULE] == TRIMTAB:
        least_s = predicted_response_s(
            s.task_i[at.WAITING],
            s.task_i[at.IN_SERVICE],
            s.task_i[at.T_SLOTS],
            s.task_f[at.T_PER_ITEM_S],
            s.task_f[at.T_ALONE_S],
            s.upstream,
            s.enter,
            s.scratch_f[0],
        )
        if least_s > (1.0 - ANSWER_SHARE) * left_s:
            return True
    if s.option_i[at.QUEUE_LIMIT] > 0:
        for t in range(s.task_i.shape[1]):
            if is_first(s, t) and s.task_i[at.WAITING, t] + s.task_i[at.IN_SERVICE, t] >= s.option_i[at.QUEUE_LIMIT]:
                return True
    return False


@kernel()
def arrive(s: Arrays, now_s: float) -> int:
    """A request arrives; returns how many groups in `dirty` got an item of it."""
    number = s.counts[at.ORDINAL]
    left_s = s.arrivals[1, s.counts[at.NEXT_ARRIVAL]]
    s.counts[at.ORDINAL] += 1
    s.counts[at.NEXT_ARRIVAL] += 1
    if is_refused(s, left_s):
        s.outcomes[at.REFUSED] += 1
        if number < s.record_outcome.shape[0]:
            s.record_outcome[number] = at.REFUSED
        return 0
    serial = s.counts[at.NEXT_SERIAL]
    s.counts[at.NEXT_SERIAL] += 1
    slot = serial & (s.request_i.shape[0] - 1)
    tasks = s.task_i.shape[1]
    s.request_i[slot, at.SERIAL] = serial
    s.request_i[slot, at.ALIVE] = 1
    s.request_i[slot, at.SERVED] = 0
    s.request_i[slot, at.LEFT] = tasks
    s.request_i[slot, at.NUMBER] = number
    s.request_f[slot, at.ARRIVED_S] = now_s
    s.request_f[slot, at.DUE_S] = now_s + left_s
    s.request_f[slot, at.END_S] = now_s + (1.0 - ANSWER_SHARE) * left_s
    if s.option_i[at.VARIED]:
        dues = s.group_i.shape[0]
        push(s.queue_key[dues], s.queue_item[dues], s.counts[at.DUES], now_s + left_s, serial, serial)
        s.counts[at.DUES] += 1
        s.counts[at.HIGHEST] = max(s.counts[at.HIGHEST], s.counts[at.DUES])
    changed = 0
    for t in range(tasks):
        s.missing[slot, t] = -1
        s.items[slot, t] = 0
        s.worth[slot, t] = 0.0
        for u in range(t):
            s.brings[slot, t, u] = 0
        if is_first(s, t):
            s.missing[slot, t] = 1
            s.dirty[changed] = enqueue(s, t, slot, 2 * serial, now_s)
            changed += 1
    return changed


# --- items and queues -------------------------------------------------------------------------------------------------


@kernel()
def enqueue(s: Arrays, task: int, slot: int, what: int, now_s: float) -> int:
    """Route an item to a group of its task and queue it there; returns the group.

    Trimtab's queues are by deadline; those of the other rules by when an item came.
    """
    width = s.group_i.shape[0] // s.task_i.shape[1]
    g = int(task * width)
    if s.share[g] < 1.0:
        g += max(0, route(s.share[g : g + width], s.credit[g : g + width]))
    moment = s.request_f[slot, at.END_S] if s.option_i[at.RULE] == TRIMTAB else now_s
    push(s.queue_key[g], s.queue_item[g], s.group_i[g, at.ENTRIES], moment, s.counts[at.SEQUENCE], what)
    s.counts[at.SEQUENCE] += 1
    s.group_i[g, at.ENTRIES] += 1
    s.group_i[g, at.QUEUED] += 1
    s.waits[slot, g] += 1
    s.task_i[at.WAITING, task] += 1
    s.counts[at.HIGHEST] = max(s.counts[at.HIGHEST], s.group_i[g, at.ENTRIES])
    return g


@kernel()
def take(s: Arrays, g: int) -> int:
    """The next item of a queue whose request lives; there has to be one."""
    while True:
        what = pop(s.queue_key[g], s.queue_item[g], s.group_i[g, at.ENTRIES])
        s.group_i[g, at.ENTRIES] -= 1
        if living(s, what >> 1):
            s.group_i[g, at.QUEUED] -= 1
            s.waits[(what >> 1) & (s.request_i.shape[0] - 1), g] -= 1
            s.task_i[at.WAITING, s.group_i[g, at.TASK]] -= 1
            return what


@kernel()
def bring(s: Arrays, slot: int, task: int, v: int) -> None:
    """An item of a task is done by variant v: what it brings to the tasks behind it."""
    for d in range(task + 1, s.task_i.shape[1]):
        if s.upstream[d, task]:
            brought = int(s.fan[d, task, v])
            part = s.fan[d, task, v] - brought
            if part > 0.0:
                if s.uniforms[s.counts[at.UNIFORM]] < part:
                    brought += 1
                s.counts[at.UNIFORM] += 1
            s.brings[slot, d, task] += brought


@kernel()
def items_for(s: Arrays, slot: int, task: int) -> int:
    """Items with which a task can begin; -1 when it has begun, or waits for another, or reads the request itself."""
    if s.missing[slot, task] >= 0:
        return -1
    need = -1
    for u in range(task):
        if s.upstream[task, u]:
            if s.missing[slot, u] != 0:
                return -1
            need = max(need, s.brings[slot, task, u])
    return need


@kernel()
def item_done(s: Arrays, batch: int, k: int, now_s: float) -> int:
    """The k-th item of a batch is done: perhaps its task, perhaps its request. Returns how many groups got items."""
    serial = s.batch_item[batch, k] >> 1
    if not living(s, serial):
        return 0
    slot = serial & (s.request_i.shape[0] - 1)
    task, v = s.group_i[s.batch_i[batch, at.B_GROUP], at.TASK], s.batch_i[batch, at.B_VARIANT]
    s.request_i[slot, at.SERVED] = 1
    s.items[slot, task] += 1
    s.worth[slot, task] += s.accuracy[task, v]
    s.missing[slot, task] -= 1
    bring(s, slot, task, v)
    if s.missing[slot, task] > 0:
        return 0
    s.request_i[slot, at.LEFT] -= 1
    changed = 0
    for d in range(task + 1, s.task_i.shape[1]):
        need = items_for(s, slot, d)
        if need < 0:
            continue
        s.missing[slot, d] = need
        if need == 0:
            s.request_i[slot, at.LEFT] -= 1
            continue
        held = s.task_i[at.WAITING, d] + s.task_i[at.IN_SERVICE, d]
        if s.option_i[at.QUEUE_LIMIT] > 0 and held + need > s.option_i[at.QUEUE_LIMIT]:
            give_up(s, slot)
            return changed
        for _ in range(need):
            changed = marked(s, changed, enqueue(s, d, slot, 2 * serial, now_s))
    if s.request_i[slot, at.LEFT] == 0:
        answer(s, slot, now_s)
    return changed


@kernel()
def marked(s: Arrays, changed: int, g: int) -> int:
    """Note that a group may start a batch; returns how many are noted."""
    for j in range(changed):
        if s.dirty[j] == g:
            return changed
    s.dirty[changed] = g
    return changed + 1


# --- batches and replicas ---------------------------------------------------------------------------------------------


@kernel()
def drawn_s(row: Floats, exponential: int, uniform: float) -> float:
    """A service time from quantiles at `KNOTS`, linear between them; or exponential with their mean."""
    if exponential:
        return float(-row[at.MEAN] * math.log1p(-uniform))
    i = 0
    while uniform > at.KNOTS[i + 1]:
        i += 1
    return float(row[i] + (uniform - at.KNOTS[i]) / (at.KNOTS[i + 1] - at.KNOTS[i]) * (row[i + 1] - row[i]))


@kernel()
def refresh(s: Arrays, group: int) -> None:
    """Bring what admission counts on up to date: the least times of a group, and of its task over all its groups."""
    s.group_f[group, at.ALONE_S], s.group_f[group, at.PER_ITEM_S] = fastest(
        s.least_s[group, 0], s.least_s[group, 1], s.ratio[group], s.allowed[group]
    )
    task = s.group_i[group, at.TASK]
    width = s.group_i.shape[0] // s.task_i.shape[1]
    if s.share[task * width] == 1.0 and group == task * width:  # the only one that serves
        s.task_i[at.T_SLOTS, task] = s.group_i[group, at.SLOTS]
        s.task_f[at.T_ALONE_S, task] = s.group_f[group, at.ALONE_S]
        s.task_f[at.T_PER_ITEM_S, task] = s.group_f[group, at.PER_ITEM_S]
        return
    slots = 0
    drains = 0.0
    alone_s = np.inf
    for g in range(task * width, (task + 1) * width):
        if s.group_i[g, at.OPEN]:
            alone_s = min(alone_s, s.group_f[g, at.ALONE_S])
            slots += s.group_i[g, at.SLOTS]
            drains += s.group_i[g, at.SLOTS] / s.group_f[g, at.PER_ITEM_S]
    s.task_i[at.T_SLOTS, task] = slots
    s.task_f[at.T_ALONE_S, task] = alone_s
    s.task_f[at.T_PER_ITEM_S, task] = slots / drains if drains > 0.0 else np.inf


@kernel()
def batch_done(s: Arrays, batch: int) -> int:
    """What is learned and counted of a batch that has ended. Returns the steps that follow: its items, then its slot.

    None follow where its replica was lost meanwhile.
    """
    s.counts[at.IN_FLIGHT] -= 1
    if s.batch_i[batch, at.B_LOST]:
        s.spare[s.counts[at.SPARE]] = batch
        s.counts[at.SPARE] += 1
        return 0
    g, v, size = s.batch_i[batch, at.B_GROUP], s.batch_i[batch, at.B_VARIANT], s.batch_i[batch, at.B_SIZE]
    task, took_s = s.group_i[g, at.TASK], s.batch_f[batch, at.TOOK_S]
    s.task_i[at.IN_SERVICE, task] -= size
    s.served[task, v] += size
    s.window_t[task, at.BATCHES] += 1
    s.window_t[task, at.BUSY_CORE_S] += took_s * s.batch_i[batch, at.B_THREADS]
    if size <= s.group_i[g, at.MAX_BATCH] and s.mean_s[g, v, size] < np.inf:
        s.window_t[task, at.MEASURED_S] += took_s
        s.window_t[task, at.EXPECTED_S] += s.mean_s[g, v, size]
        s.ratio[g, v] = corrected_ratio(s.ratio[g, v], took_s, s.mean_s[g, v, size])
        refresh(s, g)
    if s.option_i[at.RULE] == CLIPPER:
        objective_s = s.group_f[g, at.SLACK_SHARE] * s.option_f[at.SLO_S]
        bound = s.group_f[g, at.BOUND]
        s.group_f[g, at.BOUND] = adjusted_bound(bound, size, took_s, objective_s, s.group_i[g, at.MAX_BATCH])
    return int(size) + 1


@kernel()
def free_slot(s: Arrays, batch: int, now_s: float) -> int:
    """The slot of a batch that has ended is free again; returns how many groups in `dirty` may use it."""
    r = s.batch_i[batch, at.B_REPLICA]
    s.spare[s.counts[at.SPARE]] = batch
    s.counts[at.SPARE] += 1
    s.replica_i[r, at.BUSY] -= 1
    g = s.replica_i[r, at.GROUP]
    if g < 0:
        if s.replica_i[r, at.BUSY] == 0:
            s.replica_f[r, at.IDLE_AT_S] = now_s
        return 0
    if s.replica_i[r, at.BUSY] < s.replica_i[r, at.CONCURRENCY]:
        s.group_i[g, at.FREE] += 1
    s.dirty[0] = g
    return 1


@kernel()
def least_busy(s: Arrays, g: int) -> int:
    """The replica of a group with a free slot that serves the fewest batches; the first of several."""
    best = -1
    for m in range(s.group_i[g, at.MEMBERS]):
        r = int(s.members[g, m])
        if s.replica_i[r, at.BUSY] < s.replica_i[r, at.CONCURRENCY] and (
            best < 0 or s.replica_i[r, at.BUSY] < s.replica_i[best, at.BUSY]
        ):
            best = r
            if s.replica_i[r, at.BUSY] == 0:
                break
    return int(best)


@kernel()
def start_batch(s: Arrays, g: int, v: int, size: int, now_s: float) -> None:
    """Take a batch from a group's queue to a replica."""
    s.counts[at.SPARE] -= 1
    batch = s.spare[s.counts[at.SPARE]]
    for k in range(size):
        s.batch_item[batch, k] = take(s, g)
    r = least_busy(s, g)
    s.task_i[at.IN_SERVICE, s.group_i[g, at.TASK]] += size
    s.replica_i[r, at.BUSY] += 1
    s.group_i[g, at.FREE] -= 1
    took_s = drawn_s(s.draws_s[g, v, size], s.option_i[at.EXPONENTIAL], s.uniforms[s.counts[at.UNIFORM]])
    s.counts[at.UNIFORM] += 1
    took_s = took_s * s.replica_f[r, at.FACTOR] + s.option_f[at.HOP_S]
    s.batch_i[batch, at.B_GROUP] = g
    s.batch_i[batch, at.B_REPLICA] = r
    s.batch_i[batch, at.B_VARIANT] = v
    s.batch_i[batch, at.B_SIZE] = size
    s.batch_i[batch, at.B_LOST] = 0
    s.batch_i[batch, at.B_THREADS] = s.group_i[g, at.THREADS]
    s.batch_f[batch, at.TOOK_S] = took_s
    push(s.end_key, s.end_batch, s.counts[at.IN_FLIGHT], now_s + took_s, s.counts[at.SEQUENCE], batch)
    s.counts[at.SEQUENCE] += 1
    s.counts[at.IN_FLIGHT] += 1


@kernel()
def start_what_can(s: Arrays, g: int, now_s: float) -> None:
    """Start batches of a group until its slots are taken, nothing waits, or its rule would rather wait."""
    while s.group_i[g, at.QUEUED] > 0 and s.group_i[g, at.FREE] > 0:
        serial = s.queue_item[g, 0, 1] >> 1
        slot = serial & (s.request_i.shape[0] - 1)
        if not living(s, serial):
            pop(s.queue_key[g], s.queue_item[g], s.group_i[g, at.ENTRIES])
            s.group_i[g, at.ENTRIES] -= 1
            continue
        if s.option_i[at.RULE] == TRIMTAB:
            v, size = next_batch(
                s.queue_key[g, 0],
                now_s,
                s.group_f[g, at.SLACK_SHARE],
                s.group_f[g, at.RESERVE_S],
                s.group_i[g, at.QUEUED],
                s.group_i[g, at.FREE],
                s.group_i[g, at.SLOTS],
                s.service_s[g],
                s.ratio[g],
                s.allowed[g],
                s.group_i[g, at.MAX_BATCH],
                s.group_f[g, at.PRESSURE_S],
            )
            verdict = SERVE if size > 0 else DROP
        else:
            v = s.group_i[g, at.VARIANT]
            verdict, size, wake_s = rule_step(
                s.option_i[at.RULE],
                now_s,
                s.request_f[slot, at.ARRIVED_S],
                s.queue_key[g, 0],
                s.request_f[slot, at.END_S] - s.group_f[g, at.RESERVE_S],
                s.group_i[g, at.QUEUED],
                s.service_s[g, v],
                s.ratio[g, v],
                s.group_i[g, at.MAX_BATCH],
                s.group_f[g, at.BOUND],
                s.option_f[at.MAX_WAIT_S],
                s.option_f[at.DROP_AFTER_S],
            )
            s.group_f[g, at.WAKE_S] = wake_s if verdict == WAIT else np.inf
        if verdict == WAIT:
            break
        if verdict == DROP:
            give_up(s, slot)
        else:
            start_batch(s, g, v, size, now_s)


@kernel()
def open_groups(s: Arrays) -> int:
    """Note all groups that the plan opens; returns how many."""
    s.counts[at.PUMP_ALL] = 0
    changed = 0
    for g in range(s.group_i.shape[0]):
        if s.group_i[g, at.OPEN]:
            changed = marked(s, changed, g)
    return changed


# --- time -------------------------------------------------------------------------------------------------------------


@kernel()
def next_due_s(s: Arrays) -> float:
    """When the next deadline of a request that lives passes; infinite under rules that look at none."""
    if s.option_i[at.RULE] != TRIMTAB:
        return np.inf
    if s.option_i[at.VARIED]:
        dues = s.group_i.shape[0]
        while s.counts[at.DUES] > 0:
            if living(s, s.queue_item[dues, 0, 1]):
                return float(s.queue_key[dues, 0])
            pop(s.queue_key[dues], s.queue_item[dues], s.counts[at.DUES])
            s.counts[at.DUES] -= 1
        return np.inf
    while s.counts[at.NEXT_DUE] < s.counts[at.NEXT_SERIAL]:
        if living(s, s.counts[at.NEXT_DUE]):
            return float(s.request_f[s.counts[at.NEXT_DUE] & (s.request_i.shape[0] - 1), at.DUE_S])
        s.counts[at.NEXT_DUE] += 1
    return np.inf


@kernel()
def next_event(s: Arrays) -> tuple[int, float, int]:
    """Kind and moment of what happens next, and the group that wakes."""
    kind, moment, woken = _ENDED, np.inf, -1
    if s.counts[at.IN_FLIGHT] > 0:
        moment = s.end_key[0]
    if s.counts[at.NEXT_ARRIVAL] < s.arrivals.shape[1] and s.arrivals[0, s.counts[at.NEXT_ARRIVAL]] < moment:
        kind, moment = _ARRIVED, s.arrivals[0, s.counts[at.NEXT_ARRIVAL]]
    if s.option_i[at.WAITS]:
        for g in range(s.group_i.shape[0]):
            if s.group_f[g, at.WAKE_S] < moment:
                kind, moment, woken = _WOKEN, s.group_f[g, at.WAKE_S], g
    due_s = next_due_s(s)
    if due_s < moment:
        kind, moment = _DUE, due_s
    if s.clock[at.TICK] < moment:
        kind, moment = _TICKED, s.clock[at.TICK]
    return kind, moment, woken


@kernel()
def share_deadlines(s: Arrays) -> None:
    """Share deadlines anew over the tasks with the times measured since, if all tasks have a plan."""
    width = s.group_i.shape[0] // s.task_i.shape[1]
    own_s = s.scratch_f[1]
    for t in range(own_s.shape[0]):
        own_s[t] = 0.0
        for g in range(t * width, (t + 1) * width):
            if s.group_i[g, at.OPEN]:
                v = s.group_i[g, at.VARIANT]
                own_s[t] = max(own_s[t], s.service_s[g, v, 1] * s.ratio[g, v])
        if own_s[t] == 0.0:
            return
    parts = s.scratch_f[4:7]
    split_deadline(
        own_s,
        s.task_f[at.T_ALONE_S],
        s.upstream,
        s.option_f[at.SLO_S],
        s.scratch_f[2],
        s.scratch_f[3],
        parts,
    )
    for g in range(s.group_i.shape[0]):
        if s.group_i[g, at.OPEN]:
            t = s.group_i[g, at.TASK]
            s.group_f[g, at.SLACK_SHARE] = parts[0, t]
            s.group_f[g, at.RESERVE_S] = parts[1, t]
            s.group_f[g, at.PRESSURE_S] = parts[2, t]


@kernel()
def pass_deadline(s: Arrays) -> None:
    """A deadline passes: what waits is given up, what is served is answered late."""
    serial = s.counts[at.NEXT_DUE]
    if s.option_i[at.VARIED]:
        dues = s.group_i.shape[0]
        serial = pop(s.queue_key[dues], s.queue_item[dues], s.counts[at.DUES])
        s.counts[at.DUES] -= 1
    else:
        s.counts[at.NEXT_DUE] += 1
    slot = serial & (s.request_i.shape[0] - 1)
    for g in range(s.group_i.shape[0]):
        if s.waits[slot, g] > 0:
            give_up(s, slot)
            return


@kernel()
def lacks(s: Arrays) -> int:
    """What the next event needs and is not there; `REACHED` when all is."""
    if s.uniforms.shape[0] - s.counts[at.UNIFORM] < s.option_i[at.DRAWS_AT_ONCE]:
        return at.NEED_UNIFORMS
    if s.queue_key.shape[1] - s.counts[at.HIGHEST] < s.option_i[at.PUSHES_AT_ONCE]:
        return at.NEED_QUEUE
    if s.counts[at.NEXT_ARRIVAL] >= s.arrivals.shape[1] and s.counts[at.MORE]:
        return at.NEED_ARRIVALS
    if s.request_i[s.counts[at.NEXT_SERIAL] & (s.request_i.shape[0] - 1), at.ALIVE]:
        return at.NEED_REQUESTS
    return at.REACHED


@kernel(at.signature)
def advance(until_s: float, s: Arrays) -> int:
    """Let everything happen up to and at `until_s`.

    Returns `REACHED`, or what it needs before it can go on: more arrivals, random numbers, or room. Nothing is lost:
    called again, it goes on where it was.
    """
    now_s = s.clock[at.NOW]
    while True:
        missing = lacks(s)
        if missing != at.REACHED:
            s.clock[at.NOW] = now_s
            return missing
        kind, moment, woken = _CHANGED, now_s, -1
        if not s.counts[at.PUMP_ALL]:
            kind, moment, woken = next_event(s)
        if moment > until_s:
            s.clock[at.NOW] = until_s
            return at.REACHED
        now_s = moment

        steps, batch = 1, -1
        if kind == _ENDED:
            batch = pop(s.end_key, s.end_batch, s.counts[at.IN_FLIGHT])
            steps = batch_done(s, batch)

        # Each step leaves in `dirty` the groups that may start a batch because of it.
        for step in range(steps):
            changed = 0
            if kind == _ARRIVED:
                changed = arrive(s, now_s)
            elif kind == _ENDED:
                changed = item_done(s, batch, step, now_s) if step < steps - 1 else free_slot(s, batch, now_s)
            elif kind == _WOKEN:
                s.group_f[woken, at.WAKE_S] = np.inf
                s.dirty[0] = woken
                changed = 1
            elif kind == _DUE:
                pass_deadline(s)
            elif kind == _TICKED:
                s.clock[at.TICK] += at.TICK_S
                share_deadlines(s)
            else:
                changed = open_groups(s)
            for j in range(changed):
                start_what_can(s, s.dirty[j], now_s)
