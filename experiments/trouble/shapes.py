"""The ten shapes of `trimtab trace generate --shape` as loads that fit a place.

A shape has its usual rate, or less where its highest second would be more than the place carries: so `high` is a load
near the top all the time. Days are short, so that a day, a week or a few of its bursts are in an hour. `zeros` alone
offers no request: it stands between two stretches of `flat`. What `gaps` leaves out, monitoring does not see, while
requests go on arriving as in the second before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from experiments.trouble.scenes import Scene, under

from trimtab.sim.run import Load
from trimtab.workload.shapes import SHAPES, generate_shape, shape_rates
from trimtab.workload.trace import Trace

SECONDS = 3_600
SHORT_S = 900
"""For a quick look."""
_DAY_S = {"weekly": SECONDS / 7, "clock-bursts": 4.0 * SECONDS}
"""Length of a day where it is not that of the load: a week in it, or six hours and their bursts."""


def shape_trace(name: str, seed: int, share: float, top_rps: float, seconds: int = SECONDS) -> Trace:
    """Requests in each second of a shape, as the place can carry it; seconds may be missing.

    Args:
        name: one of `SHAPES`.
        seed: of the shape and its counts.
        share: of the shape's usual rate.
        top_rps: the highest rate that it may have.
        seconds: its length.

    Raises:
        TraceError: there is no such shape.
    """
    if name == "zeros":
        around, third = shape_trace("flat", seed, share, top_rps, seconds).counts, seconds // 3
        return Trace((*around[:third], *(0,) * third, *around[2 * third :]), name)
    day_s = _DAY_S.get(name, float(SECONDS))
    highest = float(np.nanmax(shape_rates(name, seconds, seed, usual_rps=1.0, day_s=day_s)))
    usual_rps = min(share * SHAPES[name].usual_rps, top_rps / highest)
    return generate_shape(name, seconds, seed, usual_rps=usual_rps, day_s=day_s)


def shaped(scene: Scene, name: str, share: float, seconds: int = SECONDS) -> Scene:
    """The scene under a shape whose highest rate is that of the busiest second of the scene's own load."""
    top_rps = max(count or 0 for count in scene.load.trace.counts)
    trace = shape_trace(name, scene.load.seed, share, float(top_rps), seconds)
    load = Load(trace.filled("hold"), "recorded", scene.load.seed, clock_s=0.0)
    return replace(under(scene, load), gaps=tuple(missing(trace.counts)))


def missing(counts: Sequence[int | None]) -> Iterator[tuple[float, float]]:
    """Stretches of seconds of which nothing is recorded, from and to."""
    first: int | None = None
    for i, count in enumerate((*counts, 0)):
        if count is None and first is None:
            first = i
        elif count is not None and first is not None:
            yield float(first), float(i)
            first = None
