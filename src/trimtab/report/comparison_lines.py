"""The series of simulated runs as lines to draw: all seeds of a policy, no more points than can be seen. Pure."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.report.comparison import PolicyFigures
from trimtab.report.comparison_text import ACCURACY

Values = NDArray[np.float64]
POINTS = 240
"""Most points of a line; where a run has more windows, several are one point."""


@dataclass(frozen=True, slots=True)
class Line:
    """A policy's series under one trace over all its seeds: an array each, seeds × points. NaN: nothing to tell."""

    point_s: float
    offered_rps: Values
    p99_ms: Values
    accuracy: Values
    """In percent, but a sum of ranks as it is."""
    cores: Values

    @property
    def middles_s(self) -> Values:
        """Where the points lie in time."""
        return np.asarray((np.arange(self.cores.shape[1]) + 0.5) * self.point_s, dtype=np.float64)


def line_of(policy: PolicyFigures) -> Line:
    """A policy's series, with so many windows in one point that no line has more than `POINTS`."""
    runs = policy.results
    window_s = runs[0].series.window_s
    windows = max(1, math.ceil(runs[0].run.seconds / window_s - 1e-9))
    together = math.ceil(windows / POINTS)
    answered = [_plus(run.series.in_time, run.series.late) for run in runs]
    scale = 1.0 if runs[0].settings.get(ACCURACY) == "rank-sum" else 100.0
    return Line(
        point_s=together * window_s,
        offered_rps=np.array([_mean(run.series.offered, windows, together) / window_s for run in runs]),
        p99_ms=1e3 * np.array([_highest(run.series.p99_s, windows, together) for run in runs]),
        accuracy=scale
        * np.array([_mean(run.series.accuracy, windows, together, n) for run, n in zip(runs, answered, strict=True)]),
        cores=np.array([_mean(run.series.cores, windows, together) for run in runs]),
    )


def average(values: Values) -> Values:
    """The mean over the seeds whose value is known."""
    return over_seeds(np.nanmean, values)


def over_seeds(how: Any, values: Values) -> Values:
    """What `how`, one of NumPy's functions that pass over NaN, makes of the seeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a point that no seed knows stays NaN
        return np.asarray(how(values, axis=0), dtype=np.float64)


def _plus(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]


def _cut(values: Sequence[float | None], windows: int, together: int) -> Values:
    """Points × windows in each, over the load alone; NaN where there is nothing."""
    known = np.full(math.ceil(windows / together) * together, math.nan)
    shown = [math.nan if value is None else value for value in values[:windows]]
    known[: len(shown)] = shown
    return known.reshape(-1, together)


def _mean(
    values: Sequence[float | None], windows: int, together: int, weights: Sequence[float] | None = None
) -> Values:
    """The mean of the windows in each point that are known; NaN for none."""
    cut = _cut(values, windows, together)
    weight = np.where(np.isnan(cut), 0.0, 1.0 if weights is None else np.nan_to_num(_cut(weights, windows, together)))
    total = weight.sum(axis=1)
    summed = (np.nan_to_num(cut) * weight).sum(axis=1)
    mean: Values = np.divide(summed, total, out=np.full(len(total), math.nan), where=total > 0)
    return mean


def _highest(values: Sequence[float | None], windows: int, together: int) -> Values:
    """The highest of the windows in each point; NaN for none."""
    cut = _cut(values, windows, together)
    known = np.where(np.isnan(cut), -math.inf, cut).max(axis=1)
    return np.where(np.isinf(known), math.nan, known)
