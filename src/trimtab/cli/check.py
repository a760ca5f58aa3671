"""`trimtab check`: read a pipeline file and its profile, say what is wrong, or sum them up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.plan.objective import worth_words
from trimtab.plan.policies.registry import check_settings
from trimtab.profile.file import load_profile_for
from trimtab.profile.model import Profile, VariantProfile
from trimtab.spec.load import load_pipeline, profile_entry
from trimtab.spec.model import Budget, Pipeline, Planning, Prices, Task
from trimtab.units import format_duration, format_size


def check(
    spec: Annotated[Path, typer.Argument(help="The pipeline file.")],
    profile: Annotated[
        Path | None, typer.Option(help="Profile file to check, if not the one the pipeline file names.")
    ] = None,
    models: Annotated[
        bool, typer.Option(help="Whether the model files have to exist, and to fit together tensor by tensor.")
    ] = True,
    model_folder: Annotated[
        list[Path] | None, typer.Option(help="A folder that models may lie in, besides the pipeline file's own.")
    ] = None,
) -> None:
    """Check a pipeline file, its models and its profile, and sum them up."""
    pipeline = load_pipeline(spec, check_files=models)
    check_settings(pipeline)
    tensors = _tensors(pipeline, model_folder or ()) if models else None
    measured = load_profile_for(pipeline, profile) if profile or _has_profile(spec) else None
    console = Console(highlight=False)
    console.print(_variants(pipeline, measured))
    console.print()
    if tensors is not None:
        console.print(Text.assemble((f"{'takes':<10}", "bold"), tensors[0]), soft_wrap=True)
        console.print(Text.assemble((f"{'gives':<10}", "bold"), tensors[1]), soft_wrap=True)
    for name, told in _facts(pipeline, measured, spec):
        console.print(Text.assemble((f"{name:<10}", "bold"), told), soft_wrap=True)


def _tensors(pipeline: Pipeline, folders: Iterable[Path]) -> tuple[str, str] | None:
    """What a request brings and what the answer holds, once all models fit together; None where some have no file."""
    if any(variant.model is None for task in pipeline.tasks.values() for variant in task.variants.values()):
        return None
    from trimtab.runtime.wiring import check_interfaces, describe

    wiring = check_interfaces(pipeline, folders=folders)
    takes, gives = (
        ", ".join(f"{info.name} {describe(info)}" for info in infos) for infos in (wiring.request, wiring.answers)
    )
    return takes, gives


def _has_profile(spec: Path) -> bool:
    entry = profile_entry(spec)
    return not isinstance(entry, Path) or entry.exists()


def _variants(pipeline: Pipeline, profile: Profile | None) -> Table:
    """One line a variant."""
    table = Table(title=f"pipeline {pipeline.name}", box=None, header_style="bold", title_justify="left")
    for heading in ("task", "after", "variant"):
        table.add_column(heading, overflow="fold")
    for heading in ("accuracy", "fastest"):
        table.add_column(heading, justify="right")
    table.add_column("model", overflow="fold")
    for task in pipeline.tasks.values():
        for i, variant in enumerate(task.variants.values()):
            table.add_row(
                Text(task.name if i == 0 else ""),
                Text(_after(task) if i == 0 else ""),
                Text(variant.name),
                f"{100 * variant.accuracy:.1f} %",
                _fastest(profile.variants[task.name][variant.name]) if profile else "",
                Text(variant.model.name if variant.model else "none"),
            )
    return table


def _after(task: Task) -> str:
    return ", ".join(e.upstream + (f" ×{e.fan_out:g}" if e.fan_out != 1 else "") for e in task.after) or "request"


def _fastest(measured: VariantProfile) -> str:
    times = [point.mean_s for point in measured.points] or [row.latency_s for row in measured.capacity]
    return format_duration(min(times))


def _facts(pipeline: Pipeline, profile: Profile | None, spec: Path) -> list[tuple[str, str]]:
    slo = pipeline.slo
    return [
        ("SLO", f"{100 * slo.quantile:g} % of requests within {format_duration(slo.latency_s)}"),
        ("budget", _budget(pipeline.budget, pipeline.prices)),
        ("objective", _objective(pipeline)),
        ("planning", _planning(pipeline.planning)),
        ("prices", _prices(pipeline.prices)),
        ("profile", _profile(profile, spec)),
    ]


def _budget(budget: Budget, prices: Prices) -> str:
    words = [
        "all cores" if budget.cores is None else f"{budget.cores:g} core{'s' if budget.cores != 1 else ''}",
        "all memory" if budget.memory_bytes is None else format_size(budget.memory_bytes),
        f"at most {budget.replicas_per_task} replicas of a task",
    ]
    if budget.replicas is not None:
        words.append(f"{budget.replicas} replicas of all tasks")
    if budget.cost_per_hour is not None:
        words.append(f"{budget.cost_per_hour:g} {prices.currency} an hour")
    return ", ".join(words)


def _objective(pipeline: Pipeline) -> str:
    objective = pipeline.objective
    if (worth := worth_words(pipeline)) is not None:
        return worth if pipeline.accuracy.kind == "product" else f"{worth}; accuracy by {pipeline.accuracy.kind}"
    words: str = objective.kind
    if objective.kind == "cheapest":
        words += f", accuracy at least {objective.accuracy_floor or 0.0:g}"
    if objective.kind == "weighted":
        names = ("alpha", "beta", "gamma", "delta")
        words += ": " + ", ".join(f"{name} {getattr(objective, name):g}" for name in names)
    if objective.cost == "money":
        words += "; cost is money"
    if pipeline.accuracy.kind != "product":
        words += f"; accuracy by {pipeline.accuracy.kind}"
    return words


def _planning(planning: Planning) -> str:
    words = [f"{planning.latency} latency"]
    words.append(
        "one variant a task" if planning.mix == 1 else f"mixes of two in {planning.share_steps}ths of the traffic"
    )
    if planning.cores:
        words.append("cores of a replica: " + ", ".join(f"{task} {cores}" for task, cores in planning.cores.items()))
    if planning.max_batch is not None:
        words.append(f"batches of at most {planning.max_batch}")
    return ", ".join(words)


def _prices(prices: Prices) -> str:
    words = []
    if prices.core_hour is not None:
        words.append(f"{prices.core_hour:g} {prices.currency} for a core and hour")
    if prices.instances:
        words.append(f"{', '.join(prices.instances)} to rent")
    if prices.serverless is not None:
        words.append("serverless by use")
    return ", ".join(words) or "not given"


def _profile(profile: Profile | None, spec: Path) -> str:
    if profile is None:
        return f"none yet; measure: trimtab profile {spec}"
    points = sum(len(measured.points) for variants in profile.variants.values() for measured in variants.values())
    where = profile.provenance
    rows = sum(len(measured.capacity) for variants in profile.variants.values() for measured in variants.values())
    told = " and ".join(
        words for count, words in ((points, f"{points} service times"), (rows, f"{rows} capacity rows")) if count
    )
    origin = f"measured {where.measured_at} on {where.host} ({where.cpu})" if where else "origin not recorded"
    return f"complete, {told}, {origin}"
