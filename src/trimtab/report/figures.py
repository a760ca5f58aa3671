"""Pictures of runs over time, for comparison: one colour per policy, labels at the lines, time shared by all panels.

Uses matplotlib's objects without pyplot: nothing global is touched and no display is needed. Needs the extra `report`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import MissingExtraError
from trimtab.load.result import LONG_WINDOW_S, WINDOW_S, LoadResult, rank_variants
from trimtab.report.summary import OURS, duration, subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KNOWN = {OURS: "#0067A5", "cheapest": "#B8860B", "most-accurate": "#B0306A"}
_OTHERS = ("#2E8B57", "#7B5EA7", "#C8553D", "#4A6FA5", "#6B705C")
_INK, _FAINT, _GRID = "#24292F", "#6E7781", "#E4E7EB"
_LADDER = ("#DCE9F3", "#0B3C5D")
"""Ends of the scale from the least to the most accurate variant of a task."""
_NAME_GAP = 0.15
"""Least distance of two names, as a share of the panel's height."""


def colours(results: Sequence[LoadResult]) -> dict[str, str]:
    """Run's name → colour: the same for a known policy in every picture, the others in the order given."""
    unknown = [r.run.name for r in results if r.run.name not in _KNOWN]
    return _KNOWN | {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(dict.fromkeys(unknown))}


def overview(results: Sequence[LoadResult]) -> Figure:
    """Everything in one picture: load, punctuality, p99 against the SLO, accuracy, cost, and the subject's variants."""
    one = subject(results)
    tasks = [task for task, counts in one.series.variants.items() if counts]
    panels: list[tuple[float, Callable[[Axes], None]]] = [
        (0.8, lambda axes: _load(axes, results)),
        (1.0, lambda axes: _in_time(axes, results)),
        (1.2, lambda axes: _p99(axes, results)),
        (1.0, lambda axes: _accuracy(axes, results)),
    ]
    shades = _shades([one])
    for task in tasks:
        title = f"{task}: variant in use by {one.run.name}"
        panels.append((0.75, partial(_variants, result=one, task=task, title=title, shades=shades[task])))
    if any(_known(r.series.cores) for r in results):
        panels.append((0.8, lambda axes: _cost(axes, results)))
    figure = _figure(9.2, 0.5 + 1.25 * sum(height for height, _ in panels))
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[h for h, _ in panels])[:, 0]
    for axes, (_, draw) in zip(all_axes, panels, strict=True):
        draw(axes)
    all_axes[-1].set_xlabel("seconds", color=_FAINT, fontsize=8, loc="left")
    all_axes[0].set_xlim(0, max(len(r.series.offered) for r in results))
    return figure


def variants(results: Sequence[LoadResult]) -> Figure | None:
    """Which variant answered, for every run (across) and task (down); None when no run told."""
    telling = [r for r in results if r.series.variants]
    tasks = list(dict.fromkeys(task for r in telling for task in r.series.variants))
    if not tasks:
        return None
    figure = _figure(9.2, 0.6 + 1.5 * len(tasks))
    shades = _shades(telling)
    grid = figure.subplots(len(tasks), len(telling), sharex=True, sharey=True, squeeze=False)
    for down, task in enumerate(tasks):
        for across, result in enumerate(telling):
            title = f"{result.run.name}: {task}" if down == 0 else task
            if task in result.series.variants:
                _variants(grid[down, across], result, task, title, shades[task], names_beside=False)
            else:
                _style(grid[down, across], title)
    grid[0, 0].set_xlim(0, max(len(r.series.offered) for r in telling))
    return figure


def tradeoff(results: Sequence[LoadResult]) -> Figure | None:
    """Accuracy against punctuality, a dot per run; None when no run's accuracy is known."""
    dots = [
        (r.run.name, 100 * r.summary.attainment, 100 * r.summary.delivered_accuracy)
        for r in results
        if r.summary.attainment is not None and r.summary.delivered_accuracy is not None
    ]
    if not dots:
        return None
    figure = _figure(5.2, 3.4)
    axes = figure.subplots()
    _style(axes, "Right answers (%) against requests in time (%)")
    colour = colours(results)
    for name, x, y in dots:
        axes.plot([x], [y], "o", color=colour[name], markersize=9, clip_on=False, zorder=3)
        side = -1 if x > (min(x for _, x, _ in dots) + 103) / 2 else 1
        axes.annotate(
            name, (x, y), xytext=(9 * side, 0), textcoords="offset points", color=colour[name], fontsize=9, va="center",
            ha="right" if side < 0 else "left", bbox={"facecolor": "white", "linewidth": 0, "pad": 1},
        )  # fmt: skip
    aim = 100 * results[0].run.slo_quantile
    axes.axvline(aim, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(min(*(x for _, x, _ in dots), aim) - 4, 103)
    low, high = min(y for _, _, y in dots), max(y for _, _, y in dots)
    axes.set_ylim(low - 2, min(high + 3, 101.5) if high < 99 else 102)
    axes.set_xlabel(f"requests in time, % (dashed: the SLO's {aim:g} %)", color=_FAINT, fontsize=8)
    axes.grid(visible=True, axis="both", color=_GRID, linewidth=0.7)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """The picture's bytes as `png` (twice the size for sharp screens) or `svg`."""
    out = io.BytesIO()
    if kind == "svg":
        figure.savefig(out, format="svg", metadata={"Date": None})
    else:
        figure.savefig(out, format=kind, dpi=170)
    return out.getvalue()


# --- panels ---


def _load(axes: Axes, results: Sequence[LoadResult]) -> None:
    _style(axes, "Load: requests offered per second")
    for result in results:
        x, y = _seconds(result), np.array(result.series.offered, dtype=float)
        axes.fill_between(x, y, step="mid", color=_FAINT, alpha=0.35 / len(results), linewidth=0)
    first = results[0]
    axes.step(_seconds(first), first.series.offered, where="mid", color=_FAINT, linewidth=1.1)
    axes.set_ylim(0, None)


def _in_time(axes: Axes, results: Sequence[LoadResult]) -> None:
    _style(axes, f"In time: % of the requests offered, over {WINDOW_S} s")
    ends = _lines(axes, results, lambda r: [None if v is None else 100 * v for v in r.series.attainment])
    aim = 100 * results[0].run.slo_quantile
    _limit(axes, aim, "")
    lowest = min((100 * v for r in results for v in r.series.attainment if v is not None), default=0.0)
    axes.set_ylim(max(min(lowest, aim) - 6, 0), 104)
    _names(axes, ends)


def _p99(axes: Axes, results: Sequence[LoadResult]) -> None:
    slo_ms = 1e3 * results[0].run.slo_s
    _style(axes, f"p99 response time of the answered requests (ms), over {WINDOW_S} s")
    ends = _lines(axes, results, lambda r: [None if v is None else 1e3 * v for v in r.series.p99_s])
    _limit(axes, slo_ms, f"SLO {duration(results[0].run.slo_s)}")
    highest = max((1e3 * v for r in results for v in r.series.p99_s if v is not None), default=slo_ms)
    if highest > 5 * slo_ms:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.05 * max(highest, 1.2 * slo_ms))
    _names(axes, ends)


def _accuracy(axes: Axes, results: Sequence[LoadResult]) -> None:
    _style(axes, f"Delivered accuracy: % of the answers that were right, over {LONG_WINDOW_S} s")
    _names(axes, _lines(axes, results, lambda r: [None if v is None else 100 * v for v in r.series.accuracy]))


def _cost(axes: Axes, results: Sequence[LoadResult]) -> None:
    _style(axes, f"Cost: cores held, over {LONG_WINDOW_S} s")
    ends = _lines(axes, results, lambda r: r.series.cores)
    axes.set_ylim(0, 1.1 * max(axes.get_ylim()[1], 0.1))
    _names(axes, ends)


def _variants(
    axes: Axes, result: LoadResult, task: str, title: str, shades: Mapping[str, str], *, names_beside: bool = True
) -> None:
    """Shares of the variants of one task, stacked, the most accurate (darkest) at the top."""
    _style(axes, title)
    counts = result.series.variants[task]
    stack = np.array(list(counts.values()), dtype=float)
    total = stack.sum(axis=0)
    shares = 100 * np.divide(stack, total, out=np.zeros_like(stack), where=total > 0)
    base, edges = np.zeros(len(total)), np.arange(len(total) + 1)
    for variant, share in zip(counts, shares, strict=True):
        axes.stairs(base + share, edges, baseline=base, fill=True, color=shades[variant], linewidth=0, label=variant)
        base = base + share
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], labels=["0", "", "100 %"])
    mean = 100 * stack.sum(axis=1) / max(stack.sum(), 1.0)
    names = [f"{variant} {m:.0f} %" for variant, m in zip(counts, mean, strict=True)]
    if names_beside:
        for i, (name, variant) in enumerate(zip(names, counts, strict=True)):
            height = (i + 0.5) / len(names)
            _beside(axes, 0.008, height, "■", shades[variant])
            _beside(axes, 0.026, height, name, _INK)
    else:
        shown = [name for name, m in zip(names, mean, strict=True) if m >= 0.5]
        axes.text(0.02, 0.06, "\n".join(reversed(shown)), transform=axes.transAxes, fontsize=7, color=_INK, va="bottom",
                  bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 2})  # fmt: skip


# --- how panels look ---


def _figure(width_in: float, height_in: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise MissingExtraError("matplotlib", "report", "drawing pictures") from missing
    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def _style(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=_INK, pad=4)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.tick_params(length=0, labelsize=8, labelcolor=_FAINT)
    axes.grid(visible=True, axis="y", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _lines(
    axes: Axes, results: Sequence[LoadResult], values: Callable[[LoadResult], Sequence[float | None]]
) -> list[tuple[float, str, str]]:
    """One line per run, the subject's on top and thicker; gives (last value, name, colour) of each for its name."""
    colour = colours(results)
    one = subject(results)
    ends = []
    for result in sorted(results, key=lambda r: r is one):
        y = _array(values(result))
        name = result.run.name
        axes.plot(_seconds(result), y, color=colour[name], linewidth=2.0 if result is one else 1.4, label=name)
        known = y[~np.isnan(y)]
        if len(known):
            ends.append((float(known[-1]), name, colour[name]))
    axes.margins(y=0.12)
    return ends


def _limit(axes: Axes, y: float, name: str) -> None:
    axes.axhline(y, color=_INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if name:
        axes.annotate(name, (0, y), xycoords=("axes fraction", "data"), xytext=(4, 3), textcoords="offset points",
                      fontsize=8, color=_INK)  # fmt: skip


def _names(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names to the right of the axes, at their lines' ends but apart from each other; last, once limits are set."""
    to_fraction = axes.transScale + axes.transLimits
    placed = sorted((float(to_fraction.transform((0, y))[1]), name, colour) for y, name, colour in ends)
    for height, (_, name, colour) in zip(spread([h for h, _, _ in placed], _NAME_GAP), placed, strict=True):
        _beside(axes, 0.008, height, name, colour)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights in [0, 1], moved to stand `gap` apart: up where too close, then down from 1."""
    apart: list[float] = []
    for height in heights:
        apart.append(max(min(max(height, 0.0), 1.0), apart[-1] + gap if apart else 0.0))
    ceiling = 1.0
    for i in range(len(apart) - 1, -1, -1):
        apart[i] = min(apart[i], ceiling)
        ceiling = apart[i] - gap
    return apart


def _beside(axes: Axes, x: float, height: float, text: str, colour: str) -> None:
    axes.text(1 + x, height, text, transform=axes.transAxes, color=colour, fontsize=8, va="center", clip_on=False)


def _shades(results: Sequence[LoadResult]) -> dict[str, dict[str, str]]:
    """Task → variant → shade, by the accuracy of the variants that any of the runs used."""
    low, high = (np.array([int(end[i : i + 2], 16) for i in (1, 3, 5)], dtype=float) for end in _LADDER)
    shades: dict[str, dict[str, str]] = {}
    for task, ranked in rank_variants([c for r in results for c in r.summary.combinations]).items():
        steps = np.linspace(0, 1, len(ranked)) if len(ranked) > 1 else [1.0]
        mixed = ([round(c) for c in low + step * (high - low)] for step in steps)
        shades[task] = {v: "#" + "".join(f"{c:02x}" for c in mix) for v, mix in zip(ranked, mixed, strict=True)}
    return shades


def _seconds(result: LoadResult) -> NDArray[np.float64]:
    return np.arange(len(result.series.offered), dtype=np.float64) + 0.5


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if v is None else v for v in values], dtype=float)


def _known(values: Sequence[Any]) -> bool:
    return any(v is not None for v in values)
