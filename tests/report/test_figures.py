"""Pictures: the numbers they are given are the numbers of the runs, and they render without a warning."""

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from trimtab.errors import MissingExtraError
from trimtab.load.result import LoadResult, Record, Run, measure
from trimtab.report import figures

PNG, SVG = b"\x89PNG", b"<?xml"


def panel(figure: Figure, title: str) -> Axes:
    found = [axes for axes in figure.axes if axes.get_title(loc="left").startswith(title)]
    assert len(found) == 1, [axes.get_title(loc="left") for axes in figure.axes]
    return found[0]


@pytest.mark.parametrize(
    ("title", "values"),
    [
        ("In time", lambda r: [100 * v for v in r.series.attainment]),
        ("p99", lambda r: [1e3 * v if v is not None else np.nan for v in r.series.p99_s]),
        ("Delivered", lambda r: [100 * v if v is not None else np.nan for v in r.series.accuracy]),
        ("Cost", lambda r: r.series.cores),
    ],
)
def test_lines_are_the_series(
    runs: list[LoadResult], title: str, values: Callable[[LoadResult], Sequence[float]]
) -> None:
    axes = panel(figures.overview(runs), title)
    lines = {line.get_label(): line for line in axes.get_lines()}
    for result in runs:
        drawn = np.asarray(lines[result.run.name].get_ydata(), dtype=float)
        assert np.allclose(drawn, values(result), equal_nan=True)
        assert lines[result.run.name].get_color() == figures.colours(runs)[result.run.name]
    assert {text.get_text() for text in axes.texts} >= {result.run.name for result in runs}


def test_the_slo_is_drawn(runs: list[LoadResult]) -> None:
    axes = panel(figures.overview(runs), "p99")
    assert any(np.allclose(np.asarray(line.get_ydata(), dtype=float), 400) for line in axes.get_lines())
    assert any("SLO 400 ms" in text.get_text() for text in axes.texts)


def test_variants_are_stacked_shares_with_one_shade_each(runs: list[LoadResult]) -> None:
    figure = figures.variants(runs)
    assert figure is not None
    shade: dict[str, set[object]] = {}
    for axes, result in zip(figure.axes[:3], runs, strict=True):
        counts = result.series.variants["find"]
        total = np.sum(list(counts.values()), axis=0)
        for patch in axes.patches:
            assert isinstance(patch, StepPatch)
            variant = str(patch.get_label())
            top, _, bottom = patch.get_data()
            shares = 100 * np.array(counts[variant], dtype=float) / np.maximum(total, 1)
            assert np.allclose(np.asarray(top) - np.asarray(bottom), shares)
            shade.setdefault(variant, set()).add(patch.get_facecolor())
    assert {name: len(colours) for name, colours in shade.items()} == {"small": 1, "large": 1}
    assert shade["small"] != shade["large"]


def test_dots_are_the_runs(runs: list[LoadResult]) -> None:
    figure = figures.tradeoff(runs)
    assert figure is not None
    dots = [line.get_xydata() for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    wanted = [[100 * (r.summary.attainment or 0), 100 * (r.summary.delivered_accuracy or 0)] for r in runs]
    assert np.allclose(np.concatenate(dots), wanted)


def test_pictures_render(runs: list[LoadResult]) -> None:
    assert figures.render(figures.overview(runs), "png").startswith(PNG)
    for figure in (figures.overview(runs[:1]), figures.variants(runs), figures.tradeoff(runs)):
        assert figure is not None
        assert figures.render(figure, "svg").startswith(SVG)


def test_a_run_that_answered_nothing_still_renders() -> None:
    run = Run("other", "u", "m", 0.4, 0.99, "t", "even", 0, 2.0)
    result = measure(run, [Record(0, 0, 0.5, 0.5, 0.6, "refused", 503)])
    assert figures.render(figures.overview([result]), "png").startswith(PNG)
    assert figures.variants([result]) is None
    assert figures.tradeoff([result]) is None


def test_without_matplotlib_the_extra_is_named(runs: list[LoadResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[report\]"):
        figures.overview(runs)


@given(st.lists(st.floats(-0.5, 1.5), max_size=6).map(sorted))
def test_names_stand_apart(heights: list[float]) -> None:
    apart = figures.spread(heights, 0.15)
    assert len(apart) == len(heights)
    assert all(b - a >= 0.15 - 1e-9 for a, b in pairwise(apart))
    assert all(-1e-9 <= y <= 1 + 1e-9 for y in apart)
