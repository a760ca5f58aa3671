"""The fluid clairvoyant bound: how accurate requests can be for how many cores, if nothing ever waits or switches.

In second t, r_t requests arrive and are served within that second (that they could wait up to the SLO is left out). A
request served by variant v has accuracy a_v and takes c_v core-seconds, the best over all sizes of a replica of what
one takes at saturation (or what it takes in replicas of one size, where that is asked for). Cores are held only while
they serve, fractions of them too, at most C in any second; whoever serves may change at any moment. With x_tv the
requests of second t that v serves:

    Σ_v x_tv = r_t,     Σ_v c_v·x_tv ≤ C,     accuracy = Σ a_v·x_tv ÷ Σ r_t,     core-seconds = Σ c_v·x_tv

Within a second the most accuracy for so many core-seconds lies on the concave hull of the points (c_v, a_v), cut off at
C, and the slopes of the hull are the same in every second. So over all seconds it is best to take the steepest edge in
every second first, as far as C allows, then the next: both frontiers below follow without a solver. (Tests compare them
with a linear programme.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from experiments.data import DataError
from experiments.infadapter.measurements import TASK
from numpy.typing import NDArray

from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline
from trimtab.workload.trace import Rates


@dataclass(frozen=True, slots=True)
class Point:
    """What a request gets and takes."""

    core_s: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Frontier:
    """The highest mean accuracy over all requests by mean cores over all seconds: linear between corners."""

    cores: NDArray[np.float64]
    """Mean cores of each corner, ascending; the first serves all requests with the cheapest variant."""
    accuracy: NDArray[np.float64]
    """Mean accuracy of each corner, ascending."""

    def fewest_cores(self, accuracy: float) -> float:
        """The fewest mean cores for a mean accuracy; not a number where it cannot be had."""
        if accuracy > self.accuracy[-1] + 1e-12:
            return float("nan")
        return float(np.interp(accuracy, self.accuracy, self.cores))

    def best_accuracy(self, cores: float) -> float:
        """The highest mean accuracy for so many mean cores; not a number where they do not serve all requests."""
        if cores < self.cores[0] - 1e-12:
            return float("nan")
        return float(np.interp(cores, self.cores, self.accuracy))


def points(pipeline: Pipeline, profile: Profile, size: int | None = None) -> tuple[Point, ...]:
    """The variants of InfAdapter's service, each at the size where a core serves most, or all at one size in cores."""
    variants = pipeline.tasks[TASK].variants
    return tuple(
        Point(
            min(p.cores / p.throughput_rps for p in measured.points if size in (None, p.cores)), variants[name].accuracy
        )
        for name, measured in profile.variants[TASK].items()
    )


def hull(of: Sequence[Point]) -> tuple[Point, ...]:
    """The corners of the concave hull, from the cheapest point to the most accurate one."""
    made: list[Point] = []
    for point in sorted(of, key=lambda p: (p.core_s, -p.accuracy)):
        if made and point.accuracy <= made[-1].accuracy:
            continue
        while len(made) > 1 and _slope(made[-2], made[-1]) <= _slope(made[-1], point):
            made.pop()
        made.append(point)
    return tuple(made)


def frontier(rates: Rates, of: Sequence[Point], cores: float) -> Frontier:
    """The bound for all seconds of `rates` together, with at most so many cores in any second.

    Raises:
        DataError: a second has more requests than the cheapest variant serves on all cores.
    """
    corners, free = _begin(rates, of, cores)
    held, correct = [float(rates.sum()) * corners[0].core_s], [corners[0].accuracy]
    for low, high in itertools.pairwise(corners):
        taken = np.minimum(rates * (high.core_s - low.core_s), free)
        free = free - taken
        held.append(held[-1] + float(taken.sum()))
        correct.append(correct[-1] + float(taken.sum()) * _slope(low, high) / float(rates.sum()))
    return Frontier(np.array(held) / len(rates), np.array(correct))


def best_objective(rates: Rates, of: Sequence[Point], cores: float, beta: float) -> float:
    """The weighted form: the highest mean over the seconds with requests of accuracy - β · cores ÷ C.

    In each second its own mean accuracy counts, as in a planner's objective, not the mean over all requests.

    Args:
        rates: requests per second.
        of: the variants.
        cores: C.
        beta: the paper's weight, for all cores.

    Raises:
        DataError: as `frontier`.
    """
    busy = rates[rates > 0]
    corners, free = _begin(busy, of, cores)
    value = corners[0].accuracy - beta * busy * corners[0].core_s / cores
    for low, high in itertools.pairwise(corners):
        taken = np.minimum(busy * (high.core_s - low.core_s), free)
        gain = _slope(low, high) / busy - beta / cores  # of a core
        taken = np.where(gain > 0.0, taken, 0.0)
        free, value = free - taken, value + gain * taken
    return float(value.mean())


def _begin(rates: Rates, of: Sequence[Point], cores: float) -> tuple[tuple[Point, ...], NDArray[np.float64]]:
    """The hull, and the cores that are free in each second while its cheapest corner serves all."""
    corners = hull(of)
    free = cores - rates * corners[0].core_s
    if (free < -1e-9).any():
        most, least = f"{rates.max():g} requests in a second", f"at most {cores / corners[0].core_s:g}"
        raise DataError("more than can be served", got=most, wanted=f"{least} on {cores:g} cores")
    return corners, np.maximum(free, 0.0)


def _slope(low: Point, high: Point) -> float:
    """Accuracy for a core-second more."""
    return (high.accuracy - low.accuracy) / (high.core_s - low.core_s)
