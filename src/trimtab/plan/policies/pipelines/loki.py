"""Loki: how many replicas host which variant with which batch, and what share of the requests takes which path.

1. *Hardware scaling*: the most accurate variants alone, in the fewest replicas that carry the demand.
2. *Accuracy scaling*, where the cluster is too small for that: maximise Σ_p c_p·A_p over all paths p of one variant per
   task, with c_p the path's share of the requests.

Both keep Σ l of every used path within SLO/2, the other half being for queues, and count the items that a variant makes
for the tasks after it. `loki_programme` states the programme. The demand is an exponentially weighted mean of
the counted seconds (com 1.6, 20 s), β times that is planned for (1 as published); before anything is counted it is the
rate of the request. Asked every second.

Source: Ahmad et al., "Loki: A System for Serving ML Inference Pipelines with Hardware and Accuracy Scaling", HPDC 2024,
and the program published with it, whose integer programme knows one branch and servers of one kind, with the other
branch and its share written into it. Here every way from a first task to a last one has a row, so trees and DAGs are
planned whole; paths are combinations of variants of all tasks, of which there may be `MOST_PATHS`. Joins count the edge
that brings most items, as everywhere here. Its floor of 50 requests/s under the demand is left out.

Where the formulation and a plan here differ: a plan routes every task by itself. The shares of a task are those of all
paths through each variant, weighted by items; which variant a request meets at one task says nothing about the next,
so what the paths promise (Σ c·A) is the accuracy of the plan only where one task alone is mixed. Loki's own routing
(most accurate first), early drop and rerouting are the dispatcher's.

Ours, for speed: the demand is rounded up to steps of 2 % (`step`), and a demand that was solved before is not solved
again; the solver stops after `most_nodes` nodes, and what is left open is the result's gap (two tasks of five variants
and seven batches take up to a second, three take two; IPA's five pipelines take a tenth of one at most). Replicas of a
task are of one size (`cluster`); all limits hold. Where nothing carries the demand, the mix that serves most
is taken, and where no path is within SLO/2, the fastest variants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Limits, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.pinned import check_positive
from trimtab.plan.policies.pipelines.cluster import fastest_plan, group_plans, hosts_of, shrinking
from trimtab.plan.policies.pipelines.loki_programme import Goal, Hosts, Mix, solve_mix
from trimtab.plan.policies.pipelines.seen import Demand
from trimtab.plan.policies.settings import override
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

_LONE_RPS = 0.01
"""A demand below this is taken as this, so that every task has a replica."""
_KEPT = 1000
"""Answers that are kept."""


@dataclass(frozen=True, slots=True)
class LokiSettings:
    """The published values, but for `step` and `most_nodes`."""

    cores: Mapping[str, int] = field(default_factory=dict)
    """Task → cores of one replica; a task that is not named gets them by the rule of `policies.fixed`."""
    beta: float = 1.0
    """The demand is multiplied by this."""
    slo_share: float = 0.5
    """The batches of a path take at most this part of the SLO."""
    max_batch: int | None = 64
    """Largest batch; None: the largest measured."""
    com_s: float = 1.6
    """Centre of mass of the demand's mean."""
    window_s: int = 20
    """Seconds that it looks back."""
    step: float = 0.02
    """The demand is rounded up to a power of 1 + this; 0: it is not."""
    most_nodes: int = 200
    """Nodes of the solver's search."""

    def __post_init__(self) -> None:
        check_positive(beta=self.beta, slo_share=self.slo_share, max_batch=self.max_batch, window_s=self.window_s)
        check_positive(most_nodes=self.most_nodes)
        if not (0.0 <= self.com_s < math.inf and 0.0 <= self.step < math.inf):
            raise ValueError(f"com_s is {self.com_s}, step is {self.step}: both are finite, at least 0")


class LokiPolicy:
    """Hardware scaling while it is enough, accuracy scaling beyond."""

    name = "loki"
    decides = frozenset({"variant", "replicas", "batch"})
    defaults = LokiSettings()
    rhythm = Rhythm(every_s=1.0, horizon_s=1.0, forecaster="last")
    """The demand is the policy's own; the forecast is not used."""

    def __init__(self, settings: LokiSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults
        self._demand = Demand()
        self._solved: dict[tuple[float, Limits, int], _Answer] = {}
        self._solved_for: tuple[Pipeline, Profile] | None = None

    def observe(self, observation: Observation, plan: Plan) -> None:  # noqa: ARG002 - the plan does not matter
        """Remember the counted seconds."""
        self._demand.observe(observation)

    def propose(self, request: PlanRequest) -> PlanResult:
        """The optimum of the first step that carries the demand.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, a task was not measured,
                the limits leave no room for one replica of every task, or there are too many paths.
            MissingExtraError: highspy is not installed.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        asked = replace(request, arrival_scv=1.0, service_ratio={})
        demand_rps = self._demand.mean_rps(settings.com_s, settings.window_s)
        demand_rps = request.rate_rps if demand_rps is None else demand_rps
        answer = self._answer(asked, settings, round_up(settings.beta * demand_rps, settings.step))
        return result(
            self.name,
            asked,
            answer.plans,
            feasible=answer.feasible,
            reason=f"for {demand_rps:.4g}/s, {answer.reason}",
            latency_model="tail",
            objective=request.pipeline.objective,
            gap=answer.gap,
        )

    def _answer(self, request: PlanRequest, settings: LokiSettings, demand_rps: float) -> _Answer:
        """`_solve`, once for each demand as long as pipeline and profile are the same."""
        before = self._solved_for
        same = before is not None and before[0] is request.pipeline and before[1] is request.profile
        if not same or len(self._solved) >= _KEPT:
            self._solved_for, self._solved = (request.pipeline, request.profile), {}
        key = (demand_rps, request.limits, settings.most_nodes)
        if key not in self._solved:
            self._solved[key] = _solve(request, settings, demand_rps)
        return self._solved[key]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is solved for a demand."""

    plans: dict[str, TaskPlan]
    feasible: bool
    reason: str
    gap: float = 0.0


def round_up(demand_rps: float, step: float) -> float:
    """The demand rounded up to a power of 1 + `step`, if not 0; at least 0.01, for every task needs a replica."""
    demand_rps = max(demand_rps, _LONE_RPS)
    if step == 0.0:
        return demand_rps
    base = math.log1p(step)
    return math.exp(base * math.ceil(math.log(demand_rps) / base - 1e-9))


def _solve(request: PlanRequest, settings: LokiSettings, demand_rps: float) -> _Answer:
    """The first step that carries the demand."""
    hosts = {
        task: hosts_of(request, task, settings.cores, settings.max_batch, settings.slo_share)
        for task in request.pipeline.tasks
    }
    best = {t: {v: vs[v] for v in [_most_accurate(request, t, vs)]} for t, vs in hosts.items()}
    steps: tuple[tuple[Hosts, Goal, str], ...] = (
        (best, "fewest", "hardware scaling: the fewest replicas of the most accurate variants"),
        (hosts, "accurate", "accuracy scaling: the most accurate paths"),
        (hosts, "served", "not all can be served; the paths that serve most"),
    )
    allowed_s = settings.slo_share * request.pipeline.slo.latency_s
    for some, goal, reason in steps:
        mix: Mix | None = None

        def plans_at(cores: float, most: int, some: Hosts = some, goal: Goal = goal) -> dict[str, TaskPlan] | None:
            nonlocal mix
            mix = solve_mix(request, some, demand_rps, allowed_s, goal, cores, most, settings.most_nodes)
            return None if mix is None else group_plans(mix.groups)

        plans = shrinking(request, plans_at)
        if plans is not None and mix is not None:
            share = f", {100.0 * mix.served:.3g} %" if goal == "served" else ""
            return _Answer(plans, goal != "served", f"{reason}{share}", mix.gap)
    rates = {task: demand_rps * visits for task, visits in request.pipeline.visits().items()}
    plans = fastest_plan(request, settings.cores, rates)
    return _Answer(plans, feasible=False, reason="no path is within its time; the fastest variants")


def _most_accurate(request: PlanRequest, task: str, variants: Mapping[str, object]) -> str:
    return next(v.name for v in request.pipeline.tasks[task].by_accuracy() if v.name in variants)
