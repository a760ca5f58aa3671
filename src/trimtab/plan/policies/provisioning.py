"""Static provisioning: a plan that is made once, for the least or for the highest rate, with fixed variants.

    minimise cost   with   tail latency ≤ SLO and utilisation ≤ 85 % at the rate,   one variant per task

Cost is cores, or money where the pipeline's objective counts money; the optimum over replicas, cores and batches is
exact (`plan.choose`). `static-min` is sized for `min_rps`, `static-peak` for `peak_rps`; where the setting is absent,
for the rate of the first question, since the policy is asked once and not again. A simulation, which knows the load,
asks for its least and its highest rate (`Rhythm.first`); a live plant does not.

Source: the two lines that adaptive systems are drawn between in nearly all of their papers; the sizing rule is ours. By
the tail model it is the smallest plan that holds the rate, which is more than what the usual ⌈rate ÷ throughput⌉ gives.
Where nothing holds the rate within the limits, the plan is that for the largest rate that can be held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trimtab.plan.choose import choose
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import PlanRequest, PlanResult, TaskPlan
from trimtab.plan.options import Rules
from trimtab.plan.policies.base import NEVER_AGAIN, result
from trimtab.plan.policies.pinned import PinnedSettings, pinned_variants
from trimtab.plan.policies.settings import override
from trimtab.plan.pool import UTILISATION_CAP
from trimtab.spec.model import Objective


def _check(rate_rps: float | None) -> None:
    if rate_rps is not None and not 0.0 <= rate_rps < math.inf:
        raise ValueError(f"the rate is {rate_rps}, wanted a finite number of at least 0")


@dataclass(frozen=True, slots=True)
class StaticMinSettings(PinnedSettings):
    """Variants and rate."""

    min_rps: float | None = None
    """The least rate, requests per second; None: that of the first question."""

    def __post_init__(self) -> None:
        _check(self.min_rps)

    @property
    def rate_rps(self) -> float | None:
        """The rate that the plan is for."""
        return self.min_rps


@dataclass(frozen=True, slots=True)
class StaticPeakSettings(PinnedSettings):
    """Variants and rate."""

    peak_rps: float | None = None
    """The highest rate, requests per second; None: that of the first question."""

    def __post_init__(self) -> None:
        _check(self.peak_rps)

    @property
    def rate_rps(self) -> float | None:
        """The rate that the plan is for."""
        return self.peak_rps


class _ProvisionedPolicy:
    """One plan for one rate."""

    name = ""
    decides: frozenset[str] = frozenset()
    defaults: StaticMinSettings | StaticPeakSettings

    def __init__(self, settings: StaticMinSettings | StaticPeakSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults

    def propose(self, request: PlanRequest) -> PlanResult:
        """The one plan, judged at the request's rate.

        Raises:
            PlanRequestError: as `choose`, or the settings do not fit the pipeline.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        return _sized(self.name, request, settings, settings.rate_rps)


class StaticMinPolicy(_ProvisionedPolicy):
    """The smallest plan for the least rate."""

    name = "static-min"
    defaults = StaticMinSettings()
    rhythm = replace(NEVER_AGAIN, first="least")


class StaticPeakPolicy(_ProvisionedPolicy):
    """The smallest plan for the highest rate."""

    name = "static-peak"
    defaults = StaticPeakSettings()
    rhythm = replace(NEVER_AGAIN, first="peak")


def _sized(name: str, request: PlanRequest, settings: PinnedSettings, rate_rps: float | None) -> PlanResult:
    """The smallest plan for `rate_rps`, or for the request's rate."""
    sized_rps = request.rate_rps if rate_rps is None else rate_rps
    question = replace(request, rate_rps=sized_rps, arrival_scv=1.0, service_ratio={}, current=None, scenarios=())
    variants = {task: (variant,) for task, variant in pinned_variants(question, settings).items()}
    rules = Rules(latency_model="tail", utilisation_cap=UTILISATION_CAP, variants=variants)
    smallest = Objective("cheapest", accuracy_floor=0.0, cost=request.pipeline.objective.cost)
    chosen = choose(question, smallest, rules)
    plans = {
        task: TaskPlan(task, groups, resident=tuple(group.variant for group in groups))
        for task, groups in chosen.allocations.items()
    }
    reason = f"made once, the smallest plan for {sized_rps:.4g}/s"
    if not chosen.feasible:
        reason = f"made once; nothing holds {sized_rps:.4g}/s, this holds {chosen.rate_rps:.4g}/s"
    return result(
        name,
        request,
        plans,
        feasible=True,
        reason=reason,
        latency_model="tail",
        objective=request.pipeline.objective,
        gap=chosen.gap,
    )
