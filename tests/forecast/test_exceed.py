"""Themis's question, against a network whose chances are known in closed form, and on days it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from tests.forecast.networks import by_hand, newest_alone
from tests.forecast.trace import days, needs_trace

from trimtab.errors import ForecastError
from trimtab.forecast import Forecaster, RateForecast, make_forecaster
from trimtab.forecast.exceed import THRESHOLD, ExceedModel, LstmExceedModel, from_parameters, themis
from trimtab.forecast.file import read_fitted
from trimtab.forecast.lstm import WEIGHTS
from trimtab.rng import generator

SMALL = {"name": "small", "window_s": 2, "windows": 3, "horizon_s": 2}


def logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def around_ten() -> LstmExceedModel:
    """P(exceeds x) = logistic(10 - x), whatever was seen: the highest second is logistic around 10."""
    return from_parameters(SMALL | newest_alone(-1.0, 10.0))


def told(model: LstmExceedModel, counts: Sequence[int | None], horizon_s: float = 2.0) -> RateForecast:
    model.observe(counts)
    forecast = model.forecast(horizon_s)
    assert forecast is not None
    return forecast


def test_it_is_a_model_and_a_forecaster() -> None:
    assert isinstance(themis(), ExceedModel)
    assert isinstance(themis(), Forecaster)


def test_a_probability_is_the_logistic_function_of_what_the_network_says() -> None:
    model = around_ten()
    assert model.probability(10.0) is None
    assert model.rises(10.0) is None
    model.observe([10] * 6)
    for target in (0.0, 7.5, 10.0, 14.0, 100.0):
        assert model.probability(target) == pytest.approx(logistic(10.0 - target), abs=1e-12)
    # logistic(x) = 0.2 at x = -ln 4.
    assert THRESHOLD == 0.2
    assert model.rises(10.0 + math.log(4.0) - 0.01)
    assert not model.rises(10.0 + math.log(4.0) + 0.01)


def test_quantiles_are_the_chances_turned_round() -> None:
    """The q-quantile of the logistic distribution around 10 is 10 + ln(q ÷ (1 - q)); its part above 0 has mean 10."""
    forecast = told(around_ten(), [10] * 6)
    assert forecast.peak is not None
    for quantile in (0.5, 0.9, 0.95, 0.99):
        assert forecast.peak.at(quantile) == pytest.approx(10.0 + math.log(quantile / (1.0 - quantile)), abs=0.05)
    assert forecast.peak.expected == pytest.approx(math.log1p(math.exp(10.0)), abs=0.02)
    assert forecast.quantiles_rps == forecast.peak.quantiles
    assert forecast.basis == "an LSTM's chances to exceed, over 3 maxima of 2 s"
    assert told(around_ten(), [10] * 6, 30.0).basis.endswith(", as for 2 s")


def test_a_larger_target_is_never_likelier_to_be_exceeded() -> None:
    """This network says the opposite: P = logistic(x - 30), which grows; what small targets were told counts."""
    forecast = told(from_parameters(SMALL | newest_alone(1.0, -30.0)), [10] * 6)
    assert forecast.at(0.99) == 0.0


def test_until_each_window_is_known_it_is_the_last_maximum() -> None:
    for counts in ([8, 4, 5, 3, 2], [8, 9, None, None, 3, 7]):
        forecast = told(around_ten(), counts)
        assert forecast.at(0.99) == max(c for c in counts[-2:] if c is not None)
        assert forecast.basis == "the highest of the last 2 s: small knows too little yet"


def test_the_trained_network_says_what_its_weights_say() -> None:
    weights = dict(read_fitted(WEIGHTS / "themis.json").parameters)
    counts = [int(c) for c in generator(1, "themis").poisson(60.0, 65)]
    maxima = [float(max(counts[i : i + 10])) for i in range(5, 65, 10)]
    model = themis()
    model.observe(counts)
    for target in (60.0, 75.0, 90.0):
        assert model.probability(target) == pytest.approx(logistic(by_hand(weights, [*maxima, target])), abs=1e-9)
    found = [model.probability(float(target)) or 0.0 for target in range(40, 140, 5)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.99
    assert found[-1] < 0.05


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(ForecastError, match="whether a target is exceeded"):
        LstmExceedModel.from_file(WEIGHTS / "lstm-ipa.json")
    assert make_forecaster(str(WEIGHTS / "themis.json")).name == "themis"


@needs_trace
def test_on_a_day_it_was_not_trained_on_its_chances_are_better_than_a_yes_or_no() -> None:
    """Brier's score of P, and of 'the newest maximum is above the target', over targets around the newest maximum."""
    counts, model = days(14, 14)[:20_000], themis()
    rng = generator(2, "targets")
    mine, theirs, happened = [], [], []
    for now in range(0, len(counts) - 10, 10):
        coming = max((c for c in counts[now : now + 10] if c is not None), default=None)
        newest = max((c for c in counts[max(0, now - 10) : now] if c is not None), default=None)
        if coming is not None and newest is not None:
            target = newest * float(rng.lognormal(0.0, 0.3))
            probability = model.probability(target)
            if probability is not None:
                mine.append(probability)
                theirs.append(float(newest > target))
                happened.append(float(coming > target))
        model.observe(counts[now : now + 10])
    assert len(happened) > 1_900
    scores = [float(np.mean((np.array(told) - happened) ** 2)) for told in (mine, theirs)]
    assert scores[0] < 0.75 * scores[1]
