"""How long batches take against what was profiled, followed live, task by task: one number each to plan with.

What is followed is x, the logarithm of measured ÷ profiled service time, by a scalar Kalman filter: x wanders by 1 % a
window, and a window of n batches measures it with the variance s²·(1/n + 1/30), for what disturbs the whole machine is
no less for more batches. The variance s² of a batch is learnt from the innovations (R. Mehra, On the Identification of
Variances and Adaptive Kalman Filtering, IEEE Transactions on Automatic Control 15(2), 1970).

An innovation is the measurement less what was expected of it, in units of its own predicted deviation. Each counts as
3 at most, so that one stall moves little. They are summed up on either side, each less an allowance, as long as a sum
is above zero (E. Page, Continuous Inspection Schemes, Biometrika 41, 1954). A sum of more than chance gives, two in a
row of 3 or a few more that are smaller, says that the machine is another one: the filter starts anew from what they
measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trimtab.observe.model import TaskObservation

RATIO_RANGE = (0.2, 10.0)
"""Ratios outside this range are taken as its ends."""
TOLERANCE = 1.25
"""A profile fits as long as batches take no more than so many times what it says, and no less than one over it."""
MISFIT_AFTER = 30
"""Windows outside the tolerance, less those inside it, after which the profile is said not to fit; it is said to fit
again when the windows inside have made up for them."""

_WANDER2 = 0.01**2
"""Variance of what x moves by in a window."""
_PRIOR2 = 0.1**2
"""Variance of x before anything was measured, and its most after a long time without."""
_BATCH2, _BATCH2_RANGE = 0.2**2, (0.02**2, 1.0)
"""Variance of the logarithm of one batch's time before anything was learnt of it, and where it stays."""
_COMMON = 1.0 / 30.0
_CLIP = 3.0
_ALLOWANCE, _CHANGED = 0.75, 4.4
"""What is taken off each innovation in a sum, and the sum from which on the machine has changed. Without a change it
comes once in 2000 windows or more seldom (D. Siegmund's approximation, 1985), and does little harm then."""
_SCALE_GAIN, _SCALE_PRIOR = 0.02, 10
_SIGMAS = 2.0
"""Standard errors by which a ratio has to be outside the tolerance."""


@dataclass(slots=True)
class _Side:
    """Innovations above what was expected, or below: their sum, and what was measured since it left zero."""

    total: float = 0.0
    weight: float = 0.0
    weighted: float = 0.0

    def add(self, innovation: float, seen: float, weight: float) -> bool:
        """One more, positive on this side; whether together they are more than chance."""
        self.total += innovation - _ALLOWANCE
        if self.total <= 0.0:
            self.total = self.weight = self.weighted = 0.0
            return False
        self.weight += weight
        self.weighted += weight * seen
        return self.total > _CHANGED


@dataclass(slots=True)
class TaskCalibration:
    """One task's ratio."""

    x: float = 0.0
    """Logarithm of the ratio."""
    variance: float = _PRIOR2
    """Of `x`."""
    batch2: float = _BATCH2
    """Variance of the logarithm of one batch's time."""
    windows: int = 0
    """Measured so far."""
    outside: int = 0
    """Windows outside the tolerance less those inside, from 0 to `MISFIT_AFTER`."""
    fits: bool = True
    """Whether the profile is near enough to plan by."""
    above: _Side = field(default_factory=_Side)
    below: _Side = field(default_factory=_Side)

    @property
    def ratio(self) -> float:
        """Measured ÷ profiled service time, to plan with."""
        return math.exp(self.x)

    def wait(self) -> None:
        """A window without a measurement: it is less sure."""
        self.variance = max(self.variance, min(self.variance + _WANDER2, _PRIOR2))

    def measure(self, ratio: float, batches: int) -> None:
        """A window's batches took `ratio` (above 0) times what was profiled."""
        share = 1.0 / max(batches, 1)
        # The logarithm of the mean of n batches is on average below that of the mean of all, by half its variance.
        seen = math.log(min(max(ratio, RATIO_RANGE[0]), RATIO_RANGE[1])) + 0.5 * self.batch2 * share
        width = share + _COMMON
        noise2 = self.batch2 * width
        self.variance += _WANDER2
        expected2 = self.variance + noise2
        innovation = (seen - self.x) / math.sqrt(expected2)
        clipped = min(max(innovation, -_CLIP), _CLIP)
        for side, outwards in ((self.above, clipped), (self.below, -clipped)):
            if side.add(outwards, seen, 1.0 / width):
                self.x, self.variance = side.weighted / side.weight, self.batch2 / side.weight
                self.above, self.below = _Side(), _Side()
                break
        else:
            self.x += self.variance / math.sqrt(expected2) * clipped
            self.variance *= noise2 / expected2
        self.x = min(max(self.x, math.log(RATIO_RANGE[0])), math.log(RATIO_RANGE[1]))
        self.windows += 1
        gain = max(_SCALE_GAIN, 1.0 / (self.windows + _SCALE_PRIOR)) * noise2 / expected2
        learnt = self.batch2 * (1.0 + gain * (clipped * clipped - 1.0))
        self.batch2 = min(max(learnt, _BATCH2_RANGE[0]), _BATCH2_RANGE[1])
        self._judge()

    def _judge(self) -> None:
        """Whether the profile fits."""
        if abs(self.x) - _SIGMAS * math.sqrt(self.variance) > math.log(TOLERANCE):
            self.outside = min(self.outside + 1, MISFIT_AFTER)
        else:
            self.outside = max(self.outside - 1, 0)
        if self.outside in (0, MISFIT_AFTER):
            self.fits = self.outside == 0


class Calibration:
    """The ratios of a pipeline's tasks. Same observations in the same order, same ratios."""

    def __init__(self, tasks: Iterable[str]) -> None:
        self._tasks = {name: TaskCalibration() for name in tasks}

    def observe(self, tasks: Mapping[str, TaskObservation]) -> None:
        """Take in one window; tasks that are not the pipeline's are left out."""
        for name, known in self._tasks.items():
            seen = tasks.get(name)
            ratio = None if seen is None else seen.service_ratio
            if seen is None or ratio is None or not 0.0 < ratio < math.inf:
                known.wait()
            else:
                known.measure(ratio, seen.batches)

    def ratios(self) -> dict[str, float]:
        """Task → measured ÷ profiled service time; tasks that were never measured are not there."""
        return {name: known.ratio for name, known in self._measured()}

    def fits(self) -> dict[str, bool]:
        """Task → whether its profile fits; tasks that were never measured are not there."""
        return {name: known.fits for name, known in self._measured()}

    def warnings(self) -> tuple[str, ...]:
        """Of every task whose profile does not fit, in words, with what to do."""
        return tuple(
            f"the profile no longer fits: task {name} takes {known.ratio:.2g} times as long as profiled; "
            "measure it again: trimtab profile"
            for name, known in self._measured()
            if not known.fits
        )

    def _measured(self) -> Iterable[tuple[str, TaskCalibration]]:
        return ((name, known) for name, known in self._tasks.items() if known.windows)
