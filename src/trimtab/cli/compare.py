"""`trimtab compare`: play traces under several policies and seeds, and compare what clients would see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trimtab.cli import sim_options as options
from trimtab.cli.compare_runs import Failed, Job, available_cores, finished, run_jobs
from trimtab.cli.sim_request import DEFAULT_PLANT, read_played, read_scene, request_for
from trimtab.errors import SimulationError
from trimtab.report.comparison import Comparison, Failure, compare_runs
from trimtab.report.comparison_text import comparison_csv, print_comparison, runs_csv
from trimtab.sim.result import read_result

FAILED = 1
"""Exit code where runs failed."""
ENDED_EARLY = 130
"""Exit code after Ctrl-C, as shells know it."""
_POLICY = re.compile(r"(?:(?P<name>[^=@]+)=)?(?P<policy>[^=@]+)(?:@(?P<plant>[^=@]+))?")
_TRACE = re.compile(r"(?:(?P<name>[^=/\\]+)=)?(?P<path>.+?)(?:@(?P<start>\d+)-(?P<stop>\d*))?")
Named = TypeVar("Named", "NamedPolicy", "NamedTrace")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")
"""What does not stand in the name of a folder."""


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """A policy as the command line gives it: `[name=]policy[@plant]`."""

    name: str
    policy: str
    plant: str | None


@dataclass(frozen=True, slots=True)
class NamedTrace:
    """A trace as the command line gives it: `[name=]file[@from-to]`."""

    name: str
    path: Path
    start: int | None
    stop: int | None


def compare(
    spec: options.Spec,
    trace: Annotated[
        list[str],
        typer.Option(metavar="[NAME=]FILE[@S-S]", help="A trace, or a window of one in seconds; as often as needed."),
    ],
    policy: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]POLICY[@PLANT]",
            help="How to plan, perhaps with a name and a plant of its own; as often as needed. trimtab simulate "
            "--help lists policies and plants.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for runs and report.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each policy under each trace.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The first seed; the others follow it.")] = 0,
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
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at once; by default one a core.")] = None,
    resume: Annotated[bool, typer.Option(help="Keep the runs that the folder has of the same question.")] = True,
    report: Annotated[bool, typer.Option(help="Draw pictures and write the page; needs the extra report.")] = True,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Trimtab comparison",
) -> None:
    """Play traces under several policies and seeds, and compare what clients would see."""
    if report:
        from trimtab.report.comparison_page import require_report

        require_report()
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
    played = [
        read_played(
            each.path,
            name=each.name,
            column=column,
            start=start if each.start is None else each.start,
            stop=stop if each.start is None else each.stop,
            history=history,
            missing=missing,
            clock_start_s=options.clock_from(clock_start),
            delay=delay,
            delay_spread=delay_spread,
        )
        for each in _apart("--trace", map(parse_trace, trace))
    ]
    runs = output / "runs"
    asked = [
        Job(
            request_for(scene, each, one.policy, number, one.plant),
            one.name,
            runs / _folder(each.trace.name) / _folder(one.name) / f"{number}.json",
        )
        for each in played
        for one in _apart("--policy", map(parse_policy, policy))
        for number in range(seed, seed + seeds)
    ]
    options.compile_when_worth(sum(job.request.requests for job in asked), Console(stderr=True, highlight=False))
    failed = _run(asked, jobs or available_cores(), resume=resume)
    lost = {id(each.job) for each in failed}
    comparison = compare_runs((read_result(job.path) for job in asked if id(job) not in lost), _failures(failed))
    print_comparison(comparison, Console(highlight=False))
    for path in _write(comparison, output, title=title, report=report):
        typer.echo(str(path))
    for failure in comparison.failures:
        seeds_told = ", ".join(map(str, failure.seeds))
        typer.echo(f"failed: {failure.name} on {failure.trace}, seed {seeds_told}: {failure.message}", err=True)
    if failed:
        raise typer.Exit(FAILED)


def parse_policy(text: str) -> NamedPolicy:
    """`ours=trimtab@free` as its parts.

    Raises:
        SimulationError: it is none.
    """
    found = _POLICY.fullmatch(text.strip())
    if found is None:
        raise SimulationError("not a policy", where="--policy", got=text, wanted="[name=]policy[@plant]")
    return NamedPolicy(found["name"] or found["policy"], found["policy"], found["plant"])


def parse_trace(text: str) -> NamedTrace:
    """`busy=day.txt@3600-4800` as its parts; a file that is called like this as a whole is taken as it is.

    Raises:
        SimulationError: it is none.
    """
    if Path(text).exists():
        return NamedTrace(Path(text).name, Path(text), None, None)
    found = _TRACE.fullmatch(text.strip())
    if found is None:
        raise SimulationError("not a trace", where="--trace", got=text, wanted="[name=]file[@from-to]")
    path, window = Path(found["path"]), found["start"] is not None
    name = found["name"] or (f"{path.name}@{found['start']}-{found['stop']}" if window else path.name)
    return NamedTrace(
        name, path, int(found["start"]) if window else None, int(found["stop"]) if window and found["stop"] else None
    )


def _apart(where: str, given: Iterable[Named]) -> list[Named]:
    """What was given, if their names differ, also as names of folders.

    Raises:
        SimulationError: two of them have the same name.
    """
    known: dict[str, Named] = {}
    for each in given:
        folder = _folder(each.name)
        if folder in known:
            raise SimulationError(
                "two have the same name", where=where, got=each.name, next_step="name one of them: NAME=…"
            )
        known[folder] = each
    return list(known.values())


def _folder(name: str) -> str:
    return _UNSAFE.sub("_", name).strip(".") or "_"


def _run(asked: Sequence[Job], processes: int, *, resume: bool) -> list[Failed]:
    """Carry out what is not there yet, with a progress bar on stderr where that is a terminal."""
    console = Console(stderr=True, highlight=False)
    kept = {id(job) for job in asked if resume and finished(job) is not None}
    to_do = [job for job in asked if id(job) not in kept]
    console.print(f"{len(asked)} runs: {len(kept)} kept, {len(to_do)} to do", soft_wrap=True)
    if to_do:
        options.tell_how_to_compile(console)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    ended = len(kept)
    with Progress(*columns, console=console, refresh_per_second=4, disable=not console.is_terminal) as bar:
        task = bar.add_task("runs", total=len(asked), completed=len(kept))

        def on_done(_job: Job) -> None:
            nonlocal ended
            ended += 1
            bar.update(task, completed=ended)

        try:
            return run_jobs(to_do, processes, on_done)
        except KeyboardInterrupt:
            bar.stop()
            ended = len(kept) + sum(finished(job) is not None for job in to_do)
            console.print(f"stopped; {ended} of {len(asked)} runs are kept, and the same command goes on from there")
            raise typer.Exit(ENDED_EARLY) from None


def _failures(failed: Sequence[Failed]) -> list[Failure]:
    """What failed, with all seeds that failed alike in one."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for each in failed:
        seeds.setdefault((each.job.trace, each.job.name, each.message), []).append(each.job.request.seed)
    return [Failure(trace, name, tuple(sorted(n)), message) for (trace, name, message), n in seeds.items()]


def _write(comparison: Comparison, folder: Path, *, title: str, report: bool) -> list[Path]:
    """Write the tables and, if wished, the page with its pictures; gives the files to look at."""
    if not comparison.traces:
        return []
    written = []
    for name, text in (("runs.csv", runs_csv(comparison)), ("comparison.csv", comparison_csv(comparison))):
        try:
            (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise SimulationError("the file cannot be written", where=str(folder / name), got=error.strerror) from error
        written.append(folder / name)
    if report:
        from trimtab.report.comparison_page import write_comparison

        written.append(write_comparison(comparison, folder, title=title))
    return written
