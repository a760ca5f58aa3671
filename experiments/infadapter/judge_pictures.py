"""The pictures of `judge.py`: everyone on the plane of cores and accuracy, Trimtab against InfAdapter, violations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.infadapter.entrants import GAIN, Entrant, Names
from experiments.infadapter.verdict import SHARE, VIOLATIONS, Field
from experiments.pictures import COLOURS, FAINT, GRID, INK, figure, legend, panel, save
from experiments.results import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCE, SAME, MORE, WEIGHTED = COLOURS[1], COLOURS[0], COLOURS[2], COLOURS[4]
"""InfAdapter; Trimtab as accurate, two points more accurate, with the same weights."""
OTHERS = {
    "vpa+": ("#9AA0A6", "v"),
    "hpa": ("#B8860B", "s"),
    "model-switching": ("#6B705C", "D"),
    "ms+": ("#B0306A", "^"),
}
"""Policy → colour and marker."""
FLOOR = 0.001
"""Fewer violations than this, in %, are drawn as none."""


def pictures(fields: Sequence[Field], everyone: Sequence[Entrant], names: Names, folder: Path) -> list[Path]:
    """Draw all three; gives their paths."""
    return [
        _plane(fields, everyone, names, folder / "judge_plane.png"),
        _against(fields, names, folder / "judge_against_infadapter.png"),
        _violations(fields, everyone, names, folder / "judge_violations.png"),
    ]


def _plane(fields: Sequence[Field], everyone: Sequence[Entrant], names: Names, path: Path) -> Path:
    """Left everyone; right the pairs of InfAdapter and Trimtab as accurate."""
    made = figure(11.0, 4.8)
    left, right = made.subplots(1, 2, sharey=True)
    panel(left, f"Everyone on {len(fields)} windows", "cores held", "delivered accuracy, %")
    for policy, (colour, marker) in OTHERS.items():
        labels = [e.label for e in everyone if e.policy == policy and _shown(e, names)]
        points = [f.means[label] for f in fields for label in labels]
        left.scatter([p.cores for p in points], [p.accuracy for p in points], s=12, marker=marker, color=colour,
                     alpha=0.55, linewidth=0, label=policy)  # fmt: skip
    _own(left, fields, names)
    legend(left)
    panel(right, "From InfAdapter to Trimtab at its accuracy", "cores held")
    for field in fields:
        seen = field.means
        start, end = seen[names.reference], seen[names.as_accurate]
        right.annotate(
            "", (end.cores, end.accuracy), (start.cores, start.accuracy),
            arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 0.7, "alpha": 0.8, "mutation_scale": 7,
                        "shrinkA": 2, "shrinkB": 2},
        )  # fmt: skip
    _dots(right, fields, names.reference, REFERENCE, "InfAdapter")
    _dots(right, fields, names.as_accurate, SAME, "Trimtab, as accurate")
    bound = [(f.bound_cores(f.means[names.reference].accuracy), f.means[names.reference].accuracy) for f in fields]
    right.plot(*zip(*bound, strict=True), "|", color=INK, ms=8, mew=1.2, label="fluid clairvoyant bound")
    legend(right)
    return save(made, path)


def _own(axes: Axes, fields: Sequence[Field], names: Names) -> None:
    _dots(axes, fields, names.reference, REFERENCE, "InfAdapter")
    _dots(axes, fields, names.as_accurate, SAME, "Trimtab, as accurate as InfAdapter")
    _dots(axes, fields, names.weighted, WEIGHTED, "Trimtab, InfAdapter's weights")
    _dots(axes, fields, names.more_accurate, MORE, "Trimtab, two points more")


def _dots(axes: Axes, fields: Sequence[Field], label: str, colour: str, told: str) -> None:
    seen = [f.means[label] for f in fields]
    axes.scatter([p.cores for p in seen], [p.accuracy for p in seen], s=16, color=colour, linewidth=0.4,
                 edgecolor="white", label=told, zorder=3)  # fmt: skip


def _against(fields: Sequence[Field], names: Names, path: Path) -> Path:
    """Cores and accuracy relative to InfAdapter's on the same window, with the corners that are wanted."""
    made = figure(6.6, 5.0)
    axes = panel(made.subplots(), "Trimtab against InfAdapter, each dot a window", "cores ÷ InfAdapter's",
                 "accuracy - InfAdapter's, points")  # fmt: skip
    runs = ((names.as_accurate, SAME, "asked for its accuracy"), (names.more_accurate, MORE, "asked for 2 points more"),
            (names.weighted, WEIGHTED, "its weights"))  # fmt: skip
    highest = 0.0
    for label, colour, told in runs:
        pairs = [(f.means[label], f.means[names.reference]) for f in fields]
        gains = [own.accuracy - theirs.accuracy for own, theirs in pairs]
        highest = max(highest, *gains)
        axes.scatter([own.cores / theirs.cores for own, theirs in pairs], gains, s=18, color=colour, linewidth=0.4,
                     edgecolor="white", label=told, zorder=3)  # fmt: skip
    axes.scatter([1.0], [0.0], marker="X", s=60, color=REFERENCE, zorder=4, label="InfAdapter")
    top = 1.15 * max(highest, 100.0 * GAIN)
    for x, y in ((SHARE, 0.0), (1.0, 100.0 * GAIN)):
        axes.plot([0.0, x, x], [y, y, top], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    axes.annotate(
        "wanted at its accuracy", (0.01, 0.0), xytext=(0, 3), textcoords="offset points", fontsize=7, color=FAINT
    )
    axes.annotate("wanted at its cores", (0.01, 100.0 * GAIN), xytext=(0, 3), textcoords="offset points", fontsize=7,
                  color=FAINT)  # fmt: skip
    axes.set_xlim(0.0, max(1.1, *axes.get_xlim()))
    axes.set_ylim(min(-0.5, axes.get_ylim()[0]), top)
    legend(axes)
    return save(made, path)


def _violations(fields: Sequence[Field], everyone: Sequence[Entrant], names: Names, path: Path) -> Path:
    """One row an entrant: a dot a window, a bar at the mean over windows; fewest at the bottom."""
    by_label = {e.label: [f.means[e.label].violations for f in fields] for e in everyone if _shown(e, names)}
    ordered = sorted(by_label, key=lambda label: mean(by_label[label]), reverse=True)
    roles = {e.label: e.role for e in everyone}
    colours = {"ours": SAME, "restarts": COLOURS[7], "bound": FAINT, "published": COLOURS[1]}
    made = figure(8.0, 0.6 + 0.27 * len(ordered))
    axes = panel(made.subplots(), f"Violations on each of {len(fields)} windows (dots) and their mean (bars)",
                 "% of the requests offered, logarithmic; none at the left")  # fmt: skip
    for row, label in enumerate(ordered):
        values = [max(value, FLOOR) for value in by_label[label]]
        colour = colours[roles[label]]
        axes.barh(row, max(mean(by_label[label]), FLOOR) - FLOOR, left=FLOOR, height=0.62, color=colour, alpha=0.28)
        axes.plot(values, [row] * len(values), "o", ms=2.6, mew=0, color=colour, alpha=0.7)
    axes.axvline(VIOLATIONS, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    axes.set_xlim(0.8 * FLOOR, 100.0)
    axes.set_xticks([FLOOR, 0.01, VIOLATIONS, 0.1, 1.0, 10.0, 100.0], ["0", "0.01", "0.05", "", "1", "10", "100"])
    axes.minorticks_off()
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_color(GRID)
    return save(made, path)


def _shown(entrant: Entrant, names: Names) -> bool:
    """Whether a picture for one weight shows it: it has that weight, or none."""
    return "β" not in entrant.label or f"β {names.beta}" == entrant.label.split(",")[0].partition(" ")[2]
