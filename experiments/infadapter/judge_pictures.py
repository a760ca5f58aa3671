"""The pictures of `judge.py`: everyone on the plane of cores and accuracy, Trimtab against InfAdapter, violations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.infadapter.entrants import GAIN, Entrant, Names
from experiments.infadapter.standings import Field, Figures
from experiments.infadapter.verdict import SHARE, VIOLATIONS
from experiments.pictures import COLOURS, FAINT, INK, figure, panel, save
from experiments.results import mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE, SAME, MORE, WEIGHTED = COLOURS[1], COLOURS[0], COLOURS[2], COLOURS[4]
"""InfAdapter; Trimtab as accurate, two points more accurate, with the same weights."""
OTHERS = {
    "vpa+": ("#9AA0A6", "v"),
    "hpa": ("#B8860B", "s"),
    "model-switching": ("#6B705C", "D"),
    "ms+": ("#B0306A", "^"),
}
"""Policy → colour and marker."""
FLOOR = 0.002
"""Fewer violations than this, in %, are drawn as none: about two of the requests of a window."""
LATE = 1.0
"""More violations than this, in %, break the service's SLO."""
_SPREAD = 0.618034
"""Multiples of the golden ratio, without their whole part, spread dots of a row evenly."""


def pictures(fields: Sequence[Field], everyone: Sequence[Entrant], names: Names, folder: Path) -> list[Path]:
    """Draw all three; gives their paths."""
    return [
        _plane(fields, everyone, names, folder / "judge_plane.png"),
        _against(fields, names, folder / "judge_against_infadapter.png"),
        _violations(fields, everyone, names, folder / "judge_violations.png"),
    ]


def _plane(fields: Sequence[Field], everyone: Sequence[Entrant], names: Names, path: Path) -> Path:
    """Left everyone; right the pairs of InfAdapter and Trimtab as accurate."""
    made = figure(11.0, 5.4)
    left, right = made.subplots(1, 2, sharey=True)
    told = f"Everyone on {len(fields)} windows; hollow: more than {LATE:g} % violations"
    panel(left, told, "cores held", "delivered accuracy, %")
    for policy, (colour, marker) in OTHERS.items():
        labels = [e.label for e in everyone if e.policy == policy and _shown(e, names)]
        _dots(left, [f.means[label] for f in fields for label in labels], colour, policy, marker, alpha=0.45)
    for label, colour, told in _rivals(names):
        _dots(left, [f.means[label] for f in fields], colour, told)
    panel(right, "From InfAdapter to Trimtab asked for its accuracy", "cores held")
    reference, same = ([f.means[label] for f in fields] for label in (names.reference, names.as_accurate))
    for start, end in zip(reference, same, strict=True):
        right.annotate(
            "", (end.cores, end.accuracy), (start.cores, start.accuracy),
            arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 0.6, "alpha": 0.7, "mutation_scale": 6,
                        "shrinkA": 2, "shrinkB": 2},
        )  # fmt: skip
    bound = [field.bound_cores(own.accuracy) for field, own in zip(fields, reference, strict=True)]
    right.plot(bound, [own.accuracy for own in reference], "|", color=INK, ms=7, mew=1.0,
               label="fluid clairvoyant bound at InfAdapter's accuracy")  # fmt: skip
    _dots(right, reference, REFERENCE, "")
    _dots(right, same, SAME, "")
    right.set_xlim(left=0.0)
    _legend_below(made)
    return save(made, path)


def _against(fields: Sequence[Field], names: Names, path: Path) -> Path:
    """Cores and accuracy relative to InfAdapter's on the same window, with the corners that are wanted."""
    made = figure(6.6, 5.4)
    axes = panel(
        made.subplots(),
        f"Trimtab against InfAdapter, each dot a window; hollow: more than {VIOLATIONS:g} % violations",
        "cores ÷ InfAdapter's", "accuracy - InfAdapter's, points",
    )  # fmt: skip
    gain = 100.0 * GAIN
    highest, widest = 1.1 * gain, 1.0
    for label, colour, told in _rivals(names)[1:]:
        pairs = [(f.means[label], f.means[names.reference]) for f in fields]
        moved = [
            Figures(own.violations, own.accuracy - theirs.accuracy, own.cores / theirs.cores, 0.0)
            for own, theirs in pairs
        ]
        _dots(axes, moved, colour, told, most=VIOLATIONS)
        highest = max(highest, *(own.accuracy for own in moved))
        widest = max(widest, *(own.cores for own in moved))
    axes.scatter([1.0], [0.0], marker="X", s=70, color=REFERENCE, zorder=4, label="InfAdapter", edgecolor="white")
    top = 1.12 * highest
    for x, y, told in ((SHARE, 0.0, "wanted at its accuracy"), (1.0, gain, "wanted at its cores")):
        axes.plot([0.0, x, x], [y, y, top], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
        axes.annotate(told, (0.01, y), xytext=(0, 3), textcoords="offset points", fontsize=7, color=FAINT)
    axes.set_xlim(0.0, 1.08 * widest)
    axes.set_ylim(min(-0.4, axes.get_ylim()[0]), top)
    _legend_below(made)
    return save(made, path)


def _violations(fields: Sequence[Field], everyone: Sequence[Entrant], names: Names, path: Path) -> Path:
    """One row an entrant, fewest violations at the top: a dot a window, a bar at the mean over the windows."""
    by_label = {e.label: [f.means[e.label].violations for f in fields] for e in everyone if _shown(e, names)}
    ordered = sorted(by_label, key=lambda label: mean(by_label[label]), reverse=True)
    roles = {e.label: e.role for e in everyone}
    colours = {"ours": SAME, "restarts": MORE, "bound": FAINT, "published": REFERENCE}
    told = {"ours": "Trimtab, its own plant", "restarts": "Trimtab, restarts", "bound": "knows the future",
            "published": "published"}  # fmt: skip
    made = figure(8.0, 1.0 + 0.27 * len(ordered))
    axes = panel(made.subplots(), f"Violations on each of {len(fields)} windows (dots), and on average (bars)",
                 "% of the requests offered, logarithmic")  # fmt: skip
    for row, label in enumerate(ordered):
        places = [row + 0.5 * ((i * _SPREAD) % 1.0 - 0.5) for i in range(len(fields))]
        colour, average = colours[roles[label]], mean(by_label[label])
        axes.plot(
            [max(value, FLOOR) for value in by_label[label]], places, "o", ms=3.0, mew=0, color=colour, alpha=0.45
        )
        axes.plot([max(average, FLOOR)], [row], "|", ms=13, mew=2.2, color=colour, label=told.pop(roles[label], None))
    axes.axvline(VIOLATIONS, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=f"{VIOLATIONS:g} %", zorder=1)
    axes.set_xscale("log")
    axes.set_xlim(0.7 * FLOOR, 110.0)
    axes.set_xticks([FLOOR, 0.01, 0.1, 1.0, 10.0, 100.0], ["none", "0.01", "0.1", "1", "10", "100"])
    axes.minorticks_off()
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.grid(visible=False, axis="y")
    _legend_below(made)
    return save(made, path)


def _rivals(names: Names) -> tuple[tuple[str, str, str], ...]:
    """InfAdapter and Trimtab: label, colour and words."""
    return (
        (names.reference, REFERENCE, "InfAdapter"),
        (names.as_accurate, SAME, "Trimtab, asked for InfAdapter's accuracy"),
        (names.weighted, WEIGHTED, "Trimtab, InfAdapter's weights"),
        (names.more_accurate, MORE, "Trimtab, asked for two points more"),
    )


def _dots(
    axes: Axes,
    seen: Sequence[Figures],
    colour: str,
    told: str,
    marker: str = "o",
    *,
    most: float = LATE,
    alpha: float = 0.85,
) -> None:
    """Cores and accuracy; hollow where more than `most` % are violations."""
    axes.scatter(
        [own.cores for own in seen], [own.accuracy for own in seen], s=18, marker=marker, linewidth=0.8, alpha=alpha,
        facecolor=["white" if own.violations > most else colour for own in seen], edgecolor=colour, zorder=3,
    )  # fmt: skip
    if told:
        axes.scatter([], [], s=18, marker=marker, color=colour, label=told)


def _legend_below(made: Figure) -> None:
    made.legend(loc="outside lower left", fontsize=7.5, frameon=False, ncols=3, labelcolor=INK, markerscale=0.8)


def _shown(entrant: Entrant, names: Names) -> bool:
    """Whether a picture for one weight shows it: it has that weight, or none."""
    return "β" not in entrant.label or f"β {names.beta}" == entrant.label.split(",")[0].partition(" ")[2]
