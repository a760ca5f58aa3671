from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import yaml
from experiments.data import DataError, number, rows
from experiments.ipa import contenders, workloads
from experiments.ipa.contenders import CONTENDERS, LEAN, OURS, Case, plan, scenario
from experiments.ipa.contenders import run as simulated
from experiments.ipa.measurements import NAMES, PROFILING_LOAD_RPS, USUAL_LOAD_RPS, pipeline, profile, timings
from experiments.ipa.pairs import Run, answers, peak, yielded
from experiments.ipa.published import (
    SYSTEMS,
    WORKLOADS,
    base_cores,
    decisions,
    margin,
    policy_settings,
    settings_row,
)
from tests.experiments.published_data import DATA, needs_data

from trimtab.plan.policies.ipa.settings import IpaSettings
from trimtab.plan.policies.registry import check_settings

pytestmark = needs_data


def test_the_pipeline_files_say_what_was_published() -> None:
    accuracies = {(r["task"], r["variant"]): number(r, "accuracy") / 100.0 for r in rows(DATA, "ipa/variants")}
    published: Any = yaml.safe_load((DATA / "ipa" / "pipelines.yaml").read_text())["pipelines"]
    for name in NAMES:
        of = pipeline(name)
        assert of.is_chain()
        assert list(of.tasks) == published[name]["stages"]
        assert of.slo.latency_s == pytest.approx(published[name]["sla_s"])
        for task in of.tasks.values():
            assert {v: pytest.approx(x.accuracy) for v, x in task.variants.items()} == {
                v: a for (t, v), a in accuracies.items() if t == task.name
            }


@pytest.mark.parametrize(
    ("name", "costs"),
    [("video", (2, 5, 4, 11)), ("audio-qa", (9, 37, 20, 82)), ("audio-sent", (8, 33, 19, 79)),
     ("sum-qa", (5, 19, 34, 119)), ("nlp", (29, 106, 98, 399))],
)  # fmt: skip
def test_replica_arithmetic_of_the_datas_description(name: str, costs: tuple[int, ...]) -> None:
    # n = ⌈λ ÷ h⌉ at the pattern's highest second, with the reconstructed profile alone.
    known, of, found = timings(DATA, overlaid=False), pipeline(name), []
    for system in ("FA2-low", "FA2-high"):
        for workload in ("steady_low", "steady_high"):
            row = settings_row(DATA, name, workload, system)
            rate = round(max(workloads.pattern(DATA, workload)) * (1.0 + margin(row)))
            faster = 1.0 + number(row, "throughput_margin_pct") / 100.0
            total = 0
            for task, variant in zip(of.tasks, row["initial_models"].split("|"), strict=True):
                cores = next(c for c, b in known[task, variant] if b == 1)
                most = max(
                    b / known[task, variant][cores, b].mean_s
                    for c, b in known[task, variant]
                    if b <= number(row, "batching_cap") and b != 4
                )
                total += cores * math.ceil(rate / (most * faster) - 1e-9)
            found.append(total)
    assert tuple(found) == costs


@pytest.mark.parametrize(
    ("workload", "least", "mean", "most"),
    [
        ("bursty", 3, 12.03, 34),
        ("steady_low", 3, 5.06, 8),
        ("steady_high", 23, 28.84, 34),
        ("fluctuating", 3, 16.53, 34),
    ],
)
def test_load_patterns_are_the_published_ones(workload: str, least: int, mean: float, most: int) -> None:
    counts = workloads.pattern(DATA, workload)
    assert (len(counts), min(counts), max(counts)) == (1200, least, most)
    assert sum(counts) / 1200 == pytest.approx(mean, abs=0.006)
    assert len(workloads.history(DATA, workload)) == workloads.HISTORY_S


def test_the_history_goes_on_into_the_pattern() -> None:
    # The fluctuating pattern begins 240 s into the bursty one, so its history is in there.
    assert workloads.history(DATA, "fluctuating") == workloads.pattern(DATA, "bursty")[120:240]


def test_planners_know_no_more_throughput_than_was_offered_in_profiling() -> None:
    for (task, _), sizes in timings(DATA).items():
        cap = PROFILING_LOAD_RPS.get(task, USUAL_LOAD_RPS)
        assert all(0.0 < t.planned_rps <= cap for t in sizes.values())
    known = timings(DATA)
    assert known["nlp-sum", "sshleifer-distilbart-xsum-12-6"][16, 1].planned_rps == 10.0
    assert known["nlp-trans", "Helsinki-NLP-opus-mt-tc-big-fr-en"][16, 1].basis == "measured"


def test_the_planners_profile_has_the_throughputs_and_the_true_one_the_times() -> None:
    of, known = pipeline("audio-qa"), timings(DATA)
    planner = profile(of, known, seen_as="planner", load_s=8.0).variants["audio"]
    truth = profile(of, known, seen_as="truth", load_s=8.0, slower=2.0).variants["audio"]
    small = "facebook-s2t-small-librispeech-asr"
    (point,) = [p for p in planner[small].points if (p.cores, p.batch) == (1, 1)]
    assert point.throughput_rps == pytest.approx(2.994012)
    assert point.quantiles_s == {0.99: 0.372937}
    (twice,) = [p for p in truth[small].points if (p.cores, p.batch) == (1, 1)]
    assert twice.mean_s == pytest.approx(2.0 / 2.994012)


@pytest.mark.parametrize("name", NAMES)
def test_published_settings_are_settings_of_the_policies(name: str) -> None:
    for workload in WORKLOADS:
        for system in SYSTEMS:
            row = settings_row(DATA, name, workload, system)
            given = policy_settings(DATA, pipeline(name), row)
            IpaSettings(**given)
            assert ("variants" in given) == system.startswith("FA2")
            assert ("replicas" in given) == (system == "RIM")
        for contender in CONTENDERS:
            made = scenario(Case(DATA, name, workload, contender))
            check_settings(made.pipeline)
            assert made.settings.replan_s == 10.0
    assert scenario(Case(DATA, name, "bursty", LEAN)).pipeline.policies["ipa"]["batching_cap"] == 8


def test_a_run_that_was_not_published_is_refused() -> None:
    with pytest.raises(DataError, match="no such run"):
        settings_row(DATA, "video", "calm", "IPA")


def test_translation_runs_on_16_cores_where_the_margin_is_57_percent() -> None:
    row = settings_row(DATA, "nlp", "steady_high", "FA2-high")
    assert number(row, "throughput_margin_pct") == -57.0
    assert base_cores(DATA, pipeline("nlp"), row)["nlp-trans"]["Helsinki-NLP-opus-mt-tc-big-fr-en"] == 16
    one = Run(DATA, "nlp", "steady_high", "FA2-high")
    # 519 cores, the most of all published runs: 7 · 1 + 24 · 16 + 8 · 16 at 33 requests/s.
    assert answers(one, [33]) == {(519, 12.7)}
    assert Counter(round(d.cores) for d in decisions(DATA, "nlp", "steady_high", "FA2-high"))[519] == 34


@pytest.mark.parametrize(
    ("pipeline_name", "system", "workload"),
    [("nlp", "IPA", "bursty"), ("nlp", "FA2-high", "fluctuating"), ("video", "FA2-low", "bursty"),
     ("audio-sent", "IPA", "steady_low"), ("sum-qa", "RIM", "steady_high")],
)  # fmt: skip
def test_every_published_pair_of_some_runs_is_yielded(pipeline_name: str, system: str, workload: str) -> None:
    same, every = yielded(Run(DATA, pipeline_name, workload, system))
    assert same == every > 100


def test_peaks_of_video_are_the_published_ones() -> None:
    for system, workload, most in (("FA2-low", "steady_high", 5), ("FA2-high", "steady_high", 11)):
        assert peak(Run(DATA, "video", workload, system)) == (most, most)


@pytest.mark.parametrize("contender", ["ipa-as-coded", "fa2-high"])
def test_the_simulator_follows_the_plans_of_the_controller_alone(
    contender: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = workloads.pattern(DATA, "bursty")
    monkeypatch.setattr(workloads, "pattern", lambda _data, _workload: whole[:100])
    case = Case(DATA, "audio-qa", "bursty", contender)
    planned, result = plan(case), simulated(case)
    assert [p.at_s for p in planned] == [10.0 * i for i in range(10)]
    assert result.series.planned_cores == pytest.approx([p.cores for p in planned])
    s = result.summary
    assert s.offered == sum(whole[:100])
    assert s.in_time + s.late + s.refused + s.dropped + s.failed == s.offered


def test_forecasters_are_told_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = workloads.pattern(DATA, "bursty")
    monkeypatch.setattr(workloads, "pattern", lambda _data, _workload: whole[:41])
    past = workloads.history(DATA, "bursty")
    by_name = {name: plan(Case(DATA, "video", "bursty", "fa2-low", forecaster=name)) for name in ("last", "oracle")}
    assert by_name["last"][1].rate_rps == max(past[-10:] + whole[:10])
    assert by_name["oracle"][1].rate_rps == max(whole[10:30])


def test_a_quantile_is_planned_for_without_the_published_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = workloads.pattern(DATA, "bursty")
    monkeypatch.setattr(workloads, "pattern", lambda _data, _workload: whole[:41])
    usual, high = (
        plan(Case(DATA, "audio-qa", "bursty", "ipa-as-coded", forecaster="last", quantile=q)) for q in (None, 0.95)
    )
    assert usual[1].rate_rps == pytest.approx(1.2 * high[1].rate_rps), "`last` has one value for all quantiles"


def test_ours_is_asked_for_ipas_accuracy() -> None:
    made = contenders.scenario(Case(DATA, "sum-qa", "bursty", OURS))
    floor = made.pipeline.objective.accuracy_floor
    assert floor == pytest.approx(0.29, abs=0.001)
    assert any("EXTRAPOLATED" in note for note in made.notes)
