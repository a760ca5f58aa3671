"""What every entrant did on every window, and who dominates whom. Pure: figures in, figures out.

A window's figures are means over the seeds; a seed brings the same arrivals to everyone. What is told over all windows
is the mean of the windows' figures, each counting once; its 95 % confidence interval is over the seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.infadapter.bound import Frontier
from experiments.results import mean

from trimtab.report.comparison import Spread, spread

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
    seconds: int
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


def over_windows(fields: Sequence[Field], value: Callable[[Seen, Field], float]) -> Spread:
    """Mean over the windows, each counting once, and its confidence interval over the seeds."""
    seeds = range(len(fields[0].by_seed))
    found = spread([mean(value(field.by_seed[seed], field) for field in fields) for seed in seeds])
    assert found is not None, "there is a seed"
    return found


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


def _mean(some: Sequence[Figures]) -> Figures:
    return Figures(
        mean(f.violations for f in some),
        mean(f.accuracy for f in some),
        mean(f.cores for f in some),
        mean(f.accuracy_over_time for f in some),
    )
