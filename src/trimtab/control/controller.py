"""The controller: an observation in, a decision out. Pure and synchronous; time comes in with the observation.

    observe → forecast → propose → constrain → stabilize → diff

Each stage leaves a step (name, value, reason) in the decision. Every `adjust_s` seconds the policy is asked what the
plan in force should become at once (cores, dearest variant); every `replan_s` seconds, and at once when what may come
is more than the plan in force holds or a backlog has built up, it is asked for any plan. Without data the last plan
stays; an infeasible answer is applied as the least bad plan; both are said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from trimtab.control.calibration import Calibration
from trimtab.control.deadlines import Deadlines, least_time_left
from trimtab.control.diff import diff
from trimtab.control.floor import FloorAccount
from trimtab.control.foresight import Expected, Foresight
from trimtab.control.protocols import Decision
from trimtab.control.settings import ControllerSettings
from trimtab.forecast import Forecaster, RateForecast
from trimtab.observe.model import Observation
from trimtab.plan.accuracy import highest_accuracy
from trimtab.plan.constrain import constrain
from trimtab.plan.estimate import estimate, sustained_rate
from trimtab.plan.model import LatencyModel, Limits, Plan, PlanRequest, PlanResult, Step
from trimtab.plan.objective import core_price, objective_value
from trimtab.plan.policies import ObservingPolicy, Policy
from trimtab.plan.stabilize import Hysteresis, Verdict, Weighed, stabilize
from trimtab.plan.switching import change_s, grown, started_cores, until_started
from trimtab.plan.words import plan_words
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline
from trimtab.units import format_duration

_EARLY = 0.1
"""A turn that comes early by less than this share of itself, or of a second, is on time: live clocks jitter."""


@dataclass(frozen=True, slots=True)
class _InForce:
    """The plan in force and what is remembered about it."""

    plan: Plan
    feasible: bool
    latency_model: LatencyModel
    planned_at_s: float
    """When a plan was last asked for."""
    adjusted_at_s: float
    """When it was last asked what the plan becomes at once."""
    gaining_since_s: float | None = None
    skipped: int = 0
    """Turns in a row that were skipped because the rate was no higher than planned for."""


class Controller:
    """Decides for one plant. Same inputs in the same order, same decisions."""

    def __init__(
        self,
        pipeline: Pipeline,
        profile: Profile,
        policy: Policy,
        forecaster: Forecaster,
        limits: Limits,
        settings: ControllerSettings | None = None,
    ) -> None:
        self.pipeline, self.profile, self.policy, self.forecaster = pipeline, profile, policy, forecaster
        self.limits, self.settings = limits, settings or ControllerSettings()
        self._observer = policy if isinstance(policy, ObservingPolicy) else None
        self._foresight = Foresight(forecaster, with_floor=self.settings.reactive_floor)
        self._account = FloorAccount()
        self._deadlines = Deadlines(pipeline.slo, least_time_left(pipeline, profile, limits.cores))
        self._adjusts = self.settings.adjust_s is not None and "adjust" in policy.decides and limits.in_place_variants
        self._visits = pipeline.visits()
        self._in_force: _InForce | None = None
        self._calibration = Calibration(pipeline.tasks if self.settings.calibrate else ())
        self._sequence = 0
        self.forecast: RateForecast | None = None
        """What was forecast in the last step; None: nothing was, or no recent second was counted."""

    @property
    def plan(self) -> Plan | None:
        """The plan in force; None before the first decision."""
        return None if self._in_force is None else self._in_force.plan

    def start(self, now_s: float, plan: Plan | None = None) -> Decision:
        """The first decision, before anything was seen: the plan for `start_rate_rps`, or the one that is given.

        Raises:
            PlanRequestError: no plan can exist for this pipeline, profile and limits.
        """
        rate_rps = self.settings.start_rate_rps
        steps = [
            Step("observe", "nothing", "nothing was seen yet"),
            Step("forecast", f"{rate_rps:.4g}/s", "the stated start rate"),
        ]
        if plan is not None:
            steps.append(Step("propose", plan_words(plan), "it is given"))
            plan, words = constrain(plan, self.pipeline, self.profile, self.limits)
            steps.append(Step("constrain", "clamped" if words else "as given", "; ".join(words) or "within all limits"))
            judged = self._weigh(plan, Expected(rate_rps, rate_rps), "tail").estimate
            self._in_force = _InForce(plan, judged.meets_slo, judged.latency_model, now_s, now_s)
            return self._decide(now_s, None, steps)
        return self._first(now_s, Expected(rate_rps, rate_rps), steps)

    def step(self, observation: Observation) -> Decision:
        """The decision that follows from everything seen so far.

        Raises:
            PlanRequestError: the policy finds that no plan can exist; what was observed is taken in all the same.
        """
        self._take_in(observation)
        forecast = self.forecast = self._foresight.forecast(self.settings.horizon_s)
        steps = [_observe_step(observation, self._calibration.warnings()), _forecast_step(forecast, self.settings)]
        if self._in_force is None:
            rate_rps = forecast.at(self.settings.rate_quantile) if forecast else self.settings.start_rate_rps
            return self._first(observation.now_s, Expected(rate_rps, rate_rps), steps)
        if forecast is None or all(count is None for count in observation.arrivals):
            blind = self._blind(observation)
            if blind is not None:
                return self._replan(observation.now_s, blind, steps)
            why = "no second was counted since the last observation" if forecast else "no recent second was counted"
            return self._keep(observation.now_s, steps, f"{why}: the last plan stays")
        expected = self._expect(observation, forecast)
        left_s = self.settings.replan_s - (observation.now_s - self._in_force.planned_at_s)
        if expected.urgent is None and left_s > _EARLY * min(self.settings.replan_s, 1.0):
            if self._may_adjust(observation.now_s):
                return self._adjust(observation.now_s, expected, steps)
            why = "nothing is wrong" if self.settings.at_once else "it is not its turn"
            return self._keep(observation.now_s, steps, f"{why}; next plan in {format_duration(left_s)}")
        if self._skips(expected):
            self._in_force = replace(self._in_force, planned_at_s=observation.now_s, skipped=self._in_force.skipped + 1)
            why = f"no more than planned for; skipped {self._in_force.skipped} of {self.settings.skips} times"
            return self._keep(observation.now_s, steps, f"{expected.rate_rps:.4g}/s is {why}")
        return self._replan(observation.now_s, expected, steps)

    def recall(self, observations: Iterable[Observation]) -> None:
        """Take in what was seen before this controller was made, without deciding on it."""
        for observation in observations:
            self._take_in(observation)

    def change(self, now_s: float, pipeline: Pipeline, profile: Profile) -> Decision:
        """Decide for other variants of the same tasks from now on; all that was learnt stays.

        The plan in force stays, too, unless it uses a variant that is no longer there: then there is a new one at once.

        Raises:
            PlanRequestError: no plan can exist for them; nothing has changed.
        """
        in_force = self._expected_in_force()
        before = self.pipeline, self.profile
        self.pipeline, self.profile = pipeline, profile
        steps = [Step("observe", "nothing", "other variants may be used from now on")]
        if _is_within(in_force.plan, pipeline):
            return self._keep(now_s, steps, "it uses none but these")
        forecast = self._foresight.forecast(self.settings.horizon_s)
        steps.append(_forecast_step(forecast, self.settings))
        rate_rps = forecast.at(self.settings.rate_quantile) if forecast else in_force.plan.rate_rps
        scv = max(1.0, forecast.burstiness) if forecast else 1.0
        self._in_force = None
        try:
            return self._first(now_s, Expected(rate_rps, self._surge(rate_rps), scv), steps)
        except BaseException:
            self._in_force, (self.pipeline, self.profile) = in_force, before
            raise

    def _take_in(self, observation: Observation) -> None:
        """Tell the observation to all that learn from it."""
        self._foresight.observe(observation.arrivals)
        self._calibration.observe(observation.tasks)
        self._deadlines.observe(observation)
        if self.pipeline.objective.accuracy_floor is not None:
            self._account.observe(observation, self.pipeline, self.pipeline.objective.accuracy_floor)
        if self._in_force is not None and self._observer is not None:
            self._observer.observe(observation, self._in_force.plan)

    def _expect(self, observation: Observation, forecast: RateForecast) -> Expected:
        """The rate to plan for, and whether it cannot wait."""
        rate_rps = self._foresight.rate(forecast, self.settings.rate_quantile)
        arrival_scv = max(1.0, forecast.burstiness)
        surge_rps = self._surge(rate_rps)
        if not self.settings.at_once:
            return Expected(rate_rps, surge_rps, arrival_scv)
        urgent, holds_rps, backlog = None, self._holds(arrival_scv), self._backlog(observation)
        backlog_s = backlog / holds_rps if holds_rps > 0.0 else 0.0
        if backlog_s > self.settings.backlog_share * self._planned().slo.latency_s:
            rate_rps += backlog / max(self.settings.drain_s, self._reaction_s())
            urgent = f"the backlog takes {format_duration(backlog_s)} to serve"
        elif surge_rps > holds_rps:
            urgent = f"{surge_rps:.4g}/s may come, more than the plan holds ({holds_rps:.4g}/s)"
        return Expected(rate_rps, max(rate_rps, surge_rps), arrival_scv, urgent)

    def _blind(self, observation: Observation) -> Expected | None:
        """What to plan for where nothing is counted but a queue builds up: all that the plan holds, and the queue."""
        if not self.settings.at_once:
            return None
        in_force, backlog = self._expected_in_force(), self._backlog(observation)
        holds_rps = self._holds(1.0)
        if backlog <= self.settings.backlog_share * self._planned().slo.latency_s * holds_rps:
            return None
        rate_rps = max(holds_rps, in_force.plan.rate_rps) + backlog / self.settings.drain_s
        return Expected(rate_rps, rate_rps, 1.0, f"nothing is counted, and {backlog:.4g} requests wait")

    def _holds(self, arrival_scv: float) -> float:
        """The rate that the plan in force holds within the SLO, requests per second."""
        in_force = self._expected_in_force()
        return sustained_rate(
            in_force.plan,
            self._planned(),
            self.profile,
            latency_model=in_force.latency_model,
            arrival_scv=arrival_scv,
            service_ratio=self._calibration.ratios(),
        )

    def _surge(self, rate_rps: float) -> float:
        """The rate that may come until a plan made now is there, requests per second."""
        quantile = self.settings.surge_quantile
        forecast = None if quantile is None else self._foresight.forecast(self._reaction_s())
        if quantile is None or forecast is None:
            return rate_rps
        return max(rate_rps, self._foresight.rate(forecast, quantile))

    def _reaction_s(self) -> float:
        """Seconds from seeing a load to having cores for it: the next look, and what the plant takes for a change."""
        looks_s = self.settings.replan_s if self.settings.adjust_s is None else self.settings.adjust_s
        if self.limits.in_place_cores:
            return max(looks_s, self.settings.horizon_s)
        loads = [p.load_time_s or 0.0 for variants in self.profile.variants.values() for p in variants.values()]
        return self.settings.horizon_s + self.limits.start_s + max(loads, default=0.0)

    def _skips(self, expected: Expected) -> bool:
        """Whether this turn is skipped: InfAdapter's damping of plans for less load."""
        in_force = self._expected_in_force()
        rate_rps = expected.rate_rps * (1.0 + self.settings.headroom)
        return in_force.skipped < self.settings.skips and rate_rps <= in_force.plan.rate_rps

    def _backlog(self, observation: Observation) -> float:
        """Requests that wait, at whichever task."""
        return sum(seen.queued / self._visits[name] for name, seen in observation.tasks.items() if name in self._visits)

    def _first(self, now_s: float, expected: Expected, steps: list[Step]) -> Decision:
        proposed = self._propose(expected)
        steps += _propose_steps(proposed)
        plan = self._constrain(proposed, steps)
        judged = self._weigh(plan, expected, proposed.estimate.latency_model)
        steps.append(Step("stabilize", "take", "there is no plan in force"))
        self._in_force = _InForce(plan, judged.estimate.meets_slo, proposed.estimate.latency_model, now_s, now_s)
        return self._decide(now_s, None, steps)

    def _may_adjust(self, now_s: float) -> bool:
        """Whether it is time to ask what the plan in force should become at once."""
        every_s, in_force = self.settings.adjust_s, self._expected_in_force()
        return self._adjusts and every_s is not None and now_s - in_force.adjusted_at_s >= every_s * (1.0 - _EARLY)

    def _adjust(self, now_s: float, expected: Expected, steps: list[Step]) -> Decision:
        """The plan in force, as it should be now within what changes at once."""
        in_force = self._expected_in_force()
        taken = self._adjusted(self._weigh(in_force.plan, expected, in_force.latency_model), now_s, expected, steps)
        self._in_force = replace(in_force, plan=taken.plan, feasible=taken.estimate.meets_slo, adjusted_at_s=now_s)
        return self._decide(now_s, in_force.plan, steps)

    def _adjusted(self, current: Weighed, now_s: float, expected: Expected, steps: list[Step]) -> Weighed:
        """The better of the plan in force and the best that it becomes at once."""
        proposed = self._propose(expected, at_once=True)
        steps += _propose_steps(proposed)
        plan = self._constrain(proposed, steps)
        candidate = self._weigh(plan, expected, current.estimate.latency_model)
        verdict = stabilize(current, candidate, now_s, None, self.settings.hysteresis or Hysteresis())
        steps.append(Step("stabilize", "adjust" if verdict.change else "keep", verdict.reason))
        return candidate if verdict.change else current

    def _replan(self, now_s: float, expected: Expected, steps: list[Step]) -> Decision:
        in_force = self._expected_in_force()
        if expected.urgent:
            steps.append(Step("propose", "at once", expected.urgent))
        proposed = self._propose(expected)
        steps += _propose_steps(proposed)
        model = proposed.estimate.latency_model
        plan = self._constrain(proposed, steps)
        current, candidate = self._weigh(in_force.plan, expected, model), self._weigh(plan, expected, model)
        if self.settings.hysteresis is None:
            verdict = Verdict(change=True, gaining_since_s=None, reason="the policy's word is taken")
        else:
            takes_s = self._change_s(in_force.plan, plan)
            if self._adjusts and takes_s > 0.0:
                current = self._adjusted(current, now_s, expected, steps)
            verdict = stabilize(
                current, candidate, now_s, in_force.gaining_since_s, self.settings.hysteresis, takes_s,
                core_price(candidate.objective, self.pipeline.objective)
                * started_cores(current.plan, plan, self.limits),
            )  # fmt: skip
            if verdict.change and self._would_starve(current, plan, expected):
                candidate = self._weigh(self._grown(current.plan, plan, steps), expected, model)
                verdict = stabilize(current, candidate, now_s, None, self.settings.hysteresis)
        steps.append(Step("stabilize", "change" if verdict.change else "keep", verdict.reason))
        taken = candidate if verdict.change else current
        if not taken.estimate.meets_slo:
            least = f"{taken.estimate.goodput_rps:.4g}/s of {expected.rate_rps:.4g}/s"
            steps.append(
                Step("stabilize", "infeasible", f"the SLO is expected to be held for {least}: the least bad plan")
            )
        self._in_force = replace(
            in_force,
            plan=taken.plan,
            feasible=taken.estimate.meets_slo,
            latency_model=model,
            planned_at_s=now_s,
            adjusted_at_s=now_s,
            gaining_since_s=verdict.gaining_since_s,
            skipped=0,
        )
        return self._decide(now_s, in_force.plan, steps)

    def _keep(self, now_s: float, steps: list[Step], reason: str) -> Decision:
        steps.append(Step("propose", "keep", reason))
        return self._decide(now_s, self._expected_in_force().plan, steps)

    def _grown(self, before: Plan, after: Plan, steps: list[Step]) -> Plan:
        """As many cores as a plan has, by more replicas of those that are there: they serve on while others start."""
        plan, words = constrain(grown(before, after), self.pipeline, self.profile, self.limits)
        reason = "too little would be left while replicas start: more of those that are there, instead"
        steps.append(Step("constrain", "grown", "; ".join((reason, *words))))
        return plan

    def _would_starve(self, current: Weighed, plan: Plan, expected: Expected) -> bool:
        """Whether a plan holds less than the plan in force while its new replicas start, and too little."""
        if not self.limits.in_place_cores:  # then the old ones serve until the new ones do
            return False
        meanwhile = self._weigh(until_started(current.plan, plan), expected, current.estimate.latency_model).estimate
        return not meanwhile.meets_slo and meanwhile.goodput_rps < current.estimate.goodput_rps

    def _change_s(self, before: Plan, after: Plan) -> float:
        """How long a change takes, or taking it back, seconds."""
        there_s = change_s(before, after, self.profile, self.limits)
        return max(there_s, change_s(after, before, self.profile, self.limits))

    def _planned(self) -> Pipeline:
        """The pipeline with the bound that follows from the time that requests have left when they arrive.

        Where nothing can step down, an unlucky second is lost: there plans leave most of what the SLO permits.
        """
        slo = self.pipeline.slo
        bound_s = self._deadlines.bound().latency_s if self.settings.own_deadlines else slo.latency_s
        permitted = 1.0 if self.limits.in_place_variants else self.settings.permitted_share
        if bound_s == slo.latency_s and permitted == 1.0:
            return self.pipeline
        quantile = 1.0 - permitted * (1.0 - slo.quantile)
        return replace(self.pipeline, slo=replace(slo, latency_s=bound_s, quantile=quantile))

    def _asked(self) -> Pipeline:
        """The pipeline as it is planned for now: with that bound, and the floor that keeps the mean at the floor."""
        objective, planned = self.pipeline.objective, self._planned()
        if objective.accuracy_floor is None or not self.settings.floor_on_average:
            return planned
        floor = self._account.planned(objective.accuracy_floor, highest_accuracy(self.pipeline))
        return replace(planned, objective=replace(objective, accuracy_floor=floor))

    def _propose(self, expected: Expected, *, at_once: bool = False) -> PlanResult:
        rate_rps = expected.rate_rps * (1.0 + (self.settings.headroom if self._in_force is not None else 0.0))
        return self.policy.propose(
            PlanRequest(
                pipeline=self._asked(),
                profile=self.profile,
                rate_rps=rate_rps,
                surge_rps=max(expected.surge_rps, rate_rps),
                at_once=at_once,
                limits=self.limits,
                arrival_scv=expected.arrival_scv,
                service_ratio=self._calibration.ratios(),
                current=self.plan,
            )
        )

    def _constrain(self, proposed: PlanResult, steps: list[Step]) -> Plan:
        plan, words = constrain(proposed.plan, self.pipeline, self.profile, self.limits)
        steps.append(Step("constrain", "clamped" if words else "as proposed", "; ".join(words) or "within all limits"))
        return plan

    def _weigh(self, plan: Plan, expected: Expected, model: LatencyModel) -> Weighed:
        """Judge a plan at the expected rate."""
        asked = self._asked()
        judged = estimate(
            plan,
            asked,
            self.profile,
            expected.rate_rps,
            latency_model=model,
            arrival_scv=expected.arrival_scv,
            service_ratio=self._calibration.ratios(),
            current=self.plan,
            in_place_cores=self.limits.in_place_cores,
        )
        return Weighed(plan, judged, objective_value(plan, judged, expected.rate_rps, asked.objective))

    def _decide(self, now_s: float, before: Plan | None, steps: list[Step]) -> Decision:
        in_force = self._expected_in_force()
        actions = diff(before, in_force.plan)
        steps.append(
            Step("diff", f"{len(actions)} actions", "; ".join(f"{a.task} {a.kind}" for a in actions) or "none")
        )
        decision = Decision(
            sequence=self._sequence,
            now_s=now_s,
            plan=in_force.plan,
            feasible=in_force.feasible,
            changed=before is None or before.id != in_force.plan.id,
            actions=actions,
            steps=tuple(steps),
        )
        self._sequence += 1
        return decision

    def _expected_in_force(self) -> _InForce:
        if self._in_force is None:
            raise RuntimeError("asked for the plan in force before the first decision")
        return self._in_force


def _is_within(plan: Plan, pipeline: Pipeline) -> bool:
    """Whether a plan uses no variant that the pipeline lacks."""
    return all(
        pipeline.tasks[name].variants.keys() >= {*task.resident, *task.may_use, *(a.variant for a in task.allocations)}
        for name, task in plan.tasks.items()
    )


def _observe_step(observation: Observation, warnings: Iterable[str]) -> Step:
    known = [count for count in observation.arrivals if count is not None]
    missing = len(observation.arrivals) - len(known)
    outcomes, queued = observation.outcomes, sum(task.queued for task in observation.tasks.values())
    words = f"{outcomes.in_time} of {outcomes.ended} in time; {queued} waiting"
    if missing:
        words += f"; {missing} seconds were not counted"
    words = "; beware: ".join((words, *warnings))
    return Step("observe", f"{sum(known)} requests in {len(known)} s", words)


def _forecast_step(forecast: RateForecast | None, settings: ControllerSettings) -> Step:
    if forecast is None:
        return Step("forecast", "unknown", "no recent second was counted")
    value = f"{forecast.at(settings.rate_quantile):.3g}/s"
    words = f"level {forecast.level_rps:.3g}/s from {forecast.basis}, burstiness {forecast.burstiness:.2f}"
    if forecast.warning is not None:
        words += f"; beware: {forecast.warning}"
    return Step("forecast", value, f"{100 * settings.rate_quantile:g} % quantile of {settings.horizon_s:g} s; {words}")


def _propose_steps(proposed: PlanResult) -> list[Step]:
    return list(proposed.steps) or [Step("propose", plan_words(proposed.plan), proposed.policy)]
