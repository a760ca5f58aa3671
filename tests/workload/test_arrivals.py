"""Arrivals: in their seconds, in order, of the number the rates say, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trimtab.errors import TraceError
from trimtab.workload.arrivals import ARRIVALS, Arrivals, send_times

rate_lists = st.lists(st.floats(0, 40), min_size=1, max_size=30)


@given(rate_lists, st.sampled_from(ARRIVALS), st.integers(0, 2**32))
def test_placement(values: list[float], arrivals: Arrivals, seed: int) -> None:
    rates = np.array(values)
    try:
        times = send_times(rates, arrivals, seed)
    except TraceError as error:
        assert "no request" in str(error)  # noqa: PT017 — either outcome is right, depending on the draw
        return
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < len(rates)
    counts = np.bincount(times.astype(int), minlength=len(rates))
    assert (counts[rates == 0] == 0).all()
    assert (send_times(rates, arrivals, seed) == times).all()
    if arrivals == "recorded":
        assert ((counts == np.floor(rates)) | (counts == np.ceil(rates))).all()
    if arrivals == "even":
        # After any second, the number sent is the summed-up rate to the nearest whole request.
        assert np.abs(np.cumsum(counts) - np.cumsum(rates)).max() <= 0.5 + 1e-6


def test_even_arrivals_keep_one_distance_over_second_borders() -> None:
    assert send_times(np.full(4, 1.5), "even", 0) == pytest.approx([1 / 3, 1, 5 / 3, 7 / 3, 3, 11 / 3])


def test_recorded_counts_are_kept_exactly() -> None:
    counts = np.array([3.0, 0.0, 7.0, 1.0])
    assert np.bincount(send_times(counts, "recorded", 5).astype(int)).tolist() == counts.tolist()


def test_fractions_keep_their_mean() -> None:
    assert len(send_times(np.full(20_000, 0.3), "recorded", 5)) == pytest.approx(6000, rel=0.03)


def test_poisson_arrivals_have_exponential_gaps() -> None:
    times = send_times(np.full(500, 40.0), "poisson", 11)
    assert len(times) == pytest.approx(20_000, abs=4 * np.sqrt(20_000))
    assert stats.kstest(np.diff(times), "expon", args=(0, 1 / 40)).pvalue > 0.01


def test_seeds_differ() -> None:
    rates = np.full(10, 20.0)
    assert send_times(rates, "poisson", 1).tolist() != send_times(rates, "poisson", 2).tolist()


@pytest.mark.parametrize(
    ("rates", "told"),
    [([1.0, np.nan], "no number"), ([-1.0], "negative"), ([0.0, 0.0], "no request"), ([1e12], "too many")],
)
def test_rates_without_meaning_are_told(rates: list[float], told: str) -> None:
    with pytest.raises(TraceError, match=told):
        send_times(np.array(rates), "poisson", 0)
