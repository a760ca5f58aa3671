from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan.latency import (
    TOLERANCE,
    BatchTime,
    Conditions,
    TableTime,
    Tail,
    batch_times,
    core_seconds,
    group_latency,
    group_times,
    is_within,
    known_shapes,
    lone_time_s,
    table_latency,
    table_row,
    times_latency,
)
from trimtab.plan.model import LatencyModel
from trimtab.profile.model import CapacityPoint, VariantProfile
from trimtab.testing import make_chain

_, _PROFILE = make_chain({"a": {"v": (0.9, 0.02)}}, shapes=((1, 1), (2, 1), (2, 2)), batches=(1, 4))
POINTS = _PROFILE.variants["a"]["v"]
ROWS = (CapacityPoint(2, 10.0, 0.6), CapacityPoint(4, 27.0, 0.65), CapacityPoint(8, 60.0, 0.7))
TABLE = VariantProfile("a", "v", (), capacity=ROWS)
BOTH = replace(POINTS, capacity=ROWS)


def conditions(rate: float, model: LatencyModel = "tail", formation_rate: float | None = None) -> Conditions:
    return Conditions(rate, Tail.of(0.99), 1.0, model, formation_rate)


def test_the_table_speaks_where_no_point_has_these_cores() -> None:
    assert table_row(TABLE, 4, 1) == ROWS[1]
    assert table_row(BOTH, 4, 1) == ROWS[1]
    assert table_row(BOTH, 2, 1) is None, "measured points come first"
    assert table_row(TABLE, 4, 2) is None, "a table knows one thread"
    assert table_row(TABLE, 3, 1) is None
    assert known_shapes(TABLE) == ((2, 1), (4, 1), (8, 1))
    assert known_shapes(BOTH) == ((1, 1), (2, 1), (2, 2), (4, 1), (8, 1))
    assert lone_time_s(BOTH, 4, 1) == 0.65
    assert lone_time_s(BOTH, 1, 1) == pytest.approx(0.02)
    assert lone_time_s(BOTH, 3, 1) is None


@pytest.mark.parametrize("model", ["paper", "tail"])
def test_a_table_answers_in_its_latency_up_to_its_rate(model: LatencyModel) -> None:
    times, notes = group_times(TABLE, 4, 1, 1, 0.99)
    assert (times, notes) == (TableTime(27.0, 0.65), ())
    within = times_latency(times, 2, 4, conditions(54.0, model))
    assert (within.total_s, within.utilisation, within.capacity) == (0.65, 1.0, 54.0)
    beyond = times_latency(times, 2, 4, conditions(54.1, model))
    assert beyond.total_s == math.inf
    assert beyond.service_s == 0.65


def test_a_slower_machine_serves_less_by_a_table() -> None:
    assert group_times(TABLE, 4, 1, 1, 0.99, ratio=2.0)[0] == TableTime(13.5, 1.3)


def test_a_table_knows_no_batches_and_no_other_shapes() -> None:
    for shape in ((4, 1, 2), (4, 2, 1), (5, 1, 1)):
        with pytest.raises(KeyError):
            group_times(TABLE, *shape, 0.99)


def test_core_seconds_of_an_item() -> None:
    assert core_seconds(TableTime(27.0, 0.65), 4, 1) == pytest.approx(4 / 27)
    times, _ = batch_times(POINTS, 2, 2, 4, 0.99)
    assert core_seconds(times, 2, 2) == pytest.approx(2 * 0.02 / math.sqrt(2) * (0.1 + 0.9 * 4) / 4)


def test_batches_fill_from_the_whole_traffic_of_the_task() -> None:
    times = (BatchTime(4, 0.02, 0.025, 0.0),)
    alone = group_latency(times, 4, conditions(10.0, "paper"))
    shared = group_latency(times, 4, conditions(10.0, "paper", formation_rate=40.0))
    assert alone.waiting_s == pytest.approx(3 / 10)
    assert shared.waiting_s == pytest.approx(3 / 40)
    assert alone.utilisation == shared.utilisation
    tail = [group_latency(times, 4, conditions(10.0, "tail", rate)).mean_s for rate in (10.0, 40.0)]
    assert tail[0] - tail[1] == pytest.approx(3 / 10 - 3 / 40)


@given(st.floats(1e-3, 1e3), st.integers(1, 50), st.floats(0.5, 1.5))
def test_rounding_is_forgiven_and_no_more(rate: float, replicas: int, part: float) -> None:
    found = table_latency(TableTime(rate, 0.5), replicas, conditions(part * replicas * rate))
    assert math.isinf(found.waiting_s) == (part > 1.0 + TOLERANCE) or math.isclose(part, 1.0 + TOLERANCE, rel_tol=1e-12)
    assert is_within(0.1 + 0.2, 0.3)
    assert not is_within(0.3 * (1 + 3 * TOLERANCE), 0.3)
