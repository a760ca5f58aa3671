"""Mixtures against samples, and the weight of jumps against the loss that it stands for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trimtab.forecast.mixture import Piecewise, heavier, log_normal, mixture_quantiles
from trimtab.rng import generator

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
FEW = (0.1, 0.3, 0.5, 0.7, 0.9)
CALM = Piecewise.of(QUANTILES, np.array([40.0, 45.0, 50.0, 56.0, 62.0, 66.0, 75.0]))
JUMP = Piecewise.of(FEW, np.array([100.0, 140.0, 180.0, 220.0, 300.0]))
Vector = NDArray[np.float64]

ascending = st.lists(st.floats(0.0, 1e6), min_size=len(QUANTILES), max_size=len(QUANTILES)).map(sorted)
chances = st.floats(0.0, 1.0)


def quantiles_of(calm: Piecewise, jump: Piecewise, chance: float, quantiles: Sequence[float]) -> Vector:
    """With one chance for all quantiles."""
    return mixture_quantiles(calm, jump, [chance] * len(quantiles), quantiles)


def drawn(piecewise: Piecewise, n: int, seed: int) -> Vector:
    """A sample, by inversion."""
    uniform = generator(seed, "mixture").random(n)
    return np.interp(uniform, piecewise.shares, piecewise.values)


def mixed(chance: float, n: int) -> tuple[Vector, NDArray[np.bool_]]:
    jumps = generator(3, "which").random(n) < chance
    return np.where(jumps, drawn(JUMP, n, 1), drawn(CALM, n, 2)), jumps


@pytest.mark.parametrize("chance", [0.003, 0.02, 0.1, 0.5, 0.97])
def test_quantiles_are_those_of_a_sample(chance: float) -> None:
    n = 200_000
    sample, _ = mixed(chance, n)
    for q, value in zip(QUANTILES, quantiles_of(CALM, JUMP, chance, QUANTILES), strict=True):
        # The share below has a standard error of at most 0.0011.
        assert np.mean(sample <= value) == pytest.approx(q, abs=5 * math.sqrt(q * (1 - q) / n)), q


@given(ascending, ascending, chances)
def test_quantiles_invert_the_distribution_function(calm: list[float], jump: list[float], chance: float) -> None:
    one, other = Piecewise.of(QUANTILES, np.array(calm)), Piecewise.of(QUANTILES, np.array(jump))
    found = quantiles_of(one, other, chance, QUANTILES)
    assert np.isfinite(found).all()
    assert list(found) == sorted(found)
    tiny = 1e-9 * (1.0 + max(calm[-1], jump[-1]))
    for q, value in zip(QUANTILES, found, strict=True):
        low, high = (
            float((1.0 - chance) * one.share_below(at)[0] + chance * other.share_below(at)[0])
            for at in (np.array([value - tiny]), np.array([value + tiny]))
        )
        assert low - 1e-6 <= q <= high + 1e-6


def test_no_chance_is_the_calm_and_certainty_the_jump() -> None:
    assert quantiles_of(CALM, JUMP, 0.0, QUANTILES) == pytest.approx(CALM.values[1:-1])
    assert quantiles_of(CALM, JUMP, 1.0, FEW) == pytest.approx(JUMP.values[1:-1])


def test_each_quantile_may_have_its_own_chance() -> None:
    chances = [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]
    each = [quantiles_of(CALM, JUMP, chance, [q])[0] for q, chance in zip(QUANTILES, chances, strict=True)]
    assert mixture_quantiles(CALM, JUMP, chances, QUANTILES) == pytest.approx(each)


def test_a_jump_moves_only_what_lies_above_it() -> None:
    plain = quantiles_of(CALM, JUMP, 0.0, QUANTILES)
    found = quantiles_of(CALM, JUMP, 0.07, QUANTILES)
    assert found[:3] == pytest.approx(plain[:3], rel=0.05)
    assert found[5] > 100.0, "the jump's share begins above 93 %"
    assert found[4] < 75.0 + 10.0


@given(st.lists(st.floats(0.0, 1e6), min_size=len(QUANTILES), max_size=len(QUANTILES)))
def test_values_that_cross_are_put_in_order(values: list[float]) -> None:
    made, ordered = Piecewise.of(QUANTILES, np.array(values)), Piecewise.of(QUANTILES, np.sort(values))
    assert np.array_equal(made.values, ordered.values)
    assert (np.diff(made.values) > 0.0).all()
    assert made.share_below(made.values) == pytest.approx([0.0, *QUANTILES, 1.0])
    assert made.values[1:-1] == pytest.approx(sorted(values), abs=1e-8 * (1.0 + max(values)))


def test_the_ends_reach_as_far_as_the_outermost_quantiles_lie_apart() -> None:
    assert CALM.values[[0, -1]] == pytest.approx([35.0, 84.0])
    assert CALM.share_below(np.array([35.0, 37.5, 40.0, 84.0, 1000.0, -1.0])) == pytest.approx(
        [0.0, 0.05, 0.1, 1.0, 1.0, 0.0]
    )


def test_the_mean_is_that_of_a_sample() -> None:
    for piecewise in (CALM, JUMP):
        assert piecewise.mean() == pytest.approx(drawn(piecewise, 200_000, 4).mean(), rel=0.002)


def minimiser(sample: Vector, weights: Vector, quantile: float) -> float:
    """What minimises the weighted pinball loss, found by trying each value of the sample near it."""
    tried = np.quantile(sample, np.linspace(max(0.0, quantile - 0.3), 1.0, 200))
    short = sample[None, :] - tried[:, None]
    losses = np.where(short > 0.0, quantile * short, (quantile - 1.0) * short) @ weights
    return float(tried[np.argmin(losses)])


@pytest.mark.parametrize("chance", [0.05, 0.2])
@pytest.mark.parametrize("quantile", [0.75, 0.95])
def test_a_weighed_jump_minimises_the_weighted_loss(chance: float, quantile: float) -> None:
    weight, n = 3.0, 40_000
    sample, jumps = mixed(chance, n)
    best = minimiser(sample, np.where(jumps, weight, 1.0), quantile)
    (said,) = quantiles_of(CALM, JUMP, heavier(chance, weight), (quantile,))
    assert said == pytest.approx(best, rel=0.04)
    assert said > quantiles_of(CALM, JUMP, chance, (quantile,))[0]


@given(chances, st.floats(1.0, 100.0))
def test_a_heavier_chance_is_a_chance(chance: float, weight: float) -> None:
    assert chance * (1.0 - 1e-12) <= heavier(chance, weight) <= 1.0 + 1e-12
    assert heavier(chance, 1.0) == chance
    assert heavier(0.0, weight) == 0.0
    assert heavier(1.0, weight) == pytest.approx(1.0)


@pytest.mark.parametrize("spread", [0.05, 0.5])
def test_a_log_normal_has_its_quantiles_and_nearly_its_mean(spread: float) -> None:
    scores: Sequence[float] = [NormalDist().inv_cdf(q) for q in FEW]
    made = log_normal(200.0, spread, FEW, scores)
    sample = 200.0 * np.exp(spread * generator(5, "log-normal").normal(size=200_000))
    assert made.values[1:-1] == pytest.approx(np.quantile(sample, FEW), rel=0.01)
    assert made.mean() == pytest.approx(200.0 * math.exp(spread**2 / 2.0), rel=0.03)
