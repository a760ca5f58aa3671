"""The windows on which Trimtab is judged: the two named ones, and the first twenty minutes of every hour of three days.

Days 14 to 16 of the trace come after all that a forecaster may be fitted to. Zeros of the trace are seconds that were
not recorded (its slowest hours see 40 requests/s): a gap from about 23:31 until midnight, and single seconds elsewhere.
In the ten minutes before a window they stay missing, so before a midnight's window nothing is known; within a window
(only day 16, 7:00 has any, 56 of them) the last recorded count is held. The window of 23:00 ends before the gap.
"""

from __future__ import annotations

from pathlib import Path

from experiments.data import counts
from experiments.infadapter.windows import HISTORY_S, WINDOWS, Window

from trimtab.errors import TrimtabError
from trimtab.sim.run import Load
from trimtab.workload.trace import Trace

DAYS = range(14, 17)
DAY_S, HOUR_S, LENGTH_S = 86_400, 3_600, 1_200


class WindowsError(TrimtabError):
    """There are no such windows."""


def hourly() -> tuple[Window, ...]:
    """The 72 windows that start on the hour, called like `14d07h`."""
    return tuple(
        Window(f"{day}d{hour:02}h", start, start + LENGTH_S)
        for day in DAYS
        for hour in range(24)
        for start in [day * DAY_S + hour * HOUR_S]
    )


def windows(asked: str) -> tuple[Window, ...]:
    """`all`: the named ones and those of every hour; `named`: the named ones; a number: so many of all, the named ones
    first, then hours that lie evenly apart.

    Raises:
        WindowsError: it is none of these.
    """
    named, hours = tuple(WINDOWS.values()), hourly()
    if asked == "all":
        return named + hours
    if asked == "named":
        return named
    most = len(named) + len(hours)
    if not (asked.isdecimal() and 1 <= int(asked) <= most):
        raise WindowsError("no such windows", where="--windows", got=asked, wanted=f"all, named, or 1 to {most}")
    left = int(asked) - len(named)
    return (named + tuple(hours[(2 * i + 1) * len(hours) // (2 * left)] for i in range(left)))[: int(asked)]


def recorded(data: Path, window: Window) -> tuple[int | None, ...]:
    """The counts of the ten minutes before a window and of the window; None where nothing was recorded."""
    first = DAYS.start * DAY_S - HISTORY_S
    read = counts(data, first, DAYS.stop * DAY_S)  # of all windows at once: to skip what comes before takes a second
    return tuple(count or None for count in read[window.start - HISTORY_S - first : window.stop - first])


def played(data: Path, window: Window, seed: int) -> Load:
    """The window as load: Poisson arrivals at the rate of each second, the ten minutes before as history, the clock."""
    known = recorded(data, window)
    trace = Trace(known[HISTORY_S:], window.name).filled("hold")
    return Load(trace, "poisson", seed, known[:HISTORY_S], clock_s=float(window.start))
