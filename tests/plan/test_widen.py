"""Batches may grow as far as it is worth it and the time allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.plan.model import Allocation, Limits, PlanRequest, TaskPlan
from trimtab.plan.pool import ANSWER_SHARE, PRESSURE
from trimtab.plan.widen import widened
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Planning
from trimtab.testing import make_chain

BATCHES = (1, 2, 4, 8)


def asked(slo_s: float, gain: float = 0.5, seconds: tuple[float, ...] = (0.02,), **planning: Any) -> PlanRequest:
    """A chain of tasks of one variant each; a batch of b takes 1 - gain + gain·b times as long as one request."""
    named = {f"t{i}": {"v": (0.9, s)} for i, s in enumerate(seconds)}
    pipeline, profile = make_chain(named, slo_s=slo_s, batch_gain=gain, batches=BATCHES)
    return PlanRequest(replace(pipeline, planning=Planning(**planning)), profile, 1.0, Limits(cores=9.0))


def plans(request: PlanRequest, batch: int = 1) -> dict[str, TaskPlan]:
    return {name: TaskPlan(name, (Allocation("v", 1, 1, 1, batch),), ("v",)) for name in request.pipeline.tasks}


def limits(request: PlanRequest, batch: int = 1) -> list[int]:
    return [task.allocations[0].batch_limit for task in widened(request, plans(request, batch)).values()]


def test_batches_grow_while_their_service_fits_beside_the_wait() -> None:
    # The 0.99 quantile is 1.2 times the mean: 24, 36, 60 and 108 ms for batches of 1, 2, 4 and 8.
    room = 1.0 - PRESSURE - ANSWER_SHARE
    assert [limits(asked(takes_s / room))[0] for takes_s in (0.0241, 0.0361, 0.0601, 0.1079, 0.1081)] == [1, 2, 4, 4, 8]


def test_where_the_planned_service_does_not_fit_nothing_grows() -> None:
    request = asked(0.03)
    assert widened(request, plans(request)) == plans(request)


def test_a_larger_batch_has_to_take_less_time_an_item() -> None:
    assert limits(asked(9.0, gain=1.0)) == [1]
    assert limits(asked(9.0, gain=0.97)) == [4], "2 save 1.5 %, too little; 4 save 2.25 %; 8 hardly more than 4"
    assert limits(asked(9.0, gain=0.8)) == [8]


def test_what_the_pipeline_allows_at_most_holds() -> None:
    assert limits(asked(9.0, max_batch=4)) == [4]
    assert limits(asked(9.0), batch=8) == [8]


def test_the_tasks_of_a_path_grow_in_proportion() -> None:
    room = 1.0 - PRESSURE - ANSWER_SHARE
    both = asked(2.01 * 0.036 / room, seconds=(0.02, 0.02))
    assert limits(both) == [2, 2]
    assert limits(asked(1.2 * 0.036 / room, seconds=(0.02, 0.02))) == [1, 1]
    assert limits(asked(1.2 * 0.036 / room)) == [2], "alone it has all of the time"


def test_a_group_known_by_a_capacity_table_keeps_its_batch() -> None:
    request = asked(9.0)
    table = VariantProfile("t0", "v", (), capacity=(CapacityPoint(1, 20.0, 0.3),))
    request = replace(request, profile=Profile({"t0": {"v": table}}))
    assert limits(request) == [1]


@settings(max_examples=40)
@given(
    st.floats(0.02, 1.0), st.sampled_from([0.3, 0.6, 0.9, 0.99]),
    st.lists(st.sampled_from([0.004, 0.02, 0.05]), min_size=1, max_size=3), st.sampled_from(BATCHES),
)  # fmt: skip
def test_all_batches_at_their_largest_fit_the_slo_beside_the_wait(
    slo_s: float, gain: float, seconds: list[float], batch: int
) -> None:
    request = asked(slo_s, gain, tuple(seconds))
    before, after = plans(request, batch), widened(request, plans(request, batch))
    assert {name: replace(t, allocations=tuple(replace(a, most=None) for a in t.allocations)) for name, t in
            after.items()} == before  # fmt: skip
    grown = [task.allocations[0] for task in after.values()]
    assert all(a.batch_limit >= batch for a in grown)
    if any(a.batch_limit > batch for a in grown):
        total_s = sum(
            request.profile.variants[name]["v"].service_time(a.batch_limit, 1, 1, 0.99).seconds
            for name, a in zip(after, grown, strict=True)
        )
        assert total_s <= (1.0 - PRESSURE - ANSWER_SHARE) * slo_s * (1.0 + 1e-9)
