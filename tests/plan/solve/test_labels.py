"""Label setting and its bound against exhaustive search, with any number of criteria."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.plan.solve.dual import dual_bound
from trimtab.plan.solve.labels import Stage, best_path

QUALITY = st.sampled_from([-3.0, -1.0, -0.5, -0.1, 0.0, 0.4])
AMOUNT = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5])


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Stage], np.ndarray]:
    count = draw(st.integers(1, 3))
    stages = []
    for _ in range(draw(st.integers(1, 4))):
        rows = draw(st.lists(st.tuples(QUALITY, *[AMOUNT] * count), min_size=1, max_size=5))
        stages.append(Stage(np.array([r[0] for r in rows]), np.array([r[1:] for r in rows])))
    limits = [draw(st.sampled_from([0.0, 1.0, 4.0, 9.0, float("inf")])) for _ in range(count)]
    return stages, np.array(limits)


def sums(stages: list[Stage], path: tuple[int, ...]) -> tuple[float, np.ndarray]:
    rows = list(zip(stages, path, strict=True))
    return sum(float(s.quality[i]) for s, i in rows), np.sum([s.criteria[i] for s, i in rows], axis=0)


@settings(max_examples=200, deadline=None)
@given(chains(), st.booleans())
def test_equal_to_exhaustive_search(chain: tuple[list[Stage], np.ndarray], with_tie: bool) -> None:
    stages, limits = chain
    feasible = [
        (quality, used)
        for path in itertools.product(*(range(s.quality.size) for s in stages))
        for quality, used in [sums(stages, path)]
        if (used <= limits).all()
    ]
    path = best_path(stages, limits, tie=0 if with_tie else None)
    if path is None:
        assert not feasible
        return
    quality, used = sums(stages, path)
    best = max(q for q, _ in feasible)
    assert (used <= limits).all()
    assert quality == pytest.approx(best, abs=1e-9)
    if with_tie:
        assert used[0] == min(u[0] for q, u in feasible if q >= best - 1e-9)


@settings(max_examples=200, deadline=None)
@given(chains())
def test_the_bound_is_never_below_what_can_be_reached(chain: tuple[list[Stage], np.ndarray]) -> None:
    stages, limits = chain
    limited = np.isfinite(limits) & (limits > 0)
    shares = [s.criteria[:, limited] / limits[limited] for s in stages]
    bound = dual_bound([s.quality for s in stages], shares)
    for path in itertools.product(*(range(s.quality.size) for s in stages)):
        quality, _ = sums(stages, path)
        used = np.sum([share[i] for share, i in zip(shares, path, strict=True)], axis=0)
        if (used <= 1.0).all():
            for stage in range(len(stages)):
                so_far = np.array([sum(float(s.quality[i]) for s, i in zip(stages[: stage + 1], path, strict=False))])
                taken = np.sum([share[i] for share, i in zip(shares[: stage + 1], path, strict=False)], axis=0)
                assert bound.reach(stage, so_far, taken[None, :])[0] >= quality - 1e-9
    if bound.incumbent is not None:
        used = np.sum([share[i] for share, i in zip(shares, bound.incumbent, strict=True)], axis=0)
        assert (used <= 1.0 + 1e-9).all()
