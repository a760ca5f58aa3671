"""`trimtab forecast`: judge forecasters on a recorded load, and fit one to it."""

from __future__ import annotations

import datetime as dt
import difflib
import importlib.util
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from trimtab import __version__, units
from trimtab.cli import sim_options as options
from trimtab.errors import ForecastError
from trimtab.forecast.evaluate import BASELINE, TARGETS, Answers, Counts, Evaluation, Target, ask, find_origins, score
from trimtab.forecast.file import Fitted, write_fitted
from trimtab.forecast.model import ClockedForecaster, Forecaster
from trimtab.forecast.registry import FORECASTERS, make_forecaster
from trimtab.report.forecast import Asked, print_evaluations, scores_csv, scores_object, span
from trimtab.units import format_size
from trimtab.workload.trace import read_trace

TRAINED = "trained"
"""The forecaster that is fitted on everything before --from."""
UNFITTED = (BASELINE, "max-window", "ewm", "quantile", "clock")
"""What is judged where no forecaster is named; `trained` and the target's LSTM follow them where they can."""
FITTED_HISTORY_S = 3600
"""What a fitted forecaster observes before it is judged: it has learned what came before, and would do so twice."""
TRAINING_S = 2 * 86_400
"""Least history that is worth a training where none was asked for."""
FIT_PACKAGE = "lightgbm"
FIRST_DATE_S = 315_532_800
"""1980 as Unix time. A clock that begins before it was given as seconds after a midnight, not as a date."""
NO_DATE = (
    "second 0 of the trace counts as a midnight. trimtab serve tells the date, in UTC: to serve with this file, say "
    "when the trace began, such as --clock-start 2021-08-01T00:00"
)

app = typer.Typer(help="Judge forecasters on a recorded load, and fit one to it.", no_args_is_help=True)

TraceFile = Annotated[Path, typer.Option("--trace", metavar="FILE", help="The recorded load: requests in each second.")]
Zeros = Annotated[
    Literal["count", "missing"],
    typer.Option(help="What 0 means: that no request came, or that the second was not recorded."),
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace as forecasters get it."""

    name: str
    counts: Counts
    clock_s: float
    """When its first second began."""

    def __len__(self) -> int:
        return len(self.counts)


@app.command("evaluate")
def evaluate_command(
    trace: TraceFile,
    column: options.ColumnName = None,
    zeros: Zeros = "count",
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="From when on they are judged: 14d, 3h, 90s; by default the last quarter."
        ),
    ] = None,
    stop: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Until when; by default the end.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"What is forecast: {', '.join(TARGETS)}; by default both of them."),
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(metavar="TIME", help="In place of --target: how far forecasts look ahead.")
    ] = None,
    stride: Annotated[
        str | None, typer.Option(metavar="TIME", help="With --horizon: how often they are asked; by default as far.")
    ] = None,
    forecaster: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="\n\n".join(["As often as needed; one of:", *FORECASTERS, f"{TRAINED}: fitted on all before --from",
                              "FILE.json: a fitted one", "module:Class: of your own"]),
        ),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="What they observe before --from; by default everything, fitted ones the last hour."
        ),
    ] = None,
    clock_start: options.ClockStart = "0",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder for scores and pictures.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw pictures into --output; needs the extra report.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and no progress bar.")] = False,
) -> None:  # fmt: skip
    """Judge forecasters on a recorded load: each is asked again and again, knowing only what came before."""
    if output is not None and output.exists() and not output.is_dir():
        raise ForecastError("this is no folder", where="--output", got=str(output))
    if output is not None and pictures:
        from trimtab.report.comparison_figures import require_matplotlib

        require_matplotlib()
    targets = _targets(target, horizon, stride)
    named = list(dict.fromkeys(forecaster or ()))
    history_s = None if history is None else _seconds(history, "--history")
    for name in named:
        _check_name(name)
    recorded = _read(trace, column, zeros, clock_start)
    first, end = _part(recorded, start, stop)
    notes: list[str] = []
    with _progress(quiet=as_json) as bar:
        evaluations = [
            _evaluate(each, _chosen(named, each, first, notes), recorded, first, end, history_s, bar)
            for each in targets
        ]
    asked = Asked(recorded.name, zeros, recorded.clock_s, history_s, tuple(dict.fromkeys(notes)))
    written = _write(evaluations, asked, output, pictures=pictures) if output is not None else []
    if as_json:
        typer.echo(json.dumps(scores_object(evaluations, asked), allow_nan=False))
        return
    print_evaluations(evaluations, asked, Console(highlight=False))
    for path in written:
        typer.echo(str(path))


@app.command("train")
def train_command(
    trace: TraceFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.json", help="File of the fitted forecaster.")],
    column: options.ColumnName = None,
    zeros: Zeros = "count",
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="Where the part to learn from begins.")] = "0",
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Where it ends: 14d; by default the end.")] = None,
    clock_start: options.ClockStart = "0",
    divide: Annotated[int, typer.Option(min=1, help="Counts are divided by this, and rounded down.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:  # fmt: skip
    """Fit a forecaster to a recorded load, and write it to a file."""
    if output.suffix != ".json":
        raise ForecastError(
            "the file's name has another ending", where="--output", got=output.name, wanted="FILE.json",
            next_step="by that ending a fitted forecaster is told from a name",
        )  # fmt: skip
    if output.exists() and not force:
        raise ForecastError("the file is there already", where=str(output), next_step="replace it with --force")
    if not output.parent.is_dir():
        raise ForecastError("there is no such folder", where="--output", got=str(output.parent))
    recorded = _read(trace, column, zeros, clock_start)
    first, end = _bounds(recorded, _seconds(start, "--from"), until, "--until")
    counts = Target("train", 1, 1, divide).counts(recorded.counts[first:end])
    with _progress(quiet=False) as bar:
        fitted = _fit(counts, recorded.clock_s + first, "fit", bar)
    told = {
        "trace": recorded.name,
        "part": f"seconds {first} to {end}",
        "zeros": zeros,
        **({"divide": str(divide)} if divide > 1 else {}),
        "clock": f"{_moment(recorded.clock_s + first)} at the beginning of that part",
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "tool": f"trimtab {__version__}",
    }
    fitted = replace(fitted, made=told | dict(fitted.made))
    write_fitted(fitted, output)
    typer.echo(f"{output}: {format_size(output.stat().st_size)}")
    for name, words in fitted.made.items():
        typer.echo(f"  {name}: {words}")
    if recorded.clock_s < FIRST_DATE_S:
        typer.echo(f"note: {NO_DATE}", err=True)


# --- what is asked ---


def _targets(names: Sequence[str] | None, horizon: str | None, stride: str | None) -> list[Target]:
    if horizon is not None and names:
        raise ForecastError("both were given", where="--target and --horizon", wanted="one of them")
    if horizon is not None:
        horizon_s = _seconds(horizon, "--horizon")
        return [Target(f"{horizon_s} s", horizon_s, horizon_s if stride is None else _seconds(stride, "--stride"))]
    if stride is not None:
        raise ForecastError("the option goes with another", where="--stride", wanted="--horizon beside it")
    for name in names or ():
        if name not in TARGETS:
            raise ForecastError(
                "no such target", where="--target", got=name, wanted=f"one of {', '.join(TARGETS)}",
                next_step="any other: --horizon 30s --stride 10s",
            )  # fmt: skip
    return [TARGETS[name] for name in dict.fromkeys(names or TARGETS)]


def _check_name(name: str) -> None:
    """Fail early, before anything is judged.

    Raises:
        ForecastError: there is no such forecaster, or it cannot be made.
    """
    if name == TRAINED:
        return
    if name in FORECASTERS or name.endswith(".json") or ":" in name:
        make_forecaster(name)
        return
    known = [*FORECASTERS, TRAINED]
    close = difflib.get_close_matches(name, known, n=1)
    file = "the file of a fitted forecaster ends in .json" if re.search(r"[/\\.]", name) else None
    raise ForecastError(
        "no such forecaster",
        where="--forecaster",
        got=name,
        wanted=f"one of {', '.join(known)}, a fitted one's file (….json), or module:Class of your own",
        next_step=f"did you mean '{close[0]}'?" if close else file,
    )


def _chosen(named: Sequence[str], target: Target, start: int, notes: list[str]) -> list[str]:
    """The forecasters to judge, the baseline first; what is left out of the usual ones, and why, goes to `notes`."""
    if named:
        return [BASELINE, *(name for name in named if name != BASELINE)]
    chosen = [name for name in UNFITTED if name in FORECASTERS]
    if start < TRAINING_S:
        notes.append(f"{TRAINED} is left out: less than {span(TRAINING_S)} lie before --from")
    elif importlib.util.find_spec(FIT_PACKAGE) is None:
        notes.append(f"{TRAINED} is left out: it needs the package '{FIT_PACKAGE}', which is not installed")
    else:
        chosen.append(TRAINED)
    return [*chosen, *(name for name in (f"lstm-{target.name}",) if name in FORECASTERS)]


def _read(path: Path, column: str | None, zeros: str, clock_start: str) -> Recorded:
    """The trace; zeros that stand for nothing recorded become missing seconds and stay in their places."""
    clock_s = options.clock_from(clock_start)
    trace = read_trace(path, column=column)
    counts = [count or None for count in trace.counts] if zeros == "missing" else list(trace.counts)
    if all(count is None for count in counts):
        raise ForecastError("the trace has no recorded second", where=str(path), next_step="try --zeros count")
    return Recorded(trace.name, counts, clock_s)


def _part(recorded: Recorded, start: str | None, stop: str | None) -> tuple[int, int]:
    """First second that is judged, and the one at which that ends."""
    if start is not None:
        return _bounds(recorded, _seconds(start, "--from"), stop, "--to")
    end = _bounds(recorded, 0, stop, "--to")[1]
    quarter = 3 * end // 4
    return _bounds(recorded, quarter - quarter % 60, stop, "--to")


def _bounds(recorded: Recorded, start: int, stop: str | None, option: str) -> tuple[int, int]:
    """Both ends in seconds, inside the trace.

    Raises:
        ForecastError: they are not, or nothing lies between them.
    """
    end = len(recorded) if stop is None else _seconds(stop, option)
    length = f"{len(recorded):,} seconds ({span(len(recorded))})"
    if end > len(recorded):
        raise ForecastError("this lies beyond the trace", where=option, got=f"{end:,} s", wanted=f"at most {length}")
    if start >= end:
        raise ForecastError(
            "this lies beyond the trace" if stop is None else f"this does not lie before {option}",
            where="--from",
            got=f"{start:,} s",
            wanted=f"less than {length if stop is None else f'{end:,} s'}",
        )
    return start, end


def _seconds(text: str, option: str) -> int:
    """Whole seconds in `90`, `90s`, `3h` or `14d`.

    Raises:
        ForecastError: it is no time, or no whole number of seconds.
    """
    try:
        days = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*d", text.strip())
        if days:
            seconds = 86_400 * float(days[1])
        else:
            seconds = float(text) if re.fullmatch(r"[0-9]+", text.strip()) else units.parse_duration_s(text)
    except ValueError:
        seconds = 0.5
    if seconds != int(seconds):
        raise ForecastError("not a time", where=option, got=text, wanted="whole seconds, such as 90s, 3h or 14d")
    return int(seconds)


def _moment(clock_s: float) -> str:
    """`2021-08-01 00:00 UTC`, or how long after a midnight."""
    if clock_s < FIRST_DATE_S:
        return f"{span(round(clock_s))} after a midnight"
    return f"{dt.datetime.fromtimestamp(clock_s, dt.UTC):%Y-%m-%d %H:%M} UTC"


# --- doing it ---


def _evaluate(
    target: Target,
    names: Sequence[str],
    recorded: Recorded,
    start: int,
    stop: int,
    history_s: int | None,
    bar: Progress,
) -> Evaluation:
    counts = target.counts(recorded.counts)
    origins = find_origins(counts, start, stop, target)
    labels = _labels(names)
    answers: dict[str, Answers] = {}
    for name in names:
        label = labels[name]
        words = f"{target.name}: {label}"
        kept_s = FITTED_HISTORY_S if history_s is None and (name == TRAINED or name.endswith(".json")) else history_s
        first = 0 if kept_s is None else max(0, start - kept_s)
        clock_s = recorded.clock_s + first
        if name == TRAINED:
            made = _trained(counts[:start], recorded.clock_s, clock_s, words, bar)
        else:
            made = make_forecaster(name, clock_s)
        shown = bar.add_task(words, total=1.0)
        answers[label] = ask(
            made,
            label,
            counts,
            origins,
            clock=time.perf_counter,
            history_s=kept_s,
            on_progress=lambda share, shown=shown: bar.update(shown, completed=share),  # type: ignore[misc]
        )
        bar.remove_task(shown)
    return Evaluation(origins, answers, {name: score(origins, each) for name, each in answers.items()})


def _trained(counts: Counts, begins_s: float, clock_s: float, words: str, bar: Progress) -> Forecaster:
    """A forecaster fitted to the counts, whose first one was at `begins_s`; it goes on at `clock_s`."""
    if not any(count is not None for count in counts):
        raise ForecastError(
            "there is nothing to learn from before --from", where=f"--forecaster {TRAINED}",
            next_step=f"begin later, such as with --from {span(TRAINING_S).replace(' ', '')}",
        )  # fmt: skip
    made = _fit(counts, begins_s, words, bar).forecaster(TRAINED)
    if isinstance(made, ClockedForecaster):
        made.set_clock(clock_s)
    return made


def _fit(counts: Counts, clock_s: float, words: str, bar: Progress) -> Fitted:
    """Fit to counts of which the first was at `clock_s`."""
    from trimtab.forecast.fit import fit

    shown = bar.add_task(words, total=None)
    fitted: Fitted = fit(
        counts, clock_s=clock_s, on_progress=lambda told: bar.update(shown, description=f"{words}: {told}")
    )
    bar.remove_task(shown)
    return fitted


def _labels(names: Sequence[str]) -> dict[str, str]:
    """What forecasters are called in tables: a file by its name, a class by its own, where that is clear."""
    short = {name: Path(name).name if name.endswith(".json") else name.rpartition(":")[2] for name in names}
    return {name: label if list(short.values()).count(label) == 1 else name for name, label in short.items()}


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    """A progress bar on stderr, where that is a terminal."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        yield bar


def _write(evaluations: Sequence[Evaluation], asked: Asked, folder: Path, *, pictures: bool) -> list[Path]:
    """Write scores and pictures; gives the files.

    Raises:
        ForecastError: they cannot be written.
    """
    content = {
        "scores.json": (json.dumps(scores_object(evaluations, asked), indent=1, allow_nan=False) + "\n").encode(),
        "scores.csv": scores_csv(evaluations).encode(),
    }
    if pictures:
        from trimtab.report.forecast_figures import draw

        content |= draw(evaluations, asked.clock_start_s)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise ForecastError("the scores cannot be written", where=str(folder), got=error.strerror) from error
    return [folder / name for name in content]
