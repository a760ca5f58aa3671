from __future__ import annotations

import numpy as np
import pytest
from experiments.ipa.decision_time import BATCHES, CLONE, Numbers, cloned, decide, exhaustive, problem
from hypothesis import given
from hypothesis import strategies as st


def some(accuracy: float, seconds: float, cores: float = 1.0) -> Numbers:
    latency = seconds * (0.4 + 0.6 * BATCHES)
    return accuracy, latency, BATCHES / latency, cores


TASKS = [[some(0.4, 0.05), some(0.6, 0.2, 2.0)], [some(0.7, 0.04), some(0.75, 0.1), some(0.8, 0.3, 2.0)]]


@given(st.floats(0.5, 60.0), st.integers(1, 3), st.integers(1, 3))
def test_decisions_are_optimal(rate: float, tasks: int, variants: int) -> None:
    sized = cloned(TASKS, tasks, variants)
    _, (value,) = decide(sized, [rate])
    assert value == pytest.approx(exhaustive(sized, rate), abs=1e-9)


def test_the_heaviest_variant_and_the_first_task_are_cloned() -> None:
    sized = cloned(TASKS, 4, 5)
    assert [len(task) for task in sized] == [5, 5, 5, 5]
    assert [a for a, *_ in sized[0]] == pytest.approx([0.4, 0.6, 0.6 + CLONE, 0.6 + 2 * CLONE, 0.6 + 3 * CLONE])
    assert sized[2] is sized[0]
    assert sized[3] is sized[0]
    assert [len(task) for task in cloned(TASKS, 2, 1)] == [1, 1]


def test_coefficients_by_hand() -> None:
    asked = problem([[some(0.5, 0.1, 2.0)]], 30.0)
    (table,) = asked.choices
    # h = 10, 12.5 and 15.38 requests/s, so 3, 3 and 2 replicas of two cores.
    assert table.cost == pytest.approx([6.0 + 1e-6, 6.0 + 2e-6, 4.0 + 8e-6])
    assert table.latency_s == pytest.approx(np.array([0.1, 0.16, 0.52]) + np.array([0.0, 1.0, 7.0]) / 30.0)
    assert asked.latency_s == pytest.approx(2.5)
