"""The default: the pipeline's objective under the tail model, with every variant that fits kept at hand.

The plan's variant is the dearest one that the *expected* traffic can have. What the plan cannot foresee is the
dispatcher's: within a batch it may step down to any cheaper resident variant (`may_use`) to meet a deadline.
"""

from __future__ import annotations

from trimtab.plan.choose import choose
from trimtab.plan.model import PlanRequest, PlanResult
from trimtab.plan.options import Rules
from trimtab.plan.policies.base import result
from trimtab.plan.residents import with_residents

UTILISATION_CAP = 0.85
"""Largest utilisation planned for. Above it a queue's tail grows like 1/(1 - ρ), faster than a profile is exact."""


class TrimtabPolicy:
    """Exact optimum of the pipeline's objective within the tail model."""

    name = "trimtab"
    decides = frozenset({"variant", "replicas", "cores", "batch", "resident", "per-batch variant"})

    def propose(self, request: PlanRequest) -> PlanResult:
        """The best plan that holds the SLO at the request's rate, or the one that holds it at the largest rate."""
        objective = request.pipeline.objective
        rules = Rules(latency_model="tail", utilisation_cap=UTILISATION_CAP)
        chosen = choose(request, objective, rules)
        plans, notes = with_residents(request, chosen.allocations)
        if chosen.feasible:
            reason = f"best of {chosen.considered} options ({objective.kind})"
        elif chosen.rate_rps > 0.0:
            reason = (
                f"nothing holds the SLO at this rate with utilisation up to {100 * UTILISATION_CAP:.0f} %; "
                f"this holds it at {chosen.rate_rps:.4g}/s, the most possible"
            )
        else:
            reason = "nothing holds the SLO at any rate; this is the fastest"
        return result(
            self.name,
            request,
            plans,
            feasible=chosen.feasible,
            reason=reason,
            latency_model="tail",
            objective=objective,
            notes=notes,
        )
