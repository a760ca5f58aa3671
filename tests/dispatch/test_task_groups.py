"""Several groups of replicas at one task: traffic by shares, and nothing is lost when the groups change."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.dispatch.task import TaskDispatcher
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.sim import PLANTS
from trimtab.sim.plant import SimPlant
from trimtab.spec.model import Pipeline, Slo, Task, Variant

SECONDS = {"best": 0.030, "good": 0.020, "least": 0.010}
TASK = Task("read", {name: Variant(name, None, accuracy=10 * s) for name, s in SECONDS.items()})
FAR_S = 1000.0


def profiles() -> dict[str, VariantProfile]:
    return {
        name: VariantProfile(
            "read", name, tuple(ServicePoint(1, 1, b, b * s, {0.5: b * s, 0.99: b * s}, 9) for b in (1, 2, 4))
        )
        for name, s in SECONDS.items()
    }


def mix(**shares: float) -> TaskPlan:
    """A plan of one replica a variant."""
    allocations = tuple(Allocation(name, 1, 1, 1, 4, share) for name, share in shares.items())
    return TaskPlan("read", allocations, tuple(SECONDS))


def a_dispatcher(plan: TaskPlan) -> TaskDispatcher[int]:
    """It follows the plan, and every group has a replica."""
    dispatcher: TaskDispatcher[int] = TaskDispatcher(TASK, profiles())
    dispatcher.follow(plan)
    dispatcher.serve_with([1] * dispatcher.groups)
    return dispatcher


def waiting(dispatcher: TaskDispatcher[int]) -> list[int]:
    return [dispatcher.waiting(group) for group in range(dispatcher.groups)]


def drained(dispatcher: TaskDispatcher[int]) -> list[int]:
    """All items, group by group, in the order in which they are served."""
    items: list[int] = []
    for group in range(dispatcher.groups):
        while dispatcher.waiting(group):
            batch, lost = dispatcher.next_batch(0.0, 1, 1, group)
            assert batch is not None
            assert lost == ()
            items += batch.items
    return items


@given(st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any), st.integers(1, 200))
def test_every_run_of_items_is_shared_to_within_one_item(weights: list[int], count: int) -> None:
    shares = np.array(weights) / sum(weights)
    dispatcher = a_dispatcher(mix(**dict(zip(SECONDS, shares.tolist(), strict=True))))
    for item in range(count):
        group = dispatcher.push(item, FAR_S)
        assert shares[group] > 0.0
        assert np.abs(waiting(dispatcher) - (item + 1) * shares).max() <= 1.0 + 1e-9
    assert sum(waiting(dispatcher)) == dispatcher.queued == count


def test_the_simulator_shares_traffic_in_the_same_order() -> None:
    plan = mix(best=0.5, good=0.3, least=0.2)
    moments = np.arange(40.0)
    plant = SimPlant(
        Pipeline("text", {"read": TASK}, Slo(5.0)),
        Profile({"read": profiles()}),
        PLANTS["free"],
        3,
        iter([moments]),
        0,
    )
    plant.apply_now(Plan({"read": plan}, 1.0), warm=True)
    simulated, before = list[int](), plant.state["served"][0].copy()
    for moment in moments:
        plant.advance(float(moment) + 0.5)
        served = plant.state["served"][0].copy()
        simulated.append(int(np.flatnonzero(served - before)[0]))
        before = served
    dispatcher = a_dispatcher(plan)
    assert simulated == [dispatcher.push(item, FAR_S) for item in range(len(moments))]


def test_a_group_that_cannot_serve_hands_on_what_waits_there() -> None:
    dispatcher = a_dispatcher(mix(best=0.5, good=0.25, least=0.25))
    for item in range(40):
        dispatcher.push(item, FAR_S + item)
    dispatcher.serve_with([0, 1, 1])
    assert waiting(dispatcher) == [0, 20, 20]
    assert {dispatcher.push(item, FAR_S) for item in range(40, 60)} == {1, 2}
    dispatcher.serve_with([1, 1, 1])
    assert Counter(dispatcher.push(item, FAR_S) for item in range(60, 80))[0] == pytest.approx(10, abs=1)
    assert sorted(drained(dispatcher)) == list(range(80))


def test_what_is_handed_on_keeps_its_level_and_deadline() -> None:
    dispatcher = a_dispatcher(mix(best=0.5, least=0.5))
    for item in range(8):
        dispatcher.push(item, FAR_S - item, level=1 + item % 3)
    dispatcher.serve_with([1, 0])
    assert drained(dispatcher) == sorted(range(8), key=lambda item: (item % 3, -item))


def test_groups_without_a_share_serve_when_no_other_can() -> None:
    dispatcher = a_dispatcher(mix(best=1.0, least=0.0))
    assert {dispatcher.push(item, FAR_S) for item in range(5)} == {0}
    dispatcher.serve_with([0, 1])
    assert waiting(dispatcher) == [0, 5]
    dispatcher.serve_with([0, 0])  # nobody serves: what waits stays, for whoever is ready first
    assert dispatcher.queued == 5
    dispatcher.serve_with([1, 0])
    assert waiting(dispatcher) == [5, 0]


@given(
    st.lists(st.sampled_from([("best",), ("best", "good"), ("good", "best", "least"), ("least",)]), max_size=8),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_plans_of_fewer_or_more_groups_keep_all_that_waits(plans: list[tuple[str, ...]], able: list[bool]) -> None:
    dispatcher = a_dispatcher(mix(best=0.6, least=0.4))
    item = 0
    for names in plans:
        for _ in range(7):
            dispatcher.push(item, FAR_S + item)
            item += 1
        dispatcher.follow(mix(**dict.fromkeys(names, 1.0 / len(names))))
        assert dispatcher.groups == len(names)
        dispatcher.serve_with([int(can) for can in able[: len(names)]])
        assert dispatcher.queued == item
    assert sorted(drained(dispatcher)) == list(range(item))


def test_each_group_serves_the_variant_of_its_allocation() -> None:
    dispatcher = a_dispatcher(mix(least=0.5, best=0.5))
    for item in range(2):
        dispatcher.push(item, FAR_S)
    batches = [dispatcher.next_batch(0.0, 1, 1, group)[0] for group in range(2)]
    assert [batch.variant for batch in batches if batch is not None] == ["least", "best"]


def test_learned_ratios_stay_when_the_plan_changes() -> None:
    dispatcher = a_dispatcher(mix(best=0.5, least=0.5))
    for _ in range(200):
        assert dispatcher.record("least", 1, 0.020, group=1) == pytest.approx(0.010)
    dispatcher.follow(mix(least=1.0))
    dispatcher.serve_with([1])
    assert dispatcher.planned_s("least") == pytest.approx(0.020, rel=1e-3)
    assert dispatcher.planned_s("best") == math.inf
    assert dispatcher.alone_s == pytest.approx(0.020, rel=1e-3)


def test_a_batch_from_a_group_that_is_gone_teaches_nothing() -> None:
    dispatcher = a_dispatcher(mix(best=0.5, least=0.5))
    dispatcher.follow(mix(best=1.0))
    assert dispatcher.record("least", 1, 5.0, group=1) == math.inf
    assert dispatcher.record("least", 1, 5.0, group=0) == math.inf  # nor one of a variant that it may not use now
    dispatcher.follow(mix(least=1.0))
    assert dispatcher.planned_s("least") == pytest.approx(0.010)


def test_the_least_time_per_item_is_over_all_groups_by_what_they_drain() -> None:
    dispatcher = a_dispatcher(mix(best=0.5, least=0.5))
    dispatcher.serve_with([2, 1])
    assert dispatcher.alone_s == pytest.approx(0.010)
    # 2 ÷ 30 ms and 1 ÷ 10 ms are 166.7 items/s, by three slots
    assert dispatcher.per_item_s == pytest.approx(3 / (2 / 0.030 + 1 / 0.010))


def test_a_batch_holds_items_of_one_level() -> None:
    dispatcher = a_dispatcher(mix(least=1.0))
    for item, level in enumerate([9, 1, 5, 1, 9, 1]):
        dispatcher.push(item, FAR_S + item, level)
    sizes = []
    while dispatcher.queued:
        batch, _ = dispatcher.next_batch(0.0, 1, 1)
        assert batch is not None
        assert batch.expected_s == pytest.approx(0.010 * len(batch.items))
        sizes.append(batch.items)
    assert sizes == [(1, 3, 5), (2,), (0, 4)]


def test_a_discarded_item_leaves_the_group_where_it_waits() -> None:
    dispatcher = a_dispatcher(mix(best=0.5, least=0.5))
    for item in range(6):
        dispatcher.push(item, FAR_S, level=1 + item % 2)
    assert dispatcher.ahead(1) == 3
    assert dispatcher.discard(3)
    assert not dispatcher.discard(3)
    assert (dispatcher.queued, dispatcher.ahead(1), dispatcher.ahead(2)) == (5, 3, 5)
