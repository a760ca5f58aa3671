"""The event loop of the simulator: from one moment to another, every arrival, batch and deadline in a total order.

It decides nothing itself: admission, routing, batches and variants are the kernels of `dispatch`, the very ones that
the live data plane calls. It runs as plain Python, or compiled (`trimtab.compiled`, part `sim`); both give the same.

Events happen by (time, kind, sequence). At one moment batches end first, then requests arrive, then waits are over, and
deadlines pass last, so that what ends just in time is in time.

What the data plane does and when is `runtime.dataplane`; this is the same life of a request without tensors:

    arrives → admitted or refused → items wait at the first tasks → batches → items of the next tasks … → answered
    its deadline passes while items wait, or nothing saves it any more → dropped (refused before any work)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trimtab.compiled import kernel
from trimtab.dispatch.kernels import corrected_ratio, fastest, next_batch, predicted_response_s, route
from trimtab.dispatch.rules import CLIPPER, DROP, SERVE, TRIMTAB, WAIT, adjusted_bound, rule_step
from trimtab.sim import layout as at

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_ENDED, _ARRIVED, _WOKEN, _DUE, _PUMP = range(5)


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
def refresh(
    group: int,
    group_i: Ints,
    group_f: Floats,
    service_s: Floats,
    ratio: Floats,
    allowed: Flags,
    task_i: Ints,
    task_f: Floats,
) -> None:
    """Bring what admission counts on up to date: the least times of a group, and of its task over all its groups."""
    alone_s, per_item_s = fastest(service_s[group], ratio[group], allowed[group], group_i[group, at.MAX_BATCH])
    group_f[group, at.ALONE_S] = alone_s
    group_f[group, at.PER_ITEM_S] = per_item_s
    task = group_i[group, at.TASK]
    width = group_i.shape[0] // task_i.shape[1]
    slots = 0
    drains = 0.0
    alone_s = np.inf
    for g in range(task * width, (task + 1) * width):
        if group_i[g, at.OPEN]:
            alone_s = min(alone_s, group_f[g, at.ALONE_S])
            slots += group_i[g, at.SLOTS]
            drains += group_i[g, at.SLOTS] / group_f[g, at.PER_ITEM_S]
    task_i[at.T_SLOTS, task] = slots
    task_f[at.T_ALONE_S, task] = alone_s
    task_f[at.T_PER_ITEM_S, task] = slots / drains if drains > 0.0 else np.inf


@kernel()
def enqueue(
    task: int,
    slot: int,
    what: int,
    key: float,
    count: Ints,
    group_i: Ints,
    share: Floats,
    credit: Floats,
    task_i: Ints,
    waits: Ints,
    queue_key: Floats,
    queue_item: Ints,
) -> int:
    """Route an item to a group of its task and queue it there; returns the group."""
    width = group_i.shape[0] // task_i.shape[1]
    first = task * width
    g = first
    if share[first] < 1.0:
        g = first + max(0, route(share[first : first + width], credit[first : first + width]))
    push(queue_key[g], queue_item[g], group_i[g, at.ENTRIES], key, count[at.SEQUENCE], what)
    count[at.SEQUENCE] += 1
    group_i[g, at.ENTRIES] += 1
    group_i[g, at.QUEUED] += 1
    waits[slot, g] += 1
    task_i[at.WAITING, task] += 1
    count[at.HIGHEST] = max(count[at.HIGHEST], group_i[g, at.ENTRIES])
    return g


@kernel()
def leave(slot: int, group_i: Ints, task_i: Ints, waits: Ints, request_i: Ints) -> None:
    """A request ends: its items that wait count no more, and their queues skip them when they surface."""
    request_i[slot, at.ALIVE] = 0
    for g in range(group_i.shape[0]):
        waiting = waits[slot, g]
        if waiting:
            group_i[g, at.QUEUED] -= waiting
            task_i[at.WAITING, group_i[g, at.TASK]] -= waiting
            waits[slot, g] = 0


@kernel()
def give_up(
    slot: int, group_i: Ints, task_i: Ints, waits: Ints, request_i: Ints, outcomes: Ints, record_outcome: Ints
) -> None:
    """Nothing can save a request any more: a refusal before any work on it, dropped after some."""
    outcome = at.DROPPED if request_i[slot, at.SERVED] else at.REFUSED
    outcomes[outcome] += 1
    if record_outcome.shape[0] > 0:
        record_outcome[request_i[slot, at.NUMBER]] = outcome
    leave(slot, group_i, task_i, waits, request_i)


@kernel(at.signature())
def advance(
    until_s: float,
    clock: Floats,
    count: Ints,
    option_i: Ints,
    option_f: Floats,
    arrivals: Floats,
    uniforms: Floats,
    upstream: Flags,
    fan: Floats,
    accuracy: Floats,
    enter: Flags,
    group_i: Ints,
    group_f: Floats,
    service_s: Floats,
    mean_s: Floats,
    draws_s: Floats,
    ratio: Floats,
    allowed: Flags,
    share: Floats,
    credit: Floats,
    members: Ints,
    replica_i: Ints,
    replica_f: Floats,
    task_i: Ints,
    task_f: Floats,
    request_f: Floats,
    request_i: Ints,
    missing: Ints,
    items: Ints,
    worth: Floats,
    brings: Ints,
    waits: Ints,
    queue_key: Floats,
    queue_item: Ints,
    batch_i: Ints,
    batch_f: Floats,
    batch_item: Ints,
    end_key: Floats,
    end_batch: Ints,
    spare: Ints,
    outcomes: Ints,
    window_f: Floats,
    window_t: Floats,
    served: Ints,
    responses: Ints,
    record_outcome: Ints,
    record_s: Floats,
    scratch_f: Floats,
    dirty: Ints,
) -> int:
    """Let everything happen up to and at `until_s`; `sim.layout` says what the arrays hold.

    Returns `REACHED`, or what it needs before it can go on: more arrivals, random numbers, or room. Nothing is lost:
    called again, it goes on where it was.
    """
    now_s = clock[at.NOW]
    tasks = task_i.shape[1]
    groups = group_i.shape[0]
    last = request_i.shape[0] - 1
    rule = option_i[at.RULE]
    coming = arrivals.shape[0]
    while True:
        if uniforms.shape[0] - count[at.UNIFORM] < option_i[at.DRAWS_AT_ONCE]:
            clock[at.NOW] = now_s
            return at.NEED_UNIFORMS
        if queue_key.shape[1] - count[at.HIGHEST] < option_i[at.PUSHES_AT_ONCE]:
            clock[at.NOW] = now_s
            return at.NEED_QUEUE

        # What happens next?
        kind, at_s = _PUMP, now_s
        woken = -1
        if not count[at.PUMP_ALL]:
            kind, at_s = _ENDED, np.inf
            if count[at.IN_FLIGHT] > 0:
                at_s = end_key[0]
            if count[at.NEXT_ARRIVAL] < coming:
                if arrivals[count[at.NEXT_ARRIVAL]] < at_s:
                    kind, at_s = _ARRIVED, arrivals[count[at.NEXT_ARRIVAL]]
            elif count[at.MORE]:
                clock[at.NOW] = now_s
                return at.NEED_ARRIVALS
            if option_i[at.WAITS]:
                for g in range(groups):
                    if group_f[g, at.WAKE_S] < at_s:
                        kind, at_s, woken = _WOKEN, group_f[g, at.WAKE_S], g
            if rule == TRIMTAB:
                while count[at.NEXT_DUE] < count[at.NEXT_SERIAL] and not (
                    request_i[count[at.NEXT_DUE] & last, at.ALIVE]
                    and request_i[count[at.NEXT_DUE] & last, at.SERIAL] == count[at.NEXT_DUE]
                ):
                    count[at.NEXT_DUE] += 1
                if count[at.NEXT_DUE] < count[at.NEXT_SERIAL] and request_f[count[at.NEXT_DUE] & last, at.DUE_S] < at_s:
                    kind, at_s = _DUE, request_f[count[at.NEXT_DUE] & last, at.DUE_S]
        if at_s > until_s:
            clock[at.NOW] = until_s
            return at.REACHED
        now_s = at_s

        # Let it happen; `dirty` are the groups that may start a batch because of it.
        steps = 1
        batch = -1
        if kind == _ARRIVED:
            if request_i[count[at.NEXT_SERIAL] & last, at.ALIVE]:
                clock[at.NOW] = now_s
                return at.NEED_REQUESTS
        elif kind == _ENDED:
            batch = pop(end_key, end_batch, count[at.IN_FLIGHT])
            count[at.IN_FLIGHT] -= 1
            if batch_i[batch, at.B_LOST]:
                spare[count[at.SPARE]] = batch
                count[at.SPARE] += 1
                continue
            g = batch_i[batch, at.B_GROUP]
            task = group_i[g, at.TASK]
            v, size = batch_i[batch, at.B_VARIANT], batch_i[batch, at.B_SIZE]
            took_s = batch_f[batch, at.TOOK_S]
            task_i[at.IN_SERVICE, task] -= size
            served[task, v] += size
            window_t[task, at.BATCHES] += 1
            window_t[task, at.BUSY_CORE_S] += took_s * batch_i[batch, at.B_THREADS]
            if size <= group_i[g, at.MAX_BATCH] and mean_s[g, v, size] < np.inf:
                window_t[task, at.MEASURED_S] += took_s
                window_t[task, at.EXPECTED_S] += mean_s[g, v, size]
                ratio[g, v] = corrected_ratio(ratio[g, v], took_s, mean_s[g, v, size])
                refresh(g, group_i, group_f, service_s, ratio, allowed, task_i, task_f)
            if rule == CLIPPER:
                group_f[g, at.BOUND] = adjusted_bound(
                    group_f[g, at.BOUND],
                    size,
                    took_s,
                    group_f[g, at.SLACK_SHARE] * option_f[at.SLO_S],
                    group_i[g, at.MAX_BATCH],
                )
            steps = size + 1

        for step in range(steps):
            changed = 0
            if kind == _ARRIVED:
                number = count[at.ORDINAL]
                count[at.ORDINAL] += 1
                count[at.NEXT_ARRIVAL] += 1
                refused = False
                if rule == TRIMTAB:
                    least_s = predicted_response_s(
                        task_i[at.WAITING],
                        task_i[at.IN_SERVICE],
                        task_i[at.T_SLOTS],
                        task_f[at.T_PER_ITEM_S],
                        task_f[at.T_ALONE_S],
                        upstream,
                        enter,
                        scratch_f,
                    )
                    refused = least_s > option_f[at.DEADLINE_S]
                if option_i[at.QUEUE_LIMIT] > 0:
                    for t in range(tasks):
                        if enter[t] and task_i[at.WAITING, t] + task_i[at.IN_SERVICE, t] >= option_i[at.QUEUE_LIMIT]:
                            entered = False
                            for u in range(t):
                                entered = entered or upstream[t, u]
                            refused = refused or not entered
                if refused:
                    outcomes[at.REFUSED] += 1
                    if record_outcome.shape[0] > 0:
                        record_outcome[number] = at.REFUSED
                    continue
                serial = count[at.NEXT_SERIAL]
                count[at.NEXT_SERIAL] += 1
                slot = serial & last
                request_i[slot, at.SERIAL] = serial
                request_i[slot, at.ALIVE] = 1
                request_i[slot, at.SERVED] = 0
                request_i[slot, at.LEFT] = tasks
                request_i[slot, at.NUMBER] = number
                request_f[slot, at.ARRIVED_S] = now_s
                request_f[slot, at.DUE_S] = now_s + option_f[at.SLO_S]
                request_f[slot, at.END_S] = now_s + option_f[at.DEADLINE_S]
                for t in range(tasks):
                    missing[slot, t] = -1
                    items[slot, t] = 0
                    worth[slot, t] = 0.0
                    first_task = True
                    for u in range(t):
                        brings[slot, t, u] = 0
                        if upstream[t, u]:
                            first_task = False
                    if first_task:
                        missing[slot, t] = 1
                        key = request_f[slot, at.END_S] if rule == TRIMTAB else now_s
                        dirty[changed] = enqueue(
                            t,
                            slot,
                            2 * serial,
                            key,
                            count,
                            group_i,
                            share,
                            credit,
                            task_i,
                            waits,
                            queue_key,
                            queue_item,
                        )
                        changed += 1
            elif kind == _ENDED and step < steps - 1:
                # One item of the batch is done: it may be the last of its task, and its task the last of the request.
                serial = batch_item[batch, step] >> 1
                slot = serial & last
                if not request_i[slot, at.ALIVE] or request_i[slot, at.SERIAL] != serial:
                    continue
                task = group_i[batch_i[batch, at.B_GROUP], at.TASK]
                v = batch_i[batch, at.B_VARIANT]
                request_i[slot, at.SERVED] = 1
                items[slot, task] += 1
                worth[slot, task] += accuracy[task, v]
                missing[slot, task] -= 1
                for d in range(task + 1, tasks):
                    if upstream[d, task]:
                        brought = int(fan[d, task, v])
                        part = fan[d, task, v] - brought
                        if part > 0.0:
                            brought += uniforms[count[at.UNIFORM]] < part
                            count[at.UNIFORM] += 1
                        brings[slot, d, task] += brought
                if missing[slot, task] > 0:
                    continue
                request_i[slot, at.LEFT] -= 1
                overfull = False
                for d in range(task + 1, tasks):
                    if missing[slot, d] >= 0:
                        continue
                    ready, after = True, False
                    need = 0
                    for u in range(d):
                        if upstream[d, u]:
                            after = True
                            ready = ready and missing[slot, u] == 0
                            need = max(need, brings[slot, d, u])
                    if not (after and ready):
                        continue
                    missing[slot, d] = need
                    if need == 0:
                        request_i[slot, at.LEFT] -= 1
                        continue
                    if option_i[at.QUEUE_LIMIT] > 0 and (
                        task_i[at.WAITING, d] + task_i[at.IN_SERVICE, d] + need > option_i[at.QUEUE_LIMIT]
                    ):
                        overfull = True
                        break
                    key = request_f[slot, at.END_S] if rule == TRIMTAB else now_s
                    for _ in range(need):
                        g = enqueue(
                            d,
                            slot,
                            2 * serial,
                            key,
                            count,
                            group_i,
                            share,
                            credit,
                            task_i,
                            waits,
                            queue_key,
                            queue_item,
                        )
                        known = False
                        for j in range(changed):
                            known = known or dirty[j] == g
                        if not known:
                            dirty[changed] = g
                            changed += 1
                if overfull:
                    give_up(slot, group_i, task_i, waits, request_i, outcomes, record_outcome)
                elif request_i[slot, at.LEFT] == 0:
                    response_s = now_s - request_f[slot, at.ARRIVED_S]
                    outcome = at.IN_TIME if now_s <= request_f[slot, at.DUE_S] else at.LATE
                    value = 1.0
                    for t in range(tasks):
                        if items[slot, t] > 0:
                            value *= worth[slot, t] / items[slot, t]
                    outcomes[outcome] += 1
                    window_f[at.WORTH] += value
                    window_f[at.RESPONSE_S] += response_s
                    bucket = int(
                        math.log(max(response_s, at.LEAST_RESPONSE_S) / at.LEAST_RESPONSE_S) / at.RESPONSE_STEP
                    )
                    responses[min(bucket, at.BUCKETS - 1)] += 1
                    if record_outcome.shape[0] > 0:
                        record_outcome[request_i[slot, at.NUMBER]] = outcome
                        record_s[request_i[slot, at.NUMBER]] = response_s
                    request_i[slot, at.ALIVE] = 0
            elif kind == _ENDED:
                r = batch_i[batch, at.B_REPLICA]
                spare[count[at.SPARE]] = batch
                count[at.SPARE] += 1
                replica_i[r, at.BUSY] -= 1
                g = replica_i[r, at.GROUP]
                if g >= 0:
                    if replica_i[r, at.BUSY] < replica_i[r, at.CONCURRENCY]:
                        group_i[g, at.FREE] += 1
                    dirty[0] = g
                    changed = 1
                elif replica_i[r, at.BUSY] == 0:
                    replica_f[r, at.IDLE_AT_S] = now_s
            elif kind == _WOKEN:
                group_f[woken, at.WAKE_S] = np.inf
                dirty[0] = woken
                changed = 1
            elif kind == _DUE:
                slot = count[at.NEXT_DUE] & last
                count[at.NEXT_DUE] += 1
                waiting = False
                for g in range(groups):
                    waiting = waiting or waits[slot, g] > 0
                if waiting:
                    give_up(slot, group_i, task_i, waits, request_i, outcomes, record_outcome)
            else:
                count[at.PUMP_ALL] = 0
                for g in range(groups):
                    if group_i[g, at.OPEN]:
                        dirty[changed] = g
                        changed += 1

            # Start what can start.
            for j in range(changed):
                g = dirty[j]
                task = group_i[g, at.TASK]
                while group_i[g, at.QUEUED] > 0 and group_i[g, at.FREE] > 0:
                    serial = queue_item[g, 0, 1] >> 1
                    slot = serial & last
                    if not request_i[slot, at.ALIVE] or request_i[slot, at.SERIAL] != serial:
                        pop(queue_key[g], queue_item[g], group_i[g, at.ENTRIES])
                        group_i[g, at.ENTRIES] -= 1
                        continue
                    if rule == TRIMTAB:
                        v, size = next_batch(
                            queue_key[g, 0],
                            now_s,
                            group_f[g, at.SLACK_SHARE],
                            group_f[g, at.RESERVE_S],
                            group_i[g, at.QUEUED],
                            group_i[g, at.FREE],
                            group_i[g, at.SLOTS],
                            service_s[g],
                            ratio[g],
                            allowed[g],
                            group_i[g, at.MAX_BATCH],
                            group_f[g, at.PRESSURE_S],
                        )
                        verdict = SERVE if size > 0 else DROP
                    else:
                        v = group_i[g, at.VARIANT]
                        verdict, size, wake_s = rule_step(
                            rule,
                            now_s,
                            request_f[slot, at.ARRIVED_S],
                            queue_key[g, 0],
                            request_f[slot, at.END_S] - group_f[g, at.RESERVE_S],
                            group_i[g, at.QUEUED],
                            service_s[g, v],
                            ratio[g, v],
                            group_i[g, at.MAX_BATCH],
                            group_f[g, at.BOUND],
                            option_f[at.MAX_WAIT_S],
                            option_f[at.DROP_AFTER_S],
                        )
                        group_f[g, at.WAKE_S] = np.inf
                        if verdict == WAIT:
                            group_f[g, at.WAKE_S] = wake_s
                            break
                    if verdict == DROP:
                        give_up(slot, group_i, task_i, waits, request_i, outcomes, record_outcome)
                        continue
                    count[at.SPARE] -= 1
                    batch_new = spare[count[at.SPARE]]
                    taken = 0
                    while taken < size:
                        what = pop(queue_key[g], queue_item[g], group_i[g, at.ENTRIES])
                        group_i[g, at.ENTRIES] -= 1
                        slot = (what >> 1) & last
                        if request_i[slot, at.ALIVE] and request_i[slot, at.SERIAL] == what >> 1:
                            batch_item[batch_new, taken] = what
                            waits[slot, g] -= 1
                            taken += 1
                    group_i[g, at.QUEUED] -= size
                    task_i[at.WAITING, task] -= size
                    task_i[at.IN_SERVICE, task] += size
                    r = -1
                    for m in range(group_i[g, at.MEMBERS]):
                        candidate = members[g, m]
                        if replica_i[candidate, at.BUSY] < replica_i[candidate, at.CONCURRENCY] and (
                            r < 0 or replica_i[candidate, at.BUSY] < replica_i[r, at.BUSY]
                        ):
                            r = candidate
                            if replica_i[r, at.BUSY] == 0:
                                break
                    replica_i[r, at.BUSY] += 1
                    group_i[g, at.FREE] -= 1
                    took_s = drawn_s(draws_s[g, v, size], option_i[at.EXPONENTIAL], uniforms[count[at.UNIFORM]])
                    count[at.UNIFORM] += 1
                    took_s = took_s * replica_f[r, at.FACTOR] + option_f[at.HOP_S]
                    batch_i[batch_new, at.B_GROUP] = g
                    batch_i[batch_new, at.B_REPLICA] = r
                    batch_i[batch_new, at.B_VARIANT] = v
                    batch_i[batch_new, at.B_SIZE] = size
                    batch_i[batch_new, at.B_LOST] = 0
                    batch_i[batch_new, at.B_THREADS] = group_i[g, at.THREADS]
                    batch_f[batch_new, at.TOOK_S] = took_s
                    push(end_key, end_batch, count[at.IN_FLIGHT], now_s + took_s, count[at.SEQUENCE], batch_new)
                    count[at.SEQUENCE] += 1
                    count[at.IN_FLIGHT] += 1
