"""A burst of fifty times the capacity: most is refused at once, what is answered is in time, and goodput stays.

The model is slow (tens of milliseconds), so that clients in the server's process can send fifty times what it serves.
Where they cannot keep the pace, later requests go out later; what was offered is in the table.

    python -m benchmarks.reliability.burst [--seconds 3] [--times 50]
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import numpy as np
from benchmarks.reliability.load import WEAKEST, capacity_rps, machine, one_task, options, steady
from tests.faults.stand import Answer

from trimtab.runtime.server import new_event_loop

SLO_S = 1.0
GOODPUT = 0.5
"""Share of the capacity that must be left as goodput in the burst: its clients take their part of the same cores."""


async def run(seconds: float, times: float) -> bool:
    """Run it and print the table; whether the claims hold."""
    before: list[Answer] = []
    during: list[Answer] = []
    after: list[Answer] = []
    async with one_task(slo_s=SLO_S, work=8000, shape=WEAKEST) as stand:
        capacity = await capacity_rps(stand)
        await steady(stand, 0.5 * capacity, seconds, before.append)
        await steady(stand, times * capacity, seconds, during.append)
        await steady(stand, 0.5 * capacity, seconds, after.append)
    print(f"{machine()}\ncapacity {capacity:.0f} requests/s; {seconds:g} s each at 0.5, {times:g} and 0.5 times that")
    print(
        f"{'':<8}{'offered':>9}{'answered':>10}{'refused':>9}{'other':>7}{'per s':>8}"
        f"{'answered p99':>14}{'refused p50':>13}"
    )
    for name, answers in (("before", before), ("burst", during), ("after", after)):
        count = Counter(answer.ending for answer in answers)
        other = len(answers) - count["answered"] - count["refused"]
        columns = (_ms(answers, "answered", 0.99), _ms(answers, "refused", 0.5))
        print(
            f"{name:<8}{len(answers):>9}{count['answered']:>10}{count['refused']:>9}{other:>7}"
            f"{count['answered'] / seconds:>8.1f}{columns[0]:>14}{columns[1]:>13}"
        )
    goodput = sum(answer.ending == "answered" for answer in during) / seconds
    refused = [answer for answer in during if answer.ending == "refused"]
    answered_s = [answer.response_s for answer in during if answer.ending == "answered"]
    claims = {
        "every request of the burst is answered, refused or dropped": {a.ending for a in during}
        <= {"answered", "refused", "dropped"},
        "99 % of what is answered in the burst is answered within the SLO, by the clients' clock": bool(answered_s)
        and float(np.quantile(answered_s, 0.99)) <= SLO_S,
        "every refusal says when to come back": all(answer.retry_after for answer in refused),
        f"goodput in the burst is at least {GOODPUT:.0%} of the capacity": goodput >= GOODPUT * capacity,
        "after it everything is answered": all(answer.ending == "answered" for answer in after),
    }
    for claim, holds in claims.items():
        print(f"{'PASS' if holds else 'FAIL'}: {claim}")
    return all(claims.values())


def _ms(answers: list[Answer], ending: str, quantile: float) -> str:
    times_s = [answer.response_s for answer in answers if answer.ending == ending]
    return f"{1e3 * float(np.quantile(times_s, quantile)):.0f} ms" if times_s else "none"


def main() -> None:
    """Run it; exit 1 when a claim fails."""
    parser = options(__doc__, 3.0)
    parser.add_argument("--times", type=float, default=50.0, help="the burst, as a multiple of the capacity")
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        sys.exit(not runner.run(run(chosen.seconds, chosen.times)))


if __name__ == "__main__":
    main()
