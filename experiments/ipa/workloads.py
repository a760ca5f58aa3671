"""IPA's four load patterns of 20 minutes: slices of the Twitter trace, divided by 8 and rounded down."""

from __future__ import annotations

from pathlib import Path

from experiments.data import counts, number, rows

from trimtab.sim.run import Load
from trimtab.workload.arrivals import Arrivals
from trimtab.workload.trace import Trace

DIVISOR = 8
HISTORY_S = 120
"""Seconds before a pattern that forecasters know: what the published one looks at."""
STARTS = {"bursty": 1_301_160, "steady_low": 1_299_600, "fluctuating": 1_301_400}
"""First second of a pattern in the trace, where it lies within the seventeen days that are at hand."""


def pattern(data: Path, workload: str) -> tuple[int, ...]:
    """Requests in each of the 1,200 seconds, as sent."""
    return tuple(int(number(row, f"{workload}_rps")) for row in rows(data, "ipa/workload_patterns"))


def history(data: Path, workload: str) -> tuple[int, ...]:
    """The counts of the two minutes before.

    What came before `steady_high` is not at hand; it repeats ten minutes of the trace, so its own end stands there.
    """
    start = STARTS.get(workload)
    if start is None:
        return pattern(data, workload)[-HISTORY_S:]
    return counts(data, start - HISTORY_S, start, DIVISOR)


def load(data: Path, workload: str, seed: int, arrivals: Arrivals = "recorded") -> Load:
    """The pattern as load: every second has its own number of requests, placed at random within it."""
    trace, clock_s = Trace(pattern(data, workload), workload), clock(workload)
    return Load(trace, arrivals, seed, history(data, workload), clock_s=clock_s)


def clock(workload: str) -> float | None:
    """When a pattern begins, in seconds of the trace, which begins at a midnight; None: not known."""
    return STARTS.get(workload)
