"""Forecasters by maxima, against sums worked out by hand and against pandas' recursion."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.forecast import Forecaster, RateForecast
from trimtab.forecast.windowed import EwmForecaster, LastForecaster, MaxWindowForecaster
from trimtab.testing import check_forecaster

Counts = Sequence[int | None]
KINDS = [LastForecaster, MaxWindowForecaster, EwmForecaster]


def told(make: Callable[[], Forecaster], counts: Counts, horizon_s: float = 1.0) -> RateForecast | None:
    forecaster = make()
    forecaster.observe(counts)
    return forecaster.forecast(horizon_s)


def highest(make: Callable[[], Forecaster], counts: Counts, horizon_s: float = 1.0) -> float:
    forecast = told(make, counts, horizon_s)
    assert forecast is not None
    return forecast.at(0.5)


@pytest.mark.parametrize("make", KINDS)
def test_each_passes_the_kit(make: Callable[[], Forecaster]) -> None:
    assert isinstance(make(), Forecaster)
    check_forecaster(make)


@pytest.mark.parametrize("make", KINDS)
def test_they_know_one_value_and_no_spread(make: Callable[[], Forecaster]) -> None:
    forecast = told(make, [3, 9, 6], 3.0)
    assert forecast is not None
    assert {forecast.at(q) for q in (0.01, 0.5, 0.9, 0.95, 0.99, 0.999)} == {9.0}
    assert forecast.level_rps == pytest.approx(6.0)
    assert (forecast.horizon_s, forecast.burstiness) == (3.0, 1.0)


@pytest.mark.parametrize("make", KINDS)
def test_the_peak_is_the_highest_rate_and_no_quantile_differs(make: Callable[[], Forecaster]) -> None:
    forecast = told(make, [3, 9, 6, 4, 8], 2.0)
    assert forecast is not None
    assert forecast.peak is not None
    assert forecast.mean is not None
    assert forecast.peak.quantiles == forecast.quantiles_rps
    assert forecast.peak.expected == forecast.at(0.5)
    assert {forecast.mean.at(q) for q in (0.01, 0.5, 0.99)} == {forecast.mean.expected}


@pytest.mark.parametrize(
    ("make", "counts", "horizon_s", "mean_rps"),
    [
        (LastForecaster, [3, 9, 6], 2.0, 7.5),
        (LastForecaster, [9, None, 4, None], 3.0, 4.0),
        (LastForecaster, [9, 5], 60.0, 7.0),
        (MaxWindowForecaster, [900, 500, *[3] * 119], 2.0, (500 + 3 * 119) / 120),
        (MaxWindowForecaster, [8, 4, *[None] * 30], 2.0, 6.0),
        (EwmForecaster, [1, 5, 3, 9], 2.0, (11 * 6 + 9 * 3) / 20),
        (EwmForecaster, [4, 2, None, 10], 2.0, (11 * 10 + 9 * 3) / 20),
    ],
)
def test_the_mean_is_that_of_the_seconds_looked_at(
    make: Callable[[], Forecaster], counts: Counts, horizon_s: float, mean_rps: float
) -> None:
    forecast = told(make, counts, horizon_s)
    assert forecast is not None
    assert forecast.mean is not None
    assert forecast.mean.expected == pytest.approx(mean_rps, rel=1e-12)


@pytest.mark.parametrize("make", KINDS)
def test_silence_is_zero_and_gaps_are_not(make: Callable[[], Forecaster]) -> None:
    assert highest(make, [0, 0, 0]) == 0.0
    assert told(make, []) is None
    assert told(make, [None] * 200) is None


@pytest.mark.parametrize(
    ("horizon_s", "expected"), [(0.2, 2.0), (1.0, 2.0), (1.4, 2.0), (2.0, 4.0), (2.6, 6.0), (4.0, 8.0), (60.0, 99.0)]
)
def test_last_looks_back_as_far_as_it_looks_ahead(horizon_s: float, expected: float) -> None:
    assert highest(LastForecaster, [99, 8, 6, 4, 2], horizon_s) == expected


def test_last_passes_over_seconds_that_were_not_counted() -> None:
    assert highest(LastForecaster, [9, None, 4, None], 2.0) == 4.0
    assert highest(LastForecaster, [9, None, None], 3.0) == 9.0
    assert told(LastForecaster, [9, None, None], 2.0) is None


@pytest.mark.parametrize("horizon_s", [1.0, 20.0, 600.0])
def test_max_window_keeps_two_minutes_whatever_the_horizon(horizon_s: float) -> None:
    assert highest(MaxWindowForecaster, [500, *[3] * 119], horizon_s) == 500.0
    assert highest(MaxWindowForecaster, [500, *[3] * 120], horizon_s) == 3.0
    assert highest(MaxWindowForecaster, [7, *[None] * 119], horizon_s) == 7.0
    assert told(MaxWindowForecaster, [7, *[None] * 120], horizon_s) is None


def test_the_level_is_that_of_the_last_three_seconds_or_else_the_forecast() -> None:
    for counts, level_rps in (
        ([50, 3, 9, 6], 6.0),
        ([50, 3, None, 6], 4.5),
        ([50, None, None, 6], 6.0),
        ([50, None, None, None], 50.0),
    ):
        forecast = told(MaxWindowForecaster, counts)
        assert forecast is not None
        assert forecast.level_rps == pytest.approx(level_rps)


# α = 2 ÷ 11, so that weights are 1, 9 ÷ 11, 81 ÷ 121: as whole numbers 121, 99, 81.
@pytest.mark.parametrize(
    ("counts", "horizon_s", "expected"),
    [
        ([10], 1.0, 10.0),
        ([10, 20], 1.0, (11 * 20 + 9 * 10) / 20),
        ([10, 20, 40], 1.0, (121 * 40 + 99 * 20 + 81 * 10) / 301),
        ([1, 5, 3, 9], 2.0, (11 * 9 + 9 * 5) / 20),
        ([5, 1, 9, 3], 2.0, (11 * 9 + 9 * 5) / 20),
        ([7, 1, 5, 3, 9], 2.0, (121 * 9 + 99 * 5 + 81 * 7) / 301),  # the oldest window is cut short
        ([1, 5, 3, 9], 60.0, 9.0),
        ([4, None, 10], 1.0, (121 * 10 + 81 * 4) / 202),  # a missing window keeps its place, as in pandas
        ([4, 10, None], 1.0, (99 * 10 + 81 * 4) / 180),
        ([4, 2, None, 10], 2.0, (11 * 10 + 9 * 4) / 20),
    ],
)
def test_ewm_is_the_weighted_mean_of_maxima(counts: Counts, horizon_s: float, expected: float) -> None:
    assert highest(EwmForecaster, counts, horizon_s) == pytest.approx(expected, rel=1e-12)


@given(st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=150), st.integers(1, 12))
def test_ewm_follows_pandas_recursion(counts: list[int | None], seconds: int) -> None:
    """Adjusted weights from the oldest to the newest: S ← (1 - α)·S + x and W ← (1 - α)·W + 1, the mean is S ÷ W."""
    first = len(counts) % seconds
    windows = [counts[:first]] if first else []
    windows += [counts[i : i + seconds] for i in range(first, len(counts), seconds)]
    total = weights = 0.0
    for window in windows:
        total, weights = total * (1 - 2 / 11), weights * (1 - 2 / 11)
        known = [count for count in window if count is not None]
        if known:
            total, weights = total + max(known), weights + 1.0
    forecast = told(EwmForecaster, counts, float(seconds))
    if weights == 0.0:
        assert forecast is None
    else:
        assert forecast is not None
        assert forecast.at(0.5) == pytest.approx(total / weights, rel=1e-9, abs=1e-9)


def test_an_hour_is_remembered() -> None:
    assert highest(EwmForecaster, [8, *[None] * 3599], 60.0) == pytest.approx(8.0)
    assert told(EwmForecaster, [8, *[None] * 3600], 60.0) is None
    assert highest(LastForecaster, [8, *[1] * 3599], 7200.0) == 8.0
    assert highest(LastForecaster, [8, *[1] * 3600], 7200.0) == 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (LastForecaster, "the highest of the last 20 s"),
        (MaxWindowForecaster, "the highest of the last 120 s"),
        (EwmForecaster, "the weighted mean of 20 s maxima"),
    ],
)
def test_they_say_what_they_rest_on(make: Callable[[], Forecaster], words: str) -> None:
    forecast = told(make, [5] * 30, 20.0)
    assert forecast is not None
    assert forecast.basis == words
