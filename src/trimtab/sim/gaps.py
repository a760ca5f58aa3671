"""Monitoring gaps: seconds in which a plant runs on and nobody counts.

What a gap takes away is what is counted: arrivals, outcomes, response times, what the tasks served. What a plant knows
of itself stays: its replicas, cores and queues. A look whose window lies in a gap, even in part, has lost all its
counts, for sums over a part of it would pass for sums over all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from trimtab.errors import SimulationError
from trimtab.observe.model import Observation, Outcomes

Gap = tuple[float, float]
"""Its first second, and the first that is counted again."""
_ROUNDING_S = 1e-9


def check_gaps(gaps: Sequence[Gap]) -> None:
    """See that every gap is a stretch of time.

    Raises:
        SimulationError: one is none.
    """
    for start_s, end_s in gaps:
        if not 0.0 <= start_s < end_s < math.inf:
            raise SimulationError("not a gap", got=f"{start_s:g} to {end_s:g} s", wanted="0 <= start < end, in seconds")


def without_gaps(observation: Observation, gaps: Sequence[Gap]) -> Observation:
    """What is left of an observation when nothing was counted in the gaps."""
    start_s, end_s = observation.now_s - observation.window_s, observation.now_s
    if not any(first < end_s - _ROUNDING_S and start_s < last - _ROUNDING_S for first, last in gaps):
        return observation
    complete = math.floor(end_s + _ROUNDING_S)
    seconds = range(complete - len(observation.arrivals), complete)
    return replace(
        observation,
        arrivals=tuple(
            None if any(first < second + 1 and second < last for first, last in gaps) else count
            for second, count in zip(seconds, observation.arrivals, strict=True)
        ),
        outcomes=Outcomes(),
        tasks={
            name: replace(task, served={}, batches=0, service_ratio=None, busy_core_s=0.0)
            for name, task in observation.tasks.items()
        },
        response_s={},
        allowed_s={},
    )
