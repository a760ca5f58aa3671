"""MArk's proactive scaling of held instances: enough for a forecast with headroom, taken away with patience.

Every 60 s, with D the forecast of the highest load times 1.2 and μ what one instance serves, instances are added while
D exceeds what they serve (`fill`) and removed while one of them is spare (`kill`), so that a plan has n = ⌈D ÷ μ⌉.
New instances are launched at once. As many are kept as the most that any of the last 6 plans had, the newest included;
until there have been 6, none is removed.

Source: Zhang et al., "MArk", USENIX ATC 2019, and the program published with it at commit 180be0a. There D is made
from the highest count of any 5 s of a minute and an LSTM's forecast of 50 minutes; here it is the request's rate, which
the control loop forecasts for every policy alike and multiplies by 1.2 (`rhythm`). There `fill` takes the kind of
instance of the least cost per request over the time that it is needed, 180 s of its price for launching included, and
`kill` the dearest; here every task holds one kind of replica, so that nothing is left to choose.

Left out: serverless capacity for what instances do not carry, because a plan's serverless replicas count against the
core limit like any other; and the stand-by instances launched in reaction to late requests, with their pause of 5
turns, whose trigger is not in the published program. Ours: at least one replica; all limits of the request hold, and
where they cut, every task gets about the same share of what it wants.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Plan, PlanRequest, PlanResult
from trimtab.plan.policies.autoscalers.usage import Ticks
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.fixed import Fixed, FixedSettings, cut_words, fixed_choice, fixed_plan, replicas_for
from trimtab.plan.policies.settings import override

PLAN_EVERY_S = 60.0
_MOST_PLANS = 100


@dataclass(frozen=True, slots=True)
class MarkSettings(FixedSettings):
    """How patient it is; the headroom is the policy's rhythm."""

    kill_plans: int = 6
    """Plans in a row whose most is kept; up to 100."""

    def __post_init__(self) -> None:
        FixedSettings.__post_init__(self)
        if not 1 <= self.kill_plans <= _MOST_PLANS:
            raise ValueError(f"kill_plans is {self.kill_plans}, wanted a whole number from 1 to {_MOST_PLANS}")


class MarkPolicy:
    """Replicas for a forecast, removed after six plans that want fewer."""

    name = "mark"
    decides = frozenset({"replicas"})
    defaults = MarkSettings()
    rhythm = Rhythm(every_s=PLAN_EVERY_S, horizon_s=PLAN_EVERY_S, margin=0.2)

    def __init__(self, settings: MarkSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults
        self._turns = Ticks(PLAN_EVERY_S)
        self._rates_rps: deque[float] = deque(maxlen=_MOST_PLANS)
        """What each past turn planned for."""

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Take in what was seen while `plan` was in force: the rate that it was made for."""
        if self._turns.observe(observation):
            self._rates_rps.append(plan.rate_rps)

    def propose(self, request: PlanRequest) -> PlanResult:
        """Replicas for the rate, or as many as patience keeps.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, nothing was measured that
                may be used, or the limits leave no room for one replica of every task.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        wanted, reasons = {}, []
        for task in request.pipeline.tasks:
            fixed = fixed_choice(request, task, settings)
            count, reason = self._replicas(request, task, fixed, settings)
            wanted[task] = (fixed, count)
            reasons.append(f"{task}: {reason}")
        plans = fixed_plan(request, wanted)
        if request.pipeline.prices.serverless is not None:
            reasons.append("MArk would serve by use what its instances do not carry; that is left out")
        return result(
            self.name,
            request,
            plans,
            feasible=True,
            reason="replicas for the forecast, with patience",
            latency_model="tail",
            objective=request.pipeline.objective,
            notes=(*reasons, *cut_words(wanted, plans)),
        )

    def _replicas(self, request: PlanRequest, task: str, fixed: Fixed, settings: MarkSettings) -> tuple[int, str]:
        """Replicas of a task, and why."""
        newest = replicas_for(request, task, fixed)
        plan = None if request.current is None else request.current.tasks.get(task)
        current = 0 if plan is None else sum(a.replicas for a in plan.allocations)
        if newest >= current:
            return newest, f"{newest} for the rate"
        past = list(self._rates_rps)[max(0, len(self._rates_rps) + 1 - settings.kill_plans) :]
        if len(past) + 1 < settings.kill_plans:
            return current, f"{newest} for the rate, {current} kept: the first {settings.kill_plans} plans remove none"
        plans = [newest, *(replicas_for(replace(request, rate_rps=rate), task, fixed) for rate in past)]
        kept = min(current, max(plans))
        return kept, f"{newest} for the rate, {max(plans)} at most in {settings.kill_plans} plans, {kept} kept"
