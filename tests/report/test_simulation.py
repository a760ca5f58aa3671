"""One simulated run in words and as CSV: everything printed comes from its figures."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from rich.console import Console
from tests.report.simulated import make_result, silent, with_figures

from trimtab.report.simulation import print_simulation, series_csv
from trimtab.sim.result import SimResult


def printed(result: SimResult) -> str:
    console = Console(width=80, highlight=False)
    with console.capture() as capture:
        print_simulation(result, console)
    return capture.get()


def test_its_figures_are_told() -> None:
    result = with_figures(
        make_result("ms+", seed=3), attainment=0.95, violation_ratio=0.05, late=40, refused=7, offered=1234, p99_s=0.81,
        accuracy=0.912, mean_cores=6.5, planned_cores=6.25, changes=9, decisions=100, decide_s=0.25,
    )  # fmt: skip
    text = " ".join(printed(result).split())
    for words in (
        "ms+ on busy: 100 s, poisson arrivals, seed 3",
        "offered 1,234 requests",
        "95.0 % (wanted 99.0 % within 750 ms: missed)",
        "violations 5.0 % (40 late, 7 refused)",
        "p99 810 ms",
        "accuracy 91.2 %",
        "6.5 held on average, at most",
        "6.25 planned",
        "plans 9 changes, 100 decisions in 250 ms",
        "plant instant-resident, up to 16 cores; forecaster quantile, rule trimtab",
    ):
        assert words in text


def test_variants_are_told_by_their_share() -> None:
    counts = make_result().series.variants["classify"]
    share = sum(counts["small"]) / (sum(counts["small"]) + sum(counts["large"]))
    assert f"small {100 * share:.1f} %, large {100 * (1 - share):.1f} %" in printed(make_result())


def test_notes_and_settings_are_told() -> None:
    one = make_result()
    told = printed(replace(one, run=replace(one.run, notes=("[bold]extrapolated",)), settings={"scale": "2 times"}))
    assert "note: [bold]extrapolated" in told
    assert "scale          2 times" in told


def test_a_run_that_answered_nothing_is_told_so() -> None:
    text = " ".join(printed(silent(make_result())).split())
    assert "violations 100 %" in text
    assert "accuracy nothing was answered" in text
    assert "p50 –, p95 –, p99 –" in text


def test_a_sum_of_ranks_is_no_percentage() -> None:
    one = with_figures(make_result(), accuracy=1.5)
    assert "1.500, a sum of ranks" in printed(replace(one, settings={"accuracy": "rank-sum"}))


def test_the_series_is_one_row_a_window() -> None:
    result = make_result()
    rows = list(csv.DictReader(io.StringIO(series_csv(result))))
    series = result.series
    assert [float(row["start_s"]) for row in rows] == [5.0 * i for i in range(20)]
    for i, row in enumerate(rows):
        assert [int(row[name]) for name in ("offered", "in_time", "late")] == [
            series.offered[i],
            series.in_time[i],
            series.late[i],
        ]
        assert float(row["cores"]) == series.cores[i]
        assert float(row["p99_s"]) == series.p99_s[i]
        assert int(row["items.classify.large"]) == series.variants["classify"]["large"][i]
    (first, *_) = csv.DictReader(io.StringIO(series_csv(silent(result))))
    assert first["accuracy"] == first["p99_s"] == ""
