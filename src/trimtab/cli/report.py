"""`trimtab report`: compare runs of `trimtab load` in a table, a picture and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trimtab.load.result import read_result
from trimtab.report.page import write_report
from trimtab.report.summary import print_comparison


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
