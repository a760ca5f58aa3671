"""`trimtab evaluate`: measure how accurate variants and the whole pipeline are on labelled data."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from trimtab.cli import BAD_INPUT
from trimtab.errors import SpecError, TraceError
from trimtab.load.dataset import Dataset
from trimtab.load.labelled import read_labelled
from trimtab.observe.scores import Metric, default_metric, metric_named, own_metric
from trimtab.report.evaluation import evaluation_json, print_evaluation
from trimtab.runtime.evaluating import Evaluation, Label, Settings, Step
from trimtab.runtime.evaluating import evaluate as run_evaluation
from trimtab.runtime.wiring import Wiring, check_interfaces
from trimtab.spec.document import parse_document, read_text
from trimtab.spec.load import load_pipeline
from trimtab.spec.measured import Measured, write_measured
from trimtab.spec.model import Pipeline

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells know it."""


def evaluate(
    spec: Annotated[Path, typer.Argument(help="The pipeline file.")],
    data: Annotated[Path, typer.Option(help="Labelled rows: .npz, .jsonl or .csv.")],
    label: Annotated[
        list[str] | None,
        typer.Option(help="task.output=column:metric; by default, columns with an output's name and the plain metric."),
    ] = None,
    combinations: Annotated[
        Literal["all", "best", "none"], typer.Option(help="Of the whole pipeline: which combinations of variants.")
    ] = "all",
    most: Annotated[int, typer.Option(min=1, help="More combinations than this are not begun.")] = 500,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Rows in a call of a model.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap intervals.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File for the result, JSON; kept up to date while it runs.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the figures into the pipeline file.")] = False,
    model_folder: Annotated[
        list[Path] | None, typer.Option(help="Another folder that models may lie in; may be given several times.")
    ] = None,
) -> None:
    """Measure the accuracy of each variant and of the whole pipeline on labelled data, with confidence intervals."""
    if out is not None and not out.resolve().parent.is_dir():
        raise SpecError("there is no such folder", where=str(out), next_step="make it first")
    pipeline = load_pipeline(spec, overrides=_placeholders(spec))
    dataset = read_labelled(data)
    wiring = check_interfaces(pipeline, folders=model_folder or ())
    labels = _labels(pipeline, wiring, dataset, label or [])
    today = dt.datetime.now(dt.UTC).date().isoformat()
    origin: dict[str, Any] = {
        "pipeline": pipeline.name,
        "data": dataset.name,
        "data_sha256": _digest(data),
        "measured_at": today,
    }
    origin |= {"labels": {f"{each.task}.{each.output}": each.column for each in labels}}
    console = Console(stderr=True, highlight=False)
    found = Evaluation(dataset.rows)

    def on_step(step: Step) -> None:
        nonlocal found
        found = step.evaluation
        console.print(f"{step.done}/{step.of} {step.name}", soft_wrap=True)
        if out is not None:
            _save(out, evaluation_json(found, origin))

    settings = Settings(combinations, most, batch, seed)
    try:
        found = asyncio.run(run_evaluation(pipeline, wiring, dataset.arrays, labels, settings, on_step))
    except KeyboardInterrupt:
        console.print("Interrupted." + (f" What was measured is in {out}." if out and found.variants else ""))
        raise typer.Exit(INTERRUPTED) from None
    if out is not None:
        _save(out, evaluation_json(found, origin))
    print_evaluation(Console(highlight=False), found, dataset.name)
    if write:
        _write(console, spec, pipeline, found, f"{found.rows} rows of {dataset.name}, {today}")
    if found.failed:
        console.print("Some variants failed; what the others reached is kept.")
        raise typer.Exit(BAD_INPUT)


def _placeholders(spec: Path) -> list[str]:
    """An accuracy of 0 for each variant that has none yet; what else is wrong is for `load_pipeline` to say."""

    def inside(value: object, name: str) -> dict[str, Any]:
        found = value.get(name) if isinstance(value, dict) else None
        return found if isinstance(found, dict) else {}

    data = parse_document(read_text(spec, SpecError, "pipeline file"), str(spec), SpecError).data
    return [
        f"tasks.{task}.variants.{variant}.accuracy=0"
        for task, entry in inside(data, "tasks").items()
        for variant, fields in inside(entry, "variants").items()
        if isinstance(fields, dict) and "accuracy" not in fields
    ]


def _labels(pipeline: Pipeline, wiring: Wiring, data: Dataset, asked: Sequence[str]) -> list[Label]:
    """What is compared with what: as asked, or every output whose name a column has."""
    outputs = {
        f"{task}.{info.name}": (task, info.name) for task in pipeline.tasks for info in wiring.tasks[task].outputs
    }
    names = [name for _, name in outputs.values()]
    taken = {info.name for info in wiring.request}
    labels: list[Label] = []
    for text in asked or outputs:
        address, _, rest = text.partition("=")
        column, _, metric = rest.partition(":")
        if address not in outputs:
            raise SpecError(
                "no such output", where="--label", got=f"'{address}'", wanted=f"one of {', '.join(outputs)}"
            )
        task, output = outputs[address]
        if not column:
            plain = names.count(output) == 1 and output not in taken
            column = output if plain and address not in data.arrays else address
        if column not in data.arrays:
            if asked:
                raise TraceError(
                    "no such column", where=data.name, got=column, wanted=f"one of {', '.join(data.arrays)}"
                )
            continue
        chosen = metric or default_metric(data.arrays[column])
        if chosen is None:
            if not asked:
                continue
            step = f"name one: --label {address}={column}:METRIC, which may be file.py:function"
            raise SpecError(f"the labels '{column}' are numbers that need a metric", next_step=step)
        if any(each.task == task for each in labels):
            raise SpecError(f"task '{task}' has two labelled outputs", next_step="choose one with --label")
        labels.append(Label(task, output, column, _metric(chosen)))
    if not labels:
        step = "name the labels: --label task.output=column:metric"
        raise TraceError("the data have no labels", where=data.name, got=", ".join(data.arrays), next_step=step)
    return labels


def _metric(name: str) -> Metric:
    """A metric by its name, or the function of a file of the user's own."""
    path, sign, function = name.rpartition(":")
    if not sign:
        return metric_named(name)
    file = Path(path)
    if not file.is_file():
        raise SpecError("there is no such file", where="--label", got=path, wanted="file.py:function")
    module_spec = importlib.util.spec_from_file_location(f"trimtab_metric_{file.stem}", file)
    if module_spec is None or module_spec.loader is None:
        raise SpecError("not a file of Python", where="--label", got=path, wanted="file.py:function")
    module = importlib.util.module_from_spec(module_spec)
    sys.path.insert(0, str(file.resolve().parent))  # as if it were run: it may import what lies beside it
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise SpecError("the file cannot be imported", where=path, got=f"{type(error).__name__}: {error}") from error
    judge = getattr(module, function, None)
    if not callable(judge):
        raise SpecError("the file has no such function", where=path, got=f"'{function}'")
    return own_metric(name, judge)


def _write(console: Console, spec: Path, pipeline: Pipeline, found: Evaluation, measured_on: str) -> None:
    """Put the figures into the pipeline file: those of the whole only where every combination was measured."""
    variants: dict[str, dict[str, float]] = {}
    for each in found.variants:
        if each.score is not None:
            variants.setdefault(each.task, {})[each.variant] = each.score.value
    count = 1
    for task in pipeline.tasks.values():
        count *= len(task.variants)
    whole = [(one.variants, one.score.value) for one in found.combinations if one.score is not None]
    complete = whole if len(whole) == count else []
    text = spec.read_bytes().decode("utf-8")
    _save(spec, write_measured(text, Measured(variants, measured_on, complete)))
    table = f" and the whole's {count} combinations" if complete else "; the whole's not, as not all were measured"
    console.print(f"{spec}: wrote {sum(map(len, variants.values()))} accuracies{table}", soft_wrap=True)


def _save(path: Path, text: str) -> None:
    """Write at once: whoever reads the file meanwhile sees the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(text.encode())
    beside.replace(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
