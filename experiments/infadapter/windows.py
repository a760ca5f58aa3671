"""The two windows of the Twitter trace that InfAdapter's load generator names, and the ten minutes before each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.data import counts

from trimtab.sim.run import Load
from trimtab.workload.arrivals import Arrivals
from trimtab.workload.trace import Trace

HISTORY_S = 600
"""Seconds before a window that forecasters know: the published forecaster's input."""


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds of the trace."""

    name: str
    start: int
    stop: int


WINDOWS = {w.name: w for w in (Window("bursty", 1_300_920, 1_302_180), Window("steady", 1_388_100, 1_389_600))}
"""Day 15, minutes 82 to 102, and day 16, minutes 95 to 119. The second is commented out in the published program."""


def history(data: Path, window: Window) -> tuple[int, ...]:
    """The counts of the ten minutes before."""
    return counts(data, window.start - HISTORY_S, window.start)


def load(data: Path, window: Window, seed: int, arrivals: Arrivals = "recorded") -> Load:
    """The window as load: every second has the trace's own number of requests, placed at random within it.

    Forecasters that learn the clock are told the seconds of the trace, which begins at a midnight.
    """
    trace = Trace(counts(data, window.start, window.stop), window.name)
    return Load(trace, arrivals, seed, history(data, window), clock_s=float(window.start))
