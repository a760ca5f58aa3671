"""The plane of cores and PAS for one pipeline: everyone's dots, Trimtab's ladders and the fluid bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.ipa.entrants import Sizes, weighted
from experiments.ipa.verdict import VIOLATIONS, Field, Point
from experiments.pictures import COLOURS, FAINT, INK, figure, panel, save
from experiments.results import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS: dict[Sizes, tuple[str, str, str]] = {
    "all": (COLOURS[0], "Trimtab, all sizes (EXTRAPOLATED)", "fluid bound, all sizes"),
    "ipa": (COLOURS[3], "Trimtab, IPA's sizes", "fluid bound, IPA's sizes"),
}
"""Sizes → colour, and the names of Trimtab and of the bound."""
_LOOK = {
    "ipa": ("o", COLOURS[1]),
    "ipa-as-coded": ("D", COLOURS[1]),
    "fa2-low": ("v", COLOURS[5]),
    "fa2-high": ("^", COLOURS[5]),
    "rim": ("s", COLOURS[5]),
    "inferline": ("P", COLOURS[2]),
    "fa2": ("X", COLOURS[4]),
    "themis": ("*", COLOURS[6]),
    "loki": ("<", COLOURS[7]),
    "proteus": (">", COLOURS[7]),
}
"""Policy → marker and colour; those with the cheapest variants, or on a cluster of IPA's size, are small."""


def picture(fields: Sequence[Field], path: Path) -> Path:
    """One panel for each load pattern.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    across = min(2, len(fields))
    down = math.ceil(len(fields) / across)
    made = figure(max(6.4, 5.2 * across), 3.5 * down + (1.9 if across == 1 else 1.2))
    grid = [axes for row in made.subplots(down, across, squeeze=False) for axes in row]
    for axes, field in zip(grid, fields, strict=False):
        panel(axes, field.name, "mean cores held (log)", "delivered PAS")
        _panel(axes, field)
    for axes in grid[len(fields) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    made.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=2 if across == 1 else 3,
                fontsize=7.5, frameon=False, labelcolor=INK)  # fmt: skip
    return save(made, path)


def _panel(axes: Axes, field: Field) -> None:
    rate_rps = mean(field.rates_rps)
    for sizes, (colour, label, fluid) in _OURS.items():
        bound = field.hulls[sizes]
        cores, pas = [rate_rps * each for each in bound.core_s], [100.0 * each for each in bound.accuracy]
        axes.plot(cores, pas, ls=":", lw=1.0, color=colour, alpha=0.7, label=fluid)
        rungs = sorted((p.mean for p in field.rungs(sizes)), key=lambda f: f.cores)
        axes.plot([f.cores for f in rungs], [f.pas for f in rungs], lw=1.6, color=colour, label=label, zorder=3)
        for point in field.rungs(sizes):
            _dot(axes, point, "o", colour, 18.0)
        _dot(axes, field.points[weighted(sizes).label], "h", colour, 70.0, f"{label}, IPA's weights")
    for point in field.theirs():
        if point.mean.pas > 0.0:
            marker, colour = _LOOK[point.entrant.policy]
            small = point.entrant.pin == "least-accurate" or point.entrant.cluster_cores is not None
            _dot(axes, point, marker, colour, 22.0 if small else 46.0, _name(point))
    axes.scatter([], [], s=30, marker="o", facecolors="white", edgecolors=FAINT, linewidths=1.2,
                 label=f"hollow: more than {VIOLATIONS:g} % violations")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    axes.tick_params(which="minor", labelsize=8, colors=FAINT, length=2)


def _dot(axes: Axes, point: Point, marker: str, colour: str, area: float, label: str | None = None) -> None:
    """Filled where the requests were answered in time."""
    late = point.mean.violations > VIOLATIONS
    if label is not None:  # the legend shows it filled, whatever it is here
        axes.scatter([], [], s=area, marker=marker, label=label, facecolors=colour, edgecolors=colour, linewidths=1.2)
    axes.scatter(point.mean.cores, point.mean.pas, s=area, marker=marker, zorder=4,
                 facecolors="white" if late else colour, edgecolors=colour, linewidths=1.2)  # fmt: skip


def _name(point: Point) -> str:
    return point.entrant.label.replace(", cheapest", ", cheapest variants").replace(", best", ", best variants")
