"""The contract of a policy as functions that raise AssertionError with a sentence: questions in, sound plans out."""

from __future__ import annotations

import math
from dataclasses import is_dataclass, replace

from trimtab.errors import ForecastError, PlanRequestError
from trimtab.forecast import make_forecaster
from trimtab.plan.constrain import constrain
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Limits, Plan, PlanRequest, PlanResult
from trimtab.plan.policies.base import Policy, Rhythm
from trimtab.testing.build import make_chain

FORESIGHT = "oracle"
"""The forecaster that only a simulator can make."""
_FIRST = ("mean", "least", "peak")
_RATES_RPS = (0.0, 0.5, 3.0, 10.0, 30.0, 100.0, 1000.0)
_CHAIN = {
    "first": {"small": (0.85, 0.004), "medium": (0.92, 0.012), "large": (0.96, 0.045)},
    "second": {"small": (0.90, 0.003), "large": (0.97, 0.020)},
}


def small_question(tasks: int) -> PlanRequest:
    """A question about a small chain of one or two tasks on six cores; every call builds it anew."""
    pipeline, profile = make_chain(
        dict(list(_CHAIN.items())[:tasks]),
        shapes=((1, 1), (2, 1), (2, 2), (4, 2)),
        variant_bytes=100_000_000,
    )
    return PlanRequest(pipeline, profile, 1.0, Limits(cores=6.0, memory_bytes=2_000_000_000, replicas_per_task=4))


def check_policy(policy: Policy, *, tasks: int = 2) -> None:
    """Ask a policy about a small chain of one or two tasks at many rates and see that the answers are sound.

    The plan names known variants in measured shapes, stays within the limits, comes out the same when asked again,
    does not depend on the order in which variants are listed, and is called feasible only if its estimate says so; a
    rate without meaning and limits without room are refused with PlanRequestError. Where the policy states a rhythm or
    settings, these have a meaning, and a setting in the pipeline's file that it does not have is refused too.

    `check_observing_policy` is for what policies remember.
    """
    assert policy.name, "a policy has a name"
    assert isinstance(policy.decides, frozenset), "`decides` is a frozenset of words"
    request = small_question(tasks)
    _check_rhythm(policy)
    _check_defaults(policy, request)
    pipeline = request.pipeline
    shuffled = replace(
        pipeline,
        tasks={
            name: replace(task, variants=dict(reversed(list(task.variants.items()))))
            for name, task in pipeline.tasks.items()
        },
    )
    for rate_rps in _RATES_RPS:
        asked = replace(request, rate_rps=rate_rps)
        answer = policy.propose(asked)
        check_answer(answer, asked, f"{policy.name} at {rate_rps:g}/s")
        assert policy.propose(asked) == answer, f"asked twice at {rate_rps:g}/s, answered differently"
        again = policy.propose(replace(asked, pipeline=shuffled))
        assert again.plan.id == answer.plan.id, f"the order of variants changes the plan at {rate_rps:g}/s"
    for rate_rps in (math.nan, math.inf, -1.0):
        _refuses(policy, replace(request, rate_rps=rate_rps), f"a rate of {rate_rps}")
    _refuses(policy, replace(request, limits=Limits(cores=tasks - 0.5)), "less than a core for each task")


def check_answer(answer: PlanResult, asked: PlanRequest, who: str) -> None:
    """See that an answer is sound: plan, limits, estimate, feasibility and reasons. `who` begins what is said."""
    _check_plan(answer.plan, asked, who)
    judged = estimate(
        answer.plan,
        asked.pipeline,
        asked.profile,
        asked.rate_rps,
        latency_model=answer.estimate.latency_model,
        current=asked.current,
    )
    assert judged == answer.estimate, f"{who}: the estimate is not that of plan.estimate"
    assert not answer.feasible or answer.estimate.meets_slo, f"{who}: called feasible and misses the SLO"
    assert answer.steps, f"{who}: no reason is given"


def _check_plan(plan: Plan, request: PlanRequest, who: str) -> None:
    assert list(plan.tasks) == list(request.pipeline.tasks), f"{who}: tasks are missing, strange or out of order"
    assert plan.rate_rps == request.rate_rps, f"{who}: the plan is for another rate"
    for name, task in plan.tasks.items():
        known = request.profile.variants[name]
        assert task.allocations, f"{who}: {name} gets nothing"
        assert math.isclose(sum(a.share for a in task.allocations), 1.0), f"{who}: shares of {name} do not sum to 1"
        for a in task.allocations:
            assert a.variant in known, f"{who}: {name} uses the unknown variant {a.variant}"
            assert (a.cores, a.threads) in known[a.variant].shapes(), f"{who}: {name} uses an unmeasured shape"
            assert a.batch >= 1, f"{who}: {name} has batch {a.batch}"
            assert a.replicas >= 1, f"{who}: {name} has {a.replicas} replicas"
            assert a.variant in task.resident, f"{who}: {name} does not hold the variant it serves"
        assert set(task.may_use) <= set(task.resident), f"{who}: {name} may use what is not resident"
    clamped, words = constrain(plan, request.pipeline, request.profile, request.limits)
    assert clamped.id == plan.id, f"{who}: the plan exceeds the limits: {'; '.join(words)}"


def _refuses(policy: Policy, request: PlanRequest, what: str) -> None:
    try:
        policy.propose(request)
    except PlanRequestError:
        return
    raise AssertionError(f"{policy.name} accepts {what}; it must raise PlanRequestError")


def _check_rhythm(policy: Policy) -> None:
    rhythm = getattr(policy, "rhythm", None)
    if rhythm is None:
        return
    assert isinstance(rhythm, Rhythm), f"{policy.name}: `rhythm` is a Rhythm, not {type(rhythm).__name__}"
    for name, high in (("every_s", math.inf), ("horizon_s", math.inf), ("quantile", 1.0)):
        value = getattr(rhythm, name)
        between = _is_finite(value) and 0.0 < value < high
        assert between, f"{policy.name}: the rhythm's {name} is {value!r}, wanted a number above 0 and below {high:g}"
    margin, skips = rhythm.margin, rhythm.skips
    some = _is_finite(margin) and margin >= 0.0
    assert some, f"{policy.name}: the rhythm's margin is {margin!r}, wanted a finite number of at least 0"
    whole = _is_finite(skips) and isinstance(skips, int) and skips >= 0
    assert whole, f"{policy.name}: the rhythm's skips are {skips!r}, wanted a whole number of at least 0"
    assert rhythm.first in _FIRST, f"{policy.name}: the rhythm's first is {rhythm.first!r}, wanted one of {_FIRST}"
    if rhythm.forecaster not in (None, FORESIGHT):
        try:
            make_forecaster(rhythm.forecaster)
        except ForecastError as error:
            raise AssertionError(f"{policy.name}: the rhythm's forecaster cannot be made: {error}") from error


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_defaults(policy: Policy, request: PlanRequest) -> None:
    defaults = getattr(policy, "defaults", None)
    if defaults is None:
        return
    made = is_dataclass(defaults) and not isinstance(defaults, type)
    assert made, f"{policy.name}: `defaults` is an instance of a dataclass, not {defaults!r}"
    frozen = type(defaults).__dataclass_params__.frozen
    assert frozen, f"{policy.name}: {type(defaults).__name__} is not frozen, so that settings could change"
    for name in defaults.__dataclass_fields__:
        value = getattr(defaults, name)
        number = isinstance(value, float)
        assert not number or math.isfinite(value), f"{policy.name}: the setting {name} is {value} by default"
    strange = replace(request.pipeline, policies={policy.name: {"no-such-setting": 1}})
    _refuses(policy, replace(request, pipeline=strange), "a setting that it does not have")
