"""Choices built from coefficient arrays, against choices listed one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.plan.solve import Choices, Problem, Weighted, chain, measure, solve
from trimtab.plan.solve.coefficients import Groups, Picked, Weights, best_groups, group_problem

BATCHES = np.array([1, 2, 4])


def random_groups(rng: np.random.Generator, tasks: int, variants: int, levels: int) -> Groups:
    """Some variants of every task on some numbers of cores; a few groups are missing."""
    total, width = tasks * variants, levels * BATCHES.size
    batch, cores = np.tile(BATCHES, levels), np.repeat(2.0 ** np.arange(levels), BATCHES.size)
    size = rng.lognormal(0.0, 0.7, (total, 1))
    latency = 0.02 * size * (0.4 + 0.6 * batch) / cores**0.8 * rng.uniform(0.9, 1.1, (total, width))
    throughput = batch / latency
    latency[rng.random((total, width)) < 0.1] = math.inf
    return Groups(
        accuracy=rng.choice([0.6, 0.7, 0.8, 0.85, 0.9, 0.95], total),
        first=np.arange(tasks + 1) * variants,
        latency_s=latency,
        throughput_rps=throughput,
        cores=np.tile(cores, (total, 1)),
        batch=batch,
    )


def listed(groups: Groups, weights: Weights, rate: float, *, mixes: bool, replicas: float) -> list[list[list[float]]]:
    """Task → every choice's accuracy, latency and cost, in the plainest way."""
    tasks = []
    for begin, end in zip(groups.first[:-1], groups.first[1:], strict=True):
        some = [
            (v, float(groups.accuracy[v]), float(groups.latency_s[v, g]) + (int(b) - 1) / rate,
             float(groups.throughput_rps[v, g]), weights.beta * float(groups.cores[v, g]), weights.delta * int(b))
            for v in range(begin, end) for g, b in enumerate(groups.batch) if math.isfinite(groups.latency_s[v, g])
        ]  # fmt: skip
        rows = []
        for v1, a1, l1, h1, c1, d1 in some:
            alone = max(1, math.ceil(rate / h1 * (1.0 - 1e-10)))
            if alone <= replicas:
                rows.append([a1, l1, alone * c1 + d1])
            for v2, a2, l2, h2, c2, d2 in some if mixes else []:
                n1 = 1
                while v1 != v2 and n1 * h1 < rate * (1.0 - 1e-10):
                    rest = rate - n1 * h1
                    n2 = max(1, math.ceil(rest / h2 * (1.0 - 1e-10)))
                    if n1 + n2 <= replicas:
                        mean = (n1 * h1 * a1 + rest * a2) / rate
                        rows.append([mean, max(l1, l2), n1 * c1 + n2 * c2 + d1 + d2])
                    n1 += 1
        tasks.append(rows)
    return tasks


def meant(groups: Groups, weights: Weights, rate: float, picked: Picked) -> tuple[float, float, float]:
    """Accuracy, latency and cost of the picked groups, from their numbers alone; and that they carry the rate."""
    accuracy, latency_s, cost = 1.0, 0.0, 0.0
    for one, n1, other, n2 in picked.groups.tolist():
        rest, mean, slowest = rate, 0.0, 0.0
        for group, count in ((one, n1), (other, n2)):
            if count:
                v, g = divmod(group, groups.batch.size)
                carried = min(rest, count * float(groups.throughput_rps[v, g]))
                rest -= carried
                mean += carried / rate * float(groups.accuracy[v])
                slowest = max(slowest, float(groups.latency_s[v, g]) + (int(groups.batch[g]) - 1) / rate)
                cost += weights.beta * count * float(groups.cores[v, g]) + weights.delta * int(groups.batch[g])
        assert rest <= 1e-9 * rate
        accuracy, latency_s = accuracy * mean, latency_s + slowest
    return accuracy, latency_s, cost


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.sampled_from([0.5, 5.0, 60.0, 200.0]),
    st.booleans(),
    st.sampled_from([1, 4, math.inf]),
    st.sampled_from([0.0, 1e-3, 0.2]),
)
def test_equal_to_choices_listed_one_by_one(
    seed: int, tasks: int, rate: float, mixes: bool, replicas: float, delta: float
) -> None:
    rng = np.random.default_rng(seed)
    groups, weights = random_groups(rng, tasks, 3, 2), Weights(float(rng.choice([1.0, 20.0, 200.0])), 0.3, delta)
    latency_s = tasks * float(rng.choice([0.02, 0.05, 0.2]))
    rows = listed(groups, weights, rate, mixes=mixes, replicas=replicas)
    tables = (np.array(some).reshape(-1, 3) for some in rows)
    whole = Problem(
        tuple(Choices(t[:, 0], t[:, 1], t[:, 2], np.empty((len(t), 0))) for t in tables),
        chain(tasks),
        latency_s,
        np.empty(0),
    )
    wanted = solve(whole, Weighted(weights.alpha))
    got = best_groups(groups, weights, rate_rps=rate, latency_s=latency_s, mixes=mixes, replicas=replicas)
    assert (got is None) == (wanted is None)
    if got is None or wanted is None:
        return
    accuracy, taken_s, cost = meant(groups, weights, rate, got)
    assert taken_s <= latency_s * (1.0 + 1e-9)
    assert got.objective == pytest.approx(weights.alpha * accuracy - cost, rel=1e-9)
    assert got.objective == pytest.approx(weights.alpha * wanted.accuracy - wanted.cost, rel=1e-9, abs=1e-9)
    assert got.gap == 0.0


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([5.0, 60.0, 200.0]), st.booleans())
def test_whatever_is_left_out_is_dominated(seed: int, rate: float, mixes: bool) -> None:
    groups, weights = random_groups(np.random.default_rng(seed), 1, 4, 2), Weights(1.0, 1.0)
    table = group_problem(groups, weights, rate_rps=rate, latency_s=0.2, mixes=mixes).choices[0]
    for accuracy, latency_s, cost in listed(groups, weights, rate, mixes=mixes, replicas=math.inf)[0]:
        if latency_s <= 0.2:
            no_worse = (
                (table.accuracy >= accuracy - 1e-9) & (table.latency_s <= latency_s) & (table.cost <= cost + 1e-9)
            )
            assert no_worse.any()


@pytest.mark.usefixtures("plain_form")
def test_plain_python_is_equal_too() -> None:
    groups, weights = random_groups(np.random.default_rng(3), 2, 3, 2), Weights(50.0, 0.3, 1e-3)
    for mixes in (False, True):
        problem = group_problem(groups, weights, rate_rps=80.0, latency_s=0.2, mixes=mixes)
        picked = best_groups(groups, weights, rate_rps=80.0, latency_s=0.2, mixes=mixes)
        wanted = solve(problem, Weighted(50.0))
        assert picked is not None
        assert wanted is not None
        accuracy, cost, _, _ = measure(problem, wanted.path)
        assert picked.objective == pytest.approx(50.0 * accuracy - cost, rel=1e-12)


def test_no_group_within_the_latency_is_no_answer() -> None:
    groups = random_groups(np.random.default_rng(0), 2, 3, 1)
    for mixes in (False, True):
        assert best_groups(groups, Weights(1.0, 1.0), rate_rps=1.0, latency_s=1e-6, mixes=mixes) is None
