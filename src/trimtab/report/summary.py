"""Runs in words and tables: a row per run, one table for several, one sentence that says what they show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from trimtab.load.result import LoadResult
from trimtab.units import format_duration

Row = dict[str, str | int | float | None]

OURS = "trimtab"
"""A run of this name is what a comparison is about."""


def row(result: LoadResult) -> Row:
    """The figures by which runs are compared; `policy` is the run's name. None: could not be known."""
    told, run = result.summary, result.run
    return {
        "policy": run.name,
        "attainment": told.attainment,
        "delivered_accuracy": told.delivered_accuracy,
        "right_in_time": told.right_in_time,
        "p50_s": told.p50_s,
        "p95_s": told.p95_s,
        "p99_s": told.p99_s,
        "slo_s": run.slo_s,
        "slo_quantile": run.slo_quantile,
        "core_seconds": told.core_seconds,
        "offered": told.offered,
        "in_time": told.in_time,
        "late": told.late,
        "refused": told.refused,
        "dropped": told.dropped,
        "failed": told.failed,
    }


def meets_slo(result: LoadResult) -> bool:
    """Whether as many of the requests offered were in time as the SLO wants."""
    attainment = result.summary.attainment
    return attainment is not None and attainment >= result.run.slo_quantile


def results_table(results: Sequence[LoadResult]) -> Table:
    """One line per run."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("policy", no_wrap=True)
    for name in ("in time", "right", "p99", "core-s", "offered", "late", "refused", "dropped", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        told = result.summary
        table.add_row(
            f"[bold]{result.run.name}[/bold]" if result.run.name == OURS else result.run.name,
            f"[{'green' if meets_slo(result) else 'red'}]{percent(told.attainment)}[/]",
            percent(told.delivered_accuracy),
            duration(told.p99_s),
            "–" if told.core_seconds is None else f"{told.core_seconds:,.0f}",
            *(f"{n:,}" for n in (told.offered, told.late, told.refused, told.dropped, told.failed)),
        )
    return table


def print_comparison(results: Sequence[LoadResult], console: Console) -> None:
    """Several runs, for people: the table and the sentence."""
    console.print(results_table(results))
    console.print()
    console.print(sentence(results), markup=False, highlight=False)


def print_run(result: LoadResult, console: Console) -> None:
    """One run, for people."""
    told, run = result.summary, result.run
    aim = f"wanted {percent(run.slo_quantile)} within {duration(run.slo_s)}"
    lines: list[tuple[str, str]] = [
        ("offered", f"{told.offered:,} requests in {run.seconds:.0f} s"),
        ("in time", f"{percent(told.attainment)} ({aim}: {'met' if meets_slo(result) else 'missed'})"),
        ("violations", f"{percent(told.violation_ratio)}{_causes(result)}"),
        ("response time", ", ".join(f"p{q} {duration(getattr(told, f'p{q}_s'))}" for q in (50, 95, 99))),
        ("accuracy", f"{percent(told.delivered_accuracy)} of the answers right"),
        ("right in time", f"{percent(told.right_in_time)} of the requests"),
        ("cost", "not known" if told.core_seconds is None else f"{told.core_seconds:,.1f} core-seconds"),
        *((f"{task} by", _shares(counts)) for task, counts in result.series.variants.items()),
        ("own lag", f"p99 {duration(told.lag_p99_s)}, at most {duration(told.lag_max_s)}"),
    ]  # fmt: skip
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in lines:
        table.add_row(name, value)
    console.print(table)
    for error, count in told.errors.items():
        console.print(f"failed {count:,} ×: {error}", markup=False, highlight=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def subject(results: Sequence[LoadResult]) -> LoadResult:
    """The run a comparison is about: Trimtab's, else the most accurate that meets its SLO, else the most punctual."""
    for result in results:
        if result.run.name == OURS:
            return result
    meeting = [r for r in results if meets_slo(r)]
    if meeting:
        return max(meeting, key=lambda r: r.summary.delivered_accuracy or 0.0)
    return max(results, key=lambda r: r.summary.attainment or 0.0)


def sentence(results: Sequence[LoadResult]) -> str:
    """What the runs show, in one sentence made from their figures alone, whichever way they turned out.

    Raises:
        ValueError: there is no run.
    """
    if not results:
        raise ValueError("a sentence about no run")
    one = subject(results)
    told, run = one.summary, one.run
    text = f"{run.name} answered {percent(told.attainment)} of {told.offered:,} requests within {duration(run.slo_s)}"
    if not meets_slo(one):
        text += f" (its SLO wants {percent(run.slo_quantile)})"
    if told.delivered_accuracy is not None:
        text += f" and {percent(told.delivered_accuracy)} of its answers were right"
    others = [_beside(other, one) for other in results if other is not one]
    return "; ".join([text, *others]) + "."


def _beside(other: LoadResult, one: LoadResult) -> str:
    """Another run beside the subject: what it did better first, what it did worse after it."""
    name = other.run.name
    in_time, accuracy = other.summary.attainment, other.summary.delivered_accuracy
    punctual = f"in time for {percent(in_time)}"
    right = f"right in {percent(accuracy)}"
    if accuracy is None or one.summary.delivered_accuracy is None:
        return f"{name} was {punctual}"
    gain = accuracy - one.summary.delivered_accuracy
    ahead = (in_time or 0.0) - (one.summary.attainment or 0.0)
    if meets_slo(other) and gain < 0:
        return f"{name} was {punctual} but {right.replace('in ', 'in only ', 1)}"
    if ahead < 0 and not meets_slo(other):
        link = "but" if gain > 0 else "and"
        return f"{name} was {right} {link} {punctual.replace('for ', 'for only ', 1)}"
    return f"{name} was {punctual} and {right}"


def percent(share: float | None) -> str:
    """A share for people; a share below one is never rounded up to all."""
    if share is None:
        return "–"
    text = f"{100 * share:.1f} %"
    return "> 99.9 %" if text == "100.0 %" and share < 1 else text.replace("100.0", "100")


def duration(seconds: float | None) -> str:
    """A duration for people."""
    return "–" if seconds is None else format_duration(seconds)


def _causes(result: LoadResult) -> str:
    told = result.summary
    causes = [f"{n:,} {cause}" for cause in ("late", "refused", "dropped", "failed") if (n := getattr(told, cause))]
    return f" ({', '.join(causes)})" if causes else ""


def _shares(counts: Mapping[str, Sequence[int]]) -> str:
    total = sum(map(sum, counts.values()))
    return ", ".join(f"{variant} {percent(sum(answers) / total)}" for variant, answers in counts.items())
