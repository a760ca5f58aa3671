"""The controller alone over a load pattern: what is decided when, without a request being served.

It is the live `Controller` itself; each second it is told how many requests arrived, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.control.controller import Controller
from trimtab.control.settings import ControllerSettings
from trimtab.forecast import Forecaster
from trimtab.observe.model import Observation, Outcomes
from trimtab.plan.model import Limits, Plan
from trimtab.plan.policies import Policy
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan in force over an interval."""

    at_s: float
    cores: int
    pas: float
    """100 × the product of the chosen variants' accuracies."""
    rate_rps: float
    """What it was made for."""


def decide(
    pipeline: Pipeline,
    profile: Profile,
    policy: Policy,
    forecaster: Forecaster,
    settings: ControllerSettings,
    limits: Limits,
    counts: Sequence[int],
    every_s: int,
) -> list[Planned]:
    """The plan in force at the start and after every `every_s` seconds.

    Raises:
        PlanRequestError: no plan can exist for this pipeline, profile and limits.
    """
    controller = Controller(pipeline, profile, policy, forecaster, limits, settings)
    found = [_planned(pipeline, controller.start(0.0).plan, 0.0)]
    for second, count in enumerate(counts, start=1):
        seen = Observation(float(second), 1.0, (count,), Outcomes(), {})
        plan = controller.step(seen).plan
        if second % every_s == 0 and second < len(counts):
            found.append(_planned(pipeline, plan, float(second)))
    return found


def pas(pipeline: Pipeline, plan: Plan) -> float:
    """100 × the product of the tasks' accuracies, weighted with the shares of their variants."""
    return 100.0 * math.prod(
        sum(a.share * pipeline.tasks[name].variants[a.variant].accuracy for a in task.allocations)
        for name, task in plan.tasks.items()
    )


def _planned(pipeline: Pipeline, plan: Plan, at_s: float) -> Planned:
    return Planned(at_s, plan.cores, pas(pipeline, plan), plan.rate_rps)
