"""The account of an accuracy floor: what it allows, and that the mean is kept where a plan can only step."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.control.floor import MEMORY_S, MOST, SETTLE_S, FloorAccount
from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.testing import make_chain, observation

PIPELINE, _ = make_chain({"a": {"s": (0.7, 0.01), "l": (0.9, 0.05)}})
TWO, _ = make_chain({"a": {"s": (0.7, 0.01), "l": (0.9, 0.05)}, "b": {"s": (0.8, 0.01), "l": (1.0, 0.05)}})


def seen(*served: dict[str, int], in_time: int | None = None, late: int = 0, window_s: float = 1.0) -> Observation:
    """A window in which the tasks a, b, … answered items at variants."""
    tasks = {name: TaskObservation(0, 0, 1, 0, 1, served=of) for name, of in zip("ab", served, strict=False)}
    answered = sum(served[0].values()) if in_time is None else in_time
    return replace(observation(1.0), window_s=window_s, tasks=tasks, outcomes=Outcomes(in_time=answered, late=late))


def test_before_anything_was_seen_it_is_the_floor() -> None:
    assert FloorAccount().planned(0.8) == 0.8


def test_what_was_delivered_above_it_may_be_spent_and_what_lacks_is_made_up_for() -> None:
    for variant, sign in (("l", -1.0), ("s", 1.0)):
        account = FloorAccount()
        account.observe(seen({variant: 10}), PIPELINE, 0.8)
        # Ten requests at 0.1 above or below, to be settled over 20 s of ten requests a second.
        assert account.planned(0.8) == pytest.approx(0.8 + sign * 10 * 0.1 / (10 * SETTLE_S))
    even = FloorAccount()
    even.observe(seen({"s": 5, "l": 5}), PIPELINE, 0.8)
    assert even.planned(0.8) == pytest.approx(0.8)


def test_late_answers_count_and_what_was_not_answered_does_not() -> None:
    account = FloorAccount()
    account.observe(seen({"l": 10}, in_time=2, late=3), PIPELINE, 0.8)
    assert account.planned(0.8) == pytest.approx(0.8 - 5 * 0.1 / (5 * SETTLE_S))


def test_the_accuracies_of_a_pipelines_tasks_multiply() -> None:
    account = FloorAccount()
    account.observe(seen({"l": 10}, {"s": 5, "l": 5}), TWO, 0.8)
    assert account.planned(0.8) == pytest.approx(0.8 - (0.9 * 0.9 - 0.8) / SETTLE_S)


def test_a_window_that_says_nothing_about_some_task_adds_nothing() -> None:
    account = FloorAccount()
    account.observe(seen({"l": 10}), TWO, 0.8)
    account.observe(seen({"l": 10}, {"gone": 10}), TWO, 0.8)
    account.observe(observation(5.0, 10), TWO, 0.8)
    assert account.planned(0.8) == 0.8


def test_it_is_forgotten_as_time_goes_by() -> None:
    account = FloorAccount()
    account.observe(seen({"l": 10}), PIPELINE, 0.8)
    spent = 0.8 - account.planned(0.8)
    account.observe(seen({}, window_s=MEMORY_S), PIPELINE, 0.8)
    assert 0.8 - account.planned(0.8) == pytest.approx(spent / math.e)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.sampled_from([0.2, 1.0, 30.0])), max_size=30),
    st.floats(0.5, 0.95),
)
def test_it_never_goes_far_from_the_floor(windows: list[tuple[int, int, float]], floor: float) -> None:
    account = FloorAccount()
    for small, large, window_s in windows:
        account.observe(seen({"s": small, "l": large}, window_s=window_s), PIPELINE, floor)
        planned = account.planned(floor)
        assert abs(planned - floor) <= MOST * floor * (1.0 + 1e-12)
    if windows and all(small == 0 for small, _, _ in windows):
        assert account.planned(floor) <= max(floor, floor + (floor - 0.9))


@pytest.mark.parametrize("floor", [0.72, 0.81, 0.88])
@pytest.mark.parametrize("error", [0.0, 0.01, -0.01])
def test_the_mean_is_kept_though_plans_come_in_steps_and_are_wrong(floor: float, error: float) -> None:
    """Whoever plans has mixes in steps of 0.05 and is wrong by `error` about each. A plan that keeps the floor at every
    instant would be off by up to their sum; of that the account leaves no more than SETTLE_S ÷ MEMORY_S."""
    account, delivered = FloorAccount(), []
    steps = [0.7 + 0.05 * k for k in range(5)]
    for second in range(600):
        wanted = account.planned(floor)
        planned = next((step for step in steps if step >= wanted + error - 1e-9), steps[-1])
        share = (planned - 0.7) / 0.2
        large = round(1000 * share)
        account.observe(seen({"s": 1000 - large, "l": large}), PIPELINE, floor)
        if second >= 100:
            delivered.append(0.7 + 0.2 * large / 1000)
    left = (0.05 + abs(error)) * SETTLE_S / MEMORY_S
    assert sum(delivered) / len(delivered) == pytest.approx(floor, abs=left)
    assert len(set(delivered)) > 1, "it goes to and fro between steps"
