"""IPA's published runs: the settings of each, and what was plotted of it.

Settings are those printed for each run; one of them, `lowest_model_accuracy`, is in no published program, but the
published choices need it (docs/design/published-ipa.md).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.data import DataError, Row, number, rows

from trimtab.spec.model import Pipeline

SYSTEMS = ("IPA", "FA2-low", "FA2-high", "RIM")
WORKLOADS = ("bursty", "steady_low", "steady_high", "fluctuating")
INTERVAL_S = 10.0
"""Between two decisions."""

SMALL_SUMMARIES = {"sshleifer-distilbart-xsum-12-3": 2}
"""sum-qa with a threshold of 1: RIM's 32 cores are 12 · 2 + 8."""
WIDE_TRANSLATION = {"Helsinki-NLP-opus-mt-fr-en": 8, "Helsinki-NLP-opus-mt-tc-big-fr-en": 16}
"""nlp with a throughput margin of -57 %, decoded for these experiments: with replicas of 8 and 16 cores, of 16 for the
largest summariser and 1 for the smallest, the measured throughputs of the first two, 10 requests/s (the cap of
profiling) and 5.9 for the others, 601 of 605 costs of FA2-high and of IPA at this margin follow, 519 among them:
7 · 1 + 25 · 16 + 7 · 16. With 4 and 8 cores, as at -50 %, next to none do."""


@dataclass(frozen=True, slots=True)
class Published:
    """One decision as plotted."""

    cores: float
    """True cost: the figure for video shows double."""
    pas: float
    """100 × the product of the chosen variants' accuracies."""


def settings_row(data: Path, pipeline: str, workload: str, system: str, experiment: str = "e2e") -> Row:
    """The printed settings of a run.

    Raises:
        DataError: there was no such run.
    """
    wanted = (experiment, pipeline, workload, system)
    for row in rows(data, "ipa/experiment_configs"):
        if (row["experiment"], row["pipeline"], row["workload"], row["system"]) == wanted:
            return row
    raise DataError("no such run was published", where="ipa/experiment_configs.csv", got=", ".join(wanted))


def base_cores(data: Path, of: Pipeline, row: Row) -> dict[str, dict[str, int]]:
    """Task → variant → cores of a replica in a run, as far as they are known (`variants.csv` says how well)."""
    cores: dict[str, dict[str, int]] = {task: {} for task in of.tasks}
    for line in rows(data, "ipa/variants"):
        if line["task"] in cores:
            cores[line["task"]][line["variant"]] = int(line["base_cores"])
    if of.name == "sum-qa" and number(row, "base_alloc_threshold_rps") == 1.0:
        cores["nlp-sum"] |= SMALL_SUMMARIES
    if of.name == "nlp" and number(row, "throughput_margin_pct") == -57.0:
        cores["nlp-trans"] |= WIDE_TRANSLATION
    return cores


def policy_settings(data: Path, of: Pipeline, row: Row) -> dict[str, Any]:
    """A run's settings as those of the policies `ipa-as-coded`, `fa2-low`, `fa2-high` and `rim`."""
    tasks, mode = list(of.tasks), row["baseline_mode"]
    given: dict[str, Any] = {
        "form": "as-coded",
        "threshold_rps": 0.0,  # base allocations are given
        "base_cores": base_cores(data, of, row),
        "batching_cap": int(row["batching_cap"]),
        "scaling_cap": int(row["scaling_cap"]),
        "alpha": number(row, "alpha"),
        "beta": number(row, "beta"),
        "delta": number(row, "delta"),
        "latency_margin": number(row, "latency_margin_pct") / 100.0,
        "throughput_margin": number(row, "throughput_margin_pct") / 100.0,
        "accuracy": "rank-product" if row["normalize_accuracy"] == "True" else "product",
        "rank_floor": number(row, "lowest_model_accuracy"),
    }
    if mode == "scale":
        given["variants"] = dict(zip(tasks, row["initial_models"].split("|"), strict=True))
    if mode == "switch":
        given["replicas"] = dict(zip(tasks, map(int, row["initial_replicas"].split("|")), strict=True))
    return given


def margin(row: Row) -> float:
    """What the forecast is multiplied by, less 1."""
    return number(row, "predictor_margin_pct") / 100.0


def drop_limit_s(row: Row) -> float:
    """The age at which a request is dropped."""
    return number(row, "drop_limit_s")


def decisions(data: Path, pipeline: str, workload: str, system: str) -> tuple[Published, ...]:
    """What the final paper plots of a run, one every ten seconds; the first shows the configuration at the start."""
    return _decisions(data.resolve()).get((pipeline, workload, system), ())


@functools.cache
def _decisions(data: Path) -> Mapping[tuple[str, str, str], tuple[Published, ...]]:
    found: dict[tuple[str, str, str], list[Published]] = {}
    for row in rows(data, "ipa/results_timeseries"):
        if row["paper_version"] == "revision":
            key = (row["pipeline"], row["workload"], row["system"])
            shown = Published(number(row, "true_cost_cores"), number(row, "accuracy_score"))
            found.setdefault(key, []).append(shown)
    return {key: tuple(some) for key, some in found.items()}
