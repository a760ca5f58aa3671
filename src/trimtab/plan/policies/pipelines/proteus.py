"""Proteus: which variant each replica of a fixed cluster hosts, so that the demand is served as accurately as can be.

Every task k has a rate s_k of items. n_{k,v} replicas host variant v and serve at most P_{k,v} items per second each,
f_{k,v} is the traffic that is sent to them and y_{k,v} what they are counted for:

    maximise  Σ A_v·f_{k,v} / Σ s_k
    with      Σ_v f_{k,v} = s_k,   f_{k,v} ≤ s_k·n_{k,v},   y_{k,v} ≤ n_{k,v}·P_{k,v},   y_{k,v} ≤ max(1, β)·f_{k,v},
              Σ y ≥ β·Σ s_k,   Σ cores_k·n_{k,v} ≤ cores.

P = slots·b/l(b) with b the largest batch whose l(b), at the SLO's quantile, is below half of the task's SLO. β is 1.05,
5 % of headroom; where that is infeasible it falls in steps of 0.05 (0.1 above 1.5) down to 0.2: below 1, that much of
the traffic is served and the rest, though routed, is not. The demand is an exponentially weighted mean of the counted
seconds (com 1.6, 20 s); before anything is counted it is the rate of the request. Asked every 10 s.

Source: Ahmad et al., "Proteus: A High-Throughput Inference-Serving System with Accuracy Scaling", ASPLOS 2024, and the
program published with it. There every device has a binary per variant and shares of traffic multiply them; as devices
of a kind are equal, the form above, in counts and rates, is the same and linear. There MIPGap is 0.5, so any plan half
as good as the best may be the answer; here it is solved to the optimum. Extra solves that the program does at certain
moments of its traces are left out. Tasks of a pipeline are its model types, each on its own, all on one cluster: what a
lighter variant does to the tasks after it does not count, and each has a part of the SLO (`policies.fixed.slo_parts`).

Ours: replicas of a task are of one size, `cores` or by the rule of `policies.fixed`, so devices are equal where sizes
are. Rates are not rounded down to whole requests unless `whole_rates` says so, for slow variants would be worth
nothing. All limits hold. Replicas that the optimum does without still belong to the cluster (`whole_cluster`): they go,
one by one, to the variant that is busiest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.fixed import FixedSettings, slo_parts
from trimtab.plan.policies.pinned import check_positive, fits
from trimtab.plan.policies.pipelines.cluster import (
    Group,
    Host,
    fastest_plan,
    group_plans,
    hosts_of,
    limit_rows,
    shrinking,
)
from trimtab.plan.policies.pipelines.milp import Programme
from trimtab.plan.policies.pipelines.seen import Demand
from trimtab.plan.policies.settings import override

_TIE = 1e-6
"""What a core is worth against accuracy: of equal accuracies the fewest cores."""
_SHARE = 1e-6
"""Traffic below this part of a task's is none."""
_LONE_RPS = 0.01
"""A demand below this is taken as this, so that every task has a replica."""


@dataclass(frozen=True, slots=True)
class ProteusSettings:
    """The published values, but for `whole_rates`."""

    cores: Mapping[str, int] = field(default_factory=dict)
    """Task → cores of one replica; a task that is not named gets them by the rule of `policies.fixed`."""
    beta: float = 1.05
    """Capacity ÷ demand that is tried first."""
    least_beta: float = 0.2
    """Where it ends."""
    slo_share: float = 0.5
    """A batch takes less than this part of the task's SLO."""
    max_batch: int | None = 8
    """Largest batch; None: the largest measured."""
    com_s: float = 1.6
    """Centre of mass of the demand's mean. Published: 1.6, and 0.7 for bursty traffic."""
    window_s: int = 20
    """Seconds that it looks back."""
    whole_rates: bool = False
    """Whether P is rounded down to whole items per second, as published."""
    whole_cluster: bool = True
    """Whether all cores are held."""

    def __post_init__(self) -> None:
        check_positive(
            beta=self.beta,
            least_beta=self.least_beta,
            slo_share=self.slo_share,
            max_batch=self.max_batch,
            window_s=self.window_s,
        )
        if not 0.0 <= self.com_s < math.inf:
            raise ValueError(f"com_s is {self.com_s}, wanted a finite number of at least 0")


class ProteusPolicy:
    """The most accurate hosting of a fixed cluster."""

    name = "proteus"
    decides = frozenset({"variant", "replicas", "batch"})
    defaults = ProteusSettings()
    rhythm = Rhythm(every_s=10.0, horizon_s=1.0, forecaster="last")
    """Every 10 s, as for its Twitter trace. The demand is the policy's own; the forecast is not used."""

    def __init__(self, settings: ProteusSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults
        self._demand = Demand()

    def observe(self, observation: Observation, plan: Plan) -> None:  # noqa: ARG002 - the plan does not matter
        """Remember the counted seconds."""
        self._demand.observe(observation)

    def propose(self, request: PlanRequest) -> PlanResult:
        """The optimum for the demand.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, a task was not measured, or
                the limits leave no room for one replica of every task.
            MissingExtraError: highspy is not installed.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        asked = replace(request, arrival_scv=1.0, service_ratio={})
        demand_rps = self._demand.mean_rps(settings.com_s, settings.window_s)
        demand_rps = request.rate_rps if demand_rps is None else demand_rps
        hosts = _hosts(asked, settings)
        rates = {t: max(demand_rps * v, _LONE_RPS) for t, v in asked.pipeline.visits().items()}
        plans, beta, gap = None, settings.beta, 0.0
        if all(hosts.values()):
            plans, beta, gap = _answer(asked, settings, hosts, rates)
        if plans is None:
            plans = fastest_plan(asked, settings.cores, rates)
            reason = "no batch of some task is fast enough; the fastest variants"
        elif beta > 0.0:
            reason = f"most accurate hosting for {demand_rps:.4g}/s with capacity of {beta:.4g} times that"
        else:
            reason = f"not {100 * settings.least_beta:g} % of {demand_rps:.4g}/s can be served; as much as can be"
        return result(
            self.name,
            asked,
            plans,
            feasible=beta >= 1.0 and all(hosts.values()),
            reason=reason,
            latency_model="tail",
            objective=request.pipeline.objective,
            gap=gap,
        )


def _hosts(request: PlanRequest, settings: ProteusSettings) -> dict[str, list[Host]]:
    """Task → its variants, each with the largest batch that is fast enough; by name."""
    parts = slo_parts(request, FixedSettings())
    return {
        task: [
            replace(some[-1], rate=float(math.floor(some[-1].rate))) if settings.whole_rates else some[-1]
            for batches in hosts_of(request, task, settings.cores, settings.max_batch, settings.slo_share).values()
            if (some := [h for h in batches if h.latency_s < settings.slo_share * parts[task]])
        ]
        for task in request.pipeline.tasks
    }


def _answer(
    request: PlanRequest, settings: ProteusSettings, hosts: Mapping[str, Sequence[Host]], rates: Mapping[str, float]
) -> tuple[dict[str, TaskPlan] | None, float, float]:
    """Task plans, the β that they are for (0: none was feasible), and the gap of the solver."""
    tried, beta = [0.0], settings.beta
    while beta > settings.least_beta - 1e-9:
        tried.insert(-1, beta)
        beta = round(beta - (0.1 if beta > 1.5 else 0.05), 9)
    plans, gap = None, 0.0
    for beta in tried:

        def plans_at(cores: float, mix: int, beta: float = beta) -> dict[str, TaskPlan] | None:
            nonlocal gap
            found = host(request, hosts, rates, beta, cores, mix)
            gap = found[1] if found else 0.0
            return None if found is None else _plans(request, found[0], whole=settings.whole_cluster)

        plans = shrinking(request, plans_at)
        if plans is not None:
            break
    return plans, beta, gap


def host(
    request: PlanRequest,
    hosts: Mapping[str, Sequence[Host]],
    rates: Mapping[str, float],
    beta: float,
    cores: float,
    mix: int,
) -> tuple[dict[str, list[Group]], float] | None:
    """The programme above: task → its groups, and the solver's gap; None where it is infeasible.

    Args:
        request: for the limits on replicas and memory.
        hosts: task → what its replicas may host.
        rates: task → items per second, above 0.
        beta: 0: as much as possible is served, and the accuracy comes after that.
        cores: of the cluster.
        mix: most variants of a task.
    """
    limits, total = request.limits, sum(rates.values())
    programme = Programme()
    replicas, traffic, served = dict[Host, int](), dict[Host, int](), dict[Host, int]()
    for task, some in hosts.items():
        for h in some:
            accurate = h.accuracy / total
            replicas[h] = programme.column(-_TIE * h.cores, upper=limits.replicas_per_task, integer=True)
            traffic[h] = programme.column(accurate if beta > 0.0 else 1e-3 * accurate)
            served[h] = programme.column(0.0 if beta > 0.0 else 1.0 / total)
            programme.row({traffic[h]: 1.0, replicas[h]: -rates[task]}, high=0.0)
            programme.row({served[h]: 1.0, replicas[h]: -h.rate}, high=0.0)
            programme.row({served[h]: 1.0, traffic[h]: -max(1.0, beta)}, high=0.0)
        programme.row({traffic[h]: 1.0 for h in some}, low=rates[task], high=rates[task])
    programme.row(dict.fromkeys(served.values(), 1.0), low=beta * total)
    limit_rows(programme, request, replicas, cores, mix)
    solution = programme.solve()
    if solution is None:
        return None
    groups: dict[str, list[Group]] = {}
    for task, some in hosts.items():
        found = [Group(h, solution.whole(replicas[h]), solution.values[traffic[h]]) for h in some]
        groups[task] = [g for g in found if g.replicas > 0 and g.traffic > _SHARE * rates[task]]
    return groups, solution.gap


def _plans(request: PlanRequest, groups: Mapping[str, Sequence[Group]], *, whole: bool) -> dict[str, TaskPlan]:
    """Task plans; with `whole`, as many more replicas as the limits leave, each for the busiest group."""
    now = {task: list(some) for task, some in groups.items()}
    plans = group_plans(now)
    grows = whole and fits(request, plans)
    while grows:
        grows = False
        places = [(task, i) for task, some in now.items() for i in range(len(some))]
        for task, i in sorted(places, key=lambda place: -_busy(now[place[0]][place[1]])):
            more = replace(now[task][i], replicas=now[task][i].replicas + 1)
            larger = {**now, task: [*now[task][:i], more, *now[task][i + 1 :]]}
            if fits(request, group_plans(larger)):
                now, grows = larger, True
                break
    return group_plans(now)


def _busy(group: Group) -> float:
    return group.traffic / (group.replicas * group.host.rate)
