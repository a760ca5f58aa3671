from __future__ import annotations

import numpy as np
import pytest
from experiments.data import DataError
from experiments.infadapter.bound import Point, best_objective, frontier, hull, points
from experiments.infadapter.measurements import pipeline, service_profile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from tests.experiments.published_data import DATA, needs_data

CORES = 20.0
rates = st.lists(st.integers(1, 200), min_size=1, max_size=6).map(lambda found: np.array(found, dtype=float))
hundredths = st.integers(2, 50).map(lambda n: n / 100.0)
# Accuracies stand apart: differences below the programme's tolerance are none to it.
worths = st.integers(500, 1000).map(lambda n: n / 1000.0)
shares = st.integers(0, 100).map(lambda n: n / 100.0)
variants = st.lists(st.builds(Point, hundredths, worths), max_size=5).map(lambda found: (Point(0.02, 0.5), *found))
"""The first serves 1000 requests/s on all cores."""


def by_programme(load: np.ndarray, of: tuple[Point, ...], accuracy: float) -> float:
    """Fewest mean cores for a mean accuracy, by HiGHS; infinite where there is none."""
    seconds, count = len(load), len(of)
    core_s, worth = np.array([p.core_s for p in of]), np.array([p.accuracy for p in of])
    each = np.kron(np.eye(seconds), np.ones(count))
    found = linprog(
        np.tile(core_s, seconds),
        A_ub=np.vstack([np.kron(np.eye(seconds), core_s), -np.tile(worth, seconds)]),
        b_ub=np.append(np.full(seconds, CORES), -accuracy * load.sum()),
        A_eq=each,
        b_eq=load,
        method="highs",
    )
    return float(found.fun) / seconds if found.status == 0 else float("inf")


def weighted_by_programme(rate: float, of: tuple[Point, ...], beta: float) -> float:
    """The best objective of one second, by HiGHS."""
    core_s, worth = np.array([p.core_s for p in of]), np.array([p.accuracy for p in of])
    found = linprog(
        -(worth / rate - beta * core_s / CORES),
        A_ub=[core_s],
        b_ub=[CORES],
        A_eq=[np.ones(len(of))],
        b_eq=[rate],
        method="highs",
    )
    return -float(found.fun)


@settings(max_examples=60, deadline=None)
@given(rates, variants, shares)
def test_fewest_cores_are_those_of_the_linear_programme(load: np.ndarray, of: tuple[Point, ...], part: float) -> None:
    found = frontier(load, of, CORES)
    asked = found.accuracy[0] + part * 0.999 * (found.accuracy[-1] - found.accuracy[0])
    assert found.fewest_cores(asked) == pytest.approx(by_programme(load, of, asked), rel=1e-6)
    assert found.best_accuracy(found.fewest_cores(asked)) == pytest.approx(asked, abs=1e-9)
    assert by_programme(load, of, found.accuracy[-1] + 1e-4) == float("inf")


@settings(max_examples=60, deadline=None)
@given(rates, variants, st.floats(0.0, 2.0))
def test_the_best_objective_is_that_of_a_programme_for_each_second(
    load: np.ndarray, of: tuple[Point, ...], beta: float
) -> None:
    alone = [weighted_by_programme(rate, of, beta) for rate in load]
    assert best_objective(load, of, CORES, beta) == pytest.approx(np.mean(alone), abs=1e-8)


def test_corners_by_hand() -> None:
    dear, cheap, middle, below = Point(0.4, 0.9), Point(0.1, 0.6), Point(0.2, 0.8), Point(0.3, 0.7)
    assert hull((dear, below, cheap, middle)) == (cheap, middle, dear)
    # 100/s on 20 cores: 10 cores serve all at 0.6, 20 cores all at 0.8, and then none is left. 10/s: 1, 2 and 4 cores.
    found = frontier(np.array([100.0, 10.0]), (cheap, middle, dear), 20.0)
    assert found.cores == pytest.approx([5.5, 11.0, 12.0])
    assert found.accuracy == pytest.approx([0.6, 0.8, (100 * 0.8 + 10 * 0.9) / 110])
    assert found.fewest_cores(0.7) == pytest.approx(8.25)
    assert np.isnan(found.fewest_cores(0.85))
    assert np.isnan(found.best_accuracy(5.0))
    assert found.best_accuracy(99.0) == found.accuracy[-1]


def test_seconds_without_requests_cost_nothing_and_have_no_objective() -> None:
    of = (Point(0.1, 0.6), Point(0.2, 0.8))
    assert frontier(np.array([10.0, 0.0]), of, 20.0).cores == pytest.approx([0.5, 1.0])
    assert best_objective(np.array([10.0, 0.0]), of, 20.0, 0.1) == pytest.approx(0.8 - 0.1 * 2.0 / 20.0)


def test_more_than_all_cores_serve_is_refused() -> None:
    with pytest.raises(DataError, match=r"more than can be served: got 201 requests in a second, wanted at most 200"):
        frontier(np.array([201.0]), (Point(0.1, 0.5),), 20.0)


@needs_data
def test_the_best_core_of_each_network() -> None:
    found = points(pipeline(), service_profile(DATA))
    assert [round(p.core_s, 4) for p in found] == [0.0408, 0.0690, 0.0896, 0.1429, 0.2]
    assert [p.accuracy for p in hull(found)] == [0.69758, 0.7613, 0.77374, 0.78312]
    largest = points(pipeline(), service_profile(DATA), 20)
    assert [round(1.0 / p.core_s, 2) for p in largest] == [19.75, 10.85, 8.7, 4.95, 3.7]
