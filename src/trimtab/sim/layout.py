"""The simulator's state as arrays: their names, types and columns. One table, from which all else follows.

T tasks, G groups of replicas (a fixed number per task, of which the plan opens some), V variants (most accurate first),
B batch size, R replicas, N requests, K batches in service, E edges. A request lives at `serial & (N - 1)`; an item in
a queue is `serial · 2 + retries`.
"""

from __future__ import annotations

from typing import NamedTuple

# clock, count: scalars
NOW = 0
NEXT_ARRIVAL, MORE, NEXT_SERIAL, NEXT_DUE, SEQUENCE, IN_FLIGHT, SPARE, UNIFORM, HIGHEST, PUMP_ALL, ORDINAL = range(11)
COUNTS = 11
# option_i, option_f
RULE, WAITS, QUEUE_LIMIT, DRAWS_AT_ONCE, PUSHES_AT_ONCE, EXPONENTIAL = range(6)
SLO_S, DEADLINE_S, MAX_WAIT_S, DROP_AFTER_S, HOP_S = range(5)
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
# what `advance` returns
REACHED, NEED_ARRIVALS, NEED_UNIFORMS, NEED_REQUESTS, NEED_QUEUE = range(5)


class Field(NamedTuple):
    """One array of the state."""

    name: str
    dtype: str
    shape: str
    """Letters of the sizes, or numbers, separated by spaces."""


FIELDS = (
    Field("clock", "float64", "1"),
    Field("count", "int64", f"{COUNTS}"),
    Field("option_i", "int64", "6"),
    Field("option_f", "float64", "5"),
    Field("arrivals", "float64", "0"),
    Field("uniforms", "float64", "U"),
    # the pipeline
    Field("upstream", "bool_", "T T"),
    Field("fan", "float64", "T T V"),  # [task, upstream task, variant of the latter]: items per answer
    Field("accuracy", "float64", "T V"),
    Field("enter", "bool_", "T"),
    # the plan in force, and the replicas
    Field("group_i", "int64", "G 10"),
    Field("group_f", "float64", "G 7"),
    Field("service_s", "float64", "G V B"),
    Field("mean_s", "float64", "G V B"),
    Field("draws_s", "float64", f"G V B {MEAN + 1}"),
    Field("ratio", "float64", "G V"),
    Field("allowed", "bool_", "G V"),
    Field("share", "float64", "G"),
    Field("credit", "float64", "G"),
    Field("members", "int64", "G R"),
    Field("replica_i", "int64", "R 3"),
    Field("replica_f", "float64", "R 2"),
    Field("task_i", "int64", "3 T"),
    Field("task_f", "float64", "2 T"),
    # requests, queues, batches in service
    Field("request_f", "float64", "N 3"),
    Field("request_i", "int64", "N 5"),
    Field("missing", "int64", "N T"),  # items not done; -1: the task has not begun
    Field("items", "int64", "N T"),
    Field("worth", "float64", "N T"),
    Field("brings", "int64", "N T T"),
    Field("waits", "int64", "N G"),
    Field("queue_key", "float64", "G Q"),
    Field("queue_item", "int64", "G Q 2"),  # sequence, item
    Field("batch_i", "int64", "K 6"),
    Field("batch_f", "float64", "K 1"),
    Field("batch_item", "int64", "K B"),
    Field("end_key", "float64", "K"),
    Field("end_batch", "int64", "K 2"),  # sequence, batch
    Field("spare", "int64", "K"),
    # what happened since the window was opened
    Field("outcomes", "int64", "5"),
    Field("window_f", "float64", "2"),
    Field("window_t", "float64", "T 4"),
    Field("served", "int64", "T V"),
    Field("responses", "int64", f"{BUCKETS}"),
    Field("record_outcome", "int64", "0"),  # by number of the request; empty: no records are kept
    Field("record_s", "float64", "0"),
    # room to work in
    Field("scratch_f", "float64", "T"),
    Field("dirty", "int64", "G"),
)
"""The arguments of `engine.advance` after `until_s`, in order."""


def signature() -> str:
    """Numba's type of `engine.advance`."""
    dimensions = {field.name: len(field.shape.split()) for field in FIELDS}
    types = [
        f"{field.dtype.replace('bool_', 'boolean')}[{', '.join([':'] * (dimensions[field.name] - 1) + ['::1'])}]"
        for field in FIELDS
    ]
    return f"int64(float64, {', '.join(types)})"
