"""Kinds of load that a forecaster meets, as seeded generators: one name, one rate of each second, counts drawn from it.

Counts are Poisson given the rate (a doubly stochastic Poisson process, Cox 1955). Every trace begins at midnight on a
Monday. Time that belongs to the calendar (hours, bursts at a minute of the hour, weekends) follows `day_s`, so that a
day or a week can be had in an hour; the rest (crowds, levels, stretches on and off, gaps) is in seconds.

`clock-bursts` is modelled on the public trace of Twitter's August 2021 that InfAdapter and IPA are judged by: about
50 requests a second, and at a fixed minute of every other hour, half of the time, a burst of some 230 a second that is
up within a minute and lasts 6 to 12. Pure: the seed is an argument.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.workload.generate import slow_factor
from trimtab.workload.trace import SECONDS_LIMIT, Trace

DAY_S = 86_400.0
Factors = NDArray[np.float64]
"""Rate of each second ÷ the usual rate; NaN where nothing is recorded."""

_NOISE, _NOISE_S = 0.05, 60.0
"""Spread of the slow random factor on rates, and the time over which it forgets."""
_SWING, _WEEKEND = 0.6, 0.5
"""How far the day goes above and below its mean, and the factor of Saturdays and Sundays."""
_CROWD, _CROWD_RISE_S, _CROWD_FALLS_S = 8.0, 30.0, 600.0
"""Height of a flash crowd ÷ the usual rate, its rise, and the time over which what is left of it falls to 1/e."""
_LEVEL_S, _LEVEL_RANGE = 1800.0, 3.0
"""Mean time that a level stays, and the largest factor by which it lies above or below the usual rate."""
_ON_S, _OFF_S = 180.0, 120.0
"""Mean times on and off."""
_GAP_EVERY_S, _GAP_S, _LOST = 1200.0, (20.0, 300.0), 0.01
"""Mean time between gaps, their least and greatest length, and the share of single seconds that are lost as well."""
_BURST_MINUTE, _BURST_CHANCE, _BURST_HEIGHT = 32.0, 0.5, 4.6
"""Minute of odd hours at which a burst may begin, how often it does, and its top ÷ the usual rate."""
_BURST_MIN, _BURST_RAMP_MIN, _BURST_LATE_MIN, _BURST_FALL_MIN = (6.0, 12.0), (1 / 6, 1.0), 0.5, 1.5
"""In minutes of an hour: a burst's length, its rise, how late it may be, and its fall at the end."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of load."""

    about: str
    """In a few words, for the help."""
    usual_rps: float
    """The rate outside of bursts, crowds and the like, where nothing else is asked for."""
    factors: Callable[[int, float, np.random.Generator], Factors]
    """Makes the factors on the usual rate of so many seconds, with days of so many."""


def generate_shape(
    name: str, seconds: int, seed: int, *, usual_rps: float | None = None, day_s: float = DAY_S
) -> Trace:
    """A trace of the shape called `name`; the same arguments give the same trace.

    Args:
        name: one of `SHAPES`.
        seconds: its length.
        seed: of everything that is random.
        usual_rps: requests per second outside of bursts and the like; None: the shape's own.
        day_s: length of a day.

    Raises:
        TraceError: there is no such shape, or a figure is out of range.
    """
    rates = shape_rates(name, seconds, seed, usual_rps=usual_rps, day_s=day_s)
    counts = rng.generator(seed, "shape", name, "counts").poisson(np.nan_to_num(rates)).tolist()
    seen = [None if math.isnan(rate) else count for rate, count in zip(rates.tolist(), counts, strict=True)]
    return Trace(tuple(seen), name)


def shape_rates(
    name: str, seconds: int, seed: int, *, usual_rps: float | None = None, day_s: float = DAY_S
) -> NDArray[np.float64]:
    """The rate of each second, requests per second, before counts are drawn; NaN where nothing is recorded.

    Raises:
        TraceError: as `generate_shape`.
    """
    if name not in SHAPES:
        close = difflib.get_close_matches(name, SHAPES, n=1)
        raise TraceError(
            "no such shape of a trace",
            got=name,
            wanted=f"one of {', '.join(SHAPES)}",
            next_step=f"did you mean '{close[0]}'?" if close else None,
        )
    shape = SHAPES[name]
    rate = shape.usual_rps if usual_rps is None else usual_rps
    for what, value, low, high in (
        ("seconds", seconds, 1, SECONDS_LIMIT),
        ("rate", rate, 0.0, 1e6),
        ("day", day_s, 60.0, 366 * DAY_S),
    ):
        if not low <= value <= high:
            raise TraceError(f"the {what} of a trace is out of range", got=value, wanted=f"{low:g} to {high:g}")
    return rate * shape.factors(seconds, day_s, rng.generator(seed, "shape", name, "rate"))


def _middles(seconds: int) -> NDArray[np.float64]:
    """The middle of each second."""
    return np.arange(seconds, dtype=np.float64) + 0.5


def _noise(seconds: int, draws: np.random.Generator) -> Factors:
    return slow_factor(seconds, _NOISE, _NOISE_S, draws)


def _flat(seconds: int, _day_s: float, _draws: np.random.Generator) -> Factors:
    return np.ones(seconds)


def _noisy(seconds: int, _day_s: float, draws: np.random.Generator) -> Factors:
    return _noise(seconds, draws)


def _zeros(seconds: int, _day_s: float, _draws: np.random.Generator) -> Factors:
    return np.zeros(seconds)


def _of_the_day(seconds: int, day_s: float, swing: float) -> Factors:
    """Lowest at midnight, highest at noon."""
    return np.asarray(1.0 + swing * np.sin(2 * math.pi * (_middles(seconds) / day_s - 0.25)))


def _daily(seconds: int, day_s: float, draws: np.random.Generator) -> Factors:
    return _of_the_day(seconds, day_s, _SWING) * _noise(seconds, draws)


def _weekly(seconds: int, day_s: float, draws: np.random.Generator) -> Factors:
    weekday = (_middles(seconds) // day_s) % 7
    return np.asarray(np.where(weekday >= 5, _WEEKEND, 1.0) * _daily(seconds, day_s, draws))


def _flash_crowd(seconds: int, _day_s: float, draws: np.random.Generator) -> Factors:
    """One crowd, that begins somewhere in the middle half of the trace."""
    since_s = _middles(seconds) - draws.uniform(0.25, 0.75) * seconds
    rise = np.clip(since_s / _CROWD_RISE_S, 0.0, 1.0)
    left = np.exp(-np.clip(since_s - _CROWD_RISE_S, 0.0, None) / _CROWD_FALLS_S)
    return np.asarray((1.0 + (_CROWD - 1.0) * rise * left) * _noise(seconds, draws))


def _stretches(seconds: int, mean_s: tuple[float, ...], draws: np.random.Generator) -> Iterator[tuple[int, int]]:
    """From and to of stretches of exponential lengths that fill the trace; their means take turns."""
    start, turn = 0.0, 0
    while start < seconds:
        stop = start + max(1.0, draws.exponential(mean_s[turn % len(mean_s)]))
        yield round(start), min(round(stop), seconds)
        start, turn = stop, turn + 1


def _level_shift(seconds: int, _day_s: float, draws: np.random.Generator) -> Factors:
    """Level after level, all equally likely on a scale of ratios."""
    levels = np.empty(seconds)
    for start, stop in _stretches(seconds, (_LEVEL_S,), draws):
        levels[start:stop] = _LEVEL_RANGE ** draws.uniform(-1.0, 1.0)
    return levels


def _on_off(seconds: int, _day_s: float, draws: np.random.Generator) -> Factors:
    on = np.zeros(seconds)
    for turn, (start, stop) in enumerate(_stretches(seconds, (_ON_S, _OFF_S), draws)):
        on[start:stop] = 1.0 - turn % 2
    return on


def _gaps(seconds: int, day_s: float, draws: np.random.Generator) -> Factors:
    """A day of which the monitoring lost stretches, and single seconds."""
    factors = _daily(seconds, day_s, draws)
    factors[draws.random(seconds) < _LOST] = np.nan
    for _, stop in _stretches(seconds, (_GAP_EVERY_S,), draws):
        factors[stop : stop + round(draws.uniform(*_GAP_S))] = np.nan
    factors[0] = 1.0  # a trace without any recorded second is none
    return factors


def _clock_bursts(seconds: int, day_s: float, draws: np.random.Generator) -> Factors:
    """Bursts by the clock, above a day with a small swing."""
    minute_s, time_s, heights = day_s / 24 / 60, _middles(seconds), np.zeros(seconds)
    for hour in range(1, math.ceil(seconds / (60 * minute_s)), 2):
        comes = draws.random() < _BURST_CHANCE
        late, ramp, length = (draws.uniform(*ends) for ends in ((0.0, _BURST_LATE_MIN), _BURST_RAMP_MIN, _BURST_MIN))
        if comes:
            begins = 60 * hour + _BURST_MINUTE + late
            burst = slice(int(begins * minute_s), math.ceil((begins + length) * minute_s))
            since = time_s[burst] / minute_s - begins
            heights[burst] = np.clip(np.minimum(since / ramp, (length - since) / _BURST_FALL_MIN), 0.0, 1.0)
    return (_of_the_day(seconds, day_s, 0.2) + (_BURST_HEIGHT - 1.0) * heights) * _noise(seconds, draws)


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "flat": Shape("one rate", 50.0, _flat),
        "daily": Shape("lowest at midnight, highest at noon", 50.0, _daily),
        "weekly": Shape("as daily, less on weekends", 50.0, _weekly),
        "flash-crowd": Shape("eightfold within half a minute, once", 50.0, _flash_crowd),
        "level-shift": Shape("another level every half hour or so", 50.0, _level_shift),
        "on-off": Shape("minutes with and without load", 50.0, _on_off),
        "gaps": Shape("as daily, with seconds not recorded", 50.0, _gaps),
        "zeros": Shape("nothing at all", 0.0, _zeros),
        "high": Shape("100,000 requests a second", 100_000.0, _noisy),
        "clock-bursts": Shape("bursts at 32 minutes past odd hours", 50.0, _clock_bursts),
    }
)
"""Name → shape."""
