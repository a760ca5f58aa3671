"""The event loop: its heap, its order of events, the life of a request, and a second simulator beside it."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.reference import Reference, Step
from tests.sim.scenes import Run, Station, a_plant, chain_of, run, scene

from trimtab.sim import Fault, Serving, engine
from trimtab.sim import layout as at
from trimtab.sim.model import PLANTS
from trimtab.sim.plant import SimPlant
from trimtab.spec.model import Edge

MEAN = Serving(rule="fifo", draw="mean")
NEVER_ANSWERED = math.nan


# --- the heap -------------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(0.0, 3.0), st.none()), max_size=60))
def test_the_heap_gives_the_earliest_and_of_equals_the_first(steps: list[float | None]) -> None:
    key, item, entries = np.empty(64), np.empty((64, 2), dtype=np.int64), 0
    oracle: list[tuple[float, int]] = []
    for sequence, moment in enumerate(steps):
        if moment is not None:
            engine.push(key, item, entries, moment, sequence, 7 * sequence)
            heapq.heappush(oracle, (moment, sequence))
            entries += 1
        elif entries:
            assert engine.pop(key, item, entries) == 7 * heapq.heappop(oracle)[1]
            entries -= 1
        assert entries == len(oracle)
        assert not entries or (key[0], item[0, 0]) == oracle[0]
    while entries:
        assert engine.pop(key, item, entries) == 7 * heapq.heappop(oracle)[1]
        entries -= 1


# --- another simulator ----------------------------------------------------------------------------------------------


@st.composite
def chains(draw: st.DrawFn) -> list[Step]:
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        batch = draw(st.integers(1, 4))
        alone_s, gain = draw(st.floats(0.05, 2.0)), draw(st.floats(0.0, 1.0))
        seconds = {b: alone_s * (1.0 + gain * (b - 1)) for b in range(1, batch + 1)}
        steps.append(Step(draw(st.integers(1, 3)), batch, seconds))
    return steps


@settings(max_examples=80)
@given(
    chains(),
    st.lists(st.floats(0.0, 20.0), min_size=1, max_size=40, unique=True).map(sorted),
    st.sampled_from([0.0, 0.0, 0.3, 2.0]),
    st.sampled_from([None, None, 1.5]),
    st.sampled_from([None, None, 2, 6]),
)
def test_every_response_time_is_that_of_a_second_simulator(
    steps: list[Step], moments: list[float], max_wait_s: float, drop_after_s: float | None, limit: int | None
) -> None:
    stations = [Station(f"t{i}", step.seconds, step.servers, step.batch) for i, step in enumerate(steps)]
    serving = Serving(rule="fifo", draw="mean", max_wait_s=max_wait_s, drop_after_s=drop_after_s, queue_limit=limit)
    ours = run(scene(chain_of(*stations)), np.array(moments), serving)
    answers_s, refused, dropped = Reference(steps, max_wait_s, drop_after_s, limit).run(moments)
    assert np.flatnonzero(ours.outcome == at.REFUSED).tolist() == sorted(refused)
    assert np.flatnonzero(ours.outcome == at.DROPPED).tolist() == sorted(dropped)
    expected = [answers_s.get(i, NEVER_ANSWERED) for i in range(len(moments))]
    np.testing.assert_allclose(ours.response_s, expected, rtol=0.0, atol=1e-9)


def test_the_second_simulator_by_hand() -> None:
    # Two at a time for up to 0.5 s: 0.0 and 0.2 leave at 0.2, take 1 s; 3.0 waits until 3.5. Then 2 s one by one.
    steps = [Step(1, 2, {1: 1.0, 2: 1.0}), Step(1, 1, {1: 2.0})]
    answers_s, refused, dropped = Reference(steps, max_wait_s=0.5).run([0.0, 0.2, 3.0])
    assert answers_s == pytest.approx({0: 3.2, 1: 5.0, 2: 4.2})
    assert not refused | dropped


# --- order at one moment --------------------------------------------------------------------------------------------


def test_a_batch_that_ends_makes_room_for_a_request_of_the_same_moment() -> None:
    serving = Serving(rule="fifo", draw="mean", queue_limit=1)
    done = run(scene([Station("a", 0.5)]), np.array([0.0, 0.5, 0.75]), serving)
    assert done.outcome.tolist() == [at.IN_TIME, at.IN_TIME, at.REFUSED]


def test_a_request_joins_a_batch_that_stops_waiting_at_the_same_moment() -> None:
    serving = Serving(rule="fifo", draw="mean", max_wait_s=0.5)
    done = run(scene([Station("a", dict.fromkeys(range(1, 5), 1.0), batch=4)]), np.array([0.0, 0.5]), serving)
    assert done.batches == 1
    assert done.response_s == pytest.approx([1.5, 1.0])


@pytest.mark.parametrize(("slo_s", "outcome"), [(0.5, at.IN_TIME), (0.499, at.LATE)])
def test_what_ends_at_its_deadline_is_in_time(slo_s: float, outcome: int) -> None:
    done = run(scene([Station("a", 0.5)], slo_s=slo_s), np.array([0.0]), MEAN)
    assert done.outcome.tolist() == [outcome]


def test_a_deadline_ends_what_waits_and_not_what_is_served() -> None:
    # The rule believes 0.3 s and takes 2 s: of the two requests, the first is served past its deadline of 1 s.
    believed = scene([Station("a", 0.3)], slo_s=1.0)
    truth = scene([Station("a", 2.0)]).profile
    moments = np.array([0.0, 0.1])
    plant = SimPlant(
        believed.pipeline, believed.profile, PLANTS["free"], 1, iter([moments]), 0,
        serving=Serving(draw="mean"), truth=truth, records=2,
    )  # fmt: skip
    plant.apply_now(believed.plan, warm=True)
    plant.advance(1.05)
    assert plant.under_way == 2
    plant.advance(1.15)
    assert plant.under_way == 1
    plant.advance(3.0)
    assert plant.state["record_outcome"].tolist() == [at.LATE, at.REFUSED]


def test_trimtab_refuses_what_it_cannot_save() -> None:
    # 95 % of 0.5 s hold one service time of 0.3 s and not two; half of what is in service counts as done.
    done = run(scene([Station("a", 0.3)], slo_s=0.5), np.array([0.0, 0.01, 0.02]), Serving(draw="mean"))
    assert done.outcome.tolist() == [at.IN_TIME, at.REFUSED, at.REFUSED]


# --- the life of a request ------------------------------------------------------------------------------------------


def one(*stations: Station) -> Run:
    return run(scene(stations), np.array([1.0]), MEAN)


def test_a_join_waits_for_the_longer_way() -> None:
    after = (Edge("root"),)
    done = one(
        Station("root", 0.1),
        Station("short", 0.2, after=after),
        Station("long", 0.7, after=after),
        Station("join", 0.4, after=(Edge("short"), Edge("long"))),
    )
    assert done.response_s == pytest.approx([1.2])


def test_several_roots_start_at_once() -> None:
    done = one(Station("a", 0.3), Station("b", 0.5), Station("join", 0.1, after=(Edge("a"), Edge("b"))))
    assert done.response_s == pytest.approx([0.6])


def test_fan_outs_multiply_and_a_join_takes_the_larger() -> None:
    # Two items of b, three items of c for each of them; d joins one item of a's with b's two: two items.
    done = one(
        Station("a", 1.0),
        Station("b", 1.0, after=(Edge("a", 2.0),)),
        Station("c", 1.0, after=(Edge("b", 3.0),)),
        Station("d", 1.0, after=(Edge("a"), Edge("b"))),
    )
    assert done.busy_core_s == pytest.approx(1 + 2 + 6 + 2)
    # a until 1; b's items until 2 and 3. c has one server: six items from 3 on. d is done by then.
    assert done.response_s == pytest.approx([9.0])


def test_a_task_that_gets_nothing_to_do_is_done() -> None:
    # No answer of `a` brings an item; the two tasks behind it are skipped, and the request is answered.
    built = scene(
        [
            Station("a", 1.0),
            Station("b", 1.0, after=(Edge("a", 0.0),)),
            Station("c", 1.0, after=(Edge("b", 2.0),)),
            Station("d", 1.0, after=(Edge("a"), Edge("c"))),
        ]
    )
    done = run(built, np.array([0.0]), MEAN)
    assert done.response_s == pytest.approx([2.0])
    assert done.busy_core_s == pytest.approx(2.0)


def test_a_fraction_is_drawn_for_each_answer() -> None:
    built = scene([Station("a", 0.001, 2), Station("b", 0.001, 4, after=(Edge("a", 1.25),))])
    done = run(built, np.linspace(0.0, 40.0, 4000), MEAN)
    items = done.busy_core_s / 0.001 - 4000
    assert items == pytest.approx(5000, abs=4 * math.sqrt(4000 * 0.25 * 0.75))


def test_a_limit_behind_the_first_task_drops_what_was_worked_on() -> None:
    # The second task takes 1 s and holds two: of four requests that come out of the first at once, two are dropped.
    stations = chain_of(Station("a", 0.5, 4), Station("b", 1.0))
    done = run(scene(stations), np.zeros(4), Serving(rule="fifo", draw="mean", queue_limit=2))
    assert done.outcome.tolist() == [at.IN_TIME, at.IN_TIME, at.REFUSED, at.REFUSED]
    stations = chain_of(Station("a", {1: 0.5, 2: 0.5}, batch=2), Station("b", 5.0))
    done = run(scene(stations), np.array([0.0, 1.0, 2.0]), Serving(rule="fifo", draw="mean", queue_limit=2))
    assert done.outcome.tolist() == [at.IN_TIME, at.IN_TIME, at.DROPPED]


def test_replicas_that_are_lost_again_and_again_leave_room_for_batches() -> None:
    # A lost batch keeps its place until its time has come: eight slots, lost each second, with batches of 100 s.
    built = scene([Station("a", 100.0, 8)])
    faults = [Fault(1.0 + 0.1 * k, "a") for k in range(40)]
    moments = np.full(300, 0.5)
    plant = SimPlant(
        built.pipeline, built.profile, PLANTS["free"], 8, iter([moments]), 0,
        serving=MEAN, faults=faults, records=len(moments),
    )  # fmt: skip
    plant.apply_now(built.plan, warm=True)
    plant.advance(10_000.0)
    assert plant.under_way == 0
    assert (plant.state["record_outcome"] >= 0).all()


def test_moments_are_given_in_any_portions() -> None:
    built = scene([Station("a", 0.3)])
    moments = np.sort(np.random.Generator(np.random.PCG64(3)).random(200) * 50.0)
    whole = a_plant(built, moments, MEAN)
    whole.advance(200.0)
    parts = [moments[(moments >= s) & (moments < s + 5)] for s in range(0, 50, 5)]
    plant = SimPlant(
        built.pipeline, built.profile, PLANTS["free"], 1, iter(parts), 0, serving=MEAN, records=len(moments)
    )
    plant.apply_now(built.plan, warm=True)
    for second in range(1, 201):
        plant.advance(float(second))
    assert plant.state["record_s"].tolist() == whole.state["record_s"].tolist()


def test_time_may_pass_in_any_steps() -> None:
    built = scene(chain_of(Station("a", 0.3), Station("b", 0.35)), slo_s=1.0)
    moments = np.sort(np.random.Generator(np.random.PCG64(4)).random(120) * 40.0)
    records = []
    for steps in (1, 777):
        plant = a_plant(built, moments, Serving(draw="exponential"), seed=9)
        for k in range(1, steps + 1):
            plant.advance(60.0 * k / steps)
        records.append((plant.state["record_outcome"].tolist(), np.nan_to_num(plant.state["record_s"]).tolist()))
    assert records[0] == records[1]
