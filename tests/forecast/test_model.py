"""A forecast as a value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.forecast import ClockedForecaster, Distribution, Forecaster, QuantileForecaster, RateForecast
from trimtab.forecast.clock import ClockForecaster

KEPT = {0.9: 20.0, 0.5: 10.0, 0.99: 38.0}
"""In no order: files and dictionaries have none that matters."""


@pytest.mark.parametrize("of", [Distribution(KEPT, 12.0), RateForecast(1.0, 10.0, KEPT, 1.0, "a test")])
def test_quantiles_between_and_beyond_those_kept(of: Distribution | RateForecast) -> None:
    assert of.at(0.5) == 10.0
    assert of.at(0.7) == pytest.approx(15.0)
    assert of.at(0.945) == pytest.approx(29.0)
    assert of.at(0.1) == 10.0
    assert of.at(0.999) == 38.0


@given(
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=9, unique=True),
    st.lists(st.floats(0.0, 1e6), min_size=9, max_size=9),
    st.floats(0.0, 1.0),
)
def test_between_quantiles_it_is_linear(quantiles: list[float], values: list[float], asked: float) -> None:
    """NumPy's interpolation is the oracle."""
    kept = dict(zip(sorted(quantiles), sorted(values), strict=False))
    said = Distribution(kept, 0.0).at(asked)
    wanted = float(np.interp(asked, list(kept), list(kept.values())))
    assert math.isclose(said, wanted, rel_tol=1e-9, abs_tol=1e-6)


def test_one_quantile_answers_for_all() -> None:
    assert [Distribution({0.5: 7.0}, 7.0).at(q) for q in (0.0, 0.5, 1.0)] == [7.0] * 3


def test_forecasts_are_values() -> None:
    one, other = (RateForecast(1.0, 10.0, dict(KEPT), 1.0, "a test", Distribution(KEPT, 12.0)) for _ in range(2))
    assert one == other
    assert one.mean is None
    assert one.warning is None
    with pytest.raises(AttributeError):
        one.level_rps = 3.0  # type: ignore[misc]  # what is tried


def test_who_learns_the_clock_can_be_told_apart() -> None:
    assert isinstance(QuantileForecaster(), Forecaster)
    assert not isinstance(QuantileForecaster(), ClockedForecaster)
    assert isinstance(ClockForecaster(), ClockedForecaster)
