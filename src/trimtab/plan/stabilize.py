"""Whether a better plan is worth the change: hysteresis that lets the SLO through at once and makes gains prove it.

- The plan in force would miss the SLO and the proposed one holds clearly more of the rate: change at once.
- Otherwise the change is for gain (accuracy, cores). What takes no time is made at once. What takes time is made when
  the gain has lasted, without a break, until it would have paid for the change: whoever waits as long as the thing
  costs never pays more than twice what foresight would have paid (the ski-rental rule: A. Karlin et al., Algorithmica
  3, 1988). A change costs the time that it takes, or that taking it back takes, for the cores that start meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.plan.model import ObjectiveValue, Plan, PlanEstimate
from trimtab.plan.objective import rank


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """The numbers."""

    least_gain: float = 0.001
    """Accuracy gains below this are none (a tenth of a percentage point)."""
    least_goodput_gain: float = 0.02
    """When the plan in force misses the SLO, and the proposed one does too or takes time: share of the rate that it
    must hold more."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A plan in force or proposed, judged at the same rate."""

    plan: Plan
    estimate: PlanEstimate
    objective: ObjectiveValue


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to change, since when the gain has lasted (None: there is none), and why."""

    change: bool
    gaining_since_s: float | None
    reason: str


def stabilize(
    current: Weighed,
    proposed: Weighed,
    now_s: float,
    gaining_since_s: float | None,
    hysteresis: Hysteresis,
    change_s: float = 0.0,
    costs_per_s: float = 0.0,
) -> Verdict:
    """Weigh the proposed plan against the one in force; both judged at the expected rate.

    `gaining_since_s` is what the last verdict said; the caller keeps it. `change_s`: how long
    the change takes, or taking it back; `costs_per_s`: what the objective loses in each second of that time.
    """
    if proposed.plan.id == current.plan.id:
        return Verdict(change=False, gaining_since_s=None, reason="the plan in force is the proposed one")
    if not current.estimate.meets_slo:
        held, could = current.objective.parts["held"], proposed.objective.parts["held"]
        if (proposed.estimate.meets_slo and change_s == 0.0) or could > held + hysteresis.least_goodput_gain:
            reason = (
                f"the plan in force holds the SLO for {100 * held:.0f} % of the rate, this one for {100 * could:.0f} %"
            )
            return Verdict(change=True, gaining_since_s=None, reason=f"at once: {reason}")
        return Verdict(change=False, gaining_since_s=None, reason="no plan holds clearly more of the rate")
    gain = _gain(current, proposed, hysteresis)
    if gain is None:
        return Verdict(change=False, gaining_since_s=None, reason="no gain worth a change")
    since_s = now_s if gaining_since_s is None else gaining_since_s
    hold_s = _payback_s(current, proposed, change_s, costs_per_s)
    if now_s - since_s >= hold_s:
        lasted = f", for {now_s - since_s:.3g} s" if hold_s else ""
        return Verdict(change=True, gaining_since_s=None, reason=f"{gain}{lasted}")
    reason = f"{gain}; it pays for the change after {hold_s:.3g} s and has lasted {now_s - since_s:.3g} s"
    return Verdict(change=False, gaining_since_s=since_s, reason=reason)


def _payback_s(current: Weighed, proposed: Weighed, change_s: float, costs_per_s: float) -> float:
    """How long a gain must last to pay for the change, seconds; at least as long as the change takes."""
    gain = proposed.objective.value - current.objective.value
    return change_s * max(1.0, costs_per_s / gain) if gain > 0.0 else change_s


def _gain(current: Weighed, proposed: Weighed, hysteresis: Hysteresis) -> str | None:
    """What the proposed plan gains, in words; None when it is not worth a change."""
    if not proposed.estimate.meets_slo or rank(proposed.objective) <= rank(current.objective):
        return None
    more = proposed.estimate.accuracy - current.estimate.accuracy
    fewer = current.estimate.cores - proposed.estimate.cores
    if abs(more) < hysteresis.least_gain and fewer <= 0 and proposed.objective.kind != "weighted":
        return None
    return f"accuracy {more:+.4f}, cores {-fewer:+d}"
