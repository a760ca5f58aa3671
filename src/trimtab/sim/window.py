"""What happened in a simulated plant between two looks, as counts; and what the controller makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab.observe.model import TaskObservation
from trimtab.sim import layout as at
from trimtab.sim.fleet import Replica
from trimtab.sim.state import State
from trimtab.spec.model import Task


class Window(NamedTuple):
    """What happened since the last window."""

    start_s: float
    end_s: float
    arrivals: tuple[int, ...]
    """By whole second, complete seconds only."""
    outcomes: NDArray[np.int64]
    """In the order of `observe.model.Outcomes`."""
    worth: float
    """Sum of the accuracies of what was answered."""
    response_s: float
    """Sum of the response times of what was answered."""
    responses: NDArray[np.int64]
    """Answers by bucket of response time."""
    served: NDArray[np.int64]
    """Items by task and variant, most accurate first; shape (T, V)."""
    by_task: NDArray[np.float64]
    """Batches, measured, expected seconds and busy core-seconds by task; shape (T, 4)."""
    core_seconds: float
    left_s: NDArray[np.float64]
    """What each request that arrived had left to its deadline; empty where all have the SLO."""


def empty_window(
    state: State,
    start_s: float,
    end_s: float,
    arrivals: tuple[int, ...],
    core_s: float,
    left_s: NDArray[np.float64],
) -> Window:
    """Take the counts out of the state and begin anew."""
    window = Window(
        start_s,
        end_s,
        arrivals,
        state["outcomes"].copy(),
        float(state["window_f"][at.WORTH]),
        float(state["window_f"][at.RESPONSE_S]),
        state["responses"].copy(),
        state["served"].copy(),
        state["window_t"].copy(),
        core_s,
        left_s,
    )
    for name in ("outcomes", "window_f", "window_t", "served", "responses"):
        state[name][...] = 0
    return window


def task_observation(state: State, t: int, task: Task, replicas: Sequence[Replica], window: Window) -> TaskObservation:
    """One task, over the window and at its end."""
    batches, measured_s, expected_s, busy_core_s = window.by_task[t].tolist()
    served = window.served[t]
    return TaskObservation(
        queued=int(state["task_i"][at.WAITING, t]),
        in_service=int(state["task_i"][at.IN_SERVICE, t]),
        replicas_ready=sum(r.ready and not r.draining for r in replicas),
        replicas_starting=sum(not r.ready for r in replicas),
        cores=sum(r.cores for r in replicas),
        served={variant.name: int(served[v]) for v, variant in enumerate(task.by_accuracy()) if served[v]},
        batches=int(batches),
        service_ratio=measured_s / expected_s if expected_s > 0 else None,
        busy_core_s=busy_core_s,
    )


def response_quantiles(responses: NDArray[np.int64], quantiles: Sequence[float]) -> Mapping[float, float]:
    """Quantiles of response times that were counted by bucket, to within a quarter of a percent; empty without any."""
    total = np.cumsum(responses)
    if total[-1] == 0:
        return {}
    ranks = [q * (int(total[-1]) - 1) + 0.5 for q in quantiles]
    buckets = np.searchsorted(total, ranks, side="left")
    return {
        q: at.LEAST_RESPONSE_S * math.exp((int(bucket) + 0.5) * at.RESPONSE_STEP)
        for q, bucket in zip(quantiles, buckets, strict=True)
    }
