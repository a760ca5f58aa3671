"""Service times drawn from a profile: its quantiles, its mean, and what is known at a shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from trimtab.errors import SimulationError
from trimtab.profile.model import CapacityPoint, ServicePoint, VariantProfile
from trimtab.sim import engine
from trimtab.sim import layout as at
from trimtab.sim.draws import draw_table, known_at, quantile_row

KNOTS = (0.0, 0.5, 0.9, 0.95, 0.99, 1.0)
COMMON = {0.5: 0.9, 0.9: 1.3, 0.95: 1.6, 0.99: 2.4}


def profile(
    quantiles: dict[float, float], mean_s: float = 1.0, batches: tuple[int, ...] = (1,), cores: int = 1, **more: object
) -> VariantProfile:
    points = tuple(
        ServicePoint(cores, 1, b, mean_s * b, {q: value * b for q, value in quantiles.items()}, samples=9)
        for b in batches
    )
    return VariantProfile("task", "variant", points, **more)  # type: ignore[arg-type]  # fields by name


def drawn(row: np.ndarray, uniforms: np.ndarray, *, exponential: bool = False) -> np.ndarray:
    return np.array([engine.drawn_s(row, int(exponential), float(u)) for u in uniforms])


def test_knots_are_the_quantiles_of_the_profile_and_the_start_gives_the_mean() -> None:
    # By hand: the last three pieces and the one before add up to 0.6205; 0.5·(x + 0.9)/2 is the rest of the mean.
    assert at.KNOTS == KNOTS
    assert quantile_row(profile(COMMON), 1, 1, 1, "profile") == pytest.approx([0.618, 0.9, 1.3, 1.6, 2.4, 3.2, 1.0])


@given(
    st.lists(st.floats(0.1, 5.0), min_size=4, max_size=4).map(sorted),
    st.sets(st.sampled_from([0.5, 0.9, 0.95, 0.99])),
    st.floats(0.2, 4.0),
)
def test_whatever_a_profile_keeps_the_mean_is_kept_and_times_are_positive(
    values: list[float], kept: set[float], mean_s: float
) -> None:
    quantiles = {q: value for q, value in zip(COMMON, values, strict=True) if q in kept}
    row = quantile_row(profile(quantiles, mean_s), 1, 1, 1, "profile")
    assert (np.diff(row[:6]) >= -1e-12).all()
    assert row[0] > 0.0
    assert row[6] == mean_s
    mean, _ = integrate.quad(lambda u: engine.drawn_s(row, 0, u), 0.0, 1.0, points=KNOTS[1:5])
    assert mean == pytest.approx(mean_s, rel=1e-6)


@given(st.floats(0.5, 0.95), st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4).map(sorted))
def test_quantiles_are_those_of_the_profile_where_its_mean_allows_it(median: float, above: list[float]) -> None:
    # The start has to lie between a fifth of the median and the median, or all is scaled to keep the mean.
    quantiles = dict(zip(COMMON, [median + a for a in above], strict=True))
    row = quantile_row(profile(quantiles), 1, 1, 1, "profile")
    wanted = [quantiles[q] for q in COMMON]
    rest = 0.4 * (wanted[0] + wanted[1]) + 0.05 * (wanted[1] + wanted[2]) + 0.04 * (wanted[2] + wanted[3])
    rest += 0.01 * (wanted[3] + 2.0 * wanted[3] - wanted[2])
    start = (2.0 - rest) / 0.5 - wanted[0]
    if 0.2 * wanted[0] <= start <= wanted[0]:
        assert row[:5] == pytest.approx([start, *wanted])
    else:
        assert row[1] / wanted[0] == pytest.approx(row[4] / wanted[3])


def test_times_are_linear_between_the_knots_and_do_not_fall() -> None:
    row = quantile_row(profile(COMMON), 1, 1, 1, "profile")
    uniforms = np.linspace(0.0, 1.0, 5001)
    times = drawn(row, uniforms)
    assert times == pytest.approx(np.interp(uniforms, KNOTS, [0.618, 0.9, 1.3, 1.6, 2.4, 3.2]))
    assert (np.diff(times) >= 0.0).all()


def test_draws_follow_the_quantile_function() -> None:
    row = quantile_row(profile(COMMON), 1, 1, 1, "profile")
    times = drawn(row, np.random.Generator(np.random.PCG64(5)).random(20_000))
    assert stats.kstest(times, lambda x: np.interp(x, row[:6], KNOTS)).pvalue > 0.01


def test_exponential_draws_have_the_mean() -> None:
    row = quantile_row(profile(COMMON, 0.3), 1, 1, 1, "exponential")
    uniforms = np.random.Generator(np.random.PCG64(6)).random(20_000)
    times = drawn(row, uniforms, exponential=True)
    assert stats.kstest(times, "expon", args=(0.0, 0.3)).pvalue > 0.01
    assert engine.drawn_s(row, 1, 0.0) == 0.0


def test_without_quantiles_or_when_asked_all_times_are_the_mean() -> None:
    assert quantile_row(profile({}), 1, 1, 1, "profile") == pytest.approx(np.ones(7))
    assert quantile_row(profile(COMMON), 1, 1, 1, "mean").tolist() == [1.0] * 7


def test_a_table_has_a_row_for_every_batch_between_and_beyond_the_measured_ones() -> None:
    table = draw_table([profile(COMMON, batches=(1, 4)), None], 6, 1, 1, "profile")
    assert table.shape == (2, 7, 7)
    assert table[0, 1:, 6] == pytest.approx([1, 2, 3, 4, 5, 6])
    assert table[0, 3, 2] == pytest.approx(3 * 1.3)
    assert not table[1].any()
    assert not table[0, 0].any()


def test_what_the_profile_does_not_know_the_truth_may() -> None:
    one, two = profile({}, 1.0, cores=1), profile({}, 0.6, cores=2)
    assert known_at(one, two, 1, 1) is one
    assert known_at(one, two, 2, 1) is two
    table = VariantProfile("task", "variant", (), capacity=(CapacityPoint(4, 50.0, 0.2), CapacityPoint(8, 90.0, 0.2)))
    implied = known_at(table, table, 4, 1).service_time(1, 4, 1)
    assert implied.seconds == pytest.approx(4 / 50.0)
    assert known_at(one, table, 8, 1).service_time(1, 8, 1).seconds == pytest.approx(8 / 90.0)
    for shape in ((3, 1), (4, 2)):
        with pytest.raises(SimulationError, match="task task, variant variant"):
            known_at(one, table, *shape)
