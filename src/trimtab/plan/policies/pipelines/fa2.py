"""FA2: replicas and batch of every task by a dynamic programme over the latency budget; variant and cores are fixed.

    minimise Σ cores · n   with   Σ over every path of l(b) + q(b) < SLO,   n = ⌈λ / h(b)⌉,   h(b) = slots · b / l(b)

in whole milliseconds (`latency_budget`, which says how a DAG is taken). l(b) is the service time of a batch at
the SLO's quantile and λ the task's rate of items. q(b), the wait for a batch to fill, has three forms:

- `worst`: (b - 1)/λ, the worst case of the paper;
- `exponential`: -ln(1 - q)·(b - 1)/λ, that is 4.605·(b - 1)/λ at q = 0.99, the form that the authors' later
  re-implementation uses;
- `gamma`: the q-quantile of the time that b - 1 Poisson arrivals take, Erlang(b - 1, λ).

Source: Razavi et al., "FA2: Fast, Accurate Autoscaling for Serving Deep Learning Inference with SLA Guarantees", RTAS
2022; no program was published with it. The forms of q, the interval of 0.5 s and scaling in after 10 s come from the
re-implementation in Themis (arXiv 2407.14843), there with instances of one core. As there, nothing changes while no
task wants more replicas and the plan in force is younger than `stable_s`; when some task wants more, all of the new
plan is taken. A question that comes with no memory of the plan in force is answered for itself.

Ours: batches are those that were measured; latencies are rounded up to milliseconds; cores follow the rule of
`policies.fixed` unless they are set. Where nothing holds the rate within all limits, the answer is the plan for the
largest rate that can be held, and where none can be, single requests on as many replicas as the limits leave.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Allocation, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.fixed import ceil, fixed_choice
from trimtab.plan.policies.fixed_limits import fixed_plan
from trimtab.plan.policies.pinned import PinnedSettings, check_positive, fits, most_held, one_group, pinned_visits
from trimtab.plan.policies.pipelines.instances import Instance, instances
from trimtab.plan.policies.pipelines.latency_budget import Choice, budget_ms, cheapest_within, whole_ms
from trimtab.plan.policies.pipelines.seen import Standing
from trimtab.plan.policies.settings import override

Queueing = Literal["worst", "exponential", "gamma"]


@dataclass(frozen=True, slots=True)
class Fa2Settings(PinnedSettings):
    """What is held fixed, and how waiting is counted."""

    cores: Mapping[str, int] = field(default_factory=dict)
    """Task → cores of one replica; a task that is not named gets them by the rule of `policies.fixed`."""
    queueing: Queueing = "exponential"
    """The form of q."""
    max_batch: int | None = None
    """Largest batch; None: the largest measured."""
    stable_s: float = 10.0
    """A plan for fewer replicas is taken once the one in force has stood for so long."""

    def __post_init__(self) -> None:
        check_positive(max_batch=self.max_batch)
        if not 0.0 <= self.stable_s < math.inf:
            raise ValueError(f"stable_s is {self.stable_s}, wanted a finite number of at least 0")


class Fa2Policy:
    """The cheapest replicas and batches within the latency budget."""

    name = "fa2"
    decides = frozenset({"replicas", "batch"})
    defaults = Fa2Settings()
    rhythm = Rhythm(every_s=0.5, horizon_s=1.0, forecaster="last")
    """The authors ask for the rate of the last two seconds; here it is the last counted second."""

    def __init__(self, settings: Fa2Settings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults
        self._standing = Standing()

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Remember for how long the plan in force has stood."""
        self._standing.observe(observation, plan)

    def propose(self, request: PlanRequest) -> PlanResult:
        """The plan of the dynamic programme, or the one in force while scaling in is held back.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, a task was not measured, or
                the limits leave no room for one replica of every task.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        question = replace(request, arrival_scv=1.0, service_ratio={})
        fixed = {t: fixed_choice(question, t, settings.fixed(settings.cores)) for t in question.pipeline.tasks}
        variants = {task: choice.variant for task, choice in fixed.items()}
        tables = {
            task: instances(question, task, f.variant, [(f.cores, f.threads)], max_batch=settings.max_batch)
            for task, f in fixed.items()
        }
        visits = pinned_visits(question, variants)

        def plan_at(rate_rps: float) -> dict[str, TaskPlan] | None:
            rates = {task: rate_rps * visits[task] for task in tables}
            return horizontal_plan(question, variants, tables, rates, settings.queueing)

        held = most_held(request.rate_rps, plan_at)
        feasible = held is not None and held[0] >= request.rate_rps
        if held is None:
            singles = {task: table[0] for task, table in tables.items()}
            wanted = {
                t: (replace(fixed[t], batch=one.batch), ceil(request.rate_rps * visits[t] / one.rate))
                for t, one in singles.items()
            }
            plans, reason = fixed_plan(question, wanted), "no batches fit the latency budget; the smallest ones"
        elif not feasible:
            plans, reason = held[1], f"limits and latency budget hold {held[0]:.4g}/s at most; the plan for that"
        else:
            plans, reason = held[1], "cheapest within the latency budget"
            kept = self._kept(question, plans, variants, settings.stable_s)
            if kept is not None:
                plans, reason = (
                    kept,
                    f"no more replicas are wanted; fewer once the plan has stood {settings.stable_s:g} s",
                )
        return result(
            self.name,
            question,
            plans,
            feasible=feasible,
            reason=f"{reason} (waiting as {settings.queueing})",
            latency_model="paper",
            objective=request.pipeline.objective,
        )

    def _kept(
        self, request: PlanRequest, wanted: Mapping[str, TaskPlan], variants: Mapping[str, str], stable_s: float
    ) -> dict[str, TaskPlan] | None:
        """The plan in force, while it is too young for another one that wants no more replicas of any task."""
        groups = one_group(request.current, request, variants)
        if groups is None or request.current is None or not fits(request, request.current.tasks):
            return None
        stood_s = self._standing.stood_s(request.current)
        if stood_s is None or stood_s >= stable_s:
            return None
        for task, group in groups.items():
            (other,) = wanted[task].allocations
            if other.replicas > group.replicas or (other.cores, other.threads) != (group.cores, group.threads):
                return None
        return dict(request.current.tasks)


def horizontal_plan(
    request: PlanRequest,
    variants: Mapping[str, str],
    tables: Mapping[str, Sequence[Instance]],
    rates: Mapping[str, float],
    queueing: Queueing,
    weights: Mapping[str, float] | None = None,
) -> dict[str, TaskPlan] | None:
    """The cheapest plan within the latency budget by the programme above; None where none is within all limits.

    Args:
        request: for the pipeline and the limits.
        variants: task → its variant.
        tables: task → the replicas to choose from.
        rates: task → items per second.
        queueing: the form of q.
        weights: task → what one replica costs; None: its cores.
    """
    pipeline, groups, choices = request.pipeline, dict[str, list[Allocation]](), dict[str, list[Choice]]()
    for task, table in tables.items():
        groups[task] = [
            Allocation(variants[task], max(1, ceil(rates[task] / i.rate)), i.cores, i.threads, i.batch) for i in table
        ]
        choices[task] = [
            Choice(
                whole_ms(i.latency_s + filling_s(rates[task], i.batch, pipeline.slo.quantile, queueing)),
                (i.cores if weights is None else weights[task]) * group.replicas,
            )
            for i, group in zip(table, groups[task], strict=True)
        ]
    found = cheapest_within(pipeline, choices, budget_ms(pipeline.slo.latency_s))
    if found is None:
        return None
    plans = {task: TaskPlan(task, (groups[task][i],), resident=(variants[task],)) for task, i in found[0].items()}
    return plans if fits(request, plans) else None


def filling_s(items: float, batch: int, quantile: float, form: Queueing) -> float:
    """q(b): how long the first item of a batch is thought to wait for the others, seconds; 0 without traffic.

    Args:
        items: λ, items per second.
        batch: b.
        quantile: the SLO's.
        form: which formula; the module states them.
    """
    if items <= 0.0 or batch == 1:
        return 0.0
    if form == "worst":
        return (batch - 1) / items
    if form == "exponential":
        return -math.log(1.0 - quantile) * (batch - 1) / items
    return erlang_quantile(batch - 1, quantile) / items


def erlang_quantile(stages: int, quantile: float) -> float:
    """Quantile of the sum of `stages` independent exponential times of mean 1, by bisection.

    P(T ≤ t) = 1 - e^(-t)·Σ_{k < stages} t^k / k! (L. Kleinrock, Queueing Systems I, 1975, §4.3).
    """
    low, high = 0.0, stages - math.log(1.0 - quantile) * stages
    for _ in range(60):
        middle = (low + high) / 2.0
        term = left = math.exp(-middle)
        for k in range(1, stages):
            term *= middle / k
            left += term
        low, high = (middle, high) if 1.0 - left < quantile else (low, middle)
    return high
