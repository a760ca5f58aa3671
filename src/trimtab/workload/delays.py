"""Delays: how long the way to us takes, by second; what it takes is missing from a request's time (dynamic SLOs).

Clients on a mobile network count from the moment at which they sent, so that their deadlines are fixed while the way to
us takes now more, now less of them (Razavi et al., "Sponge", EuroMLSys 2024). A request that comes in second j of a
trace has SLO − delay left, and never less than nothing.

A file of delays is text: a line per second with the delay in seconds, `0.12`; `#` starts a comment line; it may be
compressed (`.gz`). A second without a delay is an error, for there is none to assume.

`mobile_delays` makes such a series: bandwidth that wanders as that of a moving phone, under requests of one size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.workload.arrivals import Moments
from trimtab.workload.generate import slow_factor
from trimtab.workload.trace import text_lines

DELAY_LIMIT_S = 3600.0
"""A longer delay is a mistake."""
SPREAD_LIMIT = 10.0
"""A larger spread is a mistake."""


@dataclass(frozen=True, slots=True)
class Delays:
    """The mean delay of the requests that come in each second of a trace, in seconds; at least one."""

    seconds: tuple[float, ...]
    spread: float = 0.0
    """Standard deviation ÷ mean of the delays of one second, which are then log-normal; 0: all are the mean."""
    name: str = "delays"

    def __post_init__(self) -> None:
        if not self.seconds:
            raise TraceError("there are no delays", where=self.name, wanted="at least one second")
        for second, delay_s in enumerate(self.seconds):
            if not 0.0 <= delay_s <= DELAY_LIMIT_S:
                wanted = f"0 to {DELAY_LIMIT_S:,.0f} seconds"
                raise TraceError("not a delay", where=f"{self.name}, second {second}", got=delay_s, wanted=wanted)
        if not 0.0 <= self.spread <= SPREAD_LIMIT:
            wanted = f"0 to {SPREAD_LIMIT:g}"
            raise TraceError("the spread of delays has no meaning", where=self.name, got=self.spread, wanted=wanted)

    def check(self, seconds: int) -> None:
        """See that there is a delay for every second of a trace of so many.

        Raises:
            TraceError: there is not.
        """
        if len(self.seconds) < seconds:
            got, wanted = f"{len(self.seconds):,} seconds", f"as many as the trace has, {seconds:,}"
            raise TraceError("the series of delays is shorter than the trace", where=self.name, got=got, wanted=wanted)

    def left_s(self, slo_s: float, generator: np.random.Generator, moments: Moments) -> NDArray[np.float64]:
        """Seconds that requests have left which come at these moments; the generator draws the spread of delays."""
        delays_s = np.array(self.seconds)[moments.astype(np.int64)]
        if self.spread > 0.0:
            sigma = math.sqrt(math.log1p(self.spread**2))
            delays_s = delays_s * np.exp(sigma * generator.standard_normal(len(moments)) - sigma**2 / 2.0)
        return np.asarray(np.maximum(slo_s - delays_s, 0.0))

    def words(self, seconds: int) -> str:
        """What a reader of a result over the first `seconds` has to know."""
        played = self.seconds[:seconds]
        mean_s = sum(played) / len(played)
        words = f"the way to us takes {min(played):.3g} to {max(played):.3g} s, {mean_s:.3g} s on average"
        words += f", and within a second its spread is {self.spread:g} of that" if self.spread else ""
        return f"{words}; a request has the SLO less that when it arrives, and response times count from there"


def read_delays(path: Path, spread: float = 0.0) -> Delays:
    """Read and check a file of delays.

    Raises:
        TraceError: it cannot be read, or a line is no delay; says which, what and what instead.
    """
    found = []
    for number, text in text_lines(path, "series of delays", "delay"):
        try:
            found.append(float(text))
        except ValueError:
            where, got = f"{path}, line {number}", text[:40] or "nothing"
            raise TraceError("not a delay", where=where, got=got, wanted="seconds, such as 0.12") from None
    return Delays(tuple(found), spread, path.name)


def mobile_delays(
    seconds: int,
    seed: int,
    *,
    payload_mbit: float = 4.0,
    mean_mbps: float = 20.0,
    swing: float = 0.5,
    forgets_s: float = 20.0,
    most_s: float = 0.6,
) -> Delays:
    """Delays of requests of one size over a bandwidth that wanders: payload ÷ bandwidth, second by second.

    Bandwidth is `mean_mbps` times the log-normal factor of `workload.generate.slow_factor`: now a third, now three
    times the usual, for seconds to a minute at a time, as on a phone that moves. It is made, not recorded.

    Args:
        seconds: how many.
        seed: of the random numbers.
        payload_mbit: size of a request, megabits; 4 are 500 kB.
        mean_mbps: mean bandwidth, megabits per second.
        swing: standard deviation of the bandwidth's natural logarithm.
        forgets_s: time over which its autocorrelation falls to 1/e.
        most_s: longest delay; a slower moment counts as this.
    """
    factors = slow_factor(seconds, swing, forgets_s, rng.generator(seed, "delays", "bandwidth"))
    delays_s = np.minimum(payload_mbit / (mean_mbps * factors), most_s)
    return Delays(tuple(delays_s.tolist()), name=f"mobile network, seed {seed}")
