"""How good forecasters were, in words: tables for terminals, CSV and JSON. Pure: all follows from the evaluations."""

from __future__ import annotations

import csv
import io
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.forecast.evaluate import BASELINE, ONSET, QUANTILES, UPPER, Evaluation, NumberScores, Scores, Target

FORMAT = "trimtab.forecast/1"
BEST = "bold green"
LEGEND = {
    "pinball": "mean loss of the 50, 90, 95 and 99 % quantiles of the highest second: the one figure for the whole",
    "of mean": "the same for the mean rate",
    "MSE": "mean squared error of the expected highest second; to last: against the forecaster 'last'",
    "SMAPE": "relative error of the median",
    "truths within": "share of highest seconds that did not exceed the quantile, ties included",
    "onsets": "share of burst onsets within the quantile",
    "over": "how far the quantile lay above the highest second at all other times, in the mean",
}
"""Heading → what stands below it, for a reader who sees the table for the first time."""
HEADINGS = {
    "pinball": "\npinball",
    "mean": "of\nmean",
    "MSE": "\nMSE",
    "to last": "to\nlast",
    "SMAPE": "SMAPE\n%",
    "coverage": "truths within, %\n  50   90   95   99",
    "onsets": "onsets, %\n  95   99",
    "over": "over, %\n  95   99",
    "time": "\ntime",
}
"""Column → what stands above it."""
_DISPENSABLE = {
    "time": "time of a forecast",
    "mean": "pinball of mean",
    "to last": "MSE to last",
    "SMAPE": "SMAPE",
    "over": "over",
}
"""The columns that go first where a terminal is narrow, and what they are called then."""
_NAME_WIDTH = 16
"""Columns of a terminal up to which a forecaster's name stands in one line."""
_ANY_WIDTH = 10_000
"""Columns of a terminal that no table fills."""
_MANY = 10.0
"""From so many times the baseline on, how many times is told instead of how many per cent more."""
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, beside the targets."""

    trace: str
    zeros: str
    """What a zero of the trace means: `missing` or `count`."""
    clock_start_s: float
    """When the trace's first second was."""
    history_s: int | None
    """How much before the start the forecasters observed, where it was said."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""


# --- for people ---


def print_evaluations(evaluations: Sequence[Evaluation], asked: Asked, console: Console) -> None:
    """For each target its table, and what it shows."""
    for each in evaluations:
        table, dropped = _fitting(each, console)
        console.print(Text(title_of(each.target), style="bold"), soft_wrap=True)
        _tell(scored(each), console, style="dim")
        console.print()
        console.print(table)
        console.print()
        _tell(sentence(each), console)
        for note in silences(each):
            _tell(note, console)
        if dropped:
            _tell(f"A wider terminal shows more: {', '.join(dropped)}.", console, style="dim")
        console.print()
    for note in asked.notes:
        _tell(f"note: {note}", console)
    legend = Table.grid(padding=(0, 2))
    for heading, words in LEGEND.items():
        legend.add_row(heading, words, style="dim")
    console.print(legend)


def _tell(words: str, console: Console, style: str = "") -> None:
    """In lines that do not part a number from its unit."""
    joined = re.sub(r"(?<=\d) (?=\D{1,3}\b|%)|(?<=[>×÷]) ", "\N{NO-BREAK SPACE}", words)
    lines = textwrap.fill(joined, console.width).replace("\N{NO-BREAK SPACE}", " ")
    console.print(Text(lines, style=style), soft_wrap=True)


def title_of(target: Target) -> str:
    """What was to be forecast: `ipa: the next 20 s, asked every 10 s, counts ÷ 8`."""
    divided = f", counts ÷ {target.divide}" if target.divide != 1 else ""
    return f"{target.name}: the next {target.horizon_s} s, asked every {target.stride_s} s{divided}"


def scored(evaluation: Evaluation) -> str:
    """What was scored, and what was not."""
    origins = evaluation.origins
    onsets = int(origins.onsets.sum())
    parts = [f"{len(origins):,} forecasts from {span(origins.start)} to {span(origins.stop)} of the trace"]
    if origins.left_out:
        parts.append(f"{origins.left_out:,} left out for want of records")
    parts.append(f"{onsets:,} burst onset{'s' if onsets != 1 else ''} (next maximum > {ONSET:g} × the last)")
    return "; ".join(parts)


def span(seconds: int) -> str:
    """A moment of a trace: `14 d`, `14 d 3 h`, `90 s`."""
    days, rest = divmod(seconds, _DAY_S)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if n]
    return " ".join(parts) or "0 s"


def score_table(evaluation: Evaluation, columns: Sequence[str] | None = None) -> Table:
    """One line for each forecaster; the best figure of a column is bold. All columns where none are named."""
    shown = list(HEADINGS) if columns is None else columns
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    width = min(_NAME_WIDTH, max(10, *map(len, evaluation.scores)))
    table.add_column("\nforecaster", overflow="fold", min_width=width, max_width=width)
    for column in shown:
        table.add_column(HEADINGS[column], justify="right", no_wrap=True)
    best = winners(evaluation)
    for name in evaluation.scores:
        cells = _cells(evaluation, name)
        styled = (Text(cells[column], style=BEST if best.get(column) == name else "") for column in shown)
        table.add_row(Text(name, style=BEST if best["pinball"] == name else ""), *styled)
    return table


def _cells(evaluation: Evaluation, name: str) -> dict[str, str]:
    scores, below = evaluation.scores[name], evaluation.mse_below(name)
    return {
        "pinball": digits(scores.peak.mean_pinball),
        "mean": digits(scores.mean.mean_pinball),
        "MSE": digits(scores.peak.mse),
        "to last": "" if name == BASELINE or below is None else change(below),
        "SMAPE": f"{100 * scores.peak.smape:.1f}",
        "coverage": _shares(scores.peak.coverage, 1),
        "onsets": _shares(scores.onsets_covered),
        "over": f" {_shares(scores.over_forecast)}",
        "time": _time(scores.forecast_s),
    }


def _fitting(evaluation: Evaluation, console: Console) -> tuple[Table, list[str]]:
    """The table with as many columns as the console has room for, and the headings of those that have none."""
    columns = list(HEADINGS)
    for column in (None, *_DISPENSABLE):
        columns = [each for each in columns if each != column]
        table = score_table(evaluation, columns)
        if console.measure(table, options=console.options.update_width(_ANY_WIDTH)).maximum <= console.width:
            break
    return table, [_DISPENSABLE[each] for each in HEADINGS if each not in columns]


def winners(evaluation: Evaluation) -> dict[str, str]:
    """Column → the forecaster that is best in it. Onsets and over-forecast have none: they are bought by each other."""

    def lowest(figure: Callable[[Scores], float]) -> str:
        return min(evaluation.scores, key=lambda name: figure(evaluation.scores[name]))

    return {
        "pinball": lowest(lambda scores: scores.peak.mean_pinball),
        "mean": lowest(lambda scores: scores.mean.mean_pinball),
        "MSE": lowest(lambda scores: scores.peak.mse),
        "SMAPE": lowest(lambda scores: scores.peak.smape),
        "coverage": lowest(lambda scores: scores.peak.miscoverage),
    }


def sentence(evaluation: Evaluation) -> str:
    """Who is best in what, made from the figures alone."""
    best = winners(evaluation)
    peak = {column: evaluation.scores[name].peak for column, name in best.items()}
    below = evaluation.mse_below(best["MSE"])
    slowest = max(evaluation.scores, key=lambda name: evaluation.scores[name].forecast_s)
    against = "" if below is None or best["MSE"] == BASELINE else f", {_against(below)} {BASELINE}"
    return (
        f"Best: pinball {best['pinball']} ({digits(peak['pinball'].mean_pinball)}); "
        f"MSE {best['MSE']} ({digits(peak['MSE'].mse)}{against}); "
        f"SMAPE {best['SMAPE']} ({100 * peak['SMAPE'].smape:.1f} %); "
        f"coverage {best['coverage']} (at most {100 * peak['coverage'].miscoverage:.1f} points off). "
        f"Slowest: {slowest} ({_time(evaluation.scores[slowest].forecast_s)} a forecast)."
    )


def silences(evaluation: Evaluation) -> Iterator[str]:
    """Who said nothing, or warned."""
    for name, scores in evaluation.scores.items():
        if scores.unanswered:
            yield f"{name} said nothing {_times(scores.unanswered)}: what is scored there is the last maximum."
        if scores.warned:
            yield f"{name} warned {_times(scores.warned)} that its own quantiles had not held lately."


def digits(value: float) -> str:
    """Three significant digits, and no fewer than the whole number has; from a million on `1.23e6`."""
    if abs(value) >= 1e6 and math.isfinite(value):
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 6)}f}"


def change(below: float) -> str:
    """How far something lies from the baseline: `-41 %`, or `×12`."""
    if below <= -_MANY:
        return f"×{1.0 - below:,.0f}"
    return f"{-100 * below:+,.0f} %".replace("-0 %", "+0 %")


def _against(below: float) -> str:
    return f"{100 * below:.1f} % below" if below >= 0.0 else f"{-100 * below:.1f} % above"


def _shares(shares: Mapping[float, float | None], places: int = 0) -> str:
    """Per cent, four columns each."""
    told = ("–" if share is None else f"{100 * share:.{places}f}" for share in shares.values())
    return " ".join(f"{'100' if words == '100.0' else words:>4}" for words in told)


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} µs"


def _times(count: int) -> str:
    return f"{count:,} time{'s' if count != 1 else ''}"


# --- for machines ---


def scores_object(evaluations: Sequence[Evaluation], asked: Asked) -> dict[str, Any]:
    """Everything as plain values, ready for JSON."""
    return {
        "format": FORMAT,
        "trace": asked.trace,
        "zeros": asked.zeros,
        "clock_start_s": asked.clock_start_s,
        "history_s": asked.history_s,
        "notes": list(asked.notes),
        "targets": [
            {
                "name": each.target.name,
                "horizon_s": each.target.horizon_s,
                "stride_s": each.target.stride_s,
                "divide": each.target.divide,
                "from_s": each.origins.start,
                "to_s": each.origins.stop,
                "origins": len(each.origins),
                "left_out": each.origins.left_out,
                "onsets": int(each.origins.onsets.sum()),
                "forecasters": {name: _scores_entry(each, name) for name in each.scores},
            }
            for each in evaluations
        ],
    }


def scores_csv(evaluations: Sequence[Evaluation]) -> str:
    """One row for each forecaster on each target; the columns are the fields of the object, joined by dots."""
    out = io.StringIO()
    rows = []
    for target in scores_object(evaluations, Asked("", "", 0.0, None))["targets"]:
        forecasters = target.pop("forecasters")
        rows += [{"target": target["name"], "forecaster": name} | _flat(target | entry)
                 for name, entry in forecasters.items()]  # fmt: skip
    for row in rows:
        del row["name"]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _scores_entry(evaluation: Evaluation, name: str) -> dict[str, Any]:
    scores = evaluation.scores[name]
    return {
        "peak": _number_entry(scores.peak),
        "mean": _number_entry(scores.mean),
        "mse_below_last": evaluation.mse_below(name),
        "onsets_covered": {f"{q:g}": scores.onsets_covered[q] for q in UPPER},
        "over_forecast": {f"{q:g}": scores.over_forecast[q] for q in UPPER},
        "unanswered": scores.unanswered,
        "warned": scores.warned,
        "forecast_s": scores.forecast_s,
        "observe_s": scores.observe_s,
    }


def _number_entry(scores: NumberScores) -> dict[str, Any]:
    return {
        "mean_pinball": scores.mean_pinball,
        "pinball": {f"{q:g}": scores.pinball[q] for q in QUANTILES},
        "coverage": {f"{q:g}": scores.coverage[q] for q in QUANTILES},
        "mse": scores.mse,
        "mae": scores.mae,
        "smape": scores.smape,
    }


def _flat(entry: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested fields by their path: `peak.pinball.0.5`."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {before + name: value}
    return flat
