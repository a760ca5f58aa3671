"""A comparison of simulated runs in words: tables for terminals and pages, CSV, and sentences made from the figures.

Pure: everything follows from the `Comparison`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.report.comparison import METRICS, Comparison, PolicyFigures, TraceFigures, dominates, name_of, subject
from trimtab.report.summary import OURS
from trimtab.sim.result import SimSummary

ACCURACY = "accuracy"
"""The key of a result's settings that says what accuracy is, where it is no share: `rank-sum`."""
FRONT_MARK = "●"
"""Stands before the policies that no other dominates."""
_ANY_WIDTH = 10_000
"""Columns of a terminal that no table fills."""
_NAMED = 5
"""More policies than this are not listed in a sentence."""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure as it stands in tables."""

    metric: str
    heading: str
    scale: float
    """What figures are multiplied by."""
    decimals: Callable[[float], int]
    """Decimals of a figure, by its size."""

    def number(self, value: float) -> str:
        """A figure's mean in digits; little is never told as nothing."""
        scaled = value * self.scale
        places = self.decimals(scaled)
        least = 10.0**-places
        return f"<{least:.{places}f}" if 0.0 < scaled < 0.5 * least else f"{scaled:,.{places}f}"


def columns_for(trace: TraceFigures) -> tuple[Column, ...]:
    """The columns of a table, the most important ones first."""
    ranks = is_rank_sum(trace)
    return (
        Column("violation_ratio", "violations %", 100.0, _two_decimals),
        Column("accuracy", "accuracy" if ranks else "accuracy %", 1.0 if ranks else 100.0, _two_decimals),
        Column("mean_cores", "cores held", 1.0, _two_decimals),
        Column("p99_s", "p99 ms", 1e3, _three_digits),
        Column("planned_cores", "planned", 1.0, _two_decimals),
        Column("p50_s", "p50 ms", 1e3, _three_digits),
        Column("changes", "changes", 1.0, _one_if_broken),
    )


def is_rank_sum(trace: TraceFigures) -> bool:
    """Whether accuracy is a sum of ranks, and no share."""
    return trace.policies[0].results[0].settings.get(ACCURACY) == "rank-sum"


def cell(policy: PolicyFigures, column: Column) -> str:
    """A figure with half its confidence interval: `0.41 ±0.08`."""
    spread = policy.figures[column.metric]
    if spread is None:
        return "–"
    told = column.number(spread.mean)
    if spread.half is None:
        return told
    return f"{told} ±{spread.half * column.scale:,.{column.decimals(spread.mean * column.scale)}f}"


def meets_slo(policy: PolicyFigures) -> bool:
    """Whether no more requests were violations than the SLO allows, on average."""
    violations = policy.mean("violation_ratio")
    return violations is not None and violations <= 1.0 - policy.run.slo_quantile + 1e-12


def print_comparison(comparison: Comparison, console: Console) -> None:
    """For each trace its table and what it shows, and what failed."""
    for trace in comparison.traces:
        console.print(Text(title_of(trace), style="bold"), soft_wrap=True)
        console.print(_fitting(trace, console))
        console.print()
        console.print(sentence(trace), markup=False, highlight=False)
        console.print("; ".join(asked(trace)), style="dim", markup=False, highlight=False)
        console.print()
    if comparison.traces:
        console.print(legend(comparison), style="dim", markup=False, highlight=False)


def comparison_table(trace: TraceFigures, columns: Sequence[Column] | None = None) -> Table:
    """One line per policy."""
    shown = columns_for(trace) if columns is None else columns
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("policy", overflow="fold")
    for column in shown:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for policy in trace.policies:
        style = "italic" if policy.bound else "bold" if policy.run.policy == OURS else None
        cells = [Text(cell(policy, column)) for column in shown]
        cells[0].stylize("green" if meets_slo(policy) else "red")
        name = Text(f"{policy.name} (bound)" if policy.bound else policy.name)
        table.add_row(FRONT_MARK if policy.on_front else "", name, *cells, style=style)
    return table


def title_of(trace: TraceFigures) -> str:
    """What was played: the trace, how long, and how often."""
    run = trace.policies[0].run
    return f"{trace.trace}: {run.seconds:,.0f} s, {run.arrivals} arrivals, {_seeds(trace)}"


def legend(comparison: Comparison) -> str:
    """How to read the tables."""
    parts = [
        f"{FRONT_MARK} no other policy beats it: is no worse in violations, accuracy and cores held, and better in one",
        "violations: late, refused, dropped or failed, of the requests offered",
    ]
    if any(spread and spread.half is not None for t in comparison.traces for p in t.policies
           for spread in p.figures.values()):  # fmt: skip
        parts.append("±: half of a 95 % confidence interval over the seeds")
    if any(policy.bound for trace in comparison.traces for policy in trace.policies):
        parts.append("bound: knows the future")
    return "; ".join(parts) + "."


def asked(trace: TraceFigures) -> list[str]:
    """What the policies ran under; where they differ in it, which ones had what."""
    told = []
    for word in ("plant", "forecaster", "rule"):
        having: dict[str, list[str]] = {}
        for policy in trace.policies:
            having.setdefault(getattr(policy.run, word), []).append(policy.name)
        if len(having) == 1:
            told.append(f"{word} {next(iter(having))}")
        else:
            most = max(having, key=lambda value: len(having[value]))
            others = [f"{value} for {_names(names)}" for value, names in having.items() if value != most]
            told.append(f"{word} {most}, but {' and '.join(others)}")
    cores = sorted({policy.run.cores for policy in trace.policies})
    return [*told, f"{' or '.join(map(str, cores))} cores"]


def sentence(trace: TraceFigures) -> str:
    """What the runs under one trace show, made from their figures alone, whichever way they turned out."""
    one, contenders = subject(trace), trace.contenders
    parts = []
    if one is not None:
        parts.append(f"{one.name} had {_three_figures(one, trace)}.")
        others = [each for each in contenders if each is not one]
        if others:
            beaten = [each.name for each in others if dominates(one, each)]
            beating = [each.name for each in others if dominates(each, one)]
            of = f"Of the {len(others)} other policies it" if len(others) > 1 else "It"
            against = f"is beaten by {_names(beating)}" if beating else "none beats it"
            parts.append(f"{of} beats {_names(beaten)}, and {against}.")
    elif len(contenders) > 1:
        front = [each.name for each in contenders if each.on_front]
        parts.append(
            f"Of {len(contenders)} policies, {_names(front)} {'is' if len(front) == 1 else 'are'} beaten by none."
        )
    elif contenders:
        parts.append(f"{contenders[0].name} had {_three_figures(contenders[0], trace)}.")
    if len(contenders) > 1:
        parts.append(_extremes(trace))
    parts += [f"{each.name}, a bound that knows the future, had {_three_figures(each, trace)}."
              for each in trace.policies if each.bound]  # fmt: skip
    return " ".join(parts)


def runs_csv(comparison: Comparison) -> str:
    """One row a run, numbers in full."""
    figures = [field.name for field in fields(SimSummary)]
    asked = ("trace", "policy", "plant", "forecaster", "rule", "arrivals", "cores", "seconds", "slo_s", "seed")
    rows = [["name", *asked, *figures]]
    for result in comparison.runs:
        told = [getattr(result.run, name) for name in asked]
        rows.append([name_of(result), *map(_plain, told), *(_plain(getattr(result.summary, f)) for f in figures)])
    return _csv(rows)


def comparison_csv(comparison: Comparison) -> str:
    """One row for each policy under each trace: means, and the ends of their 95 % confidence intervals."""
    ends = ("mean", "low", "high")
    rows = [["trace", "name", "policy", "plant", "forecaster", "rule", "runs", "bound", "on_front",
             *(f"{metric}_{end}" for metric in METRICS for end in ends)]]  # fmt: skip
    for trace in comparison.traces:
        for each in trace.policies:
            run = each.run
            row = [trace.trace, each.name, run.policy, run.plant, run.forecaster, run.rule, str(len(each.results)),
                   _plain(each.bound), _plain(each.on_front)]  # fmt: skip
            for metric in METRICS:
                spread = each.figures[metric]
                row += ["" if spread is None else _plain(getattr(spread, end)) for end in ends]
            rows.append(row)
    return _csv(rows)


def _fitting(trace: TraceFigures, console: Console) -> Table:
    """The table with as many of its columns as the terminal has room for, three figures at least."""
    columns = columns_for(trace)
    for count in range(len(columns), 3, -1):
        table = comparison_table(trace, columns[:count])
        if console.measure(table, options=console.options.update_width(_ANY_WIDTH)).maximum <= console.width:
            return table
    return comparison_table(trace, columns[:3])


def _seeds(trace: TraceFigures) -> str:
    seeds = sorted({result.run.seed for policy in trace.policies for result in policy.results})
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def _three_figures(policy: PolicyFigures, trace: TraceFigures) -> str:
    violations, accuracy, cores = columns_for(trace)[:3]
    if policy.mean(accuracy.metric) is None:
        return f"{_figure(policy, violations)} violations and held {_figure(policy, cores)} cores; it answered nothing"
    return (
        f"{_figure(policy, violations)} violations at an accuracy of {_figure(policy, accuracy)} and held "
        f"{_figure(policy, cores)} cores"
    )


def _extremes(trace: TraceFigures) -> str:
    """Who was best in each of the three, to the digits that are told."""
    violations, accuracy, cores = columns_for(trace)[:3]
    told = []
    for column, words, sign in (
        (violations, "fewest violations", 1.0), (accuracy, "most accurate", -1.0), (cores, "fewest cores", 1.0),
    ):  # fmt: skip
        known = [each for each in trace.contenders if each.mean(column.metric) is not None]
        if known:
            best = _figure(min(known, key=lambda each: sign * (each.mean(column.metric) or 0.0)), column)
            winners = [each.name for each in known if _figure(each, column) == best]
            told.append(f"{words}: {_names(winners)} ({best})")
    text = "; ".join(told)
    return f"{text[:1].upper()}{text[1:]}."


def _figure(policy: PolicyFigures, column: Column) -> str:
    mean = policy.mean(column.metric)
    if mean is None:
        return "an unknown number of"
    return column.number(mean) + (" %" if column.heading.endswith("%") else "")


def _names(names: Sequence[str]) -> str:
    """`a, b and c`; many are cut short."""
    if not names:
        return "none"
    shown = list(names) if len(names) <= _NAMED + 1 else [*names[:_NAMED], f"{len(names) - _NAMED} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _two_decimals(_value: float) -> int:
    return 2


def _three_digits(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 2


def _one_if_broken(value: float) -> int:
    return 0 if value == int(value) else 1


def _plain(value: object) -> str:
    """A value for CSV: numbers in full, true and false, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
