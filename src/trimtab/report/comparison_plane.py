"""The plane of violations, accuracy and cost: a dot per policy, its area the cores held, the front ringed.

Uses matplotlib's objects without pyplot; needs the extra `report`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.report.comparison import PolicyFigures, TraceFigures
from trimtab.report.comparison_figures import FAINT, INK, Style, dress, make_figure
from trimtab.report.comparison_text import Column, columns_for, is_rank_sum
from trimtab.report.summary import OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import BboxBase

_LINEAR = 0.1
"""Below this percentage of violations the axis is linear, so that none at all has a place on it."""
_AREA = (24.0, 260.0)
"""Area of a dot for no cores, and for the most that any policy holds, square points."""
_RADII = (3.5, 12.0, 26.0, 42.0, 60.0, 80.0, 102.0, 126.0)
"""How far from its dot a label may stand, points."""
_ANGLES = (0.0, 180.0, 45.0, 135.0, -45.0, -135.0, 90.0, -90.0, 22.0, 158.0, -22.0, -158.0, 68.0, 112.0, -68.0, -112.0)
_LEADER = 10.0
"""Farther labels are joined to their dots by a line."""


@dataclass(frozen=True, slots=True)
class _Dot:
    policy: PolicyFigures
    x: float
    y: float
    cores: float
    area: float
    intervals: tuple[tuple[tuple[float, float], tuple[float, float]], ...]
    """Ends of the confidence intervals along x and y: two x, two y each."""

    @property
    def radius(self) -> float:
        """How far it reaches, in points: its marker lies in a square or stands on a corner of one."""
        return math.sqrt(self.area) / (math.sqrt(2.0) if self.policy.bound else 2.0)


def plane(trace: TraceFigures, style: Mapping[str, Style]) -> Figure | None:
    """Accuracy over violations for one trace; None when no policy answered anything.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    dots = _dots(trace)
    if not dots:
        return None
    figure = make_figure(8.0, 5.2)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    dress(axes, "Accuracy over violations. Area and number of a dot: cores held; ringed: no other beats it", "both")
    axes.set_xlabel("violations, % of the requests offered (late, refused, dropped or failed)", color=FAINT, fontsize=8)
    axes.set_ylabel("accuracy" if is_rank_sum(trace) else "accuracy, %", color=FAINT, fontsize=8)
    _limits(axes, dots)
    for dot in dots:
        _draw(axes, dot, style[dot.policy.name])
    figure.draw_without_rendering()
    _label(axes, dots, canvas.get_renderer())  # type: ignore[no-untyped-call]  # matplotlib's stub
    return figure


def _dots(trace: TraceFigures) -> list[_Dot]:
    """The most important ones first: the front, the bound, then the others by their cost."""
    violations, accuracy, cores = columns_for(trace)[:3]
    most = max((each.mean(cores.metric) or 0.0 for each in trace.policies), default=0.0) or 1.0
    dots = []
    for each in trace.policies:
        x, y, c = (each.mean(column.metric) for column in (violations, accuracy, cores))
        if x is not None and y is not None and c is not None:
            at = x * violations.scale, y * accuracy.scale
            area = _AREA[0] + (_AREA[1] - _AREA[0]) * c / most
            wide, tall = _ends(each, violations), _ends(each, accuracy)
            lines = [(wide, (at[1], at[1]))] if wide else []
            lines += [((at[0], at[0]), tall)] if tall else []
            dots.append(_Dot(each, *at, c, area, tuple(lines)))
    return sorted(dots, key=lambda dot: (not dot.policy.on_front, not dot.policy.bound, dot.cores))


def _ends(policy: PolicyFigures, column: Column) -> tuple[float, float] | None:
    """The ends of a figure's confidence interval, as drawn."""
    spread = policy.figures[column.metric]
    if spread is None or spread.low is None or spread.high is None:
        return None
    return spread.low * column.scale, spread.high * column.scale


def _limits(axes: Axes, dots: Sequence[_Dot]) -> None:
    """Room for all dots and their labels; violations over several decades, but with a place for none at all."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    highest = max(dot.x for dot in dots)
    if highest > 10 * _LINEAR:
        axes.set_xscale("symlog", linthresh=_LINEAR, linscale=0.6)
        top = min(2.2 * highest, 160.0)
        ticks = [0.0, *(10.0**p for p in range(-1, 3) if 10.0**p <= top)]
        axes.set_xlim(-0.04, top)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_xlim(-0.06 * (highest or 1.0), 1.25 * (highest or 1.0))
    low, high = min(dot.y for dot in dots), max(dot.y for dot in dots)
    room = max(0.16 * (high - low), 0.02 * high, 1e-3)
    axes.set_ylim(low - room, high + room)


def _draw(axes: Axes, dot: _Dot, look: Style) -> None:
    policy = dot.policy
    for xs, ys in dot.intervals:
        axes.plot(xs, ys, color=look.colour, linewidth=1.0, alpha=0.6, zorder=2)
    edge = INK if policy.on_front else look.colour
    axes.scatter(
        [dot.x], [dot.y], s=dot.area, marker=look.marker,
        facecolor="none" if policy.bound else look.colour, edgecolor=edge,
        linewidth=1.8 if policy.on_front or policy.bound else 0.0,
        alpha=1.0 if policy.on_front or policy.bound else 0.55, zorder=4 if policy.on_front else 3, clip_on=False,
        label=policy.name,
    )  # fmt: skip


def _label(axes: Axes, dots: Sequence[_Dot], renderer: RendererBase) -> None:
    """A label for each dot at the nearest place where it stands on nothing; without such a place, none."""
    from matplotlib.text import Text

    taken = [box for dot in dots for box in _occupied(axes, dot)]
    inside = axes.get_window_extent(renderer)
    for dot in dots:
        for gap in _gaps(dot):
            label = _annotate(axes, dot, gap)
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer)  # without the line that joins it to its dot
            free = not any(box.overlaps(other) for other in taken)
            if free and inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1:
                taken.append(box.padded(1.5))
                break
            label.remove()


def _occupied(axes: Axes, dot: _Dot) -> Iterator[BboxBase]:
    """Where the dot and the lines of its intervals stand, in pixels."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform((dot.x, dot.y))
    r = (dot.radius + 1.0) * axes.figure.dpi / 72.0
    yield Bbox.from_extents(x - r, y - r, x + r, y + r)
    for xs, ys in dot.intervals:
        (left, low), (right, high) = axes.transData.transform(list(zip(xs, ys, strict=True)))
        yield Bbox.from_extents(left - 1.0, low - 1.0, right + 1.0, high + 1.0)


def _gaps(dot: _Dot) -> Iterator[tuple[float, float, float]]:
    """Places to try: offset in points and distance from the dot's rim, nearest first."""
    for distance, angle in itertools.product(_RADII, _ANGLES):
        reach, turn = dot.radius + distance, math.radians(angle)
        yield reach * math.cos(turn), reach * math.sin(turn), distance


def _annotate(axes: Axes, dot: _Dot, gap: tuple[float, float, float]) -> Annotation:
    across, up, distance = gap
    policy = dot.policy
    arrow = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": dot.radius}
    label = axes.annotate(
        f"{policy.name}{' (bound)' if policy.bound else ''} {dot.cores:.3g}", (dot.x, dot.y), xytext=(across, up),
        textcoords="offset points", fontsize=8, color=INK if policy.on_front else FAINT, zorder=5,
        weight="bold" if policy.run.policy == OURS else "normal",
        ha="left" if across > 1.0 else "right" if across < -1.0 else "center",
        va="center" if abs(up) < 0.5 * abs(across) else "bottom" if up > 0 else "top",
        arrowprops=arrow if distance > _LEADER else None,
    )  # fmt: skip
    label.set_in_layout(False)
    return label
