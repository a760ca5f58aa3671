"""The default: the pipeline's objective under the tail model, with every variant that fits kept at hand.

The plan's variants are the dearest that the *expected* traffic can have. What the plan cannot foresee is the
dispatcher's: within a batch it may step down to any cheaper resident variant (`may_use`) to meet a deadline.
"""

from __future__ import annotations

from dataclasses import replace

from trimtab.errors import PlanRequestError
from trimtab.plan.accuracy import coupled_tasks
from trimtab.plan.choose import Chosen, best_at, choose, largest_rate
from trimtab.plan.model import Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.options import Rules
from trimtab.plan.policies.base import result
from trimtab.plan.pool import UTILISATION_CAP
from trimtab.plan.pool_tables import pool_table
from trimtab.plan.residents import with_freedoms, with_residents
from trimtab.plan.uncertainty import settle
from trimtab.plan.widen import widened
from trimtab.spec.model import Objective


class TrimtabPolicy:
    """Exact optimum of the pipeline's objective within its latency model."""

    name = "trimtab"
    decides = frozenset({"variant", "replicas", "cores", "batch", "resident", "per-batch variant", "rate", "adjust"})

    def propose(self, request: PlanRequest) -> PlanResult:
        """The best plan that holds the SLO at the request's rate, or the one that holds it at the largest rate.

        With scenarios, at the rate among them that `plan.uncertainty` settles on.
        """
        objective, rules = request.pipeline.objective, rules_for(request)
        notes: tuple[str, ...] = ()
        if request.at_once and request.current is not None:
            return self._adjust(request, request.current, objective, rules)
        if not rules.pooled and request.surge_rps is not None:  # what cannot step down has to hold the surge itself
            request = replace(request, rate_rps=max(request.rate_rps, request.surge_rps))
        if request.scenarios:
            rate_rps, chosen, words = settle(request, objective, rules)
            request, notes = replace(request, rate_rps=rate_rps), (words,)
        else:
            chosen = choose(request, objective, rules)
            if not chosen.feasible and rules.pooled and request.surge_rps is not None:
                chosen = choose(replace(request, surge_rps=None), objective, rules)
        plans, left_out = with_residents(request, chosen.allocations)
        return result(
            self.name,
            request,
            widened(request, plans),
            feasible=chosen.feasible,
            reason=_reason(chosen, objective.kind, rules.utilisation_cap),
            latency_model=rules.latency_model,
            objective=objective,
            notes=notes + left_out,
            gap=chosen.gap,
        )

    def _adjust(self, request: PlanRequest, current: Plan, objective: Objective, rules: Rules) -> PlanResult:
        """The best that the plan in force becomes at once: by the objective, or else what holds most of the rate."""
        chosen = best_at(request, request.rate_rps, objective, rules)
        if chosen is None:
            try:
                chosen = largest_rate(replace(request, surge_rps=None), request.rate_rps, rules)
            except PlanRequestError:
                return result(
                    self.name, request, current.tasks, feasible=False, reason="nothing changes at once",
                    latency_model=rules.latency_model, objective=objective,
                )  # fmt: skip
        tasks = {}
        for name, groups in chosen.allocations.items():
            before = current.tasks[name]
            tasks[name] = with_freedoms(request, TaskPlan(name, tuple(groups), before.resident))
        return result(
            self.name, request, widened(request, tasks), feasible=chosen.feasible,
            reason="the best that changes at once" if chosen.feasible else "of what changes at once, what holds most",
            latency_model=rules.latency_model, objective=objective,
        )  # fmt: skip


def rules_for(request: PlanRequest) -> Rules:
    """What options may be for the default policy: as the pipeline says, and as far as the plant can split traffic."""
    planning = request.pipeline.planning
    cap = UTILISATION_CAP if planning.latency == "tail" else 1.0
    if planning.latency == "tail" and request.limits.in_place_variants and _has_pools(request):
        return Rules(planning.latency, cap, pooled=True)
    return Rules(planning.latency, cap, mix=min(planning.mix, request.limits.max_allocations_per_task))


def _has_pools(request: PlanRequest) -> bool:
    """Whether some task can step down, and what it steps to concerns no other."""
    pipeline = request.pipeline
    return not coupled_tasks(pipeline) and any(
        pool_table(pipeline, request.profile, task).shape.size for task in pipeline.tasks
    )


def _reason(chosen: Chosen, kind: str, cap: float) -> str:
    if chosen.feasible:
        exact = "optimal" if chosen.gap == 0.0 else f"at most {chosen.gap:.3g} short of the optimum"
        return f"{exact}, of {chosen.considered} options ({kind})"
    if chosen.rate_rps > 0.0:
        return (
            f"nothing holds the SLO at this rate with utilisation up to {100 * cap:.0f} %; "
            f"this holds it at {chosen.rate_rps:.4g}/s, the most possible"
        )
    return "nothing holds the SLO at any rate; this is the fastest"
