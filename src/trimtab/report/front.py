"""The picture of an accuracy–cost front: the staircase of the best accuracy for every cost, and what each task runs.

Uses matplotlib's objects without pyplot, as `report.figures` does. Needs the extra `report`.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trimtab.errors import MissingExtraError
from trimtab.plan.accuracy import shares_of
from trimtab.plan.model import PlanEstimate
from trimtab.plan.pareto import CostKind, FrontPoint, cost_of, locate
from trimtab.spec.model import Pipeline
from trimtab.units import format_duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import BboxBase

_BLUE, _RED, _INK, _FAINT, _GRID = "#0067A5", "#B0306A", "#24292F", "#6E7781", "#E4E7EB"
_LADDER = ("#DCE9F3", "#0B3C5D")
"""Ends of the scale from the least to the most accurate variant of a task."""
_ROW_IN = 0.16
"""Height of a variant's name beside its task's strip, inches."""
_LIMIT_IN_VIEW = 1.5
"""The limit is drawn where it is at most this many times the last point's cost."""


@dataclass(frozen=True, slots=True)
class FrontPicture:
    """What is drawn."""

    pipeline: Pipeline
    rate_rps: float
    cost: CostKind
    points: Sequence[FrontPoint]
    """The cheapest first."""
    chosen: PlanEstimate | None = None
    """What the pipeline's own objective would choose, to be marked."""
    limit: float | None = None
    """The budget, in the unit of the costs."""


def require_matplotlib() -> None:
    """Fail early, before anything is planned.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as missing:
        raise MissingExtraError("matplotlib", "report", "drawing pictures") from missing


def draw(picture: FrontPicture) -> Figure:
    """The staircase above, and below it for each task the shares of its variants, all over the same costs.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    used = _used(picture)
    heights = [3.5 if picture.points else 0.3, *(max(0.42, _ROW_IN * len(names)) for names in used.values())]
    figure = Figure(figsize=(8.4, 0.9 + sum(heights) + 0.3 * len(used)), layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    column = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    figure.suptitle(
        f"{picture.pipeline.name} at {picture.rate_rps:g} requests/s: the most accuracy for its cost",
        x=0.012, ha="left", fontsize=12, color=_INK,
    )  # fmt: skip
    _staircase(column[0], picture)
    for axes, (task, names) in zip(column[1:], used.items(), strict=True):
        _strip(axes, picture, task, names)
    column[-1].set_xlabel(_cost_label(picture), color=_FAINT, fontsize=9)
    if picture.points:
        labels = _labels(column[0], picture)
        figure.draw_without_rendering()
        _drop_overlapping(labels, canvas.get_renderer())  # type: ignore[no-untyped-call]  # matplotlib's stub
    return figure


def _used(picture: FrontPicture) -> dict[str, list[str]]:
    """Task → the variants that it runs somewhere on the front, the least accurate first."""
    used: dict[str, list[str]] = {}
    for task, spec in picture.pipeline.tasks.items() if picture.points else ():
        names = {a.variant for point in picture.points for a in point.plan.tasks[task].allocations}
        used[task] = [v.name for v in reversed(spec.by_accuracy()) if v.name in names]
    return used


def _staircase(axes: Axes, picture: FrontPicture) -> None:
    from matplotlib.ticker import MaxNLocator

    slo, points = picture.pipeline.slo, picture.points
    promise = f"holds p{100 * slo.quantile:g} within {format_duration(slo.latency_s)}"
    if not points:
        _style(axes, f"Nothing {promise} at this rate", "y")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    _style(axes, f"Every point {promise} ({points[0].estimate.latency_model} model)", "both")
    edges, y = _edges(picture), np.array([_scaled(point.estimate, picture) for point in points])
    axes.stairs(y, edges, baseline=None, color=_BLUE, linewidth=1.8)
    axes.stairs(y, edges, baseline=float(y.min()) - 1e6, fill=True, color=_BLUE, alpha=0.05, linewidth=0)
    axes.plot(edges[:-1], y, "o", color=_BLUE, markersize=5, zorder=3)
    reach = float(y[-1] - y[0]) or 0.1 * abs(float(y[0])) or 1.0
    top = float(y[-1]) + 0.14 * reach
    axes.set_ylim(float(y[0]) - 0.1 * reach, top)
    width = float(edges[-1] - edges[0])
    axes.set_xlim(float(edges[0]) - 0.09 * width, float(edges[-1]))
    if picture.cost == "cores":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(_accuracy_label(picture.pipeline), color=_FAINT, fontsize=9)
    if picture.limit is not None and picture.limit <= edges[-1]:
        axes.axvline(picture.limit, color=_INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            "budget", (picture.limit, 0.04), xycoords=("data", "axes fraction"), xytext=(-5, 0),
            textcoords="offset points", fontsize=8, color=_INK, ha="right",
        )  # fmt: skip


def _labels(axes: Axes, picture: FrontPicture) -> list[Annotation]:
    """The accuracies at the points, above left, where the staircase is not; the most important ones first."""
    points, chosen = picture.points, picture.chosen
    at = None if chosen is None else locate(points, chosen, picture.cost)
    gains = [math.inf, *(b.estimate.accuracy - a.estimate.accuracy for a, b in itertools.pairwise(points))]
    gains[-1] = math.inf
    labels = []
    if chosen is not None:
        x, y = cost_of(chosen, picture.cost), _scaled(chosen, picture)
        axes.plot([x], [y], "o", color="none", markeredgecolor=_RED, markeredgewidth=1.8, markersize=11, zorder=4)
        left = x < sum(axes.get_xlim()) / 2.0
        # Above and left of a point of the front is nothing, nor is there below and right of any plan.
        above = at is not None and not left
        words = f"the objective's choice: {_accuracy_words(picture, y)}"
        gap = (-9.0, 6.0) if above else (9.0 if left else -9.0, -13.0)
        labels.append(_label(axes, words, (x, y), _RED, gap))
    for i in sorted(range(len(points)), key=lambda i: (-gains[i], i)):
        if i != at:
            y = _scaled(points[i].estimate, picture)
            labels.append(_label(axes, _accuracy_words(picture, y), (points[i].cost, y), _INK, (-4.0, 4.0)))
    return labels


def _label(axes: Axes, words: str, place: tuple[float, float], colour: str, gap: tuple[float, float]) -> Annotation:
    """Words beside a place, in the direction of the gap."""
    return axes.annotate(
        words, place, xytext=gap, textcoords="offset points", fontsize=8, color=colour, zorder=5,
        ha="right" if gap[0] < 0 else "left", va="center" if gap[1] < 0 else "bottom",
    )  # fmt: skip


def _drop_overlapping(labels: Sequence[Annotation], renderer: RendererBase) -> None:
    """Take away every label that would stand on one before it."""
    kept: list[BboxBase] = []
    for label in labels:
        box = label.get_window_extent(renderer).padded(2.0)
        if any(box.overlaps(other) for other in kept):
            label.remove()
        else:
            kept.append(box)


def _strip(axes: Axes, picture: FrontPicture, task: str, names: Sequence[str]) -> None:
    """Shares of the variants of one task over the costs, stacked, the most accurate (darkest) at the top."""
    _style(axes, task, None)
    edges, base = _edges(picture), np.zeros(len(picture.points))
    shares = [shares_of(point.plan)[task] for point in picture.points]
    for i, (name, shade) in enumerate(zip(names, _shades(len(names)), strict=True)):
        share = np.array([each.get(name, 0.0) for each in shares])
        axes.stairs(base + share, edges, baseline=base, fill=True, color=shade, linewidth=0)
        base = base + share
        height = (i + 0.5) / len(names)
        for x, words, colour in ((1.008, "■", shade), (1.03, name, _INK)):
            axes.text(x, height, words, transform=axes.transAxes, color=colour, fontsize=8, va="center", clip_on=False)
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks([])


def _style(axes: Axes, title: str, grid: str | None) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=_INK, pad=4)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.tick_params(length=0, labelsize=8, labelcolor=_FAINT)
    if grid is not None:
        axes.grid(visible=True, axis=grid, color=_GRID, linewidth=0.7)  # type: ignore[arg-type]  # "y" or "both"
    axes.set_axisbelow(True)


def _edges(picture: FrontPicture) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Where the steps begin, and where the last one ends: at the budget, or a little further on."""
    costs = [point.cost for point in picture.points]
    end = costs[-1] + 0.06 * ((costs[-1] - costs[0]) or costs[-1] or 1.0)
    if picture.limit is not None and costs[-1] < picture.limit <= _LIMIT_IN_VIEW * costs[-1]:
        end = max(end, picture.limit + 0.02 * (picture.limit - costs[0]))
    return np.array([*costs, end])


def _scaled(found: PlanEstimate, picture: FrontPicture) -> float:
    """Accuracy as it is drawn: in percent, but a sum of ranks as it is."""
    return found.accuracy * (1.0 if picture.pipeline.accuracy.kind == "rank-sum" else 100.0)


def _accuracy_words(picture: FrontPicture, scaled: float) -> str:
    return f"{scaled:.3g}" if picture.pipeline.accuracy.kind == "rank-sum" else f"{scaled:.1f} %"


def _accuracy_label(pipeline: Pipeline) -> str:
    if pipeline.accuracy.kind == "rank-sum":
        return f"accuracy, sum of ranks, at most {len(pipeline.tasks)}"
    how = "measured end to end" if pipeline.accuracy.kind == "measured" else "product of the tasks'"
    return f"accuracy, % ({how})" if len(pipeline.tasks) > 1 else "accuracy, %"


def _cost_label(picture: FrontPicture) -> str:
    if picture.cost == "cores":
        return "cost, cores held" if picture.points else ""
    return f"cost, {picture.pipeline.prices.currency} an hour" if picture.points else ""


def _shades(count: int) -> list[str]:
    """Colours from the lightest to the darkest; a single one is dark."""
    low, high = (np.array([int(end[i : i + 2], 16) for i in (1, 3, 5)], dtype=float) for end in _LADDER)
    steps = np.linspace(0.0, 1.0, count) if count > 1 else [1.0]
    mixed = ([round(c) for c in low + step * (high - low)] for step in steps)
    return ["#" + "".join(f"{c:02x}" for c in mix) for mix in mixed]
