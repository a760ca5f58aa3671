"""One simulated run for people, and its series as CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.report.summary import duration, percent
from trimtab.sim.result import SimResult

_COUNTS = ("offered", "in_time", "late", "refused", "dropped", "failed")
_FIGURES = ("p50_s", "p99_s", "accuracy", "cores", "planned_cores", "rate_planned")


def print_simulation(result: SimResult, console: Console) -> None:
    """The figures of a run, what it was asked with, and its notes."""
    run = result.run
    title = f"{run.policy} on {run.trace}: {run.seconds:,.0f} s, {run.arrivals} arrivals, seed {run.seed}"
    console.print(Text(title, style="italic"), soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(result):
        table.add_row(name, Text(value))
    console.print(table)
    for note in run.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def series_csv(result: SimResult) -> str:
    """One row for each window: when it begins, the series, and the items that each variant served."""
    series = result.series
    variants = [(task, variant) for task, counts in series.variants.items() for variant in counts]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["start_s", *_COUNTS, *_FIGURES, *(f"items.{task}.{variant}" for task, variant in variants)])
    for i in range(len(series.offered)):
        figures = (getattr(series, name)[i] for name in _FIGURES)
        writer.writerow(
            [
                f"{i * series.window_s:.10g}",
                *(getattr(series, name)[i] for name in _COUNTS),
                *("" if value is None else repr(float(value)) for value in figures),
                *(series.variants[task][variant][i] for task, variant in variants),
            ]
        )
    return out.getvalue()


def accuracy_words(result: SimResult) -> str:
    """Delivered accuracy; a share, but where the settings say that it is a sum of ranks."""
    accuracy = result.summary.accuracy
    if accuracy is None:
        return "nothing was answered"
    if result.settings.get("accuracy") == "rank-sum":
        return f"{accuracy:.3f}, a sum of ranks"
    return f"{percent(accuracy)}, by what the variants are worth that answered"


def _lines(result: SimResult) -> Iterator[tuple[str, str]]:
    told, run = result.summary, result.run
    met = told.attainment is not None and told.attainment >= run.slo_quantile
    aim = f"wanted {percent(run.slo_quantile)} within {duration(run.slo_s)}: {'met' if met else 'missed'}"
    yield "offered", f"{told.offered:,} requests"
    yield "in time", f"{percent(told.attainment)} ({aim})"
    yield "violations", f"{percent(told.violation_ratio)}{_causes(result)}"
    times = ", ".join(f"p{q} {duration(getattr(told, f'p{q}_s'))}" for q in (50, 95, 99))
    yield "response time", f"{times}, of the requests answered"
    yield "accuracy", accuracy_words(result)
    yield "cores", f"{told.mean_cores:.4g} held on average, at most {told.peak_cores}; {told.planned_cores:.4g} planned"
    for task, counts in result.series.variants.items():
        total = sum(map(sum, counts.values()))
        if total:
            yield f"{task} by", ", ".join(f"{v} {percent(sum(n) / total)}" for v, n in counts.items() if any(n))
    spent = f" in {duration(told.decide_s)}" if told.decisions else ""
    yield "plans", f"{told.changes:,} changes, {told.decisions:,} decisions{spent}"
    yield "plant", f"{run.plant}, up to {run.cores} cores; forecaster {run.forecaster}, rule {run.rule}"
    yield from result.settings.items()


def _causes(result: SimResult) -> str:
    told = result.summary
    causes = [f"{n:,} {cause}" for cause in ("late", "refused", "dropped", "failed") if (n := getattr(told, cause))]
    return f" ({', '.join(causes)})" if causes else ""
