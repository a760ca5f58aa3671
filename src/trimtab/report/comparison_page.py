"""The page of a comparison: one HTML file that needs nothing else, with sentences, tables, pictures and what was asked.

Text goes through jinja2 with autoescaping, pictures are embedded. Needs the extra `report`.
"""

from __future__ import annotations

import base64
import importlib
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from trimtab.errors import MissingExtraError, SimulationError
from trimtab.report.comparison import NAME, Comparison, PolicyFigures, TraceFigures
from trimtab.report.comparison_figures import over_time, require_matplotlib, styles
from trimtab.report.comparison_plane import plane
from trimtab.report.comparison_text import (
    FRONT_MARK,
    asked,
    cell,
    columns_for,
    legend,
    meets_slo,
    sentence,
    title_of,
)
from trimtab.report.figures import render
from trimtab.report.summary import OURS, duration, percent

_UNTOLD = (NAME, "digest")
"""Settings of a result that are for programs."""
_CAPTIONS = {"time": ("Over time", "wide"), "plane": ("Violations, accuracy and cost", "square")}
"""The last word of a picture's name → its caption, and how wide it must be to be read."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")


def require_report() -> None:
    """Fail early, before anything runs.

    Raises:
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    require_matplotlib()
    try:
        importlib.import_module("jinja2")
    except ModuleNotFoundError as missing:
        raise MissingExtraError("jinja2", "report", "writing the HTML report") from missing


def write_comparison(comparison: Comparison, folder: Path, *, title: str) -> Path:
    """Write `report.html` into `folder`, and its pictures as PNG into `folder/pictures`; gives the page's path.

    Raises:
        SimulationError: a file cannot be written.
        MissingExtraError: matplotlib or jinja2 is not installed.
    """
    require_report()
    drawn = draw_comparison(comparison)
    content = {folder / "report.html": render_comparison(comparison, drawn, title=title).encode()}
    content |= {folder / "pictures" / f"{name}.png": data for each in drawn.values() for name, data in each.items()}
    try:
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        for path, data in content.items():
            path.write_bytes(data)
    except OSError as error:
        raise SimulationError("the report cannot be written", where=str(folder), got=error.strerror) from error
    return folder / "report.html"


def draw_comparison(comparison: Comparison) -> dict[str, dict[str, bytes]]:
    """Trace → name of a picture (`<trace>-over-time`, `<trace>-plane`) → its bytes as PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    look = styles(comparison)
    drawn: dict[str, dict[str, bytes]] = {}
    for trace in comparison.traces:
        figures = {"over-time": over_time(trace, look), "plane": plane(trace, look)}
        stem = _UNSAFE.sub("_", trace.trace)
        drawn[trace.trace] = {f"{stem}-{name}": render(figure, "png") for name, figure in figures.items() if figure}
    return drawn


def render_comparison(comparison: Comparison, drawn: Mapping[str, Mapping[str, bytes]], *, title: str) -> str:
    """The comparison as one HTML document, with the pictures that `draw_comparison` gave.

    Raises:
        MissingExtraError: jinja2 is not installed.
        ValueError: there is no run.
    """
    if not comparison.traces:
        raise ValueError("a page about no run")
    require_report()
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = (files("trimtab.report") / "templates" / "comparison.html.j2").read_text("utf-8")
    return environment.from_string(source).render(
        title=title,
        traces=[_trace(trace, drawn[trace.trace]) for trace in comparison.traces],
        legend=legend(comparison),
        facts=list(_facts(comparison)),
        notes=_notes(comparison),
        failures=comparison.failures,
        several=len(comparison.traces) > 1,
    )


def _trace(trace: TraceFigures, drawn: Mapping[str, bytes]) -> dict[str, object]:
    """What the template shows of one trace, as text."""
    columns = columns_for(trace)
    return {
        "name": trace.trace,
        "title": title_of(trace).removeprefix(f"{trace.trace}: "),
        "sentence": sentence(trace).replace(" %", "\u00a0%"),
        "headings": [column.heading for column in columns],
        "rows": [_row(policy, [cell(policy, column) for column in columns]) for policy in trace.policies],
        "asked": asked(trace),
        "pictures": [
            (caption, kind, "data:image/png;base64," + base64.b64encode(drawn[name]).decode())
            for name in drawn
            for caption, kind in [_CAPTIONS[name.rpartition("-")[2]]]
        ],
    }


def _row(policy: PolicyFigures, cells: list[str]) -> dict[str, object]:
    return {
        "name": policy.name,
        "mark": FRONT_MARK if policy.on_front else "",
        "bound": policy.bound,
        "ours": policy.run.policy == OURS and not policy.bound,
        "meets": meets_slo(policy),
        "cells": [tuple(told.partition(" ±")[::2]) for told in cells],
    }


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """How it was asked: what is common to all runs, then each trace."""
    first = comparison.traces[0].policies[0].results[0]
    run = first.run
    yield "pipeline", run.pipeline
    yield "SLO", f"{percent(run.slo_quantile)} of the requests within {duration(run.slo_s)}"
    for trace in comparison.traces:
        shown = trace.policies[0].results[0]
        words = [f"{name}: {told}" for name, told in shown.settings.items() if name not in _UNTOLD]
        yield trace.trace, "; ".join([title_of(trace).removeprefix(f"{trace.trace}: "), *asked(trace), *words])


def _notes(comparison: Comparison) -> list[tuple[str, str]]:
    """Every note on a run, with the policies that it is about; a policy's name is told once."""
    about: dict[str, list[str]] = {}
    for trace in comparison.traces:
        for policy in trace.policies:
            for note in dict.fromkeys(note for result in policy.results for note in result.run.notes):
                names = about.setdefault(note, [])
                if policy.name not in names:
                    names.append(policy.name)
    everyone = len(comparison.names)
    return [("all" if len(names) == everyone else ", ".join(names), note) for note, names in about.items()]
