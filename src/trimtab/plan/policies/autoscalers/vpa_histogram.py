"""The histogram of the Kubernetes vertical pod autoscaler: buckets that grow by 5 %, samples that lose weight with age.

Bucket k starts at 0.01 · (1.05^k - 1) ÷ 0.05 cores, the last of them at 1000 cores or above. A sample of age a has
2^(-a ÷ half-life) of its weight. A percentile is the *end* of the first bucket at which the cumulative weight reaches
its share, so it lies up to 5 % above the sample.

Source: kubernetes/autoscaler, vertical-pod-autoscaler/pkg/recommender (histogram options, decaying histogram, and the
confidence of the estimators), at commit 55c37cd.
"""

from __future__ import annotations

import copy
import math

FIRST_CORES = 0.01
RATIO = 1.05
MOST_CORES = 1000.0
EPSILON = 1e-4
"""A bucket below this weight is empty."""
SAMPLE_WEIGHT = 0.1
"""Weight of a new sample, and the least one where samples weigh as much as the request."""
_DAY_S = 86400.0
_SAMPLES_PER_DAY = 1440.0
_LARGEST_EXPONENT = 100.0
"""Half-lives after which all weights are scaled down, so that they stay finite."""

BUCKETS = math.ceil(math.log(MOST_CORES * (RATIO - 1.0) / FIRST_CORES + 1.0, RATIO)) + 1


def bucket_of(cores: float) -> int:
    """The bucket that a usage falls into: ⌊log_1.05(cores · 0.05 ÷ 0.01 + 1)⌋, within the histogram."""
    if cores < FIRST_CORES:
        return 0
    return min(int(math.log(cores * (RATIO - 1.0) / FIRST_CORES + 1.0) / math.log(RATIO)), BUCKETS - 1)


def bucket_start(bucket: int) -> float:
    """Where a bucket starts, cores."""
    return FIRST_CORES * (RATIO**bucket - 1.0) / (RATIO - 1.0)


def bucket_end(bucket: int) -> float:
    """Where a bucket ends, cores; the last one has no end, and gives its start."""
    return bucket_start(min(bucket + 1, BUCKETS - 1))


class DecayingHistogram:
    """Usage samples of one container."""

    def __init__(self, half_life_s: float, start_s: float) -> None:
        """An empty one; `start_s` is where its clock starts, on the clock of the samples."""
        self.half_life_s, self._reference_s = half_life_s, start_s
        self._start_s = start_s
        self._weights = [0.0] * BUCKETS
        self._first_s, self._last_s = math.inf, -math.inf
        self.samples = 0
        """Samples taken in so far, those of a history included."""

    def add(self, cores: float, weight: float, at_s: float) -> None:
        """Take in one sample of `cores` in use, measured at `at_s`."""
        if at_s - self._reference_s > _LARGEST_EXPONENT * self.half_life_s:
            self._shift(at_s)
        self._weights[bucket_of(cores)] += weight * self._decay(at_s)
        self._first_s, self._last_s = min(self._first_s, at_s), max(self._last_s, at_s)
        self.samples += 1

    def with_history(self, cores: float, weight: float, seconds: float, every_s: float) -> DecayingHistogram:
        """A copy that also knows the time before its start, as a constant usage sampled every `every_s`."""
        other = self.copy()
        other.add_history(cores, weight, round(seconds / every_s), every_s)
        return other

    def add_history(self, cores: float, weight: float, count: int, every_s: float) -> None:
        """Take in `count` equal samples, the last of them `every_s` before the start."""
        if count <= 0:
            return
        kept = 2.0 ** (-every_s / self.half_life_s)
        total = kept * (1.0 - kept**count) / (1.0 - kept)  # kept + kept² + … + kept^count
        self._weights[bucket_of(cores)] += weight * total * self._decay(self._start_s)
        self._first_s = self._start_s - count * every_s
        self._last_s = max(self._last_s, self._start_s - every_s)
        self.samples += count

    def copy(self) -> DecayingHistogram:
        """One that goes its own way."""
        other = copy.copy(self)
        other._weights = list(self._weights)  # noqa: SLF001 - its own kind
        return other

    @property
    def is_empty(self) -> bool:
        """Whether no bucket has any weight to speak of."""
        return max(self._weights) < EPSILON

    @property
    def confidence(self) -> float:
        """How much history there is, days: the lesser of the time from first to last sample and samples ÷ 1440."""
        if self.samples == 0:
            return 0.0
        return min((self._last_s - self._first_s) / _DAY_S, self.samples / _SAMPLES_PER_DAY)

    @property
    def highest(self) -> float:
        """The end of the last bucket that is not empty, cores; 0 where all are."""
        kept = [k for k, weight in enumerate(self._weights) if weight >= EPSILON]
        return bucket_end(kept[-1]) if kept else 0.0

    def percentile(self, share: float, *, by_load: bool = False) -> float:
        """The end of the bucket at which `share` of the weight is reached, cores; 0 where all are empty.

        `by_load`: each bucket counts its weight × its end, so that it is a share of the load and not of the time.
        """
        kept = [k for k, weight in enumerate(self._weights) if weight >= EPSILON]
        if not kept:
            return 0.0
        weights = [w * bucket_end(k) for k, w in enumerate(self._weights)] if by_load else self._weights
        threshold, reached = share * math.fsum(weights), 0.0
        for bucket in range(kept[0], kept[-1]):
            reached += weights[bucket]
            if reached >= threshold:
                return bucket_end(bucket)
        return bucket_end(kept[-1])

    def _decay(self, at_s: float) -> float:
        return float(2.0 ** ((at_s - self._reference_s) / self.half_life_s))

    def _shift(self, at_s: float) -> None:
        """Let the weights refer to another time; their ratios stay."""
        factor = 2.0 ** ((self._reference_s - at_s) / self.half_life_s)
        self._weights = [weight * factor for weight in self._weights]
        self._reference_s = at_s
