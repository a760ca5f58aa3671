"""A day of observations for policies that remember. What comes is scripted; what is seen follows from the plan.

Quiet, a rise, a burst, overload with a backlog and refusals, a long quiet, seconds that were not counted, a plant that
tells nothing of its tasks, replicas that are all starting, silence, and traffic again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.plan.model import Allocation, Plan, PlanRequest, TaskPlan


@dataclass(frozen=True, slots=True)
class Look:
    """What happens until the next observation."""

    what: str
    """In words, for what a check says."""
    rate_rps: float
    queued: int = 0
    """Items that wait at every task at its end."""
    refused: float = 0.0
    """Share of the requests that is turned away."""
    counts: Literal["known", "missing", "no second"] = "known"
    """`missing`: the plant lost them, and nothing was served; `no second`: none was complete."""
    starting: bool = False
    """Whether all replicas are starting, so that nothing is served."""
    tells: bool = True
    """Whether anything is said of the tasks."""


def a_day() -> tuple[Look, ...]:
    """The script, one `Look` after the other."""
    return (
        *[Look("quiet", 2.0)] * 8,
        *[Look("a rise", rate_rps) for rate_rps in (4.0, 7.0, 12.0, 20.0, 35.0, 60.0)],
        *[Look("a burst", 150.0, queued=20)] * 4,
        *[Look("overload", 400.0, queued=waiting, refused=0.5) for waiting in (50, 100, 150, 200, 100, 30)],
        *[Look("quiet after the overload", 3.0)] * 24,
        Look("less than a second", 3.0, counts="no second"),
        *[Look("a gap", 3.0, counts="missing")] * 4,
        Look("a plant that tells of no task", 3.0, tells=False),
        Look("all replicas starting", 8.0, queued=40, starting=True),
        *[Look("silence", 0.0)] * 12,
        *[Look("traffic again", 6.0)] * 4,
    )


def seen(look: Look, start_s: float, seconds: int, plan: Plan, before: Plan, asked: PlanRequest) -> Observation:
    """The observation at the end of a look.

    Args:
        look: what happened.
        start_s: when it began.
        seconds: its length; less than one where no second was complete.
        plan: in force during it.
        before: in force during the one before; replicas that it had not are still starting.
        asked: for the pipeline and the profile.
    """
    window_s = 0.5 if look.counts == "no second" else float(seconds)
    counts = {"known": (round(look.rate_rps),) * seconds, "missing": (None,) * seconds, "no second": ()}[look.counts]
    arrived = sum(count or 0 for count in counts)
    refused = round(look.refused * arrived)
    answered = 0 if look.starting else arrived - refused
    visits = asked.pipeline.visits()
    tasks = {
        name: _task(look, window_s, task, before.tasks[name], round(answered * visits[name]), asked)
        for name, task in plan.tasks.items()
    }
    return Observation(
        now_s=start_s + window_s,
        window_s=window_s,
        arrivals=counts,
        outcomes=Outcomes(in_time=answered, refused=refused),
        tasks=tasks if look.tells else {},
        response_s={0.5: 0.05, 0.95: 0.2, 0.99: 0.3} if answered else {},
        core_seconds=plan.cores * window_s,
        plan_id=plan.id,
    )


def _task(
    look: Look, window_s: float, plan: TaskPlan, before: TaskPlan, items: int, asked: PlanRequest
) -> TaskObservation:
    replicas = _replicas(plan)
    ready = 0 if look.starting else min(replicas, _replicas(before))
    busy_core_s = sum(_core_s(a, plan.task, asked) * items * a.share for a in plan.allocations)
    served = {a.variant: round(items * a.share) for a in plan.allocations if round(items * a.share)}
    return TaskObservation(
        queued=look.queued,
        in_service=min(items, 1),
        replicas_ready=ready,
        replicas_starting=replicas - ready,
        cores=plan.cores,
        served=served,
        batches=math.ceil(items / max(a.batch for a in plan.allocations)),
        service_ratio=1.0 if items else None,
        busy_core_s=min(busy_core_s, plan.cores * ready / replicas * window_s),
    )


def _core_s(a: Allocation, task: str, asked: PlanRequest) -> float:
    """Core-seconds of one item."""
    batch_s = asked.profile.variants[task][a.variant].service_time(a.batch, a.cores, a.threads).seconds
    return batch_s * a.threads / a.batch


def _replicas(plan: TaskPlan) -> int:
    return sum(a.replicas for a in plan.allocations)
