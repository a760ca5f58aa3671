from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.forecast import Forecaster, QuantileForecaster, RateForecast
from trimtab.rng import generator
from trimtab.testing import check_forecaster


def forecast_of(counts: Sequence[int | None], horizon_s: float = 5.0) -> RateForecast:
    forecaster = QuantileForecaster()
    forecaster.observe(counts)
    forecast = forecaster.forecast(horizon_s)
    assert forecast is not None
    return forecast


def test_it_passes_the_kit() -> None:
    assert isinstance(QuantileForecaster(), Forecaster)
    check_forecaster(QuantileForecaster)


def test_missing_is_not_zero() -> None:
    assert QuantileForecaster().forecast(5.0) is None
    assert forecast_of([20, None, 20, None, 20]).level_rps == pytest.approx(20, abs=0.5)
    assert forecast_of([0, 0, 0]).level_rps < 0.5
    stale = QuantileForecaster()
    stale.observe([20] * 60 + [None] * 15)
    assert stale.forecast(5.0) is None


def test_quantiles_of_the_level_cover_the_rate_under_poisson_arrivals() -> None:
    rng = generator(1, "coverage")
    above = {0.5: 0, 0.9: 0}
    runs = 400
    for _ in range(runs):
        forecast = forecast_of([int(c) for c in rng.poisson(20, 70)], horizon_s=1.0)
        for quantile in above:
            above[quantile] += forecast.at(quantile) < 20
    # The rate does not move here, so its maximum is 20: the forecast may be higher, and seldom lower.
    assert above[0.5] / runs < 0.5
    assert above[0.9] / runs < 0.1


def test_a_burst_is_seen_within_two_seconds_and_forgotten_within_six() -> None:
    calm = [10] * 60
    assert forecast_of([*calm, 60]).level_rps > 30
    assert forecast_of([*calm, 60, 60]).level_rps == pytest.approx(60, abs=1)
    assert forecast_of([*calm, *[60] * 10, *[10] * 6]).level_rps == pytest.approx(10, abs=1)
    assert "burst" in forecast_of([*calm, 60, 60]).basis


def test_a_wandering_rate_widens_the_forecast_and_the_horizon_too() -> None:
    rng = generator(2, "wander")
    steady = [int(c) for c in rng.poisson(50, 65)]
    rates = np.clip(50 + np.cumsum(rng.normal(0, 5, 65)), 5, None)
    wandering = forecast_of([int(c) for c in rng.poisson(rates)])
    spread = wandering.at(0.9) / wandering.level_rps
    assert spread > 1.1 * forecast_of(steady).at(0.9) / forecast_of(steady).level_rps
    assert forecast_of([int(c) for c in rng.poisson(rates)], 20.0).at(0.9) > wandering.level_rps


def test_burstiness_tells_even_poisson_and_bursty_apart() -> None:
    rng = generator(4, "burstiness")
    even = forecast_of([20] * 65).burstiness
    poisson = np.mean([forecast_of([int(c) for c in rng.poisson(20, 65)]).burstiness for _ in range(50)])
    bursty = np.mean([forecast_of([4 * int(c) for c in rng.poisson(5, 65)]).burstiness for _ in range(50)])
    assert even < 0.3
    assert poisson == pytest.approx(1.0, abs=0.1)
    assert bursty > 2.0


def test_a_jump_of_the_level_is_not_burstiness() -> None:
    assert forecast_of([10] * 40 + [100] * 25).burstiness < 1.0


@given(st.lists(st.none() | st.integers(0, 10_000), max_size=120), st.integers(1, 7))
def test_portions_do_not_matter_and_numbers_are_sound(counts: list[int | None], portion: int) -> None:
    one, other = QuantileForecaster(), QuantileForecaster()
    one.observe(counts)
    for i in range(0, len(counts), portion):
        other.observe(counts[i : i + portion])
    forecast = one.forecast(3.0)
    assert forecast == other.forecast(3.0)
    if forecast is not None:
        rates = list(forecast.quantiles_rps.values())
        assert rates == sorted(rates)
        assert 0 <= forecast.level_rps <= rates[0]


def test_quantiles_between_and_beyond_those_kept() -> None:
    forecast = RateForecast(1.0, 10.0, {0.5: 10.0, 0.9: 20.0}, 1.0, "a test")
    assert forecast.at(0.7) == pytest.approx(15.0)
    assert forecast.at(0.1) == 10.0
    assert forecast.at(0.99) == 20.0
