"""`trimtab init`: a pipeline file from a folder of models, or a repository of Triton's or MLServer's as it stands."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from trimtab.errors import SpecError
from trimtab.units import parse_duration_s

OBJECTIVE = """
# What is maximised within the SLO. As it stands: accuracy, with all cores of the machine. With fewer:
# budget: {cores: 4}
# Or say what one point of accuracy (0.01) is worth, in cores, or in money by the prices:
# objective: {point_worth_cores: 4}
# objective: {point_worth_per_hour: 0.30}
# prices: {core_hour: 0.04}
"""
"""Ends the file that is written: lines to take the sign from."""


def init(
    folder: Annotated[Path, typer.Argument(help="A folder of models, or a repository of Triton's or MLServer's.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; otherwise pipeline.yaml in the folder.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The pipeline's name; otherwise the folder's.")] = None,
    slo: Annotated[str, typer.Option(help="Bound on the response time, with its unit.")] = "500ms",
    accuracy: Annotated[
        list[str] | None, typer.Option(metavar="MODEL=FRACTION", help="A model's accuracy, as often as needed.")
    ] = None,
    chain: Annotated[
        str | None, typer.Option(metavar="TASK,TASK", help="Tasks that run one after the other, such as locate,read.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Write a pipeline file: models that take and give the same tensors become the variants of one task.

    An accuracy that is not given is left out: `trimtab check` asks for it, `trimtab evaluate` measures it.
    """
    from trimtab.runtime.models.model import Interface, ModelSource
    from trimtab.runtime.models.registry import inspect_source
    from trimtab.runtime.models.repositories import FoundModel, find_models

    target = output or folder / "pipeline.yaml"
    if target.exists() and not force:
        raise SpecError("the file exists", where=str(target), next_step="name another with --output, or add --force")
    _check_slo(slo)
    models = find_models(folder)
    known = _accuracies(accuracy or (), [model.name for model in models])
    groups: list[tuple[Interface, list[FoundModel]]] = []
    for model in models:
        interface = inspect_source(
            ModelSource(model.runtime, model.path.resolve(), None, model.options, (folder.resolve(),))
        )
        for other, members in groups:
            if _same(interface, other):
                members.append(model)
                break
        else:
            groups.append((interface, [model]))
    tasks: dict[str, Any] = {}
    for _, members in groups:
        variants = {_clean(model.name): _variant(model, target, known) for model in members}
        tasks[_task_name([model.name for model in members], tasks)] = {"variants": variants}
    for before, after in _links(chain, list(tasks)):
        tasks[after] = {"after": [before], **tasks[after]}
    content = {"name": _pipeline_name(name or folder.resolve().name, tasks), "tasks": tasks, "slo": {"latency": slo}}
    text = yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
    target.write_text(text + OBJECTIVE, encoding="utf-8")
    _tell(target, tasks, measured=len(known) == len(models))


def _tell(target: Path, tasks: dict[str, Any], *, measured: bool) -> None:
    typer.echo(f"{target}:")
    for task, entry in tasks.items():
        typer.echo(f"  task {task}: {', '.join(entry['variants'])}")
    typer.echo("next:")
    if not measured:
        typer.echo(f"  trimtab evaluate {target} --data DATA --write   (some accuracies are not known yet)")
    for step in ("check", "profile", "serve"):
        typer.echo(f"  trimtab {step} {target}")


def _same(one: Any, other: Any) -> bool:
    """Whether two models may be variants of one task: the same tensors by name, rows aside."""
    return all(
        {(i.name, i.dtype, i.shape[1:]) for i in getattr(one, role)}
        == {(i.name, i.dtype, i.shape[1:]) for i in getattr(other, role)}
        for role in ("inputs", "outputs")
    )


def _variant(model: Any, target: Path, known: dict[str, float]) -> dict[str, Any]:
    path = os.path.relpath(model.path.resolve(), target.resolve().parent)
    entry: dict[str, Any] = {"model": path, "runtime": model.runtime}
    if model.options:
        entry["options"] = dict(model.options)
    return entry | ({"accuracy": known[model.name]} if model.name in known else {})


def _accuracies(given: Sequence[str], names: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if name not in names or not 0 <= value <= 1:
            wanted = "one of " + ", ".join(names) + ", '=' and a fraction from 0 to 1"
            raise SpecError("not the accuracy of a model", where="--accuracy", got=f"'{text}'", wanted=wanted)
        found[name] = value
    return found


def _links(chain: str | None, tasks: list[str]) -> list[tuple[str, str]]:
    """Each task of the chain with the one before it."""
    if chain is None:
        return []
    names = [name.strip() for name in chain.split(",")]
    if len(set(names)) != len(names) or not set(names) <= set(tasks):
        wanted = "each at most once of " + ", ".join(tasks)
        raise SpecError("not a chain of tasks", where="--chain", got=f"'{chain}'", wanted=wanted)
    return list(pairwise(names))


def _check_slo(text: str) -> None:
    try:
        positive = parse_duration_s(text) > 0
    except ValueError:
        positive = False
    if not positive:
        raise SpecError("not a duration", where="--slo", got=f"'{text}'", wanted="one with its unit, such as 400ms")


def _clean(name: str) -> str:
    """A name that the pipeline file allows."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100] or "model"


def _task_name(models: list[str], taken: dict[str, Any]) -> str:
    """What the names of a task's models begin with, or `task-1`."""
    shared = _clean(os.path.commonprefix(models)).replace(".", "-")  # noqa: RUF071 — of names, not of paths
    name = shared if len(shared) > 1 and shared not in ("model", "request") else f"task-{len(taken) + 1}"
    return name if name not in taken else f"{name}-{len(taken) + 1}"


def _pipeline_name(name: str, tasks: dict[str, Any]) -> str:
    clean = _clean(name)
    return clean if clean not in tasks else f"{clean}-pipeline"
