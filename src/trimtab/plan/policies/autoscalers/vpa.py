"""The Kubernetes vertical pod autoscaler, as it is (`vpa`) and as InfAdapter's authors use it (`vpa+`).

Every 60 s the recommender adds the mean usage of each task to its histogram (`vpa_histogram`, half-life 24 h).
A container cannot use more than its limit, so neither can a sample be more. With c the days of history,

    target = 1.15 · p90      lower = 1.15 · p50 · (1 + 0.001 ÷ c)^-2      upper = 1.15 · p95 · (1 + 1 ÷ c)

and none is below 0.025 cores. `vpa`: the Updater, every 60 s, gives a replica its target where its cores lie outside
[lower, upper], or where it is 12 h old and off by 10 % or more. `vpa+`: an adapter asks every 30 s for the target,
rounded up to a whole core, at least 2. It takes more cores at once and fewer after four turns in a row at which fewer
would have done.

Source: kubernetes/autoscaler at commit 55c37cd (recommender, updater); Salmani et al., EuroMLSys 2023, and the program
published with it, for `vpa+`. Samples weigh the same here, as at that commit; in the releases of 2022, which the
authors of InfAdapter had, they weighed as much as the request. `sample_weight` chooses. Without certainty: that the
four turns of `vpa+` have to come in a row.

Ours: cores are those measured. There is no memory to recommend, so no out-of-memory rule. The Updater leaves workloads
of less than two replicas alone by default, and would never act here; that rule is off. All limits of the request hold.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.observe.model import Observation
from trimtab.plan.model import Plan
from trimtab.plan.policies.autoscalers.usage import Ticks, UsageMeter
from trimtab.plan.policies.autoscalers.vertical import Sizes, VerticalPolicy, VerticalSettings
from trimtab.plan.policies.autoscalers.vpa_histogram import SAMPLE_WEIGHT, DecayingHistogram, bucket_end, bucket_of
from trimtab.plan.policies.base import Rhythm

RECOMMEND_EVERY_S = 60.0
HALF_LIFE_S = 86400.0
_FLOOR_CORES = 0.025
_LOWER, _UPPER = (0.001, -2.0), (1.0, 1.0)
"""Multiplier and exponent of the confidence in the lower and the upper bound."""
_MOST_SKIPS = 100


@dataclass(frozen=True, slots=True)
class VpaSettings(VerticalSettings):
    """The flags of the recommender and the Updater."""

    target_quantile: float = 0.9
    lower_quantile: float = 0.5
    upper_quantile: float = 0.95
    sample_weight: Literal["constant", "request"] = "constant"
    """What a sample weighs: always the same, or as much as the cores in force (releases of 2022 and before)."""
    old_after_s: float = 43200.0
    """`vpa`: a replica of this age is resized within the bounds too."""
    min_change: float = 0.1
    """`vpa`: by at least this share of its cores."""
    skips: int = 4
    """`vpa+`: turns in a row at which fewer cores would have done, before the one that takes them away; up to 100."""

    def __post_init__(self) -> None:
        VerticalSettings.__post_init__(self)
        for name in ("target_quantile", "lower_quantile", "upper_quantile"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted a number between 0 and 1")
        for name in ("old_after_s", "min_change"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, wanted a finite number of at least 0")
        if not 0 <= self.skips <= _MOST_SKIPS:
            raise ValueError(f"skips is {self.skips}, wanted a whole number from 0 to {_MOST_SKIPS}")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the recommender says of one container, cores."""

    target: float
    lower: float
    upper: float


def recommend(histogram: DecayingHistogram, settings: VpaSettings) -> Recommendation | None:
    """Target and bounds by the formulas above; None while there is no sample.

    With a confidence of 0 the lower bound is the floor and the upper one infinite.
    """
    if histogram.is_empty:
        return None
    margin, days = 1.0 + settings.margin, histogram.confidence

    def bound(share: float, multiplier: float, exponent: float) -> float:
        factor = (1.0 + multiplier / days) ** exponent if days > 0.0 else (0.0 if exponent < 0.0 else math.inf)
        return max(histogram.percentile(share) * margin * factor, _FLOOR_CORES)

    return Recommendation(
        target=max(histogram.percentile(settings.target_quantile) * margin, _FLOOR_CORES),
        lower=bound(settings.lower_quantile, *_LOWER),
        upper=bound(settings.upper_quantile, *_UPPER),
    )


@dataclass(frozen=True, slots=True)
class _Poll:
    """One turn: since when the cores in force were so many, and what the recommender knew."""

    at_s: float
    since_s: float
    histograms: Mapping[str, DecayingHistogram]
    """By `VpaSettings.sample_weight`."""

    def recommendation(self, task: str, settings: VpaSettings) -> Recommendation | None:
        """What the recommender says with the history given."""
        histogram = self.histograms[settings.sample_weight]
        if settings.history_s > 0.0:
            used = settings.history_usage_cores[task]
            given = math.ceil((1.0 + settings.margin) * bucket_end(bucket_of(used)))  # what it would have recommended
            weight = _weights(given)[settings.sample_weight]
            histogram = histogram.with_history(used, weight, settings.history_s, RECOMMEND_EVERY_S)
        return recommend(histogram, settings)


def _weights(cores: float) -> dict[str, float]:
    """What a sample weighs that is taken while `cores` are in force, by `VpaSettings.sample_weight`."""
    return {"constant": SAMPLE_WEIGHT, "request": max(cores, SAMPLE_WEIGHT)}


class _Container:
    """What is remembered of one task."""

    def __init__(self, start_s: float, cores: float) -> None:
        self.cores, self.since_s = cores, start_s
        self.histograms = {kind: DecayingHistogram(HALF_LIFE_S, start_s) for kind in _weights(cores)}
        self.polls: deque[_Poll] = deque(maxlen=_MOST_SKIPS + 1)

    def sample(self, used_cores: float, cores: float, at_s: float) -> None:
        """Take in a sample; polls keep the histograms that they saw."""
        self.histograms = {kind: histogram.copy() for kind, histogram in self.histograms.items()}
        for kind, weight in _weights(cores).items():
            self.histograms[kind].add(used_cores, weight, at_s)


class VpaPolicy(VerticalPolicy[VpaSettings]):
    """The vertical pod autoscaler with its Updater."""

    name = "vpa"
    defaults = VpaSettings()
    rhythm = Rhythm(every_s=60.0, horizon_s=60.0)

    def __init__(self, settings: VpaSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        super().__init__(settings)
        self._meter = UsageMeter(RECOMMEND_EVERY_S)
        self._polls = Ticks(self.rhythm.every_s)
        self._containers: dict[str, _Container] = {}

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Take in what was seen while `plan` was in force."""
        start_s = observation.now_s - observation.window_s
        for name in observation.tasks:
            if name in plan.tasks:
                cores = plan.tasks[name].cores / sum(a.replicas for a in plan.tasks[name].allocations)
                if name not in self._containers:
                    self._containers[name] = _Container(start_s, cores)
                container = self._containers[name]
                if container.cores != cores:
                    container.cores, container.since_s = cores, start_s
        for name, usage in self._meter.observe(observation, plan).items():
            self._containers[name].sample(usage.usage_cores / usage.replicas, usage.cores, usage.at_s)
        if self._polls.observe(observation):
            for container in self._containers.values():
                seen = _Poll(observation.now_s, container.since_s, container.histograms)
                container.polls.append(seen)

    def _wanted(self, task: str, settings: VpaSettings, sizes: Sizes, current: int | None) -> tuple[float | None, str]:
        polls = list(self._containers[task].polls) if task in self._containers else []
        advice = polls[-1].recommendation(task, settings) if polls else None
        if advice is None:
            return None, "nothing was recommended yet"
        words = f"target {advice.target:.3g} cores, bounds {advice.lower:.3g} and {advice.upper:.3g}"
        if current is None:
            return advice.target, words
        changes, why = self._changes(task, settings, sizes, current, polls, advice)
        return (advice.target if changes else None), f"{words}: {why}"

    def _changes(
        self,
        task: str,  # noqa: ARG002 - for `vpa+`
        settings: VpaSettings,
        sizes: Sizes,  # noqa: ARG002 - for `vpa+`
        current: int,
        polls: Sequence[_Poll],
        advice: Recommendation,
    ) -> tuple[bool, str]:
        """Whether the cores in force give way to the target, and why: the Updater's rule."""
        if not advice.lower <= current <= advice.upper:
            return True, f"{current} cores lie outside them"
        age_s, change = polls[-1].at_s - polls[-1].since_s, abs(advice.target - current) / current
        if age_s >= settings.old_after_s and change >= settings.min_change:
            return True, f"the replica is old, and {100 * change:.0f} % off"
        return False, f"{current} cores lie within them"


class VpaPlusPolicy(VpaPolicy):
    """The recommender alone, followed by InfAdapter's adapter."""

    name = "vpa+"
    defaults = VpaSettings(min_cores=2)
    rhythm = Rhythm(every_s=30.0, horizon_s=60.0)

    def _changes(
        self,
        task: str,
        settings: VpaSettings,
        sizes: Sizes,
        current: int,
        polls: Sequence[_Poll],
        advice: Recommendation,
    ) -> tuple[bool, str]:
        """The adapter's rule; a target is rounded up to a whole core because sizes are whole cores."""
        if sizes.round(advice.target) >= current:
            return True, "scaled up at once" if sizes.round(advice.target) > current else "as it is"
        fewer = 0
        for poll in reversed(polls):
            then = poll.recommendation(task, settings)
            if then is None or sizes.round(then.target) >= current:
                break
            fewer += 1
        if fewer > settings.skips:
            return True, f"scaled down after {settings.skips} skipped turns"
        return False, f"scaling down was skipped {fewer} of {settings.skips} times"
