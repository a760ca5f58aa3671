"""From the pipeline file to a `Pipeline`: `load_pipeline(path)`. The file is parsed here, once, and nowhere else.

The forms of the fields are checked by `spec.schema`; here it is checked how they fit together, and the tasks are put
into topological order. Everything wrong that can be found in one pass is reported together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from trimtab.errors import ModelError, SpecError
from trimtab.spec.document import Document, parse_document, read_text
from trimtab.spec.mistakes import FieldPath, Mistake, did_you_mean, format_value, one_of
from trimtab.spec.model import REQUEST, Budget, Edge, Objective, Pipeline, Prices, Slo, Task, Variant
from trimtab.spec.schema import EdgeEntry, ObjectiveEntry, PipelineEntry, TaskEntry


def load_pipeline(path: Path, *, check_files: bool = True) -> Pipeline:
    """Read and check a pipeline file.

    Args:
        path: A file in YAML or JSON.
        check_files: Whether every model file that is named has to exist; not needed where the pipeline is only planned.

    Raises:
        SpecError: the file cannot be read, or is wrong; tells file, line, field, what was got and what was wanted.
        ModelError: a model file does not exist.
    """
    return parse_pipeline(read_text(path, SpecError, "pipeline file"), path, check_files=check_files)


def parse_pipeline(text: str, source: Path | None = None, *, check_files: bool = True) -> Pipeline:
    """`load_pipeline` from text; model paths are relative to the folder of `source` (None: the current one)."""
    document = parse_document(text, str(source or "pipeline"), SpecError)
    entry = document.validate(PipelineEntry)
    mistakes = [*_check_names(entry), *_check_edges(entry), *_check_objective(entry)]
    order: list[str] = []
    if not mistakes:
        order, mistakes = _topological_order(entry)
    if not mistakes:
        mistakes = list(_check_inputs(entry, order))
    if mistakes:
        raise document.error(mistakes)
    base = source.parent if source else Path()
    pipeline = Pipeline(
        name=entry.name,
        tasks={name: _task(name, entry.tasks[name], base) for name in order},
        slo=Slo(entry.slo.latency, entry.slo.quantile),
        budget=Budget(entry.budget.cores, entry.budget.memory, entry.budget.replicas_per_task),
        objective=_objective(entry.objective),
        prices=Prices(entry.prices.core_hour, entry.prices.currency),
        source=source.absolute() if source else None,
    )
    if check_files:
        _check_models(pipeline, document)
    return pipeline


def profile_entry(source: Path) -> Path | Document:
    """What a pipeline file says about its profile: the path of a file, which need not exist, or inline content.

    Raises:
        SpecError: the pipeline file cannot be read or is wrong.
    """
    document = parse_document(read_text(source, SpecError, "pipeline file"), str(source), SpecError)
    entry = document.validate(PipelineEntry)
    if isinstance(entry.profile, str):
        return source.parent / entry.profile
    return document.inside("profile")


def _task(name: str, entry: TaskEntry, base: Path) -> Task:
    return Task(
        name=name,
        variants={
            variant: Variant(variant, (base / v.model).resolve() if v.model else None, v.accuracy, v.measured_on)
            for variant, v in entry.variants.items()
        },
        after=tuple(Edge(upstream, edge.fan_out) for upstream, edge in _edges(entry).items()),
        inputs=dict(entry.inputs),
    )


def _edges(entry: TaskEntry) -> Mapping[str, EdgeEntry]:
    return entry.after if isinstance(entry.after, dict) else {name: EdgeEntry() for name in entry.after}


def _objective(entry: str | ObjectiveEntry) -> Objective:
    if isinstance(entry, ObjectiveEntry):
        weights = {name: getattr(entry, name) for name in ("alpha", "beta", "delta")}
        return Objective(entry.kind, **{name: weight for name, weight in weights.items() if weight is not None})
    return Objective(entry)  # type: ignore[arg-type]  # one of the kinds, as the schema has checked


def _check_objective(entry: PipelineEntry) -> Iterator[Mistake]:
    objective = entry.objective
    if isinstance(objective, ObjectiveEntry) and objective.kind == "accurate-under-budget":
        for name in ("alpha", "beta", "delta"):
            if (weight := getattr(objective, name)) is not None:
                yield Mistake(
                    ("objective", name),
                    "the objective accurate-under-budget has no weights",
                    format_value(weight),
                    "no weight",
                    "leave it out, or choose kind: weighted",
                )


def _check_names(entry: PipelineEntry) -> Iterator[Mistake]:
    taken = {REQUEST: "the request's tensors", entry.name: "the pipeline"}
    for name in entry.tasks:
        if name in taken:
            yield Mistake(("tasks", name), f"this name is taken by {taken[name]}", f"'{name}'", "another name")


def _check_edges(entry: PipelineEntry) -> Iterator[Mistake]:
    for name, task in entry.tasks.items():
        upstreams = list(task.after)
        for i, upstream in enumerate(upstreams):
            field: FieldPath = ("tasks", name, "after", upstream if isinstance(task.after, dict) else i)
            if upstream == name:
                yield Mistake(field, "a task cannot run after itself", f"'{name}'", "another task")
            elif upstream not in entry.tasks:
                others = [other for other in entry.tasks if other != name]
                step = did_you_mean(upstream, others)
                yield Mistake(field, "there is no such task", f"'{upstream}'", one_of(others), step)
            elif upstream in upstreams[:i]:
                yield Mistake(field, "named twice", f"'{upstream}'", "each task once")


def _topological_order(entry: PipelineEntry) -> tuple[list[str], list[Mistake]]:
    """Task names, each after those it runs after, else in the file's order; or the mistake that some form a cycle."""
    order: list[str] = []
    waiting = dict.fromkeys(entry.tasks)
    while waiting:
        ready = next((name for name in waiting if not any(up in waiting for up in entry.tasks[name].after)), None)
        if ready is None:
            return order, [_cycle(entry, waiting)]
        order.append(ready)
        del waiting[ready]
    return order, []


def _cycle(entry: PipelineEntry, waiting: Mapping[str, None]) -> Mistake:
    """Each waiting task has an upstream one that waits, so going up arrives at one that was seen before."""
    path = [next(iter(waiting))]
    while (upstream := next(up for up in entry.tasks[path[-1]].after if up in waiting)) not in path:
        path.append(upstream)
    cycle = [*path[path.index(upstream) :], upstream][::-1]
    first = min(cycle, key=list(entry.tasks).index)
    start = cycle.index(first)
    cycle = [*cycle[start:-1], *cycle[: start + 1]]
    return Mistake(
        ("tasks", first, "after"),
        "the tasks form a cycle",
        " → ".join(cycle),
        "tasks that lead from the request onwards",
    )


def _check_inputs(entry: PipelineEntry, order: list[str]) -> Iterator[Mistake]:
    ancestors: dict[str, set[str]] = {}
    for name in order:
        ups = entry.tasks[name].after
        ancestors[name] = set(ups).union(*(ancestors[up] for up in ups))
        for tensor, source in entry.tasks[name].inputs.items():
            task = source.partition(".")[0]
            field = ("tasks", name, "inputs", tensor)
            before = [other for other in order if other in ancestors[name]]
            wanted = one_of(f"{other}.<tensor>" for other in [REQUEST, *before])
            if task not in entry.tasks and task != REQUEST:
                step = did_you_mean(task, [REQUEST, *before])
                yield Mistake(field, "there is no such source", f"'{source}'", wanted, step)
            elif task == name:
                yield Mistake(field, "a task cannot read its own output", f"'{source}'", wanted)
            elif task != REQUEST and task not in ancestors[name]:
                step = f"add {task} to the field after of {name}"
                yield Mistake(field, f"task '{task}' does not run before '{name}'", f"'{source}'", wanted, step)


def _check_models(pipeline: Pipeline, document: Document) -> None:
    missing = [
        Mistake(
            ("tasks", task.name, "variants", variant.name, "model"),
            f"the model file of variant '{variant.name}' is missing",
            f"{variant.model} ({'a directory' if variant.model.is_dir() else 'no such file'})",
            "an ONNX file; paths are relative to the pipeline file",
        )
        for task in pipeline.tasks.values()
        for variant in task.variants.values()
        if variant.model is not None and not variant.model.is_file()
    ]
    if missing:
        raise document.with_kind(ModelError).error(missing)
