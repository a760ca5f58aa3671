"""Results as tables on the screen and as CSV; over seeds as a mean with its 95 % confidence interval."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from experiments.command import console
from rich.table import Table

from trimtab.report.comparison import spread

Cell = str | float | int | None


def over_seeds(values: Iterable[float | None], digits: int = 2) -> str:
    """`12.34 ± 0.05`: mean and half the width of the 95 % confidence interval of what is known."""
    found = spread([value for value in values if value is not None])
    if found is None:
        return "–"
    told = f"{found.mean:.{digits}f}"
    return told if found.half is None else f"{told} ± {found.half:.{digits}f}"


def mean(values: Iterable[float | None]) -> float:
    """Mean of what is known; not a number where nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else math.nan


def write_csv(path: Path, lines: Sequence[Mapping[str, Cell]]) -> Path:
    """Write lines of equal columns; floats with six significant digits, so that files compare."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(lines[0])
        for line in lines:
            writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in line.values()])
    return path


def show(title: str, lines: Sequence[Mapping[str, Cell]], groups: Sequence[Cell] | None = None) -> None:
    """Print lines of equal columns as a table, numbers to the right, with a rule between lines of other `groups`."""
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for i, name in enumerate(lines[0]):
        table.add_column(name, justify="left" if i == 0 or isinstance(lines[0][name], str) else "right", no_wrap=True)
    for i, line in enumerate(lines):
        if i and groups is not None and groups[i] != groups[i - 1]:
            table.add_section()
        table.add_row(*map(_text, line.values()))
    console.print()
    console.print(table)


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
