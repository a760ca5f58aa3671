"""What the simulator's benchmarks run: a pipeline of two tasks with five variants each, and a plan for it."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile
from trimtab.sim import PLANTS, SimResult, simulate
from trimtab.sim.run import Load
from trimtab.spec.model import Pipeline
from trimtab.testing import make_chain
from trimtab.workload.trace import Trace

VARIANTS = {
    "detect": {"xl": (0.69, 0.120), "l": (0.67, 0.080), "m": (0.64, 0.045), "s": (0.57, 0.025), "n": (0.46, 0.012)},
    "classify": {
        "152": (0.79, 0.090),
        "101": (0.78, 0.065),
        "50": (0.76, 0.040),
        "34": (0.73, 0.030),
        "18": (0.70, 0.016),
    },
}
"""Task → variant → accuracy and seconds of a request on one core: like YOLOv5 and ResNet, in round figures."""
PLANNED = {"detect": "m", "classify": "50"}
MOST = 8
LOAD = 0.85


@dataclass(frozen=True)
class Scene:
    """A pipeline, its profile, a plan, and the rate that is `LOAD` of what the plan serves in full batches."""

    pipeline: Pipeline
    profile: Profile
    plan: Plan
    rate_rps: float


def a_scene(rate_rps: float) -> Scene:
    """Replicas for about this rate; the dispatcher may use all five variants."""
    pipeline, profile = make_chain(VARIANTS, slo_s=0.6, batches=(1, 2, 4, MOST), batch_gain=0.7)
    tasks, carried = {}, []
    for name, variant in PLANNED.items():
        one_rps = MOST / profile.variants[name][variant].service_time(MOST, 1, 1).seconds
        replicas = max(1, round(rate_rps / LOAD / one_rps))
        carried.append(replicas * one_rps)
        every = tuple(VARIANTS[name])
        tasks[name] = TaskPlan(name, (Allocation(variant, replicas, 1, 1, MOST),), resident=every, may_use=every)
    return Scene(pipeline, profile, Plan(tasks, rate_rps), LOAD * min(carried))


def played(scene: Scene, seconds: int, rate_rps: int | None = None) -> SimResult:
    """The scene's plan, made once, under Poisson arrivals at this rate; None: the scene's, to the nearest whole one."""
    return simulate(
        scene.pipeline,
        scene.profile,
        Load(Trace((rate_rps or round(scene.rate_rps),) * seconds)),
        make_policy("cheapest"),  # asked for nothing: the plan is given
        PLANTS["instant-resident"],
        cores=scene.plan.cores,
        start=scene.plan,
    )
