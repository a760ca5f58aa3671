"""What every experiment's command line has in common: where the data is, where results go, how much is run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from trimtab.errors import TrimtabError

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 180)


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    data: Path
    out: Path
    seeds: int
    quick: bool
    processes: int


def parser(description: str, out: str, seeds: int = 3) -> argparse.ArgumentParser:
    """A parser of the arguments that all experiments take; an experiment may add its own."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the published measurements")
    made.add_argument("--out", type=Path, default=Path("out/experiments") / out, help="folder for CSV and pictures")
    made.add_argument("--seeds", type=_positive, default=seeds, help="runs of each, with other random numbers")
    made.add_argument("--quick", action="store_true", help="one seed and fewer cases: a look at what it does")
    made.add_argument("--processes", type=_positive, default=2, help="runs at a time")
    return made


def options(parsed: argparse.Namespace) -> Options:
    """The arguments that all experiments take."""
    seeds = 1 if parsed.quick else parsed.seeds
    return Options(parsed.data, parsed.out, seeds, parsed.quick, parsed.processes)


def run(made: argparse.ArgumentParser, experiment: Callable[[Options, argparse.Namespace], list[Path]]) -> None:
    """Parse the arguments, run the experiment and say what it wrote; what went wrong is told in words.

    Ends the process with status 2 where the data is missing or an argument has no meaning.
    """
    parsed = made.parse_args()
    asked, began = options(parsed), time.monotonic()
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        written = experiment(asked, parsed)
    except TrimtabError as error:
        console.print(f"error: {error}", style="red", markup=False)
        sys.exit(2)
    console.print(f"\n{time.monotonic() - began:.0f} s; see " + ", ".join(str(path) for path in written), markup=False)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, wanted at least 1")
    return value
