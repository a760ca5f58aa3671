"""Planning for a rate that is known as scenarios: hold with a chosen probability, or the best expected objective.

A plan is either good for a scenario, when it holds the SLO at its rate, or it is not; what it does beyond its
capacity is the dispatcher's. Both questions come down to planning for one of the rates:

- *hold*: the least rate that is not exceeded with the chosen probability. What holds there holds at every lower rate
  (by the `paper` model, where batches fill more slowly at lower rates, batches are taken to fill at the lowest one).
- *expected*: in a scenario that is not held, accuracy counts nothing, and the cost is paid all the same. A plan that
  holds the k lowest rates and no more is worth α·P(rate ≤ the k-th)·A - cost, so the best plan for each k with that
  weight has the best one among them, exactly. Objectives without weights hold first: as many scenarios as can be held.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trimtab.errors import PlanRequestError
from trimtab.plan.choose import Chosen, best_at, check_request, largest_rate
from trimtab.plan.model import PlanRequest, Scenario
from trimtab.plan.options import Rules
from trimtab.spec.model import Objective

_ROUNDING = 1e-9
"""Rounding that a sum of probabilities is forgiven."""


def from_quantiles(rates: Mapping[float, float]) -> tuple[Scenario, ...]:
    """Scenarios from the quantiles of a forecast: the rate of each stands for all between the one before and itself.

    What is above the highest quantile stays without a scenario: nothing is known of it.

    Args:
        rates: quantile → requests per second.

    Raises:
        PlanRequestError: a quantile is not between 0 and 1, a rate has no meaning, or a higher quantile has a lower
        rate.
    """
    scenarios, before, slowest = [], 0.0, 0.0
    for quantile, rate_rps in sorted(rates.items()):
        where = f"quantile {quantile:g}"
        if not 0.0 < quantile < 1.0:
            raise PlanRequestError("not a quantile", where=where, wanted="a number between 0 and 1")
        if not slowest <= rate_rps < math.inf:
            raise PlanRequestError(
                "the rate has no meaning", where=where, got=f"{rate_rps:g}", wanted=f"a number of at least {slowest:g}"
            )
        scenarios.append(Scenario(rate_rps, quantile - before))
        before, slowest = quantile, rate_rps
    return tuple(scenarios)


def settle(request: PlanRequest, objective: Objective, rules: Rules) -> tuple[float, Chosen, str]:
    """The rate that is planned for, the plan, and how it came to this rate, in words.

    Raises:
        PlanRequestError: as `choose.choose`, or the scenarios are no distribution.
    """
    scenarios = _checked(request)
    check_request(replace(request, rate_rps=scenarios[-1].rate_rps), rules)
    lowest_rps = min((s.rate_rps for s in scenarios if s.rate_rps > 0.0), default=None)
    if request.hold_probability is not None:
        rate_rps = rate_to_hold(scenarios, request.hold_probability)
        chosen = best_at(request, rate_rps, objective, rules, lowest_rps) or largest_rate(request, rate_rps, rules)
        return rate_rps, chosen, f"a rate of {rate_rps:.4g}/s is not exceeded with {_percent(scenarios, rate_rps)}"
    best: tuple[float, Chosen] | None = None
    for scenario in reversed(scenarios):
        held = _probability(scenarios, scenario.rate_rps)
        weighed = replace(objective, alpha=objective.alpha * held)
        found = best_at(request, scenario.rate_rps, weighed, rules, lowest_rps)
        if found is not None and (best is None or found.value > best[1].value):
            best = (scenario.rate_rps, found)
            if objective.kind != "weighted":
                break
    if best is None:
        rate_rps = scenarios[0].rate_rps
        return rate_rps, largest_rate(request, rate_rps, rules), "no scenario can be held; this is for the lowest rate"
    rate_rps, chosen = best
    return rate_rps, chosen, f"best expected objective: holds {rate_rps:.4g}/s, so {_percent(scenarios, rate_rps)}"


def _checked(request: PlanRequest) -> list[Scenario]:
    """The scenarios by rate, those of probability 0 left out."""
    for i, scenario in enumerate(request.scenarios):
        if not (0.0 <= scenario.rate_rps < math.inf and 0.0 <= scenario.probability <= 1.0):
            raise PlanRequestError(
                "a scenario has no meaning",
                where=f"scenario {i + 1}",
                got=f"{scenario.rate_rps:g}/s with probability {scenario.probability:g}",
                wanted="a finite rate of at least 0, and a probability from 0 to 1",
            )
    total = math.fsum(s.probability for s in request.scenarios)
    if not 0.0 < total <= 1.0 + _ROUNDING:
        raise PlanRequestError(
            "the scenarios' probabilities make no distribution",
            where="scenarios",
            got=f"a sum of {total:g}",
            wanted="at most 1 and more than 0; what is missing to 1 is a rate that nothing is known of",
        )
    return sorted((s for s in request.scenarios if s.probability > 0.0), key=lambda s: s.rate_rps)


def rate_to_hold(scenarios: Sequence[Scenario], probability: float) -> float:
    """The least rate of the scenarios, which stand by rate, that is not exceeded with the probability.

    Raises:
        PlanRequestError: the probability has no meaning, or no scenario says.
    """
    if not 0.0 < probability <= 1.0:
        raise PlanRequestError(
            "not a probability to hold with",
            where="hold_probability",
            got=f"{probability:g}",
            wanted="above 0, up to 1",
        )
    for scenario in scenarios:
        if _probability(scenarios, scenario.rate_rps) >= probability - _ROUNDING:
            return scenario.rate_rps
    raise PlanRequestError(
        "the scenarios say nothing about a rate that is not exceeded with this probability",
        where="hold_probability",
        got=f"{probability:g}",
        wanted=f"at most {_probability(scenarios, scenarios[-1].rate_rps):g}",
        next_step="give a higher quantile, or hold with a smaller probability",
    )


def _probability(scenarios: Sequence[Scenario], rate_rps: float) -> float:
    """Of rates up to this one."""
    return math.fsum(s.probability for s in scenarios if s.rate_rps <= rate_rps)


def _percent(scenarios: Sequence[Scenario], rate_rps: float) -> str:
    return f"{100.0 * _probability(scenarios, rate_rps):.4g} % probability"
