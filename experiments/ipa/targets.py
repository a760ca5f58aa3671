"""The targets for IPA's pipelines, met or missed, and where Trimtab loses what the bounds have. Pure.

`verdict` states the points that are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    found = {field.name: {d.of.entrant.label for d in dominations([field], sizes)} for field in fields}
    asked = weighted(sizes).label
    main = {f.name: {asked} | {p.entrant.label for d in duels(f, sizes) for p in d.chosen} for f in fields}
    loss = {field.name: lost(field, asked, asked + ORACLE) for field in fields}
    same = {field.name: field.entrant_at_accuracy(sizes).label for field in fields}
    cost = {field.name: dearer(field, same[field.name], same[field.name] + ORACLE) for field in fields}
    return [
        _every(sizes, "violations, %", violations, VIOLATIONS),
        _every(sizes, "PAS below IPA's at its cores", {name: -value for name, value in gain.items()}, 0.0, strict=True),
        _average(sizes, "cores saved at IPA's PAS, %", saving, SAVING, at_most=False),
        _every(sizes, "of these points, dominated", {n: float(len(main[n] & found[n])) for n in found}, 0.0),
        _every(sizes, "of the whole ladder, dominated", {n: float(len(found[n])) for n in found}, 0.0),
        _average(sizes, "objective below the oracle's, %", loss, TO_ORACLE),
        _average(sizes, "cores above the oracle's at a PAS, %", cost, TO_ORACLE),
    ]


@dataclass(frozen=True, slots=True)
class Loss:
    """A part of what separates Trimtab from the bounds on one case, by the first seed."""

    part: str
    objective: float
    """Of IPA's objective, % of the oracle's."""
    cores: float
    """At IPA's PAS, % of the oracle's."""


def losses(field: Field, sizes: Sizes) -> list[Loss]:
    """Where it is lost, from Trimtab to the oracle, and from it to the fluid bound."""
    asked, same = weighted(sizes).label, field.entrant_at_accuracy(sizes).label
    objective, cores = dict[str, float](), dict[str, float]()
    for step in ("", TRUE_FUTURE, FREE_CHANGES, ORACLE):
        objective[step] = field.points[asked + step].runs[0].objective(field.alpha, field.beta)
        cores[step] = field.points[same + step].runs[0].cores
    objective["fluid"] = field.hulls[sizes].best_objective(field.rates_rps, field.alpha, field.beta)
    cores["fluid"] = field.fluid_cores(sizes, field.points[same + ORACLE].runs[0])
    parts = {
        "forecast": ("", TRUE_FUTURE),
        "switching": (TRUE_FUTURE, FREE_CHANGES),
        "control loop": (FREE_CHANGES, ORACLE),
        "these three": ("", ORACLE),
        "latency model, whole cores": (ORACLE, "fluid"),
    }
    return [
        Loss(
            part,
            100.0 * (objective[high] - objective[low]) / abs(objective[ORACLE]),
            100.0 * (cores[low] - cores[high]) / cores[ORACLE],
        )
        for part, (low, high) in parts.items()
    ]


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
