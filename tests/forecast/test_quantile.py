from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

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


def highest_of_poisson(rate: float, seconds: int) -> NDArray[np.float64]:
    draws = generator(5, "highest").poisson(rate, (20_000, seconds))
    return np.asarray(draws.max(axis=1), dtype=np.float64)


@pytest.mark.parametrize("rate", [5.0, 50.0, 2000.0])
@pytest.mark.parametrize("seconds", [1, 10, 60])
def test_the_highest_second_is_that_of_poisson_counts(rate: float, seconds: int) -> None:
    """Over many pasts the forecast is, in the middle, that of the largest of so many counts; it adds what is unsure."""
    draws, rng = highest_of_poisson(rate, seconds), generator(6, "past")
    said: dict[float, list[float]] = {0.5: [], 0.9: []}
    for _ in range(60):
        peak = forecast_of([int(c) for c in rng.poisson(rate, 65)], float(seconds)).peak
        assert peak is not None
        for q, values in said.items():
            values.append(peak.at(q))
    noise = math.sqrt(rate)
    assert np.median(said[0.5]) == pytest.approx(np.quantile(draws, 0.5), abs=1.1 * noise)
    assert np.median(said[0.9]) == pytest.approx(np.quantile(draws, 0.9), abs=2.5 * noise)
    assert np.median(said[0.9]) > np.quantile(draws, 0.9) - 0.5 * noise


def test_the_highest_second_is_covered_as_often_as_it_says() -> None:
    rng, seconds = generator(7, "coverage"), 20
    held = dict.fromkeys((0.5, 0.9, 0.99), 0)
    for _ in range(300):
        counts = [int(c) for c in rng.poisson(40.0, 65 + seconds)]
        peak = forecast_of(counts[:65], float(seconds)).peak
        assert peak is not None
        for q in held:
            held[q] += max(counts[65:]) <= peak.at(q)
    shares = {q: n / 300 for q, n in held.items()}
    # The level is known by fifteen seconds alone and may wander: the forecast is rather too wide than too narrow.
    assert 0.4 < shares[0.5] < 0.85
    assert shares[0.9] > 0.87
    assert shares[0.99] > 0.97


def test_the_mean_to_come_is_covered_as_often_as_it_says() -> None:
    rng, seconds = generator(8, "mean"), 60
    held, expected = dict.fromkeys((0.1, 0.5, 0.9), 0), []
    for _ in range(300):
        counts = [int(c) for c in rng.poisson(40.0, 65 + seconds)]
        mean = forecast_of(counts[:65], float(seconds)).mean
        assert mean is not None
        expected.append(mean.expected)
        for q in held:
            held[q] += sum(counts[65:]) / seconds <= mean.at(q)
    shares = {q: n / 300 for q, n in held.items()}
    assert 0.0 <= shares[0.1] < 0.16
    assert shares[0.5] == pytest.approx(0.5, abs=0.12)
    assert 0.84 < shares[0.9] <= 1.0
    assert np.mean(expected) == pytest.approx(40.0, rel=0.02)


def test_the_mean_of_a_wandering_rate_is_about_as_unsure_as_it_is() -> None:
    """The rate is a random walk of 4/s a second: its mean over a minute has a standard deviation of 4·√20 = 18/s."""
    rng, seconds, inside, widths = generator(11, "wandering mean"), 60, 0, []
    for _ in range(200):
        rates = np.clip(200.0 + np.cumsum(rng.normal(0.0, 4.0, 65 + seconds)), 20.0, None)
        counts = [int(c) for c in rng.poisson(rates)]
        mean = forecast_of(counts[:65], float(seconds)).mean
        assert mean is not None
        inside += mean.at(0.1) < sum(counts[65:]) / seconds <= mean.at(0.9)
        widths.append(mean.at(0.9) - mean.at(0.1))
    # That the level is one of 7 s ago, and so has wandered, is not counted: less than 80 % are inside.
    assert 0.5 < inside / 200 < 0.85
    assert np.mean(widths) == pytest.approx(2 * 1.2816 * 4.0 * math.sqrt(20.0), rel=0.35)


def test_even_arrivals_have_no_peak_above_their_rate() -> None:
    peak = forecast_of([100] * 65, 60.0).peak
    poisson = forecast_of([int(c) for c in generator(9, "even").poisson(100.0, 65)], 60.0).peak
    assert peak is not None
    assert poisson is not None
    assert 100.0 <= peak.at(0.5) < 118.0
    assert poisson.at(0.5) > peak.at(0.5) + 5.0, "a Poisson process of 100/s has a second of 124 within a minute"


def test_longer_horizons_have_higher_peaks_and_surer_means() -> None:
    forecaster = QuantileForecaster()
    forecaster.observe([int(c) for c in generator(10, "horizons").poisson(50.0, 65)])
    peaks, widths = [], []
    for horizon_s in (1.0, 5.0, 20.0, 60.0, 600.0):
        forecast = forecaster.forecast(horizon_s)
        assert forecast is not None
        assert forecast.peak is not None
        assert forecast.mean is not None
        peaks.append(forecast.peak.at(0.9))
        widths.append(forecast.mean.at(0.9) - forecast.mean.at(0.1))
        assert forecast.mean.expected == forecast.level_rps
    assert peaks == sorted(peaks)
    assert widths[1] < widths[0]


def test_silence_is_expected_to_go_on_once_it_has_lasted() -> None:
    short, long, longer = [0] * 59, [0] * 61, [0] * 101
    for counts, horizon_s, silent in (
        (short, 5.0, False),
        (long, 5.0, True),
        (long, 20.0, False),
        (longer, 20.0, True),
    ):
        peak = forecast_of(counts, horizon_s).peak
        assert peak is not None
        assert (peak.at(0.99) == 0.0) == silent
    woken = forecast_of([0] * 300 + [5], 5.0).peak
    assert woken is not None
    assert woken.at(0.9) > 1.0
    holes = forecast_of([0, None] * 61, 5.0).peak
    assert holes is not None
    assert holes.at(0.99) == 0.0, "seconds of which nothing is known are no end of it"


@given(
    st.lists(st.none() | st.sampled_from([0, 1, 1_000_000]) | st.integers(0, 100), max_size=120), st.floats(0.5, 900)
)
def test_what_is_counted_is_told_apart_from_rates_and_sound(counts: list[int | None], horizon_s: float) -> None:
    forecaster = QuantileForecaster()
    forecaster.observe(counts)
    forecast = forecaster.forecast(horizon_s)
    if forecast is None:
        assert all(count is None for count in counts[-15:])
        return
    for each in (forecast.peak, forecast.mean):
        assert each is not None
        values = [value for _, value in sorted(each.quantiles.items())]
        assert values == sorted(values)
        assert all(0.0 <= value < math.inf for value in (*values, each.expected))
    assert forecast.warning is None
    assert forecast == forecaster.forecast(horizon_s)
