"""Service times between, at and beyond the measured points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.profile.model import QUANTILES, ServicePoint, VariantProfile

TIMES = st.floats(1e-4, 10)


@st.composite
def profiles(draw: st.DrawFn) -> VariantProfile:
    """One shape, several batch sizes, times that may rise or fall with the batch."""
    batches = draw(st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True))
    points = []
    for batch in batches:
        times = sorted(draw(st.tuples(*[TIMES] * len(QUANTILES))))
        points.append(ServicePoint(2, 1, batch, draw(TIMES), dict(zip(QUANTILES, times, strict=True)), 30))
    return VariantProfile("t", "v", tuple(points))


def point(batch: int, mean_s: float, quantiles_s: dict[float, float] | None = None) -> ServicePoint:
    return ServicePoint(1, 1, batch, mean_s, quantiles_s or {}, 0)


@given(profile=profiles(), quantile=st.none() | st.sampled_from(QUANTILES))
def test_exact_at_the_points(profile: VariantProfile, quantile: float | None) -> None:
    for p in profile.points:
        estimate = profile.service_time(p.batch, 2, 1, quantile)
        assert estimate.seconds == (p.mean_s if quantile is None else p.quantiles_s[quantile])
        assert not estimate.extrapolated


@given(profile=profiles(), batch=st.integers(1, 100), quantile=st.none() | st.floats(0.5, 0.99))
def test_between_two_points_it_lies_between_their_times(
    profile: VariantProfile, batch: int, quantile: float | None
) -> None:
    batches = profile.batches(2, 1)
    estimate = profile.service_time(batch, 2, 1, quantile)
    assert estimate.extrapolated == (not batches[0] <= batch <= batches[-1])
    if estimate.extrapolated:
        return
    low = profile.service_time(max(b for b in batches if b <= batch), 2, 1, quantile).seconds
    high = profile.service_time(min(b for b in batches if b >= batch), 2, 1, quantile).seconds
    assert min(low, high) * (1 - 1e-9) <= estimate.seconds <= max(low, high) * (1 + 1e-9)


@given(profile=profiles(), batch=st.integers(1, 100), quantile=st.floats(0.5, 0.99), more=st.floats(0, 0.49))
def test_it_rises_with_the_quantile(profile: VariantProfile, batch: int, quantile: float, more: float) -> None:
    low = profile.service_time(batch, 2, 1, quantile).seconds
    high = profile.service_time(batch, 2, 1, min(quantile + more, 0.99)).seconds
    batches = profile.batches(2, 1)
    if batches[0] <= batch <= batches[-1] or len(batches) == 1:
        assert low <= high * (1 + 1e-9)


@given(profile=profiles(), batch=st.integers(1, 200))
def test_beyond_the_points_it_never_gets_faster(profile: VariantProfile, batch: int) -> None:
    batches = profile.batches(2, 1)
    estimate = profile.service_time(batch, 2, 1)
    if batch < batches[0]:
        assert estimate.seconds == profile.service_time(batches[0], 2, 1).seconds
    if batch > batches[-1]:
        assert estimate.seconds >= profile.service_time(batches[-1], 2, 1).seconds


def test_the_line_by_hand() -> None:
    profile = VariantProfile("t", "v", (point(8, 0.022), point(2, 0.010), point(4, 0.014)))
    assert profile.service_time(3, 1, 1).seconds == pytest.approx(0.012)
    assert profile.service_time(6, 1, 1).seconds == pytest.approx(0.018)
    assert profile.service_time(10, 1, 1).seconds == pytest.approx(0.026)
    assert profile.service_time(1, 1, 1).seconds == 0.010
    assert VariantProfile("t", "v", (point(2, 0.010),)).service_time(6, 1, 1).seconds == pytest.approx(0.030)


def test_a_quantile_by_hand() -> None:
    profile = VariantProfile("t", "v", (point(1, 0.004, {0.5: 0.003, 0.9: 0.007, 0.99: 0.009}),))
    assert profile.service_time(1, 1, 1, 0.7).seconds == pytest.approx(0.005)
    assert profile.service_time(1, 1, 1, 0.2).seconds == 0.003
    beyond = profile.service_time(1, 1, 1, 0.999)
    assert (beyond.seconds, beyond.extrapolated) == (0.009, True)


def test_where_only_means_are_known_a_quantile_is_flagged() -> None:
    profile = VariantProfile("t", "v", (point(1, 0.004), point(3, 0.008, {0.5: 0.007, 0.99: 0.012})))
    for batch, seconds in ((1, 0.004), (2, 0.008)):
        estimate = profile.service_time(batch, 1, 1, 0.99)
        assert estimate.seconds == pytest.approx(seconds)
        assert estimate.extrapolated
    assert not profile.service_time(3, 1, 1, 0.99).extrapolated
    assert not profile.service_time(2, 1, 1).extrapolated


def test_a_shape_that_was_not_measured_is_no_guess() -> None:
    profile = VariantProfile("t", "v", (point(1, 0.004),))
    assert profile.shapes() == ((1, 1),)
    with pytest.raises(KeyError):
        profile.service_time(1, 2, 1)


def test_throughput_counts_all_slots() -> None:
    assert ServicePoint(4, 2, 8, 0.1, {}, 1).throughput_rps == pytest.approx(160)
