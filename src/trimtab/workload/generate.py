"""A seeded generator of traces with a daily shape, noise and bursts, for when no recorded trace can be shipped.
`workload.shapes` has others.

The rate of second t is

    max(shape(t) · noise(t), burst(t))  with  shape(t) = mean · (1 + swing · sin(2π · (t / day - 1/4))),

noise being a log-normal factor of mean 1 whose logarithm is a first-order autoregressive process, and burst(t) rising
along a straight ramp from the shape to `peak`, staying, and falling again. Counts are Poisson given that rate, so the
trace is a doubly stochastic Poisson process (Cox 1955). Pure: the seed is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.workload.trace import SECONDS_LIMIT, Trace


@dataclass(frozen=True, slots=True)
class TraceShape:
    """What a generated trace looks like.

    Raises:
        TraceError: a figure is out of range, or the bursts do not fit into the trace.
    """

    seconds: int
    mean_rps: float
    """Mean rate of the daily shape, bursts not counted."""
    peak_rps: float | None = None
    """Rate at the top of a burst; needed as soon as there are bursts."""
    bursts: int = 0
    """Number of bursts; each starts at a random moment of its own equal part of the trace."""
    burst_s: float = 120.0
    """Length of a burst, ramps included."""
    ramp_s: float = 10.0
    """Length of the rise, and of the fall."""
    swing: float = 0.4
    """How far the daily shape goes above and below its mean, as a share of it."""
    day_s: float = 86_400.0
    """Length of the day; it begins at the lowest rate."""
    noise: float = 0.05
    """Standard deviation of the logarithm of the slow random factor; 0: none beside the Poisson counts'."""
    noise_s: float = 60.0
    """Time over which the slow random factor forgets (its autocorrelation falls to 1/e)."""

    def __post_init__(self) -> None:
        _check("seconds", self.seconds, 1, SECONDS_LIMIT)
        _check("mean", self.mean_rps, 0, 1e6)
        _check("bursts", self.bursts, 0, self.seconds)
        _check("swing", self.swing, 0, 1)
        _check("day", self.day_s, 1, math.inf)
        _check("noise", self.noise, 0, 2)
        _check("noise length", self.noise_s, 1, math.inf)
        if not self.bursts:
            return
        if self.peak_rps is None:
            raise TraceError("bursts have no height", wanted="a peak rate", next_step="give --peak")
        _check("peak", self.peak_rps, self.mean_rps, 1e6)
        _check("burst length", self.burst_s, 1, self.seconds / self.bursts)
        _check("ramp", self.ramp_s, 0, self.burst_s / 2)


def generate(shape: TraceShape, seed: int, *, name: str = "generated") -> Trace:
    """A trace of that shape; the same seed gives the same trace, whatever else is drawn elsewhere."""
    counts = rng.generator(seed, "trace", "counts").poisson(rate_curve(shape, seed))
    return Trace(tuple(counts.tolist()), name)


def rate_curve(shape: TraceShape, seed: int) -> NDArray[np.float64]:
    """The rate of each second, requests per second, before counts are drawn."""
    time_s = np.arange(shape.seconds, dtype=np.float64) + 0.5
    daily = shape.mean_rps * (1.0 + shape.swing * np.sin(2 * math.pi * (time_s / shape.day_s - 0.25)))
    base = daily * slow_factor(shape.seconds, shape.noise, shape.noise_s, rng.generator(seed, "trace", "noise"))
    if not shape.bursts or shape.peak_rps is None:
        return np.asarray(base)
    height = _burst_height(shape, seed, time_s)
    return np.asarray(np.maximum(base, daily + height * (shape.peak_rps - daily)))


def _burst_height(shape: TraceShape, seed: int, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far into a burst each second is: 0 outside, 1 at the top."""
    draws = rng.generator(seed, "trace", "bursts")
    part_s = shape.seconds / shape.bursts
    starts = np.arange(shape.bursts) * part_s + draws.uniform(0.0, part_s - shape.burst_s, shape.bursts)
    height = np.zeros_like(time_s)
    for start_s in starts:
        inside = np.minimum(time_s - start_s, start_s + shape.burst_s - time_s)  # seconds from the nearer end
        ramp = inside / shape.ramp_s if shape.ramp_s else np.where(inside >= 0, 1.0, 0.0)
        height = np.maximum(height, np.clip(ramp, 0.0, 1.0))
    return height


def slow_factor(seconds: int, spread: float, forgets_s: float, draws: np.random.Generator) -> NDArray[np.float64]:
    """A log-normal factor of mean 1 for each second, its logarithm autoregressive of order 1 and stationary.

    Args:
        seconds: how many.
        spread: standard deviation of the logarithm; 0: the factor is 1.
        forgets_s: time over which the autocorrelation falls to 1/e.
        draws: where its randomness comes from.
    """
    if spread == 0:
        return np.ones(seconds)
    kept = math.exp(-1.0 / forgets_s)
    shocks = draws.normal(0.0, spread, seconds)
    log = np.empty(seconds)
    log[0] = shocks[0]
    innovation = math.sqrt(1.0 - kept * kept)
    for t in range(1, seconds):
        log[t] = kept * log[t - 1] + innovation * shocks[t]
    return np.asarray(np.exp(log - spread**2 / 2))


def _check(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise TraceError(f"the {what} is out of range", got=value, wanted=f"{low:g} to {high:g}")
