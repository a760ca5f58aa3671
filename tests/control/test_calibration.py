"""Live calibration: it follows what is measured, a stall moves it little, another machine moves it at once."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.control.calibration import MISFIT_AFTER, RATIO_RANGE, Calibration, TaskCalibration
from trimtab.observe.model import TaskObservation


def seen(ratio: float | None, batches: int = 10) -> dict[str, TaskObservation]:
    return {"read": TaskObservation(0, 0, 1, 0, 1, batches=batches, service_ratio=ratio)}


def noisy(count: int, batches: int = 10, batch: float = 0.2, mean: float = 1.0, seed: int = 0) -> list[float]:
    """Ratios of windows whose batches vary by `batch`, lognormal around `mean`."""
    sigma = math.sqrt(math.log1p(batch**2))
    times = np.random.default_rng(seed).lognormal(-(sigma**2) / 2.0, sigma, (count, batches))
    return [float(each) for each in mean * times.mean(axis=1)]


def followed(ratios: Iterable[float], batches: int = 10, known: TaskCalibration | None = None) -> list[float]:
    """The ratio to plan with after each window."""
    known = known or TaskCalibration()
    found = []
    for ratio in ratios:
        known.measure(ratio, batches)
        found.append(known.ratio)
    return found


def test_nothing_is_known_before_something_is_measured() -> None:
    calibration = Calibration(["locate", "read"])
    calibration.observe(seen(None))
    assert (calibration.ratios(), calibration.fits(), calibration.warnings()) == ({}, {}, ())
    calibration.observe(seen(1.1) | {"elsewhere": TaskObservation(0, 0, 1, 0, 1, batches=9, service_ratio=3.0)})
    assert set(calibration.ratios()) == set(calibration.fits()) == {"read"}


@pytest.mark.parametrize(("ratio", "batches"), [(1.05, 1), (1.2, 10), (0.9, 100)])
def test_the_first_window_is_weighed_against_the_profile_as_bayes_does(ratio: float, batches: int) -> None:
    x = np.linspace(-2.0, 2.0, 40_001)
    measured = math.log(ratio) + 0.5 * 0.2**2 / batches
    noise = 0.2 * math.sqrt(1 / batches + 1 / 30)
    weight = np.exp(-(x**2) / (2 * (0.1**2 + 0.01**2)) - (measured - x) ** 2 / (2 * noise**2))
    expected = float((weight * x).sum() / weight.sum())
    assert math.log(followed([ratio], batches)[-1]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("batches", "batch"), [(1, 0.3), (3, 0.2), (10, 0.5)])
def test_noise_moves_it_less_than_a_fixed_weight_would(batches: int, batch: float) -> None:
    ratios = noisy(2000, batches, batch)
    ours, fixed, known = followed(ratios, batches)[100:], [], 1.0
    for ratio in ratios:
        known += 0.2 * (ratio - known)
        fixed.append(known)
    assert np.std(ours) < 0.75 * np.std(fixed[100:])
    assert np.mean(ours) == pytest.approx(1.0, abs=0.02), "and it is right on average"


@pytest.mark.parametrize("change", [1.5, 0.6, 2.5, 4.0])
def test_another_machine_is_followed_within_a_few_windows(change: float) -> None:
    known = TaskCalibration()
    followed(noisy(200), known=known)
    after = followed(noisy(12, mean=change, seed=1), known=known)
    assert after[4] == pytest.approx(change, rel=0.15)
    assert after[-1] == pytest.approx(change, rel=0.1)


@pytest.mark.parametrize("stall", [0.2, 3.0, 9.0])
def test_one_stall_moves_it_little_and_a_second_much_later_no_more(stall: float) -> None:
    known = TaskCalibration()
    before = followed(noisy(200), known=known)[-1]
    assert followed([stall], known=known)[-1] == pytest.approx(before, rel=0.06)
    assert followed(noisy(20, seed=1), known=known)[-1] == pytest.approx(1.0, abs=0.05)
    assert followed([stall], known=known)[-1] == pytest.approx(1.0, abs=0.08)


def test_windows_of_many_batches_say_more() -> None:
    few, many = followed([1.15], 1)[-1], followed([1.15], 50)[-1]
    assert 1.0 < few < many < 1.15


def test_a_long_time_without_measurements_makes_the_next_count_more() -> None:
    patient, fresh = TaskCalibration(), TaskCalibration()
    for known in (patient, fresh):
        followed([1.0] * 50, known=known)
    for _ in range(30):
        patient.wait()
    assert followed([1.1], known=patient)[-1] > followed([1.1], known=fresh)[-1]


def test_a_profile_that_no_longer_fits_is_said_after_a_while_and_taken_back_after_a_while() -> None:
    calibration, told = Calibration(["read"]), []
    for ratio in [*noisy(60), *noisy(60, mean=1.6, seed=1), *noisy(90, seed=2)]:
        calibration.observe(seen(ratio))
        told.append(calibration.warnings())
    first = next(i for i, words in enumerate(told) if words)
    last = max(i for i, words in enumerate(told) if words)
    assert 60 + MISFIT_AFTER <= first + 1 < 60 + MISFIT_AFTER + 10
    assert 120 + MISFIT_AFTER <= last + 2 < 120 + MISFIT_AFTER + 10
    assert all(told[first : last + 1]), "without a break"
    assert told[first] == (
        "the profile no longer fits: task read takes 1.6 times as long as profiled; measure it again: trimtab profile",
    )
    assert calibration.fits() == {"read": True}


@pytest.mark.parametrize(("mean", "fits"), [(0.6, False), (0.85, True), (1.0, True), (1.15, True), (1.5, False)])
def test_it_fits_within_a_quarter(mean: float, fits: bool) -> None:
    calibration = Calibration(["read"])
    for ratio in noisy(150, mean=mean):
        calibration.observe(seen(ratio))
    assert calibration.fits() == {"read": fits}


WINDOWS = st.lists(st.tuples(st.none() | st.floats(allow_nan=True), st.integers(-1, 10**9)), max_size=60)


@given(WINDOWS)
def test_whatever_is_measured_gives_a_ratio_to_plan_with(windows: list[tuple[float | None, int]]) -> None:
    one, other = Calibration(["read"]), Calibration(["read"])
    for ratio, batches in windows:
        for calibration in (one, other):
            calibration.observe(seen(ratio, batches))
    assert all(RATIO_RANGE[0] * 0.999 <= ratio <= RATIO_RANGE[1] * 1.001 for ratio in one.ratios().values())
    assert (one.ratios(), one.fits(), one.warnings()) == (other.ratios(), other.fits(), other.warnings())
    assert len(one.warnings()) == list(one.fits().values()).count(False)
