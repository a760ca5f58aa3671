"""InferLine: a plan made once on a sample trace, and replicas tuned to what comes. Variants are fixed.

The *planner* (`inferline_planner`) chooses cores, batch and replicas of every task, the cheapest that greedy
steps find feasible by simulating a sample trace (`inferline_estimator`). It answers the first question, and
every question that comes without a memory. The *tuner* (`inferline_tuner`) answers once a second from then on:
it adds and removes replicas, cores and batches stay. It looks at the counted seconds and not at the rate asked for.

The sample is a Poisson process at the rate of the first question, or at `sample_rps`, or the seconds `sample_counts`.
It matters: the tuner keeps the utilisation that was planned, and a sample of hardly any load is planned with one nearly
idle replica per task, of which the tuner then holds many. Give it the load that is to come.

Source: Crankshaw et al., "InferLine: Latency-Aware Provisioning and Scaling for Prediction Serving Pipelines", SoCC
2020; details from memory are named in the modules. Its planner has all the hardware it wants.

Ours: where the plan exceeds the limits, or nothing is feasible within the replicas that a task may have, the rate is
halved until a plan fits, six times at most, and its replicas are multiplied back as far as the limits go. Where none
fits, every task has the fastest replicas that do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trimtab.observe.model import Observation
from trimtab.plan.estimate import check_rate
from trimtab.plan.model import Allocation, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import Rhythm, result
from trimtab.plan.policies.fixed import batch_time_s, ceil, shape_rate
from trimtab.plan.policies.fixed_limits import Fixed, fixed_plan
from trimtab.plan.policies.pinned import (
    PinnedSettings,
    check_positive,
    fits,
    one_group,
    pinned_variants,
    pinned_visits,
)
from trimtab.plan.policies.pipelines.inferline_estimator import Config, Configs, Estimator, sample_arrivals
from trimtab.plan.policies.pipelines.inferline_planner import Hardware, Planner, hardware_of
from trimtab.plan.policies.pipelines.inferline_tuner import Planned, envelope_of_arrivals, tuned, windows_s
from trimtab.plan.policies.pipelines.seen import Standing
from trimtab.plan.policies.settings import override
from trimtab.profile.model import VariantProfile

Floats = NDArray[np.float64]

_HALVINGS = 6
"""How often the rate is halved where nothing fits."""


@dataclass(frozen=True, slots=True)
class InferLineSettings(PinnedSettings):
    """The sample, and the tuner's times."""

    sample_rps: float | None = None
    """Rate of the sample trace; None: that of the first question."""
    sample_counts: tuple[int, ...] = ()
    """Requests of each second of the sample trace, in the place of a Poisson process."""
    sample_s: float = 60.0
    """Length of the Poisson process."""
    sample_items: int = 2000
    """Items that the sample brings to a task, at which it ends: they bound the planner's time."""
    seed: int = 0
    """Of the sample."""
    max_batch: int | None = None
    """Largest batch; None: the largest measured."""
    envelope_s: int = 60
    """Longest window of the traffic envelopes."""
    stable_s: float = 15.0
    """Replicas are removed once the plan in force has stood for so long."""
    recent_s: int = 30
    """Seconds that the way down looks back."""
    bucket_s: int = 5
    """Windows of the way down."""

    def __post_init__(self) -> None:
        check_positive(
            sample_rps=self.sample_rps,
            sample_s=self.sample_s,
            sample_items=self.sample_items,
            max_batch=self.max_batch,
            envelope_s=self.envelope_s,
            recent_s=self.recent_s,
            bucket_s=self.bucket_s,
        )
        if self.seed < 0 or self.stable_s < 0.0 or any(count < 0 for count in self.sample_counts):
            raise ValueError("seed, stable_s and sample_counts are at least 0")


@dataclass(frozen=True, slots=True)
class _Question:
    """A request with everything that does not depend on the rate."""

    request: PlanRequest
    settings: InferLineSettings
    variants: Mapping[str, str]
    visits: Mapping[str, float]
    hardware: Mapping[str, tuple[Hardware, ...]]

    def sample(self, first_rps: float) -> tuple[float, Floats]:
        """Rate of the sample trace, when the first question is for `first_rps`, and its arrivals."""
        s = self.settings
        rate_rps = s.sample_rps or first_rps
        if s.sample_counts:
            rate_rps = sum(s.sample_counts) / len(s.sample_counts)
        most = max(1, round(s.sample_items / max(1.0, *self.visits.values())))
        return rate_rps, sample_arrivals(rate_rps, s.sample_s, most, s.seed, s.sample_counts)


class InferLinePolicy:
    """Planner once, tuner from then on."""

    name = "inferline"
    decides = frozenset({"cores", "replicas", "batch"})
    defaults = InferLineSettings()
    rhythm = Rhythm(every_s=1.0, horizon_s=1.0, forecaster="last")

    def __init__(self, settings: InferLineSettings | None = None) -> None:
        """With `settings`, or the policy's defaults; the pipeline's file overrides either, field by field."""
        self._settings = settings or self.defaults
        self._standing = Standing()
        self._planned: Plan | None = None
        self._counts: deque[int | None] = deque(maxlen=3600)

    def observe(self, observation: Observation, plan: Plan) -> None:
        """Remember the counted seconds, the first plan and for how long the plan in force has stood."""
        self._standing.observe(observation, plan)
        self._counts.extend(observation.arrivals)
        self._planned = self._planned or plan

    def propose(self, request: PlanRequest) -> PlanResult:
        """The planner's plan, or the tuner's once a plan of its own is in force.

        Raises:
            PlanRequestError: the rate has no meaning, the settings do not fit the pipeline, a task was not measured, or
                the limits leave no room for one replica of every task.
        """
        check_rate(request.rate_rps)
        settings = override(self._settings, request.pipeline, self.name)
        asked = replace(request, arrival_scv=1.0, service_ratio={})
        variants = pinned_variants(asked, settings)
        hardware = {task: hardware_of(asked, task, v, settings.max_batch) for task, v in variants.items()}
        question = _Question(asked, settings, variants, pinned_visits(asked, variants), hardware)
        answer = self._tuned(question)
        plans, feasible, reason = _planned(question) if answer is None else answer
        return result(
            self.name,
            asked,
            plans,
            feasible=feasible,
            reason=reason,
            latency_model="tail",
            objective=request.pipeline.objective,
        )

    def _tuned(self, question: _Question) -> _Answer | None:
        """The tuner's plan; None without a first plan and one in force, both of this policy."""
        settings, request = question.settings, question.request
        groups = one_group(request.current, request, question.variants)
        first = one_group(self._planned, request, question.variants)
        if groups is None or first is None or self._planned is None or request.current is None:
            return None
        rate_rps, arrivals_s = question.sample(self._planned.rate_rps)
        planned, longest_s = dict[str, Planned](), 0.0
        for task, group in first.items():
            rate = shape_rate(_profile(question, task), group.cores, group.threads, group.batch)
            utilisation = min(1.0, rate_rps * question.visits[task] / (group.replicas * rate))
            planned[task] = Planned(rate, question.visits[task], utilisation or 1.0)
            longest_s += batch_time_s(_profile(question, task), group.cores, group.threads, group.batch)
        stood_s = self._standing.stood_s(request.current)
        replicas, reason = tuned(
            {task: group.replicas for task, group in groups.items()},
            planned,
            list(self._counts)[-settings.envelope_s :],
            envelope_of_arrivals(arrivals_s, windows_s(longest_s, settings.envelope_s)),
            may_shrink=stood_s is not None and stood_s >= settings.stable_s,
            recent_s=settings.recent_s,
            bucket_s=settings.bucket_s,
        )
        wanted = {t: (Fixed(g.variant, g.cores, g.threads, g.batch), replicas[t]) for t, g in groups.items()}
        plans = fixed_plan(request, wanted)
        whole = all(plans[task].allocations[0].replicas == n for task, n in replicas.items())
        return plans, whole, f"tuner: {reason}" if whole else f"tuner: {reason}; as many as the limits leave"


_Answer = tuple[dict[str, TaskPlan], bool, str]
"""Task plans, whether InferLine takes them to hold the rate, and the reason."""


def _planned(question: _Question) -> _Answer:
    """The planner's plan."""
    request = question.request
    rate_rps, arrivals_s = question.sample(request.rate_rps)
    for halved in range(_HALVINGS + 1):
        slower = 2**halved
        planner = Planner(
            Estimator(request, question.variants, arrivals_s * slower, question.settings.seed),
            request.pipeline.slo.latency_s,
            {task: rate_rps / slower * visits for task, visits in question.visits.items()},
            question.hardware,
            request.limits.replicas_per_task,
        )
        found = planner.plan() if planner.least_cores() <= request.limits.cores else None
        if found is None or not fits(request, _plans(question, found)):
            continue
        if halved == 0:
            return _plans(question, found), True, f"planner: feasible on {arrivals_s.size} requests at {rate_rps:.4g}/s"
        wanted = {task: (_fixed(question, task, c), slower * c.replicas) for task, c in found.items()}
        reason = f"planner: {rate_rps:.4g}/s is infeasible; the plan for {rate_rps / slower:.4g}/s with more replicas"
        return fixed_plan(request, wanted), False, reason
    return _fastest(question, rate_rps), False, "planner: infeasible at a 64th of the rate too; the fastest replicas"


def _fastest(question: _Question, rate_rps: float) -> dict[str, TaskPlan]:
    """The best hardware that the limits let every task have, with the smallest batches."""
    levels = max(len(kinds) for kinds in question.hardware.values())
    for level in range(levels):
        configs = {}
        for task, kinds in question.hardware.items():
            kind = kinds[min(level, len(kinds) - 1)]
            configs[task] = Config(kind.cores, kind.threads, kind.batches[0], 1)
        if level == levels - 1 or fits(question.request, _plans(question, configs)):
            break
    wanted = {}
    for task, c in configs.items():
        rate = shape_rate(_profile(question, task), c.cores, c.threads, c.batch)
        wanted[task] = (_fixed(question, task, c), max(1, ceil(rate_rps * question.visits[task] / rate)))
    return fixed_plan(question.request, wanted)


def _profile(question: _Question, task: str) -> VariantProfile:
    return question.request.profile.variants[task][question.variants[task]]


def _fixed(question: _Question, task: str, config: Config) -> Fixed:
    return Fixed(question.variants[task], config.cores, config.threads, config.batch)


def _plans(question: _Question, configs: Configs) -> dict[str, TaskPlan]:
    return {
        task: TaskPlan(
            task,
            (Allocation(question.variants[task], c.replicas, c.cores, c.threads, c.batch),),
            resident=(question.variants[task],),
        )
        for task, c in configs.items()
    }
