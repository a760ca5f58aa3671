from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from trimtab.errors import ForecastError
from trimtab.forecast import ClockedForecaster, Distribution, Forecaster, RateForecast, make_forecaster
from trimtab.forecast.headroom import BusiestWindowForecaster, with_headroom
from trimtab.forecast.windowed import LastForecaster
from trimtab.testing import check_forecaster


class Known:
    """Says what it is told to say."""

    name = "known"

    def __init__(self, forecast: RateForecast) -> None:
        self.told, self.clock_s = forecast, 0.0

    def observe(self, counts: Sequence[int | None]) -> None:
        pass

    def forecast(self, horizon_s: float) -> RateForecast | None:
        return self.told


class KnownByClock(Known):
    def set_clock(self, now_s: float) -> None:
        self.clock_s = now_s


TOLD = RateForecast(
    5.0,
    10.0,
    {0.5: 12.0, 0.9: 20.0},
    1.5,
    "a test",
    peak=Distribution({0.5: 14.0, 0.9: 24.0}, 15.0),
    mean=Distribution({0.5: 10.0}, 11.0),
    warning="beware",
)


def test_all_that_is_forecast_is_raised_and_what_is_known_is_not() -> None:
    forecast = with_headroom(Known(TOLD), 0.5).forecast(5.0)
    assert forecast == RateForecast(
        5.0,
        10.0,
        {0.5: 18.0, 0.9: 30.0},
        1.5,
        "a test, and 50 % headroom",
        peak=Distribution({0.5: 21.0, 0.9: 36.0}, 22.5),
        mean=Distribution({0.5: 15.0}, 16.5),
        warning="beware",
    )


def test_what_is_not_told_stays_untold() -> None:
    assert with_headroom(LastForecaster(), 0.1).forecast(5.0) is None
    forecast = with_headroom(Known(replace(TOLD, peak=None, mean=None)), 0.1).forecast(5.0)
    assert forecast is not None
    assert (forecast.peak, forecast.mean) == (None, None)


def test_its_name_holds_the_share() -> None:
    assert with_headroom(LastForecaster(), 0.2).name == "last+20%"
    assert with_headroom(LastForecaster(), 0.2, "mine").name == "mine"
    check_forecaster(lambda: with_headroom(LastForecaster(), 0.2))


def test_what_learns_the_clock_is_told_it_and_nothing_else_claims_to() -> None:
    inner = KnownByClock(TOLD)
    outer = with_headroom(inner, 0.2)
    assert isinstance(outer, ClockedForecaster)
    outer.set_clock(77.0)
    assert inner.clock_s == 77.0
    assert not isinstance(with_headroom(Known(TOLD), 0.2), ClockedForecaster)


@pytest.mark.parametrize("share", [-0.1, 101.0, float("nan"), float("inf")])
def test_a_share_without_meaning_is_refused(share: float) -> None:
    with pytest.raises(ForecastError, match="headroom has no meaning"):
        with_headroom(LastForecaster(), share)


@pytest.mark.parametrize(
    ("counts", "rate_rps"),
    [
        ([10] * 60, 12.0),
        ([*[10] * 20, *[50] * 5, *[10] * 35], 60.0),
        ([*[10] * 22, *[50] * 5, *[10] * 33], 1.2 * (3 * 50 + 2 * 10) / 5),  # windows end with the newest second
        ([*[50] * 5, *[10] * 60], 12.0),  # more than a minute ago
        ([*[None] * 57, 30, None, 20], 30.0),
        ([90, 10, 10, 10, 10, 10], 1.2 * 90),  # the oldest window is cut short
        ([9, *[None] * 59], 10.8),
    ],
)
def test_mark_is_a_fifth_more_than_the_busiest_five_seconds(counts: list[int | None], rate_rps: float) -> None:
    forecaster = make_forecaster("mark")
    forecaster.observe(counts)
    for horizon_s in (1.0, 60.0):
        forecast = forecaster.forecast(horizon_s)
        assert forecast is not None
        assert forecast.peak is not None
        assert forecast.at(0.5) == forecast.at(0.99) == forecast.peak.expected == pytest.approx(rate_rps)
        assert forecast.basis == "the busiest 5 s of the last 60, and 20 % headroom"


def test_mark_knows_nothing_after_a_minute_without_counts() -> None:
    forecaster = make_forecaster("mark")
    forecaster.observe([9, *[None] * 60])
    assert forecaster.forecast(60.0) is None
    assert isinstance(BusiestWindowForecaster(), Forecaster)
