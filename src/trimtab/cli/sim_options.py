"""The options that `trimtab simulate` and `trimtab compare` share, and what they mean."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from trimtab import compiled, units
from trimtab.cli.sim_request import HISTORY_S
from trimtab.errors import SimulationError
from trimtab.forecast.registry import FORECASTERS
from trimtab.report.comparison import FORESIGHT
from trimtab.sim import PLANTS, Serving
from trimtab.sim.gaps import Gap
from trimtab.sim.model import DRAWS, RULES, Draw, Rule
from trimtab.workload.arrivals import ARRIVALS, Arrivals

Spec = Annotated[Path, typer.Argument(help="The pipeline file.")]
Plant = Annotated[str, typer.Option(metavar="NAME", help="\n\n".join(["How long changes take; one of:", *PLANTS]))]
ArrivalKind = Annotated[
    Arrivals, typer.Option(metavar="WAY", help=f"How the requests of a second are placed: {', '.join(ARRIVALS)}.")
]
_FORECASTERS = (*FORECASTERS, f"{FORESIGHT}: knows the future", "….json: a fitted one", "module:Class: of your own")
ForecasterName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="\n\n".join(["For all policies in place of their own; one of:", *_FORECASTERS])),
]
RuleName = Annotated[Rule, typer.Option(metavar="NAME", help=f"How batches are formed: {', '.join(RULES)}.")]
MaxWait = Annotated[str | None, typer.Option(metavar="TIME", help="Rule fifo: longest wait for a batch to fill.")]
DropAfter = Annotated[str | None, typer.Option(metavar="TIME", help="Rule fifo: older requests are dropped.")]
QueueLimit = Annotated[int | None, typer.Option(min=1, help="Requests that may be at a task; one more is refused.")]
DrawKind = Annotated[Draw, typer.Option(metavar="WAY", help=f"How service times are drawn: {', '.join(DRAWS)}.")]
Hop = Annotated[str | None, typer.Option(metavar="TIME", help="What the way to a task and back adds to a batch.")]
From = Annotated[int, typer.Option("--from", min=0, metavar="S", help="First second of the trace that is played.")]
To = Annotated[int | None, typer.Option("--to", min=1, metavar="S", help="First second that is not; by default none.")]
History = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="S", help=f"Seconds before --from that forecasters know; by default up to {HISTORY_S:,}."
    ),
]
ClockStart = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="When second 0 of the trace began, for forecasters that learn the clock: a date and time (UTC unless it "
        "says otherwise), or seconds; by default a midnight.",
    ),
]
Scale = Annotated[float, typer.Option(help="Multiplies the rates.")]
Missing = Annotated[
    Literal["hold", "cut"] | None, typer.Option(help="What to do about seconds that were not recorded.")
]
ColumnName = Annotated[str | None, typer.Option(help="Column of counts, where a CSV trace has several.")]
ProfileFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Profile file, if not the one the pipeline file names.")
]
Truth = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Profile of how long service really takes, where plans are misled.")
]
Cores = Annotated[int | None, typer.Option(min=1, help="Cores that plans may hold, in place of the budget's.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="A value in place of the file's, such as slo.latency=300ms."),
]
Delay = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What the way to us took of a request's time: a line per second of the trace, the delay in seconds.",
    ),
]
DelaySpread = Annotated[
    float,
    typer.Option(
        metavar="X", help="Spread of the delays of one second: standard deviation ÷ mean; by default all are alike."
    ),
]
Gaps = Annotated[
    list[str] | None,
    typer.Option("--gap", metavar="S-S", help="Seconds of the run in which nothing is counted; as often as needed."),
]
Interval = Annotated[float, typer.Option(metavar="S", help="Seconds between two looks of the controller.")]
Window = Annotated[
    float | None,
    typer.Option(metavar="S", help="Length of the windows of series, a multiple of --interval; by default 5 or more."),
]

_GAP = re.compile(r"(\d+)-(\d+)")
_WORTH_COMPILING = 200_000
"""Requests that take plain Python about as long as compiling takes."""


def serving_from(
    rule: Rule, max_wait: str | None, drop_after: str | None, queue_limit: int | None, draw: Draw, hop: str | None
) -> Serving:
    """How requests are served.

    Raises:
        SimulationError: a duration is none, or an option does not go with the rule.
    """
    for where, value in (("--max-wait", max_wait), ("--drop-after", drop_after)):
        if value is not None and rule != "fifo":
            raise SimulationError(
                "the option belongs to another rule", where=where, got=f"--rule {rule}", wanted="--rule fifo"
            )
    return Serving(
        rule=rule,
        max_wait_s=_duration("--max-wait", max_wait) or 0.0,
        drop_after_s=_duration("--drop-after", drop_after),
        queue_limit=queue_limit,
        draw=draw,
        hop_s=_duration("--hop", hop) or 0.0,
    )


def clock_from(text: str) -> float:
    """`2021-08-01T00:00` as Unix time, and `3600` as seconds after a midnight.

    Raises:
        SimulationError: it is neither.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds):
        return seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SimulationError(
            "not a time", where="--clock-start", got=text, wanted="2021-08-01T00:00, 2021-08-01T00:00+02:00, or seconds"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def gaps_from(texts: list[str] | None) -> tuple[Gap, ...]:
    """`60-120` as the seconds from 60 up to, not including, 120.

    Raises:
        SimulationError: one is no stretch of time.
    """
    gaps = []
    for text in texts or ():
        found = _GAP.fullmatch(text.strip())
        if found is None or int(found[1]) >= int(found[2]):
            raise SimulationError("not a gap", where="--gap", got=text, wanted="from-to in seconds, such as 60-120")
        gaps.append((float(found[1]), float(found[2])))
    return tuple(gaps)


def check_folder_of(path: Path | None) -> None:
    """Fail before anything runs where a file could not be written.

    Raises:
        SimulationError: its folder does not exist.
    """
    if path is not None and not path.resolve().parent.is_dir():
        raise SimulationError("there is no such folder", where=str(path), next_step="make it first")


def compile_when_worth(requests: float, console: Console) -> None:
    """Make the simulator's machine code, once, where so many requests would take longer without it."""
    if compiled.load_when_cached("sim") or requests < _WORTH_COMPILING or not compiled.is_available():
        return
    console.print("compiling the simulator, once (about 20 s)", style="dim")
    compiled.load("sim")


def tell_how_to_compile(console: Console) -> None:
    """One line about the machine code that would make this faster; none where it is at hand."""
    if not all(map(compiled.is_cached, compiled.PARTS)):
        first = "" if compiled.is_available() else "pip install 'trimtab[fast]' && "
        console.print(
            f"without machine code, which is many times faster; to make it once: {first}python -m trimtab.compiled",
            style="dim",
            markup=False,
            soft_wrap=True,
        )


def _duration(where: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return units.parse_duration_s(text)
    except ValueError as error:
        raise SimulationError("not a duration", where=where, got=text, wanted=str(error)) from None
