"""The picture of the front: what is drawn is what the points say, and no label stands on another."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Annotation

from trimtab.errors import MissingExtraError
from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.options import Rules
from trimtab.plan.pareto import FrontPoint, front
from trimtab.report.figures import render
from trimtab.report.front import FrontPicture, draw
from trimtab.spec.model import AccuracyModel, Pipeline, Planning, Prices
from trimtab.testing import make_chain

TASKS = {
    "detect": {"nano": (0.457, 0.02), "small": (0.568, 0.035), "medium": (0.641, 0.08), "large": (0.673, 0.14)},
    "classify": {"r18": (0.6975, 0.01), "r50": (0.76, 0.022), "r152": (0.783, 0.055)},
}


@pytest.fixture(scope="module")
def drawn() -> tuple[Pipeline, tuple[FrontPoint, ...]]:
    pipeline, profile = make_chain(TASKS, slo_s=0.6)
    pipeline = replace(pipeline, planning=Planning(mix=2), prices=Prices(core_hour=0.05))
    return pipeline, front(PlanRequest(pipeline, profile, 40.0, Limits(40.0)), Rules("tail", 0.85, mix=2))


def labels(axes: Axes) -> list[Annotation]:
    return [child for child in axes.get_children() if isinstance(child, Annotation)]


def test_the_staircase_is_the_points(drawn: tuple[Pipeline, tuple[FrontPoint, ...]]) -> None:
    pipeline, points = drawn
    figure = draw(FrontPicture(pipeline, 40.0, "cores", points, chosen=points[3].estimate, limit=14.0))
    top = figure.axes[0]
    (steps, _) = [patch for patch in top.patches if isinstance(patch, StepPatch)]
    values, edges, _ = steps.get_data()
    assert np.allclose(values, [100.0 * point.estimate.accuracy for point in points])
    assert np.allclose(edges[:-1], [point.cost for point in points])
    assert edges[-1] > points[-1].cost
    assert figure.get_suptitle() == "chain at 40 requests/s: the most accuracy for its cost"
    assert top.get_title(loc="left") == "Every point holds p99 within 600 ms (tail model)"
    assert top.get_ylabel() == "accuracy, % (product of the tasks')"
    assert figure.axes[-1].get_xlabel() == "cost, cores held"
    words = [label.get_text() for label in labels(top)]
    assert "budget" in words
    assert f"the objective's choice: {100.0 * points[3].estimate.accuracy:.1f} %" in words


def test_no_label_stands_on_another(drawn: tuple[Pipeline, tuple[FrontPoint, ...]]) -> None:
    pipeline, points = drawn
    crowded = [replace(points[i % 2], cost=points[0].cost + i / 50.0) for i in range(100)]
    for shown in (points, crowded):
        figure = draw(FrontPicture(pipeline, 40.0, "cores", shown))
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]  # matplotlib's stub
        figure.draw_without_rendering()
        boxes = [label.get_window_extent(renderer) for label in labels(figure.axes[0])]
        assert len(boxes) > 1
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_each_tasks_strip_is_its_shares(drawn: tuple[Pipeline, tuple[FrontPoint, ...]]) -> None:
    pipeline, points = drawn
    figure = draw(FrontPicture(pipeline, 40.0, "cores", points))
    for axes, task in zip(figure.axes[1:], pipeline.tasks, strict=True):
        assert axes.get_title(loc="left") == task
        used = [v.name for v in reversed(pipeline.tasks[task].by_accuracy())]
        used = [v for v in used if any(a.variant == v for p in points for a in p.plan.tasks[task].allocations)]
        bands = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
        assert [text.get_text() for text in axes.texts if text.get_text() != "■"] == used
        for variant, band in zip(used, bands, strict=True):
            values, _, baseline = band.get_data()
            shares = [sum(a.share for a in p.plan.tasks[task].allocations if a.variant == variant) for p in points]
            assert np.allclose(np.asarray(values) - np.asarray(baseline), shares)
        assert np.allclose(bands[-1].get_data()[0], 1.0)


def test_what_it_is_drawn_in(drawn: tuple[Pipeline, tuple[FrontPoint, ...]]) -> None:
    pipeline, points = drawn
    figure = draw(FrontPicture(replace(pipeline, accuracy=AccuracyModel("rank-sum")), 40.0, "money", points))
    assert figure.axes[0].get_ylabel() == "accuracy, sum of ranks, at most 2"
    assert figure.axes[-1].get_xlabel() == "cost, USD an hour"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_short_front_renders(drawn: tuple[Pipeline, tuple[FrontPoint, ...]], count: int) -> None:
    pipeline, points = drawn
    figure: Figure = draw(FrontPicture(pipeline, 40.0, "cores", points[:count], chosen=points[-1].estimate))
    assert render(figure, "png").startswith(b"\x89PNG")
    if not count:
        assert figure.axes[0].get_title(loc="left") == "Nothing holds p99 within 600 ms at this rate"


def test_without_matplotlib_the_extra_is_named(
    drawn: tuple[Pipeline, tuple[FrontPoint, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[report\]"):
        draw(FrontPicture(drawn[0], 40.0, "cores", drawn[1]))
