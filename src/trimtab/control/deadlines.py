"""The bound to plan for where requests come with less than the SLO left (dynamic SLOs).

A client's deadline is fixed; what its network took is missing when the request arrives (Razavi et al., "Sponge",
EuroMLSys 2024). The dispatcher sees every deadline. A plan knows only one bound d at the SLO's quantile q, and this
module says which, from the times D that requests had left.

The SLO permits a share ε = 1 - q of violations. They are split over the requests by how likely each is to be late: a
plan that holds d at q has response times R with P(R > d) = ε; taking their tail as exponential, P(R > x) = ε^(x/d), a
request with D left is late with ε^(D/d). The bound is the largest d for which the mean over all requests keeps to what
is permitted,

    E[ε^(D/d)] <= ε.

So few requests with little left pull d down little, and many pull it down to what they have. Where all have the SLO, d
is the SLO; d is never more; and whoever has more left never makes it less. It grows with D as a scale does.

Requests with less left than the fastest variants take alone cannot be saved by any plan. They are left out of the mean,
so that no cores are spent on them; what they take of the permitted violations is missing for the others, who keep at
least half of it: beyond that no plan holds the SLO, and the rest are served as well as is sensible.

Times left are followed twice, over about `MEMORY_S` and over about `RECENT_S`, and the smaller bound counts: a fall is
answered by the next plan, a rise when it has lasted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from trimtab.observe.model import Observation
from trimtab.plan.pool import ANSWER_SHARE
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline, Slo
from trimtab.units import format_duration

STEPS = 100
"""Times left and bounds are whole multiples of the SLO ÷ this, rounded down: a plan need not follow every breath."""
MEMORY_S = 30.0
"""Time constant of what is remembered."""
RECENT_S = 1.0
"""Time constant of what is answered at once."""
KEPT_SHARE = 0.5
"""Part of the permitted violations that those who cannot be saved leave to the others."""
FORGOTTEN = 1e-4
"""A time left that no larger share of what is remembered had is forgotten."""
_ROUNDING = 1e-9

Weights = NDArray[np.float64]
"""Requests by what they had left, in steps of the SLO; shape (STEPS + 1,)."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What to plan for in the SLO's place."""

    latency_s: float
    """At most the SLO; to be held at the SLO's quantile."""
    lost: float
    """Share of the requests that no plan can save."""
    reason: str


class Deadlines:
    """Follows what requests have left. Same observations in the same order, same bounds."""

    def __init__(self, slo: Slo, least_s: float = 0.0) -> None:
        """`least_s`: a request with less left cannot be saved (`least_time_left`)."""
        self._slo, self._least_s = slo, least_s
        self._lasting, self._recent = np.zeros(STEPS + 1), np.zeros(STEPS + 1)

    def observe(self, observation: Observation) -> None:
        """Take in what the requests of a window had left; a window of which nothing is known changes nothing."""
        seen = _weights(observation, self._slo.latency_s)
        for weights, memory_s in ((self._lasting, MEMORY_S), (self._recent, RECENT_S)):
            if seen.any():
                weights *= math.exp(-observation.window_s / memory_s)
                weights += seen
                weights[weights < FORGOTTEN * weights.sum()] = 0.0

    def bound(self) -> Bound:
        """What to plan for now; the SLO while nothing was seen."""
        answers = [bound_for(self._slo, weights, self._least_s) for weights in (self._lasting, self._recent)]
        return min(answers, key=lambda answer: answer.latency_s)


def bound_for(slo: Slo, weights: Weights, least_s: float = 0.0) -> Bound:
    """The bound for these times left; the module says how.

    Args:
        slo: the SLO.
        weights: how many requests had `i · SLO ÷ STEPS` left, for i = 0 … STEPS.
        least_s: a request with less left cannot be saved.
    """
    first = min(max(1, math.ceil(least_s / slo.latency_s * STEPS - _ROUNDING)), STEPS)
    total, saved = float(weights.sum()), float(weights[first:].sum())
    if weights[:STEPS].sum() == 0.0:
        return Bound(slo.latency_s, 0.0, "all requests have the SLO")
    lost = 1.0 - saved / total
    if saved == 0.0:
        return Bound(slo.latency_s, lost, "no request has time enough left to be saved")
    permitted = 1.0 - slo.quantile
    left = max((permitted - lost) / (1.0 - lost), KEPT_SHARE * permitted)
    late = _late(permitted)[:, first:] @ weights[first:] / saved
    k = int(np.count_nonzero(late <= left * (1.0 + _ROUNDING)))
    latency_s = max(k, first) / STEPS * slo.latency_s
    reason = (
        f"of {format_duration(slo.latency_s)}, requests have as much left as if all had {format_duration(latency_s)}"
    )
    if lost > 0.0:
        reason += f"; {100.0 * lost:.2g} % have less than anything takes"
    return Bound(latency_s, lost, reason)


def least_time_left(pipeline: Pipeline, profile: Profile, cores: float) -> float:
    """The least time left with which a request can be saved: the longest way through the tasks at their fastest.

    Args:
        pipeline: its tasks and edges.
        profile: service times of a lone item, of which the mean counts; a task without any takes no time.
        cores: shapes with more are out of reach.
    """
    until: dict[str, float] = {}
    for name, task in pipeline.tasks.items():
        fastest_s = min(
            (
                variant.service_time(1, c, t).seconds
                for variant in profile.variants[name].values()
                for c, t in variant.shapes()
                if c <= cores
            ),
            default=0.0,
        )
        until[name] = fastest_s + max(
            (until[edge.upstream] for edge in task.after if edge.upstream in until), default=0.0
        )
    return max(until.values()) / (1.0 - ANSWER_SHARE)


@cache
def _late(permitted: float) -> NDArray[np.float64]:
    """ε^(i/k), the chance of being late with i steps left under a bound of k: shape (STEPS, STEPS + 1), k from 1."""
    bounds, left = np.arange(1, STEPS + 1), np.arange(STEPS + 1)
    return np.asarray(permitted ** (left[None, :] / bounds[:, None]))


def _weights(observation: Observation, slo_s: float) -> Weights:
    """The requests of a window by what they had left, from its quantiles: between two, the lower one counts."""
    weights = np.zeros(STEPS + 1)
    came = float(sum(count or 0 for count in observation.arrivals))
    if not observation.allowed_s:
        weights[STEPS] = came
        return weights
    for share, left_s in _shares(observation.allowed_s):
        weights[min(int(left_s / slo_s * STEPS + _ROUNDING), STEPS)] += share * max(came, 1.0)
    return weights


def _shares(allowed_s: Mapping[float, float]) -> list[tuple[float, float]]:
    """(share of the requests, what they have at least): what is below the lowest quantile counts as that."""
    found, before, lower_s = [], 0.0, min(allowed_s.values())
    for q, left_s in sorted(allowed_s.items()):
        found.append((q - before, lower_s))
        before, lower_s = q, left_s
    return [*found, (1.0 - before, lower_s)]
