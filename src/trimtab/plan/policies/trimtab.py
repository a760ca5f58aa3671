"""The default: the pipeline's objective under the tail model, with every variant that fits kept at hand.

The plan's variants are the dearest that the *expected* traffic can have. What the plan cannot foresee is the
dispatcher's: within a batch it may step down to any cheaper resident variant (`may_use`) to meet a deadline.
"""

from __future__ import annotations

from dataclasses import replace

from trimtab.plan.choose import Chosen, choose
from trimtab.plan.model import PlanRequest, PlanResult
from trimtab.plan.options import Rules
from trimtab.plan.policies.base import result
from trimtab.plan.residents import with_residents
from trimtab.plan.uncertainty import settle

UTILISATION_CAP = 0.85
"""Largest utilisation planned for by the tail model. Above it a queue's tail grows like 1/(1 - ρ), faster than a
profile is exact."""


class TrimtabPolicy:
    """Exact optimum of the pipeline's objective within its latency model."""

    name = "trimtab"
    decides = frozenset({"variant", "replicas", "cores", "batch", "resident", "per-batch variant", "rate"})

    def propose(self, request: PlanRequest) -> PlanResult:
        """The best plan that holds the SLO at the request's rate, or the one that holds it at the largest rate.

        With scenarios, at the rate among them that `plan.uncertainty` settles on.
        """
        objective, rules = request.pipeline.objective, rules_for(request)
        notes: tuple[str, ...] = ()
        if request.scenarios:
            rate_rps, chosen, words = settle(request, objective, rules)
            request, notes = replace(request, rate_rps=rate_rps), (words,)
        else:
            chosen = choose(request, objective, rules)
        plans, left_out = with_residents(request, chosen.allocations)
        return result(
            self.name,
            request,
            plans,
            feasible=chosen.feasible,
            reason=_reason(chosen, objective.kind, rules.utilisation_cap),
            latency_model=rules.latency_model,
            objective=objective,
            notes=notes + left_out,
            gap=chosen.gap,
        )


def rules_for(request: PlanRequest) -> Rules:
    """What options may be for the default policy: as the pipeline says, and as far as the plant can split traffic."""
    planning = request.pipeline.planning
    cap = UTILISATION_CAP if planning.latency == "tail" else 1.0
    return Rules(planning.latency, cap, mix=min(planning.mix, request.limits.max_allocations_per_task))


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
