"""What the runs on IPA's pipelines show against the targets. Pure: figures in, figures out.

A point's figures are means over its seeds. Trimtab is asked for a ladder of accuracies; at IPA's accuracy it is the
rung of fewest cores that delivers at least that, at IPA's cost the most accurate rung that holds no more cores. Where
the two forms of IPA differ, Trimtab has to do it against each, and the worse of the two comparisons counts. Where
Trimtab may choose from IPA's sizes alone, it is held against those who have no others: IPA's family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.ipa.bound import Hull
from experiments.ipa.entrants import (
    REFERENCES,
    SIZES,
    Entrant,
    Sizes,
    rung,
)
from experiments.results import mean

VIOLATIONS = 0.1
"""Most violations, % of the requests offered."""
NEAR = 5e-4
"""Accuracies, fractions, that are so near to each other need nothing between them."""
TIE_PAS = 2e-3
"""A delivered PAS that is less by this share at most counts as equal: the mean over requests that a floor is kept for
is random."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What an entrant did in one run, or on average over its seeds."""

    violations: float
    """% of the requests offered."""
    pas: float
    """Delivered: 100 × the mean over the requests answered; 0 where none was."""
    cores: float
    """Held, mean over time: core-seconds ÷ seconds."""
    pas_over_time: float
    """Every stretch of time counting the same."""

    def objective(self, alpha: float, beta: float) -> float:
        """IPA's, mean over time, without its tie-breaker of batches: α · accuracy - β · cores."""
        return alpha * self.pas_over_time / 100.0 - beta * self.cores


@dataclass(frozen=True, slots=True)
class Point:
    """An entrant under one load pattern."""

    entrant: Entrant
    runs: tuple[Figures, ...]
    """By seed, at least one."""

    @property
    def mean(self) -> Figures:
        """Over the seeds."""
        return Figures(
            mean(f.violations for f in self.runs),
            mean(f.pas for f in self.runs),
            mean(f.cores for f in self.runs),
            mean(f.pas_over_time for f in self.runs),
        )


@dataclass(frozen=True, slots=True)
class Field:
    """All that is known of one pipeline under one load pattern."""

    pipeline: str
    workload: str
    alpha: float
    beta: float
    rates_rps: tuple[float, ...]
    """Requests of each second."""
    hulls: Mapping[Sizes, Hull]
    points: Mapping[str, Point]
    """By label."""

    @property
    def name(self) -> str:
        """Of the case."""
        return f"{self.pipeline}, {self.workload}"

    def theirs(self, sizes: Sizes = "all") -> list[Point]:
        """The published policies; with `ipa`, those that have no other sizes."""
        roles = ("family",) if sizes == "ipa" else ("family", "stated")
        return [point for point in self.points.values() if point.entrant.role in roles]

    @property
    def references(self) -> list[Figures]:
        """What both forms of IPA did."""
        return [self.points[name].mean for name in REFERENCES]

    def entrant_at_accuracy(self, sizes: Sizes) -> Entrant:
        """Trimtab, asked for the higher PAS of the two forms of IPA."""
        return rung(sizes, max(reference.pas for reference in self.references) / 100.0)

    def fluid_cores(self, sizes: Sizes, delivered: Figures) -> float:
        """The fluid bound's cores at a PAS that was delivered; of its own highest, where that is less."""
        bound = self.hulls[sizes]
        return bound.fewest_cores(mean(self.rates_rps), min(delivered.pas / 100.0, bound.accuracy[-1]))

    def rungs(self, sizes: Sizes) -> list[Point]:
        """Trimtab's ladder, as far as it was climbed, least accurate first."""
        own = [p for p in self.points.values() if is_rung(p.entrant) and p.entrant.sizes == sizes]
        return sorted(own, key=lambda point: point.entrant.floor or 0.0)


def is_rung(entrant: Entrant) -> bool:
    """Whether it is Trimtab, asked for an accuracy."""
    return entrant.role == "ours" and entrant.floor is not None


def next_floor(rungs: Sequence[Point], reference: Figures) -> float | None:
    """The accuracy to ask for next, to come nearer to the highest that holds no more cores than the reference.

    Halfway between the most accurate rung that does, by its first seed, and the next rung above; None where there is
    none such, or they are as near as makes no difference.
    """
    within = [i for i, rung in enumerate(rungs) if rung.runs[0].cores <= reference.cores]
    if not within or within[-1] + 1 == len(rungs):
        return None
    low, high = (rungs[within[-1] + above].entrant.floor or 0.0 for above in (0, 1))
    return None if high - low < NEAR else (low + high) / 2.0


def at_accuracy(rungs: Sequence[Point], reference: Figures) -> Point | None:
    """The rung of fewest cores that delivers the reference's PAS; None: none does."""
    enough = [rung for rung in rungs if rung.mean.pas >= reference.pas * (1.0 - TIE_PAS)]
    return min(enough, key=lambda rung: rung.mean.cores, default=None)


def at_cost(rungs: Sequence[Point], reference: Figures) -> Point | None:
    """The most accurate rung that holds no more cores than the reference; None: none does."""
    cheap = [rung for rung in rungs if rung.mean.cores <= reference.cores]
    return max(cheap, key=lambda rung: rung.mean.pas, default=None)


@dataclass(frozen=True, slots=True)
class Duel:
    """Trimtab against one form of IPA on one case."""

    field: Field
    sizes: Sizes
    reference: Point
    at_accuracy: Point | None
    at_cost: Point | None

    @property
    def saving(self) -> float:
        """Of IPA's cores at its PAS, %; -100 where Trimtab does not reach the PAS."""
        if self.at_accuracy is None:
            return -100.0
        return 100.0 * (1.0 - self.at_accuracy.mean.cores / self.reference.mean.cores)

    @property
    def gain(self) -> float:
        """PAS above IPA's at no more cores; minus IPA's where Trimtab needs more."""
        return (0.0 if self.at_cost is None else self.at_cost.mean.pas) - self.reference.mean.pas

    @property
    def can_gain(self) -> bool:
        """Whether there is anything more accurate than what IPA delivered."""
        return self.reference.mean.pas < 100.0 * self.field.hulls[self.sizes].accuracy[-1] * (1.0 - TIE_PAS)

    @property
    def chosen(self) -> list[Point]:
        """The points that stand for Trimtab."""
        return [point for point in (self.at_accuracy, self.at_cost) if point is not None]

    @property
    def violations(self) -> float:
        """The more of its points, %; 100 where there is none."""
        return max((point.mean.violations for point in self.chosen), default=100.0)


def duels(field: Field, sizes: Sizes) -> list[Duel]:
    """Against both forms of IPA."""
    rungs = field.rungs(sizes)
    found = []
    for name in REFERENCES:
        reference = field.points[name]
        found.append(Duel(field, sizes, reference, at_accuracy(rungs, reference.mean), at_cost(rungs, reference.mean)))
    return found


def chosen(field: Field) -> list[Point]:
    """The rungs that stand for Trimtab on this case, each once."""
    some = [point for sizes in SIZES for duel in duels(field, sizes) for point in duel.chosen]
    return list({point.entrant.label: point for point in some}.values())


def dominates(one: Figures, other: Figures) -> bool:
    """Whether `one` is no worse in violations, PAS and cores, and better in one."""
    pairs = [(one.violations, other.violations), (-one.pas, -other.pas), (one.cores, other.cores)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@dataclass(frozen=True, slots=True)
class Domination:
    """One entrant's point dominates another's."""

    field: Field
    by: Point
    of: Point


def dominations(fields: Sequence[Field], sizes: Sizes) -> Iterator[Domination]:
    """Where a published policy dominates Trimtab: any rung of its ladder, or what it does with IPA's weights."""
    for field in fields:
        ours = [p for p in field.points.values() if p.entrant.role == "ours" and p.entrant.sizes == sizes]
        for by in field.theirs(sizes):
            yield from (Domination(field, by, of) for of in ours if dominates(by.mean, of.mean))


def not_dominated(fields: Sequence[Field], sizes: Sizes) -> Iterator[tuple[Field, Point]]:
    """Points of published policies that no rung of Trimtab's ladder dominates."""
    for field in fields:
        rungs = field.rungs(sizes)
        yield from ((field, by) for by in field.theirs(sizes) if not any(dominates(r.mean, by.mean) for r in rungs))
