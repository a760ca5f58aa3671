"""Fitting: what is learned from, that it helps on what came later, and what is refused."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import ForecastError, MissingExtraError
from trimtab.forecast import ClockedForecaster, Forecaster, RateForecast, make_forecaster
from trimtab.forecast import fit as fitting
from trimtab.forecast.calibration import HORIZONS_S, QUANTILES
from trimtab.forecast.clock import JUMP, ClockForecaster, from_parameters
from trimtab.forecast.evaluate import Scores, Target, ask, find_origins, score
from trimtab.forecast.features import NAMES
from trimtab.forecast.file import Fitted, read_fitted, write_fitted
from trimtab.forecast.fit import SHORTEST_S, Origins, _running_maximum, _window, fit, look
from trimtab.forecast.windowed import LastForecaster
from trimtab.rng import generator
from trimtab.testing import check_forecaster
from trimtab.workload.shapes import generate_shape

Counts = list[int | None]
DAY_S = 14_400.0
"""An hour of the shape is ten minutes; a burst may come every twenty."""
LEARNED_S, JUDGED_S = 57_600, 7_200
HORIZON_S = 20
SHORT_S = 7200
"""What the tests take for long enough."""


@pytest.fixture(scope="module")
def counts() -> Counts:
    return list(generate_shape("clock-bursts", LEARNED_S + JUDGED_S, seed=1, day_s=DAY_S).counts)


@dataclass
class Smaller:
    """Fits are on fewer rows, by fewer trees that are each four times as bold."""

    part: int = 4
    """One tree of so many is grown."""
    objectives: set[str] = field(default_factory=set)
    """What has been grown for."""


@pytest.fixture(scope="module")
def small() -> Iterator[Smaller]:
    lightgbm: Any = pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    train, smaller = lightgbm.train, Smaller()

    def fewer(parameters: Any, data: Any, trees: int) -> Any:
        smaller.objectives.add(parameters["objective"])
        bolder = {**parameters, "learning_rate": 4.0 * parameters["learning_rate"]}
        return train(bolder, data, max(2, trees // smaller.part))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lightgbm, "train", fewer)
        patched.setattr(fitting, "_ROWS", 8_000)
        patched.setattr(fitting, "SHORTEST_S", SHORT_S)
        patched.setattr(fitting, "_FEWEST", 300)
        yield smaller


@pytest.fixture
def tiny(small: Smaller, monkeypatch: pytest.MonkeyPatch) -> Smaller:
    """Where it does not matter how good the forecasts are."""
    monkeypatch.setattr(small, "part", 40)
    return small


@pytest.fixture(scope="module")
def fitted(counts: Counts, small: Smaller) -> Fitted:
    made = fit(counts[:LEARNED_S])
    assert small.objectives == {"binary", "quantile", "regression"}
    return made


@pytest.fixture(scope="module")
def ours(fitted: Fitted, counts: Counts) -> Scores:
    return judged(fitted.forecaster("a test"), counts)


def judged(forecaster: Forecaster, counts: Counts, clock_s: float = LEARNED_S) -> Scores:
    """On what came after the training, as one that is just started and told this time."""
    if isinstance(forecaster, ClockedForecaster):
        forecaster.set_clock(clock_s)
    origins = find_origins(counts, LEARNED_S, len(counts), Target("a test", HORIZON_S, 10))
    return score(origins, ask(forecaster, "one", counts, origins, clock=time.perf_counter, history_s=0))


def told(forecaster: Forecaster, horizon_s: float) -> RateForecast:
    forecast = forecaster.forecast(horizon_s)
    assert forecast is not None
    assert forecast.peak is not None
    return forecast


def brute(counts: Counts, start: int, seconds: int) -> tuple[float, float, int]:
    """Highest and mean of the known seconds of a window, NaN where under half is known; and their number."""
    window = [counts[at] if 0 <= at < len(counts) else None for at in range(start, start + seconds)]
    known = [count for count in window if count is not None]
    if len(known) < seconds / 2 or not known:
        return math.nan, math.nan, len(known)
    return max(known), sum(known) / len(known), len(known)


def test_a_fitted_forecaster_is_better_than_the_last_value_and_than_one_that_knows_nothing(
    ours: Scores, counts: Counts
) -> None:
    last, untrained = judged(LastForecaster(), counts), judged(ClockForecaster(), counts)
    assert ours.peak.mean_pinball < 0.6 * last.peak.mean_pinball
    assert ours.peak.mean_pinball < 0.8 * untrained.peak.mean_pinball
    assert ours.peak.miscoverage < 0.05
    assert ours.mean.mse < last.mean.mse


def test_the_clock_matters(ours: Scores, fitted: Fitted, counts: Counts) -> None:
    """Told a wrong time, it plans for bursts where there are none."""
    late = judged(fitted.forecaster("a test"), counts, LEARNED_S + 450.0)
    assert ours.peak.mean_pinball < 0.9 * late.peak.mean_pinball


def test_it_passes_the_kit(fitted: Fitted) -> None:
    check_forecaster(lambda: fitted.forecaster("a test"))


def test_what_it_was_made_of_is_told(fitted: Fitted) -> None:
    assert fitted.kind == "clock"
    assert fitted.made["seconds"] == f"{LEARNED_S:,}, 0 of them not recorded"
    assert 5 <= int(fitted.made["bursts"]) <= 30
    assert fitted.made["examples"].endswith("of them jumps")


def test_a_file_keeps_the_forecaster(fitted: Fitted, counts: Counts, tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    write_fitted(fitted, path)
    assert read_fitted(path) == Fitted(fitted.kind, fitted.made, json.loads(json.dumps(fitted.parameters)))
    one, other = fitted.forecaster("a test"), make_forecaster(str(path), float(LEARNED_S))
    assert isinstance(one, ClockedForecaster)
    one.set_clock(float(LEARNED_S))
    for forecaster in (one, other):
        forecaster.observe(counts[LEARNED_S : LEARNED_S + 900])
    for horizon_s in (1.0, 20.0, 100.0, 600.0):
        assert one.forecast(horizon_s) == other.forecast(horizon_s)
    assert path.stat().st_size < 2_000_000


def test_the_same_counts_give_the_same_file(tiny: Smaller, tmp_path: Path) -> None:
    short: Counts = list(generate_shape("clock-bursts", 9000, seed=4, day_s=DAY_S).counts)
    tiny.objectives.clear()
    for name in ("one", "other"):
        write_fitted(fit(short, clock_s=7200.0), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert tiny.objectives == {"binary", "quantile", "regression"}
    _, origins = look(short, 7200.0)
    known = np.isfinite(origins.highest)
    jumps = int((origins.highest[known] > JUMP * origins.before[known]).sum())
    assert read_fitted(tmp_path / "one").made["examples"] == f"{known.sum():,}, {jumps:,} of them jumps"


@pytest.mark.usefixtures("tiny")
def test_progress_is_told() -> None:
    said: list[str] = []
    fit([20] * SHORT_S, on_progress=said.append)
    assert said[0] == "reading the past"
    assert "learning expected" in said


def test_origins_are_where_they_should_be(counts: Counts) -> None:
    record, clock_s = counts[:5000], 86_400.0 + 1234.0
    features, origins = look(record, clock_s)
    assert features.clock_s == 86_400 + 1234 + 5000
    assert (origins.clock_s % 10 == 0).all()
    assert (np.diff(origins.clock_s) == 10).all()
    seconds = (origins.clock_s - (86_400 + 1234)).tolist()
    assert 0 < seconds[0] < 1800
    assert seconds[-1] >= 5000 - 10
    assert origins.rows.shape == (len(seconds), len(HORIZONS_S), len(NAMES))
    for n in range(0, len(seconds), 37):
        at = seconds[n]
        assert origins.anchor_rps[n] == pytest.approx(np.mean([c for c in record[at - 10 : at] if c is not None]))
        for k, horizon_s in enumerate(HORIZONS_S):
            highest, average, _ = brute(record, at, horizon_s)
            before, _, _ = brute(record, at - horizon_s, horizon_s)
            assert origins.highest[n, k] == pytest.approx(highest, nan_ok=True)
            assert origins.average[n, k] == pytest.approx(average, nan_ok=True)
            assert origins.before[n, k] == pytest.approx(before)


def test_nothing_later_than_the_origin_is_looked_at(counts: Counts) -> None:
    """Another future leaves rows, scales and levels as they were."""
    cut = 3600
    future: Counts = [None if at % 7 == 0 else 1000 + at % 50 for at in range(1800)]
    _, one = look(counts[: cut + 1800], 0.0)
    _, other = look(counts[:cut] + future, 0.0)
    early = int((one.clock_s <= cut).sum())
    assert early > 100
    assert np.array_equal(one.clock_s[:early], other.clock_s[:early])
    for name in ("rows", "scale_rps", "anchor_rps", "before"):
        assert np.array_equal(getattr(one, name)[:early], getattr(other, name)[:early], equal_nan=True), name
    assert not np.array_equal(one.rows[early : early + 5], other.rows[early : early + 5], equal_nan=True)
    assert not np.array_equal(one.highest[early - 2], other.highest[early - 2])


def test_rows_are_those_that_a_forecaster_sees(counts: Counts) -> None:
    features, origins = look(counts[:3000], 0.0)
    again, _ = look(counts[:2000], 0.0)
    n = origins.clock_s.tolist().index(2000)
    assert np.array_equal(again.rows(HORIZONS_S), origins.rows[n], equal_nan=True)
    assert again.scale_rps == origins.scale_rps[n]
    assert features.clock_s == 3000


def test_of_a_long_record_fewer_origins_are_kept(counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    _, every = look(counts[:3000], 0.0)
    monkeypatch.setattr("trimtab.forecast.fit._ORIGINS", 100)
    _, fewer = look(counts[:3000], 0.0)
    assert fewer.clock_s.tolist() == [now_s for now_s in every.clock_s.tolist() if now_s % 30 == 0]
    assert np.array_equal(fewer.rows, every.rows[every.clock_s % 30 == 0], equal_nan=True)


@settings(max_examples=80)
@given(
    st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=80),
    st.sampled_from([1, 2, 3, 7, 10, 20, 33, 64, 180, 600]),
    st.data(),
)
def test_windows_are_those_of_the_list(counts: Counts, seconds: int, data: st.DataObject) -> None:
    starts = data.draw(st.lists(st.integers(-seconds, len(counts)), min_size=1, max_size=5))
    values = np.array([np.nan if count is None else count for count in counts], dtype=np.float64)
    highest, average, number = _window(values, np.array(starts, dtype=np.intp), seconds)
    for k, start in enumerate(starts):
        wanted = brute(counts, start, seconds)
        assert highest[k] == pytest.approx(wanted[0], nan_ok=True)
        assert average[k] == pytest.approx(wanted[1], nan_ok=True)
        assert number[k] == wanted[2]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=70), st.data())
def test_running_maxima_are_those_of_slices(values: list[float], data: st.DataObject) -> None:
    seconds = data.draw(st.integers(1, len(values)))
    found = _running_maximum(np.array(values), seconds)
    for at in range(len(values)):
        assert found[at] == max(values[at : at + seconds])


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "record",
    [
        pytest.param([0] * SHORT_S, id="nothing"),
        pytest.param([int(c) for c in generator(5, "fit").poisson(50.0, SHORT_S)], id="noise"),
        pytest.param([None, 30, 31] * (SHORT_S // 2), id="gaps"),
        pytest.param([20] * SHORT_S + [None] * 1500, id="flat, ends unknown"),
    ],
)
def test_a_record_without_jumps_gives_a_sound_forecaster(record: Counts) -> None:
    parameters = fit(record).parameters
    made = from_parameters(parameters)
    recents: list[Counts] = [[0] * 60, record[:300], [200] * 60, [None] * 5 + [1]]
    for recent in recents:
        made.observe(recent)
        for horizon_s in (1.0, 20.0, 300.0):
            forecast = told(made, horizon_s)
            assert forecast.peak is not None
            values = list(forecast.peak.quantiles.values())
            assert values == sorted(values)
            assert all(0.0 <= value < math.inf for value in (*values, forecast.peak.expected))
    level = max(count for count in record if count is not None)
    fresh = from_parameters(parameters)
    fresh.observe([count for count in record if count is not None][:600])
    assert told(fresh, 20.0).at(0.9) <= 2.0 * level + 2.0


@pytest.mark.parametrize("unknown", [0, 90_000])
@pytest.mark.parametrize("known", [0, 1, SHORTEST_S - 1])
def test_too_short_a_record_is_refused(known: int, unknown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    monkeypatch.setattr(fitting, "SHORTEST_S", SHORTEST_S)
    monkeypatch.setattr(fitting, "look", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ForecastError, match="there is too little to learn from") as caught:
        fit([20] * known + [None] * unknown)
    assert f"got {known:,} recorded seconds" in str(caught.value)
    assert f"wanted at least {SHORTEST_S:,}" in str(caught.value)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "record",
    [
        pytest.param([20, *([None] * 9)] * (SHORT_S // 6), id="one second of ten"),
        pytest.param(([20] * 10 + [None] * 890) * (SHORT_S // 60), id="ten seconds of every quarter of an hour"),
    ],
)
def test_a_record_that_holds_too_little_is_refused_in_words(record: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a horizon is never known, or seldom: there may be nothing to learn from though there are seconds."""
    monkeypatch.setattr(fitting, "SHORTEST_S", SHORT_S // 6)
    try:
        made = from_parameters(fit(record).parameters)
    except ForecastError as error:
        assert "too little" in str(error)  # noqa: PT017 - either is right
        return
    made.observe([20] * 30)
    assert all(math.isfinite(value) for value in told(made, 20.0).quantiles_rps.values())


def test_without_lightgbm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtraError, match="fitting a forecaster needs the package 'lightgbm'") as caught:
        fit([20] * SHORT_S)
    assert caught.value.next_step == "pip install 'trimtab[forecast]'"


def test_offsets_that_it_begins_with_are_those_of_the_last_fifth(fitted: Fitted) -> None:
    offsets = {int(h): values for h, values in fitted.parameters["offsets"].items()}
    assert set(offsets) == set(HORIZONS_S)
    assert all(len(values) == len(QUANTILES) for values in offsets.values())
    assert any(value != 0.0 for values in offsets.values() for value in values)
    assert all(abs(value) < 10.0 for values in offsets.values() for value in values)


@pytest.mark.usefixtures("tiny")
def test_offsets_are_learned_on_what_their_trees_did_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    grow, calibrated, seen = fitting.grow, fitting.calibrated, list[Origins]()

    def growing(origins: Origins, *rest: Any) -> Any:
        seen.append(origins)
        return grow(origins, *rest)

    def calibrating(forest: Any, origins: Origins, *rest: Any) -> Any:
        seen.append(origins)
        return calibrated(forest, origins, *rest)

    monkeypatch.setattr(fitting, "grow", growing)
    monkeypatch.setattr(fitting, "calibrated", calibrating)
    fit([20] * SHORT_S)
    early, late, everything = seen
    assert early.clock_s[-1] + HORIZONS_S[-1] <= late.clock_s[0], "horizons reach into what is held out"
    assert len(late.clock_s) == pytest.approx(0.2 * len(everything.clock_s), abs=1)
    assert late.clock_s[-1] == everything.clock_s[-1]
    assert early.clock_s[0] == everything.clock_s[0]
