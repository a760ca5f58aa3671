"""Trimtab's forecaster: sound on any counts, right as often as it says, and aware of the clock."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.forecast import ClockedForecaster, Forecaster, RateForecast
from trimtab.forecast.calibration import HORIZONS_S, QUANTILES
from trimtab.forecast.clock import JUMP_QUANTILES, ClockForecaster, from_parameters
from trimtab.forecast.features import NAMES, Features
from trimtab.forecast.trees import flatten
from trimtab.rng import generator
from trimtab.testing import check_forecaster
from trimtab.workload.shapes import generate_shape

HOUR_S = 3600
BURST_AT_S = 32 * 60
Counts = list[int | None]
CALM = dict(zip(QUANTILES, (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5), strict=True))
JUMP = dict(zip(JUMP_QUANTILES, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True))
"""What a forest of constants says, in units of the calm level above the level now."""

some_counts = st.none() | st.sampled_from([0, 1, 50, 1_000_000]) | st.integers(0, 200)
records = st.lists(st.tuples(some_counts, st.integers(1, 40)), max_size=12).map(
    lambda stretches: [count for count, times in stretches for _ in range(times)]
)


def fitted(chance: float = -20.0, learned: Features | None = None) -> Any:
    """Parameters of a forecaster whose trees all are constants; `chance` in log-odds."""
    constants = {"chance": chance}
    constants |= {f"calm {q:g}": value for q, value in CALM.items()}
    constants |= {f"jump {q:g}": value for q, value in JUMP.items()}
    constants |= {f"mean {q:g}": value / 2.0 for q, value in CALM.items()}
    constants |= {"expected": 0.05, "average": 0.01}
    forest = flatten({name: [{"tree_structure": {"leaf_value": value}}] for name, value in constants.items()})
    told = {
        "features": list(NAMES),
        "forest": forest.parameters(),
        "offsets": {str(h): [0.0] * len(QUANTILES) for h in HORIZONS_S},
        "state": (learned or Features()).state(),
    }
    return json.loads(json.dumps(told, allow_nan=False))


def poisson(rate: float, seconds: int, seed: int) -> list[int]:
    return [int(count) for count in generator(seed, "clock").poisson(rate, seconds)]


def told(forecaster: Forecaster, horizon_s: float = 20.0) -> RateForecast:
    forecast = forecaster.forecast(horizon_s)
    assert forecast is not None
    assert forecast.peak is not None
    assert forecast.mean is not None
    return forecast


def peak(forecaster: Forecaster, quantile: float, horizon_s: float = 20.0) -> float:
    forecast = told(forecaster, horizon_s)
    assert forecast.peak is not None
    return forecast.peak.at(quantile)


def coverage(forecaster: Forecaster, counts: Sequence[int | None], start: int, horizon_s: int) -> dict[float, float]:
    """Share of the highest seconds to come at or below each quantile, asked every ten seconds from `start` on."""
    forecaster.observe(counts[:start])
    held = []
    for now in range(start, len(counts) - horizon_s, 10):
        highest = max(count for count in counts[now : now + horizon_s] if count is not None)
        forecast = told(forecaster, horizon_s)
        assert forecast.peak is not None
        held.append([highest <= forecast.peak.quantiles[q] for q in QUANTILES])
        forecaster.observe(counts[now : now + 10])
    return dict(zip(QUANTILES, np.mean(held, axis=0).tolist(), strict=True))


@pytest.fixture(scope="module")
def learned() -> Features:
    """A day of 20/s, and 100/s for five minutes at minute 32 of every odd hour."""
    at = np.arange(24 * HOUR_S)
    burst = (at // HOUR_S % 2 == 1) & (at % HOUR_S >= BURST_AT_S) & (at % HOUR_S < BURST_AT_S + 300)
    features = Features()
    features.set_clock(0.0)
    for count in generator(1, "learned").poisson(np.where(burst, 100.0, 20.0)).tolist():
        features.observe(count)
    return features


def knows(learned: Features) -> ClockForecaster:
    return ClockForecaster(features=Features.of(learned.state()))


@pytest.mark.parametrize("parameters", [None, fitted(), fitted(chance=-2.0)])
def test_it_passes_the_kit(parameters: Any) -> None:
    def make() -> ClockForecaster:
        return ClockForecaster() if parameters is None else from_parameters(parameters)

    assert isinstance(make(), ClockedForecaster)
    assert make().name == "clock"
    check_forecaster(make)


@settings(max_examples=25)
@given(records, st.booleans(), st.floats(1.0, 900.0), st.floats(0.0, 2e9))
def test_whatever_comes_the_numbers_are_sound(counts: Counts, trained: bool, horizon_s: float, clock_s: float) -> None:
    forecaster = from_parameters(fitted(-1.0)) if trained else ClockForecaster()
    forecaster.set_clock(clock_s)
    for i in range(0, len(counts), 7):
        forecaster.observe(counts[i : i + 7])
        forecast = forecaster.forecast(horizon_s)
        assert (forecast is None) == all(count is None for count in counts[max(0, i + 7 - 15) : i + 7]) or (
            i + 7 > len(counts)
        )
        if forecast is None:
            continue
        assert forecast.peak is not None
        assert forecast.mean is not None
        for quantiles in (forecast.quantiles_rps, forecast.peak.quantiles, forecast.mean.quantiles):
            values = [value for _, value in sorted(quantiles.items())]
            assert values == sorted(values)
            assert all(0.0 <= value < math.inf for value in values)
        numbers = (forecast.level_rps, forecast.burstiness, forecast.peak.expected, forecast.mean.expected)
        assert all(0.0 <= value < math.inf for value in numbers)
        for q, rate in forecast.quantiles_rps.items():
            assert rate <= forecast.peak.quantiles[q] * (1.0 + 1e-9) + 1e-9


@settings(max_examples=15)
@given(records, st.booleans(), st.integers(1, 40))
def test_portions_and_questions_change_nothing(counts: Counts, trained: bool, portion: int) -> None:
    def make() -> ClockForecaster:
        return from_parameters(fitted(-1.0)) if trained else ClockForecaster()

    one, other = make(), make()
    one.observe(counts)
    for i in range(0, len(counts), portion):
        other.observe(counts[i : i + portion])
        for horizon_s in (1.0, 20.0, 333.0):
            other.forecast(horizon_s)
    for horizon_s in (1.0, 20.0, 600.0):
        assert one.forecast(horizon_s) == other.forecast(horizon_s)


def test_it_is_of_use_within_the_first_minute() -> None:
    """The highest of 20 Poisson counts of 50/s, by its distribution function: F(x)^20."""
    draws = generator(2, "highest").poisson(50.0, (20_000, 20)).max(axis=1)
    for seed in range(5):
        forecaster = ClockForecaster()
        forecaster.observe(poisson(50.0, 2, seed))
        assert told(forecaster).level_rps == pytest.approx(50.0, rel=0.4)
        forecaster.observe(poisson(50.0, 58, seed + 10))
        for q, error in ((0.5, 0.2), (0.9, 0.3), (0.99, 0.4)):
            assert peak(forecaster, q) == pytest.approx(np.quantile(draws, q), rel=error), q
        forecast = told(forecaster)
        assert forecast.warning is None
        assert forecast.mean is not None
        assert forecast.mean.expected == pytest.approx(50.0, rel=0.15)


def test_it_is_right_as_often_as_it_says_on_bursts_by_the_clock() -> None:
    counts = generate_shape("clock-bursts", 4 * HOUR_S, seed=3).counts
    shares = coverage(ClockForecaster(), counts, start=HOUR_S, horizon_s=20)
    assert shares == pytest.approx(dict(zip(QUANTILES, QUANTILES, strict=True)), abs=0.03)


def test_it_is_right_as_often_after_the_level_has_changed() -> None:
    counts = poisson(50.0, HOUR_S, 1) + poisson(150.0, HOUR_S, 2)
    shares = coverage(ClockForecaster(), counts, start=HOUR_S + 60, horizon_s=20)
    assert shares == pytest.approx(dict(zip(QUANTILES, QUANTILES, strict=True)), abs=0.04)


def test_a_new_level_is_followed_within_seconds() -> None:
    forecaster = ClockForecaster()
    forecaster.observe(poisson(50.0, HOUR_S, 1))
    forecaster.observe(poisson(150.0, 5, 2))
    assert 130.0 < peak(forecaster, 0.5) < 220.0


@pytest.mark.parametrize("day", [0, 19_000])
def test_a_burst_that_is_due_is_planned_for(learned: Features, day: int) -> None:
    midnight = 86_400 * day
    for hour, due in ((5, True), (6, False), (13, True), (14, False)):
        forecaster = knows(learned)
        begins = midnight + hour * HOUR_S + BURST_AT_S
        forecaster.set_clock(begins - 140.0)
        forecaster.observe(poisson(20.0, 120, seed=hour))
        # A day of twelve bursts does not rule one out at even hours: that they weigh three times shows further up.
        assert (peak(forecaster, 0.75, 60.0) > 80.0) == due, hour
        assert peak(forecaster, 0.99, 60.0) > 80.0
        assert peak(forecaster, 0.1, 60.0) < 35.0
        assert "% chance of a burst" in told(forecaster, 60.0).basis


def test_long_before_and_just_after_a_burst_nothing_is_planned(learned: Features) -> None:
    for minute in (10, 20, 28, 45):
        forecaster = knows(learned)
        forecaster.set_clock(5.0 * HOUR_S + 60.0 * minute - 120.0)
        forecaster.observe(poisson(20.0, 120, seed=minute))
        assert peak(forecaster, 0.9, 60.0) < 50.0, minute


def test_a_burst_that_is_on_is_told() -> None:
    forecaster = ClockForecaster()
    forecaster.observe([20] * 600 + [100] * 40)
    assert "in a burst" in told(forecaster).basis


def test_the_clock_may_be_set_before_anything_or_after_a_training(learned: Features) -> None:
    """A forecaster that was never told the clock starts at zero; setting it to that says nothing new."""
    counts = poisson(20.0, 300, seed=4)
    never, zero = ClockForecaster(), ClockForecaster()
    zero.set_clock(0.0)
    never.observe(counts)
    zero.observe(counts)
    assert never.forecast(20.0) == zero.forecast(20.0)
    trained = from_parameters(fitted(learned=learned))
    unset = from_parameters(fitted(learned=learned))
    assert trained.forecast(20.0) is None
    trained.set_clock(24.0 * HOUR_S)  # where the training ended
    for forecaster in (trained, unset):
        forecaster.observe(counts)
    assert trained.forecast(20.0) == unset.forecast(20.0)


def test_nothing_is_learned_of_a_horizon_that_was_hardly_counted() -> None:
    """The highest of seven seconds is not that of twenty."""
    counts: Counts = [count if at % 3 == 0 else None for at, count in enumerate(poisson(50.0, 2 * HOUR_S, seed=5))]
    forecaster, fresh = ClockForecaster(), ClockForecaster()
    forecaster.observe(counts)
    fresh.set_clock(len(counts) - 65.0)
    fresh.observe(counts[-65:])
    one, other = told(forecaster), told(fresh)
    assert one.peak is not None
    assert other.peak is not None
    assert one.peak.quantiles == other.peak.quantiles
    counted, late = poisson(50.0, 600, seed=6), ClockForecaster()
    forecaster.observe(counted)
    late.observe(counted[-65:])
    assert told(forecaster).peak != told(late).peak, "of one that was counted, something is"


def test_a_forest_of_constants_says_what_they_say() -> None:
    """Level and scale are 50/s. Nothing was settled, so nothing is moved."""
    forecaster = from_parameters(fitted())
    forecaster.observe([50] * 9)
    forecast = told(forecaster)
    assert forecast.peak is not None
    assert forecast.mean is not None
    assert forecast.peak.quantiles == pytest.approx({q: 50.0 + 50.0 * value for q, value in CALM.items()}, rel=1e-6)
    assert forecast.peak.expected == pytest.approx(52.5)
    assert forecast.mean.quantiles == pytest.approx({q: 50.0 + 25.0 * value for q, value in CALM.items()}, rel=1e-6)
    assert forecast.mean.expected == pytest.approx(50.5)
    assert "trained" in forecast.basis
    surely = from_parameters(fitted(chance=20.0))
    surely.observe([50] * 9)
    for q in (0.1, 0.5, 0.9):
        assert peak(surely, q) == pytest.approx(50.0 + 50.0 * JUMP[q], rel=1e-6)


def test_rates_lie_below_the_highest_second_by_the_noise() -> None:
    forecaster = from_parameters(fitted())
    forecaster.observe([50] * 9)
    forecast = told(forecaster)
    assert forecast.peak is not None
    burstiness = forecast.burstiness
    # A rate whose highest of 20 normal seconds is, by the median, the peak: at 0.5^(1/20) the score is 1.8237.
    for q, rate in forecast.quantiles_rps.items():
        assert rate + 1.8237 * math.sqrt(burstiness * rate) == pytest.approx(forecast.peak.quantiles[q], rel=1e-4)


def test_a_series_that_defies_it_is_told() -> None:
    forecaster = ClockForecaster()
    forecaster.observe([50] * 60)
    for _ in range(150):
        assert (said := forecaster.forecast(10.0)) is not None
        above = min(1e9, 1.05 * peak(forecaster, 0.5, 10.0) + 1.0)
        forecaster.observe([round(above)] * 10)
    said = forecaster.forecast(10.0)
    assert said is not None
    assert said.warning is not None
    assert "quantile held" in said.warning


@pytest.mark.parametrize("rate", [50.0, 10.0])
def test_a_steady_series_gives_no_warning(rate: float) -> None:
    forecaster = ClockForecaster()
    counts = poisson(rate, 2 * HOUR_S, seed=8)
    warned = 0
    for i in range(0, len(counts), 60):
        forecaster.observe(counts[i : i + 60])
        warned += sum(told(forecaster, h).warning is not None for h in (10.0, 20.0, 60.0))
    assert warned == 0


def test_silence_gives_no_warning_and_does_not_spoil_what_follows() -> None:
    forecaster = ClockForecaster()
    forecaster.observe([0] * (2 * HOUR_S))
    said = forecaster.forecast(20.0)
    assert said is not None
    assert peak(forecaster, 0.99) < 3.0
    forecaster.observe(poisson(50.0, 300, seed=9))
    assert peak(forecaster, 0.5) == pytest.approx(63.0, rel=0.25)
    assert said.warning is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told.pop("features"),
        lambda told: told["features"].reverse(),
        lambda told: told.pop("forest"),
        lambda told: told.update(forest=[]),
        lambda told: told.pop("offsets"),
        lambda told: told["offsets"].pop("20"),
        lambda told: told["offsets"].update({"21": [0.0] * 7}),
        lambda told: told["offsets"].update({"x": [0.0] * 7}),
        lambda told: told["offsets"]["20"].pop(),
        lambda told: told["offsets"]["20"].__setitem__(0, "x"),
        lambda told: told.update(offsets=3),
        lambda told: told.pop("state"),
        lambda told: told.update(state={}),
    ],
)
def test_damaged_parameters_are_refused(damage: Any) -> None:
    parameters = fitted()
    damage(parameters)
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        from_parameters(parameters)


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: told["offsets"]["20"].__setitem__(0, math.nan),
        lambda told: told["forest"]["names"].__setitem__(0, "other"),
        lambda told: told["forest"]["names"].__setitem__(0, "calm 0.5"),
        lambda told: told.update(offsets=[[0.0] * 7] * 6),
    ],
)
def test_damage_that_would_show_in_a_forecast_is_refused_at_once(damage: Any) -> None:
    parameters = fitted()
    damage(parameters)
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_parameters(parameters)
