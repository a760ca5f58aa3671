from __future__ import annotations

import pytest

from trimtab.errors import ForecastError, MissingExtraError
from trimtab.forecast import DEFAULT_FORECASTER, FORECASTERS, QuantileForecaster, make_forecaster
from trimtab.testing import check_forecaster


@pytest.mark.parametrize("name", FORECASTERS)
def test_every_name_makes_a_sound_forecaster_of_that_name(name: str) -> None:
    try:
        made = make_forecaster(name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert made.name == name
    check_forecaster(lambda: make_forecaster(name))


def test_the_default_has_a_name_and_every_call_makes_a_fresh_one() -> None:
    assert isinstance(make_forecaster(DEFAULT_FORECASTER), QuantileForecaster)
    one = make_forecaster(DEFAULT_FORECASTER)
    one.observe([5] * 20)
    assert make_forecaster(DEFAULT_FORECASTER).forecast(1.0) is None


def test_a_dotted_name_opens_the_same_door() -> None:
    assert make_forecaster("trimtab.forecast.windowed:LastForecaster").name == "last"


@pytest.mark.parametrize(
    ("name", "meant"), [("quantil", "quantile"), ("max_window", "max-window"), ("lst", "last"), ("ewma", "ewm")]
)
def test_a_misspelt_name_is_answered_with_the_one_meant(name: str, meant: str) -> None:
    with pytest.raises(ForecastError, match=rf"no such forecaster: got {name}.*one of quantile, clock") as caught:
        make_forecaster(name)
    assert caught.value.next_step == f"did you mean '{meant}'?"


@pytest.mark.parametrize("name", ["", "zzz", "oracle"])
def test_an_unknown_name_is_not_guessed(name: str) -> None:
    with pytest.raises(ForecastError, match="no such forecaster") as caught:
        make_forecaster(name)
    assert caught.value.next_step is None
    assert "module:Class of your own" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "nowhere.at.all:Forecaster",
        "trimtab.forecast:Nothing",
        ":",
        "a:",
        ":Class",
        "trimtab.forecast.model:RateForecast",  # takes arguments
        "trimtab.forecast.model:Forecaster",  # a protocol
    ],
)
def test_what_cannot_be_loaded_is_said(name: str) -> None:
    with pytest.raises(ForecastError, match="cannot be loaded"):
        make_forecaster(name)


def test_what_is_no_forecaster_is_said() -> None:
    with pytest.raises(ForecastError, match="no forecaster") as caught:
        make_forecaster("trimtab.plan.stabilize:Hysteresis")
    assert "check_forecaster" in str(caught.value)


def test_names_cannot_be_changed_from_outside() -> None:
    with pytest.raises(TypeError):
        FORECASTERS["mine"] = "a:B"  # type: ignore[index]  # what is tried
