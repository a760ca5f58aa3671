"""What autoscalers see: the cores that each task used, over intervals of their own.

The clock starts with the first observation and ticks at multiples of the interval, so that a policy and a control loop
of the same rhythm keep step. Whatever a policy makes of it is worked out when it is asked, from what is kept here: its
settings are in the pipeline's file, and observations do not carry that.
"""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.observe.model import Observation, TaskObservation
from trimtab.plan.model import Plan, TaskPlan

_EARLY_S = 1e-6
"""Rounding of the clock that a tick is forgiven."""


@dataclass(frozen=True, slots=True)
class Usage:
    """One task over one interval."""

    at_s: float
    """The interval's end."""
    seconds: float
    """Seconds of it that were observed."""
    busy_core_s: float
    ready_replica_s: float
    """Seconds × replicas that were ready."""
    ready: int
    """Replicas that were ready all the time: the fewest at the end of any window, the one before the interval too."""
    replicas: int
    """Replicas of the plan that was in force at its end."""
    cores: float
    """Cores of one of them."""

    @property
    def usage_cores(self) -> float:
        """Mean cores in use, at most those of the plan: a container cannot use more than its limit."""
        return min(self.busy_core_s / self.seconds, self.replicas * self.cores) if self.seconds > 0.0 else 0.0

    @property
    def utilisation(self) -> float | None:
        """Cores in use ÷ cores of the replicas that were ready, at most 1; None where none was ready."""
        core_s = self.ready_replica_s * self.cores
        return min(self.busy_core_s / core_s, 1.0) if core_s > 0.0 else None


class Ticks:
    """Says when another interval is over."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_s: float | None = None

    def observe(self, observation: Observation) -> bool:
        """Whether an interval ends with this observation; intervals that one observation spans count as one."""
        if self._next_s is None:
            self._next_s = observation.now_s - observation.window_s + self._every_s
        if observation.now_s < self._next_s - _EARLY_S:
            return False
        while self._next_s <= observation.now_s + _EARLY_S:
            self._next_s += self._every_s
        return True


@dataclass(slots=True)
class _Sum:
    seconds: float = 0.0
    busy_core_s: float = 0.0
    ready_replica_s: float = 0.0
    ready: int | None = None


class UsageMeter:
    """Adds up what was observed until an interval is over."""

    def __init__(self, every_s: float) -> None:
        self._ticks = Ticks(every_s)
        self._sums: dict[str, _Sum] = {}

    def observe(self, observation: Observation, plan: Plan) -> dict[str, Usage]:
        """Task → what it used, where an interval ends with this observation; else nothing."""
        for name, seen in observation.tasks.items():
            _add(self._sums.setdefault(name, _Sum()), seen, observation.window_s)
        if not self._ticks.observe(observation):
            return {}
        usages = {
            name: _usage(total, observation.now_s, plan.tasks[name])
            for name, total in self._sums.items()
            if name in plan.tasks and total.seconds > 0.0
        }
        self._sums = {name: _Sum(ready=seen.replicas_ready) for name, seen in observation.tasks.items()}
        return usages


def _add(total: _Sum, seen: TaskObservation, window_s: float) -> None:
    total.seconds += window_s
    total.busy_core_s += seen.busy_core_s
    total.ready_replica_s += seen.replicas_ready * window_s
    total.ready = seen.replicas_ready if total.ready is None else min(total.ready, seen.replicas_ready)


def _usage(total: _Sum, at_s: float, plan: TaskPlan) -> Usage:
    replicas = sum(a.replicas for a in plan.allocations)
    return Usage(
        at_s=at_s,
        seconds=total.seconds,
        busy_core_s=total.busy_core_s,
        ready_replica_s=total.ready_replica_s,
        ready=min(total.ready or 0, replicas),
        replicas=replicas,
        cores=plan.cores / replicas,
    )
