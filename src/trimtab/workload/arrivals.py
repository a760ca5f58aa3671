"""When to send: moments of arrival from the rate of each second of a replay. Pure and seeded.

None of the ways depends on how the server fares (the load is open-loop):

- `poisson`: a Poisson process whose rate is that of each second: the number of a second is drawn from Poisson(rate) and
  its requests are placed independently and uniformly within it (Çinlar 1975, *Introduction to Stochastic Processes*,
  §4.2: given their number, the arrivals of a Poisson process are independent and uniform).
- `recorded`: every second has the trace's own number of requests, placed as above. Where scaling made it a fraction it
  is rounded up or down at random with that fraction as the chance, so that its mean is kept.
- `even`: as even as the rates allow: arrival k is where the rates, summed up, reach k + 1/2. Draws nothing.
- `gamma`: a renewal process in the time that the summed-up rates measure, with gamma gaps of mean 1 and a squared
  coefficient of variation of `GAMMA_SCV`: burstier than Poisson at every scale (as Clockwork, OSDI 2020, and AlpaServe,
  OSDI 2023, drive their servers).
- `mmpp`: Poisson arrivals whose rate is now `MMPP_HIGH`, now `MMPP_LOW` times that of the second, for exponential times
  of mean `MMPP_HIGH_S` and `MMPP_LOW_S`: a Markov-modulated Poisson process of two states with the same mean (Fischer
  & Meier-Hellstern 1993, *Performance Evaluation* 18).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.workload.trace import Rates

Arrivals = Literal["poisson", "recorded", "even", "gamma", "mmpp"]
ARRIVALS: tuple[Arrivals, ...] = get_args(Arrivals)
REQUESTS_LIMIT = 20_000_000
"""More requests than this are not held in memory for one run."""
GAMMA_SCV = 4.0
"""Squared coefficient of variation of the gaps of `gamma`."""
MMPP_HIGH, MMPP_LOW, MMPP_HIGH_S, MMPP_LOW_S = 2.0, 0.5, 1.0, 2.0
"""Factors of the rate, and mean seconds, of the two states of `mmpp`; the mean factor is 1."""

Moments = NDArray[np.float64]
"""Seconds from the start of the replay, ascending."""


def send_times(rates: Rates, arrivals: Arrivals, seed: int) -> Moments:
    """Seconds from the start of the replay at which to send, ascending; second j's lie in [j, j+1).

    Raises:
        TraceError: a rate is negative or no number, there are too many requests, or there is none at all.
    """
    _check(rates)
    expected = float(rates.sum())
    if expected > REQUESTS_LIMIT:
        raise TraceError(
            "the replay has too many requests",
            got=f"about {expected:,.0f}",
            wanted=f"at most {REQUESTS_LIMIT:,}",
            next_step="cut the trace, compress its time or scale its rate",
        )
    times = np.concatenate(list(send_blocks(rates, arrivals, seed, max(len(rates), 1))))
    if not len(times):
        raise TraceError(
            "the replay has no request", got=f"{expected:g} expected in {len(rates)} s", wanted="at least one"
        )
    return times


def send_blocks(rates: Rates, arrivals: Arrivals, seed: int, block_s: int) -> Iterator[Moments]:
    """The same moments, `block_s` seconds at a time, so that they need not be held at once.

    Raises:
        TraceError: a rate is negative or no number.
    """
    _check(rates)
    total = np.concatenate(([0.0], np.cumsum(rates)))
    if arrivals in {"poisson", "recorded"}:
        yield from _placed(rates, arrivals, seed, block_s)
    elif arrivals == "even":
        yield from _even(rates, total, block_s)
    elif arrivals == "gamma":
        yield from _gamma(total, seed, block_s)
    else:
        yield from _mmpp(rates, seed, block_s)


def _check(rates: Rates) -> None:
    if not (np.isfinite(rates).all() and (rates >= 0).all()):
        raise TraceError("a rate is negative or no number", wanted="0 or more requests per second")


def _blocks(seconds: int, block_s: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + block_s, seconds)) for start in range(0, seconds, block_s))


def _placed(rates: Rates, arrivals: Arrivals, seed: int, block_s: int) -> Iterator[Moments]:
    """A number for each second, each request placed uniformly within its second."""
    draws, places = rng.generator(seed, "arrivals", "counts"), rng.generator(seed, "arrivals", "places")
    for start, stop in _blocks(len(rates), block_s):
        part = rates[start:stop]
        if arrivals == "poisson":
            counts = draws.poisson(part)
        else:
            whole = np.floor(part)
            counts = (whole + (draws.random(len(part)) < part - whole)).astype(np.int64)
        seconds = np.repeat(np.arange(start, stop, dtype=np.float64), counts)
        yield np.sort(_within(seconds + places.random(len(seconds)), seconds + 1.0))


def _even(rates: Rates, total: Moments, block_s: int) -> Iterator[Moments]:
    """Where the summed-up rates reach 1/2, 3/2, 5/2, …; summing over seconds keeps fractions from being lost."""
    for start, stop in _blocks(len(rates), block_s):
        first, last = np.ceil(total[start] - 0.5), np.ceil(total[stop] - 0.5)
        targets = np.arange(first, last) + 0.5
        second = np.searchsorted(total, targets, side="left") - 1  # total[second] < target <= total[second + 1]
        second = np.clip(second, start, stop - 1)
        inside = (targets - total[second]) / rates[second]
        yield np.asarray(second + np.clip(inside, 0.0, np.nextafter(1.0, 0.0)))


def _gamma(total: Moments, seed: int, block_s: int) -> Iterator[Moments]:
    """Gaps of mean 1 in operational time, mapped back to seconds."""
    draws = rng.generator(seed, "arrivals", "gaps")
    grid = np.arange(len(total), dtype=np.float64)
    ahead, reached = np.empty(0), 0.0
    """Arrivals in operational time that no block has taken yet, and the last one drawn."""
    for _, stop in _blocks(len(total) - 1, block_s):
        parts = [ahead]
        while reached < total[stop]:
            gaps = draws.gamma(1.0 / GAMMA_SCV, GAMMA_SCV, 1024)
            parts.append(reached + np.cumsum(gaps))
            reached = float(parts[-1][-1])
        drawn = np.concatenate(parts)
        taken = int(np.searchsorted(drawn, total[stop], side="left"))
        ahead = drawn[taken:]
        yield np.interp(drawn[:taken], total, grid)


def _mmpp(rates: Rates, seed: int, block_s: int) -> Iterator[Moments]:
    """Whole seconds and changes of state cut time into pieces of one rate; each gets a Poisson number of arrivals."""
    stays = rng.generator(seed, "arrivals", "states")
    draws, places = rng.generator(seed, "arrivals", "counts"), rng.generator(seed, "arrivals", "places")
    high = bool(stays.random() < MMPP_HIGH_S / (MMPP_HIGH_S + MMPP_LOW_S))
    change_s = float(stays.exponential(MMPP_HIGH_S if high else MMPP_LOW_S))
    for start, stop in _blocks(len(rates), block_s):
        edges, factors = [float(start)], [MMPP_HIGH if high else MMPP_LOW]
        for second in range(start, stop):
            while change_s < second + 1:
                high = not high
                edges.append(change_s)
                factors.append(MMPP_HIGH if high else MMPP_LOW)
                change_s += float(stays.exponential(MMPP_HIGH_S if high else MMPP_LOW_S))
            edges.append(second + 1.0)
            factors.append(factors[-1])
        low, width = np.array(edges[:-1]), np.diff(edges)
        rate = np.asarray(rates)[np.minimum(low.astype(np.int64), len(rates) - 1)] * np.array(factors[:-1])
        counts = draws.poisson(rate * width)
        moments = np.repeat(low, counts) + places.random(int(counts.sum())) * np.repeat(width, counts)
        yield np.sort(_within(moments, np.repeat(edges[1:], counts)))


def _within(moments: Moments, before: Moments) -> Moments:
    """No moment is rounded up to the end of its second."""
    return np.minimum(moments, np.nextafter(before, 0.0))
