"""An accuracy floor that is kept on average: what was delivered above it may be spent, what lacks is made up for.

Cores come in whole numbers and the load moves, so a plan that keeps a floor at every instant is above it nearly always,
and pays for it. Users judge the mean over their requests. So the floor that is planned for moves against the account

    C ← C·exp(-Δt/τ) + Σ over the requests of Δt of (accuracy delivered - floor)

of the last τ seconds, which is settled within the next `SETTLE_S`: planned floor = floor - C / (rate · SETTLE_S), never
more than `MOST` from the floor. It corrects the planner's error about accuracies, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from trimtab.observe.model import Observation
from trimtab.plan.accuracy import pipeline_accuracy
from trimtab.spec.model import Pipeline

MEMORY_S = 300.0
"""τ: what is longer ago than this counts little."""
SETTLE_S = 20.0
"""Time within which the account is to be settled."""
NEAR = 1e-4
"""Of the highest accuracy, which pools only come close to."""
MOST = 0.05
"""Farthest from the floor that is ever planned for, as a share of it."""


class FloorAccount:
    """The account of one pipeline."""

    def __init__(self) -> None:
        self._credit = 0.0
        self._rate_rps = 0.0

    def observe(self, observation: Observation, pipeline: Pipeline, floor: float) -> None:
        """Take in what was delivered; the mean of a task's accuracies stands for each of its requests."""
        self._credit *= math.exp(-observation.window_s / MEMORY_S)
        shares: dict[str, Mapping[str, float]] = {}
        for name in pipeline.tasks:
            served = observation.tasks[name].served if name in observation.tasks else {}
            known = {v: n for v, n in served.items() if v in pipeline.tasks[name].variants}
            total = sum(known.values())
            if total == 0:
                return
            shares[name] = {variant: count / total for variant, count in known.items()}
        answered = observation.outcomes.in_time + observation.outcomes.late
        self._credit += answered * (pipeline_accuracy(pipeline, shares) - floor)
        self._rate_rps = max(answered / observation.window_s, 1e-9)

    def planned(self, floor: float, highest: float = 1.0) -> float:
        """The floor to plan for now; no debt makes it more than just below the `highest` accuracy that there is."""
        if self._rate_rps == 0.0:
            return floor
        spent = self._credit / (self._rate_rps * SETTLE_S)
        wanted = floor - min(max(spent, -MOST * floor), MOST * floor)
        return min(wanted, max(floor, (1.0 - NEAR) * highest))
