"""`trimtab trace`: make a trace, and tell what one is like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from trimtab.errors import TraceError
from trimtab.workload.generate import TraceShape, generate
from trimtab.workload.shapes import SHAPES, generate_shape
from trimtab.workload.trace import TraceStatistics, read_trace, write_trace

app = typer.Typer(help="Make traces of requests per second, and tell what one is like.", no_args_is_help=True)

_SHAPES_HELP = "\n\n".join(
    ["A kind of load, in place of the day with bursts that the options below describe; one of:"]
    + [f"{name}: {shape.about}" for name, shape in SHAPES.items()]
)
_USUAL = TraceShape(1, 0.0)
_FIELDS = {"peak": "peak_rps", "burst-length": "burst_s", "ramp": "ramp_s"}
"""Options that `TraceShape` has under another name."""


@app.command("generate")
def generate_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; .gz compresses it.")],
    seconds: Annotated[int, typer.Option(help="Length of the trace.")],
    shape: Annotated[str | None, typer.Option(metavar="NAME", help=_SHAPES_HELP)] = None,
    mean: Annotated[
        float | None,
        typer.Option(help="Mean rate, bursts not counted, requests per second; needed where no shape is named."),
    ] = None,
    peak: Annotated[float | None, typer.Option(help="Rate at the top of a burst.")] = None,
    bursts: Annotated[
        int | None, typer.Option(help=f"Number of bursts, one in each equal part of the trace; {_USUAL.bursts}.")
    ] = None,
    burst_length: Annotated[
        float | None, typer.Option(help=f"Length of a burst with its ramps, seconds; {_USUAL.burst_s:g}.")
    ] = None,
    ramp: Annotated[
        float | None, typer.Option(help=f"Length of a burst's rise, and of its fall, seconds; {_USUAL.ramp_s:g}.")
    ] = None,
    swing: Annotated[
        float | None, typer.Option(help=f"How far the day goes above and below its mean, as a share; {_USUAL.swing}.")
    ] = None,
    day: Annotated[float, typer.Option(help="Length of a day, seconds.")] = _USUAL.day_s,
    noise: Annotated[
        float | None, typer.Option(help=f"Spread of the slow random factor on the rate, 0 for none; {_USUAL.noise}.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same trace.")] = 0,
) -> None:
    """Make a trace with a daily shape, noise and bursts, or of a named shape."""
    told = {
        "peak": peak, "bursts": bursts, "burst-length": burst_length, "ramp": ramp, "swing": swing, "noise": noise,
    }  # fmt: skip
    told = {name: value for name, value in told.items() if value is not None}
    if shape is not None:
        for name in told:
            raise TraceError("a named shape has no such option", where=f"--{name}", got=f"--shape {shape}")
        trace = generate_shape(shape, seconds, seed, usual_rps=mean, day_s=day)
        usual = SHAPES[shape].usual_rps if mean is None else mean
        facts = f"shape {shape}, usual rate {usual:g}, day {day:g} s, seed {seed}"
    elif mean is None:
        raise TraceError("nothing says how high the rate is", wanted="--mean or --shape")
    else:
        given: dict[str, Any] = {_FIELDS.get(name, name): value for name, value in told.items()}
        trace = generate(TraceShape(seconds, mean, day_s=day, **given), seed, name=output.name)
        top = "None" if peak is None else f"{peak:g}"
        facts = f"mean {mean:g}, peak {top}, {bursts or 0} bursts, seed {seed}"
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
