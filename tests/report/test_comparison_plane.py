"""The plane of violations, accuracy and cost: dots are the means, the front is ringed, no label stands on another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from tests.report.simulated import POLICIES, make_result, silent

from trimtab.report.comparison import Comparison, compare_runs
from trimtab.report.comparison_figures import INK, styles
from trimtab.report.comparison_plane import plane
from trimtab.report.figures import render
from trimtab.rng import generator


def drawn(comparison: Comparison) -> Figure:
    figure = plane(comparison.traces[0], styles(comparison))
    assert figure is not None
    return figure


def dots(figure: Figure) -> dict[str, PathCollection]:
    found = [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    return {str(dot.get_label()): dot for dot in found}


def labels(figure: Figure) -> list[Annotation]:
    return [child for child in figure.axes[0].get_children() if isinstance(child, Annotation)]


def test_dots_are_the_means_with_the_front_ringed_and_the_cost_as_area() -> None:
    comparison = compare_runs(make_result(name, seed=seed) for name in POLICIES for seed in range(3))
    figure = drawn(comparison)
    found = dots(figure)
    assert set(found) == set(POLICIES)
    policies = {policy.name: policy for policy in comparison.traces[0].policies}
    area: dict[str, float] = {}
    for name, dot in found.items():
        policy = policies[name]
        wanted = [100 * (policy.mean("violation_ratio") or 0.0), 100 * (policy.mean("accuracy") or 0.0)]
        assert np.allclose(np.asarray(dot.get_offsets()), [wanted])
        ringed = np.max(dot.get_linewidth()) > 0 and np.allclose(
            np.asarray(dot.get_edgecolor())[0][:3], to_rgba(INK)[:3]
        )
        assert ringed == policy.on_front
        area[name] = dot.get_sizes()[0]
    by_cost = sorted(policies, key=lambda name: policies[name].mean("mean_cores") or 0.0)
    assert sorted(area, key=lambda name: area[name]) == by_cost
    told = {label.get_text() for label in labels(figure)}
    assert f"trimtab {policies['trimtab'].mean('mean_cores'):.3g}" in told
    assert any(text.startswith("oracle (bound)") for text in told)


def crowd(count: int, seed: int) -> Comparison:
    """Policies close together, as those that follow the same rate are."""
    draws = generator(seed, "crowd")
    results = []
    for i in range(count):
        violations = float(10.0 ** draws.uniform(-2.2, -0.8))
        accuracy, cores = float(draws.uniform(0.9, 0.93)), float(draws.uniform(6.0, 14.0))
        results.append(make_result(f"policy {i}", violations=violations, accuracy=accuracy, cores=cores))
    return compare_runs(results)


@pytest.mark.parametrize("seed", range(3))
def test_no_label_stands_on_another_and_the_front_has_all_its_own(seed: int) -> None:
    comparison = crowd(20, seed)
    figure = drawn(comparison)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's stub
    figure.draw_without_rendering()
    told = labels(figure)
    boxes = []
    for label in told:
        label.update_positions(renderer)
        boxes.append(Text.get_window_extent(label, renderer))
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    named = {label.get_text().rpartition(" ")[0] for label in told}
    assert {policy.name for policy in comparison.traces[0].policies if policy.on_front} <= named
    assert len(named) >= 17


def test_no_violations_at_all_have_a_place() -> None:
    comparison = compare_runs([make_result("a", violations=0.0), make_result("b", violations=0.5)])
    figure = drawn(comparison)
    axes = figure.axes[0]
    assert axes.get_xscale() == "symlog"
    assert axes.get_xlim()[0] < 0.0
    assert axes.get_xlim()[1] > 50.0
    few = drawn(compare_runs([make_result("a", violations=0.0), make_result("b", violations=0.001)]))
    assert few.axes[0].get_xscale() == "linear"
    for each in (figure, few):
        assert render(each, "png").startswith(b"\x89PNG")


def test_who_answered_nothing_has_no_dot() -> None:
    comparison = compare_runs([silent(make_result("a")), make_result("b")])
    assert set(dots(drawn(comparison))) == {"b"}
    assert plane(compare_runs([silent(make_result("a"))]).traces[0], {}) is None
