"""`trimtab pareto`: what accuracy costs at a rate, as the exact front of accuracy and cost."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab import compiled
from trimtab.cli.plan import limits_for, tell_how_to_compile
from trimtab.cli.plan_text import accuracy_words, facts_table, plain_table, variants_words
from trimtab.errors import PlanRequestError
from trimtab.plan.choose import largest_rate
from trimtab.plan.file import PlanContent, format_json
from trimtab.plan.model import Allocation, Limits, PlanEstimate, PlanRequest, PlanResult
from trimtab.plan.options import Rules
from trimtab.plan.pareto import CostKind, FrontPoint, cost_of, front, locate
from trimtab.plan.policies.registry import check_settings
from trimtab.plan.policies.trimtab import TrimtabPolicy, rules_for
from trimtab.plan.words import allocation_words, latency_words
from trimtab.profile.file import load_profile_for
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Objective, Pipeline, Slo
from trimtab.units import format_duration

VERSION = 1
_SLOW_S = 0.5
"""As for `trimtab plan`."""
_ANY_WIDTH = 10_000
"""Columns of a terminal that no table fills."""


@dataclass(frozen=True, slots=True)
class PointContent:
    """One point of the front."""

    cost: float
    accuracy: float
    chosen: bool
    """Whether the pipeline's own objective would choose a plan of this accuracy and cost."""
    gap: float
    plan: PlanContent
    estimate: PlanEstimate


@dataclass(frozen=True, slots=True)
class ChosenContent:
    """What the pipeline's own objective would choose."""

    objective: Objective
    feasible: bool
    point: int | None
    """Which point has its accuracy and cost, counted from 0; None: none, for the objective weighs other things too."""
    plan: PlanContent
    estimate: PlanEstimate


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontAnswer:
    """Everything that the front has to tell; the fields are those of the JSON object."""

    trimtab_pareto: int = VERSION
    pipeline: str
    rate_rps: float
    arrival_scv: float
    slo: Slo
    limits: Limits
    cost: CostKind
    currency: str | None
    """Of the costs, per hour; None where they are cores."""
    points: tuple[PointContent, ...]
    chosen: ChosenContent
    sustained_rps: float | None
    """The largest rate that can be held, where the one asked for cannot and there is no point; else None."""
    plan_time_s: float
    compiled: bool


def pareto(
    spec: Annotated[Path, typer.Argument(help="The pipeline file.")],
    rate: Annotated[float, typer.Option(help="Requests per second to plan for; 0 plans for a lone request.")],
    cost: Annotated[
        CostKind | None,
        typer.Option(help="What cost means: cores, or money by the file's prices; by default as the objective says."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="A value in place of the file's, such as slo.latency=300ms."),
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="Profile file, if not the one the pipeline file names.")] = None,
    cores: Annotated[float | None, typer.Option(help="Cores to plan for, in place of the budget's.")] = None,
    arrival_scv: Annotated[
        float, typer.Option(help="How bursty arrivals are: squared coefficient of variation; 1 is Poisson.")
    ] = 1.0,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the points to this file, one a row.")
    ] = None,
    png_file: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw the front to this file; needs the extra report.")
    ] = None,
) -> None:
    """Tell what accuracy costs at a rate: every plan that nothing beats in both, exactly."""
    _check_outputs(csv_file, png_file)
    pipeline = load_pipeline(spec, check_files=False, overrides=settings or ())
    check_settings(pipeline)
    measured = load_profile_for(pipeline, profile, overrides=settings or ())
    kind: CostKind = cost or pipeline.objective.cost
    if kind == "money" and not pipeline.prices.known:
        raise PlanRequestError(
            "money counts, and nothing has a price", where="--cost", next_step="state prices, or count cores"
        )
    request = PlanRequest(pipeline, measured, rate, limits_for(pipeline, measured, cores), arrival_scv=arrival_scv)
    compiled.load_when_cached()
    rules = rules_for(request)
    began_s = time.perf_counter()
    points = front(request, rules, kind)
    took_s = time.perf_counter() - began_s
    answer = _answer(request, rules, kind, points, took_s)
    if csv_file is not None:
        _write(csv_file, format_csv(answer).encode())
    if png_file is not None:
        _write(png_file, _png(request, points, answer))
    if json_output:
        typer.echo(format_json(answer), nl=False)
        return
    _print(answer, pipeline, Console(highlight=False))
    for path in (csv_file, png_file):
        if path is not None:
            typer.echo(str(path))
    if took_s > _SLOW_S:
        tell_how_to_compile()


def format_csv(answer: FrontAnswer) -> str:
    """The points as CSV, numbers in full: what is known of the plan, then what each task gets."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    tasks = list(answer.chosen.plan.tasks)
    writer.writerow(
        ["cost", "accuracy", "latency_s", "cores", "replicas", "cost_per_hour", "chosen", "plan_id"]
        + [f"tasks.{task}" for task in tasks]
    )
    for point in answer.points:
        found, plan = point.estimate, point.plan
        money = "" if found.cost_per_hour is None else repr(found.cost_per_hour)
        numbers = [repr(point.cost), repr(point.accuracy), repr(found.latency_s), found.cores, found.replicas, money]
        gets = [" + ".join(map(allocation_words, plan.tasks[task].allocations)) for task in tasks]
        writer.writerow([*numbers, str(point.chosen).lower(), plan.id, *gets])
    return out.getvalue()


def _answer(
    request: PlanRequest, rules: Rules, kind: CostKind, points: Sequence[FrontPoint], took_s: float
) -> FrontAnswer:
    own = TrimtabPolicy().propose(request)
    chosen = _chosen(own, request, points, kind)
    return FrontAnswer(
        pipeline=request.pipeline.name,
        rate_rps=request.rate_rps,
        arrival_scv=request.arrival_scv,
        slo=request.pipeline.slo,
        limits=request.limits,
        cost=kind,
        currency=request.pipeline.prices.currency if kind == "money" else None,
        points=tuple(
            PointContent(p.cost, p.estimate.accuracy, i == chosen.point, p.gap, PlanContent.of(p.plan), p.estimate)
            for i, p in enumerate(points)
        ),
        chosen=chosen,
        sustained_rps=None if points else largest_rate(request, request.rate_rps, rules).rate_rps,
        plan_time_s=took_s,
        compiled=compiled.is_loaded(),
    )


def _chosen(own: PlanResult, request: PlanRequest, points: Sequence[FrontPoint], kind: CostKind) -> ChosenContent:
    point = locate(points, own.estimate, kind) if own.feasible else None
    return ChosenContent(request.pipeline.objective, own.feasible, point, PlanContent.of(own.plan), own.estimate)


def _png(request: PlanRequest, points: Sequence[FrontPoint], answer: FrontAnswer) -> bytes:
    from trimtab.report.figures import render
    from trimtab.report.front import FrontPicture, draw

    limits = request.limits
    chosen = answer.chosen.estimate if answer.chosen.feasible else None
    limit = limits.cores if answer.cost == "cores" else limits.cost_per_hour
    return render(
        draw(FrontPicture(request.pipeline, request.rate_rps, answer.cost, points, chosen=chosen, limit=limit)), "png"
    )


def _check_outputs(csv_file: Path | None, png_file: Path | None) -> None:
    """Fail before anything is planned where nothing could be written."""
    for path in (csv_file, png_file):
        if path is not None and not path.resolve().parent.is_dir():
            raise PlanRequestError("there is no such folder", where=str(path), next_step="make it first")
    if png_file is not None:
        from trimtab.report.front import require_matplotlib

        require_matplotlib()


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise PlanRequestError("the file cannot be written", where=str(path), got=error.strerror) from error


def _print(answer: FrontAnswer, pipeline: Pipeline, console: Console) -> None:
    title = f"pipeline {answer.pipeline} at {answer.rate_rps:g}/s: what accuracy costs"
    console.print(Text(title, style="italic"), soft_wrap=True)
    if answer.points:
        table = _table(answer, pipeline, joint=False)
        natural = console.measure(table, options=console.options.update_width(_ANY_WIDTH)).maximum
        if natural > console.width:
            table = _table(answer, pipeline, joint=True)
        console.print(table)
        console.print()
    console.print(facts_table(_facts(answer, pipeline)))


def _table(answer: FrontAnswer, pipeline: Pipeline, *, joint: bool) -> Table:
    """A line for each point, with a column for each task, or with one for all of them."""
    table = plain_table()
    table.add_column("", no_wrap=True)
    unit = "cores" if answer.currency is None else f"{answer.currency}/h"
    for heading in (unit, "accuracy", f"p{100 * answer.slo.quantile:g}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("plan",) if joint else pipeline.tasks:
        table.add_column(Text(heading), overflow="fold", no_wrap=not joint)
    for point in answer.points:
        gets = [(name, _short(task.allocations)) for name, task in point.plan.tasks.items()]
        told = ["; ".join(f"{name} {words}" for name, words in gets)] if joint else [words for _, words in gets]
        table.add_row(
            "→" if point.chosen else "",
            f"{point.cost:g}" if answer.currency is None else f"{point.cost:.4g}",
            accuracy_words(point.accuracy, pipeline),
            latency_words(point.estimate.latency_s),
            *map(Text, told),
            style="bold" if point.chosen else None,
        )
    return table


def _short(allocations: Sequence[Allocation]) -> str:
    """`v5 60 % 2×4 + v4 40 % 3×1`: variant, share, replicas × cores of one."""
    return " + ".join(f"{variants_words([a])} {a.replicas}×{a.cores}" for a in allocations)


def _facts(answer: FrontAnswer, pipeline: Pipeline) -> Iterator[tuple[str, Text | str]]:
    chosen, model = answer.chosen, answer.chosen.estimate.latency_model
    slo = f"p{100 * answer.slo.quantile:g} within {format_duration(answer.slo.latency_s)}, {model} model"
    if not answer.points:
        most = f"the most is {answer.sustained_rps:.4g}/s" if answer.sustained_rps else "nor at any other rate"
        yield "infeasible", Text(f"nothing holds the SLO ({slo}) at this rate; {most}", "red")
    else:
        yield "plans", f"variant, replicas × cores; each holds the SLO ({slo})"
        if chosen.point is not None:
            yield "→", f"what the pipeline's own objective, {chosen.objective.kind}, chooses"
        elif chosen.feasible:
            cost = cost_of(chosen.estimate, answer.cost)
            unit = "cores" if answer.currency is None else f"{answer.currency} an hour"
            told = f"accuracy {accuracy_words(chosen.estimate.accuracy, pipeline)}, {cost:.4g} {unit}"
            yield "off it", f"the pipeline's own objective, {chosen.objective.kind}, weighs more than these two: {told}"
        gap = max(point.gap for point in answer.points)
        exact = "exact" if gap == 0.0 else f"costs may be {gap:.4g} above the least"
        yield "front", f"{len(answer.points)} point{'s'[: len(answer.points) > 1]}, {exact}"
    form = " with machine code" if answer.compiled else ""
    yield "planned in", f"{format_duration(answer.plan_time_s)}{form}"
