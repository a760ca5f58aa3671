"""IPA and its baselines: variant, batch and replicas per task by α·PAS - β·Σ n·R - δ·Σ b within the SLO.

Source: Ghafouri et al., "IPA: Inference Pipeline Adaptation to Achieve High Accuracy and Cost-Efficiency", Journal of
Systems Research 4(1), 2024, and the program published with it.

`paper` form: Σ over a path of l(b) + (b - 1)/λ ≤ SLO; n·h(b) ≥ λ; PAS is the product of the variants' accuracies (as
fractions); R, the cores of a replica, is the base allocation (`base_allocation`). The fewest replicas n = ⌈λ/h(b)⌉
are best, so every task has one choice per variant and batch, and the optimum over them is exact.

`as-coded` form: the published program sums the queueing term over every variant and every batch of a one-hot choice.
What is left is the constant -(Σ |variants|)·(|batches| - 1)/λ, which loosens the SLO whatever is chosen. With a product
of accuracies, tasks after the third do not count.

IPA knows chains; here the latency is that of the longest path of any DAG, and λ is the task's own rate of items.
Beside IPA's constraints, all limits of the request hold. One variant is loaded; the dispatcher may not step down.

Where nothing holds the SLO, the plan in force is kept, as published. Without one, or where it no longer fits the
limits, the answer is the best plan at the largest rate that can be held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trimtab.errors import PlanRequestError
from trimtab.plan.constrain import constrain
from trimtab.plan.estimate import check_rate, estimate
from trimtab.plan.model import Allocation, Limits, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.ipa.base_allocation import Replica, Replicas, base_allocations
from trimtab.plan.policies.ipa.settings import IpaSettings
from trimtab.plan.policies.ipa.table import ChoiceTable
from trimtab.plan.policies.settings import override
from trimtab.plan.solve import MostAccurate, Weighted
from trimtab.spec.model import Objective

_RATE_TOLERANCE = 1e-4
"""Relative width at which the search for the largest rate stops."""


class IpaPolicy:
    """The exact optimum of IPA's objective within IPA's latency model."""

    name = "ipa"
    decides = frozenset({"variant", "replicas", "batch"})
    defaults = IpaSettings()
    rhythm = Rhythm(every_s=10.0, horizon_s=20.0, forecaster="last")
    """As published, but for the forecaster: the `reactive` one of its ablation, without its LSTM."""

    def __init__(self, settings: IpaSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults

    def propose(self, request: PlanRequest) -> PlanResult:
        """IPA's optimum; what is answered where it is infeasible is said above.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, a task was not measured,
                or the limits leave no room for any plan.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        question = replace(request, arrival_scv=1.0, service_ratio={})
        objective = _objective(request.pipeline.objective, settings)
        replicas, notes = base_allocations(question, settings)
        table = ChoiceTable(question, settings, objective, _pinned(replicas, settings))
        plans, feasible, reason = _answer(question, table, objective)
        weights = f"α {objective.alpha:g}, β {objective.beta:g}, δ {objective.delta:g}"
        outcome = result(
            self.name,
            question,
            plans,
            feasible=feasible,
            reason=f"{reason} ({weights}, PAS as {settings.accuracy}, {settings.form} form)",
            latency_model="paper",
            objective=objective,
            notes=(*notes, _base_words(replicas)),
        )
        if feasible and not outcome.feasible:
            note = "the published queueing term calls this feasible; with (b - 1)/λ it is not"
            outcome = replace(outcome, steps=(*outcome.steps, replace(outcome.steps[-1], value="note", reason=note)))
        return outcome


class IpaAsCodedPolicy(IpaPolicy):
    """What the published program computes, with its factor of 25 for the task's SLA."""

    name = "ipa-as-coded"
    defaults = IpaSettings(form="as-coded", sla_factor=25.0)


class IpaV1Policy(IpaPolicy):
    """The first version of the paper (arXiv 2308.12871v1): PAS is the sum of rank-normalised accuracies."""

    name = "ipa-v1"
    defaults = IpaSettings(accuracy="rank-sum")


class Fa2LowPolicy(IpaPolicy):
    """FA2 as IPA's authors compare with it: IPA with fixed variants, here the least accurate of each task."""

    name = "fa2-low"
    decides = frozenset({"replicas", "batch"})
    defaults = IpaSettings(pin="least-accurate")


class Fa2HighPolicy(IpaPolicy):
    """The same with heavy variants: the most accurate of each task, unless `variants` says which.

    The published runs pin lighter ones than the most accurate, chosen by hand.
    """

    name = "fa2-high"
    decides = frozenset({"replicas", "batch"})
    defaults = IpaSettings(pin="most-accurate")


class RimPolicy(IpaPolicy):
    """RIM as IPA's authors compare with it: IPA with a fixed number of replicas, 3 for every task as in their video."""

    name = "rim"
    decides = frozenset({"variant", "batch"})
    defaults = IpaSettings(replicas=3)


def _answer(request: PlanRequest, table: ChoiceTable, objective: Objective) -> tuple[Mapping[str, TaskPlan], bool, str]:
    """The tasks' plans, whether they hold the SLO by IPA's model, and the reason in words."""
    goal = Weighted(objective.alpha)
    best = table.best(request.rate_rps, goal)
    if best is not None:
        return _plans(best), True, "best by IPA's objective"
    fastest = table.best(0.0, MostAccurate(), within_slo=False)
    if fastest is None:
        raise PlanRequestError(
            "the limits leave no room for one base allocation of every task",
            where=f"pipeline {request.pipeline.name}",
            got=_limit_words(request.limits),
            next_step="raise the budget, or change the policy's replicas, variants or base_cores",
        )
    if request.current is not None and _fits(request):
        return request.current.tasks, False, "infeasible by this model; as published, the plan in force is kept"
    low, high, held = 0.0, request.rate_rps, table.best(0.0, goal)
    while held is not None and high - low > _RATE_TOLERANCE * high:
        middle = (low + high) / 2.0
        found = table.best(middle, goal)
        low, high, held = (low, middle, held) if found is None else (middle, high, found)
    if held is None:
        return _plans(fastest), False, "infeasible by this model at any rate; this is the fastest"
    return _plans(held), False, f"infeasible by this model; this holds {low:.4g}/s, the most possible"


def _plans(allocations: Mapping[str, Allocation]) -> dict[str, TaskPlan]:
    return {task: TaskPlan(task, (a,), resident=(a.variant,)) for task, a in allocations.items()}


def _fits(request: PlanRequest) -> bool:
    """Whether the plan in force can be judged and is within the limits."""
    current = request.current
    if current is None or list(current.tasks) != list(request.pipeline.tasks):
        return False
    try:
        estimate(current, request.pipeline, request.profile, request.rate_rps, latency_model="paper")
        _, taken = constrain(current, request.pipeline, request.profile, request.limits)
    except PlanRequestError:
        return False
    return not taken


def _objective(objective: Objective, settings: IpaSettings) -> Objective:
    """The pipeline's weights where the settings have none; cores are what costs, and load time does not count."""
    given = {"alpha": settings.alpha, "beta": settings.beta, "delta": settings.delta}
    weights = {name: value for name, value in given.items() if value is not None}
    return replace(objective, kind="weighted", gamma=0.0, accuracy_floor=None, cost="cores", **weights)


def _pinned(replicas: Replicas, settings: IpaSettings) -> Replicas:
    """Only the variants that the settings let a task take; `replicas` has them from the least accurate on."""
    kept: dict[str, Mapping[str, Replica]] = {}
    for task, variants in replicas.items():
        names = list(variants)
        wanted = settings.variants.get(task)
        if wanted is None and settings.pin is not None:
            wanted = names[0] if settings.pin == "least-accurate" else names[-1]
        if wanted is not None and wanted not in variants:
            raise PlanRequestError(
                "the variant that the policy's settings fix was not measured in a shape within the core limit",
                where=f"task {task}",
                got=wanted,
                wanted=f"one of {', '.join(names)}",
            )
        kept[task] = variants if wanted is None else {wanted: variants[wanted]}
    return kept


def _base_words(replicas: Replicas) -> str:
    """`base allocation in cores: locate: light 1, heavy 2; read: light 1`."""
    tasks = (f"{task}: {', '.join(f'{v} {r.cores}' for v, r in some.items())}" for task, some in replicas.items())
    return f"base allocation in cores: {'; '.join(tasks)}"


def _limit_words(limits: Limits) -> str:
    words = [f"{limits.cores:g} cores", f"{limits.replicas_per_task} replicas per task"]
    if limits.memory_bytes is not None:
        words.append(f"{limits.memory_bytes} bytes")
    if limits.replicas is not None:
        words.append(f"{limits.replicas} replicas")
    if limits.cost_per_hour is not None:
        words.append(f"{limits.cost_per_hour:g} per hour")
    return ", ".join(words)
