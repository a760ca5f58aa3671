"""The controller's numbers, and what a plan may hold on a plant."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.control.protocols import Capabilities
from trimtab.errors import ForecastError
from trimtab.forecast import DEFAULT_FORECASTER, Forecaster, make_forecaster
from trimtab.plan.model import Limits
from trimtab.plan.policies.base import Policy, Rhythm
from trimtab.plan.stabilize import Hysteresis
from trimtab.spec.model import Pipeline


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """How often and how carefully to plan. `docs/design/planning.md` gives the reasons for the defaults."""

    start_rate_rps: float = 1.0
    """The rate of the first plan, made before anything was seen."""
    replan_s: float = 5.0
    """Time between plans while nothing is wrong."""
    adjust_s: float | None = 1.0
    """Time between looks at what the plan in force can become at once: other cores, another dearest variant. None: no
    such looks, plans alone change anything."""
    horizon_s: float = 2.0
    """How far ahead the rate is forecast."""
    rate_quantile: float = 0.5
    """The forecast's quantile that is planned for. What lies above it is the dispatcher's, which may step down."""
    headroom: float = 0.0
    """A new plan is asked for at this share above the expected rate. Published policies have one; Trimtab's own holds a
    surge instead."""
    surge_quantile: float | None = 0.99
    """The forecast's quantile that a plan has to hold until it can be changed, by stepping down where the plant can.
    None: no more than the expected rate."""
    reactive_floor: bool = True
    """Whether the rate that the last seconds show counts where the forecaster expects less."""
    own_deadlines: bool = True
    """Whether the bound that is planned for follows the time that requests have left when they arrive."""
    permitted_share: float = 0.1
    """Of the violations that the SLO permits, the share that is planned for on plants where nothing can step down."""
    floor_on_average: bool = True
    """Whether an accuracy floor is kept on average, so that what was more accurate pays for what is less."""
    backlog_share: float = 0.35
    """A backlog that would take this share of the SLO to serve is a reason to plan at once."""
    drain_s: float = 2.0
    """Time within which such a backlog should be gone, or that a change takes, if longer; its requests ÷ this are added
    to the expected rate."""
    calibrate: bool = True
    """Whether plans follow the measured service times; the profile's count as they are where not."""
    hysteresis: Hysteresis | None = field(default_factory=Hysteresis)
    """When a gain is worth a change; None: what the policy proposes is taken as it is."""
    at_once: bool = True
    """Whether a plan is asked for between two turns when the load leaves what the plan in force holds."""
    skips: int = 0
    """A turn whose rate is no higher than the one planned for is skipped so many times in a row."""


def settings_for(policy: Policy, start_rate_rps: float = 1.0) -> ControllerSettings:
    """The control loop that a policy's authors put around it; Trimtab's own where the policy states no rhythm."""
    rhythm: Rhythm | None = getattr(policy, "rhythm", None)
    if rhythm is None:
        return ControllerSettings(start_rate_rps=start_rate_rps)
    return ControllerSettings(
        start_rate_rps=start_rate_rps,
        replan_s=rhythm.every_s,
        adjust_s=None,
        horizon_s=rhythm.horizon_s,
        rate_quantile=rhythm.quantile,
        headroom=rhythm.margin,
        surge_quantile=None,
        reactive_floor=False,
        own_deadlines=False,
        permitted_share=1.0,
        hysteresis=None,
        at_once=False,
        skips=rhythm.skips,
    )


def forecaster_name(policy: Policy, name: str | None = None) -> str:
    """What `make_forecaster` is given: `name`; without one, the policy's own, or else the default."""
    rhythm: Rhythm | None = getattr(policy, "rhythm", None)
    return name or (rhythm.forecaster if rhythm else None) or DEFAULT_FORECASTER


def forecaster_for(policy: Policy, name: str | None = None, clock_s: float | None = None) -> Forecaster:
    """The forecaster called `name`; without one, the policy's own, or else the default.

    Args:
        policy: whose word counts where `name` is None.
        name: as given to `make_forecaster`.
        clock_s: when the first second that it will observe begins; None: not known.

    Raises:
        ForecastError: there is none of that name.
    """
    return make_forecaster(forecaster_name(policy, name), clock_s)


def fitted_digest(name: str) -> str | None:
    """SHA-256 of the file, where a forecaster's name is one of a fitted forecaster; None where it is not.

    Raises:
        ForecastError: the file cannot be read.
    """
    if not name.endswith(".json"):
        return None
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError as error:
        raise ForecastError("the file cannot be read", where=name, got=error.strerror) from error


def limits_of(pipeline: Pipeline, capabilities: Capabilities) -> Limits:
    """The tighter of what the pipeline's budget allows and what the plant has."""
    budget = pipeline.budget
    memory = [m for m in (budget.memory_bytes, capabilities.memory_bytes) if m is not None]
    return Limits(
        cores=float(capabilities.cores) if budget.cores is None else min(budget.cores, float(capabilities.cores)),
        memory_bytes=min(memory) if memory else None,
        replicas_per_task=budget.replicas_per_task,
        max_allocations_per_task=capabilities.max_allocations_per_task,
        in_place_variants=capabilities.in_place_variants,
        replicas=budget.replicas,
        cost_per_hour=budget.cost_per_hour,
        in_place_cores=capabilities.in_place_cores,
        start_s=capabilities.start_s,
    )
