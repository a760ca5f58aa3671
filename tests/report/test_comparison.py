"""Figures over seeds, and the front, against SciPy, by hand and by enumeration."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.report.simulated import make_result, silent, with_figures

from trimtab.report.comparison import METRICS, PolicyFigures, compare_runs, dominates, spread, subject, t_quantile
from trimtab.sim.result import SimResult


@pytest.mark.parametrize("freedom", [*range(1, 41), 60, 99, 1000, 10**6])
def test_the_quantiles_of_t_are_scipys(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(float(stats.t.ppf(0.975, freedom)), rel=6e-5)


def test_a_spread_by_hand() -> None:
    found = spread([2.0, 4.0, 9.0])
    assert found is not None
    assert found.mean == 5.0
    assert found.half is not None
    assert found.half == pytest.approx(4.3027 * math.sqrt(13.0 / 3.0), rel=1e-5)  # variance (9 + 1 + 16) ÷ 2
    assert found.low == 0.0  # no figure is below
    assert found.high == pytest.approx(5.0 + found.half)
    assert found.runs == 3


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8))
def test_intervals_are_scipys_cut_off_at_the_ends(values: list[float]) -> None:
    found = spread(values, share=True)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0.0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1.0
    error = float(stats.sem(values))
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=found.mean, scale=error)
        assert found.low == pytest.approx(max(low, 0.0), abs=1e-4 * max(error, 1e-3) + 1e-4 * abs(low))
        assert found.high == pytest.approx(min(high, 1.0), abs=1e-4 * max(error, 1e-3) + 1e-4 * abs(high))


def test_one_run_has_no_interval_and_none_no_figure() -> None:
    one = spread([0.3])
    assert one is not None
    assert (one.mean, one.half, one.low, one.high, one.runs) == (0.3, None, None, None, 1)
    assert spread([]) is None


def test_runs_are_grouped_in_their_order_with_bounds_last() -> None:
    asked = [("oracle", "b"), ("ms+", "b"), ("trimtab", "b"), ("trimtab", "a"), ("oracle", "a")]
    found = compare_runs([make_result(policy, trace, seed) for seed in (2, 0) for policy, trace in asked])
    assert [trace.trace for trace in found.traces] == ["b", "a"]
    assert [policy.name for policy in found.traces[0].policies] == ["ms+", "trimtab", "oracle"]
    assert [policy.bound for policy in found.traces[0].policies] == [False, False, True]
    assert [result.run.seed for result in found.traces[1].policies[0].results] == [0, 2]
    assert found.names == ("ms+", "trimtab", "oracle")
    assert len(found.runs) == 10


def test_figures_are_means_over_the_seeds_that_know_them() -> None:
    runs = [make_result(seed=seed) for seed in range(4)]
    (policy,) = compare_runs([*runs, silent(make_result(seed=4))]).traces[0].policies
    assert set(policy.figures) == set(METRICS)
    for metric in METRICS:
        figures = policy.figures[metric]
        assert figures is not None
        known = [getattr(run.summary, metric) for run in runs]
        if metric in ("accuracy", "p50_s", "p99_s"):
            assert figures.runs == 4
            assert figures.mean == pytest.approx(sum(known) / 4)
        else:
            assert figures.runs == 5
    (nothing,) = compare_runs([silent(make_result())]).traces[0].policies
    assert nothing.mean("accuracy") is None
    assert nothing.mean("violation_ratio") == 1.0


def test_a_run_given_twice_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"trimtab under busy.*same seed"):
        compare_runs([make_result(), make_result()])


def test_a_name_tells_two_runs_of_a_policy_apart() -> None:
    found = compare_runs([make_result(name="here"), make_result(name="there")])
    assert found.names == ("here", "there")


def test_what_a_comparison_is_about() -> None:
    trace = compare_runs([make_result("ms+"), make_result("trimtab", name="ours"), make_result("oracle")]).traces[0]
    found = subject(trace)
    assert found is not None
    assert found.name == "ours"
    assert subject(compare_runs([make_result("ms+"), make_result("oracle")]).traces[0]) is None


def test_foresight_alone_is_no_bound() -> None:
    one = make_result("ms+")
    ablation = replace(one, run=replace(one.run, forecaster="oracle"))
    assert not compare_runs([ablation]).traces[0].policies[0].bound


def figured(name: str, violations: float, accuracy: float | None, cores: float) -> SimResult:
    return with_figures(make_result(name), violation_ratio=violations, accuracy=accuracy, mean_cores=cores)


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=7))
def test_the_front_is_what_no_other_dominates(points: list[tuple[int, int | None, int]]) -> None:
    results = [figured(f"p{i}", v / 4, None if a is None else a / 4, c) for i, (v, a, c) in enumerate(points)]
    policies = compare_runs(results).traces[0].policies

    def better(one: tuple[int, int | None, int], other: tuple[int, int | None, int]) -> bool:
        no_worse = one[0] <= other[0] and (one[1] or 0) >= (other[1] or 0) and one[2] <= other[2]
        return no_worse and one != other

    assert [policy.on_front for policy in policies] == [not any(better(o, p) for o in points) for p in points]
    assert any(policy.on_front for policy in policies)
    for (a, one), (b, other) in itertools.permutations(zip(points, policies, strict=True), 2):
        assert dominates(one, other) == better(a, b)


def test_a_bound_takes_no_part_in_the_front() -> None:
    policies = compare_runs([figured("ms+", 0.5, 0.5, 9.0), figured("oracle", 0.0, 0.9, 1.0)]).traces[0].policies
    assert [(policy.name, policy.on_front) for policy in policies] == [("ms+", True), ("oracle", False)]
    assert isinstance(policies[0], PolicyFigures)
