"""`trimtab load`: replay a trace against a server with labelled inputs, and tell what clients saw."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trimtab import units
from trimtab.errors import LoadError
from trimtab.load.dataset import read_dataset
from trimtab.load.generator import Progress as Sent
from trimtab.load.result import LoadResult, Record, write_records, write_result
from trimtab.load.run import LoadRequest, run_load
from trimtab.report.summary import print_run
from trimtab.workload.arrivals import Arrivals
from trimtab.workload.trace import read_trace

ENDED_EARLY = 130
"""Exit code after Ctrl-C, as shells know it."""


def load(
    url: Annotated[str, typer.Argument(help="Address of the server, such as http://127.0.0.1:8080.")],
    trace: Annotated[Path, typer.Option(help="Requests in each second: one count per line, or CSV.")],
    data: Annotated[Path, typer.Option(help="Inputs to send, .npz; the first axis of each array counts the rows.")],
    label: Annotated[str | None, typer.Option(help="Array of right answers in the data.")] = None,
    output: Annotated[str | None, typer.Option(help="Output of the model that is compared with the label.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to call; by default the only one, or the pipeline.")] = None,
    slo: Annotated[
        str | None, typer.Option(help="Longest response time that is in time, such as 400ms; by default the server's.")
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="Pipeline file to take SLO and model name from.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run in tables and pictures.")] = None,
    rate_scale: Annotated[float, typer.Option(help="Multiplies the rate.")] = 1.0,
    time_compress: Annotated[float, typer.Option(help="Seconds of the trace played in one; the rate is kept.")] = 1.0,
    missing: Annotated[
        Literal["hold", "cut"] | None, typer.Option(help="What to do about seconds that were not recorded.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of counts, where a CSV trace has several.")] = None,
    arrivals: Annotated[
        Arrivals, typer.Option(help="Poisson at the trace's rate; its very counts, placed at random; or evenly spaced.")
    ] = "poisson",
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and of the order of the inputs.")] = 0,
    connections: Annotated[int, typer.Option(min=1, max=10_000, help="Most connections open at once.")] = 256,
    timeout: Annotated[str, typer.Option(help="Longest wait for one answer.")] = "10s",
    json_tensors: Annotated[bool, typer.Option("--json-tensors", help="Send tensors as JSON, not binary.")] = False,
    json_output: Annotated[Path | None, typer.Option("--json", help="File for the result, for trimtab report.")] = None,
    records: Annotated[Path | None, typer.Option(help="File for one line per request, CSV.")] = None,
) -> None:
    """Replay a trace against a server, open-loop, and tell what clients saw."""
    slo_s, quantile, named = _slo(slo, spec)
    for path in (json_output, records):
        if path is not None and not path.resolve().parent.is_dir():
            raise LoadError("there is no such folder", where=str(path), next_step="make it first")
    request = LoadRequest(
        url=url,
        trace=read_trace(trace, column=column),
        data=read_dataset(data),
        slo_s=slo_s,
        slo_quantile=quantile,
        name=name,
        model=model or named,
        label=label,
        output=output,
        rate_scale=rate_scale,
        time_compress=time_compress,
        missing=missing,
        arrivals=arrivals,
        seed=seed,
        connections=connections,
        timeout_s=_duration("--timeout", timeout),
        binary=not json_tensors,
    )
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        result, rows = runner.run(_run(request))
    if json_output is not None:
        write_result(result, json_output)
    if records is not None:
        write_records(rows, records)
    print_run(result, Console())
    if any(note.startswith("stopped") for note in result.notes):
        raise typer.Exit(ENDED_EARLY)


async def _run(request: LoadRequest) -> tuple[LoadResult, list[Record]]:
    """The run with a progress bar on stderr; the first Ctrl-C stops it cleanly, the second at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()

    def interrupt() -> None:
        if stop.is_set() and running is not None:
            running.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        if sys.platform != "win32":
            loop.add_signal_handler(number, interrupt)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, refresh_per_second=4, disable=not console.is_terminal) as bar:
        task = bar.add_task("checking", total=None, told="")

        def start(model: str, requests: int, seconds: float) -> None:
            console.print(f"{requests:,} requests to {model!r} in {seconds:.0f} s", highlight=False)
            bar.update(task, description="load", total=seconds)

        return await run_load(request, stop=stop, on_start=start, on_progress=_show(bar, task))


def _show(bar: Progress, task: TaskID) -> Callable[[Sent], None]:
    def show(sent: Sent) -> None:
        share = f"{sent.in_time / sent.ended:.1%} in time" if sent.ended else ""
        bar.update(task, completed=max(sent.now_s, 0.0), told=f"{sent.ended:,} of {sent.sent:,} sent ended, {share}")

    return show


def _slo(slo: str | None, spec: Path | None) -> tuple[float | None, float | None, str | None]:
    """(bound in seconds, quantile, model's name), as far as `--slo` and the pipeline file say."""
    bound_s = None if slo is None else _duration("--slo", slo)
    if spec is None:
        return bound_s, None, None
    from trimtab.spec.load import load_pipeline

    pipeline = load_pipeline(spec)
    return bound_s or pipeline.slo.latency_s, pipeline.slo.quantile, pipeline.name


def _duration(where: str, text: str) -> float:
    try:
        seconds = units.parse_duration_s(text)
    except ValueError as error:
        raise LoadError("not a duration", where=where, got=text, wanted=str(error)) from None
    if seconds <= 0:
        raise LoadError("not a duration", where=where, got=text, wanted="more than nothing")
    return seconds


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """That of uvloop where it is installed: it leaves more of the CPU to the server beside it."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
