"""Batching rules of the literature and routing: cases by hand, and what holds for any queue."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.dispatch import kernels, rules
from trimtab.dispatch.rules import CLIPPER, DROP, FIFO, NEXUS, PROTEUS, SERVE, WAIT, adjusted_bound, rule_step

SERVICE_S = np.array([math.inf, 0.10, 0.14, 0.18, 0.22])
"""Of batches of 1 … 4."""


def step(rule: int, queued: int = 1, **changes: float) -> tuple[int, int, object]:
    given_ = {
        "now_s": 10.0,
        "arrived_s": 9.9,
        "queued_s": 9.95,
        "deadline_s": 11.0,
        "ratio": 1.0,
        "bound": 1.0,
        "max_wait_s": 0.0,
        "drop_after_s": math.inf,
    }
    return rule_step(rule=rule, queued=queued, service_s=SERVICE_S, max_batch=4, **(given_ | changes))


# --- first come, first served ---------------------------------------------------------------------------------------


def test_fifo_serves_what_is_there_when_it_need_not_wait() -> None:
    assert [step(FIFO, n)[:2] for n in (1, 3, 4, 9)] == [(SERVE, 1), (SERVE, 3), (SERVE, 4), (SERVE, 4)]


def test_fifo_waits_for_a_full_batch_until_its_head_has_waited_long_enough() -> None:
    assert step(FIFO, 3, max_wait_s=0.2) == (WAIT, 0, pytest.approx(9.95 + 0.2))
    assert step(FIFO, 4, max_wait_s=0.2)[:2] == (SERVE, 4)
    assert step(FIFO, 3, max_wait_s=0.05)[:2] == (SERVE, 3)
    assert step(FIFO, 3, max_wait_s=0.2, now_s=10.15)[:2] == (SERVE, 3)


def test_fifo_drops_by_age_since_arrival_and_not_by_deadline() -> None:
    assert step(FIFO, 9, drop_after_s=0.09)[0] == DROP
    assert step(FIFO, 9, drop_after_s=0.11)[0] == SERVE
    assert step(FIFO, 9, drop_after_s=0.5, arrived_s=9.5)[0] == DROP
    assert step(FIFO, 9, deadline_s=5.0)[0] == SERVE


# --- Clipper --------------------------------------------------------------------------------------------------------


def test_clipper_serves_up_to_its_bound_at_once() -> None:
    assert [step(CLIPPER, 3, bound=b)[:2] for b in (1.0, 1.9, 2.0, 3.5, 9.0)] == [
        (SERVE, 1), (SERVE, 1), (SERVE, 2), (SERVE, 3), (SERVE, 3),
    ]  # fmt: skip
    assert step(CLIPPER, 9, bound=9.0)[:2] == (SERVE, 4)
    assert step(CLIPPER, 9, bound=4.0, deadline_s=0.0)[:2] == (SERVE, 4)  # it drops nothing


def test_clippers_bound_grows_by_one_and_shrinks_by_a_tenth() -> None:
    assert (rules.INCREASE, rules.DECREASE) == (1.0, 0.9)
    assert adjusted_bound(2.0, 2, 0.1, 0.2, 4) == 3.0
    assert adjusted_bound(2.7, 2, 0.1, 0.2, 4) == pytest.approx(3.7)
    assert adjusted_bound(2.0, 1, 0.1, 0.2, 4) == 2.0  # a batch that was not full teaches nothing
    assert adjusted_bound(4.0, 4, 0.1, 0.2, 4) == 4.0  # the plan's own bound
    assert adjusted_bound(3.0, 1, 0.3, 0.2, 4) == pytest.approx(2.7)
    assert adjusted_bound(1.05, 1, 0.3, 0.2, 4) == 1.0
    assert adjusted_bound(2.0, 2, 0.2, 0.2, 4) == 3.0  # just in time is in time


@given(st.lists(st.tuples(st.integers(1, 8), st.floats(0.0, 1.0)), max_size=60))
def test_clippers_bound_stays_between_one_and_the_plans(batches: list[tuple[int, float]]) -> None:
    bound = 1.0
    for size, took_s in batches:
        after = adjusted_bound(bound, min(size, int(bound)), took_s, 0.5, 8)
        assert 1.0 <= after <= 8.0
        assert (after < bound) <= (took_s > 0.5)
        bound = after


# --- Nexus ----------------------------------------------------------------------------------------------------------


def test_nexus_drops_the_head_that_the_full_batch_would_not_save() -> None:
    assert step(NEXUS, 9, deadline_s=10.22)[:2] == (SERVE, 4)
    assert step(NEXUS, 9, deadline_s=10.21)[:2] == (DROP, 0)  # although a batch of three would save it
    assert step(NEXUS, 3, deadline_s=10.21)[:2] == (SERVE, 3)
    assert step(NEXUS, 1, deadline_s=10.09)[:2] == (DROP, 0)
    assert step(NEXUS, 1, deadline_s=10.15, ratio=2.0)[:2] == (DROP, 0)


# --- Proteus --------------------------------------------------------------------------------------------------------


def test_proteus_waits_until_the_last_moment_that_saves_its_head() -> None:
    # A batch of two takes 0.14 s: it may start at 10.86 at the latest.
    assert step(PROTEUS, 2) == (WAIT, 0, pytest.approx(10.86))
    assert step(PROTEUS, 2, now_s=10.86)[:2] == (SERVE, 2)
    assert step(PROTEUS, 2, ratio=2.0) == (WAIT, 0, pytest.approx(10.72))


def test_proteus_serves_a_full_batch_at_once_and_leaves_out_what_would_make_it_late() -> None:
    assert step(PROTEUS, 4)[:2] == (SERVE, 4)
    assert step(PROTEUS, 7)[:2] == (SERVE, 4)
    assert step(PROTEUS, 4, now_s=10.83)[:2] == (SERVE, 2)  # 0.17 s are left: two fit, a third would be late
    assert step(PROTEUS, 3, now_s=10.83)[:2] == (SERVE, 2)


def test_proteus_drops_a_head_that_nothing_saves() -> None:
    assert step(PROTEUS, 3, now_s=10.91)[:2] == (DROP, 0)
    assert step(PROTEUS, 1, now_s=10.90)[:2] == (SERVE, 1)


# --- what holds for all ---------------------------------------------------------------------------------------------


@given(
    st.sampled_from([FIFO, CLIPPER, NEXUS, PROTEUS]),
    st.integers(1, 20),
    st.floats(0.0, 2.0),
    st.floats(0.2, 3.0),
    st.floats(1.0, 9.0),
    st.floats(0.0, 1.0),
    st.one_of(st.just(math.inf), st.floats(0.01, 2.0)),
    st.integers(1, 4),
)
def test_any_rule_says_something_that_can_be_done(
    rule: int, queued: int, left_s: float, ratio: float, bound: float, max_wait_s: float, drop_after_s: float, most: int
) -> None:
    now_s = 100.0
    verdict, size, until_s = rule_step(
        rule, now_s, now_s - 0.5, now_s - 0.3, now_s + left_s, queued, SERVICE_S, ratio, most, bound, max_wait_s,
        drop_after_s,
    )  # fmt: skip
    if verdict == SERVE:
        assert 1 <= size <= min(queued, most)
    else:
        assert size == 0
    if verdict == WAIT:
        assert until_s > now_s  # or the event loop would not move
        assert rule in {FIFO, PROTEUS}
        assert queued < most
        again = rule_step(
            rule, until_s, now_s - 0.5, now_s - 0.3, now_s + left_s, queued, SERVICE_S, ratio, most, bound, max_wait_s,
            math.inf,
        )  # fmt: skip
        assert again[0] == SERVE  # when the wait is over, all that came is served
        assert again[1] == queued
    if rule in {NEXUS, PROTEUS} and verdict == SERVE:
        assert SERVICE_S[size] * ratio <= left_s + 1e-6
    if rule == PROTEUS and verdict == DROP:
        assert SERVICE_S[1] * ratio > left_s
    if rule in {FIFO, CLIPPER} and drop_after_s == math.inf:
        assert verdict != DROP
    if rule in {CLIPPER, NEXUS}:
        assert verdict != WAIT


# --- routing --------------------------------------------------------------------------------------------------------


def routed(share: list[float], items: int) -> list[int]:
    shares, credit = np.array(share), np.zeros(len(share))
    groups = []
    for _ in range(items):
        groups.append(kernels.route(shares, credit))
        assert abs(credit.sum()) < 1e-6
    return groups


def test_routing_by_hand() -> None:
    assert routed([0.5, 0.5], 6) == [0, 1, 0, 1, 0, 1]
    assert routed([1.0, 0.0], 3) == [0, 0, 0]
    assert routed([0.0, 1.0, 0.0], 3) == [1, 1, 1]
    # The order that nginx gives weights of 5, 1 and 1: a a b a c a a.
    assert routed([5 / 7, 1 / 7, 1 / 7], 7) == [0, 0, 1, 0, 2, 0, 0]
    assert kernels.route(np.zeros(2), np.zeros(2)) == -1


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8).filter(any), st.integers(1, 80))
def test_every_beginning_is_shared_nearly_as_the_whole(weights: list[int], items: int) -> None:
    # What a group is owed stays below the harmonic number of the groups, as in the game of emptying the fullest of
    # several cups (P. F. Dietz and D. D. Sleator, STOC 1987), and with up to four of them below one item.
    total, groups = sum(weights), len([w for w in weights if w])
    most = 1.0 if groups <= 4 else sum(1.0 / k for k in range(1, groups + 1))
    order = routed([w / total for w in weights], items)
    counts = [0] * len(weights)
    for n, g in enumerate(order, start=1):
        counts[g] += 1
        for weight, count in zip(weights, counts, strict=True):
            assert abs(count - Fraction(n * weight, total)) < most
            assert weight or not count
    if items >= total:
        assert [order[:total].count(g) for g in range(len(weights))] == weights  # a whole round is exact


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2), st.integers(1, 300))
def test_two_groups_are_spread_as_evenly_as_can_be(weights: list[float], items: int) -> None:
    # No other order of two kinds keeps the counts nearer to their shares than to within half an item each.
    share = [w / sum(weights) for w in weights]
    counts = np.cumsum(np.array(routed(share, items)) == 0)
    ahead = counts - share[0] * np.arange(1, items + 1)
    assert np.abs(ahead).max() <= 0.5 + 1e-6
