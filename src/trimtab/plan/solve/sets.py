"""The best set of variants for one task, exactly: which ones, how many cores each, and what each is sent.

    maximise  alpha · Σ_m (quota_m / demand) · accuracy_m - price · Σ_m cores_m - max_m load_m
    subject to  Σ quota_m = demand,  quota_m ≤ rate_m(cores_m),  Σ cores_m ≤ cores,  Σ use_m ≤ limits

over the members m of the set. For fixed sizes, quotas that fill the most accurate member first are best. This is the
problem of InfAdapter (Salmani et al., EuroMLSys 2023) with its numbers folded in; what a variant is called, how its
rates are measured and what its units are is the caller's affair. How it is solved is said in `solve.sets_search`.

`exact` keeps an error of the published integer programme: the rest that is left for the least accurate variant is not
allowed to be negative, so the rates of all the others must not sum to more than the demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.plan.solve.problem import Floats, Ints
from trimtab.plan.solve.sets_search import best_set

WIDTH = 8192
"""Labels that the widest search keeps per variant."""
EXTENSIONS = 1_000_000
"""Extensions of labels after which the searches end: about 0.1 s of compiled code."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that one variant may have; K of them."""

    accuracy: float
    cores: Ints
    """Shape (K,), ascending."""
    rate: Floats
    """Shape (K,): what it serves, not negative."""
    load: Floats
    """Shape (K,): what it costs to load; 0, or the same number wherever it is not 0."""
    use: Floats
    """Shape (K, R): what it takes of other limited resources."""

    def __post_init__(self) -> None:
        size = self.cores.size
        if self.rate.shape != (size,) or self.load.shape != (size,) or self.use.shape[:1] != (size,):
            raise ValueError("cores, rate, load and use speak of different numbers of sizes")
        if (np.diff(self.cores) < 0).any():
            raise ValueError("the sizes stand in ascending order of cores")
        if np.unique(self.load[self.load != 0.0]).size > 1:
            raise ValueError("all sizes of a variant that load cost the same to load")
        numbers = np.concatenate((self.cores, self.rate, self.load, self.use.ravel(), [self.accuracy]))
        if not np.isfinite(numbers).all() or (numbers < 0.0).any():
            raise ValueError("accuracy, cores, rates, costs of loading and uses are finite and not negative")


@dataclass(frozen=True, slots=True)
class SetProblem:
    """Which set of variants?"""

    variants: tuple[Sizes, ...]
    """At least one, in any order; of equally accurate ones the first is filled first."""
    demand: float
    """What has to be served, more than 0."""
    cores: int
    alpha: float = 1.0
    price: float = 0.0
    """Of a core, not negative."""
    limits: tuple[float, ...] = ()
    """Of the R other resources."""
    exact: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.demand < np.inf:
            raise ValueError(f"the demand is {self.demand}, wanted a finite number above 0")
        if not (0.0 <= self.alpha < np.inf and 0.0 <= self.price < np.inf):
            raise ValueError("alpha and price are finite and not negative")
        if not self.variants or any(sizes.use.shape[1:] != (len(self.limits),) for sizes in self.variants):
            raise ValueError("every variant, of which there is one at least, states its use of every limited resource")


@dataclass(frozen=True, slots=True)
class SetSolution:
    """A set of variants."""

    picks: tuple[int, ...]
    """For each variant the index of its size; -1 where it is not in the set."""
    quotas: tuple[float, ...]
    """For each variant what it is sent."""
    value: float
    gap: float
    """How much better any set can be at most, as proved; 0: none is better, up to rounding."""
    labels: int
    """Partial sets that were kept in the search."""


def solve_sets(problem: SetProblem, *, width: int = WIDTH, extensions: int = EXTENSIONS) -> SetSolution | None:
    """The best set; None where no set serves the demand.

    Exact, unless `width` labels per variant or so many extensions of labels do not suffice; then `gap` is not 0. The
    same problem gives the same answer. With other limits than cores, a set may then also be missed: None is no proof.
    """
    order = sorted(range(len(problem.variants)), key=lambda m: -problem.variants[m].accuracy)
    sizes = [problem.variants[m] for m in order]
    first = np.cumsum([0, *(s.cores.size for s in sizes)], dtype=np.int64)
    found, facts = np.full(len(sizes), -1, dtype=np.int64), np.zeros(4)
    best_set(
        problem.alpha / problem.demand * np.array([s.accuracy for s in sizes]),
        first,
        np.concatenate([s.cores for s in sizes]).astype(np.int64),
        np.concatenate([s.rate for s in sizes]).astype(np.float64),
        np.concatenate([s.load for s in sizes]).astype(np.float64),
        np.ascontiguousarray(np.concatenate([s.use for s in sizes]), dtype=np.float64),
        np.array(problem.limits, dtype=np.float64),
        float(problem.price),
        min(problem.cores, sum(int(s.cores[-1]) for s in sizes if s.cores.size)),
        float(problem.demand),
        problem.exact,
        width,
        extensions,
        found,
        facts,
    )
    if not np.isfinite(facts[0]):
        return None
    picks = [-1] * len(sizes)
    for place, m in enumerate(order):
        picks[m] = int(found[place] - first[place]) if found[place] >= 0 else -1
    return SetSolution(
        picks=tuple(picks),
        quotas=greedy_quotas(problem, picks),
        value=set_value(problem, picks),
        gap=float(facts[1] - facts[0]),
        labels=int(facts[3]),
    )


def most_carried(problem: SetProblem) -> float:
    """The largest part of the demand that any set carries within cores and limits.

    It is found by the same search, where a member of no accuracy and no cores takes what the others leave.
    """
    nothing = np.zeros((1, len(problem.limits)))
    rest = Sizes(0.0, np.zeros(1, dtype=np.int64), np.array([problem.demand]), np.zeros(1), nothing)
    others = (replace(s, accuracy=1.0, load=np.zeros_like(s.load)) for s in problem.variants)
    solution = solve_sets(replace(problem, variants=(*others, rest), alpha=1.0, price=0.0, exact=False))
    return 0.0 if solution is None else float(sum(solution.quotas[:-1]))


def greedy_quotas(problem: SetProblem, picks: Sequence[int]) -> tuple[float, ...]:
    """What each variant is sent, the most accurate filled first; less than the demand if the set cannot carry it."""
    quotas, rest = [0.0] * len(picks), problem.demand
    for m in sorted(range(len(picks)), key=lambda m: -problem.variants[m].accuracy):
        if picks[m] >= 0:
            quotas[m] = min(rest, float(problem.variants[m].rate[picks[m]]))
            rest -= quotas[m]
    return tuple(quotas)


def set_value(problem: SetProblem, picks: Sequence[int]) -> float:
    """The objective of a set, by plain sums: shares nothing with the search. Whether it is feasible is not asked."""
    served = zip(problem.variants, greedy_quotas(problem, picks), strict=True)
    accuracy = sum(quota * sizes.accuracy for sizes, quota in served) / problem.demand
    members = [(sizes, i) for sizes, i in zip(problem.variants, picks, strict=True) if i >= 0]
    cores = sum(int(sizes.cores[i]) for sizes, i in members)
    load = max((float(sizes.load[i]) for sizes, i in members), default=0.0)
    return float(problem.alpha * accuracy - problem.price * cores - load)
