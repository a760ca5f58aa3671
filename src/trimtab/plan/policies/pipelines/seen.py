"""What observing policies remember: how long a plan has stood, and the demand as a moving average."""

from __future__ import annotations

from collections import deque
from itertools import islice

from trimtab.observe.model import Observation
from trimtab.plan.model import Plan


class Standing:
    """For how long the plan in force has been the same.

    Autoscalers that scale in "after so many seconds of agreement" count decisions that would not scale out, and start
    anew with every change (Themis's counter). As a decision to scale out is carried out at once, their count is the
    time for which the plan has stood.
    """

    def __init__(self) -> None:
        self._plan_id: str | None = None
        self._since_s = self._now_s = 0.0

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Take in that `plan` was in force at the time of the observation."""
        self._now_s = observation.now_s
        if plan.id != self._plan_id:
            self._plan_id, self._since_s = plan.id, observation.now_s - observation.window_s

    def stood_s(self, plan: Plan) -> float | None:
        """Seconds for which `plan` has been in force; None where nothing was seen of it."""
        return self._now_s - self._since_s if plan.id == self._plan_id else None


class Demand:
    """Arrivals per second as an exponentially weighted mean of the last seconds.

    The weight of the second k seconds ago is (1 - α)^k with α = 1 ÷ (1 + com), normalised over the seconds that are
    known: pandas' `ewm(com=…)`, adjusted for the start.
    """

    def __init__(self) -> None:
        self._counts: deque[int | None] = deque(maxlen=3600)

    def observe(self, observation: Observation) -> None:
        """Take in the counts of an observation."""
        self._counts.extend(observation.arrivals)

    def mean_rps(self, com_s: float, window_s: int) -> float | None:
        """The mean of the last `window_s` seconds by a centre of mass of `com_s`; None while none of them is known."""
        kept, total, weights = com_s / (1.0 + com_s), 0.0, 0.0
        for ago, count in enumerate(islice(reversed(self._counts), window_s)):
            if count is not None:
                total += kept**ago * count
                weights += kept**ago
        return total / weights if weights > 0.0 else None
