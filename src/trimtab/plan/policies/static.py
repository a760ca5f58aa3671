"""Plans that are made once: one fixed variant per task, the cores shared out so that the largest rate is held.

They are what most people run today and what an adaptive plan is compared with. The plan follows from the pipeline,
the profile and the limits alone: neither rate nor live measurements change it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from trimtab.plan.choose import check_request, largest_rate
from trimtab.plan.latency import core_seconds, group_times, known_shapes, table_row
from trimtab.plan.model import PlanRequest, PlanResult, TaskPlan
from trimtab.plan.options import Rules, candidates
from trimtab.plan.policies.base import NEVER_AGAIN, result
from trimtab.plan.pool import UTILISATION_CAP


class _StaticPolicy(ABC):
    """The largest rate within the SLO, by the tail model, with one variant per task."""

    name = "static"
    decides: frozenset[str] = frozenset()
    rhythm = NEVER_AGAIN
    _what = ""

    def propose(self, request: PlanRequest) -> PlanResult:
        """The one plan, judged at the request's rate."""
        every = Rules(latency_model="tail", utilisation_cap=UTILISATION_CAP)
        check_request(request, every)
        question = replace(request, arrival_scv=1.0, service_ratio={})
        pinned = {task: (self._pick(question, task, every),) for task in question.pipeline.tasks}
        rules = replace(every, variants=pinned)
        check_request(question, rules)
        chosen = largest_rate(question, _most_rps(question, pinned), rules)
        plans = {
            task: TaskPlan(task, groups, resident=tuple(a.variant for a in groups))
            for task, groups in chosen.allocations.items()
        }
        return result(
            self.name,
            request,
            plans,
            feasible=True,
            reason=f"static: {self._what}, shared out to hold up to {chosen.rate_rps:.4g}/s",
            latency_model="tail",
            objective=request.pipeline.objective,
        )

    @abstractmethod
    def _pick(self, request: PlanRequest, task: str, rules: Rules) -> str:
        """The variant that `task` always uses."""


class CheapestPolicy(_StaticPolicy):
    """For every task, always the variant that takes the fewest core-seconds an item."""

    name = "cheapest"
    _what = "the cheapest variants"

    def _pick(self, request: PlanRequest, task: str, rules: Rules) -> str:
        cost = {v: _core_seconds(request, task, v) for v in candidates(request, task, rules)}
        return min(cost, key=lambda v: (cost[v], v))


class MostAccuratePolicy(_StaticPolicy):
    """For every task, always the variant of the highest accuracy."""

    name = "most-accurate"
    _what = "the most accurate variants"

    def _pick(self, request: PlanRequest, task: str, rules: Rules) -> str:
        variants = request.pipeline.tasks[task].variants
        return min(candidates(request, task, rules), key=lambda v: (-variants[v].accuracy, v))


def _most_rps(request: PlanRequest, pinned: Mapping[str, tuple[str]]) -> float:
    """A rate that no plan can exceed: every task alone on all cores."""
    visits = request.pipeline.visits()
    return min(
        request.limits.cores / _core_seconds(request, task, variant) / visits[task]
        for task, (variant,) in pinned.items()
    )


def _core_seconds(request: PlanRequest, task: str, variant: str) -> float:
    """The least core-seconds that an item can take with this variant, of all known shapes and batch sizes."""
    profile = request.profile.variants[task][variant]
    shapes = [shape for shape in known_shapes(profile) if shape[0] <= request.limits.cores]
    quantile = request.pipeline.slo.quantile
    return min(
        core_seconds(group_times(profile, cores, threads, batch, quantile)[0], cores, threads)
        for cores, threads in shapes
        for batch in (profile.batches(cores, threads) if table_row(profile, cores, threads) is None else (1,))
    )
