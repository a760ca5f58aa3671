"""Adds up a simulated run: its totals, and its series by window. Memory grows with the windows, not the requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trimtab.sim import layout as at
from trimtab.sim.result import SimSeries, SimSummary
from trimtab.sim.window import Window, response_quantiles
from trimtab.spec.model import Pipeline


@dataclass(slots=True)
class _Sums:
    """Sums over windows."""

    outcomes: NDArray[np.int64]
    responses: NDArray[np.int64]
    served: NDArray[np.int64]
    worth: float = 0.0
    response_s: float = 0.0
    offered: int = 0
    core_seconds: float = 0.0
    planned_core_s: float = 0.0

    def join(self, other: _Sums) -> None:
        self.outcomes += other.outcomes
        self.responses += other.responses
        self.served += other.served
        self.worth += other.worth
        self.response_s += other.response_s
        self.offered += other.offered
        self.core_seconds += other.core_seconds
        self.planned_core_s += other.planned_core_s

    def add(self, window: Window, planned_cores: int) -> None:
        self.outcomes += window.outcomes
        self.responses += window.responses
        self.served += window.served
        self.worth += window.worth
        self.response_s += window.response_s
        self.offered += sum(window.arrivals)
        self.core_seconds += window.core_seconds
        self.planned_core_s += planned_cores * (window.end_s - window.start_s)


@dataclass(slots=True)
class Recorder:
    """Takes every window of a run in order."""

    pipeline: Pipeline
    window_s: float
    _total: _Sums = field(init=False)
    _open: _Sums = field(init=False)
    _opened_s: float = 0.0
    _series: SimSeries = field(init=False)

    def __post_init__(self) -> None:
        tasks = self.pipeline.tasks.values()
        variants = {task.name: {v.name: list[int]() for v in reversed(task.by_accuracy())} for task in tasks}
        self._total, self._open = self._empty(), self._empty()
        self._series = SimSeries(self.window_s, [], [], [], [], [], [], [], [], [], [], [], [], variants)

    @property
    def windows(self) -> int:
        """Windows that are closed."""
        return len(self._series.offered)

    def add(self, window: Window, planned_cores: int, rate_planned: float) -> None:
        """Take what happened since the last call, under a plan of so many cores, made for such a rate."""
        self._open.add(window, planned_cores)
        if window.end_s >= self._opened_s + self.window_s - 1e-9:
            self._close(window.end_s, rate_planned)

    def finish(self, rate_planned: float, end_s: float) -> None:
        """Close a last window that is shorter than the others, if there is anything in it."""
        if end_s > self._opened_s + 1e-9:
            self._close(end_s, rate_planned)

    def series(self) -> SimSeries:
        """The run by window."""
        return self._series

    def summary(
        self, seconds: float, peak_cores: int, changes: int, decisions: int, decide_s: float, after: _Sums | None = None
    ) -> SimSummary:
        """The run in figures; cost is over the load's `seconds`, `after` is what happened once it was over."""
        held = self._total
        outcomes = held.outcomes if after is None else held.outcomes + after.outcomes
        responses = held.responses if after is None else held.responses + after.responses
        worth = held.worth + (after.worth if after else 0.0)
        response_s = held.response_s + (after.response_s if after else 0.0)
        in_time, late, refused, dropped, failed = (int(n) for n in outcomes)
        ended, answered = int(outcomes.sum()), in_time + late
        quantiles = response_quantiles(responses, (0.5, 0.95, 0.99))
        return SimSummary(
            offered=held.offered,
            in_time=in_time,
            late=late,
            refused=refused,
            dropped=dropped,
            failed=failed,
            attainment=in_time / ended if ended else None,
            violation_ratio=(ended - in_time) / ended if ended else None,
            p50_s=quantiles.get(0.5),
            p95_s=quantiles.get(0.95),
            p99_s=quantiles.get(0.99),
            mean_s=response_s / answered if answered else None,
            accuracy=worth / answered if answered else None,
            core_seconds=held.core_seconds,
            mean_cores=held.core_seconds / seconds,
            peak_cores=peak_cores,
            planned_cores=held.planned_core_s / seconds,
            changes=changes,
            decisions=decisions,
            decide_s=decide_s,
        )

    def tail(self) -> _Sums:
        """Empty sums for what happens after the load."""
        return self._empty()

    def _empty(self) -> _Sums:
        tasks = self.pipeline.tasks.values()
        shape = (len(tasks), max(len(task.variants) for task in tasks))
        return _Sums(np.zeros(5, np.int64), np.zeros(at.BUCKETS, np.int64), np.zeros(shape, np.int64))

    def _close(self, end_s: float, rate_planned: float) -> None:
        told, seconds, series = self._open, end_s - self._opened_s, self._series
        quantiles = response_quantiles(told.responses, (0.5, 0.99))
        answered = int(told.outcomes[at.IN_TIME] + told.outcomes[at.LATE])
        series.offered.append(told.offered)
        for name, counts in _outcome_lists(series):
            counts.append(int(told.outcomes[name]))
        series.p50_s.append(quantiles.get(0.5))
        series.p99_s.append(quantiles.get(0.99))
        series.accuracy.append(told.worth / answered if answered else None)
        series.cores.append(told.core_seconds / seconds)
        series.planned_cores.append(told.planned_core_s / seconds)
        series.rate_planned.append(rate_planned)
        for t, task in enumerate(self.pipeline.tasks.values()):
            for v, variant in enumerate(task.by_accuracy()):
                series.variants[task.name][variant.name].append(int(told.served[t, v]))
        self._total.join(told)
        self._open, self._opened_s = self._empty(), end_s


def _outcome_lists(series: SimSeries) -> Sequence[tuple[int, list[int]]]:
    return (
        (at.IN_TIME, series.in_time),
        (at.LATE, series.late),
        (at.REFUSED, series.refused),
        (at.DROPPED, series.dropped),
        (at.FAILED, series.failed),
    )
