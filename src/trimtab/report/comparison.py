"""Simulated runs of several policies side by side: figures over seeds with confidence intervals, and the front. Pure.

Runs with the same trace and name differ in their seed alone; what is told of them is the mean over the seeds and a
95 % confidence interval (Student 1908, *Biometrika* 6: mean ± t · s ÷ √n, with t the 97.5 % quantile for n - 1 degrees
of freedom).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.report.summary import OURS
from trimtab.sim.result import SimResult, SimRun

METRICS = (
    "violation_ratio", "attainment", "accuracy", "mean_cores", "planned_cores", "p50_s", "p99_s", "changes",
)  # fmt: skip
"""Figures of `SimSummary` that are compared over seeds."""
NAME = "name"
"""The key of a result's settings that holds its name in a comparison; without it, it is called as its policy."""
FORESIGHT, FREE = "oracle", "free"
"""The forecaster that knows the future, and the plant where changes take no time: the two together are a bound, not a
policy that could be run."""

_T = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448,
    2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484,
    2.0452, 2.0423,
)  # fmt: skip
"""97.5 % quantiles of Student's t for 1 to 30 degrees of freedom."""
_Z = 1.959964
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs."""

    mean: float
    half: float | None
    """Half the width of its 95 % confidence interval; None: from one run nothing can be said."""
    low: float | None
    """The interval's ends, cut off where the figure cannot be (below 0, a share above 1)."""
    high: float | None
    runs: int
    """Runs whose figure is known."""


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """A policy under one trace."""

    name: str
    run: SimRun
    """How its first run was asked for; the others differ in the seed."""
    results: tuple[SimResult, ...]
    """Its runs, by seed."""
    figures: Mapping[str, Spread | None]
    """One entry for each of `METRICS`; None: not known of any run."""
    bound: bool
    """Whether it knew the future and changed in no time."""
    on_front: bool
    """Whether no other policy under this trace dominates it; False for a bound."""

    def mean(self, metric: str) -> float | None:
        """The mean of a figure; None: not known."""
        spread = self.figures[metric]
        return None if spread is None else spread.mean


@dataclass(frozen=True, slots=True)
class TraceFigures:
    """All policies under one trace."""

    trace: str
    policies: tuple[PolicyFigures, ...]
    """In the order of their first runs, bounds last."""

    @property
    def contenders(self) -> tuple[PolicyFigures, ...]:
        """Those that are no bound."""
        return tuple(each for each in self.policies if not each.bound)


@dataclass(frozen=True, slots=True)
class Failure:
    """Runs that failed."""

    trace: str
    name: str
    seeds: tuple[int, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was compared."""

    traces: tuple[TraceFigures, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all policies, in the order of their first runs."""
        return tuple(dict.fromkeys(each.name for trace in self.traces for each in trace.policies))

    @property
    def runs(self) -> tuple[SimResult, ...]:
        """All runs, by trace, policy and seed."""
        return tuple(run for trace in self.traces for each in trace.policies for run in each.results)


def compare_runs(results: Iterable[SimResult], failures: Sequence[Failure] = ()) -> Comparison:
    """Group runs by trace and name, in the order in which these first come.

    Raises:
        ValueError: two runs have the same trace, name and seed.
    """
    groups: dict[str, dict[str, list[SimResult]]] = {}
    for result in results:
        groups.setdefault(result.run.trace, {}).setdefault(name_of(result), []).append(result)
    return Comparison(
        tuple(
            TraceFigures(trace, _with_front([_policy(name, runs) for name, runs in policies.items()]))
            for trace, policies in groups.items()
        ),
        tuple(failures),
    )


def name_of(result: SimResult) -> str:
    """What a run is called in a comparison."""
    return result.settings.get(NAME, result.run.policy)


def spread(values: Sequence[float], *, share: bool = False) -> Spread | None:
    """Mean and 95 % confidence interval; None for no value. A `share` is at most 1."""
    count = len(values)
    if not count:
        return None
    mean = math.fsum(values) / count
    if count == 1:
        return Spread(mean, None, None, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = t_quantile(count - 1) * math.sqrt(variance / count)
    return Spread(mean, half, max(mean - half, 0.0), min(mean + half, 1.0) if share else mean + half, count)


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; above 30 degrees of freedom by its expansion around the normal distribution.

    Abramowitz & Stegun 1964, *Handbook of Mathematical Functions*, 26.7.5, to the second order.
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    first = (_Z**3 + _Z) / 4.0
    second = (5.0 * _Z**5 + 16.0 * _Z**3 + 3.0 * _Z) / 96.0
    return _Z + first / freedom + second / freedom**2


def dominates(one: PolicyFigures, other: PolicyFigures) -> bool:
    """Whether `one` is at least as good in violations, accuracy and cores held, and better in one of them, by means.

    An unknown figure is worse than any known one.
    """
    pairs = list(zip(_losses(one), _losses(other), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def subject(trace: TraceFigures) -> PolicyFigures | None:
    """The policy that a comparison is about: Trimtab's own, the first of them; None where it was not asked for."""
    return next((each for each in trace.contenders if each.run.policy == OURS), None)


def _policy(name: str, runs: Sequence[SimResult]) -> PolicyFigures:
    ordered = sorted(runs, key=lambda result: result.run.seed)
    seeds = [result.run.seed for result in ordered]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"two runs of {name} under {ordered[0].run.trace} have the same seed")
    figures = {}
    for metric in METRICS:
        known = [value for result in ordered if (value := getattr(result.summary, metric)) is not None]
        figures[metric] = spread(known, share=metric in ("violation_ratio", "attainment"))
    run = ordered[0].run
    bound = (run.forecaster, run.plant) == (FORESIGHT, FREE)
    return PolicyFigures(name, run, tuple(ordered), figures, bound, on_front=False)


def _with_front(policies: Sequence[PolicyFigures]) -> tuple[PolicyFigures, ...]:
    """The policies with those marked that no other dominates; the bounds, which take no part in that, last."""
    contenders = [each for each in policies if not each.bound]
    marked = [replace(one, on_front=not any(dominates(other, one) for other in contenders)) for one in contenders]
    return (*marked, *(each for each in policies if each.bound))


def _losses(policy: PolicyFigures) -> tuple[float, float, float]:
    """Violations, accuracy lost and cores held: the less, the better."""
    violations, accuracy, cores = (policy.mean(metric) for metric in ("violation_ratio", "accuracy", "mean_cores"))
    return (
        math.inf if violations is None else violations,
        math.inf if accuracy is None else -accuracy,
        math.inf if cores is None else cores,
    )
