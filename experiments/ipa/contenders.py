"""Who runs on IPA's pipelines, and under what: one case is a pipeline, a load pattern, a contender and a seed.

All of IPA's family get the same forecast, plant, dispatcher and drop limit: IPA's. Replicas restart for another variant
or core count, take 8 s to be ready and hold their cores for 30 s (nlp: 5 s) when they are removed, batches wait up to
1 s to fill, and a request is dropped at the drop limit of its pipeline. Service takes the profile's mean times, without
the planner's margins. `trimtab` runs on its own plant and with its own dispatcher, and is asked as often as IPA is,
but at once when the load leaves what its plan holds. It may mix two variants, for the accuracy that it has to keep is a
mean over time, between those of two choices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from experiments.data import Row
from experiments.ipa import measurements, published, scaling, workloads
from experiments.ipa.decisions import Planned, decide
from experiments.results import mean

from trimtab.control.settings import ControllerSettings, limits_of, settings_for
from trimtab.forecast import Forecaster, make_forecaster
from trimtab.plan.policies import Policy, make_policy
from trimtab.profile.model import Profile
from trimtab.sim import PLANTS, PlantModel, Serving, SimResult, simulate
from trimtab.sim.model import Draw
from trimtab.sim.oracle import OracleForecaster
from trimtab.spec.model import Objective, Pipeline, Planning

READY_S = 8.0
"""From the creation of a replica until it serves; from memory of the paper."""
DRAIN_S = {"nlp": 5.0}
USUAL_DRAIN_S = 30.0
"""Grace period of a removed replica."""
MAX_WAIT_S = 1.0
"""Longest time that a batch waits to fill."""
CORES = 2_000
"""There is no limit on cores in the published runs; they ask for up to 519."""
OURS = "trimtab"
LOAD_S = 1.0
"""Loading one variant where replicas stay: assumed. The published 8 s hold the creation of a pod."""
LEAN = "ipa, no margins"
"""`ipa` without the safety margins on profiles and with batches up to 8 in every pipeline."""
SYSTEM_OF = {
    "ipa-as-coded": "IPA",
    "fa2-low": "FA2-low",
    "fa2-high": "FA2-high",
    "rim": "RIM",
    "ipa": "IPA",
    LEAN: "IPA",
    OURS: "IPA",
}
"""Contender → the published run whose settings it has, or beside which it stands."""
CONTENDERS = tuple(SYSTEM_OF)
FORECASTERS = ("last", "max-window", "quantile", "lstm-ipa", "oracle")
"""`lstm-ipa` is the published network, trained anew."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run."""

    data: Path
    pipeline: str
    workload: str
    contender: str
    seed: int = 0
    forecaster: str | None = None
    """By name or file. None: IPA's without its LSTM, `last`; for trimtab its own."""
    quantile: float | None = None
    """The forecast's quantile that is planned for, without a margin; None: the published middle, with its margin."""
    draw: Draw = "profile"
    slower: float = 1.0
    """Factor on the real service times, of which no planner knows."""
    experiment: str = "e2e"
    """Which of the published settings; `objective-preference` has others for IPA."""
    preference: str = ""
    """With it: `accuracy`, `balance` or `resource`."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a case means."""

    pipeline: Pipeline
    profile: Profile
    truth: Profile
    policy: Policy
    plant: PlantModel
    serving: Serving
    settings: ControllerSettings
    forecaster: str
    """By name; `oracle` knows the counts."""
    notes: tuple[str, ...]


def scenario(case: Case) -> Scenario:
    """A fresh scenario for a case.

    Raises:
        DataError: the measurements are not there.
    """
    made = _ours(case) if case.contender == OURS else _published(case)
    seconds = workloads.pattern(case.data, case.workload)[:60]
    settings = replace(made.settings, start_rate_rps=sum(seconds) / len(seconds))
    if case.quantile is not None:
        settings = replace(settings, rate_quantile=case.quantile, headroom=0.0)
    return replace(made, settings=settings)


def run(case: Case) -> SimResult:
    """Simulate a case."""
    s = scenario(case)
    return simulate(
        s.pipeline,
        s.profile,
        workloads.load(case.data, case.workload, case.seed),
        s.policy,
        s.plant,
        cores=CORES,
        forecaster=s.forecaster,
        settings=s.settings,
        serving=s.serving,
        truth=s.truth,
        window_s=published.INTERVAL_S,
        notes=s.notes,
    )


def plan(case: Case) -> list[Planned]:
    """What a case decides, without a request being served."""
    s = scenario(case)
    limits = limits_of(s.pipeline, s.plant.capabilities(CORES))
    counts, past = workloads.pattern(case.data, case.workload), workloads.history(case.data, case.workload)
    every_s = int(published.INTERVAL_S)
    if s.forecaster == "oracle":
        forecaster: Forecaster = OracleForecaster(np.array(counts, float))
    else:
        begins_s = workloads.clock(case.workload)
        forecaster = make_forecaster(s.forecaster, None if begins_s is None else begins_s - len(past))
        forecaster.observe(past)
    return decide(s.pipeline, s.profile, s.policy, forecaster, s.settings, limits, counts, every_s)


def settings_of(data: Path, of: Pipeline, row: Row, contender: str) -> dict[str, Any]:
    """The settings of a published run, as a contender has them.

    `ipa` has the paper's objective and queueing term: the product of the accuracies themselves, whatever the program
    normalised.
    """
    given = published.policy_settings(data, of, row)
    if contender in ("ipa", LEAN):
        given |= {"form": "paper", "accuracy": "product", "rank_floor": 0.0}
    if contender == LEAN:
        given |= {"latency_margin": 0.0, "throughput_margin": 0.0, "batching_cap": max(measurements.BATCHES)}
    return given


def _published(case: Case) -> Scenario:
    system = f"IPA {case.preference}" if case.preference else SYSTEM_OF[case.contender]
    row = published.settings_row(case.data, case.pipeline, case.workload, system, case.experiment)
    of = measurements.pipeline(case.pipeline)
    policy = make_policy("ipa" if case.contender == LEAN else case.contender)
    of = replace(of, policies={policy.name: settings_of(case.data, of, row, case.contender)})
    known = measurements.timings(case.data)
    plant = replace(PLANTS["kubernetes-restart"], name="ipa", drain_s=DRAIN_S.get(case.pipeline, USUAL_DRAIN_S))
    return Scenario(
        of,
        measurements.profile(of, known, seen_as="planner", load_s=READY_S),
        measurements.profile(of, known, seen_as="truth", load_s=READY_S, slower=case.slower),
        policy,
        plant,
        Serving("fifo", MAX_WAIT_S, published.drop_limit_s(row), draw=case.draw),
        replace(settings_for(policy), headroom=published.margin(row)),
        case.forecaster or "last",
        ("profiles in part reconstructed", "service times without the planner's margins"),
    )


def _ours(case: Case) -> Scenario:
    """Trimtab at an accuracy of at least what IPA was published with; cores and batches by the model where unknown."""
    row = published.settings_row(case.data, case.pipeline, case.workload, "IPA")
    shown = published.decisions(case.data, case.pipeline, case.workload, "IPA")[1:]
    floor = mean(one.pas for one in shown) / 100.0
    of = measurements.pipeline(case.pipeline)
    known = scaling.with_model(case.data, of, published.base_cores(case.data, of, row))
    of = replace(of, objective=Objective("cheapest", accuracy_floor=floor), planning=Planning(mix=2))
    policy = make_policy(OURS)
    return Scenario(
        of,
        measurements.profile(of, known, seen_as="truth", load_s=READY_S),
        measurements.profile(of, known, seen_as="truth", load_s=READY_S, slower=case.slower),
        policy,
        replace(PLANTS["instant-resident"], name=OURS, load_s=LOAD_S),
        Serving(draw=case.draw),
        replace(settings_for(policy), replan_s=published.INTERVAL_S),
        case.forecaster or "quantile",
        (f"at an accuracy of at least {floor:.4f}, IPA's", "EXTRAPOLATED: other cores and batches by a fitted model"),
    )
