"""What is planned for: the forecaster's word, and under it what the last seconds say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.control.scripted import Echo

from trimtab.control.foresight import Expected, Foresight
from trimtab.forecast import QuantileForecaster, RateForecast


class Blind(Echo):
    """Expects one request a second, whatever it sees."""

    def forecast(self, horizon_s: float) -> RateForecast | None:
        return RateForecast(horizon_s, 1.0, {0.5: 1.0, 0.99: 2.0}, 1.0, "nothing")


def test_a_forecaster_that_sees_nothing_coming_is_lifted_to_what_is_seen() -> None:
    foresight, bare = Foresight(Blind(), with_floor=True), Foresight(Blind(), with_floor=False)
    for each in (foresight, bare):
        each.observe([50] * 30)
    seen = QuantileForecaster()
    seen.observe([50] * 30)
    forecast, own = foresight.forecast(2.0), seen.forecast(2.0)
    assert forecast is not None
    assert own is not None
    assert forecast.at(0.5) == 1.0, "the forecaster's word is told as it is"
    for quantile in (0.5, 0.99):
        assert foresight.rate(forecast, quantile) == own.at(quantile) > 45.0
        assert bare.rate(forecast, quantile) == forecast.at(quantile)


def test_a_forecaster_that_expects_more_is_believed() -> None:
    foresight = Foresight(Echo(), with_floor=True)
    foresight.observe([*[2] * 30, 80])
    forecast = foresight.forecast(2.0)
    assert forecast is not None
    assert [foresight.rate(forecast, quantile) for quantile in (0.5, 0.9, 0.99)] == [80.0, 160.0, 240.0]


def test_the_floor_itself_needs_none() -> None:
    forecaster = QuantileForecaster()
    foresight = Foresight(forecaster, with_floor=True)
    foresight.observe([20] * 30)
    forecast = foresight.forecast(2.0)
    assert forecast is not None
    assert foresight.rate(forecast, 0.9) == forecast.at(0.9)
    assert foresight.forecaster is forecaster


def test_where_no_recent_second_was_counted_the_forecaster_has_the_word() -> None:
    foresight = Foresight(Blind(), with_floor=True)
    foresight.observe([None] * 60)
    forecast = foresight.forecast(2.0)
    assert forecast is not None
    assert foresight.rate(forecast, 0.5) == 1.0


@given(st.lists(st.none() | st.integers(0, 200), max_size=40), st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_it_is_never_below_what_a_reacting_controller_would_plan_for(counts: list[int | None], quantile: float) -> None:
    reacting = QuantileForecaster()
    reacting.observe(counts)
    for forecaster in (Echo(), Blind()):
        foresight = Foresight(forecaster, with_floor=True)
        foresight.observe(counts)
        forecast, floor = foresight.forecast(3.0), reacting.forecast(3.0)
        if forecast is not None:
            rate = foresight.rate(forecast, quantile)
            assert rate == max(forecast.at(quantile), 0.0 if floor is None else floor.at(quantile))


def test_without_more_said_arrivals_are_poisson_and_nothing_is_urgent() -> None:
    expected = Expected(5.0, 9.0)
    assert (expected.arrival_scv, expected.urgent) == (1.0, None)
