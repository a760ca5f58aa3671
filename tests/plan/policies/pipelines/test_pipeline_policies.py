"""What holds for all published pipeline policies, whatever the question: limits, feasibility, the same answer twice."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.observe.model import Observation
from trimtab.plan.constrain import constrain
from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies import ObservingPolicy, make_policy
from trimtab.spec.model import Edge, Prices
from trimtab.testing import make_chain, observation

FAMILY = ("fa2", "inferline", "proteus", "loki", "sponge", "themis", "static-min", "static-peak", "oracle")
SINGLE = ("model-switching",)
VARIANTS = st.dictionaries(
    st.sampled_from(["u", "v", "w"]),
    st.tuples(st.sampled_from([0.7, 0.9, 0.95]), st.sampled_from([0.004, 0.015, 0.06, 0.3])),
    min_size=1,
)
LIMITS = st.builds(
    Limits,
    cores=st.sampled_from([2.0, 3.0, 5.5, 12.0]),
    memory_bytes=st.sampled_from([None, 400, 1000]),
    replicas_per_task=st.sampled_from([1, 3, 100]),
    max_allocations_per_task=st.sampled_from([1, 2, 8]),
    in_place_variants=st.booleans(),
    replicas=st.sampled_from([None, 4]),
    cost_per_hour=st.sampled_from([None, 3.0]),
)
SHAPE = st.sampled_from(["chain", "fork", "join"])


@st.composite
def questions(draw: st.DrawFn, tasks: int) -> PlanRequest:
    names = [f"t{i}" for i in range(tasks)]
    pipeline, profile = make_chain(
        {name: draw(VARIANTS) for name in names},
        slo_s=draw(st.sampled_from([0.05, 0.3, 1.0])),
        shapes=((1, 1), (2, 1), (2, 2), (4, 4)),
        batches=(1, 2, 8),
        batch_gain=0.6,
        fan_out=draw(st.sampled_from([0.4, 1.0, 2.5])),
        variant_bytes=100,
    )
    shape = draw(SHAPE)
    if tasks == 3 and shape == "fork":
        edges = (Edge("t0", 2.0),)
        pipeline = replace(pipeline, tasks={**pipeline.tasks, "t2": replace(pipeline.tasks["t2"], after=edges)})
    if tasks == 3 and shape == "join":
        split = {**pipeline.tasks, "t1": replace(pipeline.tasks["t1"], after=())}
        split["t2"] = replace(split["t2"], after=(Edge("t0"), Edge("t1", 1.5)))
        pipeline = replace(pipeline, tasks=split)
    pipeline = replace(pipeline, prices=Prices(core_hour=0.5))
    rate = draw(st.sampled_from([0.0, 0.3, 4.0, 20.0, 90.0, 2000.0]))
    return PlanRequest(pipeline, profile, rate, draw(LIMITS))


def check_answer(policy: Any, request: PlanRequest) -> None:
    try:
        answer = policy.propose(request)
    except PlanRequestError:
        return
    plan = answer.plan
    clamped, words = constrain(plan, request.pipeline, request.profile, request.limits)
    assert clamped.id == plan.id, words
    assert list(plan.tasks) == list(request.pipeline.tasks)
    for name, task in plan.tasks.items():
        assert math.isclose(sum(a.share for a in task.allocations), 1.0)
        for a in task.allocations:
            assert min(a.replicas, a.batch) >= 1
            assert (a.cores, a.threads) in request.profile.variants[name][a.variant].shapes()
            assert a.variant in task.resident
    assert not answer.feasible or answer.estimate.meets_slo
    assert policy.propose(request) == answer


@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_plans_stay_within_all_limits(name: str, data: st.DataObject) -> None:
    check_answer(make_policy(name), data.draw(questions(data.draw(st.sampled_from([1, 2, 3])))))


@pytest.mark.parametrize("name", SINGLE)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_plans_of_single_tasks_stay_within_all_limits(name: str, data: st.DataObject) -> None:
    check_answer(make_policy(name), data.draw(questions(1)))


@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_journal_replays(name: str, data: st.DataObject) -> None:
    """Two policies that saw the same say the same, and asking in between changes nothing."""
    request = data.draw(questions(2))
    one, other = make_policy(name), make_policy(name)
    counts = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 200)), min_size=1, max_size=30))
    try:
        current = one.propose(request).plan
    except PlanRequestError:
        return
    seen: list[Observation] = [observation(float(t + 1), c) for t, c in enumerate(counts)]
    for each in seen:
        if isinstance(one, ObservingPolicy) and isinstance(other, ObservingPolicy):
            one.observe(each, current)
            other.observe(each, current)
        now = replace(request, current=current, rate_rps=float(each.arrivals[0] or 0))
        check_answer(one, now)
    last = replace(request, current=current)
    assert one.propose(last) == other.propose(last)
