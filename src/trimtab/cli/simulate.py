"""`trimtab simulate`: play a trace on a simulated plant under a policy, and tell what clients would see."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trimtab.cli import sim_options as options
from trimtab.cli.plan import policies_help
from trimtab.cli.sim_request import DEFAULT_PLANT, SimRequest, read_played, read_scene, request_for, run_request
from trimtab.errors import SimulationError
from trimtab.plan.policies import DEFAULT_POLICY
from trimtab.report.simulation import print_simulation, series_csv
from trimtab.sim import SimResult

_SLOW_S = 5.0
"""A run that takes longer is worth a word about machine code."""


def simulate(
    spec: options.Spec,
    trace: Annotated[Path, typer.Option(help="Requests in each second: one count per line, or CSV.")],
    policy: Annotated[str, typer.Option(metavar="NAME", help=policies_help())] = DEFAULT_POLICY,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and service times.")] = 0,
    plant: options.Plant = DEFAULT_PLANT,
    arrivals: options.ArrivalKind = "poisson",
    forecaster: options.ForecasterName = None,
    rule: options.RuleName = "trimtab",
    max_wait: options.MaxWait = None,
    drop_after: options.DropAfter = None,
    queue_limit: options.QueueLimit = None,
    draw: options.DrawKind = "profile",
    hop: options.Hop = None,
    start: options.From = 0,
    stop: options.To = None,
    history: options.History = None,
    clock_start: options.ClockStart = "0",
    scale: options.Scale = 1.0,
    missing: options.Missing = None,
    column: options.ColumnName = None,
    profile: options.ProfileFile = None,
    truth: options.Truth = None,
    cores: options.Cores = None,
    settings: options.Overrides = None,
    delay: options.Delay = None,
    delay_spread: options.DelaySpread = 0.0,
    gaps: options.Gaps = None,
    interval: options.Interval = 1.0,
    window: options.Window = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File for every turn of the controller, JSON lines.")
    ] = None,
    series: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File for the run over time, one window a row, CSV.")
    ] = None,
) -> None:
    """Play a trace on a simulated plant under a policy, and tell what clients would see."""
    for path in (journal, series):
        options.check_folder_of(path)
    scene = read_scene(
        spec,
        overrides=settings,
        profile=profile,
        truth=truth,
        plant=plant,
        arrivals=arrivals,
        forecaster=forecaster,
        serving=options.serving_from(rule, max_wait, drop_after, queue_limit, draw, hop),
        cores=cores,
        scale=scale,
        interval_s=interval,
        window_s=window,
        gaps=options.gaps_from(gaps),
    )
    played = read_played(
        trace, column=column, start=start, stop=stop, history=history, missing=missing,
        clock_start_s=options.clock_from(clock_start), delay=delay, delay_spread=delay_spread,
    )  # fmt: skip
    request = request_for(scene, played, policy, seed)
    options.compile_when_worth(request.requests, Console(stderr=True, highlight=False))
    began_s = time.perf_counter()
    result = _run(request, journal, quiet=json_output)
    slow = time.perf_counter() - began_s > _SLOW_S
    if series is not None:
        _write(series, series_csv(result))
    if json_output:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n")
        return
    print_simulation(result, Console(highlight=False))
    for path in (journal, series):
        if path is not None:
            typer.echo(str(path))
    if slow:
        options.tell_how_to_compile(Console(stderr=True, highlight=False))


def _run(request: SimRequest, journal: Path | None, *, quiet: bool) -> SimResult:
    """The run, with a progress bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    disable = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, refresh_per_second=4, disable=disable) as bar:
        task = bar.add_task(request.policy, total=1.0)
        return run_request(request, journal=journal, on_progress=lambda share: bar.update(task, completed=share))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SimulationError("the file cannot be written", where=str(path), got=error.strerror) from error
