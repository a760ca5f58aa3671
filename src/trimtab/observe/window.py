"""Collects what happens between two observations. Every plant counts with this, so that figures mean the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trimtab.observe.model import Observation, Outcomes, TaskObservation

Outcome = Literal["in_time", "late", "refused", "dropped", "failed"]
RESPONSE_QUANTILES = (0.5, 0.95, 0.99)
ALLOWED_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5)
"""Of the time that requests have left: the low ones are those that a plan may miss."""
WHOLE_SHARE = 0.99
"""A request that has this share of the SLO left when it comes has all of it: gateways take a moment, too."""


@dataclass(frozen=True, slots=True)
class TaskLevel:
    """What a plant reads off one task at the end of a window."""

    queued: int
    in_service: int
    replicas_ready: int
    replicas_starting: int
    cores: int


@dataclass(slots=True)
class _TaskCounts:
    served: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    measured_s: float = 0.0
    expected_s: float = 0.0
    busy_core_s: float = 0.0


class ObservationWindow:
    """Counts since the last `close`. Arrivals are by whole second of the plant's clock, complete seconds only."""

    def __init__(self, start_s: float, slo_s: float = math.inf) -> None:
        """Begin at `start_s`; no request has more than `slo_s` left when it comes."""
        self._opened_s, self._slo_s = start_s, slo_s
        self._first_second = math.floor(start_s)
        self._arrivals: dict[int, int] = {}
        self._outcomes: dict[Outcome, int] = {}
        self._responses_s: list[float] = []
        self._left_s: list[float] = []
        self._tasks: dict[str, _TaskCounts] = {}

    def offered(self, now_s: float, left_s: float = math.inf) -> None:
        """A well-formed request reached the gateway, with so much time left to its deadline."""
        self._left_s.append(left_s)
        second = math.floor(now_s)
        self._arrivals[second] = self._arrivals.get(second, 0) + 1

    def ended(self, outcome: Outcome, response_s: float | None = None) -> None:
        """A request ended; `response_s` when it was answered."""
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        if response_s is not None:
            self._responses_s.append(response_s)

    def served(
        self, task: str, variant: str, items: int, measured_s: float, expected_s: float, threads: int = 1
    ) -> None:
        """A batch was served on `threads` threads; `expected_s` is the profile's mean for it (not finite: unknown)."""
        counts = self._tasks.setdefault(task, _TaskCounts())
        counts.served[variant] = counts.served.get(variant, 0) + items
        counts.batches += 1
        counts.busy_core_s += measured_s * threads
        if math.isfinite(expected_s):
            counts.measured_s += measured_s
            counts.expected_s += expected_s

    def close(
        self, now_s: float, levels: Mapping[str, TaskLevel], core_seconds: float, plan_id: str | None
    ) -> Observation:
        """The observation of everything since the last call, and an empty window.

        Arrivals of the second that is still running stay for the next observation; a second in which nothing arrived
        is 0, because the plant itself was there to see it.
        """
        complete = math.floor(now_s)
        arrivals = tuple(self._arrivals.pop(second, 0) for second in range(self._first_second, complete))
        self._arrivals = {second: count for second, count in self._arrivals.items() if second >= complete}
        observation = Observation(
            now_s=now_s,
            window_s=now_s - self._opened_s,
            arrivals=arrivals,
            outcomes=Outcomes(**self._outcomes),
            tasks={name: self._task(name, level) for name, level in levels.items()},
            response_s=self._quantiles(),
            core_seconds=core_seconds,
            plan_id=plan_id,
            allowed_s=allowed_quantiles(self._left_s, self._slo_s),
        )
        self._opened_s = now_s
        self._first_second = max(self._first_second, complete)
        self._outcomes, self._responses_s, self._left_s, self._tasks = {}, [], [], {}
        return observation

    def _task(self, name: str, level: TaskLevel) -> TaskObservation:
        counts = self._tasks.get(name, _TaskCounts())
        return TaskObservation(
            queued=level.queued,
            in_service=level.in_service,
            replicas_ready=level.replicas_ready,
            replicas_starting=level.replicas_starting,
            cores=level.cores,
            served=dict(counts.served),
            batches=counts.batches,
            service_ratio=counts.measured_s / counts.expected_s if counts.expected_s > 0 else None,
            busy_core_s=counts.busy_core_s,
        )

    def _quantiles(self) -> dict[float, float]:
        if not self._responses_s:
            return {}
        values = np.quantile(self._responses_s, RESPONSE_QUANTILES)
        return {q: float(v) for q, v in zip(RESPONSE_QUANTILES, values, strict=True)}


def allowed_quantiles(left_s: Sequence[float] | NDArray[np.float64], slo_s: float) -> dict[float, float]:
    """Quantiles of the time that requests had left when they came, between 0 and `slo_s`; empty where all had the SLO.

    Each is a time that some request had, of which at most that share had less (`observe.model.Observation.allowed_s`).
    """
    if not len(left_s) or float(np.min(left_s)) >= WHOLE_SHARE * slo_s:
        return {}
    values = np.quantile(np.clip(left_s, 0.0, slo_s), ALLOWED_QUANTILES, method="inverted_cdf")
    return {q: float(v) for q, v in zip(ALLOWED_QUANTILES, values, strict=True)}
