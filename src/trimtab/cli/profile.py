"""`trimtab profile`: measure what each variant can do on this machine, and write it to the profile file."""

from __future__ import annotations

import asyncio
import datetime as dt
import shlex
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from trimtab.errors import ProfileError, SpecError
from trimtab.profile.file import load_profile, save_profile
from trimtab.profile.model import Profile, Provenance, ServicePoint, VariantProfile
from trimtab.runtime import affinity
from trimtab.runtime.agenda import Agenda, Settings, plan_measurements, power_grid
from trimtab.runtime.machine import describe_machine
from trimtab.runtime.measuring import Effort
from trimtab.runtime.models.examples import load_inputs
from trimtab.runtime.profiler import Step, measure
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.load import load_pipeline, profile_entry
from trimtab.spec.model import Pipeline
from trimtab.units import format_duration, format_size

INTERRUPTED = 130
MADE_UP_INPUTS = "inputs: the models' own examples, or random values of their shapes"


def profile(
    spec: Annotated[Path, typer.Argument(help="The pipeline file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Profile file to write, if not the one the pipeline file names."),
    ] = None,
    cores: Annotated[
        str | None, typer.Option(help="Cores of a replica, such as 1,2. Otherwise 1, 2, 4 … up to the budget.")
    ] = None,
    batches: Annotated[str | None, typer.Option(help="Batch sizes, such as 1,2,4. Otherwise 1,2,4,8.")] = None,
    variants: Annotated[str | None, typer.Option(help="Only these variants, by name, such as read-s,read-m.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Rough and fast: one core, batches 1,2,4, few samples, no capacity check.")
    ] = False,
    seconds_per_cell: Annotated[
        float | None,
        typer.Option(min=0.01, max=3600, help="Time for each service time; more gives steadier quantiles."),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Keep what the file has from this machine, these models and versions; or measure anew.")
    ] = True,
    capacity_check: Annotated[
        bool | None, typer.Option(help="Whether to check each variant's capacity under open-loop load.")
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Rows to measure with, as arrays named <task>.<input> or <input>."),
    ] = None,
    model_folder: Annotated[
        list[Path] | None, typer.Option(help="A folder that models may lie in, besides the pipeline file's own.")
    ] = None,
) -> None:
    """Measure service time by batch size × cores × variant, load time, memory and capacity, on this machine."""
    pipeline = load_pipeline(spec)
    target = output or _named_target(spec)
    check = capacity_check if capacity_check is not None else not quick
    settings = Settings(
        cores=_numbers(cores, "--cores") or ((1,) if quick else _default_cores(pipeline)),
        batches=_numbers(batches, "--batches") or ((1, 2, 4) if quick else (1, 2, 4, 8)),
        effort=Effort(seconds_per_cell or 0.4, 10) if quick else Effort(seconds_per_cell or 2.0, 30),
        variants=frozenset(name.strip() for name in variants.split(",")) if variants else None,
        check_seconds=(1.0 if quick else 3.0) if check else None,
    )
    console = Console(stderr=True, highlight=False)
    wiring = check_interfaces(pipeline, folders=model_folder or ())
    given = load_inputs(inputs, wiring) if inputs else {}
    provenance = _provenance(_now(), f"inputs: from {inputs.name}" if inputs else MADE_UP_INPUTS)
    agenda = plan_measurements(pipeline, settings, provenance, _previous(target) if resume else None)
    _announce(console, agenda, settings, target)
    if agenda.cells or agenda.checks:
        work = partial(measure, wiring.models, settings, agenda, inputs=given)
        _run(console, work, lambda so_far: save_profile(so_far, target), target)
    Console(highlight=False).print(_summary(load_profile(target), settings))


def _run(
    console: Console,
    work: Callable[[Callable[[Step], None]], Coroutine[None, None, Profile]],
    save: Callable[[Profile], None],
    target: Path,
) -> None:
    """Measure with a progress bar; each step is saved. Ctrl-C keeps what is measured and exits with 130."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=console) as bar:
            shown = bar.add_task("starting", total=None)

            def on_step(step: Step) -> None:
                if step.profile.variants:
                    save(step.profile)
                bar.update(shown, description=step.name, completed=step.done, total=step.of)

            asyncio.run(work(on_step))
    except KeyboardInterrupt:
        console.print(f"Interrupted. What was measured is in {target}; the same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None


def _announce(console: Console, agenda: Agenda, settings: Settings, target: Path) -> None:
    """What it will take, before it is started."""
    for reason in agenda.dropped:
        console.print(f"{target}: {reason}")
    if agenda.kept_cells:
        console.print(f"{agenda.kept_cells} service times stand from before (--no-resume measures them anew)")
    if not agenda.cells and not agenda.checks:
        console.print("nothing is left to measure")
        return
    shapes = ", ".join(f"{c} core{'s'[: c > 1]} × {t} thread{'s'[: t > 1]}" for c, t in settings.shapes())
    batches = ", ".join(map(str, settings.batches))
    slow_s = settings.effort.seconds / settings.effort.min_samples
    console.print(
        f"{len(agenda.cells)} service times ({shapes}; batches {batches}) and {len(agenda.checks)} capacity checks: "
        f"at least {format_duration(agenda.at_least_s)}, more where a batch takes over {format_duration(slow_s)}"
    )


def _summary(profile: Profile, settings: Settings) -> Table:
    """One line a variant, on the smallest shape; narrow enough for a terminal of 80 columns."""
    cores, threads = settings.shapes()[0]
    title = f"on {cores} core{'s'[: cores > 1]}"
    table = Table(
        title=title, box=None, header_style="bold", title_justify="left", collapse_padding=True, pad_edge=False
    )
    for heading in ("task", "variant", "batch", "p50", "p99", "items/s", "load", "memory", "at 80 % load"):
        right = heading in ("batch", "p50", "p99", "items/s", "load")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for task, variants in profile.variants.items():
        for name, measured in variants.items():
            points = [p for p in measured.points if (p.cores, p.threads) == (cores, threads)]
            if points:
                table.add_row(task, name, *_facts(min(points, key=lambda p: p.batch), measured))
    return table


def _facts(point: ServicePoint, measured: VariantProfile) -> tuple[str, ...]:
    """A variant's cells of the table; what was not measured is left empty."""
    under_load = ""
    if measured.checks:
        check = measured.checks[0]
        under_load = f"p99 {format_duration(check.p99_s)}" if check.sustained else "fell behind"
    return (
        str(point.batch),
        format_duration(point.quantiles_s[0.5]),
        format_duration(point.quantiles_s[0.99]),
        f"{point.throughput_rps:.1f}",
        "" if measured.load_time_s is None else format_duration(measured.load_time_s),
        "" if measured.memory_bytes is None else format_size(measured.memory_bytes),
        under_load,
    )


def _named_target(spec: Path) -> Path:
    entry = profile_entry(spec)
    if isinstance(entry, Path):
        return entry
    raise ProfileError(
        "the profile is written inside the pipeline file, which is not overwritten",
        where=f"{spec}: profile",
        next_step="name another file with --output",
    )


def _previous(target: Path) -> Profile | None:
    return load_profile(target) if target.exists() else None


def _default_cores(pipeline: Pipeline) -> tuple[int, ...]:
    usable = len(affinity.usable_cores())
    return power_grid(min(pipeline.budget.cores or usable, usable))


def _numbers(text: str | None, option: str) -> tuple[int, ...]:
    """`1,2,4` as ascending numbers; empty for None."""
    if text is None:
        return ()
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 1:
        raise SpecError(
            "not a list of numbers", where=option, got=f"'{text}'", wanted="numbers from 1 up, such as 1,2,4"
        )
    return tuple(numbers)


def _provenance(measured_at: str, inputs: str) -> Provenance:
    command = shlex.join(["trimtab", *sys.argv[1:]])
    return describe_machine(measured_at=measured_at, command=command, notes=(inputs,))


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
