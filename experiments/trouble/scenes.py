"""A scene is all that a run is given, as one value: what is changed in it is what an experiment is about.

A *place* is a service or a pipeline with its load: InfAdapter's service under a window of the trace, or one of IPA's
pipelines under a load pattern. Who runs there is set up as in `infadapter/contenders.py` and `ipa/contenders.py`;
Trimtab runs in its own rhythm, and requests come to InfAdapter's service as a Poisson process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from experiments.infadapter import contenders as infadapter
from experiments.infadapter import windows
from experiments.infadapter.hours import hourly, played
from experiments.infadapter.measurements import capacity_profile, service_profile
from experiments.ipa import contenders as ipa
from experiments.ipa import workloads

from trimtab.control.settings import ControllerSettings, settings_for
from trimtab.forecast import Forecaster
from trimtab.plan.policies import Policy, make_policy
from trimtab.profile.model import Profile
from trimtab.sim import PlantModel, Serving, SimResult, simulate
from trimtab.sim.model import Fault
from trimtab.sim.run import START_S, Load
from trimtab.spec.model import Objective, Pipeline

SERVICE = "infadapter"
"""The one place that is no pipeline of IPA's."""
BETA = 0.05
"""InfAdapter's weight of cores, as published: a share of the budget."""
OURS = "trimtab"
CHEAPEST = "trimtab, cheapest"
"""At the accuracy that InfAdapter delivered there without trouble, at the least cost."""
_SOME_HOURS = ("14d03h", "14d09h", "14d17h", "15d11h", "15d18h", "16d14h")
HOURS: Mapping[str, windows.Window] = MappingProxyType({w.name: w for w in hourly() if w.name in _SOME_HOURS})
"""Six of the windows that start on the hour: two calm ones, four with bursts."""


@dataclass(frozen=True, slots=True)
class Place:
    """A service or pipeline, and what it is under."""

    pipeline: str
    """`SERVICE`, or one of IPA's."""
    load: str
    """A window's name, or a load pattern's."""

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.pipeline}, {self.load}"

    @property
    def family(self) -> str:
        """Whose measurements it is made of."""
        return "InfAdapter" if self.pipeline == SERVICE else "IPA"

    @property
    def published(self) -> str:
        """The published policy that ours stands beside."""
        return "infadapter" if self.pipeline == SERVICE else "ipa-as-coded"


@dataclass(frozen=True, slots=True)
class Scene:
    """All that `simulate` is given, and what of it is a trouble."""

    pipeline: Pipeline
    profile: Profile
    truth: Profile
    load: Load
    policy: Policy
    plant: PlantModel
    cores: int
    settings: ControllerSettings
    serving: Serving
    forecaster: Forecaster | str | None = None
    faults: tuple[Fault, ...] = ()
    gaps: tuple[tuple[float, float], ...] = ()
    onsets_s: tuple[float, ...] = (0.0,)
    """When trouble begins."""
    lasts_s: float = float("inf")
    """How long each trouble lasts."""


def scene(data: Path, place: Place, contender: str, seed: int, floor: float | None = None) -> Scene:
    """A fresh scene without trouble.

    Args:
        data: where the measurements are.
        place: where.
        contender: `place.published`, `OURS` or, at InfAdapter's service, `CHEAPEST`.
        seed: of arrivals and service times.
        floor: the least accuracy, for `CHEAPEST`.

    Raises:
        DataError: the measurements are not there.
    """
    if place.pipeline == SERVICE:
        return _service(data, place.load, contender, seed, floor)
    s = ipa.scenario(ipa.Case(data, place.pipeline, place.load, contender, seed))
    what = workloads.load(data, place.load, seed)
    made = Scene(
        s.pipeline, s.profile, s.truth, what, s.policy, s.plant, ipa.CORES, s.settings, s.serving, s.forecaster
    )
    if contender != OURS:
        return made
    return replace(made, settings=settings_for(s.policy, start_rate_rps(what)), forecaster=None)


def _service(data: Path, window: str, contender: str, seed: int, floor: float | None) -> Scene:
    ours = contender in (OURS, CHEAPEST)
    who = infadapter.ours(BETA)[1] if ours else infadapter.planners(BETA)[1]
    service = service_profile(data)
    profile = service if who.believes == "service" else capacity_profile(data)
    of, policy = infadapter.given(who, profile), make_policy(who.policy)
    if contender == CHEAPEST:
        of = replace(of, objective=Objective("cheapest", accuracy_floor=floor))
    what = played(data, HOURS[window] if window in HOURS else windows.WINDOWS[window], seed)
    return Scene(
        of,
        profile,
        service,
        what,
        policy,
        infadapter.PLANTS[who.plant],
        infadapter.BUDGET,
        settings_for(policy, start_rate_rps(what)),
        Serving(who.rule, drop_after_s=None if ours else infadapter.QUEUE_S, draw="mean"),
        who.forecaster,
    )


def start_rate_rps(load: Load) -> float:
    """The rate of the first plan: the mean of the first minute, in which missing seconds count as nothing."""
    first = load.trace.counts[:START_S]
    return sum(count or 0 for count in first) / len(first)


def under(made: Scene, load: Load) -> Scene:
    """The scene under another load."""
    return replace(made, load=load, settings=replace(made.settings, start_rate_rps=start_rate_rps(load)))


def slowed(profile: Profile, factor: float) -> Profile:
    """A profile with all service times × `factor`."""
    return replace(
        profile,
        variants={
            task: {
                name: replace(
                    variant,
                    points=tuple(
                        replace(
                            point,
                            mean_s=factor * point.mean_s,
                            quantiles_s={q: factor * s for q, s in point.quantiles_s.items()},
                        )
                        for point in variant.points
                    ),
                )
                for name, variant in variants.items()
            }
            for task, variants in profile.variants.items()
        },
    )


def play(made: Scene) -> SimResult:
    """Simulate a scene, once: its policy and forecaster may remember."""
    return simulate(
        made.pipeline,
        made.profile,
        made.load,
        made.policy,
        made.plant,
        cores=made.cores,
        forecaster=made.forecaster,
        settings=made.settings,
        serving=made.serving,
        truth=made.truth,
        faults=made.faults,
        gaps=made.gaps,
    )
