"""The bound to plan for: what it must be for any times left, and how it follows them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trimtab.control.deadlines import STEPS, Deadlines, bound_for, least_time_left
from trimtab.observe.model import Observation, Outcomes
from trimtab.observe.window import ALLOWED_QUANTILES, allowed_quantiles
from trimtab.spec.model import Slo
from trimtab.testing import make_chain

SLO = Slo(2.0, 0.99)
STEP_S = SLO.latency_s / STEPS

left_steps = st.lists(st.integers(1, STEPS), min_size=1, max_size=30)
slos = st.builds(Slo, st.sampled_from([0.1, 1.0, 7.5]), st.sampled_from([0.5, 0.9, 0.99, 0.999]))


def weights(steps: list[int]) -> NDArray[np.float64]:
    return np.bincount(steps, minlength=STEPS + 1).astype(float)


def seen(now_s: float, left_s: list[float], slo: Slo = SLO, window_s: float = 1.0) -> Observation:
    allowed_s = allowed_quantiles(left_s, slo.latency_s)
    return Observation(now_s, window_s, (len(left_s),), Outcomes(), {}, allowed_s=allowed_s)


def bound_s(deadlines: Deadlines) -> float:
    return deadlines.bound().latency_s


@given(left_steps, slos)
def test_the_bound_is_the_largest_that_keeps_to_what_is_permitted(steps: list[int], slo: Slo) -> None:
    permitted = 1.0 - slo.quantile
    k = round(bound_for(slo, weights(steps)).latency_s / slo.latency_s * STEPS)

    def late(bound: int) -> float:
        return sum(math.exp(math.log(permitted) * i / bound) for i in steps) / len(steps)

    assert late(k) <= permitted * (1.0 + 1e-6)
    assert k == STEPS or late(k + 1) > permitted * (1.0 - 1e-6)


@given(left_steps, slos)
def test_it_lies_between_the_least_and_the_most_that_requests_have(steps: list[int], slo: Slo) -> None:
    step_s = slo.latency_s / STEPS
    found_s = bound_for(slo, weights(steps)).latency_s
    assert min(steps) * step_s - 1e-9 <= found_s <= max(steps) * step_s + 1e-9 <= slo.latency_s + 2e-9


@given(st.integers(1, 100), slos, st.floats(0.0, 1.0))
def test_where_all_have_the_slo_it_is_the_slo(count: int, slo: Slo, least_share: float) -> None:
    assert bound_for(slo, weights([STEPS] * count), least_share * slo.latency_s).latency_s == slo.latency_s
    assert bound_for(slo, np.zeros(STEPS + 1)).latency_s == slo.latency_s


@given(st.lists(st.tuples(st.integers(1, STEPS), st.integers(0, STEPS)), min_size=1, max_size=30), slos)
def test_who_has_more_left_never_makes_it_less(pairs: list[tuple[int, int]], slo: Slo) -> None:
    before = bound_for(slo, weights([low for low, _ in pairs]))
    after = bound_for(slo, weights([min(low + more, STEPS) for low, more in pairs]))
    assert after.latency_s >= before.latency_s


@given(left_steps, slos)
def test_only_shares_count(steps: list[int], slo: Slo) -> None:
    assert bound_for(slo, weights(steps)) == bound_for(slo, weights(steps * 3))


def test_few_hurried_requests_pull_it_down_little() -> None:
    half = STEPS // 2
    found = [
        bound_for(SLO, weights([half] * hurried + [STEPS] * (1000 - hurried))).latency_s for hurried in range(1000)
    ]
    assert found[0] == SLO.latency_s
    assert found == sorted(found, reverse=True)
    # By hand: 0.1 % late at half the bound is 0.01 · 0.5; solving 0.001 x + 0.999 x² = 0.01 gives x = 0.0995 and
    # d = half · ln 0.01 / ln 0.0995 = 0.998 of the SLO; for 10 %, 0.1 x + 0.9 x² = 0.01: x = 0.0635, d = 0.835.
    assert found[1] == pytest.approx(0.99 * SLO.latency_s)
    assert found[100] == pytest.approx(0.83 * SLO.latency_s)
    assert found[999] == pytest.approx(0.5 * SLO.latency_s)


def test_who_cannot_be_saved_is_left_out_and_takes_its_part_of_the_violations() -> None:
    good = [STEPS] * 995
    for few in ([1] * 5, [9] * 5):
        told = bound_for(SLO, weights(good + few), least_s=10 * STEP_S)
        assert told.lost == pytest.approx(0.005)
        # 0.5 % of 1 % is left for the others: d = SLO · ln 0.01 / ln(0.005 / 0.995).
        assert told.latency_s == pytest.approx(math.floor(100 * math.log(0.01) / math.log(0.005 / 0.995)) * STEP_S)
        assert "0.5 % have less than anything takes" in told.reason
    least = bound_for(SLO, weights(good + [10] * 5), least_s=10 * STEP_S)
    assert (least.lost, least.latency_s < SLO.latency_s) == (0.0, True)


@given(left_steps, st.integers(0, 200), slos)
def test_a_share_that_is_lost_never_starves_the_rest_nor_asks_for_more_than_can_be(
    steps: list[int], lost: int, slo: Slo
) -> None:
    least_s = 5 * slo.latency_s / STEPS
    savable = [max(i, 5) for i in steps]
    alone = bound_for(slo, weights(savable), least_s).latency_s
    told = bound_for(slo, weights(savable + [0] * lost), least_s)
    assert told.lost == pytest.approx(lost / (len(savable) + lost))
    assert least_s - 1e-9 <= told.latency_s <= alone
    ever_more = [bound_for(slo, weights(savable + [0] * len(savable) * many), least_s).latency_s for many in (1, 9)]
    assert ever_more[0] == ever_more[1] <= told.latency_s


def test_where_nobody_can_be_saved_nothing_is_hurried() -> None:
    told = bound_for(SLO, weights([3] * 7), least_s=10 * STEP_S)
    assert (told.latency_s, told.lost) == (SLO.latency_s, 1.0)
    assert "no request" in told.reason


def test_a_fall_is_answered_at_once_and_a_rise_when_it_has_lasted() -> None:
    deadlines = Deadlines(SLO)
    now = iter(range(1, 1000))
    for _ in range(60):
        deadlines.observe(seen(next(now), [2.0] * 40))
    assert bound_s(deadlines) == SLO.latency_s
    falling = []
    for _ in range(4):
        deadlines.observe(seen(next(now), [0.6] * 40))
        falling.append(bound_s(deadlines))
    assert falling == sorted(falling, reverse=True)
    assert falling[0] < 0.5 * SLO.latency_s
    assert falling[-1] < 0.7
    rising = []
    for _ in range(300):
        deadlines.observe(seen(next(now), [2.0] * 40))
        rising.append(bound_s(deadlines))
    assert rising == sorted(rising)
    assert rising[5] < 1.8
    assert rising[-1] == SLO.latency_s


def test_what_is_not_known_changes_nothing() -> None:
    deadlines = Deadlines(SLO)
    deadlines.observe(seen(1.0, [1.0] * 20))
    before = deadlines.bound()
    for second in range(2, 60):
        deadlines.observe(Observation(float(second), 1.0, (None,), Outcomes(), {}))
        deadlines.observe(Observation(float(second), 0.0, (0,), Outcomes(), {}))
    assert deadlines.bound() == before


@given(st.lists(st.lists(st.floats(0.0, 2.0), max_size=12), max_size=12))
def test_observations_never_lead_above_the_slo_or_below_what_was_seen(windows: list[list[float]]) -> None:
    deadlines = Deadlines(SLO)
    for number, left_s in enumerate(windows, start=1):
        deadlines.observe(seen(float(number), left_s))
    told = bound_s(deadlines)
    known = [left for left_s in windows for left in left_s if left >= STEP_S]
    assert 0.5 * min(known, default=2.0) - STEP_S <= told <= SLO.latency_s


def test_between_two_quantiles_the_lower_one_counts() -> None:
    # All quantiles at 1 s but the lowest: as if 5 % had what that one says, for it covers up to the next.
    deadlines = Deadlines(SLO)
    allowed_s = dict.fromkeys(ALLOWED_QUANTILES, 1.0) | {0.01: 0.5}
    deadlines.observe(Observation(1.0, 1.0, (100,), Outcomes(), {}, allowed_s=allowed_s))
    assert bound_s(deadlines) == bound_for(SLO, weights([25] * 5 + [50] * 95)).latency_s


def test_the_least_time_left_is_the_longest_way_at_its_fastest() -> None:
    pipeline, profile = make_chain(
        {"a": {"slow": (0.9, 0.4), "fast": (0.8, 0.1)}, "b": {"only": (0.9, 0.2)}}, shapes=((1, 1), (4, 4))
    )
    # Four threads are twice as fast; 5 % of a request's time are kept for its answer.
    assert least_time_left(pipeline, profile, 8) == pytest.approx((0.05 + 0.1) / 0.95)
    assert least_time_left(pipeline, profile, 2) == pytest.approx((0.1 + 0.2) / 0.95)
