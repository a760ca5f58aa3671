"""Half an hour of load with deadlines: memory, latency and descriptors must not grow.

Each figure is read every few seconds and a straight line is fitted to it by least squares, without the first fifth of
the run. The growth over the rest is given with its 95 % band (normal errors, taken as independent; where they are not,
the true band is wider). A figure grows when the whole band lies above what is tolerated of it.

    python -m benchmarks.reliability.soak [--seconds 1800] [--every 2]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import psutil
from benchmarks.reliability.load import capacity_rps, machine, one_task, options, steady, watch
from tests.faults.stand import Answer, Stand

from trimtab.runtime.server import new_event_loop

LEFT_OUT = 0.2
"""Share of the run, at its start, that is not judged: caches fill, allocators find their size."""
Z95 = 1.96
DEADLINE_S = 0.8
"""What clients ask for; the SLO is 1 s."""
TOLERATED = {
    "memory of the server, MiB": 0.02,
    "memory of the workers, MiB": 0.02,
    "response time p50, ms": 0.2,
    "response time p99, ms": 0.5,
    "descriptors": 0.01,
    "tasks of the event loop": 0.1,
}
"""Figure → growth over the run that is tolerated, as a share of its mean: what a machine that does other work adds."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A fitted line, as growth from its first to its last moment."""

    mean: float
    growth: float
    band: float
    """Half of the 95 % band of `growth`."""


def fit(times_s: list[float], values: list[float]) -> Growth:
    """The line of least squares through the values; needs at least three."""
    t, y = np.asarray(times_s), np.asarray(values)
    centred = t - t.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    error = float(np.sqrt(rest @ rest / (len(t) - 2) / (centred @ centred)))
    length_s = float(t[-1] - t[0])
    return Growth(float(y.mean()), slope * length_s, Z95 * error * length_s)


@dataclass(slots=True)
class Figures:
    """What is read during the run."""

    stand: Stand
    began_s: float = field(default_factory=time.perf_counter)
    times_s: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TOLERATED})
    endings: Counter[str] = field(default_factory=Counter)
    fresh_s: list[float] = field(default_factory=list)

    def took(self, answer: Answer) -> None:
        """A request ended."""
        self.endings[answer.ending] += 1
        if answer.ending == "answered":
            self.fresh_s.append(answer.response_s)

    def look(self) -> None:
        """Read all figures."""
        me = psutil.Process()
        p50_s, p99_s = np.quantile(self.fresh_s or [0.0], (0.5, 0.99))
        self.fresh_s = []
        workers_bytes = sum(worker.memory_info().rss for worker in self.stand.workers())
        read = (
            me.memory_info().rss / 2**20,
            workers_bytes / 2**20,
            1e3 * float(p50_s),
            1e3 * float(p99_s),
            float(me.num_fds()),
            float(len(asyncio.all_tasks())),
        )
        self.times_s.append(time.perf_counter() - self.began_s)
        for name, value in zip(TOLERATED, read, strict=True):
            self.values[name].append(value)


async def run(seconds: float, every_s: float) -> bool:
    """Run it and print the table; whether nothing grew."""
    async with one_task(slo_s=1.0) as stand:
        capacity = await capacity_rps(stand)
        figures = Figures(stand)
        watching = asyncio.create_task(watch(stand, every_s, figures.look))
        try:
            await steady(stand, capacity / 2, seconds, figures.took, timeout_s=DEADLINE_S)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    first = int(LEFT_OUT * len(figures.times_s))
    print(
        f"{machine()}\n{seconds:g} s at {capacity / 2:.0f} requests/s, half of {capacity:.0f}, "
        f"each with a deadline of {DEADLINE_S:g} s"
    )
    print("requests: " + ", ".join(f"{count} {ending}" for ending, count in figures.endings.items()))
    print(f"{'figure':<30}{'mean':>10}{'growth':>10}{'95 % band':>22}{'tolerated':>12}")
    good = figures.endings["failed"] == figures.endings["hung"] == 0
    for name, share in TOLERATED.items():
        line = fit(figures.times_s[first:], figures.values[name][first:])
        low, high, tolerated = line.growth - line.band, line.growth + line.band, share * line.mean
        grows = low > tolerated
        good = good and not grows
        band = f"{low:+.3f} … {high:+.3f}"
        print(
            f"{name:<30}{line.mean:>10.2f}{line.growth:>+10.3f}{band:>22}{tolerated:>12.2f}{'  GROWS' if grows else ''}"
        )
    print("PASS" if good else "FAIL")
    return good


def main() -> None:
    """Run it; exit 1 when the claim fails."""
    parser = options(__doc__, 1800.0)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between readings")
    chosen = parser.parse_args()
    if chosen.seconds < 10 * chosen.every:
        parser.error("a line needs at least ten readings: --seconds is too small for --every")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        sys.exit(not runner.run(run(chosen.seconds, chosen.every)))


if __name__ == "__main__":
    main()
