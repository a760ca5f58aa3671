"""`trimtab trace`: make a trace, and tell what one is like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from trimtab.workload.generate import TraceShape, generate
from trimtab.workload.trace import TraceStatistics, read_trace, write_trace

app = typer.Typer(help="Make traces of requests per second, and tell what one is like.", no_args_is_help=True)


@app.command("generate")
def generate_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; .gz compresses it.")],
    seconds: Annotated[int, typer.Option(help="Length of the trace.")],
    mean: Annotated[float, typer.Option(help="Mean rate of the daily shape, requests per second, bursts not counted.")],
    peak: Annotated[float | None, typer.Option(help="Rate at the top of a burst.")] = None,
    bursts: Annotated[int, typer.Option(help="Number of bursts, one in each equal part of the trace.")] = 0,
    burst_length: Annotated[float, typer.Option(help="Length of a burst with its ramps, seconds.")] = 120.0,
    ramp: Annotated[float, typer.Option(help="Length of a burst's rise, and of its fall, seconds.")] = 10.0,
    swing: Annotated[float, typer.Option(help="How far the day goes above and below its mean, as a share.")] = 0.4,
    day: Annotated[float, typer.Option(help="Length of a day, seconds.")] = 86_400.0,
    noise: Annotated[float, typer.Option(help="Spread of the slow random factor on the rate; 0: none.")] = 0.05,
    seed: Annotated[int, typer.Option(help="The same seed gives the same trace.")] = 0,
) -> None:
    """Make a trace with a daily shape, noise and bursts."""
    shape = TraceShape(
        seconds,
        mean,
        peak_rps=peak,
        bursts=bursts,
        burst_s=burst_length,
        ramp_s=ramp,
        swing=swing,
        day_s=day,
        noise=noise,
    )
    trace = generate(shape, seed, name=output.name)
    facts = f"mean {mean:g}, peak {peak if peak is None else format(peak, 'g')}, {bursts} bursts, seed {seed}"
    write_trace(trace, output, comments=["requests in each second, made by trimtab trace generate", facts])
    typer.echo(f"{output}: {len(trace):,} seconds, {trace.describe().requests:,} requests")


@app.command("show")
def show_command(
    file: Annotated[Path, typer.Argument(help="The trace.")],
    column: Annotated[str | None, typer.Option(help="Column of counts, where a CSV has several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a trace is like."""
    told = read_trace(file, column=column).describe()
    if as_json:
        typer.echo(json.dumps(_facts(told)))
        return
    table = Table("", "requests per second", box=None, header_style="bold")
    table.columns[1].justify = "right"
    for name, value in (
        ("mean", told.mean_rps),
        ("smallest", told.min_rps),
        *_quantiles(told),
        ("largest", told.max_rps),
    ):
        table.add_row(name, f"{value:,.1f}".removesuffix(".0"))
    console = Console()
    console.print(
        f"{file.name}: {told.seconds:,} seconds, {told.missing:,} of them missing; {told.requests:,} requests"
    )
    console.print(table)
    if told.dispersion is not None:
        console.print(f"index of dispersion (variance ÷ mean): {told.dispersion:.2f}; 1 is Poisson at a constant rate")


def _quantiles(told: TraceStatistics) -> list[tuple[str, float]]:
    return [(f"{q:.0%} are at most", value) for q, value in told.quantiles_rps.items()]


def _facts(told: TraceStatistics) -> dict[str, object]:
    return {
        "seconds": told.seconds,
        "missing": told.missing,
        "requests": told.requests,
        "mean_rps": told.mean_rps,
        "min_rps": told.min_rps,
        "max_rps": told.max_rps,
        "quantiles_rps": {f"{q:g}": value for q, value in told.quantiles_rps.items()},
        "dispersion": told.dispersion,
    }
