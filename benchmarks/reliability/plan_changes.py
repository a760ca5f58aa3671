"""Constant load at half the capacity while the plan is changed every two seconds: no request may fail.

Variant, batch size, cores and replicas change in turn, each by `LocalPlant.apply`, as the controller does it; every
second round the variants that are not in use are unloaded, so that a switch of variant loads a model first.

    python -m benchmarks.reliability.plan_changes [--seconds 600] [--every 2]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
from benchmarks.reliability.load import WEAKEST, capacity_rps, machine, one_task, options, steady, watch
from tests.faults.stand import Answer, Shape, Stand

from trimtab.runtime.server import new_event_loop

ROUND: tuple[tuple[str, Shape], ...] = (
    ("variant", Shape(("small",), (1,), (1,), batch=1)),
    ("batch", Shape(("small",), (1,), (1,), batch=4)),
    ("cores", Shape(("small",), (1,), (2,), batch=4)),
    ("replicas", Shape(("small",), (2,), (1,), batch=4)),
    ("variant", Shape(("big",), (2,), (1,), batch=4)),
    ("batch", Shape(("big",), (2,), (1,), batch=1)),
    ("replicas", Shape(("big",), (1,), (2,), batch=1)),
    ("cores", WEAKEST),
)
"""What changes, and the plan after it."""


async def change(stand: Stand, every_s: float, took_s: dict[str, list[float]]) -> None:
    """Change the plan for ever."""
    turn = 0
    while True:
        await asyncio.sleep(every_s)
        what, shape = ROUND[turn % len(ROUND)]
        began_s = time.perf_counter()
        await stand.apply(replace(shape, resident=turn // len(ROUND) % 2 == 0), wait=False)
        took_s.setdefault(what, []).append(time.perf_counter() - began_s)
        turn += 1


async def run(seconds: float, every_s: float) -> bool:
    """Run it and print the table; whether nothing failed."""
    endings: Counter[str] = Counter()
    response_s: list[float] = []
    took_s: dict[str, list[float]] = {}

    def took(answer: Answer) -> None:
        endings[answer.ending] += 1
        response_s.append(answer.response_s)

    async with one_task(slo_s=2.0) as stand:
        capacity = await capacity_rps(stand)
        background = [asyncio.create_task(change(stand, every_s, took_s)), asyncio.create_task(watch(stand, 1.0))]
        try:
            await steady(stand, capacity / 2, seconds, took)
        finally:
            broken = [task.exception() for task in background if task.done()]
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
        await stand.apply(WEAKEST)
    changes = sum(map(len, took_s.values()))
    print(
        f"{machine()}\n{seconds:g} s at {capacity / 2:.0f} requests/s, half of {capacity:.0f}; "
        f"{changes} changes of plan"
    )
    print(f"{'change':<12}{'times':>8}{'apply p50':>14}{'max':>12}")
    for what, times_s in took_s.items():
        print(f"{what:<12}{len(times_s):>8}{1e3 * float(np.median(times_s)):>11.1f} ms{1e3 * max(times_s):>9.1f} ms")
    p50_s, p99_s, most_s = np.quantile(response_s, (0.5, 0.99, 1.0))
    print(f"response time p50 {1e3 * p50_s:.1f} ms, p99 {1e3 * p99_s:.1f} ms, max {1e3 * most_s:.1f} ms")
    print("requests: " + ", ".join(f"{count} {ending}" for ending, count in endings.items()))
    unanswered = endings.total() - endings["answered"]
    good = not unanswered and not broken
    print(
        f"{'PASS' if good else 'FAIL'}: {unanswered} of {endings.total()} requests not answered"
        + "".join(f"; {e!r}" for e in broken)
    )
    return good


def main() -> None:
    """Run it; exit 1 when the claim fails."""
    parser = options(__doc__, 600.0)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between changes")
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        sys.exit(not runner.run(run(chosen.seconds, chosen.every)))


if __name__ == "__main__":
    main()
