"""`trimtab plan`: the plan for a rate, with what it is expected to do and why it was chosen."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.errors import PlanRequestError
from trimtab.plan.explain import explain
from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies import DEFAULT_POLICY, POLICIES, make_policy
from trimtab.plan.words import latency_words
from trimtab.profile.file import load_profile_for
from trimtab.profile.model import Profile
from trimtab.spec.load import load_pipeline
from trimtab.spec.model import Pipeline
from trimtab.units import format_duration


def plan(
    spec: Annotated[Path, typer.Argument(help="The pipeline file.")],
    rate: Annotated[float, typer.Option(help="Requests per second to plan for; 0 plans for a lone request.")],
    policy: Annotated[
        str, typer.Option(help=f"How to plan: {', '.join(POLICIES)}, or module:Class of your own.")
    ] = DEFAULT_POLICY,
    profile: Annotated[Path | None, typer.Option(help="Profile file, if not the one the pipeline file names.")] = None,
    cores: Annotated[float | None, typer.Option(help="Cores to plan for, in place of the budget's.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Plan for a rate: what each task gets, what to expect of it, and why."""
    planner = make_policy(policy)
    pipeline = load_pipeline(spec, check_files=False)
    measured = load_profile_for(pipeline, profile)
    request = PlanRequest(pipeline, measured, rate, _limits(pipeline, measured, cores))
    began_s = time.perf_counter()
    result = planner.propose(request)
    took_s = time.perf_counter() - began_s
    result = explain(planner, request, result)
    if json_output:
        typer.echo(msgspec.json.format(msgspec.json.encode(_content(result, request, took_s))).decode())
    else:
        _print(result, request, took_s)


def _limits(pipeline: Pipeline, profile: Profile, cores: float | None) -> Limits:
    """What the plan may hold: the cores asked for, else the budget's, else those of the machine that was measured."""
    if cores is not None and not 0.0 < cores < float("inf"):
        raise PlanRequestError("the core limit has no meaning", where="--cores", got=f"{cores}", wanted="more than 0")
    if cores is None:
        cores = pipeline.budget.cores
    if cores is None and profile.provenance is not None:
        cores = float(profile.provenance.cores_available)
    if cores is None:
        raise PlanRequestError(
            "nothing says how many cores there are: the pipeline has no core budget and the profile no provenance",
            where=f"pipeline {pipeline.name}",
            next_step="name them with --cores, or set budget.cores",
        )
    return Limits(
        cores=cores,
        memory_bytes=pipeline.budget.memory_bytes,
        replicas_per_task=pipeline.budget.replicas_per_task,
    )


def _content(result: PlanResult, request: PlanRequest, took_s: float) -> dict[str, Any]:
    """The object that `--json` prints; `docs/design/planning.md` describes it. Infinite numbers become null."""
    return {
        "pipeline": request.pipeline.name,
        "policy": result.policy,
        "rate_rps": request.rate_rps,
        "slo": request.pipeline.slo,
        "limits": request.limits,
        "feasible": result.feasible,
        "plan": {"id": result.plan.id, "cores": result.plan.cores, "tasks": result.plan.tasks},
        "estimate": result.estimate,
        "objective": result.objective,
        "binding": result.binding,
        "runner_up": None
        if result.runner_up is None
        else {"tasks": result.runner_up.plan.tasks, "reason": result.runner_up.reason},
        "steps": result.steps,
        "plan_time_s": took_s,
    }


def _print(result: PlanResult, request: PlanRequest, took_s: float) -> None:
    console = Console(highlight=False)
    console.print(_table(result, request))
    console.print()
    for name, told in _facts(result, request, took_s):
        console.print(Text.assemble((f"{name:<11}", "bold"), told), soft_wrap=True)


def _table(result: PlanResult, request: PlanRequest) -> Table:
    """One line per allocation."""
    table = Table(
        title=f"pipeline {request.pipeline.name} at {request.rate_rps:g}/s, policy {result.policy}",
        box=None,
        header_style="bold",
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    for heading in ("task", "variant"):
        table.add_column(heading, overflow="fold")
    for heading in ("accuracy", "replicas", "batch", "busy", "service", "waiting", "at most"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, task in result.plan.tasks.items():
        found = result.estimate.tasks[name]
        for i, allocation in enumerate(task.allocations):
            threads = f" / {allocation.threads} threads" if allocation.threads > 1 else ""
            cores = f"{allocation.cores} core{'s' if allocation.cores > 1 else ''}"
            table.add_row(
                Text(name if i == 0 else ""),
                Text(allocation.variant),
                f"{100 * request.pipeline.tasks[name].variants[allocation.variant].accuracy:.1f} %",
                f"{allocation.replicas} × {cores}{threads}",
                str(allocation.batch),
                f"{100 * found.utilisation:.0f} %",
                format_duration(found.service_s),
                "∞" if math.isinf(found.waiting_s) else format_duration(found.waiting_s),
                f"{found.capacity_rps:.3g}/s",
            )
    return table


def _facts(result: PlanResult, request: PlanRequest, took_s: float) -> list[tuple[str, str]]:
    found, slo, limits = result.estimate, request.pipeline.slo, request.limits
    held = "holds" if found.meets_slo else "does NOT hold"
    against = f"{held} the SLO of {format_duration(slo.latency_s)} ({found.latency_model} model)"
    facts = [
        ("latency", f"p{100 * slo.quantile:g} {latency_words(found.latency_s)}, {against}"),
        ("accuracy", f"{100 * found.accuracy:.2f} % (product of the tasks')"),
        ("cores", f"{found.cores} of {limits.cores:g}"),
    ]
    if found.cost_per_hour is not None:
        facts.append(("cost", f"{found.cost_per_hour:.4g} {request.pipeline.prices.currency} an hour"))
    if not result.feasible:
        facts.append(("infeasible", f"expected to answer {found.goodput_rps:.4g} of {request.rate_rps:g}/s in time"))
    facts += [
        ("resident", f"{name}: {', '.join(task.resident)}; may use {', '.join(task.may_use) or 'no other'}")
        for name, task in result.plan.tasks.items()
    ]
    facts += [("why", f"{step.value}\n{'':<11}{step.reason}") for step in result.steps]
    facts += [("binding", words) for words in result.binding] or [("binding", "nothing")]
    if result.runner_up is not None:
        variants = ", ".join(f"{name} {'+'.join(used)}" for name, used in result.runner_up.plan.variants().items())
        facts.append(("runner-up", f"{variants}: {result.runner_up.reason}"))
    return [*facts, ("planned in", format_duration(took_s))]
