"""IPA's problem and its joint form from coefficient arrays: choices are built and solved without an object for any.

What a service can do is a table of groups: for every variant, and every size of a group (a batch size, or a batch size
on a number of cores), latency, throughput and cores of a replica. `best_groups` finds one group per task, or a mix of
two variants, with the largest alpha · Π a - beta · cores - delta · Σ b along a chain (S. Ghafouri et al., Journal of
Systems Research 4(1), 2024).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from trimtab.plan.solve.answer import WEIGHTED, answer
from trimtab.plan.solve.graph import frontier
from trimtab.plan.solve.mixes import mixed_choices
from trimtab.plan.solve.problem import Choices, Floats, Ints, Problem, chain
from trimtab.plan.solve.singles import single_choices
from trimtab.plan.solve.solve import LABELS


@dataclass(frozen=True, slots=True)
class Groups:
    """What replicas can do: V variants of S tasks in G group sizes."""

    accuracy: Floats
    """Shape (V,)."""
    first: Ints
    """Shape (S + 1,): the variants of task s are `first[s]:first[s + 1]`."""
    latency_s: Floats
    """Shape (V, G): of a batch; infinite where there is no such group."""
    throughput_rps: Floats
    """Shape (V, G): of a replica that is always busy."""
    cores: Floats
    """Shape (V, G): of a replica."""
    batch: Ints
    """Shape (G,)."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The objective alpha · Π a - beta · cores - delta · Σ b."""

    alpha: float
    beta: float
    delta: float = 0.0


@dataclass(frozen=True, slots=True)
class Picked:
    """The best groups."""

    groups: Ints
    """Shape (S, 4): saturated group as v · G + g, its replicas, the other group (-1: none) and its replicas."""
    objective: float
    gap: float
    """How much larger the objective could be at most, as proved."""


def best_groups(
    groups: Groups,
    weights: Weights,
    *,
    rate_rps: float,
    latency_s: float,
    mixes: bool = False,
    replicas: float = math.inf,
) -> Picked | None:
    """The best groups along a chain at a rate; None where nothing is within the latency.

    Args:
        groups: what there is.
        weights: the objective.
        rate_rps: arrival rate at every task.
        latency_s: bound of the sum of latencies, each with (b-1)/λ for the batch to form.
        mixes: whether a task may mix two variants.
        replicas: replicas a task at most.
    """
    accuracy, latency, cost, first, meaning = _choices(groups, weights, rate_rps, latency_s, replicas, mixes=mixes)
    graph = frontier(chain(first.size - 1))
    path = np.zeros(first.size - 1, dtype=np.int64)
    reached, bound = answer(
        accuracy, latency, cost, np.empty((cost.size, 0)), first,
        graph.slot, graph.source, graph.adds, graph.width, graph.before,
        latency_s, np.empty(0), True, WEIGHTED, weights.alpha, -math.inf, LABELS, path,  # noqa: FBT003 - a kernel
    )  # fmt: skip
    return None if reached == -math.inf else Picked(meaning[path], reached, max(0.0, bound - reached))


def group_problem(
    groups: Groups,
    weights: Weights,
    *,
    rate_rps: float,
    latency_s: float,
    mixes: bool = False,
    replicas: float = math.inf,
) -> Problem:
    """The same choices as a problem for other goals and other solvers."""
    accuracy, latency, cost, first, _ = _choices(groups, weights, rate_rps, latency_s, replicas, mixes=mixes)
    spans = [slice(a, b) for a, b in itertools.pairwise(first.tolist())]
    tables = (Choices(accuracy[s], latency[s], cost[s], np.empty((cost[s].size, 0))) for s in spans)
    return Problem(tuple(tables), chain(len(spans)), latency_s, np.empty(0))


def _choices(
    groups: Groups, weights: Weights, rate_rps: float, latency_s: float, replicas: float, *, mixes: bool
) -> tuple[Floats, Floats, Floats, Ints, Ints]:
    build = mixed_choices if mixes else single_choices
    return build(
        groups.accuracy, groups.first, groups.latency_s, groups.throughput_rps, groups.cores, groups.batch,
        rate_rps, latency_s, weights.beta, weights.delta, replicas,
    )  # fmt: skip
