"""The fluid clairvoyant bound on IPA's pipelines: the fewest cores at an accuracy, whatever the policy.

A request that is served takes from each task one variant in one size, and so so many core-seconds, and has the product
of the variants' accuracies. The mean over requests lies in the convex hull of all such choices; cores held are at
least the core-seconds used. So with r requests/s on average no policy serves all of them at a mean accuracy a with
fewer cores than r · C(a), where C is the lower hull. Waiting, whole cores and batches that do not fill cost more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline


@dataclass(frozen=True, slots=True)
class Hull:
    """C: accuracy → core-seconds of a request; both ascending, and convex."""

    accuracy: tuple[float, ...]
    core_s: tuple[float, ...]

    def fewest_cores(self, rate_rps: float, accuracy: float) -> float:
        """The bound; infinite where no choice is so accurate."""
        if accuracy > self.accuracy[-1] + 1e-9:
            return math.inf
        return rate_rps * float(np.interp(accuracy, self.accuracy, self.core_s))

    def best_objective(self, rates_rps: Sequence[float], alpha: float, beta: float) -> float:
        """Upper bound of α · accuracy - β · cores, mean over seconds with these rates."""
        accuracy, core_s = np.array(self.accuracy), np.array(self.core_s)
        return float(np.mean([(alpha * accuracy - beta * rate * core_s).max() for rate in rates_rps]))


def hull(of: Pipeline, profile: Profile) -> Hull:
    """The hull for a chain of tasks, by the mean times of the profile; batches within the SLO alone count."""
    tasks = []
    for name, task in of.tasks.items():
        choices = []
        for variant in task.variants.values():
            costs = [
                point.cores * point.mean_s / point.batch
                for point in profile.variants[name][variant.name].points
                if point.mean_s <= of.slo.latency_s
            ]
            if costs:
                choices.append((variant.accuracy, min(costs)))
        tasks.append(choices)
    found = [
        (math.prod(accuracy for accuracy, _ in choice), math.fsum(core_s for _, core_s in choice))
        for choice in itertools.product(*tasks)
    ]
    return lower_hull(found)


def lower_hull(points: Sequence[tuple[float, float]]) -> Hull:
    """The lower right hull of (accuracy, core-seconds): from the cheapest on, ever more accurate at ever more each."""
    kept: list[tuple[float, float]] = []
    for accuracy, core_s in sorted(points, key=lambda point: (point[1], -point[0])):
        if kept and accuracy <= kept[-1][0]:
            continue
        while len(kept) > 1 and _rise(kept[-2], (accuracy, core_s)) <= _rise(kept[-2], kept[-1]):
            kept.pop()
        kept.append((accuracy, core_s))
    return Hull(tuple(a for a, _ in kept), tuple(c for _, c in kept))


def _rise(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])
