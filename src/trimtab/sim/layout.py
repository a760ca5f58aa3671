"""The simulator's state as arrays: their names, types, shapes and columns.

T tasks, G groups of replicas (a fixed number per task, of which the plan opens some), V variants (most accurate first),
H = G + 1, B batch size, R replicas, N requests, K batches in service, E edges. A request lives at `serial & (N - 1)`;
an item in a queue is `serial · 2 + retries`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

# clock, counts: scalars
NOW, TICK = range(2)  # TICK: when deadlines are shared anew
NEXT_ARRIVAL, MORE, NEXT_SERIAL, NEXT_DUE, SEQUENCE, IN_FLIGHT, SPARE, UNIFORM, HIGHEST, PUMP_ALL, ORDINAL = range(11)
DUES = 11  # deadlines in the heap
COUNTS = 12
# option_i, option_f
RULE, WAITS, QUEUE_LIMIT, DRAWS_AT_ONCE, PUSHES_AT_ONCE, EXPONENTIAL, VARIED = range(7)
# VARIED: deadlines that are looked at may pass in another order than their requests came
SLO_S, MAX_WAIT_S, DROP_AFTER_S, HOP_S = range(4)
# group_i, group_f
TASK, OPEN, VARIANT, MAX_BATCH, THREADS, SLOTS, FREE, QUEUED, ENTRIES, MEMBERS = range(10)
SLACK_SHARE, RESERVE_S, PRESSURE_S, ALONE_S, PER_ITEM_S, BOUND, WAKE_S = range(7)
# replica_i, replica_f
GROUP, CONCURRENCY, BUSY = range(3)  # a replica of group -1 takes no batch: it starts, drains or is gone
FACTOR, IDLE_AT_S = range(2)
# request_f, request_i
ARRIVED_S, DUE_S, END_S = range(3)  # END_S: what the dispatcher works towards, before DUE_S
SERIAL, ALIVE, SERVED, LEFT, NUMBER = range(5)  # SERVED: some task has worked on it; LEFT: tasks not done yet
# batch_i, batch_f
B_GROUP, B_REPLICA, B_VARIANT, B_SIZE, B_LOST, B_THREADS = range(6)
TOOK_S = 0
# task_i
IN_SERVICE, WAITING, T_SLOTS = range(3)  # rows of task_i, so that each is contiguous
T_PER_ITEM_S, T_ALONE_S = range(2)  # rows of task_f
# outcomes, in the order of observe.model.Outcomes
IN_TIME, LATE, REFUSED, DROPPED, FAILED = range(5)
# window_f: sums over the window; window_t: by task
WORTH, RESPONSE_S = range(2)
BATCHES, MEASURED_S, EXPECTED_S, BUSY_CORE_S = range(4)
# draws: quantiles of service time at KNOTS, and the mean
KNOTS = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)
MEAN = len(KNOTS)
# responses fall into buckets of equal ratio
LEAST_RESPONSE_S, RESPONSE_STEP, BUCKETS = 1e-5, 0.005, 4400
TICK_S = 1.0  # as often as the live plant's data plane does
# what `advance` returns
REACHED, NEED_ARRIVALS, NEED_UNIFORMS, NEED_REQUESTS, NEED_QUEUE = range(5)


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Arrays(NamedTuple):
    """The state. Beside each array, its shape; `SHAPES` says the same to the program."""

    clock: Floats  # 2
    counts: Ints  # 12
    option_i: Ints  # 7
    option_f: Floats  # 4
    arrivals: Floats  # 2 and any number: moments, ascending, and what requests have left then to their deadlines
    uniforms: Floats  # U
    # the pipeline
    upstream: Flags  # T T: [t, u] when u runs directly before t
    fan: Floats  # T T V: [t, u, variant of u], items of t per answer of u
    accuracy: Floats  # T V
    enter: Flags  # T
    # the plan in force, and the replicas
    group_i: Ints  # G 10
    group_f: Floats  # G 7
    service_s: Floats  # G V B: what the dispatcher counts on
    mean_s: Floats  # G V B: what it compares with what it measures
    least_s: Floats  # G 2 V: of a lone item, and per item in the best batch
    draws_s: Floats  # G V B 7: quantiles and mean of what is drawn
    ratio: Floats  # G V
    allowed: Flags  # G V
    share: Floats  # G
    credit: Floats  # G
    members: Ints  # G R: rows of replicas
    replica_i: Ints  # R 3
    replica_f: Floats  # R 2
    task_i: Ints  # 3 T
    task_f: Floats  # 2 T
    # requests, queues, batches in service
    request_f: Floats  # N 3
    request_i: Ints  # N 5
    missing: Ints  # N T: items not done; -1: the task has not begun
    items: Ints  # N T: items done
    worth: Floats  # N T: sum of the accuracies of the variants that did them
    brings: Ints  # N T T: [t, u], items that answers of u bring to t
    waits: Ints  # N G: items that wait
    queue_key: Floats  # H Q: heaps; below those of the groups one of deadlines, where they are VARIED
    queue_item: Ints  # H Q 2: sequence, item; of a deadline twice the serial
    batch_i: Ints  # K 6
    batch_f: Floats  # K 1
    batch_item: Ints  # K B
    end_key: Floats  # K: a heap
    end_batch: Ints  # K 2: sequence, batch
    spare: Ints  # K: a stack of batches that are free
    # what happened since the window was opened
    outcomes: Ints  # 5
    window_f: Floats  # 2
    window_t: Floats  # T 4
    served: Ints  # T V
    responses: Ints  # 4400
    record_outcome: Ints  # by number of the request; empty: no records are kept
    record_s: Floats  # as above
    # room to work in
    scratch_f: Floats  # 7 T
    dirty: Ints  # G


SHAPES = {
    "clock": "2",
    "counts": f"{COUNTS}",
    "option_i": "7",
    "option_f": "4",
    "arrivals": "2 0",
    "uniforms": "U",
    "upstream": "T T",
    "fan": "T T V",
    "accuracy": "T V",
    "enter": "T",
    "group_i": "G 10",
    "group_f": "G 7",
    "service_s": "G V B",
    "mean_s": "G V B",
    "least_s": "G 2 V",
    "draws_s": f"G V B {MEAN + 1}",
    "ratio": "G V",
    "allowed": "G V",
    "share": "G",
    "credit": "G",
    "members": "G R",
    "replica_i": "R 3",
    "replica_f": "R 2",
    "task_i": "3 T",
    "task_f": "2 T",
    "request_f": "N 3",
    "request_i": "N 5",
    "missing": "N T",
    "items": "N T",
    "worth": "N T",
    "brings": "N T T",
    "waits": "N G",
    "queue_key": "H Q",
    "queue_item": "H Q 2",
    "batch_i": "K 6",
    "batch_f": "K 1",
    "batch_item": "K B",
    "end_key": "K",
    "end_batch": "K 2",
    "spare": "K",
    "outcomes": "5",
    "window_f": "2",
    "window_t": "T 4",
    "served": "T V",
    "responses": f"{BUCKETS}",
    "record_outcome": "0",
    "record_s": "0",
    "scratch_f": "7 T",
    "dirty": "G",
}
"""Array → its sizes, letters or numbers."""


@cache
def dtypes() -> dict[str, type[np.generic]]:
    """Array → type of its entries."""
    kinds: dict[object, type[np.generic]] = {Floats: np.float64, Ints: np.int64, Flags: np.bool_}
    return {name: kinds[hint] for name, hint in get_type_hints(Arrays).items()}


def signature() -> object:
    """Numba's type of `engine.advance`; called when it is compiled."""
    import numba

    arrays = [
        numba.types.Array(numba.from_dtype(np.dtype(dtypes()[name])), max(len(SHAPES[name].split()), 1), "C")
        for name in Arrays._fields
    ]
    types: Any = numba.types  # it ships no types of its own
    return numba.int64(numba.float64, types.NamedTuple(arrays, Arrays))
