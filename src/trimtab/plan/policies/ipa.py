"""IPA in its paper's form: variant, batch and replicas per task by α·PAS - β·Σ n·R - δ·Σ b under Σ l(b) + (b-1)/λ.

Source: Ghafouri et al., "IPA: Inference Pipeline Adaptation to Achieve High Accuracy and Cost-Efficiency", Journal of
Systems Research 4(1), 2024. PAS is the product of the variants' accuracies (as fractions); n·h(b) ≥ λ; l is the
profiled latency at the SLO's quantile. Each variant's cores per replica are fixed beforehand; here they are the
smallest measured replica whose lone request fits the SLO, all of its cores on one inference where that was measured.
One variant is loaded; the dispatcher may not step down.
"""

from __future__ import annotations

from dataclasses import replace

from trimtab.plan.choose import choose
from trimtab.plan.model import PlanRequest, PlanResult, TaskPlan
from trimtab.plan.options import Rules
from trimtab.plan.policies.base import result


class IpaPolicy:
    """Exact optimum of IPA's objective within IPA's latency model; α, β and δ are those of the pipeline's objective."""

    name = "ipa"
    decides = frozenset({"variant", "replicas", "batch"})

    def propose(self, request: PlanRequest) -> PlanResult:
        """IPA's optimum; where it is infeasible, the plan that holds the SLO (by this model) at the largest rate."""
        objective = replace(request.pipeline.objective, kind="weighted")
        question = replace(request, arrival_scv=1.0, service_ratio={})
        chosen = choose(question, objective, Rules(latency_model="paper", one_shape=True))
        plans = {task: TaskPlan(task, (a,), resident=(a.variant,)) for task, a in chosen.allocations.items()}
        weights = f"α {objective.alpha:g}, β {objective.beta:g}, δ {objective.delta:g}"
        reason = f"best of {chosen.considered} options ({weights})" if chosen.feasible else "infeasible by this model"
        return result(
            self.name,
            question,
            plans,
            feasible=chosen.feasible,
            reason=reason,
            latency_model="paper",
            objective=objective,
        )
