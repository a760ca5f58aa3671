"""What it is worth to plan for the time that requests have left (Sponge's setting), and not for the SLO.

    python experiments/sponge.py --out out/experiments/sponge

A service of five variants behind a mobile network whose bandwidth wanders: of an SLO of 1 s, the way to us takes 0.05
to 0.6 s (`workload.delays.mobile_delays`). Replicas change cores in place. Everything is made here; no data is needed.

Whatever is planned for, the dispatcher honours every request's own deadline. What a policy is told of the times left,
it is told by the pipeline that it is handed (`Told`): with the SLO as it is; with the least that a request of the last
second had left, as Sponge counts; with the SLO less the longest delay; or with the bound that `control.deadlines`
derives from the distribution.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.command import Options, parser, run
from experiments.results import Cell, over_seeds, show, write_csv
from experiments.sweep import results

from trimtab.control.controller import Controller
from trimtab.control.protocols import Decision
from trimtab.control.settings import ControllerSettings
from trimtab.forecast import Forecaster
from trimtab.observe.model import Observation
from trimtab.plan.model import Limits
from trimtab.plan.policies import Policy, make_policy
from trimtab.plan.policies.pipelines.sponge import SpongePolicy, SpongeSettings
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.sim import PLANTS, Load, SimSummary, simulate
from trimtab.spec.model import Objective, Pipeline, Slo, Task, Variant
from trimtab.workload.delays import mobile_delays
from trimtab.workload.generate import TraceShape, generate

VARIANTS = {"18": (0.698, 0.04), "34": (0.733, 0.07), "50": (0.761, 0.10), "101": (0.773, 0.18), "152": (0.783, 0.25)}
"""Accuracy, and seconds of one request on one core: like ResNets, in round figures."""
SHAPES, BATCHES = (1, 2, 4, 8, 16), (1, 2, 4, 8)
PARALLEL, PER_REQUEST = 0.95, 0.85
"""Share of an inference that threads divide (Amdahl's law), and of a request's time that one more in a batch costs."""
QUANTILES = {0.5: 0.98, 0.9: 1.08, 0.95: 1.12, 0.99: 1.25}
SLO_S, CORES, LONGEST_S = 1.0, 24, 0.6
PINNED = "50"
"""The variant that Sponge serves; its accuracy is what Trimtab has to keep where it plans for the least cost."""

Told_of = Literal["the SLO", "the least of the last second", "the SLO less the longest delay", "the distribution"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy, what it is told of the times left, and what it is asked for."""

    policy: Literal["sponge", "trimtab"]
    told: Told_of
    objective: Objective = Objective()  # noqa: RUF009 - frozen
    asked: str = ""

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.policy}{self.asked}"


CHEAPEST = Objective("cheapest", accuracy_floor=VARIANTS[PINNED][0])
CONTENDERS = (
    *(
        Contender("sponge", told)
        for told in ("the SLO", "the least of the last second", "the SLO less the longest delay")
    ),
    *(
        Contender("trimtab", told, objective, asked)
        for objective, asked in ((CHEAPEST, f", as accurate as {PINNED}"), (Objective(), f", within {CORES} cores"))
        for told in ("the SLO", "the least of the last second", "the SLO less the longest delay", "the distribution")
    ),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One run."""

    contender: Contender
    seed: int
    seconds: int


class Told(Controller):
    """A controller whose pipeline has an SLO that follows from what was observed.

    With `the distribution` it is the SLO itself, and the controller follows what requests have left, as it does anyway.
    """

    def __init__(
        self,
        told: Told_of,
        pipeline: Pipeline,
        profile: Profile,
        policy: Policy,
        forecaster: Forecaster,
        limits: Limits,
        settings: ControllerSettings | None = None,
    ) -> None:
        numbers = replace(settings or ControllerSettings(), own_deadlines=told == "the distribution")
        super().__init__(pipeline, profile, policy, forecaster, limits, numbers)
        self._told = told
        self._least_s = SLO_S

    def step(self, observation: Observation) -> Decision:
        """The decision for what is handed now."""
        if any(observation.arrivals):
            self._least_s = min(observation.allowed_s.values(), default=SLO_S)
        bounds_s: dict[Told_of, float] = {
            "the SLO": SLO_S,
            "the least of the last second": self._least_s,
            "the SLO less the longest delay": SLO_S - LONGEST_S,
            "the distribution": SLO_S,
        }
        self.pipeline = replace(self.pipeline, slo=replace(self.pipeline.slo, latency_s=bounds_s[self._told]))
        return super().step(observation)


def service(objective: Objective) -> tuple[Pipeline, Profile]:
    """The service and what its variants take."""
    variants = {name: Variant(name, None, accuracy) for name, (accuracy, _) in VARIANTS.items()}
    pipeline = Pipeline("photos", {"classify": Task("classify", variants)}, Slo(SLO_S), objective=objective)
    profiles = {}
    for name, (_, alone_s) in VARIANTS.items():
        points = []
        for cores in SHAPES:
            for batch in BATCHES:
                mean_s = alone_s * (1.0 + PER_REQUEST * (batch - 1)) * (1.0 - PARALLEL + PARALLEL / cores)
                quantiles = {q: part * mean_s for q, part in QUANTILES.items()}
                points.append(ServicePoint(cores, cores, batch, mean_s, quantiles, samples=1))
        profiles[name] = VariantProfile("classify", name, tuple(points), load_time_s=2.0)
    return pipeline, Profile({"classify": profiles})


def simulated(case: Case) -> SimSummary:
    """Carry out one run."""
    contender = case.contender
    pipeline, profile = service(contender.objective)
    policy: Policy = make_policy("trimtab")
    if contender.policy == "sponge":
        policy = SpongePolicy(SpongeSettings(variants={"classify": PINNED}))
    burst_s = min(90.0, case.seconds / 4.0)
    shape = TraceShape(
        case.seconds, 20.0, peak_rps=50.0, bursts=2, burst_s=burst_s, ramp_s=burst_s / 9.0, swing=0.0, noise=0.1
    )
    delays = mobile_delays(case.seconds, case.seed, most_s=LONGEST_S)
    load = Load(generate(shape, case.seed), "poisson", case.seed, delays=delays)
    plant = PLANTS["instant-resident"]
    decides = partial(Told, contender.told)
    return simulate(pipeline, profile, load, policy, plant, cores=CORES, make_controller=decides).summary


def experiment(asked: Options, parsed: Namespace) -> list[Path]:
    """A table of violations, accuracy and cores."""
    cases = [
        Case(contender, seed, 300 if asked.quick else parsed.seconds)
        for contender in CONTENDERS
        for seed in range(asked.seeds)
    ]
    runs = results(simulated, cases, asked.processes, "simulating")
    lines: list[dict[str, Cell]] = []
    for contender in CONTENDERS:
        some = [run for case, run in zip(cases, runs, strict=True) if case.contender == contender]
        lines.append(
            {
                "policy": contender.label,
                "plans for": contender.told,
                "violations %": over_seeds(100.0 * (s.violation_ratio or 0.0) for s in some),
                "accuracy %": over_seeds(None if s.accuracy is None else 100.0 * s.accuracy for s in some),
                "cores held": over_seeds([s.mean_cores for s in some]),
                "p99 s": over_seeds(s.p99_s for s in some),
            }
        )
    show(f"requests with 0.4 to 0.95 s left of {SLO_S:g} s, {asked.seeds} seeds", lines, [x["policy"] for x in lines])
    return [write_csv(asked.out / "sponge.csv", lines)]


if __name__ == "__main__":
    arguments = parser(__doc__ or "", "sponge", seeds=5)
    arguments.add_argument("--seconds", type=int, default=1200, help="length of a run")
    run(arguments, experiment)
