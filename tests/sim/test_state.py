"""The arrays of a simulation: their table, and room that grows without losing anything."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.scenes import Station, a_plant, scene

from trimtab.sim import Serving, engine
from trimtab.sim import layout as at
from trimtab.sim.state import Sizes, State
from trimtab.spec.model import Edge

SMALL = {"T": 2, "G": 4, "V": 3, "B": 3}


def a_state(**room: int) -> State:
    numbers = iter(range(10_000_000))
    sizes = Sizes(**SMALL, **room)
    return State(sizes, lambda n: np.array([next(numbers) for _ in range(n)], dtype=np.float64))


def alive(state: State, serial: int) -> None:
    """Let a request live, its row told by its serial number."""
    slot = serial & (state.sizes.N - 1)
    state["request_i"][slot] = (serial, 1, 0, 2, serial)
    state["request_f"][slot] = serial
    for name in ("missing", "items", "worth", "brings", "waits"):
        state[name][slot] = serial


def test_arrays_are_as_their_table_says() -> None:
    state = a_state()
    assert tuple(at.SHAPES) == at.Arrays._fields
    for name, array in state.arrays._asdict().items():
        assert array is state[name]
        assert array.dtype == at.dtypes()[name]
        assert array.ndim == len(at.SHAPES[name].split())
        assert array.flags.c_contiguous
    assert len(state["option_i"]) == at.VARIED + 1
    assert len(state["option_f"]) == at.HOP_S + 1
    assert state["group_i"].shape[1] == at.MEMBERS + 1
    assert state["group_f"].shape[1] == at.WAKE_S + 1
    assert state["request_i"].shape[1] == at.NUMBER + 1
    assert state["request_f"].shape[1] == at.END_S + 1
    assert state["batch_i"].shape[1] == at.B_THREADS + 1
    assert len(state["counts"]) == at.DUES + 1
    assert len(state["outcomes"]) == at.FAILED + 1
    assert list(inspect.signature(engine.advance.__wrapped__).parameters) == ["until_s", "s"]


def test_outcomes_are_in_the_order_of_an_observation() -> None:
    from trimtab.observe.model import Outcomes

    names = [name.lower() for name in ("IN_TIME", "LATE", "REFUSED", "DROPPED", "FAILED")]
    assert names == list(Outcomes.__dataclass_fields__)
    assert [getattr(at, name.upper()) for name in names] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("what", "letter"), [("batch", "B"), ("replicas", "R"), ("batches", "K")])
def test_what_was_there_stays_in_its_place(what: str, letter: str) -> None:
    state = a_state(R=3, K=2)
    rng = np.random.Generator(np.random.PCG64(1))
    held = {}
    for name, shape in at.SHAPES.items():
        if letter in shape.split() and name != "spare":
            state[name][...] = rng.integers(0, 2, state[name].shape)
            held[name] = state[name].copy()
    state.fit(**{what: 40})
    assert held
    for name, before in held.items():
        assert state[name].shape != before.shape
        inside = state[name][tuple(slice(n) for n in before.shape)]
        assert (inside == before).all(), name
        assert state.arrays._asdict()[name] is state[name]


def test_new_replicas_serve_nothing_and_new_times_are_unknown() -> None:
    state = a_state(R=2)
    state.fit(replicas=5, batch=9)
    assert (state["replica_i"] == [-1, 0, 0]).all()
    assert (state["replica_f"][:, at.FACTOR] == 1.0).all()
    assert np.isinf(state["service_s"]).all()
    assert np.isinf(state["mean_s"]).all()


def test_places_for_batches_are_all_free_and_none_is_twice() -> None:
    state = a_state(K=2)
    state["counts"][at.SPARE] -= 1  # one is taken: the last of the stack
    taken = int(state["spare"][state["counts"][at.SPARE]])
    state.fit(batches=3)
    state.fit(batches=50)
    free = state["spare"][: state["counts"][at.SPARE]].tolist()
    assert sorted([*free, taken]) == list(range(state.sizes.K))
    assert state.sizes.K >= 50


@settings(max_examples=30)
@given(st.sets(st.integers(0, 15), min_size=1), st.integers(0, 1000))
def test_requests_keep_what_they_hold_when_they_move(living: set[int], base: int) -> None:
    state = a_state(N=16)
    serials = [base * 16 + s for s in living]
    for serial in serials:
        alive(state, serial)
    state._grow_requests()
    assert state.sizes.N == 32
    assert state["request_i"][:, at.ALIVE].sum() == len(living)
    for serial in serials:
        assert engine.living(state.arrays, serial)
        slot = serial & 31
        assert (state["request_f"][slot] == serial).all()
        for name in ("missing", "items", "worth", "brings", "waits"):
            assert (state[name][slot] == serial).all()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 64), max_size=12))
def test_no_random_number_is_lost_or_seen_twice(taken: list[int]) -> None:
    state = a_state(U=64)
    seen: list[float] = []
    for count in taken:
        at_s = int(state["counts"][at.UNIFORM])
        count = min(count, len(state["uniforms"]) - at_s)
        seen += state["uniforms"][at_s : at_s + count].tolist()
        state["counts"][at.UNIFORM] += count
        state._refill()
    assert seen == list(map(float, range(len(seen))))


def test_queues_grow_when_their_entries_need_it_and_not_else() -> None:
    state = a_state(Q=64)
    state.fit()
    room = state.sizes.Q
    state["counts"][at.HIGHEST] = room  # long ago; the queues are empty now
    state.grow_queue()
    assert (state.sizes.Q, state["counts"][at.HIGHEST]) == (room, 0)
    state["group_i"][1, at.ENTRIES] = room - 1
    state["queue_key"][1, : room - 1] = np.arange(room - 1)
    state.grow_queue()
    assert room < state.sizes.Q
    assert state["queue_key"][1, : room - 1].tolist() == list(range(room - 1))


def test_there_is_room_for_all_that_one_event_can_bring() -> None:
    # A batch of 5 answers, each bringing three items to either of two tasks.
    state = a_state()
    state["fan"][1, 0, :] = 2.5
    state.fit(batch=5, batches=30)
    assert state["option_i"][at.PUSHES_AT_ONCE] >= 5 * 3
    assert state["option_i"][at.DRAWS_AT_ONCE] >= 30 + 5
    assert 2 * state["option_i"][at.DRAWS_AT_ONCE] <= state.sizes.U
    assert state["option_i"][at.PUSHES_AT_ONCE] <= state.sizes.Q


def test_an_array_can_be_put_in_the_place_of_another() -> None:
    state = a_state()
    moments = np.array([1.0, 2.0])
    state.replace("arrivals", moments)
    assert state.arrays.arrivals is moments


def test_room_follows_the_ways_through_a_pipeline_and_not_their_number_of_tasks() -> None:
    # A chain of eight tasks whose first answers bring three items each: a request never has more than three at a task.
    stations = [Station("t0")] + [
        Station(f"t{i}", after=(Edge(f"t{i - 1}", 3.0 if i == 1 else 1.0),)) for i in range(1, 8)
    ]
    plant = a_plant(scene(stations), np.array([0.0]), Serving(rule="fifo", draw="mean"))
    assert plant.state["queue_key"].nbytes + plant.state["queue_item"].nbytes < 20e6
    plant.advance(50.0)
    assert plant.state["record_outcome"].tolist() == [at.IN_TIME]
