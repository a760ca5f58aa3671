"""The HTML report: one file that needs nothing else, with the table, one sentence, the pictures and the notes.

Text goes through jinja2 with autoescaping, pictures are embedded. Needs the extra `report`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import LoadError, MissingExtraError
from trimtab.load.result import LoadResult
from trimtab.report import figures
from trimtab.report.summary import OURS, duration, meets_slo, percent, row, sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render_page(results: Sequence[LoadResult], *, title: str = "Trimtab load report") -> str:
    """The report on these runs, as one HTML document.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
        ValueError: there is no run.
    """
    try:
        import jinja2
    except ModuleNotFoundError as missing:
        raise MissingExtraError("jinja2", "report", "writing the HTML report") from missing
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((files("trimtab.report") / "templates" / "report.html.j2").read_text("utf-8"))
    pictures = [
        ("Over time", figures.overview(results)),
        ("Which variant answered", figures.variants(results)),
        ("What was traded for what", figures.tradeoff(results)),
    ]
    return template.render(
        title=title,
        sentence=sentence(results).replace(" %", "\u00a0%"),
        runs=[_run(result) for result in results],
        first=results[0].run,
        slo=f"{percent(results[0].run.slo_quantile)} within {duration(results[0].run.slo_s)}",
        pictures=[(caption, _embedded(figure)) for caption, figure in pictures if figure is not None],
        ours=OURS,
    )


def write_report(runs: Sequence[LoadResult], folder: Path, *, title: str) -> list[Path]:
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


def _run(result: LoadResult) -> dict[str, object]:
    """What the template shows of one run, as text."""
    told = result.summary
    counts = {name: f"{row(result)[name]:,}" for name in ("offered", "late", "refused", "dropped", "failed")}
    return counts | {
        "name": result.run.name,
        "meets": meets_slo(result),
        "in_time": percent(told.attainment),
        "right": percent(told.delivered_accuracy),
        "right_in_time": percent(told.right_in_time),
        "p50": duration(told.p50_s),
        "p95": duration(told.p95_s),
        "p99": duration(told.p99_s),
        "core_seconds": "–" if told.core_seconds is None else f"{told.core_seconds:,.0f}",
        "facts": result.run,
        "notes": result.notes,
        "errors": told.errors,
    }


def _embedded(figure: Figure) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(figures.render(figure, "svg")).decode()
