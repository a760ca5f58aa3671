"""From the pipeline file to a `Pipeline`: `load_pipeline(path)`. The file is parsed here, once, and nowhere else.

The forms of the fields are checked by `spec.schema`, how they fit together by `spec.checks`; here the values are built,
with the tasks in topological order. Everything wrong that can be found in one pass is reported together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.errors import ModelError, SpecError
from trimtab.spec.checks import WEIGHTS, check
from trimtab.spec.document import Document, parse_document, read_text
from trimtab.spec.mistakes import Mistake
from trimtab.spec.model import (
    AccuracyModel,
    Budget,
    Edge,
    Instance,
    Objective,
    Pipeline,
    Planning,
    Prices,
    Serverless,
    Slo,
    Task,
    Variant,
)
from trimtab.spec.overrides import apply_overrides
from trimtab.spec.schema import (
    AccuracyEntry,
    EdgeEntry,
    InstanceEntry,
    ObjectiveEntry,
    ObjectiveKind,
    PipelineEntry,
    PricesEntry,
    TaskEntry,
    VariantEntry,
)

_HOUR_S = 3600.0


def load_pipeline(path: Path, *, check_files: bool = True, overrides: Sequence[str] = ()) -> Pipeline:
    """Read and check a pipeline file.

    Args:
        path: A file in YAML or JSON.
        check_files: Whether every model file that is named has to exist; not needed where the pipeline is only planned.
        overrides: Values that stand in the place of the file's, such as `slo.latency=300ms`; see `spec.overrides`.

    Raises:
        SpecError: the file cannot be read, or is wrong; tells file, line, field, what was got and what was wanted. What
            is wrong in an override is told with the override in the place of file and line.
        ModelError: a model file does not exist.
    """
    text = read_text(path, SpecError, "pipeline file")
    return parse_pipeline(text, path, check_files=check_files, overrides=overrides)


def parse_pipeline(
    text: str, source: Path | None = None, *, check_files: bool = True, overrides: Sequence[str] = ()
) -> Pipeline:
    """`load_pipeline` from text; model paths are relative to the folder of `source` (None: the current one)."""
    document = apply_overrides(parse_document(text, str(source or "pipeline"), SpecError), overrides)
    entry = document.validate(PipelineEntry)
    order, mistakes = check(entry)
    if mistakes:
        raise document.error(mistakes)
    base = source.parent if source else Path()
    pipeline = Pipeline(
        name=entry.name,
        tasks={name: _task(name, entry.tasks[name], base) for name in order},
        slo=Slo(entry.slo.latency, entry.slo.quantile),
        budget=Budget(
            cores=entry.budget.cores,
            memory_bytes=entry.budget.memory,
            replicas_per_task=entry.budget.replicas_per_task,
            replicas=entry.budget.replicas,
            cost_per_hour=entry.budget.cost_per_hour,
        ),
        objective=_objective(entry.objective),
        prices=_prices(entry.prices),
        accuracy=_accuracy(entry.accuracy, order),
        planning=Planning(**dict(entry.planning)),
        policies={name: {key: _frozen(value) for key, value in s.items()} for name, s in entry.policies.items()},
        source=source.absolute() if source else None,
    )
    if check_files:
        _check_models(pipeline, document)
    return pipeline


def profile_entry(source: Path, overrides: Sequence[str] = ()) -> Path | Document:
    """What a pipeline file says about its profile: the path of a file, which need not exist, or inline content.

    Args:
        source: The pipeline file.
        overrides: As for `load_pipeline`.

    Raises:
        SpecError: the pipeline file cannot be read or is wrong.
    """
    document = parse_document(read_text(source, SpecError, "pipeline file"), str(source), SpecError)
    document = apply_overrides(document, overrides)
    entry = document.validate(PipelineEntry)
    if isinstance(entry.profile, str):
        return source.parent / entry.profile
    return document.inside("profile")


def _task(name: str, entry: TaskEntry, base: Path) -> Task:
    return Task(
        name=name,
        variants={variant: _variant(variant, v, base) for variant, v in entry.variants.items()},
        after=tuple(Edge(upstream, edge.fan_out, dict(edge.fan_out_by)) for upstream, edge in _edges(entry).items()),
        inputs=dict(entry.inputs),
    )


def _variant(name: str, entry: VariantEntry, base: Path) -> Variant:
    """A variant; `model: file.py:Class` is a path and the class in that file."""
    path, colon, in_file = (entry.model or "").rpartition(":")
    if not (colon and path.endswith(".py")):
        path, in_file = entry.model or "", ""
    return Variant(
        name=name,
        model=(base / path).resolve() if path else None,
        accuracy=entry.accuracy,
        measured_on=entry.measured_on,
        runtime=entry.runtime,
        options={key: _frozen(value) for key, value in entry.options.items()},
        entry=in_file or None,
    )


def _edges(entry: TaskEntry) -> Mapping[str, EdgeEntry]:
    return entry.after if isinstance(entry.after, dict) else {name: EdgeEntry() for name in entry.after}


def _objective(entry: ObjectiveKind | ObjectiveEntry) -> Objective:
    if not isinstance(entry, ObjectiveEntry):
        return Objective(entry)
    if entry.point_worth_cores is not None:
        return Objective.exchange(entry.point_worth_cores, "cores")
    if entry.point_worth_per_hour is not None:
        return Objective.exchange(entry.point_worth_per_hour, "money")
    assert entry.kind is not None  # one of the three is there, as was checked
    weights = {name: weight for name in WEIGHTS if (weight := getattr(entry, name)) is not None}
    return Objective(entry.kind, **weights, accuracy_floor=entry.accuracy_floor, cost=entry.cost)


def _prices(entry: PricesEntry) -> Prices:
    by_use = entry.serverless
    return Prices(
        core_hour=entry.core_hour,
        currency=entry.currency,
        instances={name: _instance(name, instance) for name, instance in (entry.instances or {}).items()},
        serverless=Serverless(by_use.core_second, by_use.request, by_use.cores, by_use.memory) if by_use else None,
    )


def _instance(name: str, entry: InstanceEntry) -> Instance:
    per_second = entry.per_second if entry.per_hour is None else entry.per_hour / _HOUR_S
    assert per_second is not None  # one of the two is there, as was checked
    return Instance(name, entry.cores, per_second, entry.memory)


def _accuracy(entry: str | AccuracyEntry, order: Sequence[str]) -> AccuracyModel:
    if not isinstance(entry, AccuracyEntry):
        return AccuracyModel(entry)  # type: ignore[arg-type]  # one of the kinds, as the schema has checked
    table = {tuple(row.variants[task] for task in order): row.accuracy for row in entry.table or ()}
    return AccuracyModel(entry.kind, table)


def _frozen(value: Any) -> Any:
    """A setting with tuples for lists, so that nothing that holds it can change it by accident."""
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _check_models(pipeline: Pipeline, document: Document) -> None:
    missing = [
        Mistake(
            ("tasks", task.name, "variants", variant.name, "model"),
            f"the model of variant '{variant.name}' is missing",
            f"{variant.model} ({'a directory' if variant.model.is_dir() else 'no such file'})",
            "a model's file or folder; paths are relative to the pipeline file",
        )
        for task in pipeline.tasks.values()
        for variant in task.variants.values()
        if variant.model is not None and not (variant.model.is_file() or _is_model_folder(variant))
    ]
    if missing:
        raise document.with_kind(ModelError).error(missing)


def _is_model_folder(variant: Variant) -> bool:
    """Whether the model is a folder that can be one: of a runtime that is named, or in Hugging Face's form."""
    folder = variant.model
    return (
        folder is not None and folder.is_dir() and (variant.runtime is not None or (folder / "config.json").is_file())
    )
