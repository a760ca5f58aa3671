"""Loki's programme: replicas by variant and batch, and the traffic of every path through the pipeline.

A *path* p is one variant for every task. c_p is its share of the requests, A_p its accuracy, m_p(t) the items that task
t gets per request when the tasks before it run the path's variants. x_{v,b} replicas host variant v with batches of b,
y_{v,b} says that there are any, z_p that the path is used:

    Σ_p c_p = 1,   c_p ≤ z_p
    Σ_{p with v} D·m_p(t)·c_p ≤ Σ_b x_{v,b}·h_{v,b}       for every variant v of every task t
    Σ_{p with v} c_p ≤ Σ_b y_{v,b} ≤ 1                    one batch per variant
    y_{v,b} ≤ x_{v,b} ≤ M·y_{v,b}
    Σ_{t on r} Σ_b l_{v,b}·y_{v,b} ≤ SLO/2 + M·(1 - z_p)  for every path p, every way r from a first to a last task
    Σ cores_t·x ≤ cores, and the other limits

x is indexed by (v, b) as a type of replica, so that no product of variables is left: the published form multiplies the
number of replicas with the choice of batch. A batch that serves no more than a smaller one is left out. What the
objective is, and the source, is said in `loki`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.errors import PlanRequestError
from trimtab.plan.accuracy import pipeline_accuracy
from trimtab.plan.latency import TOLERANCE
from trimtab.plan.model import PlanRequest
from trimtab.plan.policies.pipelines.cluster import Group, Host, limit_rows, most_replicas
from trimtab.plan.policies.pipelines.milp import MOST_NODES, Programme
from trimtab.spec.model import Pipeline

MOST_PATHS = 2000
"""More paths than this are not looked at."""
_TIE = 1e-6
"""What a core is worth against accuracy: of equal accuracies the fewest cores."""
_SHARE = 1e-6
"""A share of the requests below this is none."""

Goal = Literal["fewest", "accurate", "served"]
"""`fewest`: least cores. `accurate`: Σ c·A. `served`: as many requests as can be, where not all can; then Σ c·A."""
Hosts = Mapping[str, Mapping[str, Sequence[Host]]]
"""Task → variant → its replicas by batch."""


@dataclass(frozen=True, slots=True)
class Path:
    """One variant for every task."""

    variants: Mapping[str, str]
    accuracy: float
    visits: Mapping[str, float]
    """Task → items per request."""


@dataclass(frozen=True, slots=True)
class Mix:
    """An answer: task → its groups, the share of the requests that is served, and the solver's gap."""

    groups: Mapping[str, Sequence[Group]]
    served: float
    gap: float


def paths_of(pipeline: Pipeline, hosts: Hosts) -> list[Path]:
    """Every path, by the names of its variants.

    Raises:
        PlanRequestError: there are too many.
    """
    number = 1
    for task in pipeline.tasks:
        number *= len(hosts[task])
    if number > MOST_PATHS:
        raise PlanRequestError(
            "Loki weighs every path through the pipeline, and there are too many",
            where=f"pipeline {pipeline.name}",
            got=f"{number} paths",
            wanted=f"at most {MOST_PATHS}",
            next_step="name fewer variants, or use another policy",
        )
    paths = []
    for names in itertools.product(*(hosts[task] for task in pipeline.tasks)):
        variants = dict(zip(pipeline.tasks, names, strict=True))
        shares = {task: {variant: 1.0} for task, variant in variants.items()}
        paths.append(Path(variants, pipeline_accuracy(pipeline, shares), pipeline.visits(shares)))
    return paths


def ways_through(pipeline: Pipeline) -> list[tuple[str, ...]]:
    """Every way from a first task to a last one."""
    ways: dict[str, list[tuple[str, ...]]] = {}
    for name, task in pipeline.tasks.items():
        before = [way for edge in task.after for way in ways[edge.upstream]] or [()]
        ways[name] = [(*way, name) for way in before]
    return [way for leaf in pipeline.leaves() for way in ways[leaf]]


def solve_mix(
    request: PlanRequest,
    hosts: Hosts,
    demand_rps: float,
    allowed_s: float,
    goal: Goal,
    cores: float,
    mix: int,
    most_nodes: int = MOST_NODES,
) -> Mix | None:
    """The programme's optimum; None where it is infeasible.

    Args:
        request: for the pipeline and the limits.
        hosts: what may be hosted.
        demand_rps: D, above 0.
        allowed_s: SLO/2.
        goal: what is maximised.
        cores: of the cluster.
        mix: most variants of a task.
        most_nodes: of the solver's search.
    """
    pipeline, ways = request.pipeline, ways_through(request.pipeline)
    hosts, paths = _useful(pipeline, hosts, ways, allowed_s)
    if not paths:
        return None
    programme = Programme()
    replicas, used = dict[Host, int](), dict[Host, int]()
    for host in (h for variants in hosts.values() for some in variants.values() for h in some):
        replicas[host] = programme.column(
            -float(host.cores) if goal == "fewest" else -_TIE * host.cores,
            upper=most_replicas(request, host),
            integer=True,
        )
        used[host] = programme.column(upper=1.0, integer=True)
        programme.row({replicas[host]: 1.0, used[host]: -1.0}, low=0.0)
        programme.row({replicas[host]: 1.0, used[host]: -most_replicas(request, host)}, high=0.0)
    worth = {"fewest": (0.0, 0.0), "accurate": (0.0, 1.0), "served": (1.0, 1e-3)}[goal]
    shares = [programme.column(worth[0] + worth[1] * path.accuracy) for path in paths]
    programme.row(dict.fromkeys(shares, 1.0), low=0.0 if goal == "served" else 1.0, high=1.0)
    _link_paths(programme, paths, shares, hosts, used, ways, allowed_s)
    for task, variants in hosts.items():
        for variant, some in variants.items():
            terms = {
                share: demand_rps * path.visits[task]
                for path, share in zip(paths, shares, strict=True)
                if path.variants[task] == variant
            }
            programme.row({**terms, **{replicas[h]: -h.rate for h in some}}, high=0.0)
            programme.row({used[h]: 1.0 for h in some}, high=1.0)
            programme.row({**dict.fromkeys(terms, 1.0), **{used[h]: -1.0 for h in some}}, high=0.0)
    limit_rows(programme, request, replicas, cores, mix)
    solution = programme.solve(most_nodes)
    if solution is None:
        return None
    routed = [solution.values[share] for share in shares]
    groups: dict[str, list[Group]] = {}
    for task, variants in hosts.items():
        groups[task] = []
        for variant, some in variants.items():
            part = sum(
                c * path.visits[task] for c, path in zip(routed, paths, strict=True) if path.variants[task] == variant
            )
            hosting = [h for h in some if solution.whole(replicas[h]) > 0]
            if hosting and part > _SHARE:
                groups[task].append(Group(hosting[0], solution.whole(replicas[hosting[0]]), demand_rps * part))
        if not groups[task]:
            return None
    return Mix(groups, min(1.0, sum(routed)), solution.gap)


def _useful(
    pipeline: Pipeline, hosts: Hosts, ways: Sequence[tuple[str, ...]], allowed_s: float
) -> tuple[Hosts, list[Path]]:
    """The hosts that are on some path that can be in time, and these paths."""
    quickest = {t: {v: min(h.latency_s for h in some) for v, some in vs.items()} for t, vs in hosts.items()}

    def slack_s(variants: Mapping[str, str], task: str) -> float:
        """Of the tightest way through `task`, with every other task at its quickest batch."""
        times = (sum(quickest[t][variants[t]] for t in way if t != task) for way in ways if task in way)
        return allowed_s * (1.0 + TOLERANCE) - max(times)

    paths = [
        path
        for path in paths_of(pipeline, hosts)
        if all(quickest[task][v] <= slack_s(path.variants, task) for task, v in path.variants.items())
    ]
    room: dict[tuple[str, str], float] = {}
    for path in paths:
        for task, variant in path.variants.items():
            room[task, variant] = max(room.get((task, variant), 0.0), slack_s(path.variants, task))
    kept = {
        task: {
            variant: [h for i, h in enumerate(some) if h.latency_s <= room[task, variant] and _gains(h, some[:i])]
            for variant, some in variants.items()
            if (task, variant) in room
        }
        for task, variants in hosts.items()
    }
    return kept, paths


def _gains(host: Host, smaller: Sequence[Host]) -> bool:
    """Whether it serves more than every smaller batch."""
    return all(host.rate > other.rate for other in smaller)


def _link_paths(
    programme: Programme,
    paths: Sequence[Path],
    shares: Sequence[int],
    hosts: Hosts,
    used: Mapping[Host, int],
    ways: Sequence[tuple[str, ...]],
    allowed_s: float,
) -> None:
    """Only paths whose batches are in time have a share; where any batches are, no rows are needed."""
    for path, share in zip(paths, shares, strict=True):
        slow = []
        for way in ways:
            most_s = sum(max(h.latency_s for h in hosts[t][path.variants[t]]) for t in way)
            if most_s > allowed_s * (1.0 + TOLERANCE):
                slow.append((way, most_s))
        if not slow:
            continue
        taken = programme.column(upper=1.0, integer=True)
        programme.row({share: 1.0, taken: -1.0}, high=0.0)
        for way, most_s in slow:
            terms = {used[h]: h.latency_s / allowed_s for t in way for h in hosts[t][path.variants[t]]}
            over = most_s / allowed_s - 1.0
            programme.row({**terms, taken: over}, high=1.0 + over + TOLERANCE)
