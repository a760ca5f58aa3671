"""ARIMA and Holt-Winters of river, against least squares and against the recursion written out."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import MissingExtraError
from trimtab.forecast import Forecaster, RateForecast
from trimtab.forecast.statistical import ArimaForecaster, HoltWintersForecaster
from trimtab.forecast.windowed import EwmForecaster, MaxWindowForecaster
from trimtab.rng import generator

KINDS = [ArimaForecaster, HoltWintersForecaster]


@pytest.fixture
def river() -> None:
    """Skips where the extra is not installed."""
    pytest.importorskip("river", reason="the extra `river` is not installed")


def told(forecaster: Forecaster, counts: Sequence[int | None], horizon_s: float) -> RateForecast:
    forecaster.observe(counts)
    forecast = forecaster.forecast(horizon_s)
    assert forecast is not None
    return forecast


@pytest.mark.parametrize("make", KINDS)
def test_without_river_the_extra_is_named(make: type[Forecaster], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("river", "river.time_series", "river.preprocessing", "river.linear_model"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"river[\s\S]*pip install 'trimtab\[river\]'"):
        make()


@pytest.mark.usefixtures("river")
@pytest.mark.parametrize("make", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.integers(0, 100_000), st.integers(1, 400)), min_size=1, max_size=25),
    st.integers(1, 500),
    st.integers(1, 900),
)
def test_portions_do_not_matter_and_numbers_are_sound(
    make: type[Forecaster], runs: list[tuple[int | None, int]], portion: int, horizon_s: int
) -> None:
    counts = [count for count, seconds in runs for _ in range(seconds)]
    one, other = make(), make()
    one.observe(counts)
    for i in range(0, len(counts), portion):
        other.observe(counts[i : i + portion])
        other.forecast(float(horizon_s))
    forecast = one.forecast(float(horizon_s))
    assert forecast == other.forecast(float(horizon_s))
    if forecast is not None:
        assert 0.0 <= forecast.at(0.5) < float("inf")


def autoregressive(seconds: int, share: float) -> tuple[list[int], list[float]]:
    """Counts that hold for `seconds` each and follow y ← 1000 + share·(y - 1000) + noise; and their values."""
    rng, value, values = generator(5, "autoregressive"), 1000.0, []
    for _ in range(3000):
        value = 1000.0 + share * (value - 1000.0) + rng.normal(0.0, 30.0)
        values.append(float(round(value)))
    return [int(value) for value in values for _ in range(seconds)], values


@pytest.mark.usefixtures("river")
@pytest.mark.parametrize(("step_s", "horizon_s"), [(5, 3.0), (5, 10.0), (10, 20.0), (10, 50.0), (30, 60.0)])
def test_arima_is_near_the_least_squares_of_its_windows(step_s: int, horizon_s: float) -> None:
    counts, values = autoregressive(step_s, 0.8)
    slope, intercept = np.polyfit(values[:-1], values[1:], 1)
    steps, value, expected = int(np.ceil(horizon_s / step_s)), values[-1], []
    for _ in range(steps):
        value = slope * value + intercept
        expected.append(value)
    forecast = told(ArimaForecaster(), counts, horizon_s)
    assert forecast.basis == f"an autoregression of {step_s} s maxima, {steps} steps"
    assert forecast.at(0.5) == pytest.approx(max(expected), abs=6.0)  # a fifth of the noise


@pytest.mark.usefixtures("river")
def test_arima_goes_on_from_the_newest_seconds() -> None:
    """Ten seconds begin with the first one observed, but the last maximum is that of the newest ten."""
    counts, _ = autoregressive(10, 0.8)
    calm, risen = told(ArimaForecaster(), counts, 20.0), told(ArimaForecaster(), [*counts, 1400], 20.0)
    assert risen.at(0.5) > calm.at(0.5) + 100.0


@pytest.mark.usefixtures("river")
def test_until_twelve_windows_are_known_arima_is_the_highest_of_two_minutes() -> None:
    counts = [7, *[3] * 58]
    forecast = told(ArimaForecaster(), counts, 20.0)
    assert forecast.at(0.5) == told(MaxWindowForecaster(), counts, 20.0).at(0.5) == 7.0
    assert forecast.basis.endswith("arima knows too little yet")
    assert told(ArimaForecaster(), [*counts, 3], 20.0).basis == "an autoregression of 5 s maxima, 4 steps"
    assert ArimaForecaster().forecast(20.0) is None
    gap = ArimaForecaster()
    gap.observe([*[5] * 300, *[None] * 120])
    assert gap.forecast(20.0) is None


def by_recursion(maxima: Sequence[float], ahead: int) -> list[float]:
    """Winters (1960), additive: level, trend, season; begun as river begins it, from the first season."""
    alpha, beta, gamma, season = 0.95, 0.001, 0.02, 60
    first = maxima[:season]
    level = sum(first) / season
    trend = (first[-1] - first[0]) / (season - 1)
    seasons = [value / level for value in first]
    for value in maxima[season:]:
        told = level + trend
        level_now = alpha * (value - seasons[-season]) + (1 - alpha) * told
        seasons.append(gamma * (value - told) + (1 - gamma) * seasons[-season])
        level, trend = level_now, beta * (level_now - level) + (1 - beta) * trend
    return [level + (step + 1) * trend + seasons[-season + step] for step in range(ahead)]


@pytest.mark.usefixtures("river")
def test_holt_winters_is_the_recursion() -> None:
    """A burst at the same minute of every hour, seen again in the season."""
    rng = generator(6, "hours")
    maxima = [50.0 + 40.0 * (minute % 60 in {2, 3}) + int(rng.integers(0, 9)) for minute in range(240)]
    counts = [int(maximum) for maximum in maxima for _ in range(60)]
    forecaster = HoltWintersForecaster()
    assert told(forecaster, counts, 60.0).at(0.5) == pytest.approx(by_recursion(maxima, 1)[0], rel=1e-9)
    assert told(forecaster, [], 300.0).at(0.5) == pytest.approx(max(by_recursion(maxima, 5)), rel=1e-9)
    # Half a minute on, a minute touches the one that has begun and the next.
    begun = told(forecaster, [50] * 30, 60.0)
    assert begun.at(0.5) == pytest.approx(max(by_recursion(maxima, 2)), rel=1e-9)
    assert begun.basis == "Holt-Winters over maxima of a minute, the season an hour, 2 steps"


@pytest.mark.usefixtures("river")
def test_holt_winters_fills_gaps_with_its_forecast_and_forgets_after_an_hour_of_them() -> None:
    maxima = [50.0 + 40.0 * (minute % 60 in {2, 3}) for minute in range(70)]
    counts: list[int | None] = [int(maximum) for maximum in maxima for _ in range(60)]
    filled = list(maxima)
    for _ in range(29):
        filled.append(by_recursion(filled, 1)[0])
    forecast = told(HoltWintersForecaster(), [*counts, *[None] * (29 * 60)], 60.0)
    assert forecast.at(0.5) == pytest.approx(by_recursion(filled, 1)[0], rel=1e-9)
    stale = HoltWintersForecaster()
    stale.observe([*counts, *[None] * 3600])
    assert stale.forecast(60.0) is None
    assert told(stale, [8], 60.0).at(0.5) == 8.0


@pytest.mark.usefixtures("river")
def test_in_its_first_hour_holt_winters_is_the_weighted_mean_of_the_minutes() -> None:
    counts = [int(c) for c in generator(7, "hour").poisson(30.0, 3599)]
    forecast = told(HoltWintersForecaster(), counts, 60.0)
    assert forecast.at(0.5) == told(EwmForecaster(), counts, 60.0).at(0.5)
    assert forecast.basis == "the weighted mean of 60 s maxima: holt-winters knows too little yet"
    assert told(HoltWintersForecaster(), [*counts, 30], 60.0).basis.startswith("Holt-Winters over maxima")
