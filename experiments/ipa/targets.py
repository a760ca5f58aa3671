"""The targets for IPA's pipelines, met or missed, and where Trimtab loses what the bounds have. Pure.

`verdict` states the points that are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.ipa.bound import lower_hull
from experiments.ipa.entrants import FREE_CHANGES, ORACLE, TRUE_FUTURE, Sizes, weighted
from experiments.ipa.verdict import VIOLATIONS, Field, dominations, duels
from experiments.results import mean

SAVING = 30.0
"""Least mean saving of cores at IPA's PAS, %."""
TO_ORACLE = 3.0
"""Most that may be lost of the oracle's objective on average, %."""


def lost(field: Field, low: str, high: str) -> float:
    """How much less IPA's objective of `low` is than that of `high`, % of the latter's size."""
    above, below = (field.points[label].mean.objective(field.alpha, field.beta) for label in (high, low))
    return 100.0 * (above - below) / abs(above)


def dearer(field: Field, sizes: Sizes) -> float:
    """How many more cores Trimtab's ladder takes for the PAS that the oracle delivers, asked for IPA's, %.

    Between two rungs stands the mix of the two over time; above the highest, the highest.
    """
    oracle = field.points[field.entrant_at_accuracy(sizes).label + ORACLE].mean
    rungs = [rung.mean for rung in field.rungs(sizes)]
    mixes = lower_hull([(rung.pas, rung.cores) for rung in rungs])
    return 100.0 * (mixes.fewest_cores(1.0, min(oracle.pas, mixes.accuracy[-1])) / oracle.cores - 1.0)


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
    """All targets for what Trimtab may choose from.

    Where IPA has the highest PAS there is, more at its cores is not possible, and not asked for.
    """
    violations, gain, saving = dict[str, float](), dict[str, float](), dict[str, float]()
    for field in fields:
        both = duels(field, sizes)
        violations[field.name] = max(duel.violations for duel in both)
        gains = [duel.gain for duel in both if duel.can_gain]
        if gains:
            gain[field.name] = min(gains)
        saving[field.name] = min(duel.saving for duel in both)
    found = {field.name: {d.of.entrant.label for d in dominations([field], sizes)} for field in fields}
    asked = weighted(sizes).label
    main = {f.name: {asked} | {p.entrant.label for d in duels(f, sizes) for p in d.chosen} for f in fields}
    loss = {field.name: lost(field, asked, asked + ORACLE) for field in fields}
    cost = {field.name: dearer(field, sizes) for field in fields}
    short = {name: -value for name, value in gain.items()}
    return [
        _every(sizes, "violations, %", violations, VIOLATIONS),
        *([_every(sizes, "PAS below IPA's at its cores", short, 0.0, strict=True)] if short else []),
        _average(sizes, "cores saved at IPA's PAS, %", saving, SAVING, at_most=False),
        _every(sizes, "of these points, dominated", {n: float(len(main[n] & found[n])) for n in found}, 0.0),
        _every(sizes, "of the whole ladder, dominated", {n: float(len(found[n])) for n in found}, 0.0),
        _average(sizes, "objective below the oracle's, %", loss, TO_ORACLE),
        _average(sizes, "cores above the oracle's at its PAS, %", cost, TO_ORACLE),
    ]


def losses(field: Field, sizes: Sizes) -> dict[str, float]:
    """Part → what it takes of IPA's objective, % of the oracle's, by the first seed.

    From Trimtab to the oracle, and from it to the fluid bound.
    """
    asked = weighted(sizes).label
    objective = {
        step: field.points[asked + step].runs[0].objective(field.alpha, field.beta)
        for step in ("", TRUE_FUTURE, FREE_CHANGES, ORACLE)
    }
    fluid = "fluid"
    objective[fluid] = field.hulls[sizes].best_objective(field.rates_rps, field.alpha, field.beta)
    parts = {
        "forecast": ("", TRUE_FUTURE),
        "switching": (TRUE_FUTURE, FREE_CHANGES),
        "control loop": (FREE_CHANGES, ORACLE),
        "these three": ("", ORACLE),
        "latency model, whole cores": (ORACLE, fluid),
    }
    return {
        part: 100.0 * (objective[high] - objective[low]) / abs(objective[ORACLE]) for part, (low, high) in parts.items()
    }


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
