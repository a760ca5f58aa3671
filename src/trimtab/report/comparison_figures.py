"""Pictures of a comparison over time: p99 against the SLO, accuracy and cost, the offered rate above or behind.

A few policies share their panels, each line labelled at its end; many get a row each, so that every line can be
followed. Lines are means over the seeds. Uses matplotlib's objects without pyplot; needs the extra `report`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.errors import MissingExtraError
from trimtab.report.comparison import Comparison, TraceFigures
from trimtab.report.comparison_lines import Line, Values, average, line_of, over_seeds
from trimtab.report.comparison_text import cell, columns_for, is_rank_sum
from trimtab.report.figures import spread
from trimtab.report.summary import OURS, duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#24292F", "#6E7781", "#E4E7EB"
FEW = 6
"""Up to so many policies share their panels."""
_OURS = "#0067A5"
_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#332288", "#E69F00", "#56B4E9", "#882255")
"""Told apart with every common colour blindness (Okabe & Ito 2008; Tol 2021); further policies repeat them dashed."""
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "v")
_HOURS_FROM_S = 7200.0
"""Longer runs are drawn over hours."""
_NAME_GAP = 0.1
"""Least distance of two names, as a share of the panel's height."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a policy looks in every picture."""

    colour: str
    dash: Any
    marker: str

    @property
    def ink(self) -> str:
        """The colour, dark enough for words."""
        parts = (round(0.68 * int(self.colour[i : i + 2], 16)) for i in (1, 3, 5))
        return "#" + "".join(f"{part:02x}" for part in parts)


def styles(comparison: Comparison) -> dict[str, Style]:
    """Name → how it looks: Trimtab's own in blue, a bound in grey, the others by the order in which they come."""
    runs = {policy.name: policy for trace in comparison.traces for policy in trace.policies}
    found: dict[str, Style] = {}
    ours = bounds = others = 0
    for name in comparison.names:
        policy = runs[name]
        if policy.bound:
            found[name] = Style(FAINT, _DASHES[(1 + bounds) % len(_DASHES)], "D")
            bounds += 1
        elif policy.run.policy == OURS:
            found[name] = Style(_OURS, _DASHES[ours % len(_DASHES)], _MARKERS[ours % len(_MARKERS)])
            ours += 1
        else:
            turn = others // len(_COLOURS) % len(_DASHES)
            found[name] = Style(_COLOURS[others % len(_COLOURS)], _DASHES[turn], _MARKERS[turn])
            others += 1
    return found


def over_time(trace: TraceFigures, style: Mapping[str, Style]) -> Figure:
    """One trace over time: p99, accuracy and cost of every policy, and the offered rate.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    lines = {policy.name: line_of(policy) for policy in trace.policies}
    if len(trace.policies) <= FEW:
        return _together(trace, lines, style)
    return _apart(trace, lines, style)


def make_figure(width_in: float, height_in: float) -> Figure:
    """An empty picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def require_matplotlib() -> None:
    """Fail early, before anything runs.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as missing:
        raise MissingExtraError("matplotlib", "report", "drawing pictures") from missing


def dress(axes: Axes, title: str, grid: str = "y") -> None:
    """Title, colours and grid as in every picture."""
    axes.set_title(title, loc="left", fontsize=9, color=INK, pad=4)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(length=0, which="both", labelsize=8, labelcolor=FAINT)
    axes.grid(visible=True, axis=grid, color=GRID, linewidth=0.7)  # type: ignore[arg-type]  # "x", "y" or "both"
    axes.set_axisbelow(True)


# --- a few policies: shared panels ---


def _together(trace: TraceFigures, lines: Mapping[str, Line], style: Mapping[str, Style]) -> Figure:
    figure = make_figure(9.2, 6.9)
    column = figure.subplots(4, 1, sharex=True, height_ratios=[0.55, 1.2, 1.0, 1.0])
    offered = _offered(lines)
    dress(column[0], "Load: requests offered per second")
    _shade(column[0], offered, _point_s(lines), alpha=0.35)
    column[0].set_ylim(0, None)
    for axes, (title, attribute) in zip(column[1:], _panels(trace, lines).items(), strict=True):
        dress(axes, title)
        ends = []
        for policy in sorted(trace.policies, key=lambda each: each.run.policy == OURS):
            y = average(getattr(lines[policy.name], attribute))
            look = style[policy.name]
            width = 2.0 if policy.run.policy == OURS else 1.4
            axes.plot(lines[policy.name].middles_s, y, color=look.colour, linestyle=look.dash, linewidth=width,
                      label=policy.name)  # fmt: skip
            known = y[~np.isnan(y)]
            if len(known):
                ends.append((float(known[-1]), policy.name))
        _scale(axes, attribute, trace, lines)
        if attribute == "p99_ms":
            slo_s = _slo_line(axes, trace)
            axes.annotate(f"SLO {duration(slo_s)}", (0, 1e3 * slo_s), xycoords=("axes fraction", "data"), xytext=(4, 3),
                          textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
        _name_ends(axes, ends, style)
    _time(column[-1], trace)
    return figure


def _name_ends(axes: Axes, ends: Sequence[tuple[float, str]], style: Mapping[str, Style]) -> None:
    """Names to the right of the axes, at their lines' ends but apart from each other; once the limits are set."""
    to_fraction = axes.transScale + axes.transLimits
    placed = sorted((float(to_fraction.transform((0, y))[1]), name) for y, name in ends)
    for height, (_, name) in zip(spread([h for h, _ in placed], _NAME_GAP), placed, strict=True):
        axes.text(1.008, height, name, transform=axes.transAxes, color=style[name].ink, fontsize=8, va="center",
                  clip_on=False)  # fmt: skip


# --- many policies: a row each ---


def _apart(trace: TraceFigures, lines: Mapping[str, Line], style: Mapping[str, Style]) -> Figure:
    count = len(trace.policies)
    figure = make_figure(9.2, 0.6 + 0.68 * count)
    grid = figure.subplots(count, 3, sharex=True, sharey="col", squeeze=False)
    offered = _offered(lines)
    for row, policy in enumerate(trace.policies):
        line, look = lines[policy.name], style[policy.name]
        for axes, (title, attribute) in zip(grid[row], _panels(trace, lines).items(), strict=True):
            dress(axes, title if row == 0 else "")
            _shade_behind(axes, offered, _point_s(lines))
            values = getattr(line, attribute)
            x = line.middles_s
            if len(values) > 1:
                low, high = over_seeds(np.nanmin, values), over_seeds(np.nanmax, values)
                axes.fill_between(x, low, high, color=look.colour, alpha=0.2, linewidth=0)
            axes.plot(x, average(values), color=look.colour, linewidth=1.2, label=policy.name)
            if attribute == "p99_ms":
                _slo_line(axes, trace)
        violations, _, cores = columns_for(trace)[:3]
        first = grid[row, 0]
        name = _shortened(f"{policy.name} (bound)" if policy.bound else policy.name)
        first.text(-0.62, 0.72, name, transform=first.transAxes, fontsize=8.5, color=look.ink,
                   weight="bold" if policy.run.policy == OURS else "normal", clip_on=False)  # fmt: skip
        told = f"{cell(policy, violations).split(' ')[0]} % violations"
        first.text(-0.62, 0.40, told, transform=first.transAxes, fontsize=7, color=FAINT, clip_on=False)
        told = f"{cell(policy, cores).split(' ')[0]} cores"
        first.text(-0.62, 0.12, told, transform=first.transAxes, fontsize=7, color=FAINT, clip_on=False)
    for axes, attribute in zip(grid[-1], _panels(trace, lines).values(), strict=True):
        _scale(axes, attribute, trace, lines)
        _time(axes, trace)
    return figure


def _shade_behind(axes: Axes, offered: Values, point_s: float) -> None:
    """The offered rate as a grey hill that fills the panel, without a scale of its own."""
    height = np.nan_to_num(offered) / max(1.05 * float(np.nanmax(offered)), 1e-9)
    edges = np.arange(len(offered) + 1) * point_s
    axes.fill_between(edges, np.append(height, height[-1]), step="post", transform=axes.get_xaxis_transform(),
                      color=FAINT, alpha=0.13, linewidth=0)  # fmt: skip


def _shortened(name: str, most: int = 20) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


# --- what both share ---


def _panels(trace: TraceFigures, lines: Mapping[str, Line]) -> dict[str, str]:
    """Title → the line's attribute."""
    unit = "" if is_rank_sum(trace) else ", %"
    point_s, window_s = _point_s(lines), trace.policies[0].results[0].series.window_s
    over = f"over {window_s:g} s" if point_s == window_s else f"the highest {window_s:g} s of every {point_s:g} s"
    if len(lines) > FEW:
        slo = duration(trace.policies[0].run.slo_s)
        return {f"p99, ms (dashed: SLO {slo})": "p99_ms", f"accuracy{unit}": "accuracy", "cores held": "cores"}
    return {
        f"p99 response time of the answered requests, ms, {over}": "p99_ms",
        f"Delivered accuracy{unit}": "accuracy",
        "Cost: cores held": "cores",
    }


def _slo_line(axes: Axes, trace: TraceFigures) -> float:
    slo_s = trace.policies[0].run.slo_s
    axes.axhline(1e3 * slo_s, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    return slo_s


def _scale(axes: Axes, attribute: str, trace: TraceFigures, lines: Mapping[str, Line]) -> None:
    """Limits that hold every policy's line and the SLO."""
    values = np.concatenate([average(getattr(line, attribute)) for line in lines.values()])
    values = values[~np.isnan(values)]
    if attribute == "p99_ms":
        slo_ms = 1e3 * trace.policies[0].run.slo_s
        highest = max([slo_ms, *values])
        if highest > 5 * slo_ms:
            lowest = min([slo_ms, *values[values > 0]])
            axes.set_yscale("log")
            axes.set_ylim(0.7 * lowest, 1.4 * highest)
            _plain_log(axes)
        else:
            axes.set_ylim(0, 1.08 * max(highest, 1.1 * slo_ms))
    elif attribute == "cores":
        axes.set_ylim(0, 1.08 * max([*values, 1.0]))
    elif len(values):
        room = max(0.08 * float(values.max() - values.min()), 0.2 if not is_rank_sum(trace) else 0.02)
        axes.set_ylim(float(values.min()) - room, float(values.max()) + room)


def _time(axes: Axes, trace: TraceFigures) -> None:
    """The axis of time: seconds, and hours where there are many."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    seconds = trace.policies[0].run.seconds
    axes.set_xlim(0, seconds)
    if seconds <= _HOURS_FROM_S:
        axes.set_xlabel("seconds", color=FAINT, fontsize=8, loc="left")
        return
    step = next((h for h in (1, 2, 3, 6, 12, 24) if seconds <= 8 * h * 3600), math.ceil(seconds / 8 / 86_400) * 24)
    axes.xaxis.set_major_locator(MultipleLocator(3600.0 * step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 3600.0:g}"))
    axes.set_xlabel("hours", color=FAINT, fontsize=8, loc="left")


def _plain_log(axes: Axes) -> None:
    """Ticks of a logarithmic axis as people write numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _offered(lines: Mapping[str, Line]) -> Values:
    """The offered rate, from the first policy: all get the same."""
    return average(next(iter(lines.values())).offered_rps)


def _point_s(lines: Mapping[str, Line]) -> float:
    return next(iter(lines.values())).point_s


def _shade(axes: Axes, y: Values, point_s: float, alpha: float) -> None:
    edges = np.arange(len(y) + 1) * point_s
    axes.stairs(np.nan_to_num(y), edges, fill=True, color=FAINT, alpha=alpha, linewidth=0)
