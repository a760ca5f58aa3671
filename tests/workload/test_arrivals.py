"""Arrivals: in their seconds, in order, of the number the rates say, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.workload.arrivals import (
    ARRIVALS,
    GAMMA_SCV,
    MMPP_HIGH,
    MMPP_HIGH_S,
    MMPP_LOW,
    MMPP_LOW_S,
    Arrivals,
    send_blocks,
    send_times,
)

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


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_seeds_differ_where_anything_is_drawn(arrivals: Arrivals) -> None:
    rates = np.full(10, 20.0)
    differ = send_times(rates, arrivals, 1).tolist() != send_times(rates, arrivals, 2).tolist()
    assert differ == (arrivals != "even")


def within(samples: list[float], theory: float) -> None:
    """The 99.9 % interval of the mean over independent seeds holds `theory`, and is no wider than 5 % either way."""
    half = float(stats.t.ppf(0.9995, len(samples) - 1) * np.std(samples, ddof=1) / np.sqrt(len(samples)))
    assert half <= 0.05 * theory
    assert abs(np.mean(samples) - theory) <= half


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_the_mean_rate_of_every_second_is_kept(arrivals: Arrivals) -> None:
    rates = np.array([10.0, 40.0, 0.0, 90.0, 5.5])
    counts = np.mean(
        [np.bincount(send_times(rates, arrivals, seed).astype(int), minlength=5) for seed in range(2_000)], axis=0
    )
    # Standard errors of a second are at most 0.5 (mmpp, 90/s); `gamma` begins with a whole gap, so it is late a little.
    assert counts == pytest.approx(rates, abs=2.0)
    assert counts[2] == 0.0


def test_gaps_of_gamma_arrivals_have_the_stated_mean_and_variation() -> None:
    within([float(np.mean(np.diff(send_times(np.full(200, 50.0), "gamma", seed)))) for seed in range(60)], 0.02)
    scvs = []
    for seed in range(60):
        gaps = np.diff(send_times(np.full(200, 50.0), "gamma", seed))
        scvs.append(float(gaps.var() / gaps.mean() ** 2))
    within(scvs, GAMMA_SCV)
    gaps = np.diff(send_times(np.full(200, 50.0), "gamma", 3))
    assert stats.kstest(gaps, "gamma", args=(1.0 / GAMMA_SCV, 0.0, GAMMA_SCV / 50.0)).pvalue > 0.01


def test_gamma_arrivals_stretch_their_gaps_with_the_rate() -> None:
    # In the time that the summed-up rates measure, gaps are alike: those at 10/s are ten times those at 100/s.
    rates = np.array([10.0] * 100 + [100.0] * 100)
    times = send_times(rates, "gamma", 7)
    operational = np.interp(times, np.arange(201), np.concatenate(([0.0], np.cumsum(rates))))
    assert stats.kstest(np.diff(operational), "gamma", args=(1.0 / GAMMA_SCV, 0.0, GAMMA_SCV)).pvalue > 0.01


def index_of_dispersion(times: np.ndarray, seconds: int, window_s: int) -> float:
    """Variance ÷ mean of the counts in windows."""
    counts = np.bincount((times // window_s).astype(int), minlength=seconds // window_s)
    return float(counts.var(ddof=1) / counts.mean())


def test_counts_of_gamma_arrivals_are_as_dispersed_as_their_gaps() -> None:
    # Of a renewal process the index of dispersion tends to the squared coefficient of variation (Cox 1962, §4.2).
    spread = [index_of_dispersion(send_times(np.full(4_000, 30.0), "gamma", s), 4_000, 20) for s in range(40)]
    within(spread, GAMMA_SCV)


@pytest.mark.parametrize(("arrivals", "expected"), [("poisson", 1.0), ("recorded", 0.0), ("even", 0.0)])
def test_counts_of_the_others_are_as_dispersed_as_they_say(arrivals: Arrivals, expected: float) -> None:
    spread = [index_of_dispersion(send_times(np.full(2_000, 30.0), arrivals, s), 2_000, 1) for s in range(20)]
    if expected:
        within(spread, expected)
    else:
        assert max(spread) == 0.0


def mmpp_dispersion(rate: float, window_s: float) -> float:
    """Variance ÷ mean of an MMPP's counts: Fischer & Meier-Hellstern 1993, §3.2, for two states.

    With rates λ₁, λ₂ and mean stays 1/σ₁, 1/σ₂, and σ = σ₁ + σ₂:
    1 + 2·σ₁σ₂(λ₁ - λ₂)² / (σ²·(λ₁σ₂ + λ₂σ₁)) · (1 - (1 - e^(-σt)) / (σt)).
    """
    high, low, leave_high, leave_low = MMPP_HIGH * rate, MMPP_LOW * rate, 1.0 / MMPP_HIGH_S, 1.0 / MMPP_LOW_S
    total = leave_high + leave_low
    limit = 2.0 * leave_high * leave_low * (high - low) ** 2 / (total**2 * (high * leave_low + low * leave_high))
    return float(1.0 + limit * (1.0 - (1.0 - np.exp(-total * window_s)) / (total * window_s)))


@pytest.mark.parametrize("window_s", [1, 10])
def test_counts_of_mmpp_arrivals_are_as_dispersed_as_theory_says(window_s: int) -> None:
    spread = [index_of_dispersion(send_times(np.full(8_000, 12.0), "mmpp", s), 8_000, window_s) for s in range(40)]
    within(spread, mmpp_dispersion(12.0, window_s))


def test_mmpp_keeps_the_mean_rate() -> None:
    share = MMPP_HIGH_S / (MMPP_HIGH_S + MMPP_LOW_S)
    assert share * MMPP_HIGH + (1.0 - share) * MMPP_LOW == pytest.approx(1.0)
    within([len(send_times(np.full(4_000, 12.0), "mmpp", seed)) / 48_000 for seed in range(40)], 1.0)


def test_an_idle_second_has_no_arrival_whatever_the_state() -> None:
    rates = np.tile([0.0, 50.0], 200)
    for arrivals in ARRIVALS:
        assert (send_times(rates, arrivals, 4).astype(int) % 2 == 1).all()


@given(rate_lists, st.sampled_from(ARRIVALS), st.integers(0, 2**32), st.integers(1, 40))
def test_blocks_of_any_length_are_the_whole(values: list[float], arrivals: Arrivals, seed: int, block_s: int) -> None:
    rates = np.array(values)
    parts = list(send_blocks(rates, arrivals, seed, block_s))
    assert len(parts) == -(-len(rates) // block_s)
    for k, part in enumerate(parts):
        assert ((part >= k * block_s) & (part < (k + 1) * block_s)).all()
    whole = np.concatenate(list(send_blocks(rates, arrivals, seed, len(rates))))
    assert np.concatenate(parts).tolist() == whole.tolist()


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_blocks_are_made_one_at_a_time(arrivals: Arrivals) -> None:
    # A day at a rate of which a year would not fit into memory: the first block comes without the others.
    first = next(send_blocks(np.full(86_400, 200.0), arrivals, 0, 100))
    assert len(first) == pytest.approx(20_000, rel=0.3)
    assert first.max() < 100.0


def test_rates_without_meaning_are_told_before_the_first_block() -> None:
    with pytest.raises(TraceError, match="negative"):
        next(send_blocks(np.array([1.0, -1.0]), "poisson", 0, 1))


class AlmostOne:
    """Draws numbers that are as near to one as can be."""

    def random(self, count: int | None = None) -> object:
        almost = np.nextafter(1.0, 0.0)
        return almost if count is None else np.full(count, almost)

    def poisson(self, rates: np.ndarray) -> np.ndarray:
        return np.ones(len(rates), dtype=np.int64)

    def exponential(self, mean: float) -> float:
        return 1e9 * mean


@pytest.mark.parametrize("arrivals", ["poisson", "recorded", "mmpp"])
def test_rounding_moves_no_arrival_into_the_next_second(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    # From second 2¹⁷ on (a day and a half), a number just below one is rounded up when the second is added to it.
    monkeypatch.setattr(rng, "generator", lambda *_: AlmostOne())
    rates = np.zeros(1 << 17)
    rates[-1] = 1.0
    times = send_times(rates, arrivals, 0)
    assert times[-1] < len(rates)


@pytest.mark.parametrize(
    ("rates", "told"),
    [([1.0, np.nan], "no number"), ([-1.0], "negative"), ([0.0, 0.0], "no request"), ([1e12], "too many")],
)
def test_rates_without_meaning_are_told(rates: list[float], told: str) -> None:
    with pytest.raises(TraceError, match=told):
        send_times(np.array(rates), "poisson", 0)
