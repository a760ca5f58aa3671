"""The Kubernetes horizontal pod autoscaler on CPU utilisation: replicas of one fixed kind.

Every 15 s, with n the replicas in force and u the cores in use ÷ the cores of the replicas that were ready, in whole
per cent rounded down,

    r = u ÷ target;   n stays where |r - 1| ≤ tolerance;   else it becomes ⌈r · ready replicas⌉.

Replicas that were not ready all the time are left out, and where more are wanted come back as idle ones: r is worked
out anew over all, and where it then lies within the tolerance, or points the other way, n stays.

The most that was wanted within 300 s bounds n from below (scale-down stabilisation); n at most doubles or grows by 4,
whichever is more, and may fall to 1 at once.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler (replica calculator, horizontal controller) and the defaults
of autoscaling/v2. There a new replica is left out in its first 5 minutes until one sample of it began after it was
ready; here whenever it was not ready at the last turn and ever since. The metric is the mean over the interval;
metrics-server's windows are as long. Metrics do not go missing one by one here, so their rule has no counterpart.

Ours: all limits of the request hold; where they cut, every task gets about the same share of what it wants. Until the
first interval is over, replicas are those that serve the rate at the target.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Plan, PlanRequest, PlanResult
from trimtab.plan.policies.autoscalers.usage import Usage, UsageMeter
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.fixed import FixedSettings, ceil, cut_words, fixed_choice, fixed_plan, replicas_for
from trimtab.plan.policies.settings import override

SYNC_EVERY_S = 15.0
_LONGEST_WINDOW_S = 3600.0
"""Kubernetes allows no longer stabilisation."""


@dataclass(frozen=True, slots=True)
class HpaSettings(FixedSettings):
    """The autoscaler's specification and the controller's flags."""

    target: float = 0.8
    """Wanted share of the cores in use."""
    tolerance: float = 0.1
    min_replicas: int = 1
    max_replicas: int | None = None
    """None: as many as the limits leave."""
    scale_up_percent: float = 100.0
    """Replicas grow by at most so many per cent of themselves a turn, or by `scale_up_replicas` if that is more."""
    scale_up_replicas: int = 4
    scale_down_percent: float = 100.0
    """Replicas fall by at most so many per cent of themselves a turn."""
    scale_down_window_s: float = 300.0
    """They fall no lower than the most that was wanted within this time; up to an hour."""

    def __post_init__(self) -> None:
        FixedSettings.__post_init__(self)
        if not 0.0 < self.target <= 1.0:
            raise ValueError(f"target is {self.target}, wanted a number above 0 and up to 1")
        if not 1 <= self.min_replicas <= (math.inf if self.max_replicas is None else self.max_replicas):
            raise ValueError(f"min_replicas {self.min_replicas} and max_replicas {self.max_replicas} bound no number")
        for name, most in (
            ("tolerance", math.inf),
            ("scale_up_percent", math.inf),
            ("scale_up_replicas", math.inf),
            ("scale_down_percent", 100.0),
            ("scale_down_window_s", _LONGEST_WINDOW_S),
        ):
            value = getattr(self, name)
            if not 0.0 <= value <= most or math.isinf(value):
                raise ValueError(f"{name} is {value}, wanted 0 or more" + (f", up to {most:g}" if most < 1e9 else ""))


def desired(usage: Usage, settings: HpaSettings) -> int:
    """Replicas that the replica calculator wants after one interval, before windows and limits."""
    current = usage.replicas
    share = usage.utilisation
    if share is None or usage.ready == 0:
        return current
    ratio, unready = _ratio(share, settings), current - usage.ready
    if ratio <= 1.0 or unready == 0:
        return current if _within(ratio, settings) else ceil(ratio * usage.ready)
    padded = _ratio(share * usage.ready / current, settings)
    if padded < 1.0 or _within(padded, settings):
        return current
    return max(current, ceil(padded * current))


def _ratio(share: float, settings: HpaSettings) -> float:
    """Utilisation in whole per cent ÷ the target."""
    return math.floor(100.0 * share + 1e-9) / (100.0 * settings.target)


def _within(ratio: float, settings: HpaSettings) -> bool:
    return abs(ratio - 1.0) <= settings.tolerance + 1e-9


def stabilised(current: int, wanted: list[tuple[float, int]], settings: HpaSettings) -> int:
    """Replicas after the stabilisation window and the limits of one turn.

    Args:
        current: replicas in force.
        wanted: (seconds, replicas wanted then), oldest first; the last is of now.
        settings: the policy's.
    """
    now_s, newest = wanted[-1]
    highest = max(replicas for at_s, replicas in wanted if at_s > now_s - settings.scale_down_window_s or at_s == now_s)
    chosen = newest if newest > current else min(current, highest)
    most = max(math.ceil(current * (1.0 + settings.scale_up_percent / 100.0)), current + settings.scale_up_replicas)
    least = math.floor(current * (1.0 - settings.scale_down_percent / 100.0))
    chosen = min(max(chosen, least), most)
    return max(min(chosen, settings.max_replicas or chosen), settings.min_replicas)


class HpaPolicy:
    """Replicas by utilisation."""

    name = "hpa"
    decides = frozenset({"replicas"})
    defaults = HpaSettings()
    rhythm = Rhythm(every_s=SYNC_EVERY_S, horizon_s=SYNC_EVERY_S)

    def __init__(self, settings: HpaSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults
        self._meter = UsageMeter(SYNC_EVERY_S)
        self._usages: deque[dict[str, Usage]] = deque(maxlen=round(_LONGEST_WINDOW_S / SYNC_EVERY_S))
        self._start: tuple[float, dict[str, int]] | None = None
        """When the first observation began, and the replicas of each task then."""

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Take in what was seen while `plan` was in force."""
        if self._start is None:
            replicas = {name: sum(a.replicas for a in task.allocations) for name, task in plan.tasks.items()}
            self._start = (observation.now_s - observation.window_s, replicas)
        usages = self._meter.observe(observation, plan)
        if usages:
            self._usages.append(usages)

    def propose(self, request: PlanRequest) -> PlanResult:
        """The autoscaler's replicas, within the limits.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, nothing was measured that
                may be used, or the limits leave no room for one replica of every task.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        wanted, reasons = {}, []
        for task in request.pipeline.tasks:
            fixed = fixed_choice(request, task, settings)
            usages = [usage[task] for usage in self._usages if task in usage]
            if usages:
                count = self._replicas(request, task, usages, settings)
                reasons.append(f"{task}: {_words(usages[-1], settings)}")
            else:
                count = max(replicas_for(request, task, fixed, settings.target), settings.min_replicas)
                count = min(count, settings.max_replicas or count)
                reasons.append(f"{task}: no interval is over yet; replicas for the rate at {100 * settings.target:g} %")
            wanted[task] = (fixed, count)
        plans = fixed_plan(request, wanted)
        return result(
            self.name,
            request,
            plans,
            feasible=True,
            reason=f"replicas that keep {100 * settings.target:g} % of their cores in use",
            latency_model="tail",
            objective=request.pipeline.objective,
            notes=(*reasons, *cut_words(wanted, plans)),
        )

    def _replicas(self, request: PlanRequest, task: str, usages: list[Usage], settings: HpaSettings) -> int:
        """What the newest of `usages`, and the window, make of the replicas in force."""
        wanted = [(usage.at_s, desired(usage, settings)) for usage in usages]
        if self._start is not None and task in self._start[1]:
            wanted.insert(0, (self._start[0], self._start[1][task]))
        plan = None if request.current is None else request.current.tasks.get(task)
        current = usages[-1].replicas if plan is None else sum(a.replicas for a in plan.allocations)
        return stabilised(current, wanted, settings)


def _words(usage: Usage, settings: HpaSettings) -> str:
    """`96 % of 4 ready replicas in use; 5 wanted`."""
    if usage.utilisation is None:
        return "no replica was ready"
    return f"{100 * usage.utilisation:.0f} % of {usage.ready} ready replicas in use; {desired(usage, settings)} wanted"
