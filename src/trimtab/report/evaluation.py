"""An evaluation for people, as tables, and for programs, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.observe.scores import Score
from trimtab.runtime.evaluating import Evaluation


def evaluation_json(evaluation: Evaluation, origin: dict[str, Any]) -> str:
    """The evaluation as a JSON document; `origin` says on what, when and with what it was measured."""
    document = {"trimtab_evaluation": 1, **origin, **msgspec.to_builtins(evaluation)}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def print_evaluation(console: Console, evaluation: Evaluation, data: str) -> None:
    """One line a variant, one a combination, best first, then what was not measured."""
    tasks = _table(f"each task, {evaluation.rows} rows of {data}", ("task", "variant", "metric", "given"))
    for each in evaluation.variants:
        tasks.add_row(
            Text(each.task), Text(each.variant), each.metric, Text(each.given), *_told(each.score, each.error)
        )
    console.print(tasks)
    if evaluation.combinations:
        console.print()
        whole = _table("the whole pipeline", ("variants", "product of tasks"))
        ranked = sorted(evaluation.combinations, key=lambda c: -c.score.value if c.score else 1.0)
        for one in ranked:
            product = "" if one.product is None else f"{100 * one.product:.1f} %"
            whole.add_row(Text(" + ".join(one.variants.values())), product, *_told(one.score, one.error))
        console.print(whole)
    for note in evaluation.notes:
        console.print(Text(f"not measured, {note}" if note.startswith("task") else note))


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, box=None, header_style="bold", title_justify="left", pad_edge=False)
    for heading in (*headings, "accuracy", "95 % interval"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("metric", "95 % interval"))
    return table


def _told(score: Score | None, error: str | None) -> tuple[str | Text, str]:
    if score is None:
        return Text(error or "not measured"), ""
    return f"{100 * score.value:.1f} %", f"{100 * score.low:.1f} to {100 * score.high:.1f} %"
