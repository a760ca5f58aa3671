"""A comparison in words: the sentence says what the figures say, the table fits, and the CSV reads back."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.report.simulated import make_result, silent, with_figures

from trimtab.report.comparison import METRICS, Comparison, Failure, compare_runs
from trimtab.report.comparison_text import (
    asked,
    cell,
    columns_for,
    comparison_csv,
    comparison_table,
    legend,
    meets_slo,
    print_comparison,
    runs_csv,
    sentence,
    title_of,
)
from trimtab.sim.result import SimResult


def figured(policy: str, violations: float, accuracy: float | None, cores: float, **run: str) -> SimResult:
    one = with_figures(make_result(policy), violation_ratio=violations, accuracy=accuracy, mean_cores=cores)
    return replace(one, run=replace(one.run, **run))  # type: ignore[arg-type]  # all of these are words


def printed(comparison: Comparison, width: int) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        print_comparison(comparison, console)
    return capture.get()


def test_the_sentence_is_about_ours_and_takes_its_figures_from_the_runs() -> None:
    trace = compare_runs(
        [
            figured("ms+", 0.06, 0.90, 11.0),
            figured("trimtab", 0.002, 0.92, 6.5),
            figured("cheapest", 0.0, 0.70, 4.0),
            figured("infadapter", 0.05, 0.93, 10.5),
            figured("oracle", 0.0, 0.94, 6.0),
        ]
    ).traces[0]
    assert sentence(trace) == (
        "trimtab had 0.20 % violations at an accuracy of 92.00 % and held 6.50 cores. "
        "Of the 3 other policies it beats ms+, and none beats it. "
        "Fewest violations: cheapest (0.00 %); most accurate: infadapter (93.00 %); fewest cores: cheapest (4.00). "
        "oracle, a bound that knows the future, had 0.00 % violations at an accuracy of 94.00 % and held 6.00 cores."
    )


def test_the_sentence_says_when_ours_lost() -> None:
    trace = compare_runs([figured("trimtab", 0.06, 0.90, 11.0), figured("ms+", 0.01, 0.95, 5.0)]).traces[0]
    assert "It beats none, and is beaten by ms+." in sentence(trace)


def test_the_sentence_without_ours_tells_the_front() -> None:
    trace = compare_runs([figured("ms+", 0.06, 0.90, 11.0), figured("ipa", 0.01, 0.95, 5.0)]).traces[0]
    assert sentence(trace).startswith("Of 2 policies, ipa is beaten by none. Fewest violations: ipa (1.00 %);")


def test_the_sentence_about_one_run_and_about_none_answered() -> None:
    alone = compare_runs([figured("ms+", 0.06, 0.90, 11.0)]).traces[0]
    assert sentence(alone) == "ms+ had 6.00 % violations at an accuracy of 90.00 % and held 11.00 cores."
    nothing = compare_runs([silent(figured("ms+", 1.0, None, 3.0))]).traces[0]
    assert sentence(nothing) == "ms+ had 100.00 % violations and held 3.00 cores; it answered nothing."
    bound = compare_runs([figured("oracle", 0.0, 0.94, 6.0)]).traces[0]
    assert sentence(bound).startswith("oracle, a bound that knows the future, had")


def test_ties_are_told_together_and_many_names_are_cut_short() -> None:
    runs = [figured("trimtab", 0.0, 0.9, 3.0), *(figured(f"p{i}", 0.01, 0.5, 4.0) for i in range(9))]
    assert "it beats p0, p1, p2, p3, p4 and 4 more, and none beats it" in sentence(compare_runs(runs).traces[0])
    tied = compare_runs([figured("a", 0.01, 0.90001, 4.0), figured("b", 0.02, 0.90004, 4.0)]).traces[0]
    assert "most accurate: a and b (90.00 %); fewest cores: a and b (4.00)." in sentence(tied)


def test_cells_hold_means_and_half_intervals() -> None:
    runs = [with_figures(make_result(seed=seed), p99_s=0.1 * (seed + 1), changes=seed) for seed in range(3)]
    (policy,) = compare_runs(runs).traces[0].policies
    columns = {column.metric: column for column in columns_for(compare_runs(runs).traces[0])}
    assert cell(policy, columns["p99_s"]) == "200 ±248"  # 4.3027 · 100 ÷ √3
    assert cell(policy, columns["changes"]) == "1 ±2"
    (one,) = compare_runs(runs[:1]).traces[0].policies
    assert cell(one, columns["p99_s"]) == "100"
    (nothing,) = compare_runs([silent(make_result())]).traces[0].policies
    assert cell(nothing, columns["accuracy"]) == "–"


@given(st.floats(0.0, 1.0))
def test_some_violations_are_never_told_as_none(share: float) -> None:
    trace = compare_runs([figured("ms+", share, 0.9, 1.0)]).traces[0]
    told = cell(trace.policies[0], columns_for(trace)[0])
    assert (told == "0.00") == (share == 0.0)


@pytest.mark.parametrize(("share", "meets"), [(0.0, True), (0.01, True), (0.0101, False), (1.0, False)])
def test_who_meets_the_slo(share: float, meets: bool) -> None:
    assert meets_slo(compare_runs([figured("ms+", share, 0.9, 1.0)]).traces[0].policies[0]) == meets


@pytest.mark.parametrize(("width", "count"), [(70, 4), (80, 5), (100, 7)])
def test_the_table_fits_its_terminal_and_leaves_the_least_important_figures_out(width: int, count: int) -> None:
    names = ["trimtab", "infadapter", "ms+", "cheapest", "oracle"]
    comparison = compare_runs(make_result(name, seed=seed) for name in names for seed in range(3))
    told = printed(comparison, width)
    lines = told.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0] == "busy: 100 s, poisson arrivals, seeds 0 to 2"
    shown = [column.heading for column in columns_for(comparison.traces[0])]
    assert [heading for heading in shown if heading in lines[1]] == shown[:count]
    assert [line.lstrip("● ").split("  ")[0] for line in lines[2:7]] == [*names[:4], "oracle (bound)"]
    marked = {line.split()[1] for line in lines[2:7] if line.startswith("●")}
    assert marked == {policy.name for policy in comparison.traces[0].policies if policy.on_front}
    assert "…" not in told


def test_markup_in_a_name_is_no_markup() -> None:
    comparison = compare_runs([make_result("ms+", name="[red]x[/red]")])
    assert "[red]x[/red]" in printed(comparison, 120)
    assert comparison_table(comparison.traces[0]).row_count == 1


def test_what_differs_between_policies_is_told() -> None:
    one, other, third = make_result("ms+"), make_result("ipa"), make_result("rim")
    other = replace(other, run=replace(other.run, plant="kubernetes"))
    trace = compare_runs([one, other, third]).traces[0]
    assert asked(trace) == [
        "plant instant-resident, but kubernetes for ipa",
        "forecaster quantile",
        "rule trimtab",
        "16 cores",
    ]


def test_the_title_tells_which_seeds() -> None:
    def told(*seeds: int) -> str:
        return title_of(compare_runs(make_result(seed=seed) for seed in seeds).traces[0])

    assert told(3).endswith("seed 3")
    assert told(3, 4, 5).endswith("seeds 3 to 5")
    assert told(3, 5).endswith("seeds 3, 5")


def test_the_legend_explains_what_is_there() -> None:
    assert "±" not in legend(compare_runs([make_result()]))
    assert "±" in legend(compare_runs([make_result(seed=0), make_result(seed=1)]))
    assert "bound" in legend(compare_runs([make_result("oracle")]))


def test_a_sum_of_ranks_is_no_percentage() -> None:
    one = figured("ms+", 0.01, 1.5, 4.0)
    trace = compare_runs([replace(one, settings={"accuracy": "rank-sum"})]).traces[0]
    assert "at an accuracy of 1.50 and" in sentence(trace)
    assert columns_for(trace)[1].heading == "accuracy"


def test_csv_of_runs_reads_back() -> None:
    runs = [make_result("trimtab", seed=seed, name="ours") for seed in range(2)] + [silent(make_result("ms+"))]
    rows = list(csv.DictReader(io.StringIO(runs_csv(compare_runs(runs)))))
    assert [(row["name"], row["policy"], row["seed"]) for row in rows] == [
        ("ours", "trimtab", "0"),
        ("ours", "trimtab", "1"),
        ("ms+", "ms+", "0"),
    ]
    for row, result in zip(rows, runs, strict=True):
        assert float(row["violation_ratio"]) == result.summary.violation_ratio
        assert int(row["offered"]) == result.summary.offered
        assert (row["accuracy"] == "") == (result.summary.accuracy is None)


def test_csv_of_the_comparison_reads_back() -> None:
    names = ["trimtab", "ms+", "oracle"]
    comparison = compare_runs(make_result(n, t, seed=s) for t in ("a", "b") for n in names for s in range(3))
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    assert [(row["trace"], row["name"]) for row in rows] == [(t, n) for t in ("a", "b") for n in names]
    for row, policy in zip(rows, [p for t in comparison.traces for p in t.policies], strict=True):
        assert (row["bound"], row["on_front"]) == (str(policy.bound).lower(), str(policy.on_front).lower())
        assert row["runs"] == "3"
        for metric in METRICS:
            spread = policy.figures[metric]
            assert spread is not None
            assert [float(row[f"{metric}_{end}"]) for end in ("mean", "low", "high")] == [
                spread.mean,
                spread.low,
                spread.high,
            ]


def test_nothing_to_compare_prints_nothing() -> None:
    assert printed(compare_runs([], [Failure("busy", "ms+", (0,), "no plan")]), 80) == ""
