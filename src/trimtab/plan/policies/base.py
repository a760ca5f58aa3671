"""What a policy is, and how its plan becomes a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from trimtab.observe.model import Observation
from trimtab.plan.estimate import estimate
from trimtab.plan.model import LatencyModel, Plan, PlanRequest, PlanResult, Step, TaskPlan
from trimtab.plan.objective import objective_value
from trimtab.plan.words import estimate_words, plan_words
from trimtab.spec.model import Objective


@runtime_checkable
class Policy(Protocol):
    """Proposes plans. The same question gets the same answer, and asking changes nothing.

    A policy may also have a `rhythm` (`Rhythm`), `defaults` (its settings, a frozen dataclass), and be an
    `ObservingPolicy`.
    """

    @property
    def name(self) -> str:
        """Short name, for journals, tables and metrics."""
        ...

    @property
    def decides(self) -> frozenset[str]:
        """What it chooses anew, of `variant`, `replicas`, `cores`, `batch`, `resident`, `per-batch variant` and `rate`.

        A policy that decides the rate heeds the scenarios of a request; others plan for `rate_rps`.
        """
        ...

    def propose(self, request: PlanRequest) -> PlanResult:
        """Answer a planning question.

        Raises:
            PlanRequestError: no plan can exist at any rate, or the question has no meaning.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When a policy wants to be asked, and for which rate: the control loop that its authors put around it, as a value.

    A policy without a `rhythm` follows the controller's settings, which are Trimtab's own.
    """

    every_s: float
    """Seconds from one plan to the next."""
    horizon_s: float
    """How far ahead the rate is forecast; policies of the literature plan for the highest second in it."""
    quantile: float = 0.5
    """The forecast's quantile that is planned for."""
    margin: float = 0.0
    """The rate planned for is the forecast × (1 + this)."""
    forecaster: str | None = None
    """A forecaster by name, where the policy's authors state one; None: the one that all others get."""
    skips: int = 0
    """A turn whose rate is no higher than the one planned for is skipped so many times in a row (InfAdapter: 4)."""
    first: Literal["mean", "least", "peak"] = "mean"
    """The rate that a simulation's first plan is made for: the mean of the load's first minute, or the least or highest
    rate of the whole load, for plans that are sized once by somebody who knows it."""


NEVER_AGAIN = Rhythm(every_s=1e9, horizon_s=1.0)
"""The rhythm of a plan that is made once."""


@runtime_checkable
class ObservingPolicy(Policy, Protocol):
    """A policy that remembers what it saw, as autoscalers do that follow utilisation or queues.

    Its state follows from its settings and from what it observed alone, so that a journal replays; `propose` changes
    nothing. It is asked through the same door as any other policy.
    """

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Take in what was seen while `plan` was in force; called once for each observation, in order."""
        ...


def result(
    policy: str,
    request: PlanRequest,
    plans: Mapping[str, TaskPlan],
    *,
    feasible: bool,
    reason: str,
    latency_model: LatencyModel,
    objective: Objective,
    notes: tuple[str, ...] = (),
    gap: float = 0.0,
) -> PlanResult:
    """Judge a plan at the request's rate and put it into words. `reason` begins the step's reason."""
    plan = Plan(tasks=dict(plans), rate_rps=request.rate_rps)
    judged = estimate(
        plan,
        request.pipeline,
        request.profile,
        request.rate_rps,
        latency_model=latency_model,
        arrival_scv=request.arrival_scv,
        service_ratio=request.service_ratio,
        current=request.current,
        in_place_cores=request.limits.in_place_cores,
    )
    words = f"{reason}: {estimate_words(judged, request.pipeline, request.rate_rps)}"
    if not judged.meets_slo:
        words += f"; expected to answer {judged.goodput_rps:.4g}/s of it in time"
    steps = [Step("propose", plan_words(plan), words)]
    steps += [Step("propose", "note", note) for note in (*notes, *judged.extrapolated)]
    return PlanResult(
        policy=policy,
        plan=plan,
        feasible=feasible and judged.meets_slo,
        estimate=judged,
        objective=objective_value(plan, judged, request.rate_rps, objective),
        steps=tuple(steps),
        gap=gap,
    )
