"""Quantiles hold whatever is forecast; where they do not, that is said."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trimtab.forecast.calibration import HORIZONS_S, QUANTILES, STRIDES_S, Calibration, Pending
from trimtab.rng import generator

Vector = NDArray[np.float64]
HORIZON_S, SPREAD = 20, 10.0
TRUE = np.array([100.0 + SPREAD * NormalDist().inv_cdf(q) for q in QUANTILES])
"""Quantiles of normal numbers, mean 100, of the spread."""


def settle(calibration: Calibration, values: Vector, outcome: float, expected: float = 100.0) -> Vector:
    """Forecast, then learn what came; returns what was forecast."""
    said = calibration.apply(values, SPREAD, HORIZON_S)
    track = calibration.tracks[HORIZON_S]
    track.open.append(Pending(0, said, expected, SPREAD))
    track.settle(outcome)
    return said


def held(calibration: Calibration, values: Vector, outcomes: Iterable[float], warm: int) -> Vector:
    """Share of the outcomes after the first `warm` at or below each quantile; nothing may be warned of after them."""
    count, below = 0, np.zeros(len(QUANTILES))
    for n, outcome in enumerate(outcomes):
        said = settle(calibration, values, outcome)
        if n >= warm:
            count, below = count + 1, below + (outcome <= said)
            assert calibration.warning(HORIZON_S) is None
    return below / count


def normal(n: int, seed: int) -> Vector:
    return 100.0 + SPREAD * generator(seed, "calibration").normal(size=n)


@pytest.mark.parametrize(
    "forecast", [TRUE, TRUE - 30.0, TRUE + 20.0, np.full(7, 60.0), np.full(7, 100.0), 100.0 + 1.5 * (TRUE - 100.0)]
)
def test_a_biased_forecast_holds_in_the_end(forecast: Vector) -> None:
    share = held(Calibration(), forecast, normal(16_000, seed=1), warm=8000)
    assert share == pytest.approx(QUANTILES, abs=0.01)


def test_what_is_right_is_left_alone() -> None:
    calibration = Calibration()
    for outcome in normal(4000, seed=2):
        settle(calibration, TRUE, outcome)
    assert calibration.apply(TRUE, SPREAD, HORIZON_S) == pytest.approx(TRUE, abs=0.6 * SPREAD)
    assert np.abs(calibration.offsets(HORIZON_S)[2]) < 0.3


@pytest.mark.parametrize("drift", ["trend", "swing", "walk"])
def test_it_holds_on_a_series_that_drifts(drift: str) -> None:
    n = 8000
    at = np.arange(n)
    moved = {
        "trend": 0.002 * at,
        "swing": 10.0 * np.sin(2.0 * math.pi * at / n),
        "walk": np.cumsum(generator(3, "walk").normal(0.0, 0.1, n)),
    }[drift]
    share = held(Calibration(), TRUE, normal(n, seed=4) + moved, warm=1500)
    assert share == pytest.approx(QUANTILES, abs=0.01)


@pytest.mark.parametrize("bias", [-30.0, 0.0, 45.0])
def test_a_biased_mean_is_put_right(bias: float) -> None:
    calibration = Calibration()
    assert calibration.unbiased(100.0 + bias, SPREAD, HORIZON_S) == 100.0 + bias
    for outcome in normal(3000, seed=6):
        settle(calibration, TRUE, outcome, expected=100.0 + bias)
    assert calibration.unbiased(100.0 + bias, SPREAD, HORIZON_S) == pytest.approx(100.0, abs=0.1 * SPREAD)
    assert calibration.unbiased(100.0 + bias, 10 * SPREAD, HORIZON_S) == pytest.approx(
        max(0.0, 100.0 - 9.0 * bias), abs=SPREAD
    )
    assert calibration.unbiased(0.0, SPREAD, HORIZON_S) >= 0.0


def test_offsets_are_in_units_of_the_spread() -> None:
    calibration = Calibration({HORIZON_S: np.full(7, 2.0)})
    assert calibration.apply(TRUE, 10.0, HORIZON_S) == pytest.approx(TRUE + 20.0)
    assert calibration.apply(TRUE, 0.5, HORIZON_S) == pytest.approx(TRUE + 1.0)


def test_a_miss_moves_up_and_a_hit_down_by_their_odds() -> None:
    calibration = Calibration()
    settle(calibration, TRUE, 1000.0)
    up = calibration.offsets(HORIZON_S).copy()
    settle(calibration, TRUE, 0.0)
    down = calibration.offsets(HORIZON_S) - up
    gain = up[2] / 0.5
    assert up == pytest.approx(gain * np.array(QUANTILES))
    assert down == pytest.approx(-gain * (1.0 - np.array(QUANTILES)))


@given(
    st.lists(st.floats(-1e3, 1e6), min_size=7, max_size=7),
    st.lists(st.floats(-100.0, 100.0), min_size=7, max_size=7),
    st.floats(0.0, 1e4),
    st.floats(1.0, 3600.0),
)
def test_what_is_said_ascends_from_zero(values: list[float], offsets: list[float], spread: float, at_s: float) -> None:
    calibration = Calibration({h: np.array(offsets) for h in HORIZONS_S})
    said = calibration.apply(np.array(sorted(values)), spread, at_s)
    assert list(said) == sorted(said)
    assert said[0] >= 0.0


def test_offsets_between_horizons_are_interpolated_in_the_logarithm() -> None:
    calibration = Calibration({h: np.full(7, float(k)) for k, h in enumerate(HORIZONS_S)})
    for k, horizon_s in enumerate(HORIZONS_S):
        assert calibration.offsets(horizon_s) == pytest.approx(np.full(7, float(k)))
    for k, (low, high) in enumerate(pairwise(HORIZONS_S)):
        assert calibration.offsets(math.sqrt(low * high)) == pytest.approx(np.full(7, k + 0.5))
    assert calibration.offsets(0.5) == pytest.approx(np.zeros(7))
    assert calibration.offsets(86_400.0) == pytest.approx(np.full(7, len(HORIZONS_S) - 1.0))


def test_each_horizon_has_its_turn() -> None:
    for clock_s in (*range(3600), 1_627_776_000):
        due = [h for h, stride_s in zip(HORIZONS_S, STRIDES_S, strict=True) if clock_s % stride_s == 0]
        assert list(Calibration().due(clock_s)) == due
    assert list(Calibration().due(0)) == list(HORIZONS_S)


def test_a_forecast_that_does_not_hold_is_told() -> None:
    calibration = Calibration()
    for n in range(400):
        above = float(calibration.apply(TRUE, SPREAD, HORIZON_S)[2]) + 1.0
        settle(calibration, TRUE, above)  # an adversary: always above the middle
        if n < 50:
            assert calibration.warning(HORIZON_S) is None, "too few to say so"
    warning = calibration.warning(HORIZON_S)
    assert warning is not None
    assert "the 50 % quantile held" in warning
    assert int(warning.split("held ")[1].split(" %")[0]) < 10
    assert calibration.warning(25.0) == warning, "the nearest horizon"
    assert calibration.warning(30.0) == warning
    assert calibration.warning(600.0) is None, "another horizon"
    assert calibration.warning(2.0) is None


def test_a_warning_ends_when_it_holds_again() -> None:
    calibration = Calibration()
    for _ in range(400):
        settle(calibration, TRUE, float(calibration.apply(TRUE, SPREAD, HORIZON_S)[2]) + 1.0)
    assert calibration.warning(HORIZON_S) is not None
    for outcome in normal(6000, seed=5):
        settle(calibration, TRUE, outcome)
    assert calibration.warning(HORIZON_S) is None


def test_setting_the_clock_forgets_what_is_open_and_keeps_what_was_learned() -> None:
    calibration = Calibration()
    settle(calibration, TRUE, 1000.0)
    learned = calibration.offsets(HORIZON_S).copy()
    calibration.tracks[HORIZON_S].open.append(Pending(7, TRUE, 100.0, SPREAD))
    calibration.forget_open()
    assert not any(track.open for track in calibration.tracks.values())
    assert np.array_equal(calibration.offsets(HORIZON_S), learned)


def idle(outcomes: int) -> Calibration:
    """After so many outcomes of nothing, forecast rightly as nothing: eight hours are 2,880."""
    calibration = Calibration()
    for _ in range(outcomes):
        settle(calibration, np.zeros(len(QUANTILES)), 0.0, expected=0.0)
    return calibration


def test_an_idle_night_is_no_reason_for_a_warning() -> None:
    assert idle(2880).warning(HORIZON_S) is None


def test_an_idle_night_does_not_spoil_the_morning() -> None:
    """Nothing lies below zero: that a forecast of zero held is no sign that it was too high."""
    said = idle(2880).apply(TRUE, SPREAD, HORIZON_S)
    assert said == pytest.approx(TRUE, rel=0.5)
