"""Pictures of how good forecasters were: promised against kept, the busiest hour, and errors beside the baseline's.

Uses matplotlib's objects without pyplot; needs the extra `report`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trimtab.forecast.evaluate import BASELINE, QUANTILES, Evaluation
from trimtab.report.comparison_figures import FAINT, GRID, INK, Style, dress, make_figure
from trimtab.report.figures import render, spread
from trimtab.report.forecast import span, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BASELINE = "#D55E00"
_COLOURS = ("#0067A5", "#009E73", "#CC79A7", "#332288", "#E69F00", "#56B4E9", "#882255", "#6B705C")
"""Told apart with every common colour blindness (Okabe & Ito 2008; Tol 2021); further ones repeat them dashed."""
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)))
_MARKERS = ("o", "s", "^", "v", "P", "X", "D", "*")
_BANDS = (0.55, 0.36, 0.2)
"""Strength of the fan's colour, from the middle outwards."""
_HOUR_S = 3600
_LEAST, _MOST = 0.001, 0.999
"""Shares beyond these are drawn there."""
_TICKS = (0.01, 0.05, 0.2, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_NAME_GAP = 0.055
"""Least distance of two names, as a share of the panel's height."""
_LONGEST_BAR = 3.0
"""Bars end at so many times the baseline; their figures stand beside them."""


def draw(evaluations: Sequence[Evaluation], clock_s: float) -> dict[str, bytes]:
    """All pictures, by file name; `clock_s` says when the trace's first second was.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figures = {"reliability": reliability(evaluations), "relative": relative(evaluations)}
    for each in evaluations:
        figures[f"fan-{re.sub(r'[^A-Za-z0-9]+', '', each.target.name)}"] = fan(each, clock_s)
    return {f"{name}.{kind}": render(figure, kind) for name, figure in figures.items() for kind in ("png", "svg")}


def styles(evaluations: Sequence[Evaluation]) -> dict[str, Style]:
    """Forecaster → how it looks: the baseline dashed, the others by the order in which they come."""
    names = dict.fromkeys(name for each in evaluations for name in each.scores if name != BASELINE)
    found = {BASELINE: Style(_BASELINE, _DASHES[1], "D")}
    for i, name in enumerate(names):
        turn = i // len(_COLOURS) % len(_DASHES)
        found[name] = Style(_COLOURS[i % len(_COLOURS)], _DASHES[turn], _MARKERS[(i + turn) % len(_MARKERS)])
    return found


# --- promised against kept ---


def reliability(evaluations: Sequence[Evaluation]) -> Figure:
    """For each target, the share of highest seconds that each quantile covered, over the quantile itself."""
    style = styles(evaluations)
    figure = make_figure(5.4 * len(evaluations), 4.6)
    x = np.array([_logit(q) for q in QUANTILES])
    for axes, each in zip(figure.subplots(1, len(evaluations), squeeze=False)[0], evaluations, strict=True):
        dress(axes, title_of(each.target), grid="both")
        low, high = _logit(_LEAST) - 0.3, _logit(_MOST) + 0.3
        axes.plot([low, high], [low, high], color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        ends = []
        for name, scores in each.scores.items():
            y = np.array([_logit(scores.peak.coverage[q]) for q in QUANTILES])
            look = style[name]
            axes.plot(x, y, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=5, linewidth=1.6,
                      label=name, clip_on=False)  # fmt: skip
            ends.append((float(y[-1]), name))
        axes.set_xticks(x, [f"{100 * q:g}" for q in QUANTILES])
        axes.set_yticks([_logit(share) for share in _TICKS], [f"{100 * share:g}" for share in _TICKS])
        axes.set_xlim(x[0] - 0.3, x[-1] + 0.3)
        axes.set_ylim(min(low_tick(each), x[0] - 0.6), high)
        axes.set_xlabel("quantile, % (dashed: what it promises)", color=FAINT, fontsize=8, loc="left")
        axes.set_ylabel("highest seconds that did not exceed it, %", color=FAINT, fontsize=8)
        _name_ends(axes, ends, style)
    return figure


def low_tick(evaluation: Evaluation) -> float:
    """Where the axis of observed shares begins: a little below the least of them."""
    least = min(share for scores in evaluation.scores.values() for share in scores.peak.coverage.values())
    return _logit(least) - 0.3


def _logit(share: float) -> float:
    kept = min(max(share, _LEAST), _MOST)
    return math.log(kept / (1.0 - kept))


def _name_ends(axes: Axes, ends: Sequence[tuple[float, str]], style: Mapping[str, Style]) -> None:
    """Names to the right of the axes, by their lines' ends but apart from each other; thin leads join the two."""
    to_fraction = axes.transScale + axes.transLimits
    placed = sorted((float(to_fraction.transform((0, y))[1]), name) for y, name in ends)
    for height, (end, name) in zip(spread([h for h, _ in placed], _NAME_GAP), placed, strict=True):
        axes.plot([1.0, 1.035], [end, height], transform=axes.transAxes, color=style[name].colour, linewidth=0.7,
                  clip_on=False, scalex=False, scaley=False)  # fmt: skip
        axes.text(1.045, height, name, transform=axes.transAxes, color=style[name].ink, fontsize=8, va="center")


# --- the busiest hour ---


def fan(evaluation: Evaluation, clock_s: float) -> Figure:
    """The busiest hour with a burst onset: what the best forecaster said, what the baseline said, and what came."""
    origins, best = evaluation.origins, evaluation.best
    shown = busiest_hour(evaluation)
    at = origins.at[shown]
    hours = (clock_s % 86_400 + at) / _HOUR_S
    broken = np.flatnonzero(np.diff(at) > evaluation.target.stride_s) + 1
    peaks = evaluation.answers[best].peak.quantiles[shown]

    def line(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """With breaks where nothing was scored."""
        return np.insert(hours, broken, np.nan), np.insert(values, broken, np.nan)

    style = styles([evaluation])
    figure = make_figure(9.2, 4.2)
    axes = figure.subplots()
    dress(axes, f"{title_of(evaluation.target)}: highest second, requests per second")
    names = [f"{100 * q:g} %" for q in QUANTILES]
    colour = style[best].colour
    axes.plot(*line(origins.peak[shown]), color=INK, linewidth=1.5, label="what came", zorder=4)
    spreads = bool((peaks != peaks[:, :1]).any())
    axes.plot(*line(peaks[:, 0]), color=colour, linewidth=1.4,
              label=f"{best}: {names[0]} quantile" if spreads else best)  # fmt: skip
    for i, strength in enumerate(_BANDS if spreads else ()):
        x, low = line(peaks[:, i])
        axes.fill_between(x, low, line(peaks[:, i + 1])[1], color=_tint(colour, strength), linewidth=0, zorder=1,
                          label=f"{best}: {names[i]} to {names[i + 1]} quantile")  # fmt: skip
    if best != BASELINE:
        told = evaluation.answers[BASELINE].peak.quantiles[shown, 0]
        axes.plot(*line(told), color=style[BASELINE].colour, linewidth=1.2, linestyle=(0, (3, 1.5)), label=BASELINE,
                  zorder=3)  # fmt: skip
    onsets = origins.onsets[shown]
    axes.plot(hours[onsets], origins.peak[shown][onsets], linestyle="none", marker="v", markersize=8, color="white",
              markeredgecolor=INK, markeredgewidth=1.3, zorder=5, label="a burst begins")  # fmt: skip
    top = max(float(peaks.max()), float(origins.peak[shown].max()))
    axes.set_ylim(0, 1.08 * top if top > 0.0 else 1.0)
    axes.set_xlim(hours[0], hours[-1] if len(hours) > 1 else hours[0] + 1 / 60)
    axes.xaxis.set_major_formatter(_clock_words)
    minutes = max(1, math.ceil((hours[-1] - hours[0]) * 60 / 12))
    step = next((m for m in (1, 2, 5, 10, 15) if m >= minutes), 15) / 60
    axes.set_xticks(np.arange(math.ceil(hours[0] / step - 1e-9), math.floor(hours[-1] / step + 1e-9) + 1) * step)
    axes.set_xlabel(
        f"time of day when the forecast was made; from {span(int(at[0]))} into the trace on",
        color=FAINT,
        fontsize=8,
        loc="left",
    )
    figure.legend(loc="outside lower left", ncols=4, fontsize=8, frameon=False, labelcolor=INK)
    return figure


def busiest_hour(evaluation: Evaluation) -> NDArray[np.int64]:
    """The origins of the hour with the highest mean of highest seconds, of those in which a burst begins if any."""
    origins = evaluation.origins
    ends = np.searchsorted(origins.at, origins.at + _HOUR_S)
    begins = np.arange(len(origins))
    total = np.concatenate(([0.0], np.cumsum(origins.peak)))
    onsets = np.concatenate(([0], np.cumsum(origins.onsets)))
    load = (total[ends] - total[begins]) / np.maximum(ends - begins, (ends - begins).max() / 2)
    with_onset = onsets[ends] > onsets[begins]
    best = int(np.argmax(np.where(with_onset, load, -1.0) if with_onset.any() else load))
    return np.arange(best, ends[best])


def _tint(colour: str, strength: float) -> str:
    """The colour on white."""
    parts = (round(255 - strength * (255 - int(colour[i : i + 2], 16))) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)


def _clock_words(hours: float, _position: float = 0.0) -> str:
    minutes = round(hours * 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


# --- errors beside the baseline's ---


def relative(evaluations: Sequence[Evaluation]) -> Figure:
    """For each target, pinball loss and squared error of every forecaster, in per cent of the baseline's."""
    rows = max(len(each.scores) for each in evaluations) - 1
    figure = make_figure(5.2 * len(evaluations), 1.5 + 0.5 * max(1, rows))
    for axes, each in zip(figure.subplots(1, len(evaluations), squeeze=False)[0], evaluations, strict=True):
        dress(axes, title_of(each.target), grid="x")
        names = [name for name in each.scores if name != BASELINE]
        baseline = each.scores[BASELINE].peak
        longest = 0.0
        peaks = [each.scores[name].peak for name in names]
        for offset, colour, label, shares in (
            (-0.19, "#0067A5", "pinball loss", [_ratio(peak.mean_pinball, baseline.mean_pinball) for peak in peaks]),
            (0.19, "#E69F00", "mean squared error", [_ratio(peak.mse, baseline.mse) for peak in peaks]),
        ):
            widths = [min(share, _LONGEST_BAR) if math.isfinite(share) else 0.0 for share in shares]
            longest = max([longest, *widths])
            places = np.arange(len(names)) + offset
            axes.barh(places, [100 * width for width in widths], height=0.36, color=colour, label=label)
            for place, width, share in zip(places, widths, shares, strict=True):
                words = f"{100 * share:,.0f}" if share <= _LONGEST_BAR else f"{100 * share:,.0f}, cut off"
                axes.annotate(
                    words if math.isfinite(share) else "not known", (100 * width, place), xytext=(3, 0),
                    textcoords="offset points", fontsize=7.5, color=INK, va="center",
                    bbox={"facecolor": "white", "linewidth": 0, "pad": 0.6},
                )  # fmt: skip
        axes.axvline(100, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(0, 118 * max(1.0, longest))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.spines["bottom"].set_color(GRID)
        axes.set_xlabel(f"% of {BASELINE} (dashed); less is better", color=FAINT, fontsize=8, loc="left")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _ratio(value: float, baseline: float) -> float:
    if baseline == 0.0:
        return 1.0 if value == 0.0 else math.inf
    return value / baseline
