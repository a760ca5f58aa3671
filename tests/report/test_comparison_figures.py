"""Pictures of a comparison over time: the lines are the runs' series, and every policy can be told apart."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tests.report.simulated import SLO_S, make_result, silent

from trimtab.errors import MissingExtraError
from trimtab.report.comparison import Comparison, compare_runs
from trimtab.report.comparison_figures import FEW, over_time, styles
from trimtab.report.comparison_lines import POINTS, average, line_of
from trimtab.report.figures import render

FEW_NAMES = ("trimtab", "infadapter", "ms+", "oracle")
MANY_NAMES = (*FEW_NAMES, *(f"policy {i}" for i in range(4)))


def comparison(*names: str, seeds: int = 2, traces: tuple[str, ...] = ("busy",), seconds: int = 100) -> Comparison:
    return compare_runs(
        make_result(name, trace, seed, seconds=seconds) for trace in traces for name in names for seed in range(seeds)
    )


def panel(figure: Figure, title: str) -> Axes:
    found = [axes for axes in figure.axes if axes.get_title(loc="left").startswith(title)]
    assert len(found) == 1, [axes.get_title(loc="left") for axes in figure.axes]
    return found[0]


def drawn(axes: Axes, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    (line,) = [line for line in axes.get_lines() if line.get_label() == name]
    return np.asarray(line.get_ydata(), dtype=float)


def test_lines_are_the_means_over_the_seeds() -> None:
    shown = comparison(*FEW_NAMES, seeds=3)
    figure = over_time(shown.traces[0], styles(shown))
    for title, attribute, scale in (("p99", "p99_s", 1e3), ("Delivered", "accuracy", 100.0), ("Cost", "cores", 1.0)):
        axes = panel(figure, title)
        for policy in shown.traces[0].policies:
            series = [getattr(result.series, attribute) for result in policy.results]
            assert np.allclose(drawn(axes, policy.name), scale * np.mean(series, axis=0))
        assert {text.get_text() for text in axes.texts} >= set(FEW_NAMES)
    offered = np.mean([r.series.offered for r in shown.traces[0].policies[0].results], axis=0) / 5.0
    (hill,) = panel(figure, "Load").patches
    assert np.allclose(hill.get_data()[0], offered)  # type: ignore[attr-defined]  # a StepPatch


def test_the_slo_is_drawn() -> None:
    shown = comparison(*FEW_NAMES)
    axes = panel(over_time(shown.traces[0], styles(shown)), "p99")
    assert any(np.allclose(np.asarray(line.get_ydata(), dtype=float), 1e3 * SLO_S) for line in axes.get_lines())
    assert any("SLO 750 ms" in text.get_text() for text in axes.texts)


def test_many_policies_get_a_row_each_with_the_same_scales() -> None:
    shown = comparison(*MANY_NAMES)
    assert len(MANY_NAMES) > FEW
    figure = over_time(shown.traces[0], styles(shown))
    rows = [axes for axes in figure.axes if axes.get_lines()]
    assert len(rows) == 3 * len(MANY_NAMES)
    for row, policy in enumerate(shown.traces[0].policies):
        p99, accuracy, cores = rows[3 * row : 3 * row + 3]
        mean = np.mean([result.series.cores for result in policy.results], axis=0)
        assert np.allclose(drawn(cores, policy.name), mean)
        assert any(text.get_text().startswith(policy.name) for text in p99.texts)
        assert cores.get_ylim() == rows[2].get_ylim()
        assert accuracy.get_ylim() == rows[1].get_ylim()
        assert cores.get_ylim()[1] > mean.max()
    assert render(figure, "png").startswith(b"\x89PNG")


def test_a_policy_looks_the_same_in_every_picture_and_like_no_other() -> None:
    names = (*FEW_NAMES, *(f"policy {i}" for i in range(20)))
    look = styles(comparison(*names, seeds=1))
    assert set(look) == set(names)
    assert len({(style.colour, str(style.dash)) for style in look.values()}) == len(names)
    assert len({(style.colour, style.marker) for style in look.values()}) == len(names)
    shown = comparison(*FEW_NAMES, seeds=1, traces=("busy", "calm"))
    look = styles(shown)
    for trace in shown.traces:
        lines = [line for axes in over_time(trace, look).axes for line in axes.get_lines()]
        assert {line.get_color() for line in lines if line.get_label() == "ms+"} == {look["ms+"].colour}


def test_ours_are_blue_wherever_they_run() -> None:
    shown = compare_runs([make_result("ms+"), make_result(name="here"), make_result(name="there")])
    look = styles(shown)
    assert look["here"].colour == look["there"].colour == "#0067A5"
    assert look["here"].dash != look["there"].dash
    assert look["ms+"].colour != look["here"].colour


def test_long_runs_are_thinned_without_losing_the_highest() -> None:
    shown = comparison("ms+", seeds=1, seconds=7200)
    (policy,) = shown.traces[0].policies
    series = policy.results[0].series
    line = line_of(policy)
    together = math.ceil(1440 / POINTS)
    assert line.point_s == 5.0 * together
    assert line.cores.shape == (1, 1440 // together)
    assert np.nanmax(line.p99_ms) == pytest.approx(1e3 * max(p for p in series.p99_s if p is not None))
    ended = np.array(series.in_time) + np.array(series.late)
    worth = np.array(series.accuracy, dtype=float)
    assert line.accuracy[0, 0] == pytest.approx(
        100 * np.average(worth[:together], weights=ended[:together])
    )  # by requests, not by windows
    assert np.mean(line.offered_rps) == pytest.approx(np.mean(series.offered) / 5.0)


def test_what_happens_after_the_load_is_not_drawn() -> None:
    one = make_result("ms+", seconds=100)
    more = {name: [*getattr(one.series, name), 1] for name in ("offered", "in_time", "late", "cores")}
    more |= {"p99_s": [*one.series.p99_s, 99.0], "accuracy": [*one.series.accuracy, 0.1]}
    longer = replace(one.series, **more)  # type: ignore[arg-type]  # each name has its own kind of list
    line = line_of(compare_runs([replace(one, series=longer)]).traces[0].policies[0])
    assert line.cores.shape == (1, 20)
    assert np.nanmax(line.p99_ms) < 9e4


def test_long_runs_are_drawn_over_hours() -> None:
    shown = comparison(*FEW_NAMES, seeds=1, seconds=86_400)
    figure = over_time(shown.traces[0], styles(shown))
    figure.draw_without_rendering()
    bottom = figure.axes[-1]
    assert bottom.get_xlabel() == "" or bottom.get_xlabel() == "hours"
    ticks = [label.get_text() for label in bottom.get_xticklabels()]
    assert {"0", "3", "24"} <= set(ticks)


@pytest.mark.parametrize("names", [("ms+",), MANY_NAMES])
def test_policies_that_answered_nothing_still_render(names: tuple[str, ...]) -> None:
    shown = compare_runs(silent(make_result(name, seed=seed)) for name in names for seed in range(2))
    figure = over_time(shown.traces[0], styles(shown))
    assert render(figure, "png").startswith(b"\x89PNG")


def test_a_queue_that_grows_is_drawn_on_a_logarithmic_scale() -> None:
    one = make_result("ms+")
    grown = replace(one.series, p99_s=[0.5 + 2.0 * i for i in range(len(one.series.p99_s))])
    shown = compare_runs([replace(one, series=grown)])
    axes = panel(over_time(shown.traces[0], styles(shown)), "p99")
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] < 500 < 38_500 < axes.get_ylim()[1]


def test_points_that_no_seed_knows_stay_empty() -> None:
    assert np.isnan(average(np.array([[1.0, np.nan], [3.0, np.nan]]))).tolist() == [False, True]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = comparison("ms+")
    look = styles(shown)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[report\]"):
        over_time(shown.traces[0], look)
