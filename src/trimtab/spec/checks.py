"""How the parts of a pipeline file fit together, once `spec.schema` has checked the form of each: upstream tasks exist
and form no cycle, what is counted in money has prices, tables are complete.

Pure: from entries to mistakes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

from trimtab.spec.mistakes import FieldPath, Mistake, did_you_mean, format_value, one_of
from trimtab.spec.model import REQUEST
from trimtab.spec.schema import AccuracyEntry, CombinationEntry, ObjectiveEntry, PipelineEntry

WEIGHTS = ("alpha", "beta", "gamma", "delta")
"""The weights that an objective may have."""
WORTHS = ("point_worth_cores", "point_worth_per_hour")
"""The fields by which an objective may say what one point of accuracy is worth; it needs no other then."""
_SERVERLESS = "serverless"
"""Taken among the names of instances: plans say by it that a group is paid for by use."""


def check(entry: PipelineEntry) -> tuple[list[str], list[Mistake]]:
    """The tasks in topological order, and all that is wrong; where something is, the order may lack tasks."""
    order: list[str] = []
    edges = list(_check_edges(entry))
    if not edges:
        order, edges = _topological_order(entry)
    inputs = [] if edges else _check_inputs(entry, order)
    values = (_check_objective(entry), _check_money(entry), _check_prices(entry), _check_accuracy(entry))
    planned = _unknown_tasks(entry, ("planning", "cores"), entry.planning.cores)
    return order, [*_check_names(entry), *edges, *inputs, *itertools.chain(*values), *planned]


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
                yield _unknown(field, "task", upstream, others)
            elif upstream in upstreams[:i]:
                yield Mistake(field, "named twice", f"'{upstream}'", "each task once")
            elif isinstance(task.after, dict):
                known = entry.tasks[upstream].variants
                for variant in task.after[upstream].fan_out_by:
                    if variant not in known:
                        at = (*field, "fan_out_by", variant)
                        yield _unknown(at, "variant", variant, known, of=f" of task '{upstream}'")


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


def _check_objective(entry: PipelineEntry) -> Iterator[Mistake]:
    objective = entry.objective if isinstance(entry.objective, ObjectiveEntry) else None
    if objective and not objective.model_fields_set.isdisjoint(WORTHS):
        yield from _check_exchange(entry, objective)
        return
    kind = objective.kind if objective else entry.objective
    if kind is None:
        wanted = "one of accurate-under-budget, cheapest, weighted"
        step = "or say what one point of accuracy is worth: {point_worth_cores: 4}"
        yield Mistake(("objective", "kind"), "required, but absent", None, wanted, step)
        return
    floor = objective.accuracy_floor if objective else None
    at: FieldPath = ("objective", "accuracy_floor")
    if objective and kind != "weighted":
        for name in WEIGHTS:
            if (weight := getattr(objective, name)) is not None:
                step = "leave it out, or choose kind: weighted"
                got = format_value(weight)
                yield Mistake(("objective", name), f"the objective {kind} has no weights", got, "no weight", step)
    if kind == "cheapest" and floor is None:
        wanted = "the lowest accuracy that will do, a fraction"
        yield Mistake(at, "required, but absent", None, wanted, "write {kind: cheapest, accuracy_floor: 0.8}")
    elif kind != "cheapest" and floor is not None:
        step = "leave it out, or choose kind: cheapest"
        yield Mistake(at, f"the objective {kind} has no accuracy floor", format_value(floor), "no floor", step)
    elif floor is not None and floor > _largest_accuracy(entry):
        wanted = f"at most {_largest_accuracy(entry)}, the largest accuracy of the kind {_accuracy_kind(entry)}"
        yield Mistake(at, "out of range", format_value(floor), wanted)


def _check_exchange(entry: PipelineEntry, objective: ObjectiveEntry) -> Iterator[Mistake]:
    """Of an objective that says what one point of accuracy is worth."""
    name, *others = [worth for worth in WORTHS if getattr(objective, worth) is not None]
    at: FieldPath = ("objective", name)
    got = f"{getattr(objective, name):g}"
    for other in others:
        what, wanted = f"{name} and {other} are both given", "what one point of accuracy is worth, in cores or in money"
        yield Mistake(("objective", other), what, None, wanted, "leave one of them out")
    for field in (f for f in ObjectiveEntry.model_fields if f in objective.model_fields_set and f not in WORTHS):
        what = f"the objective has {name}, which takes its place"
        wanted = f"no field beside {name}"
        step = f"leave it out: {{{name}: {got}}} says all"
        yield Mistake(("objective", field), what, format_value(getattr(objective, field)), wanted, step)
    if _accuracy_kind(entry) == "rank-sum":
        wanted = "the accuracy product or measured, of which a point is 0.01"
        step = "choose one of these, or state weights: {kind: weighted, beta: 0.05}"
        yield Mistake(at, "a sum of ranks has no points of accuracy", got, wanted, step)


def _largest_accuracy(entry: PipelineEntry) -> int:
    """Ranks give each task an accuracy of up to 1, and are summed; the other kinds are fractions."""
    return len(entry.tasks) if _accuracy_kind(entry) == "rank-sum" else 1


def _check_money(entry: PipelineEntry) -> Iterator[Mistake]:
    prices = entry.prices
    if prices.core_hour is not None or prices.instances or prices.serverless:
        return
    step = "give them, such as prices: {core_hour: 0.04}"
    if entry.budget.cost_per_hour is not None:
        got = format_value(entry.budget.cost_per_hour)
        yield Mistake(("budget", "cost_per_hour"), "a budget of money needs prices", got, None, step)
    if not isinstance(entry.objective, ObjectiveEntry):
        return
    if entry.objective.cost == "money":
        what = "an objective that counts money needs prices"
        yield Mistake(("objective", "cost"), what, "'money'", None, f"{step}, or count cores")
    if (worth := entry.objective.point_worth_per_hour) is not None:
        what = "what accuracy is worth in money needs prices"
        at: FieldPath = ("objective", "point_worth_per_hour")
        yield Mistake(at, what, f"{worth:g}", None, f"{step}, or say it in cores: point_worth_cores")


def _check_prices(entry: PipelineEntry) -> Iterator[Mistake]:
    instances = entry.prices.instances or {}
    if instances and entry.prices.core_hour is not None:
        what = "core_hour and instances are both given"
        wanted = "either a price of a core, or a list of machines that can be rented"
        yield Mistake(("prices", "instances"), what, None, wanted, "leave one of them out")
    for name, instance in instances.items():
        at: FieldPath = ("prices", "instances", name)
        if name == _SERVERLESS:
            step = "its prices stand in prices.serverless"
            yield Mistake(at, "this name is taken by capacity that is paid for by use", f"'{name}'", None, step)
        prices = [price for price in ("per_hour", "per_second") if getattr(instance, price) is not None]
        if len(prices) != 1:
            wanted = "either per_hour or per_second"
            yield Mistake(at, "two prices" if prices else "no price", " and ".join(prices) or None, wanted)


def _accuracy_kind(entry: PipelineEntry) -> str:
    return entry.accuracy.kind if isinstance(entry.accuracy, AccuracyEntry) else entry.accuracy


def _check_accuracy(entry: PipelineEntry) -> Iterator[Mistake]:
    kind = _accuracy_kind(entry)
    table = entry.accuracy.table if isinstance(entry.accuracy, AccuracyEntry) else None
    at: FieldPath = ("accuracy", "table")
    if kind != "measured":
        if table is not None:
            step = "leave it out, or choose kind: measured"
            yield Mistake(at, f"the accuracy {kind} has no table", format_value(table), "no table", step)
        return
    if table is None:
        wanted = "the accuracy of every combination of variants"
        step = "write {kind: measured, table: [{variants: {task: variant}, accuracy: 0.81}]}"
        yield Mistake(at, "required, but absent", None, wanted, step)
        return
    wrong = [m for i, row in enumerate(table) for m in _check_combination(entry, (*at, i, "variants"), row)]
    yield from wrong or _check_table(entry, at, table)


def _check_combination(entry: PipelineEntry, field: FieldPath, row: CombinationEntry) -> Iterator[Mistake]:
    yield from _unknown_tasks(entry, field, row.variants)
    for task, known in ((name, task.variants) for name, task in entry.tasks.items()):
        if task not in row.variants:
            yield Mistake(field, f"names no variant of task '{task}'", None, one_of(known))
        elif row.variants[task] not in known:
            yield _unknown((*field, task), "variant", row.variants[task], known, of=f" of task '{task}'")


def _check_table(entry: PipelineEntry, field: FieldPath, table: Iterable[CombinationEntry]) -> Iterator[Mistake]:
    """Every combination stands there once. Of those that are missing just the first is told: they may be millions."""
    seen: dict[tuple[str, ...], int] = {}
    for i, row in enumerate(table):
        combination = tuple(row.variants[task] for task in entry.tasks)
        first = seen.setdefault(combination, i)
        if first != i:
            got, wanted = _words(entry, combination), "each combination once"
            yield Mistake((*field, i), f"the combination of item [{first}] again", got, wanted)
    every = itertools.product(*(task.variants for task in entry.tasks.values()))
    missing = next((combination for combination in every if combination not in seen), None)
    if missing is not None:
        count = math.prod(len(task.variants) for task in entry.tasks.values())
        got = f"{len(seen):,} of {count:,}"
        step = f"the first that is missing is {_words(entry, missing)}"
        yield Mistake(field, "combinations of variants are missing", got, "every combination", step)


def _words(entry: PipelineEntry, combination: Iterable[str]) -> str:
    """A combination as the file writes it."""
    return f"{{{', '.join(f'{task}: {variant}' for task, variant in zip(entry.tasks, combination, strict=True))}}}"


def _unknown_tasks(entry: PipelineEntry, field: FieldPath, names: Iterable[str]) -> Iterator[Mistake]:
    """Mistakes for the names that are no tasks, in the mapping by task at `field`."""
    return (_unknown((*field, name), "task", name, entry.tasks) for name in names if name not in entry.tasks)


def _unknown(field: FieldPath, kind: str, name: str, known: Iterable[str], of: str = "") -> Mistake:
    known = list(known)
    return Mistake(field, f"there is no such {kind}{of}", f"'{name}'", one_of(known), did_you_mean(name, known))
