"""Who runs on InfAdapter's service, and under what: one case is a window, a contender, a seed and a truth.

Published policies run as published, but for the LSTM: every 30 s, with the forecast, margin and skipped scale-downs of
each; capacity tables as their profile; new replicas for another size, ready after the measured readiness time, before
the old ones go. Their servers refuse what would wait behind more than 1.25 · th requests, which takes about one second
to serve; here a request is dropped when its turn comes after one second (`QUEUE_S`). Service takes the times that
follow from the saturation rates (`measurements.service_profile`), whatever a policy believes.

`trimtab` has the same objective, plans with those service times and serves with its own dispatcher: once on the same
plant, once on its own, where replicas hold all variants and change cores in place. There a new replica takes 0.5 s and
`LOAD_S` for each variant; with `slow loads` it takes the readiness time of every variant, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from experiments.infadapter.measurements import TASK, capacity_profile, pipeline, service_profile
from experiments.infadapter.windows import WINDOWS, load

from trimtab import sim
from trimtab.control.settings import settings_for
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile
from trimtab.report.comparison import NAME
from trimtab.sim import Serving, SimResult, simulate
from trimtab.sim.model import Draw
from trimtab.spec.model import Objective, Pipeline
from trimtab.workload.arrivals import Arrivals

BETAS = (0.0125, 0.05, 0.2)
"""Weights of the cores, as a share of the budget, in the paper."""
GAMMA = 0.001
"""The paper's weight of load time, as a share of the longest."""
BUDGET = 20
VARIANTS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
QUEUE_S = 1.0
LSTM = "last"
"""Stands for the published LSTM, whose weights are not available: the highest second of the last minute. On the LSTM's
own test data the two are about as exact, and both miss the onset of every burst. `lstm-infadapter`, the same network
trained anew, runs beside it."""
LOAD_S = 0.3
"""Loading one variant where replicas stay: ONNX Runtime took 0.13 s for a ResNet18 and 0.28 s for a ResNet50."""
OURS = "trimtab"
PLANTS = {**sim.PLANTS, OURS: replace(sim.PLANTS["instant-resident"], name=OURS, load_s=LOAD_S)}


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy with what it is given."""

    label: str
    policy: Literal["vpa+", "ms+", "infadapter", "trimtab", "oracle"]
    variant: str | None = None
    """vpa+: the one that it holds."""
    beta: float | None = None
    plant: str = "kubernetes-restart"
    rule: Literal["fifo", "trimtab"] = "fifo"
    believes: Literal["capacity", "service"] = "capacity"
    """Which of the two profiles it plans with."""
    forecaster: str | None = None
    """None: the policy's own."""
    quantile: float | None = None
    """The forecast's quantile that is planned for, without a margin; None: the policy's own, with its margin."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is not known to a policy, and how a run begins."""

    draw: Draw = "mean"
    slower: float = 1.0
    arrivals: Arrivals = "recorded"
    start: Literal["planned", "published"] = "planned"
    """`published`: the most accurate variant, or that of vpa+, on all cores."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run."""

    data: Path
    window: str
    contender: Contender
    seed: int = 0
    truth: Truth = Truth()


def vpa() -> list[Contender]:
    """One for each variant."""
    return [Contender(f"vpa+ {v}", "vpa+", variant=v) for v in VARIANTS]


def planners(beta: float) -> list[Contender]:
    """MS+ and InfAdapter, with the forecast that stands for the published one and with a perfect one."""
    single = Contender(f"ms+ β {beta}", "ms+", beta=beta, forecaster=LSTM)
    several = Contender(f"infadapter β {beta}", "infadapter", beta=beta, forecaster=LSTM)
    return [single, several, *(_but(c, "perfect forecast", forecaster="oracle") for c in (single, several))]


def variations(beta: float) -> list[Contender]:
    """InfAdapter with other forecasts, with our dispatcher, with our profile."""
    base = planners(beta)[1]
    return [
        _but(base, "fallback forecast", forecaster="ewm"),
        _but(base, "LSTM trained anew", forecaster="lstm-infadapter"),
        _but(base, "our dispatcher", rule="trimtab"),
        _but(base, "our profile", believes="service"),
        _but(base, "both", rule="trimtab", believes="service"),
    ]


def fitted(beta: float, file: Path) -> list[Contender]:
    """InfAdapter with a forecaster that `trimtab forecast train` fitted: as it plans, and for the 95 % quantile."""
    several = replace(planners(beta)[1], forecaster=str(file))
    return [_but(several, "fitted"), replace(_but(several, "fitted, 95 %"), quantile=0.95)]


def ours(beta: float) -> list[Contender]:
    """Trimtab on the plant of the others, on its own, and on its own with slow loads."""
    base = Contender(f"trimtab β {beta}", "trimtab", beta=beta, plant=OURS, rule="trimtab", believes="service")
    return [
        _but(base, "restarts", plant="kubernetes-restart"),
        base,
        _but(base, "slow loads", plant="instant-resident"),
    ]


def bound(beta: float) -> Contender:
    """The plan for the true rate of every second, on a plant where nothing takes time."""
    return Contender(f"oracle β {beta}", "oracle", beta=beta, plant="free", rule="trimtab", believes="service")


def _but(base: Contender, label: str, **changes: str) -> Contender:
    return replace(base, label=f"{base.label}, {label}", **changes)  # type: ignore[arg-type]  # words of its Literals


def run(case: Case) -> SimResult:
    """Simulate a case."""
    contender, truth = case.contender, case.truth
    service = service_profile(case.data)
    profile = service if contender.believes == "service" else capacity_profile(case.data)
    what = load(case.data, WINDOWS[case.window], case.seed, truth.arrivals)
    first = [count or 0 for count in what.trace.counts[:60]]
    policy, rate_rps = make_policy(contender.policy), sum(first) / len(first)
    settings = settings_for(policy, rate_rps)
    if contender.quantile is not None:
        settings = replace(settings, rate_quantile=contender.quantile, headroom=0.0)
    result = simulate(
        given(contender, profile),
        profile,
        what,
        policy,
        PLANTS[contender.plant],
        cores=BUDGET,
        forecaster=contender.forecaster,
        settings=settings,
        serving=Serving(contender.rule, drop_after_s=QUEUE_S if contender.rule == "fifo" else None, draw=truth.draw),
        truth=service if truth.slower == 1.0 else service_profile(case.data, truth.slower),
        start=start_plan(contender, rate_rps) if truth.start == "published" else None,
        notes=("service times follow from saturation rates; how they spread was not published",),
    )
    return replace(result, settings={NAME: contender.label})


def given(contender: Contender, profile: Profile) -> Pipeline:
    """The service with the contender's settings and objective."""
    of = pipeline()
    if contender.variant is not None:
        settings = {"variants": {TASK: contender.variant}, "sample_weight": "request"}  # as in the releases of 2022
        return replace(of, policies={contender.policy: settings})
    beta = contender.beta or 0.0
    if contender.policy in ("trimtab", "oracle"):
        longest_s = max(p.load_time_s or 0.0 for p in profile.variants[TASK].values())
        return replace(of, objective=Objective("weighted", 1.0, beta / BUDGET, GAMMA / longest_s, delta=0.0))
    return replace(of, policies={contender.policy: {"beta": beta, "gamma": GAMMA}})


def start_plan(contender: Contender, rate_rps: float) -> Plan:
    """How the published runs begin: one variant on all cores."""
    variant = contender.variant or VARIANTS[-1]
    return Plan({TASK: TaskPlan(TASK, (Allocation(variant, 1, BUDGET, 1, 1),), (variant,))}, rate_rps)
