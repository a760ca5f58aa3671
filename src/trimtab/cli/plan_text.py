"""The answer of `trimtab plan` in words and tables, for people; `plan.file` has the same as JSON, for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.plan.explain import task_accuracies
from trimtab.plan.file import PlanAnswer
from trimtab.plan.model import Allocation, Plan, PlanRequest
from trimtab.plan.objective import net_worth, worth_words
from trimtab.plan.words import allocation_words, batch_words, latency_words
from trimtab.spec.model import Pipeline
from trimtab.units import format_duration, format_size


def print_answer(answer: PlanAnswer, request: PlanRequest, console: Console) -> None:
    """Title, what each task gets, what to expect of it, and everything else in words; 80 columns are enough."""
    title = f"pipeline {answer.pipeline} at {answer.rate_rps:g}/s, policy {answer.policy}"
    console.print(Text(title, style="italic"), soft_wrap=True)
    console.print(_gets(answer, request.pipeline))
    console.print()
    console.print(_does(answer, request))
    console.print()
    console.print(facts_table(_facts(answer, request)))


def facts_table(facts: Iterable[tuple[str, Text | str]]) -> Table:
    """Names in bold and what there is to tell beside them; equal names in a row are written once."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for name, told in facts:
        table.add_row("" if name == before else name, told)
        before = name
    return table


def accuracy_words(accuracy: float, pipeline: Pipeline) -> str:
    """`87.30 %`, or `1.50 of 2` where accuracy is a sum of ranks."""
    if pipeline.accuracy.kind == "rank-sum":
        return f"{accuracy:.4g} of {len(pipeline.tasks)}"
    return f"{100 * accuracy:.2f} %"


def _gets(answer: PlanAnswer, pipeline: Pipeline) -> Table:
    """What each task gets: one line per allocation; columns that would say the same in every line are left out."""
    groups = [a for task in answer.plan.tasks.values() for a in task.allocations]
    columns = {
        "share": any(a.share < 1.0 for a in groups),
        "threads": any(a.threads > 1 for a in groups),
        "rented as": any(a.instance for a in groups),
        "may step down to": any(task.may_use for task in answer.plan.tasks.values()),
    }
    table = plain_table()
    for heading in ("task", "variant"):
        table.add_column(heading, overflow="fold", min_width=min(7, len(heading)))
    for heading in ("accuracy", "share", "replicas", "threads", "batch", "rented as"):
        if columns.get(heading, True):
            table.add_column(heading, justify="left" if heading == "rented as" else "right", no_wrap=True)
    if columns["may step down to"]:
        table.add_column("may step down to", overflow="fold")
    for name, task in answer.plan.tasks.items():
        for i, a in enumerate(task.allocations):
            cells: dict[str, str | Text] = {
                "accuracy": f"{100 * pipeline.tasks[name].variants[a.variant].accuracy:.1f} %",
                "share": f"{100 * a.share:.3g} %",
                "replicas": f"{a.replicas} × {a.cores} core{'s' if a.cores > 1 else ''}",
                "threads": str(a.threads),
                "batch": batch_words(a),
                "rented as": a.instance or "",
                "may step down to": Text(", ".join(task.may_use) if i == 0 else ""),
            }
            shown = (cell for heading, cell in cells.items() if columns.get(heading, True))
            table.add_row(Text(name if i == 0 else ""), Text(a.variant), *shown)
    return table


def _does(answer: PlanAnswer, request: PlanRequest) -> Table:
    """What to expect of each task; its accuracy too where it is not one variant's, as far as tasks have one each."""
    pipeline = request.pipeline
    quantile = f"p{100 * answer.slo.quantile:g}"
    mixed = any(len(task.allocations) > 1 or task.may_use for task in answer.plan.tasks.values())
    mean = dict[str, float]()
    if mixed and pipeline.accuracy.kind == "product":
        plan = Plan(answer.plan.tasks, answer.rate_rps)
        mean = task_accuracies(request, plan, answer.estimate.latency_model)
    table = plain_table()
    table.add_column("task", overflow="fold")
    for heading in ("busy", f"service {quantile}", "waiting", "at most", *(("accuracy",) if mean else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in answer.estimate.tasks.items():
        table.add_row(
            Text(name),
            f"{100 * found.utilisation:.0f} %",
            format_duration(found.service_s),
            "∞" if math.isinf(found.waiting_s) else format_duration(found.waiting_s),
            f"{found.capacity_rps:.3g}/s",
            *((f"{100 * mean[name]:.2f} %",) if mean else ()),
        )
    return table


def plain_table() -> Table:
    """An empty table as all of these are: bold headings, no lines."""
    return Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)


def _facts(answer: PlanAnswer, request: PlanRequest) -> Iterator[tuple[str, Text | str]]:
    found, pipeline = answer.estimate, request.pipeline
    quantile, slo = f"p{100 * answer.slo.quantile:g}", format_duration(answer.slo.latency_s)
    held = Text("holds", "green") if found.meets_slo else Text("does NOT hold", "bold red")
    latency = f"{quantile} {latency_words(found.latency_s)}, "
    yield "latency", Text.assemble(latency, held, f" the SLO of {slo} ({found.latency_model} model)")
    if not answer.feasible:
        words = f"expected to answer {found.goodput_rps:.4g} of {answer.rate_rps:g}/s in time"
        yield "infeasible", Text(words, "red")
    yield "capacity", f"up to {answer.sustained_rps:.4g}/s within the SLO"
    for s in answer.scenarios:
        yield "scenarios", f"{s.rate_rps:g}/s, {100 * s.probability:.4g} %: {'held' if s.held else 'not held'}"
    how = {"product": "product of the tasks'", "rank-sum": "sum of ranks", "measured": "measured end to end"}
    yield "accuracy", f"{accuracy_words(found.accuracy, pipeline)} ({how[pipeline.accuracy.kind]})"
    yield "cores", f"{found.cores} of {answer.limits.cores:g}"
    if answer.limits.replicas is not None:
        yield "replicas", f"{found.replicas} of {answer.limits.replicas}"
    if answer.limits.memory_bytes is not None:
        yield "memory", f"{format_size(found.memory_bytes)} of {format_size(answer.limits.memory_bytes)}"
    if found.cost_per_hour is not None:
        most = "" if answer.limits.cost_per_hour is None else f" of {answer.limits.cost_per_hour:.4g}"
        yield "cost", f"{found.cost_per_hour:.4g}{most} {pipeline.prices.currency} an hour"
    yield "objective", _objective_words(answer, pipeline)
    if (worth := worth_words(pipeline)) is not None:
        yield "objective", worth
    yield from (("change", words) for words in _change_words(answer, request))
    for name, task in answer.plan.tasks.items():
        yield "resident", f"{name}: {', '.join(task.resident)}"
    for step in answer.steps:
        yield "note" if step.value == "note" else "why", step.reason
    yield from (("binding", words) for words in answer.binding or ("nothing",))
    if answer.runner_up is not None:
        others = "; ".join(
            f"{name} {variants_words(task.allocations)}" for name, task in answer.runner_up.plan.tasks.items()
        )
        yield "runner-up", f"{others}: {answer.runner_up.reason}"
    gap = f", at most {answer.gap:.3g} short of the optimum" if answer.gap > 0.0 else ""
    form = " with machine code" if answer.compiled else ""
    yield "planned in", f"{format_duration(answer.plan_time_s)}{form}{gap}"


def variants_words(allocations: Sequence[Allocation]) -> str:
    """`v4`, or `v5 60 % + v4 40 %`."""
    return " + ".join(f"{a.variant} {100 * a.share:.3g} %" if a.share < 1.0 else a.variant for a in allocations)


def _objective_words(answer: PlanAnswer, pipeline: Pipeline) -> str:
    """`weighted 0.746: accuracy 0.77, 12 cores, Σ batch 1`: the value, and the parts it is made of.

    Where the objective says what accuracy is worth, the value is the accuracy that is left when the cost is paid.
    """
    parts = answer.objective.parts
    name = answer.objective.kind if net_worth(answer.objective, pipeline.objective) is None else "accuracy less cost"
    words = [
        f"accuracy {parts['accuracy']:.6g}",
        _cost_words(parts["cost"], answer, pipeline),
        *([f"load {format_duration(parts['load_s'])}"] if answer.switching is not None else []),
        f"Σ batch {parts['batches']:g}",
        *([f"floor {parts['floor']:g}"] if "floor" in parts else []),
        *([f"holds {100 * parts['held']:.1f} % of the rate"] if parts["held"] < 1.0 else []),
    ]
    return f"{name} {answer.objective.value:.6g}: {', '.join(words)}"


def _cost_words(cost: float, answer: PlanAnswer, pipeline: Pipeline) -> str:
    """What the objective counts as cost; some policies count neither cores nor money."""
    cores, money = answer.estimate.cores, answer.estimate.cost_per_hour
    if math.isclose(cost, cores):
        return f"{cores} core{'' if cores == 1 else 's'}"
    if money is not None and math.isclose(cost, money):
        return f"{cost:.4g} {pipeline.prices.currency} an hour"
    return f"cost {cost:.4g}"


def _change_words(answer: PlanAnswer, request: PlanRequest) -> Iterator[str]:
    """What changes from the plan in force, task by task, and what that waits for."""
    if answer.switching is None or request.current is None:
        return
    if answer.plan.id == answer.switching.from_id:
        yield "none: this is the plan in force"
        return
    for name, task in answer.plan.tasks.items():
        before = request.current.tasks[name]
        if task.allocations != before.allocations:
            old, new = (" + ".join(map(allocation_words, each.allocations)) for each in (before, task))
            takes_s = answer.switching.change_s[name]
            wait = f"there in {format_duration(takes_s)}" if takes_s > 0.0 else "at once"
            yield f"{name}: {old} → {new}; {wait}"
        elif task != before:
            yield f"{name}: other residents, the same replicas"
