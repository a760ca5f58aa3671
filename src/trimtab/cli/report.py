"""`trimtab report`: compare runs of `trimtab load` in a table, a picture and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trimtab.errors import LoadError
from trimtab.load.result import LoadResult, read_result
from trimtab.report import figures
from trimtab.report.page import render_page
from trimtab.report.summary import results_table, sentence


def report(
    results: Annotated[list[Path], typer.Argument(help="Files from trimtab load --json, in the order to show them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write report.html and overview.png to.")],
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Trimtab load report",
) -> None:
    """Compare runs in a table, a picture and a page that needs nothing else."""
    runs = [read_result(path) for path in results]
    print_comparison(runs, Console())
    for path in write_report(runs, output, title=title):
        typer.echo(str(path))


def write_report(runs: list[LoadResult], folder: Path, *, title: str) -> list[Path]:
    """Write `overview.png` and `report.html` into `folder`, which is made when absent.

    Raises:
        LoadError: the folder or a file in it cannot be written.
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    content = {
        "overview.png": figures.render(figures.overview(runs), "png"),
        "report.html": render_page(runs, title=title).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise LoadError("the report cannot be written", where=str(folder), got=error.strerror) from error
    return [folder / name for name in content]


def print_comparison(runs: list[LoadResult], console: Console) -> None:
    """The table and the sentence."""
    console.print(results_table(runs))
    console.print()
    console.print(sentence(runs), markup=False, highlight=False)
