"""Whether a better plan is worth the change: hysteresis that lets the SLO through at once and makes gains prove it.

- The plan in force would miss the SLO and the proposed one holds more of the rate: change at once.
- Otherwise the change is for gain (accuracy, cores). It is made when it has been worth it for a stated time without a
  break: a short one when it is instant, a long one when replicas must start or weights must load or go.
"""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.plan.model import ObjectiveValue, Plan, PlanEstimate
from trimtab.plan.objective import rank


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """The numbers."""

    instant_hold_s: float = 2.0
    """A gain by an instant change (variant, batch, cores) must last this long."""
    slow_hold_s: float = 20.0
    """A gain by a slow change (replicas, resident variants) must last this long."""
    least_gain: float = 0.001
    """Accuracy gains below this are none (a tenth of a percentage point)."""
    least_goodput_gain: float = 0.02
    """When both plans miss the SLO: share of the rate that the proposed one must hold more."""


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
    current: Weighed, proposed: Weighed, now_s: float, gaining_since_s: float | None, hysteresis: Hysteresis
) -> Verdict:
    """Weigh the proposed plan against the one in force; both judged at the expected rate.

    `gaining_since_s` is what the last verdict said; the caller keeps it.
    """
    if proposed.plan.id == current.plan.id:
        return Verdict(change=False, gaining_since_s=None, reason="the plan in force is the proposed one")
    if not current.estimate.meets_slo:
        held, could = current.objective.parts["held"], proposed.objective.parts["held"]
        if proposed.estimate.meets_slo or could > held + hysteresis.least_goodput_gain:
            reason = (
                f"the plan in force holds the SLO for {100 * held:.0f} % of the rate, this one for {100 * could:.0f} %"
            )
            return Verdict(change=True, gaining_since_s=None, reason=f"at once: {reason}")
        return Verdict(change=False, gaining_since_s=None, reason="no plan holds clearly more of the rate")
    gain = _gain(current, proposed, hysteresis)
    if gain is None:
        return Verdict(change=False, gaining_since_s=None, reason="no gain worth a change")
    since_s = now_s if gaining_since_s is None else gaining_since_s
    slow = is_slow(current.plan, proposed.plan)
    hold_s = hysteresis.slow_hold_s if slow else hysteresis.instant_hold_s
    kind = "a slow change" if slow else "an instant change"
    if now_s - since_s >= hold_s:
        return Verdict(change=True, gaining_since_s=None, reason=f"{gain}, for {now_s - since_s:.3g} s ({kind})")
    reason = f"{gain}; it must last {hold_s:g} s for {kind} and has for {now_s - since_s:.3g} s"
    return Verdict(change=False, gaining_since_s=since_s, reason=reason)


def is_slow(before: Plan, after: Plan) -> bool:
    """Whether replicas or resident variants change; the rest is a message."""
    return any(
        sum(a.replicas for a in task.allocations) != sum(a.replicas for a in before.tasks[name].allocations)
        or set(task.resident) != set(before.tasks[name].resident)
        for name, task in after.tasks.items()
    )


def _gain(current: Weighed, proposed: Weighed, hysteresis: Hysteresis) -> str | None:
    """What the proposed plan gains, in words; None when it is not worth a change."""
    if not proposed.estimate.meets_slo or rank(proposed.objective) <= rank(current.objective):
        return None
    more = proposed.estimate.accuracy - current.estimate.accuracy
    fewer = current.estimate.cores - proposed.estimate.cores
    if abs(more) < hysteresis.least_gain and fewer <= 0 and proposed.objective.kind != "weighted":
        return None
    return f"accuracy {more:+.4f}, cores {-fewer:+d}"
