"""What the runs in InfAdapter's setting show against the targets. Pure: figures in, figures out.

A window's figures are means over the seeds; a seed brings the same arrivals to everyone. What is told over all windows
is the mean of the windows' figures, each counting once; its 95 % confidence interval is over the seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.infadapter.bound import Frontier
from experiments.infadapter.entrants import GAIN, Names
from experiments.results import mean

from trimtab.report.comparison import Spread, spread

VIOLATIONS = 0.05
"""Most violations, % of the requests offered."""
SHARE = 0.60
"""Most cores at InfAdapter's accuracy, as a share of its own."""
TO_BOUND = 1.08
"""Most cores, as a multiple of the fluid bound's at the accuracy delivered."""
TO_ORACLE = 3.0
"""Most that may be lost of the oracle's objective, %."""
DOMINATED = 0.95
"""Share of the windows on which Trimtab has to dominate InfAdapter."""
TIE = {"violations": 0.01, "accuracy": 0.05, "cores": 0.05}
"""Differences that are called ties beside strict dominance: points of violations and of accuracy, cores."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What an entrant did in one run, or on average over its seeds."""

    violations: float
    """% of the requests offered."""
    accuracy: float
    """Delivered, %."""
    cores: float
    """Held, mean over time."""
    accuracy_over_time: float
    """%, every stretch of time counting the same."""

    def objective(self, beta: float, budget: float) -> float:
        """The paper's, without its tie-breaker of load times: accuracy - beta · cores ÷ budget, mean over time."""
        return self.accuracy_over_time / 100.0 - beta * self.cores / budget

    @property
    def losses(self) -> tuple[float, float, float]:
        """Violations, accuracy lost, cores: the less, the better."""
        return self.violations, -self.accuracy, self.cores


Seen = Mapping[str, Figures]
"""Entrant → its figures, of one window, and of one seed or the mean over them."""


@dataclass(frozen=True, slots=True)
class Field:
    """All that is known of one window."""

    window: str
    rate_rps: float
    """Mean over its seconds."""
    by_seed: tuple[Seen, ...]
    frontier: Frontier
    """The fluid bound."""
    best: Mapping[float, float]
    """β → the fluid bound of the weighted objective."""
    best_variant: float
    """Accuracy of the most accurate variant, %."""
    budget: float
    """Cores."""

    @property
    def means(self) -> Seen:
        """Means over the seeds."""
        return {label: _mean([seen[label] for seen in self.by_seed]) for label in self.by_seed[0]}

    def bound_cores(self, accuracy: float) -> float:
        """The fluid bound's cores at so many % of accuracy."""
        return self.frontier.fewest_cores(accuracy / 100.0)


@dataclass(frozen=True, slots=True)
class Target:
    """Something that is wanted on every window, and overall."""

    of: str
    """Which entrant."""
    name: str
    wanted: str
    is_met: Callable[[float], bool]
    value: Callable[[Seen, Field], float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and what came of it."""

    of: str
    target: str
    wanted: str
    overall: Spread
    worst: float
    """The window's that is farthest from the target."""
    worst_window: str
    windows_met: int
    windows: int
    met: bool
    """Overall."""


def targets(names: Names) -> list[Target]:
    """What the project wants in InfAdapter's setting for one weight, in the order in which it is told."""
    as_accurate, more = names.as_accurate, names.more_accurate
    made = [
        Target(as_accurate, "cores ÷ InfAdapter's", f"≤ {SHARE:.2f}", _at_most(SHARE), _ratio(as_accurate, names)),
        _not_less_accurate(as_accurate, names, 0.0),
        _few_violations(as_accurate),
        Target(as_accurate, "cores ÷ fluid bound's", f"≤ {TO_BOUND:.2f}", _at_most(TO_BOUND), _to_bound(as_accurate)),
        _not_less_accurate(more, names, 100.0 * GAIN),
        Target(more, "cores ÷ InfAdapter's", "≤ 1", _at_most(1.0), _ratio(more, names)),
        _few_violations(more),
    ]
    for label in names.ours_restarting:
        made += [
            Target(label, "violations - half of InfAdapter's, points", "≤ 0", _at_most(0.0), _half(label, names)),
            Target(label, "cores ÷ InfAdapter's", "≤ 1", _at_most(1.0), _ratio(label, names)),
            _not_less_accurate(label, names, 0.0),
        ]
    made.append(
        Target(
            names.weighted, "objective below the oracle's, %", f"≤ {TO_ORACLE:g}", _at_most(TO_ORACLE),
            lambda seen, field: _lost(names.weighted, names.oracle, names.beta, seen, field),
        )
    )  # fmt: skip
    return made


def judge(target: Target, fields: Sequence[Field]) -> Verdict:
    """One target on all windows."""
    by_window = {field.window: target.value(field.means, field) for field in fields}
    by_seed = [
        mean(target.value(field.by_seed[seed], field) for field in fields) for seed in range(len(fields[0].by_seed))
    ]
    overall = spread(by_seed)
    assert overall is not None, "there is a seed"
    highest_is_worst = target.wanted.startswith("≤")
    worst = (max if highest_is_worst else min)(by_window, key=lambda window: by_window[window])
    return Verdict(
        target.of, target.name, target.wanted, overall, by_window[worst], worst,
        sum(map(target.is_met, by_window.values())), len(by_window), target.is_met(overall.mean),
    )  # fmt: skip


def dominates(one: Figures, other: Figures) -> bool:
    """Whether `one` is no worse in violations, accuracy and cores, and better in one."""
    pairs = list(zip(one.losses, other.losses, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def nearly_dominates(one: Figures, other: Figures) -> bool:
    """Whether `one` is worse in nothing by more than a tie, better in something by more, and does not dominate."""
    triples = list(zip(one.losses, other.losses, TIE.values(), strict=True))
    near = all(a <= b + tie for a, b, tie in triples) and any(a < b - tie for a, b, tie in triples)
    return near and not dominates(one, other)


@dataclass(frozen=True, slots=True)
class Domination:
    """On one window, one entrant's point dominates another's, or misses that by a tie."""

    window: str
    by: str
    of: str
    how: Literal["dominates", "nearly"]


def dominations(fields: Sequence[Field], by: Sequence[str], of: Sequence[str]) -> list[Domination]:
    """Where one of `by` dominates, or nearly dominates, one of `of`."""
    return list(_dominations(fields, by, of))


def _dominations(fields: Sequence[Field], by: Sequence[str], of: Sequence[str]) -> Iterator[Domination]:
    for field in fields:
        seen = field.means
        for one, other in itertools.product(by, of):
            if dominates(seen[one], seen[other]):
                yield Domination(field.window, one, other, "dominates")
            elif nearly_dominates(seen[one], seen[other]):
                yield Domination(field.window, one, other, "nearly")


@dataclass(frozen=True, slots=True)
class Loss:
    """A part of what separates Trimtab's objective from the fluid bound's."""

    part: str
    between: str
    of_objective: Spread
    """% of the bound's objective."""


def losses(names: Names, fields: Sequence[Field]) -> list[Loss]:
    """Where the objective is lost between the fluid bound and Trimtab; negative where the lower rung is the better."""
    rungs = (names.weighted, names.foreseeing, names.switching_freely, names.oracle, "")
    told = {
        "forecast": "own forecast → true future",
        "switching": "delays of its plant → free changes",
        "headroom and hysteresis": "Trimtab's loop → a new plan for every second",
        "latency model": "oracle → fluid bound: waiting, whole cores",
        "in all": "Trimtab → fluid bound",
    }
    pairs = [*itertools.pairwise(rungs), (rungs[0], rungs[-1])]
    return [
        Loss(part, between, _over_seeds(fields, lambda seen, field, low=low, high=high: _lost(
            low, high, names.beta, seen, field, of_bound=True)))
        for (part, between), (low, high) in zip(told.items(), pairs, strict=True)
    ]  # fmt: skip


def out_of_reach(names: Names, fields: Sequence[Field]) -> list[str]:
    """Windows on which even the fluid bound needs more cores than InfAdapter held for two points more."""
    found = []
    for field in fields:
        reference = field.means[names.reference]
        wanted = min(reference.accuracy + 100.0 * GAIN, field.best_variant)
        if not field.bound_cores(wanted) <= reference.cores:
            found.append(field.window)
    return found


def capped(names: Names, fields: Sequence[Field]) -> list[str]:
    """Windows on which two points more than InfAdapter are more than the most accurate variant has."""
    return [f.window for f in fields if f.means[names.reference].accuracy + 100.0 * GAIN > f.best_variant]


def _over_seeds(fields: Sequence[Field], value: Callable[[Seen, Field], float]) -> Spread:
    found = spread([mean(value(f.by_seed[seed], f) for f in fields) for seed in range(len(fields[0].by_seed))])
    assert found is not None, "there is a seed"
    return found


def _mean(some: Sequence[Figures]) -> Figures:
    return Figures(
        mean(f.violations for f in some),
        mean(f.accuracy for f in some),
        mean(f.cores for f in some),
        mean(f.accuracy_over_time for f in some),
    )


def _at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def _ratio(label: str, names: Names) -> Callable[[Seen, Field], float]:
    return lambda seen, _: seen[label].cores / seen[names.reference].cores


def _to_bound(label: str) -> Callable[[Seen, Field], float]:
    def value(seen: Seen, field: Field) -> float:
        # Requests may wait into a second with more room, so more accuracy than the bound's most is possible: then the
        # bound of its most, which is harder.
        most = 100.0 * float(field.frontier.accuracy[-1])
        return seen[label].cores / field.bound_cores(min(seen[label].accuracy, most))

    return value


def _half(label: str, names: Names) -> Callable[[Seen, Field], float]:
    return lambda seen, _: seen[label].violations - 0.5 * seen[names.reference].violations


def _few_violations(label: str) -> Target:
    return Target(
        label, "violations, %", f"≤ {VIOLATIONS:g}", _at_most(VIOLATIONS), lambda seen, _: seen[label].violations
    )


def _not_less_accurate(label: str, names: Names, gain: float) -> Target:
    """At least so many points above InfAdapter, or as accurate as the best variant; a tie counts as met."""

    def value(seen: Seen, field: Field) -> float:
        wanted = min(seen[names.reference].accuracy + gain, field.best_variant)
        return seen[label].accuracy - wanted

    than = "InfAdapter's" if not gain else f"InfAdapter's + {gain:g}"
    return Target(
        label, f"accuracy - {than}, points", f"≥ 0 (tie: {TIE['accuracy']:g})", lambda v: v >= -TIE["accuracy"], value
    )


def _lost(low: str, high: str, beta: float, seen: Seen, field: Field, *, of_bound: bool = False) -> float:
    """How much less the objective of `low` is than that of `high` (empty: the fluid bound), % of `high`'s."""
    best = field.best[beta]
    above = best if not high else seen[high].objective(beta, field.budget)
    below = seen[low].objective(beta, field.budget)
    return 100.0 * (above - below) / (best if of_bound else above)
