"""What holds for every answer of the planner, in prose first.

- Less traffic never gives a worse plan, and neither does a larger budget of any kind.
- No plan exceeds a limit.
- The order in which variants, tasks of equal standing or measurements are listed changes nothing.
- One more variant, shape or batch size never hurts.
- The same question gets the same answer, in the compiled form of the kernels as in the plain one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab import compiled
from trimtab.plan.constrain import constrain
from trimtab.plan.latency import is_within
from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile
from trimtab.spec.model import Edge, Objective, Planning, Prices
from trimtab.testing import make_chain

SECONDS = st.sampled_from([0.003, 0.008, 0.02, 0.06])
VARIANTS = st.lists(st.tuples(st.sampled_from([0.6, 0.75, 0.9, 0.97]), SECONDS), min_size=2, max_size=3)
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HELD = 2e-3
"""Shares of the rate closer than this are equal: the largest rate comes from a search of limited width."""


@st.composite
def requests(draw: st.DrawFn) -> PlanRequest:
    """A question about one to three tasks in a chain or a fork, with mixes or without."""
    tasks = draw(st.lists(VARIANTS, min_size=1, max_size=3))
    named = {f"t{i}": {f"v{j}": v for j, v in enumerate(variants)} for i, variants in enumerate(tasks)}
    objective = draw(
        st.sampled_from(
            [Objective(), Objective("weighted", 1.0, 0.03, delta=1e-4), Objective("cheapest", accuracy_floor=0.4)]
        )
    )
    pipeline, profile = make_chain(
        named, slo_s=draw(st.sampled_from([0.06, 0.2, 0.5])), objective=objective, shapes=((1, 1), (2, 2)),
        batches=(1, 2, 4), batch_gain=draw(st.sampled_from([0.4, 0.9])), variant_bytes=100,
        fan_out=draw(st.sampled_from([1.0, 2.0])),
    )  # fmt: skip
    planning = Planning(mix=draw(st.sampled_from([1, 2])), share_steps=4)
    pipeline = replace(pipeline, planning=planning, prices=Prices(core_hour=0.1))
    if len(tasks) == 3 and draw(st.booleans()):
        fork = replace(pipeline.tasks["t2"], after=(Edge("t0"),))
        pipeline = replace(pipeline, tasks={**pipeline.tasks, "t2": fork})
    limits = Limits(
        cores=draw(st.sampled_from([3.0, 6.0, 12.0])), replicas_per_task=6, max_allocations_per_task=2,
        memory_bytes=draw(st.sampled_from([None, 2000])), replicas=draw(st.sampled_from([None, 8])),
        in_place_variants=draw(st.booleans()),
        cost_per_hour=draw(st.sampled_from([None, 0.9])),
    )  # fmt: skip
    return PlanRequest(pipeline, profile, draw(st.sampled_from([1.0, 10.0, 40.0, 120.0])), limits)


def propose(request: PlanRequest) -> PlanResult:
    return make_policy("trimtab").propose(request)


def no_worse(one: PlanResult, than: PlanResult) -> bool:
    """Whether a plan is as good as another in what counts first: the share held, a floor, then the objective."""
    held, other = one.objective.parts["held"], than.objective.parts["held"]
    if not math.isclose(held, other, abs_tol=HELD):
        return held > other
    if held < 1.0 - HELD:
        return True
    kept, before = keeps_floor(one), keeps_floor(than)
    if kept != before:
        return kept
    if not kept:  # the most accurate one, whatever it costs
        return one.estimate.accuracy >= than.estimate.accuracy - 1e-9
    value, least = one.objective.value, than.objective.value
    return value >= least - 1e-9 * max(1.0, abs(least))


def keeps_floor(result: PlanResult) -> bool:
    """Whether a plan is as accurate as is asked for, if anything is."""
    return is_within(result.objective.parts.get("floor", 0.0), result.estimate.accuracy)


@PROPERTY
@given(requests())
def test_less_traffic_never_gives_a_worse_plan(request: PlanRequest) -> None:
    assert no_worse(propose(replace(request, rate_rps=request.rate_rps / 2)), propose(request))


@PROPERTY
@given(requests(), st.sampled_from(["cores", "replicas", "memory_bytes", "cost_per_hour", "replicas_per_task"]))
def test_a_larger_budget_never_gives_a_worse_plan(request: PlanRequest, which: str) -> None:
    limit = getattr(request.limits, which)
    more: dict[str, Any] = {which: None if limit is None else limit * 2}
    assert no_worse(propose(replace(request, limits=replace(request.limits, **more))), propose(request))


@PROPERTY
@given(requests())
def test_no_plan_exceeds_a_limit(request: PlanRequest) -> None:
    result = propose(request)
    clamped, words = constrain(result.plan, request.pipeline, request.profile, request.limits)
    assert clamped.id == result.plan.id, words


@PROPERTY
@given(requests(), st.randoms())
def test_the_order_of_what_is_listed_changes_nothing(request: PlanRequest, random: Any) -> None:
    def shuffled(mapping: Any) -> Any:
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    pipeline = replace(
        request.pipeline,
        tasks={n: replace(t, variants=shuffled(t.variants)) for n, t in request.pipeline.tasks.items()},
    )
    profile = Profile(
        shuffled(
            {
                task: shuffled({v: replace(p, points=p.points[::-1]) for v, p in variants.items()})
                for task, variants in request.profile.variants.items()
            }
        )
    )
    one, other = propose(request), propose(replace(request, pipeline=pipeline, profile=profile))
    assert other.plan.id == one.plan.id
    assert other.objective == one.objective


@PROPERTY
@given(requests(), st.sampled_from(["variant", "shape", "batch"]))
def test_one_more_option_never_hurts(request: PlanRequest, what: str) -> None:
    def less(known: Any) -> Any:
        if what == "variant":
            return dict(list(known.items())[1:])
        keep = (lambda p: p.cores == 1) if what == "shape" else (lambda p: p.batch < 4)
        return {v: replace(p, points=tuple(filter(keep, p.points))) for v, p in known.items()}

    fewer = Profile({task: less(known) for task, known in request.profile.variants.items()})
    assert no_worse(propose(request), propose(replace(request, profile=fewer)))


@PROPERTY
@given(requests())
def test_the_same_question_gets_the_same_answer_in_both_forms(request: PlanRequest) -> None:
    plain = propose(request)
    assert propose(request) == plain
    compiled.load()
    try:
        fast = propose(request)
    finally:
        compiled.unload()
    assert fast.plan.id == plain.plan.id
    assert fast.objective.value == pytest.approx(plain.objective.value, rel=1e-9)
