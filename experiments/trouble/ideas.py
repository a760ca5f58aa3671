"""Trimtab's ideas, each taken away in turn: a function from a scene to the same scene without it, found by its name.

What is taken away is one thing; all else stays as it is, the dispatcher's stepping down included where a plant lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from experiments.trouble.scenes import Scene, slowed, start_rate_rps

from trimtab.control.settings import settings_for
from trimtab.forecast import DEFAULT_FORECASTER
from trimtab.plan.model import Plan, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.plan.policies.trimtab import TrimtabPolicy
from trimtab.plan.residents import with_residents
from trimtab.sim import PLANTS
from trimtab.sim.model import Rule

Change = Callable[[Scene], Scene]

FULL, ORACLE = "trimtab", "oracle"
KNOWN, FREE = "forecast known", "changes free"
"""Trimtab with the true rates for a forecast; on a plant where nothing takes time."""
WRONG, UNCALIBRATED = "service × 1.5", "service × 1.5, not calibrated"
"""Service takes longer than believed, with calibration and without."""
FREE_PLANT = "free"


def _control(**changes: Any) -> Change:
    """Other numbers of the control loop."""
    return lambda scene: replace(scene, settings=replace(scene.settings, **changes))


class Unpooled(TrimtabPolicy):
    """Plans for one variant a group, of which each has to hold the surge; residents stay, for the dispatcher alone."""

    decides = TrimtabPolicy.decides - {"adjust"}

    def propose(self, request: PlanRequest) -> PlanResult:
        """The plan for replicas that could hold no other variant, with all that fit kept at hand."""
        apart = replace(request, limits=replace(request.limits, in_place_variants=False))
        proposed = super().propose(apart)
        groups = {name: task.allocations for name, task in proposed.plan.tasks.items()}
        return replace(proposed, plan=replace(proposed.plan, tasks=with_residents(request, groups)[0]))


class Ungrown(TrimtabPolicy):
    """Batches are never larger than the plan needs."""

    def propose(self, request: PlanRequest) -> PlanResult:
        """The plan, without the room that batches have to grow."""
        proposed = super().propose(request)
        return replace(proposed, plan=as_planned(proposed.plan))


def as_planned(plan: Plan) -> Plan:
    """The plan with no batch larger than planned."""
    return replace(
        plan,
        tasks={
            name: replace(task, allocations=tuple(replace(a, most=None) for a in task.allocations))
            for name, task in plan.tasks.items()
        },
    )


def _plant(name: str) -> Change:
    """A ready-made plant."""
    return lambda scene: replace(scene, plant=PLANTS[name])


def _rule(rule: Rule) -> Change:
    """Another dispatcher."""
    return lambda scene: replace(scene, serving=replace(scene.serving, rule=rule))


def _forecaster(name: str) -> Change:
    return lambda scene: replace(scene, forecaster=name)


def _lone_variants(scene: Scene) -> Scene:
    return replace(scene, plant=replace(scene.plant, in_place_variants=False))


def _paper_latency(scene: Scene) -> Scene:
    planning = replace(scene.pipeline.planning, latency="paper")
    return replace(scene, pipeline=replace(scene.pipeline, planning=planning))


def _wrong(scene: Scene) -> Scene:
    return replace(scene, truth=slowed(scene.truth, 1.5))


def _oracle(scene: Scene) -> Scene:
    """The policy that is asked every second for the true rate of the next; its own forecaster knows it."""
    policy = make_policy(ORACLE)
    settings = settings_for(policy, start_rate_rps(scene.load))
    return replace(scene, policy=policy, plant=PLANTS[FREE_PLANT], forecaster=None, settings=settings)


VARIANTS: Mapping[str, Change] = MappingProxyType(
    {
        FULL: lambda scene: scene,
        "planned unpooled": lambda scene: replace(scene, policy=Unpooled()),
        "no surge held": _control(surge_quantile=None),
        "no reactive floor": _control(reactive_floor=False),
        "nothing adjusted between plans": _control(adjust_s=None),
        "cores every 5 s": _control(adjust_s=5.0),
        "cores every 30 s": _control(adjust_s=30.0, replan_s=30.0),
        "no plan at once": _control(at_once=False),
        "no hysteresis": _control(hysteresis=None),
        "floor at every instant": _control(floor_on_average=False),
        "batches as planned": lambda scene: replace(scene, policy=Ungrown()),
        "the paper's latency": _paper_latency,
        "one variant a replica": _lone_variants,
        "restarts, cores in place": _plant("kubernetes-in-place"),
        "restarts": _plant("kubernetes-restart"),
        **{f"dispatcher {rule}": _rule(rule) for rule in ("fifo", "clipper", "nexus", "proteus")},
        **{
            f"forecast {name}": _forecaster(name)
            for name in ("last", "clock", "quantile")
            if name != DEFAULT_FORECASTER
        },
        WRONG: _wrong,
        UNCALIBRATED: lambda scene: _control(calibrate=False)(_wrong(scene)),
        KNOWN: _forecaster(ORACLE),
        FREE: _plant(FREE_PLANT),
        ORACLE: _oracle,
    }
)
"""Name → what is done. All but the last three and `WRONG` take an idea away."""
BESIDE: Mapping[str, str] = MappingProxyType({UNCALIBRATED: WRONG})
"""Variant → the one that it is measured against, where that is not `FULL`."""
BOUNDS = frozenset({KNOWN, FREE, ORACLE})
"""What no policy can have."""
