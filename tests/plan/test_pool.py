"""Pools: the chain against its balance equations, the mix against a linear programme, and what holds for any pool."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from trimtab.plan.latency import Tail
from trimtab.plan.pool import (
    PATIENCE,
    PRESSURE,
    UTILISATION_CAP,
    list_pools,
    lone_patience_s,
    mixed_score,
    pool_state,
    stepped_score,
)
from trimtab.plan.pool_tables import PoolTable, pool_table, within
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Pipeline
from trimtab.testing import make_chain

TAIL = Tail.of(0.99, 1.0, 1)
LADDER = {"s": (0.7, 0.01), "m": (0.8, 0.03), "l": (0.9, 0.08)}
WORKS = st.lists(st.floats(0.002, 0.2), min_size=2, max_size=4, unique=True).map(lambda w: sorted(w, reverse=True))


def pools_of(variants: dict[str, tuple[float, float]] | None = None, **more: Any) -> tuple[Pipeline, PoolTable]:
    pipeline, profile = make_chain({"a": variants or LADDER}, **{"batches": (1,), **more})
    return pipeline, pool_table(pipeline, profile, "a")


def state_of(pools: PoolTable, servers: int, rate: float, row: int | None = None, patience_s: float = 0.0) -> Any:
    row = int(np.argmax(pools.levels)) if row is None else row
    return pool_state(pools, row, {0, 1, 2, 3}, servers, rate, 1.0, 1.0, TAIL, patience_s)


# --- what a table holds ---------------------------------------------------------------------------------------------


def test_a_pool_steps_down_the_less_accurate_and_faster_variants() -> None:
    _, pools = pools_of({**LADDER, "slow": (0.75, 0.05), "twin": (0.9, 0.079)}, variant_bytes=10)
    ladders = [
        (pools.work_s[p, :n].tolist(), pools.score[p, :n].tolist(), int(pools.memory_bytes[p]))
        for p, n in enumerate(pools.levels)
    ]
    # `slow` takes longer than the more accurate m: it is no step for l, but its replica holds it.
    assert ([0.08, 0.079, 0.03, 0.01], [0.9, 0.9, 0.8, 0.7], 50) in ladders
    assert ([0.03, 0.01], [0.8, 0.7], 20) in ladders
    assert ([0.05, 0.01], [0.75, 0.7], 20) in ladders
    assert len(ladders) == 4, "the fastest cannot step down"


def test_a_level_works_in_its_best_batch_up_to_that_of_the_pool() -> None:
    _, pools = pools_of(batches=(1, 2, 4), batch_gain=0.5)
    top = int(np.flatnonzero(pools.levels == 3)[-1])
    assert int(pools.batch[top]) == 4
    assert pools.work_s[top].tolist() == pytest.approx([0.08 * 0.625, 0.03 * 0.625, 0.01 * 0.625])
    shape = int(pools.shape[top])
    assert [pools.row(shape, batch) for batch in (1, 2, 3, 4, 9)] == [top - 2, top - 1, top - 1, top, top]
    assert pools.row(99, 1) is None


def test_one_variant_or_a_capacity_table_has_no_pool() -> None:
    assert pools_of({"s": (0.7, 0.01)})[1].levels.size == 0
    pipeline, _ = make_chain({"a": LADDER})
    known = {v: VariantProfile("a", v, (), capacity=(CapacityPoint(1, 20.0, 0.3),)) for v in LADDER}
    assert pool_table(pipeline, Profile({"a": known}), "a").levels.size == 0


def test_pools_of_what_is_loaded_have_its_levels_alone() -> None:
    _, pools = pools_of(batches=(1, 2))
    assert within(pools, [0, 1, 2]) is pools
    names = sorted(LADDER)
    some = within(pools, [names.index("l"), names.index("s")])
    ladders = [
        ([names[v] for v in some.variant[p, :n]], some.score[p, :n].tolist(), some.work_s[p, :n].tolist())
        for p, n in enumerate(some.levels)
    ]
    assert (["l", "s"], [0.9, 0.7], [0.08, 0.01]) in ladders
    assert (["m", "s"], [0.8, 0.7], [0.03, 0.01]) in ladders
    assert len(ladders) == 4, "two batches of l and of m, each down to s"
    alone = within(pools, [names.index("l")])
    assert (alone.levels.size, alone.row(int(pools.shape[0]), 1)) == (0, None)


def test_a_table_is_kept_as_long_as_accuracies_are_the_same() -> None:
    pipeline, profile = make_chain({"a": LADDER})
    first = pool_table(pipeline, profile, "a")
    assert pool_table(pipeline, profile, "a") is first
    task = pipeline.tasks["a"]
    better = {**task.variants, "s": replace(task.variants["s"], accuracy=0.75)}
    other = replace(pipeline, tasks={"a": replace(task, variants=better)})
    assert pool_table(other, profile, "a").score.min(where=first.score > 0, initial=9.0) == 0.75


def test_the_only_task_of_a_pipeline_has_all_of_the_pressure() -> None:
    assert lone_patience_s(make_chain({"a": LADDER}, slo_s=0.4)[0]) == pytest.approx(PRESSURE * 0.4)
    assert lone_patience_s(make_chain({"a": LADDER, "b": LADDER})[0]) == 0.0


# --- the mix --------------------------------------------------------------------------------------------------------


@given(WORKS, st.data(), st.floats(0.05, 0.99))
def test_the_mix_is_the_best_of_the_linear_programme(works: list[float], data: Any, load: float) -> None:
    size, rate = len(works), load / works[-1]
    some = st.floats(0.1, 1.0)
    scores = sorted(data.draw(st.lists(some, min_size=size, max_size=size)), reverse=True)
    best = linprog([-s for s in scores], A_ub=[[rate * w for w in works]], b_ub=[1.0], A_eq=[[1.0] * size], b_eq=[1.0])
    assert best.status == 0
    assert mixed_score(rate, np.array(works), np.array(scores), size) == pytest.approx(-best.fun, rel=1e-6)


def test_where_even_the_fastest_takes_too_much_it_is_its_score() -> None:
    assert mixed_score(60.0, np.array([0.1, 0.02]), np.array([0.9, 0.7]), 2) == 0.7


# --- the chain ------------------------------------------------------------------------------------------------------


def chain_score(
    rate: float, servers: int, works: list[float], scores: list[float], batch: float, patience_s: float
) -> float:
    """Score by departures of the chain from its balance equations πQ = 0, cut at many batches in the system."""
    most = 250
    generator, brings = np.zeros((most + 1, most + 1)), np.zeros(most + 1)
    for j in range(most + 1):
        waiting = max(0, j - servers)
        fits = [k for k, w in enumerate(works) if waiting * w * batch <= patience_s * servers]
        level = fits[0] if fits else len(works) - 1
        if j < most:
            generator[j, j + 1] = rate / batch
        if j > 0:
            generator[j, j - 1] = min(j, servers) / (works[level] * batch)
            brings[j] = scores[level]
    leaves = generator.diagonal(-1).copy()
    np.fill_diagonal(generator, -generator.sum(axis=1))
    system = generator.T.copy()
    system[-1] = 1.0
    share = np.linalg.solve(system, np.eye(most + 1)[-1])
    return float((share[1:] * leaves) @ brings[1:] / (share[1:] @ leaves))


@pytest.mark.parametrize(
    ("rate", "servers", "works", "batch", "patience_s"),
    [
        (10.0, 1, [0.08, 0.01], 1.0, 0.14),
        (20.0, 2, [0.08, 0.03, 0.01], 1.0, 0.14),
        (60.0, 3, [0.08, 0.03, 0.01], 1.0, 0.05),
        (85.0, 1, [0.08, 0.03, 0.01], 1.0, 0.3),
        (150.0, 4, [0.05, 0.02], 4.0, 0.2),
        (2.0, 5, [0.08, 0.01], 1.0, 0.1),
        (30.0, 2, [0.05, 0.01], 1.0, 0.0),
    ],
)
def test_with_exponential_times_it_is_the_score_of_the_balance_equations(
    rate: float, servers: int, works: list[float], batch: float, patience_s: float
) -> None:
    scores = [0.9, 0.8, 0.7][: len(works)]
    found = stepped_score(rate, servers, np.array(works), np.array(scores), len(works), batch, patience_s, 1.0)
    assert found == pytest.approx(chain_score(rate, servers, works, scores, batch, patience_s), rel=1e-8)


def test_where_the_fastest_cannot_keep_up_all_is_served_by_it() -> None:
    assert stepped_score(101.0, 1, np.array([0.08, 0.01]), np.array([0.9, 0.7]), 2, 1.0, 0.1, 1.0) == 0.7


def test_patience_buys_accuracy_and_bursts_take_it() -> None:
    works, scores = np.array([0.08, 0.01]), np.array([0.9, 0.7])

    def scored(patience_s: float, variability: float) -> float:
        return float(stepped_score(22.0, 2, works, scores, 2, 1.0, patience_s, variability))

    by_patience = [scored(patience_s, 1.0) for patience_s in (0.0, 0.05, 0.1, 0.3, 1.0)]
    assert by_patience == sorted(by_patience)
    assert by_patience[-1] > by_patience[0] + 0.01
    by_burst = [scored(0.1, variability) for variability in (0.3, 1.0, 3.0)]
    assert by_burst == sorted(by_burst, reverse=True)
    assert by_burst[0] > by_burst[-1]


# --- the whole pool -------------------------------------------------------------------------------------------------


def test_a_calm_pool_has_its_dearest_variant_and_waits_no_longer_than_it_may() -> None:
    _, pools = pools_of()
    state = state_of(pools, 4, 1.0)
    own_s = 0.08 * 1.2
    assert state.score == pytest.approx(0.9, abs=1e-6)
    assert state.dearest == 0.9
    assert state.total_s == state.longest_s == pytest.approx((1.0 + PATIENCE) * own_s)
    assert state_of(pools, 4, 1.0, patience_s=0.14).longest_s == pytest.approx(own_s + 0.14)
    assert state.capacity == pytest.approx(UTILISATION_CAP * 4 / 0.01)


def test_beyond_its_capacity_it_keeps_up_no_more() -> None:
    _, pools = pools_of()
    at, beyond = state_of(pools, 2, UTILISATION_CAP * 200.0), state_of(pools, 2, UTILISATION_CAP * 200.1)
    assert math.isfinite(at.mean_s)
    assert math.isinf(beyond.mean_s)
    assert beyond.score == 0.7


def test_variants_that_may_not_be_used_are_no_steps() -> None:
    _, pools = pools_of()
    row = int(np.argmax(pools.levels))
    allowed = {int(pools.variant[row, 1])}
    state = pool_state(pools, row, allowed, 2, 10.0, 1.0, 1.0, TAIL, 0.0)
    assert state.capacity == pytest.approx(UTILISATION_CAP * 2 / 0.03)
    slower = pool_state(pools, row, allowed, 2, 10.0, 2.0, 1.0, TAIL, 0.0)
    assert slower.capacity == pytest.approx(state.capacity / 2)
    assert slower.longest_s == pytest.approx(2 * state.longest_s)
    assert slower.score < state.score


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.3, 1.0), st.floats(0.004, 0.1)), min_size=2, max_size=4, unique_by=lambda v: v[1]),
    st.integers(1, 8), st.floats(0.05, 0.95), st.floats(1.05, 3.0), st.sampled_from([0.0, 0.1]),
)  # fmt: skip
def test_accuracy_lies_between_fastest_and_dearest_and_never_grows_with_the_rate(
    variants: list[tuple[float, float]], servers: int, load: float, more: float, patience_s: float
) -> None:
    _, pools = pools_of({f"v{i}": v for i, v in enumerate(variants)})
    assume(pools.levels.size)
    for row in range(pools.levels.size):
        last = int(pools.levels[row]) - 1
        rate = load * UTILISATION_CAP * servers / float(pools.work_s[row, last])
        state = state_of(pools, servers, rate, row, patience_s)
        low, high = pools.score[row, : last + 1].min(), pools.score[row, 0]
        assert low - 1e-9 <= state.score <= high + 1e-9
        assert math.isfinite(state.total_s)
        assert state.total_s >= state.longest_s * (1.0 - 1e-9)
        assert state_of(pools, servers, rate * more, row, patience_s).score <= state.score + 1e-7
        larger = state_of(pools, servers + 1, rate, row, patience_s)
        assert larger.score >= state.score - 1e-7
        assert larger.capacity > state.capacity
        assert math.isinf(state_of(pools, servers, rate / load * 1.001, row, patience_s).total_s)


def test_what_is_listed_carries_the_surge_and_ends_where_more_replicas_gain_nothing() -> None:
    pipeline, pools = pools_of()
    cores = threads = np.ones(3, dtype=np.int64)
    found, terms = np.empty((200, 3), dtype=np.int64), np.empty((200, 3))

    def listed(rate: float, surge: float, room: int = 200) -> int:
        return int(
            list_pools(
                pools.shape, pools.batch, pools.levels, pools.work_s, pools.score, pools.batches, cores, threads,
                np.ones(3, dtype=np.bool_), 1.0, rate, surge, 1.0, TAIL.late, TAIL.normal, TAIL.stretch,
                lone_patience_s(pipeline), 50, 50, 8, found[:room], terms[:room],
            )
        )  # fmt: skip

    n = listed(20.0, 150.0)
    assert listed(20.0, 150.0, room=2) == -n
    listed(20.0, 150.0)
    for row in {int(p) for p in found[:n, 0]}:
        mine = found[:n, 0] == row
        replicas, scores = found[:n, 1][mine].tolist(), terms[:n, 2][mine].tolist()
        assert replicas[0] == math.ceil(150.0 * 0.01 / UTILISATION_CAP), "all of them end in the fastest variant"
        assert replicas == list(range(replicas[0], replicas[-1] + 1))
        assert scores == sorted(scores)
        assert pools.score[row, 0] - scores[-1] <= 1e-4
    assert listed(20.0, 20.0) > n, "without a surge fewer replicas do"
