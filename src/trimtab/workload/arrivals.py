"""When to send: moments of arrival from the rate of each second of a replay. Pure and seeded.

Three ways, none of which depends on how the server fares (the load is open-loop):

- `poisson`: a Poisson process whose rate is that of each second: the number of a second is drawn from Poisson(rate) and
  its requests are placed independently and uniformly within it (Çinlar 1975, *Introduction to Stochastic Processes*,
  §4.2: given their number, the arrivals of a Poisson process are independent and uniform).
- `recorded`: every second has the trace's own number of requests, placed as above. Where scaling made it a fraction it
  is rounded up or down at random with that fraction as the chance, so that its mean is kept.
- `even`: as even as the rates allow: arrival k is where the rates, summed up, reach k + 1/2. Draws nothing.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.workload.trace import Rates

Arrivals = Literal["poisson", "recorded", "even"]
ARRIVALS: tuple[Arrivals, ...] = get_args(Arrivals)
REQUESTS_LIMIT = 20_000_000
"""More requests than this are not held in memory for one run."""


def send_times(rates: Rates, arrivals: Arrivals, seed: int) -> NDArray[np.float64]:
    """Seconds from the start of the replay at which to send, ascending; second j's lie in [j, j+1).

    Raises:
        TraceError: a rate is negative or no number, there are too many requests, or there is none at all.
    """
    if not (np.isfinite(rates).all() and (rates >= 0).all()):
        raise TraceError("a rate is negative or no number", wanted="0 or more requests per second")
    expected = float(rates.sum())
    if expected > REQUESTS_LIMIT:
        raise TraceError(
            "the replay has too many requests",
            got=f"about {expected:,.0f}",
            wanted=f"at most {REQUESTS_LIMIT:,}",
            next_step="cut the trace, compress its time or scale its rate",
        )
    times = _even(rates) if arrivals == "even" else _placed(rates, arrivals, seed)
    if not len(times):
        raise TraceError(
            "the replay has no request", got=f"{expected:g} expected in {len(rates)} s", wanted="at least one"
        )
    return times


def _placed(rates: Rates, arrivals: Arrivals, seed: int) -> NDArray[np.float64]:
    """A number for each second, each request placed uniformly within its second."""
    draws = rng.generator(seed, "arrivals", "counts")
    if arrivals == "poisson":
        counts = draws.poisson(rates)
    else:
        whole = np.floor(rates)
        counts = (whole + (draws.random(len(rates)) < rates - whole)).astype(np.int64)
    seconds = np.repeat(np.arange(len(rates), dtype=np.float64), counts)
    return np.sort(seconds + rng.generator(seed, "arrivals", "places").random(len(seconds)))


def _even(rates: Rates) -> NDArray[np.float64]:
    """Where the summed-up rates reach 1/2, 3/2, 5/2, …; summing over seconds keeps fractions from being lost."""
    total = np.concatenate(([0.0], np.cumsum(rates)))
    targets = np.arange(0.5, total[-1], 1.0)
    second = np.searchsorted(total, targets, side="left") - 1  # total[second] < target <= total[second + 1]
    inside = (targets - total[second]) / rates[second]
    return np.asarray(second + np.minimum(inside, np.nextafter(1.0, 0.0)))
