"""The dispatch kernels: properties in prose, and an independent brute-force reading of the rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.dispatch import kernels
from trimtab.dispatch.task import least_times

# Three variants, most accurate first: 50, 20 and 5 ms an item; a batch costs a little less than its items alone.
SERVICE_S = np.array([[math.inf] + [base * (0.2 + 0.8 * b) for b in range(1, 9)] for base in (0.050, 0.020, 0.005)])
ONES = np.ones(3)
ALL = np.ones(3, dtype=np.bool_)


def choose(slack_s: float, queued: int = 1, **changes: object) -> tuple[int, int]:
    arguments: dict[str, object] = {
        "slack_s": slack_s,
        "last_slack_s": slack_s,
        "queued": queued,
        "free_slots": 1,
        "slots": 1,
        "service_s": SERVICE_S,
        "ratio": ONES,
        "allowed": ALL,
        "max_batch": 8,
        "pressure_s": 0.1,
    }
    return kernels.choose(**(arguments | changes))  # type: ignore[arg-type]  # one dict of mixed arguments


def test_takes_the_most_accurate_variant_when_there_is_time() -> None:
    assert choose(0.4) == (0, 1)


def test_takes_a_cheaper_variant_when_the_head_has_little_slack() -> None:
    assert choose(0.030) == (1, 1)
    assert choose(0.006) == (2, 1)


def test_takes_a_cheaper_variant_when_the_backlog_would_wait_too_long() -> None:
    # 6 items behind one batch of one at 50 ms: 300 ms to drain, more than the 100 ms allowed; at 20 ms it is 120 ms.
    assert choose(0.4, queued=7, max_batch=1) == (2, 1)
    assert choose(0.4, queued=5, max_batch=1) == (1, 1)


def test_gives_up_what_nothing_can_save() -> None:
    assert choose(0.004) == (-1, 0)


def test_uses_the_slack_of_later_tasks_only_with_the_fastest_variant() -> None:
    assert choose(0.004, last_slack_s=0.060) == (2, 1)


def test_a_variant_that_is_not_allowed_is_never_taken() -> None:
    only_heavy = np.array([True, False, False])
    assert choose(0.4, allowed=only_heavy) == (0, 1)
    assert choose(0.030, allowed=only_heavy) == (-1, 0)


def test_a_slower_machine_is_taken_into_account() -> None:
    assert choose(0.060) == (0, 1)
    assert choose(0.060, ratio=2 * ONES) == (1, 1)


def test_free_slots_share_the_queue() -> None:
    assert choose(1.0, queued=4, free_slots=4, slots=4, pressure_s=10.0) == (0, 1)
    assert choose(1.0, queued=4, free_slots=1, slots=4, pressure_s=10.0) == (0, 4)


def test_the_fastest_way_need_not_be_the_least_accurate_variant() -> None:
    dominated = np.array([[math.inf, 0.010], [math.inf, 0.030]])
    arguments = {"service_s": dominated, "ratio": np.ones(2), "allowed": np.ones(2, np.bool_), "max_batch": 1}
    assert choose(0.020, queued=100, pressure_s=0.0, **arguments) == (0, 1)


@given(
    slack_s=st.floats(0.0, 0.5),
    extra_s=st.floats(0.0, 0.5),
    queued=st.integers(1, 40),
    free=st.integers(1, 4),
    more_slots=st.integers(0, 4),
    ratio=st.lists(st.floats(0.3, 4.0), min_size=3, max_size=3),
    allowed=st.lists(st.booleans(), min_size=3, max_size=3),
    max_batch=st.integers(1, 8),
    pressure_s=st.floats(0.0, 0.5),
)
def test_choice_agrees_with_the_rule_read_out_loud(
    slack_s: float,
    extra_s: float,
    queued: int,
    free: int,
    more_slots: int,
    ratio: list[float],
    allowed: list[bool],
    max_batch: int,
    pressure_s: float,
) -> None:
    slots, last_s = free + more_slots, slack_s + extra_s
    most = min(max_batch, math.ceil(queued / free))

    def fits(v: int, within_s: float) -> list[int]:
        return [b for b in range(1, most + 1) if SERVICE_S[v, b] * ratio[v] <= within_s]

    expected = (-1, 0)
    calm = [
        (v, b)
        for v in range(3)
        if allowed[v] and (b := max(fits(v, slack_s), default=0))
        and (queued - b) * SERVICE_S[v, b] * ratio[v] / (b * slots) <= pressure_s
    ]  # fmt: skip
    rescue = [(SERVICE_S[v, b] * ratio[v] / b, v, b) for v in range(3) if allowed[v] for b in fits(v, last_s)[-1:]]
    if calm:
        expected = calm[0]
    elif rescue:
        expected = min(rescue)[1:]
    got = kernels.choose(
        slack_s, last_s, queued, free, slots, SERVICE_S, np.array(ratio), np.array(allowed), max_batch, pressure_s
    )
    assert got == expected


def test_fastest_names_the_quickest_single_item_and_the_cheapest_item_of_a_batch() -> None:
    least_s = least_times(SERVICE_S)
    alone_s, per_item_s = kernels.fastest(least_s[0], least_s[1], ONES, ALL)
    assert alone_s == pytest.approx(0.005)
    assert per_item_s == pytest.approx(0.005 * (0.2 + 0.8 * 8) / 8)


def predicted(queued: list[int], in_service: list[int], slots: list[int]) -> float:
    chain = np.array([[False, False], [True, False]])
    return kernels.predicted_response_s(
        np.array(queued),
        np.array(in_service),
        np.array(slots),
        np.array([0.01, 0.02]),
        np.array([0.01, 0.02]),
        chain,
        np.array([True, True]),
        np.zeros(2),
    )


def test_an_empty_system_answers_in_the_sum_of_its_fastest_times() -> None:
    assert predicted([0, 0], [0, 0], [1, 1]) == pytest.approx(0.03)


def test_backlog_adds_its_drain_time_and_drains_while_the_request_is_on_its_way() -> None:
    assert predicted([10, 0], [1, 0], [1, 1]) == pytest.approx(0.01 * 10.5 + 0.03)
    # The second task's backlog of 10 · 20 ms has 10 ms of drain behind it when the request arrives there.
    assert predicted([0, 10], [0, 0], [1, 1]) == pytest.approx(0.01 + (0.2 - 0.01) + 0.02)


def test_a_task_without_replicas_never_answers() -> None:
    assert predicted([0, 0], [0, 0], [1, 0]) == math.inf


def test_parallel_tasks_count_once() -> None:
    fork = np.zeros((2, 2), dtype=np.bool_)
    response_s = kernels.predicted_response_s(
        np.zeros(2, np.int64), np.zeros(2, np.int64), np.ones(2, np.int64),
        np.array([0.01, 0.02]), np.array([0.01, 0.02]), fork, np.array([True, True]), np.zeros(2),
    )  # fmt: skip
    assert response_s == pytest.approx(0.02)


@given(st.lists(st.floats(0.001, 10.0), min_size=200, max_size=200), st.floats(0.5, 2.0))
def test_the_correction_converges_to_a_steady_ratio_and_stays_in_bounds(noise: list[float], steady: float) -> None:
    ratio = 1.0
    for measured in noise:
        ratio = kernels.corrected_ratio(ratio, measured, 1.0)
        assert 0.2 <= ratio <= 5.0
    for _ in range(200):
        ratio = kernels.corrected_ratio(ratio, steady, 1.0)
    assert ratio == pytest.approx(steady, rel=1e-3)
