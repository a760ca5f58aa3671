"""The LSTM against gates worked out one by one, against PyTorch's, and on the trace it was not trained on."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.forecast.networks import by_hand, drawn, newest_alone
from tests.forecast.trace import days, needs_trace

from trimtab.errors import ForecastError
from trimtab.forecast import Forecaster, RateForecast, make_forecaster
from trimtab.forecast.file import read_fitted
from trimtab.forecast.lstm import WEIGHTS, Lstm, from_parameters
from trimtab.forecast.windowed import EwmForecaster, LastForecaster, MaxWindowForecaster
from trimtab.rng import generator

NAMES = ("lstm-infadapter", "lstm-ipa")
LENGTHS = {"lstm-infadapter": (60, 10), "lstm-ipa": (10, 12)}
"""Seconds of a window, and windows."""
SMALL = {"name": "small", "window_s": 2, "windows": 3, "horizon_s": 4, "fallback": "max-window"}


def parameters(name: str) -> dict[str, Any]:
    return dict(read_fitted(WEIGHTS / f"{name}.json").parameters)


def told(forecaster: Forecaster, counts: Sequence[int | None], horizon_s: float) -> RateForecast:
    forecaster.observe(counts)
    forecast = forecaster.forecast(horizon_s)
    assert forecast is not None
    return forecast


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("units", [1, 2, 7])
def test_the_layer_is_what_its_equations_say(activation: str, units: int) -> None:
    weights, values = drawn(units, activation, seed=units), generator(1, "values").uniform(0.0, 3.0, 9).tolist()
    network = Lstm.from_parameters(weights)
    assert float(network.output(network.read(values))) == pytest.approx(by_hand(weights, values), rel=1e-12)


def test_the_layer_is_pytorchs_where_its_activation_is() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, an independent LSTM, is not installed")
    units, weights = 5, drawn(5, "tanh", seed=3)
    theirs = torch.nn.LSTM(1, units, batch_first=True).double()
    order = [quarter * units + unit for quarter in (0, 1, 3, 2) for unit in range(units)]  # theirs: i, f, g, o
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(weights["kernel"]).double()[order][:, None])
        theirs.weight_hh_l0.copy_(torch.tensor(weights["recurrent"]).double().T[order])
        theirs.bias_ih_l0.copy_(torch.tensor(weights["bias"]).double()[order])
        theirs.bias_hh_l0.zero_()
        values = torch.rand(1, 12, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        last = theirs(values)[0][0, -1].numpy()
    network = Lstm.from_parameters(weights)
    assert network.read(values.flatten().tolist())[0] == pytest.approx(last, rel=1e-6)  # weights pass through float32


def test_the_layer_that_is_trained_is_the_layer_that_is_run() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, which the weights are trained with, is not installed")
    train_lstm = importlib.import_module("experiments.forecast.train_lstm")
    torch.manual_seed(1)
    trained = train_lstm.Network()
    values = generator(4, "values").uniform(0.0, 5.0, 12).tolist()
    network = Lstm.from_parameters(trained.parameters_told())
    assert float(network.output(network.read(values))) == pytest.approx(
        float(trained(torch.tensor([values])).detach()), rel=1e-4
    )


def test_samples_for_training_leave_out_windows_of_which_nothing_is_known() -> None:
    pytest.importorskip("torch", reason="PyTorch, which the weights are trained with, is not installed")
    train_lstm = importlib.import_module("experiments.forecast.train_lstm")
    recipe = train_lstm.Recipe("small", window_s=2, windows=2, horizon_s=2, stride_s=2, divisor=4)
    inputs, targets = train_lstm.samples([8, 3, None, 12, 40, 20, None, None, 5, 9, 16, None, 4, 4, 5], recipe)
    assert inputs.tolist() == [[2.0, 3.0], [2.0, 4.0]]
    assert targets.tolist() == [10.0, 1.0]
    told, happened = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    assert train_lstm.auc(told, happened) == pytest.approx((1.0 + 0.5 + 1.0 + 1.0) / 4.0)


def test_sequences_at_once_are_sequences_one_by_one() -> None:
    network = Lstm.from_parameters(drawn(4, "relu", seed=5))
    begun = network.read([1.0, 2.0])
    together = network.output(network.step(np.array([[0.5], [1.5], [9.0]]), begun))
    alone = [float(network.output(network.step(value, begun))) for value in (0.5, 1.5, 9.0)]
    assert together == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_reads_the_maxima_that_end_with_the_newest_second(name: str) -> None:
    window_s, windows = LENGTHS[name]
    counts = [int(c) for c in generator(2, name).poisson(40.0, window_s * windows + 7)]
    maxima = [float(max(counts[i : i + window_s])) for i in range(7, len(counts), window_s)]
    expected = by_hand(parameters(name), maxima)
    forecast = told(make_forecaster(name), counts, LENGTHS[name][0])
    assert expected > 0.0
    assert forecast.peak is not None
    assert forecast.at(0.5) == forecast.peak.expected == pytest.approx(expected, rel=1e-9)


def test_a_window_is_known_by_the_seconds_that_it_has() -> None:
    whole, gaps = (from_parameters(SMALL | newest_alone(2.0, 1.0)) for _ in range(2))
    assert told(whole, [9, 9, 5, 8, 3, 7], 4.0).at(0.5) == pytest.approx(2 * 7 + 1)
    assert told(gaps, [None, 9, None, 8, None, 7], 4.0).at(0.5) == pytest.approx(2 * 7 + 1)


def test_it_answers_for_its_own_horizon_and_says_so() -> None:
    forecaster = make_forecaster("lstm-ipa")
    own = told(forecaster, [20, 25] * 60, 20.0)
    other = forecaster.forecast(60.0)
    assert other is not None
    assert other.at(0.5) == own.at(0.5)
    assert own.basis == "an LSTM over 12 maxima of 10 s"
    assert other.basis == "an LSTM over 12 maxima of 10 s, as for 20 s"
    assert other.horizon_s == 60.0
    assert own.level_rps == pytest.approx((25 + 20 + 25) / 3)


@pytest.mark.parametrize(
    ("name", "instead", "horizon_s"),
    [("lstm-infadapter", EwmForecaster, 60.0), ("lstm-ipa", MaxWindowForecaster, 20.0)],
)
def test_with_a_window_unknown_it_answers_as_its_paper_does(
    name: str, instead: Callable[[], Forecaster], horizon_s: float
) -> None:
    window_s, windows = LENGTHS[name]
    counts = [int(c) for c in generator(3, name).poisson(40.0, window_s * windows)]
    gap: list[int | None] = [*counts[:window_s], *[None] * window_s, *counts[2 * window_s :]]
    for known in (counts[1:], gap, counts[:3]):
        forecast = told(make_forecaster(name), known, horizon_s)
        assert forecast.at(0.5) == told(instead(), known, horizon_s).at(0.5)
        assert forecast.basis.endswith(f": {name} knows too little yet")
    assert told(make_forecaster(name), counts, horizon_s).basis.startswith("an LSTM over")


def test_a_forecast_is_never_negative() -> None:
    assert told(from_parameters(SMALL | newest_alone(-1.0, 3.0)), [5] * 6, 4.0).at(0.5) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_say_where_they_come_from_and_are_small(name: str) -> None:
    path = WEIGHTS / f"{name}.json"
    assert path.stat().st_size < 50_000
    fitted = read_fitted(path)
    assert fitted.kind == "lstm"
    assert "days 0-13, zeros: mask" in fitted.made["trace"]
    assert np.shape(fitted.parameters["recurrent"]) == (25, 100)
    numbers = np.array(fitted.parameters["recurrent"]).flatten()
    assert all(float(f"{x:.6g}") == x for x in numbers)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": [1.0]}, "shapes"),
        ({"recurrent": [[1.0]]}, "shapes"),
        ({"bias": [1.0, 2.0, 3.0, 1e999]}, "not finite"),
        ({"dense": "many"}, "damaged"),
        ({"activation": "gelu"}, "wanted one of relu, tanh"),
        ({"fallback": "none"}, "wanted one of ewm, max-window"),
        ({"windows": 0}, "windows is 0"),
        ({"window_s": True}, "window_s is True"),
        ({"horizon_s": 2.5}, "horizon_s is 2.5"),
    ],
)
def test_damaged_parameters_are_refused_in_words(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "damaged.json"
    content = {"format": "trimtab-forecaster", "version": 1, "kind": "lstm", "made": {}}
    path.write_text(json.dumps(content | {"parameters": SMALL | newest_alone(1.0, 0.0) | change}))
    with pytest.raises(ForecastError, match=words):
        make_forecaster(str(path))


def test_a_file_of_ones_own_is_a_forecaster(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    content = {"format": "trimtab-forecaster", "version": 1, "kind": "lstm", "made": {}}
    path.write_text(json.dumps(content | {"parameters": SMALL | newest_alone(1.0, 2.0)}))
    forecaster = make_forecaster(str(path))
    assert forecaster.name == "small"
    assert told(forecaster, [5] * 6, 4.0).at(0.5) == pytest.approx(7.0)


@needs_trace
@pytest.mark.parametrize(
    ("name", "divisor", "stride_s", "horizon_s", "least"),
    [("lstm-infadapter", 1, 60, 60, 0.03), ("lstm-ipa", 8, 20, 20, 0.1)],
)
def test_on_days_it_was_not_trained_on_it_is_a_little_better_than_last(
    name: str, divisor: int, stride_s: int, horizon_s: int, least: float
) -> None:
    """InfAdapter by the squared error, as it is trained; IPA by SMAPE, as its paper reports, with slack for one day."""
    counts = [None if c is None else c // divisor for c in days(14, 15 if name == "lstm-infadapter" else 14)]
    forecasters = make_forecaster(name), LastForecaster()
    rows = []
    for now in range(0, len(counts) - horizon_s, stride_s):
        coming = max((c for c in counts[now : now + horizon_s] if c is not None), default=None)
        guesses = [f.forecast(horizon_s) for f in forecasters]
        if coming is not None and guesses[1] is not None and guesses[0] is not None:
            rows.append((coming, guesses[0].at(0.5), guesses[1].at(0.5)))
        for forecaster in forecasters:
            forecaster.observe(counts[now : now + stride_s])
    truth, guess, last = np.array(rows, dtype=np.float64).T
    assert len(truth) > 0.95 * len(counts) / stride_s
    if name == "lstm-infadapter":
        mine, theirs = (float(np.mean((g - truth) ** 2)) for g in (guess, last))
    else:
        mine, theirs = (float(np.mean(2 * np.abs(g - truth) / (g + truth))) for g in (guess, last))
    assert mine < (1.0 - least) * theirs
