"""What policies that fix the variant and choose the rest have in common: which variant, and the most that is held.

The variant is the one that the settings name, or else the most or the least accurate one that was measured
(`policies.fixed`). Where nothing holds the rate, these policies answer with the plan for the largest rate that they can
hold, found by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from trimtab.errors import PlanRequestError
from trimtab.plan.constrain import constrain
from trimtab.plan.model import Allocation, Plan, PlanRequest, TaskPlan
from trimtab.plan.policies.fixed import FixedSettings, fixed_choice

T = TypeVar("T")

_RATE_TOLERANCE = 1e-3
"""Relative width at which the search for the largest rate stops."""
_LEAST_RPS = 1e-6
"""Rates below this are given up as none."""


@dataclass(frozen=True, slots=True)
class PinnedSettings:
    """Which variant a task has."""

    pin: Literal["least-accurate", "most-accurate"] = "most-accurate"
    """Which variant a task has, where `variants` says nothing of it."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """Task → its variant."""

    def fixed(self, cores: Mapping[str, int] | None = None, slo_share: float = 0.5) -> FixedSettings:
        """The same as settings of one fixed replica per task."""
        return FixedSettings(self.pin, self.variants, cores or {}, slo_share=slo_share)


def pinned_variants(request: PlanRequest, settings: PinnedSettings) -> dict[str, str]:
    """Task → its variant.

    Raises:
        PlanRequestError: as `fixed.fixed_choice`.
    """
    return {task: fixed_choice(request, task, settings.fixed()).variant for task in request.pipeline.tasks}


def pinned_visits(request: PlanRequest, variants: Mapping[str, str]) -> dict[str, float]:
    """Items per request of every task, when its tasks have these variants."""
    return request.pipeline.visits({task: {variant: 1.0} for task, variant in variants.items()})


def one_group(plan: Plan | None, request: PlanRequest, variants: Mapping[str, str]) -> dict[str, Allocation] | None:
    """Task → its only group, of a plan that has one for every task, with these variants; None of any other plan."""
    if plan is None or list(plan.tasks) != list(request.pipeline.tasks):
        return None
    groups = {task: plan.tasks[task].allocations for task in plan.tasks}
    if any(len(some) != 1 or some[0].variant != variants[task] for task, some in groups.items()):
        return None
    return {task: some[0] for task, some in groups.items()}


def check_positive(**values: float | None) -> None:
    """Refuse settings that are not above 0; None passes.

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        if value is not None and not 0.0 < value < math.inf:
            raise ValueError(f"{name} is {value}, wanted a finite number above 0")


def fits(request: PlanRequest, plans: Mapping[str, TaskPlan]) -> bool:
    """Whether the plan is within all limits of the request."""
    plan = Plan(dict(plans), request.rate_rps)
    try:
        _, taken = constrain(plan, request.pipeline, request.profile, request.limits)
    except PlanRequestError:
        return False
    return not taken


def most_held(rate_rps: float, found_at: Callable[[float], T | None]) -> tuple[float, T] | None:
    """The largest rate up to `rate_rps` at which `found_at` finds something, and that; None where it finds nothing.

    What is found at a rate is thought to be found at every lower one.
    """
    found = found_at(rate_rps)
    if found is not None:
        return rate_rps, found
    low, high, held = 0.0, rate_rps, found_at(0.0)
    while held is not None and high > _LEAST_RPS and high - low > _RATE_TOLERANCE * high:
        middle = (low + high) / 2.0
        better = found_at(middle)
        low, high, held = (low, middle, held) if better is None else (middle, high, better)
    return None if held is None else (low, held)
