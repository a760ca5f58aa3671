"""IPA's published runs: which pairs of cost and accuracy the policy yields over the rates of each load pattern.

The rate that each published decision was made for came from a forecaster that is not available, so a run is compared by
the pairs that occur in it. What this shows and what it does not is in docs/design/published-ipa.md.
"""

from __future__ import annotations

import csv
import functools
import itertools
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies.ipa.base_allocation import base_allocations
from trimtab.plan.policies.ipa.policy import IpaPolicy
from trimtab.plan.policies.ipa.settings import IpaSettings
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant

DATA = Path(__file__).parents[5] / "shared" / "data" / "ipa"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the published measurements are not at {DATA}")

TASKS = {
    "video": ("crop", "classification"),
    "audio-qa": ("audio", "nlp-qa"),
    "audio-sent": ("audio", "nlp-sent"),
    "sum-qa": ("nlp-sum", "nlp-qa"),
    "nlp": ("nlp-li", "nlp-trans", "nlp-sum"),
}
SLO_S = {"video": 6.89, "audio-qa": 9.23, "audio-sent": 9.42, "sum-qa": 3.84, "nlp": 17.61}
WORKLOADS = ("bursty", "steady_low", "steady_high", "fluctuating")
FORECAST_ERROR = 0.25
"""The forecast is allowed to lie this far outside the pattern's range."""
Pair = tuple[int, float]
"""Cores, and 100 × the product of accuracies to two decimals."""

WHOLE = {
    ("video", "FA2-low"): WORKLOADS,
    ("video", "FA2-high"): WORKLOADS,
    ("video", "RIM"): ("bursty", "steady_low", "steady_high"),
    ("video", "IPA"): ("steady_low",),
    ("audio-qa", "RIM"): WORKLOADS,
    ("audio-qa", "FA2-low"): ("steady_low",),
    ("audio-sent", "IPA"): WORKLOADS,
    ("audio-sent", "RIM"): WORKLOADS,
    ("audio-sent", "FA2-high"): ("bursty", "fluctuating"),
    ("sum-qa", "FA2-low"): WORKLOADS,
    ("sum-qa", "FA2-high"): WORKLOADS,
    ("sum-qa", "IPA"): ("steady_high",),
    ("sum-qa", "RIM"): WORKLOADS,
    ("nlp", "FA2-low"): ("steady_low",),
    ("nlp", "RIM"): WORKLOADS,
}
"""Runs of which every published pair is yielded."""


@functools.cache
def rows(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open() as lines:
        return list(csv.DictReader(lines))


@functools.cache
def accuracies() -> dict[tuple[str, str], float]:
    return {(r["task"], r["variant"]): float(r["accuracy"]) / 100.0 for r in rows("variants")}


@functools.cache
def published(pipeline: str, workload: str, system: str) -> Counter[Pair]:
    """Pair → number of intervals, without the first one, which shows the configuration at the start."""
    pairs = [
        (round(float(r["true_cost_cores"])), round(float(r["accuracy_score"]), 1))
        for r in rows("results_timeseries")
        if (r["paper_version"], r["pipeline"], r["workload"], r["system"]) == ("revision", pipeline, workload, system)
    ]
    return Counter(pairs[1:])


def config(pipeline: str, workload: str, system: str) -> dict[str, str]:
    wanted = ("e2e", pipeline, workload, system)
    keys = ("experiment", "pipeline", "workload", "system")
    return next(r for r in rows("experiment_configs") if tuple(r[k] for k in keys) == wanted)


def point(cores: int, batch: int, p99_s: float, rate_rps: float) -> ServicePoint:
    return ServicePoint(cores, cores, batch, batch / rate_rps, {0.99: p99_s}, samples=0)


@functools.cache
def model(pipeline: str) -> tuple[Pipeline, Profile]:
    """The pipeline with the reconstructed profile: one replica size per variant."""
    batches = (1, 2, 8) if pipeline == "video" else (1,)
    points: dict[tuple[str, str], list[ServicePoint]] = {}
    for r in rows("profiles_reconstructed"):
        if int(r["batch"]) in batches:
            made = point(int(r["cores"]), int(r["batch"]), float(r["latency_s"]), float(r["throughput_rps"]))
            points.setdefault((r["task"], r["variant"]), []).append(made)
    if pipeline == "sum-qa":  # with a threshold of 1 this variant ran on 2 cores, where it was measured
        points["nlp-sum", "sshleifer-distilbart-xsum-12-3"].append(point(2, 1, 0.235139, 4.220794))
    tasks, profiles, before = {}, {}, None
    for task in TASKS[pipeline]:
        named = [v for t, v in accuracies() if t == task and (t, v) in points]
        variants = {v: Variant(v, None, accuracies()[task, v]) for v in named}
        tasks[task] = Task(task, variants, () if before is None else (Edge(before),))
        profiles[task] = {v: VariantProfile(task, v, tuple(points[task, v])) for v in named}
        before = task
    return Pipeline(pipeline, tasks, Slo(SLO_S[pipeline])), Profile(profiles)


def settings(run: dict[str, str], **others: Any) -> IpaSettings:
    tasks, mode = TASKS[run["pipeline"]], run["baseline_mode"]
    counts = map(int, run["initial_replicas"].split("|"))
    cores = 2 if run["base_alloc_threshold_rps"] == "1" else 8
    base = {"nlp-sum": {"sshleifer-distilbart-xsum-12-3": cores}} if run["pipeline"] == "sum-qa" else {}
    given: dict[str, Any] = {
        "form": "as-coded",
        "threshold_rps": 0.0,  # the profile has the base allocations only
        "batching_cap": int(run["batching_cap"]),
        "scaling_cap": int(run["scaling_cap"]),
        "alpha": float(run["alpha"]),
        "beta": float(run["beta"]),
        "delta": float(run["delta"]),
        "latency_margin": float(run["latency_margin_pct"]) / 100.0,
        "throughput_margin": float(run["throughput_margin_pct"]) / 100.0,
        "accuracy": "rank-product" if run["normalize_accuracy"] == "True" else "product",
        "rank_floor": float(run["lowest_model_accuracy"]),
        "variants": dict(zip(tasks, run["initial_models"].split("|"), strict=True)) if mode == "scale" else {},
        "replicas": dict(zip(tasks, counts, strict=True)) if mode == "switch" else None,
        "base_cores": base,
    }
    return IpaSettings(**{**given, **others})


def rates(run: dict[str, str], error: float = FORECAST_ERROR) -> range:
    """Whole rates, as the published program rounds its forecast."""
    loads = [int(r[f"{run['workload']}_rps"]) for r in rows("workload_patterns")]
    margin = 1.0 + float(run["predictor_margin_pct"]) / 100.0
    least = max(1, math.floor((1.0 - error) * min(loads)))
    return range(least, math.ceil((1.0 + error) * margin * max(loads)) + 1)


def pair_at(run: dict[str, str], given: IpaSettings, rate: float) -> Pair | None:
    """What the policy answers at a rate; None where it is infeasible by its own model, and the plan in force stays."""
    pipeline, profile = model(run["pipeline"])
    answer = IpaPolicy(given).propose(PlanRequest(pipeline, profile, rate, Limits(cores=1e5)))
    if "infeasible" in answer.steps[0].reason:
        return None
    score = math.prod(accuracies()[task, v] for task, (v,) in answer.plan.variants().items())
    return answer.plan.cores, round(100.0 * score, 1)


def yielded(run: dict[str, str], given: IpaSettings | None = None) -> set[Pair]:
    """The optimal pairs at all rates. Where a dearer and a cheaper one are worth the same, both are optimal."""
    chosen = given or settings(run)
    assert chosen.beta is not None
    ties = [replace(chosen, beta=chosen.beta * factor) for factor in (1.0 - 1e-9, 1.0 + 1e-9)]
    found = {pair_at(run, tied, rate) for tied in ties for rate in rates(run)}
    return {pair for pair in found if pair is not None}


def optimal(run: dict[str, str], given: IpaSettings, rate: float) -> set[Pair]:
    """Every pair of optimal objective, by asking for each combination of variants."""
    pipeline, profile = model(run["pipeline"])
    worth: dict[Pair, float] = {}
    for names in itertools.product(*(task.variants for task in pipeline.tasks.values())):
        pinned = replace(given, variants=dict(zip(pipeline.tasks, names, strict=True)))
        pair = pair_at(run, pinned, rate)
        if pair is not None:
            answer = IpaPolicy(pinned).propose(PlanRequest(pipeline, profile, rate, Limits(cores=1e5)))
            ranks = [_rank(pipeline, task, v, given.rank_floor) for task, v in zip(pipeline.tasks, names, strict=True)]
            value = (given.alpha or 0.0) * math.prod(ranks) - (given.beta or 0.0) * answer.plan.cores
            worth[pair] = max(value, worth.get(pair, -math.inf))
    return {pair for pair, value in worth.items() if value > max(worth.values()) - 1e-6}


def _rank(pipeline: Pipeline, task: str, variant: str, floor: float) -> float:
    ranked = sorted(pipeline.tasks[task].variants.values(), key=lambda v: (v.accuracy, v.name))
    return max(floor, [v.name for v in ranked].index(variant) / max(1, len(ranked) - 1) if len(ranked) > 1 else 1.0)


@pytest.mark.parametrize(
    ("pipeline", "system", "workload"), [(*key, workload) for key, workloads in WHOLE.items() for workload in workloads]
)
def test_every_published_pair_is_yielded_at_some_rate(pipeline: str, system: str, workload: str) -> None:
    assert set(published(pipeline, workload, system)) <= yielded(config(pipeline, workload, system))


@pytest.mark.parametrize(
    ("pipeline", "workload", "share"),
    [("video", "bursty", 0.88), ("video", "fluctuating", 0.84), ("video", "steady_high", 0.99),
     ("audio-qa", "bursty", 0.93), ("audio-qa", "steady_low", 0.91), ("audio-qa", "steady_high", 0.99),
     ("sum-qa", "bursty", 0.98), ("sum-qa", "steady_low", 0.99)],
)  # fmt: skip
def test_most_intervals_of_ipa_show_a_pair_that_is_yielded(pipeline: str, workload: str, share: float) -> None:
    shown = published(pipeline, workload, "IPA")
    found = yielded(config(pipeline, workload, "IPA"))
    assert sum(count for pair, count in shown.items() if pair in found) >= share * shown.total()


@pytest.mark.parametrize(
    ("pipeline", "workload", "choice"),
    [("audio-qa", "steady_low", (25, 48.7)), ("audio-sent", "steady_high", (32, 53.5)),
     ("sum-qa", "steady_high", (20, 26.7))],
)  # fmt: skip
def test_rims_choice_needs_the_floor_of_ranks(pipeline: str, workload: str, choice: Pair) -> None:
    run = config(pipeline, workload, "RIM")
    shown = published(pipeline, workload, "RIM")
    assert shown[choice] >= shown.total() - 1
    assert choice in yielded(run)
    middle = rates(run)[len(rates(run)) // 2]
    assert optimal(run, settings(run), middle) == {choice}
    # Without it the worst variant of one task makes every product 0, and the other task's variants tie.
    tied = optimal(run, settings(run, rank_floor=0.0), middle)
    assert choice in tied
    assert len(tied) > 1


def test_one_published_choice_of_rim_is_a_tie_of_the_objective() -> None:
    run = config("audio-sent", "fluctuating", "RIM")
    assert published("audio-sent", "fluctuating", "RIM")[(59, 59.1)] == 61
    alpha, beta, floor = float(run["alpha"]), float(run["beta"]), float(run["lowest_model_accuracy"])
    assert alpha * 0.5 - beta * 59 == pytest.approx(alpha * floor - beta * 32)  # middle rank of 3, or the worst


@pytest.mark.parametrize(
    ("workload", "system", "most"),
    [("steady_low", "FA2-low", 2), ("steady_high", "FA2-low", 5), ("steady_low", "FA2-high", 4),
     ("steady_high", "FA2-high", 11)],
)  # fmt: skip
def test_video_baselines_cost_at_the_peak_what_was_published(workload: str, system: str, most: int) -> None:
    run = config("video", workload, system)
    assert max(cores for cores, _ in published("video", workload, system)) == most
    pair = pair_at(run, settings(run), rates(run, error=0.0)[-1])
    assert pair is not None
    assert pair[0] == most


def test_base_allocations_of_the_measured_speech_models() -> None:
    points: dict[str, list[ServicePoint]] = {}
    for r in rows("profiles_measured"):
        if r["task"] == "audio" and "85-final" in r["source_notebook"] and "s2t" in r["model_variant"]:
            made = point(int(r["cores"]), 1, float(r["latency_p99_s"]), float(r["throughput_max_rps"]))
            points.setdefault(r["model_variant"], []).append(made)
    task = Task("audio", {v: Variant(v, None, accuracies()["audio", v]) for v in points})
    profile = Profile({"audio": {v: VariantProfile("audio", v, tuple(p)) for v, p in points.items()}})
    given = IpaSettings(form="as-coded", sla_factor=25.0, latency_margin=1.0, throughput_margin=-0.5)
    request = PlanRequest(Pipeline("audio", {"audio": task}, Slo(9.0)), profile, 1.0, Limits(cores=64.0))
    chosen, notes = base_allocations(request, given)
    ran = {r["variant"]: int(r["cores_per_replica"]) for r in rows("base_cores_as_run") if r["task"] == "audio"}
    assert {v: chosen["audio"][v].cores for v in ran} == ran
    # Batches beyond 1 were not published, and with a batch of 1 the largest model serves too little on 8 cores.
    assert len(notes) == 1
    assert "s2t-large" in notes[0]
