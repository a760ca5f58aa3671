"""Requests a second on one core, with all of the dispatcher; and a whole day at 50 requests a second.

Times are of the processor, in this one thread: what else runs on the machine counts as little as can be.
"""

from __future__ import annotations

import time

from benchmarks.sim.scenes import MOST, Scene, a_scene, played

DAY_S = 24 * 3600


def run(*, quick: bool) -> None:
    """Print both tables."""
    print(f"Two tasks of five variants, batches to {MOST}, arrivals generated inside: requests per second of one core")
    print(f"{'rate':>8}{'cores':>8}{'requests':>12}{'per second':>14}{'in time':>10}{'p99':>10}{'accuracy':>10}")
    for rate_rps in (50.0, 500.0, 3000.0):
        scene = a_scene(rate_rps)
        _row(scene, seconds=round((300_000 if quick else 3_000_000) / rate_rps))
    print()
    scene = a_scene(50.0)
    began_s = time.process_time()
    day = played(scene, DAY_S, 50)
    took_s = time.process_time() - began_s
    print(f"24 hours at 50 requests/s, a plan made once: {took_s:.2f} s for {day.summary.offered:,} requests")


def _row(scene: Scene, seconds: int) -> None:
    best_s = float("inf")
    for _ in range(3):
        began_s = time.process_time()
        result = played(scene, seconds)
        best_s = min(best_s, time.process_time() - began_s)
    told = result.summary
    assert told.offered == told.in_time + told.late + told.refused + told.dropped + told.failed
    print(
        f"{scene.rate_rps:>8.0f}{scene.plan.cores:>8}{told.offered:>12,}{told.offered / best_s:>14,.0f}"
        f"{told.attainment or 0.0:>10.2%}{1e3 * (told.p99_s or 0.0):>7.0f} ms{told.accuracy or 0.0:>10.4f}"
    )
