"""The difference between two plans as actions."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.control.protocols import Action, ActionKind
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.plan.words import batch_words


def diff(before: Plan | None, after: Plan) -> tuple[Action, ...]:
    """The actions that lead from `before` (None: nothing runs) to `after`, by task, replicas first."""
    actions: list[Action] = []
    for name, task in after.tasks.items():
        actions += _task(None if before is None else before.tasks.get(name), task)
    if before is not None:
        actions += [
            Action(name, "remove-replicas", str(_replicas(task)), "0")
            for name, task in before.tasks.items()
            if name not in after.tasks
        ]
    return tuple(actions)


def _task(before: TaskPlan | None, after: TaskPlan) -> list[Action]:
    old_replicas = 0 if before is None else _replicas(before)
    actions: list[Action] = []
    if _replicas(after) != old_replicas:
        kind: ActionKind = "add-replicas" if _replicas(after) > old_replicas else "remove-replicas"
        actions.append(Action(after.task, kind, str(old_replicas), str(_replicas(after))))
    facets: list[tuple[ActionKind, Callable[[TaskPlan], str]]] = [
        ("set-resident", lambda t: ", ".join(t.resident)),
        ("set-cores", lambda t: _each(t, lambda a: f"{a.cores} cores × {a.threads} threads")),
        ("set-variant", _variants),
        ("set-batch", lambda t: _each(t, batch_words)),
    ]
    for kind, words in facets:
        old, new = "" if before is None else words(before), words(after)
        if old != new:
            actions.append(Action(after.task, kind, old, new))
    return actions


def _replicas(task: TaskPlan) -> int:
    return sum(a.replicas for a in task.allocations)


def _variants(task: TaskPlan) -> str:
    """The variants served by default, and those that a deadline may bring in."""
    served = _each(task, lambda a: a.variant if a.share == 1.0 else f"{a.variant} {a.share:.3g}")
    return f"{served} (or {', '.join(task.may_use)})" if task.may_use else served


def _each(task: TaskPlan, words: Callable[[Allocation], str]) -> str:
    return " + ".join(words(a) for a in task.allocations)
