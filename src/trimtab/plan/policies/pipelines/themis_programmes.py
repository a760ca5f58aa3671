"""Themis's two programmes: replicas of the fewest cores, and more cores for the replicas there are.

What they are for, and their source, is said in `themis`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trimtab.plan.model import Allocation, PlanRequest, TaskPlan
from trimtab.plan.policies.fixed import Fixed, ceil
from trimtab.plan.policies.fixed_limits import fixed_plan
from trimtab.plan.policies.pinned import PinnedSettings, check_positive, fits, most_held
from trimtab.plan.policies.pipelines.fa2 import Queueing, filling_s, horizontal_plan
from trimtab.plan.policies.pipelines.instances import Instance
from trimtab.plan.policies.pipelines.latency_budget import Choice, budget_ms, cheapest_within, whole_ms

_GB = 1e9
_CORE_COST = 18.0
"""What a core costs, in GB of memory."""


@dataclass(frozen=True, slots=True)
class ThemisSettings(PinnedSettings):
    """What bounds the choice; the published values are stated with each field."""

    latency: Literal["fitted", "measured"] = "fitted"
    """Where l(b, c) comes from."""
    margin: float = 0.1
    """Of a fit: this part of l(1, 1) is added to every latency."""
    queueing: Queueing = "exponential"
    """The form of q, as FA2's."""
    max_cores: int | None = None
    """Most cores of a replica. Published: 4. None: the most measured."""
    max_batch: int | None = None
    """Largest batch. Published: 4. None: the largest measured."""
    stable_s: float = 10.0
    """Small replicas in the place of large ones, and fewer of them, once the plan in force has stood for so long."""
    rise_chance: float | None = None
    """A load that exceeds what is carried within 10 s with more than this probability counts as not carried. Published:
    0.2. None: only a load that was seen does. The model learnt from loads of 30 to 390/s and is no good far from them.
    """

    def __post_init__(self) -> None:
        check_positive(max_cores=self.max_cores, max_batch=self.max_batch)
        if self.rise_chance is not None and not 0.0 < self.rise_chance < 1.0:
            raise ValueError(f"rise_chance is {self.rise_chance}, wanted a probability between 0 and 1, or none")
        if not (0.0 <= self.margin < math.inf and 0.0 <= self.stable_s < math.inf):
            raise ValueError(f"margin is {self.margin}, stable_s is {self.stable_s}: both are finite, at least 0")


@dataclass(frozen=True, slots=True)
class Question:
    """A request with everything that does not depend on the rate."""

    request: PlanRequest
    settings: ThemisSettings
    variants: Mapping[str, str]
    visits: Mapping[str, float]
    tables: Mapping[str, Sequence[Instance]]
    """By cores, then batch."""

    def rates(self, rate_rps: float) -> dict[str, float]:
        """Task → items per second."""
        return {task: rate_rps * self.visits[task] for task in self.tables}

    def fewest(self, task: str) -> int:
        """Cores of the smallest replica."""
        return self.tables[task][0].cores

    def most(self, task: str) -> int:
        """Cores of the largest replica."""
        return self.tables[task][-1].cores

    def rate_of(self, task: str, allocation: Allocation) -> float:
        """Items per second of a group, by l; 0 for a shape that is not in the table."""
        shape = (allocation.cores, allocation.threads, allocation.batch)
        rates = (i.rate for i in self.tables[task] if (i.cores, i.threads, i.batch) == shape)
        return allocation.replicas * next(rates, 0.0)


Groups = Mapping[str, tuple[Allocation, ...]]
"""Task → its groups in force, one or two."""

Answer = tuple[dict[str, TaskPlan], bool, str]
"""Task plans, whether they hold the rate by Themis's own model, and the reason."""


def horizontal(question: Question, groups: Groups | None = None) -> Answer:
    """Replicas of the fewest cores; one more where a task's cores shrink."""
    request = question.request
    tables = {task: [i for i in t if i.cores == question.fewest(task)] for task, t in question.tables.items()}
    weights = {
        task: (request.profile.variants[task][variant].memory_bytes or 0) / _GB + _CORE_COST * question.fewest(task)
        for task, variant in question.variants.items()
    }

    def plan_at(rate_rps: float) -> dict[str, TaskPlan] | None:
        rates = question.rates(rate_rps)
        return horizontal_plan(request, question.variants, tables, rates, question.settings.queueing, weights)

    held = most_held(request.rate_rps, plan_at)
    if held is None:
        wanted = {task: _enough(question, task, table[0]) for task, table in tables.items()}
        return fixed_plan(request, wanted), False, "no small replicas fit the latency budget; as many as there may be"
    rate_rps, plans = held
    spared = {
        task: _with_replicas(plan, plan.allocations[0].replicas + 1) if _shrinks(groups, task, plan) else plan
        for task, plan in plans.items()
    }
    plans = spared if fits(request, spared) else plans
    if rate_rps < request.rate_rps:
        return plans, False, f"small replicas hold {rate_rps:.4g}/s at most within the limits; the plan for that"
    return plans, True, "the cheapest small replicas within the latency budget"


def vertical(question: Question, groups: Groups) -> Answer:
    """More cores for the replicas there are; and more replicas where that is not enough."""
    counts = {task: count(some) for task, some in groups.items()}
    cores = {task: max(g.cores for g in some) for task, some in groups.items()}

    def instances_at(rate_rps: float) -> dict[str, Instance] | None:
        found = vertical_choice(
            question.request, question.tables, counts, cores, question.rates(rate_rps), question.settings.queueing
        )
        chosen = None if found is None else {task: (found[task], counts[task]) for task in found}
        return found if chosen is not None and fits(question.request, _plans(question, chosen)) else None

    request = question.request
    held = most_held(request.rate_rps, instances_at)
    if held is None:
        return horizontal(question, groups)
    carried_rps, found = held
    if carried_rps >= request.rate_rps:
        chosen = {task: (found[task], counts[task]) for task in found}
        return _plans(question, chosen), True, "the fewest cores that carry the load, none fewer than now"
    rest = question.rates(request.rate_rps - carried_rps)
    wanted = {task: (one, counts[task] + ceil(rest[task] / one.rate)) for task, one in found.items()}
    plans = fixed_plan(request, {task: (_fixed(question, task, one), n) for task, (one, n) in wanted.items()})
    whole = all(plans[task].allocations[0].replicas == n for task, (_, n) in wanted.items())
    reason = f"more cores carry {carried_rps:.4g}/s at most; more replicas for the rest"
    return plans, whole, reason if whole else f"{reason}, as many as the limits leave"


def vertical_choice(
    request: PlanRequest,
    tables: Mapping[str, Sequence[Instance]],
    counts: Mapping[str, int],
    cores: Mapping[str, int],
    rates: Mapping[str, float],
    queueing: Queueing,
) -> dict[str, Instance] | None:
    """The vertical programme: task → its replicas' shape and batch; None where none carries the load in time.

    Args:
        request: for the pipeline.
        tables: task → the replicas to choose from.
        counts: task → replicas.
        cores: task → the fewest cores of a replica.
        rates: task → items per second, λ.
        queueing: the form of q.
    """
    slo, choices, shapes = request.pipeline.slo, dict[str, list[Choice]](), dict[str, list[Instance]]()
    for task, table in tables.items():
        enough = rates[task] + math.sqrt(rates[task])
        shapes[task] = [i for i in table if i.cores >= cores[task] and counts[task] * i.rate >= enough]
        choices[task] = [
            Choice(
                whole_ms(i.latency_s + filling_s(rates[task], i.batch, slo.quantile, queueing)),
                counts[task] * i.cores,
            )
            for i in shapes[task]
        ]
    found = cheapest_within(request.pipeline, choices, budget_ms(slo.latency_s))
    return None if found is None else {task: shapes[task][i] for task, i in found[0].items()}


def _enough(question: Question, task: str, instance: Instance) -> tuple[Fixed, int]:
    """So many replicas that they serve the task's items."""
    items = question.rates(question.request.rate_rps)[task]
    return _fixed(question, task, instance), max(1, ceil(items / instance.rate))


def _fixed(question: Question, task: str, instance: Instance) -> Fixed:
    return Fixed(question.variants[task], instance.cores, instance.threads, instance.batch)


def _plans(question: Question, chosen: Mapping[str, tuple[Instance, int]]) -> dict[str, TaskPlan]:
    return {
        task: TaskPlan(
            task,
            (Allocation(question.variants[task], n, one.cores, one.threads, one.batch),),
            resident=(question.variants[task],),
        )
        for task, (one, n) in chosen.items()
    }


def count(groups: Sequence[Allocation]) -> int:
    """Replicas of all groups."""
    return sum(group.replicas for group in groups)


def _shrinks(groups: Groups | None, task: str, plan: TaskPlan) -> bool:
    return groups is not None and max(g.cores for g in groups[task]) > plan.allocations[0].cores


def _with_replicas(plan: TaskPlan, replicas: int) -> TaskPlan:
    return replace(plan, allocations=(replace(plan.allocations[0], replicas=replicas),))
