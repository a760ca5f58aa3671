"""What the runs on IPA's pipelines show against the targets. Pure: figures in, figures out.

A point's figures are means over its seeds. Trimtab is asked for a ladder of accuracies; at IPA's accuracy it is the
rung of fewest cores that delivers at least that, at IPA's cost the most accurate rung that holds no more cores. Where
the two forms of IPA differ, Trimtab has to do it against each, and the worse of the two comparisons counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experiments.ipa.bound import Hull
from experiments.ipa.entrants import (
    FREE_CHANGES,
    ORACLE,
    REFERENCES,
    SIZES,
    TRUE_FUTURE,
    Entrant,
    Sizes,
    rung,
    weighted,
)
from experiments.results import mean

VIOLATIONS = 0.1
"""Most violations, % of the requests offered."""
SAVING = 30.0
"""Least mean saving of cores at IPA's PAS, %."""
TO_ORACLE = 3.0
"""Most that may be lost of the oracle's objective on average, %."""
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

    @property
    def theirs(self) -> list[Point]:
        """The published policies."""
        return [point for point in self.points.values() if point.entrant.role in ("family", "stated")]

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


def ladder(references: Sequence[float], best: float, rungs: int) -> list[float]:
    """Accuracies to ask for, fractions: those of the references, and so many between the highest of them and the best,
    that one included.
    """
    highest = max(references)
    more = [highest + (best - highest) * i / rungs for i in range(1, rungs)] + [best]
    return sorted({*references, *(floor for floor in more if floor > highest)})


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
    def violations(self) -> float:
        """The more of its two points, %; 100 where there is none."""
        chosen = [point for point in (self.at_accuracy, self.at_cost) if point is not None]
        return max((point.mean.violations for point in chosen), default=100.0)


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
    some = [p for sizes in SIZES for duel in duels(field, sizes) for p in (duel.at_accuracy, duel.at_cost) if p]
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
        for by in field.theirs:
            yield from (Domination(field, by, of) for of in ours if dominates(by.mean, of.mean))


def not_dominated(fields: Sequence[Field], sizes: Sizes) -> Iterator[tuple[Field, Point]]:
    """Points of published policies that no rung of Trimtab's ladder dominates."""
    for field in fields:
        rungs = field.rungs(sizes)
        yield from ((field, by) for by in field.theirs if not any(dominates(r.mean, by.mean) for r in rungs))


def lost(field: Field, low: str, high: str) -> float:
    """How much less IPA's objective of `low` is than that of `high`, % of the latter's size."""
    above, below = (field.points[label].mean.objective(field.alpha, field.beta) for label in (high, low))
    return 100.0 * (above - below) / abs(above)


def dearer(field: Field, low: str, high: str) -> float:
    """How many more cores `low` holds than `high`, %."""
    return 100.0 * (field.points[low].mean.cores / field.points[high].mean.cores - 1.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and what came of it."""

    sizes: Sizes
    target: str
    wanted: str
    got: str
    worst: float
    worst_case: str
    cases_met: int
    cases: int
    met: bool


def verdicts(fields: Sequence[Field], sizes: Sizes) -> list[Verdict]:
    """All targets for what Trimtab may choose from."""
    violations, gain, saving = dict[str, float](), dict[str, float](), dict[str, float]()
    for field in fields:
        both = duels(field, sizes)
        violations[field.name] = max(duel.violations for duel in both)
        gain[field.name] = min(duel.gain for duel in both)
        saving[field.name] = min(duel.saving for duel in both)
    found = {f.name: float(sum(d.field is f for d in dominations([f], sizes))) for f in fields}
    asked = weighted(sizes).label
    loss = {field.name: lost(field, asked, asked + ORACLE) for field in fields}
    same = {field.name: field.entrant_at_accuracy(sizes).label for field in fields}
    cost = {field.name: dearer(field, same[field.name], same[field.name] + ORACLE) for field in fields}
    return [
        _every(sizes, "violations, %", violations, VIOLATIONS),
        _every(sizes, "PAS below IPA's at its cores", {name: -value for name, value in gain.items()}, 0.0, strict=True),
        _average(sizes, "cores saved at IPA's PAS, %", saving, SAVING, at_most=False),
        _every(sizes, "points that dominate Trimtab's", found, 0.0),
        _average(sizes, "objective below the oracle's, %", loss, TO_ORACLE),
        _average(sizes, "cores above the oracle's at a PAS, %", cost, TO_ORACLE),
    ]


def losses(field: Field, sizes: Sizes) -> dict[str, tuple[float, float]]:
    """Part → what it costs of IPA's objective, % of the fluid bound's, and cores at IPA's PAS, % of the oracle's."""
    bound, oracle = field.hulls[sizes].best_objective(field.rates_rps, field.alpha, field.beta), ORACLE
    asked, same = weighted(sizes).label, field.entrant_at_accuracy(sizes).label
    objective, cores = dict[str, float](), dict[str, float]()
    for step in ("", TRUE_FUTURE, FREE_CHANGES, oracle):
        objective[step] = field.points[asked + step].mean.objective(field.alpha, field.beta)
        cores[step] = field.points[same + step].mean.cores
    parts = {
        "forecast": ("", TRUE_FUTURE),
        "switching": (TRUE_FUTURE, FREE_CHANGES),
        "control loop": (FREE_CHANGES, oracle),
        "these three": ("", oracle),
    }
    found = {
        part: (
            100.0 * (objective[high] - objective[low]) / abs(bound),
            100.0 * (cores[low] - cores[high]) / cores[oracle],
        )
        for part, (low, high) in parts.items()
    }
    fluid = field.fluid_cores(sizes, field.points[same + oracle].mean)
    found["latency model"] = (
        100.0 * (bound - objective[oracle]) / abs(bound),
        100.0 * (cores[oracle] - fluid) / cores[oracle],
    )
    return found


def _every(sizes: Sizes, name: str, values: Mapping[str, float], limit: float, *, strict: bool = False) -> Verdict:
    """A target for every case."""
    good = {case: value < limit if strict else value <= limit for case, value in values.items()}
    worst, met = max(values, key=lambda case: values[case]), sum(good.values())
    sign = "<" if strict else "≤"
    return Verdict(
        sizes, name, f"{sign} {limit:g} in every case", f"{met} of {len(values)}", values[worst], worst, met,
        len(values), met == len(values),
    )  # fmt: skip


def _average(sizes: Sizes, name: str, values: Mapping[str, float], limit: float, *, at_most: bool = True) -> Verdict:
    """A target for the mean over the cases."""
    worst = (max if at_most else min)(values, key=lambda case: values[case])
    met = sum(value <= limit if at_most else value >= limit for value in values.values())
    told = mean(values.values())
    return Verdict(
        sizes, name, f"{'≤' if at_most else '≥'} {limit:g} on average", f"{told:.2f}", values[worst], worst, met,
        len(values), told <= limit if at_most else told >= limit,
    )  # fmt: skip
