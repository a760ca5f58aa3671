"""The targets in InfAdapter's setting: which are met, on how many windows, and where the objective is lost. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.infadapter.entrants import GAIN, Names
from experiments.infadapter.standings import TIE, Field, Seen, over_windows

from trimtab.report.comparison import Spread

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
            _lost(names.weighted, names.oracle, names.beta),
        )
    )  # fmt: skip
    return made


def judge(target: Target, fields: Sequence[Field]) -> Verdict:
    """One target on all windows."""
    by_window = {field.window: target.value(field.means, field) for field in fields}
    overall = over_windows(fields, target.value)
    highest_is_worst = target.wanted.startswith("≤")
    worst = (max if highest_is_worst else min)(by_window, key=lambda window: by_window[window])
    return Verdict(
        target.of, target.name, target.wanted, overall, by_window[worst], worst,
        sum(map(target.is_met, by_window.values())), len(by_window), target.is_met(overall.mean),
    )  # fmt: skip


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
        Loss(part, between, over_windows(fields, _lost(low, high, names.beta, of_bound=True)))
        for (part, between), (low, high) in zip(told.items(), pairs, strict=True)
    ]


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


def _lost(low: str, high: str, beta: float, *, of_bound: bool = False) -> Callable[[Seen, Field], float]:
    """How much less the objective of `low` is than that of `high` (empty: the fluid bound), % of `high`'s."""

    def value(seen: Seen, field: Field) -> float:
        above = seen[high].objective(beta, field.budget) if high else field.best[beta]
        below = seen[low].objective(beta, field.budget)
        return 100.0 * (above - below) / (field.best[beta] if of_bound else above)

    return value
