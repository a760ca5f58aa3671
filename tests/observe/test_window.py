"""The observation window: every event is counted once, in the window in which it happened."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.observe.model import Outcomes
from trimtab.observe.window import ObservationWindow, Outcome, TaskLevel, allowed_quantiles

LEVELS = {"read": TaskLevel(queued=3, in_service=2, replicas_ready=1, replicas_starting=1, cores=4)}


def test_complete_seconds_are_reported_once_and_quiet_seconds_are_zero() -> None:
    window = ObservationWindow(10.0)
    for at_s in (10.1, 10.9, 12.5, 13.2):
        window.offered(at_s)
    assert window.close(13.5, LEVELS, 0.0, None).arrivals == (2, 0, 1)
    window.offered(13.9)
    assert window.close(14.0, LEVELS, 0.0, None).arrivals == (2,)
    assert window.close(14.5, LEVELS, 0.0, None).arrivals == ()


def test_outcomes_quantiles_and_levels() -> None:
    window = ObservationWindow(0.0)
    for i in range(100):
        window.ended("in_time", (i + 1) / 100)
    window.ended("late", 5.0)
    window.ended("refused")
    seen = window.close(2.0, LEVELS, 7.5, "abc")
    assert seen.outcomes == Outcomes(in_time=100, late=1, refused=1)
    assert seen.outcomes.attainment == pytest.approx(100 / 102)
    assert seen.outcomes.violation_ratio == pytest.approx(2 / 102)
    assert seen.response_s[0.5] == pytest.approx(0.51)
    assert (seen.window_s, seen.core_seconds, seen.plan_id) == (2.0, 7.5, "abc")
    assert (seen.tasks["read"].queued, seen.tasks["read"].cores) == (3, 4)


def test_nothing_seen_is_missing_not_zero() -> None:
    seen = ObservationWindow(0.0).close(1.0, LEVELS, 0.0, None)
    assert seen.outcomes.attainment is None
    assert seen.outcomes.violation_ratio is None
    assert seen.response_s == {}
    assert seen.tasks["read"].service_ratio is None


def test_the_time_left_is_told_where_somebody_has_less_than_the_slo() -> None:
    window = ObservationWindow(0.0, slo_s=2.0)
    for left_s in (2.0, 1.999, 5.0, math.inf):
        window.offered(0.5, left_s)
    assert window.close(1.0, LEVELS, 0.0, None).allowed_s == {}  # a gateway takes a moment, too
    for number in range(100):
        window.offered(1.5, 0.01 * number if number < 20 else 2.5)
    told = window.close(2.0, LEVELS, 0.0, None).allowed_s
    assert told == pytest.approx({0.01: 0.0, 0.05: 0.04, 0.1: 0.09, 0.25: 2.0, 0.5: 2.0})
    window.offered(2.5, -0.5)
    assert window.close(3.0, LEVELS, 0.0, None).allowed_s == dict.fromkeys(told, 0.0)
    assert window.close(4.0, LEVELS, 0.0, None).allowed_s == {}


@given(st.lists(st.floats(-1.0, 3.0), min_size=1, max_size=60))
def test_each_quantile_is_a_time_that_some_request_had_and_at_most_its_share_had_less(left_s: list[float]) -> None:
    within = [min(max(left, 0.0), 1.0) for left in left_s]
    for q, value in allowed_quantiles(left_s, 1.0).items():
        assert value in within
        assert sum(left < value for left in within) <= q * len(within)
        assert sum(left <= value for left in within) >= q * len(within) - 1e-9


def test_the_service_ratio_is_weighted_by_time_and_skips_what_has_no_profile() -> None:
    window = ObservationWindow(0.0)
    window.served("read", "a", 1, measured_s=0.030, expected_s=0.010)
    window.served("read", "b", 4, measured_s=0.090, expected_s=0.090)
    window.served("read", "b", 4, measured_s=0.090, expected_s=math.inf)
    seen = window.close(1.0, LEVELS, 0.0, None).tasks["read"]
    assert seen.service_ratio == pytest.approx(0.12 / 0.10)
    assert seen.served == {"a": 1, "b": 8}
    assert seen.batches == 3


def test_busy_core_seconds_are_time_by_threads_whatever_the_profile_knows() -> None:
    window = ObservationWindow(0.0)
    window.served("read", "a", 1, measured_s=0.25, expected_s=0.5)
    window.served("read", "a", 8, measured_s=0.5, expected_s=0.5, threads=4)
    window.served("read", "b", 2, measured_s=0.125, expected_s=math.inf, threads=2)
    window.served("other", "a", 1, measured_s=3.0, expected_s=3.0, threads=2)
    levels = {**LEVELS, "other": LEVELS["read"], "idle": LEVELS["read"]}
    seen = window.close(1.0, levels, 0.0, None).tasks
    assert seen["read"].busy_core_s == pytest.approx(0.25 + 0.5 * 4 + 0.125 * 2)
    assert seen["other"].busy_core_s == pytest.approx(6.0)
    assert seen["idle"].busy_core_s == 0.0
    assert seen["read"].service_ratio == pytest.approx(0.75 / 1.0)  # threads do not weigh there


@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "see"]), st.floats(0.0, 5.0), st.integers(1, 8), st.booleans()), max_size=40
    )
)
def test_every_batch_is_busy_in_one_window_only(batches: list[tuple[str, float, int, bool]]) -> None:
    window, levels = ObservationWindow(0.0), {"read": LEVELS["read"], "see": LEVELS["read"]}
    total = {"read": 0.0, "see": 0.0}
    closes = [window.close(0.0, levels, 0.0, None)]
    for number, (task, measured_s, threads, close) in enumerate(batches, start=1):
        window.served(task, "a", 1, measured_s=measured_s, expected_s=measured_s, threads=threads)
        total[task] += measured_s * threads
        if close:
            closes.append(window.close(float(number), levels, 0.0, None))
    closes.append(window.close(100.0, levels, 0.0, None))
    for task, busy_core_s in total.items():
        assert sum(seen.tasks[task].busy_core_s for seen in closes) == pytest.approx(busy_core_s)


@given(st.lists(st.floats(0.0, 50.0), max_size=80).map(sorted), st.lists(st.floats(0.0, 50.0), max_size=8).map(sorted))
def test_no_arrival_is_lost_or_counted_twice(arrivals_s: list[float], closes_s: list[float]) -> None:
    window = ObservationWindow(0.0)
    events = sorted([(t, "offer") for t in arrivals_s] + [(t, "close") for t in closes_s])
    seen: list[int | None] = []
    for at_s, event in events:
        if event == "offer":
            window.offered(at_s)
        else:
            seen += window.close(at_s, LEVELS, 0.0, None).arrivals
    seen += window.close(100.0, LEVELS, 0.0, None).arrivals
    assert len(seen) == 100
    assert seen == [sum(math.floor(t) == second for t in arrivals_s) for second in range(100)]


@given(st.lists(st.sampled_from(["in_time", "late", "refused", "dropped", "failed"]), max_size=50))
def test_outcomes_are_disjoint_and_complete(outcomes: list[Outcome]) -> None:
    window = ObservationWindow(0.0)
    for outcome in outcomes:
        window.ended(outcome)
    assert window.close(1.0, {}, 0.0, None).outcomes.ended == len(outcomes)
