"""Loki's programme against enumeration of replicas and batches, with the paths' shares by scipy's linear programme."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies.pipelines.cluster import Host, hosts_of
from trimtab.plan.policies.pipelines.loki import LokiPolicy, LokiSettings, round_up
from trimtab.plan.policies.pipelines.loki_programme import Goal, Hosts, solve_mix, ways_through
from trimtab.profile.model import Profile
from trimtab.spec.model import Edge, Pipeline
from trimtab.testing import check_observing_policy, check_policy, make_chain, observation

CORES = 3
SECONDS = st.sampled_from([0.01, 0.03, 0.08])
TASKS = st.dictionaries(st.sampled_from(["u", "v"]), st.tuples(st.sampled_from([0.7, 0.9, 0.95]), SECONDS), min_size=1)


def hostings(hosts: Hosts, cores: int) -> Iterator[dict[Host, int]]:
    """Every way to spend `cores` one-core replicas, with one batch per variant; fewer serve no more."""
    variants = [some for of_task in hosts.values() for some in of_task.values()]
    for counts in itertools.product(range(cores + 1), repeat=len(variants)):
        if sum(counts) == cores:
            choices = [[(h, n) for h in some] if n else [None] for some, n in zip(variants, counts, strict=True)]
            for picks in itertools.product(*choices):
                yield dict(pick for pick in picks if pick is not None)


def best_shares(
    pipeline: Pipeline, hosting: Mapping[Host, int], demand: float, allowed_s: float, goal: Goal
) -> float | None:
    """The best Σ c·A (`served`: Σ c) of the paths that this hosting has in time; None where not all are served."""
    by_task = {task: [h for h in hosting if h.task == task] for task in pipeline.tasks}
    paths, visits, accuracy = [], [], []
    for picks in itertools.product(*by_task.values()):
        path = dict(zip(pipeline.tasks, picks, strict=True))
        if all(sum(path[t].latency_s for t in way) <= allowed_s for way in ways_through(pipeline)):
            paths.append(path)
            visits.append(pipeline.visits({task: {h.variant: 1.0} for task, h in path.items()}))
            accuracy.append(math.prod(h.accuracy for h in picks))
    if not paths:
        return None
    rows = [
        [demand * v[h.task] if path[h.task] is h else 0.0 for path, v in zip(paths, visits, strict=True)]
        for h in hosting
    ]
    worth = np.ones(len(paths)) if goal == "served" else np.array(accuracy)
    one = np.ones((1, len(paths)))
    whole = {"A_ub": np.vstack([rows, one]), "b_ub": [*(n * h.rate for h, n in hosting.items()), 1.0]}
    equal = {} if goal == "served" else {"A_eq": one, "b_eq": [1.0]}
    found = linprog(-worth, **whole, **equal)
    return float(-found.fun) if found.status == 0 else None


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(
    TASKS,
    TASKS,
    st.sampled_from([5.0, 20.0, 60.0, 150.0]),
    st.sampled_from([0.12, 0.3, 0.8]),
    st.booleans(),
    st.sampled_from(["accurate", "served"]),
)
def test_the_programme_equals_enumeration(
    first: dict[str, tuple[float, float]],
    second: dict[str, tuple[float, float]],
    demand: float,
    slo_s: float,
    chained: bool,
    goal: Goal,
) -> None:
    pipeline, profile = make_chain({"a": first, "b": second}, slo_s=slo_s, batches=(1, 4), batch_gain=0.5)
    edge = (Edge("a", 1.5, {"u": 0.5}),) if chained else ()
    pipeline = replace(pipeline, tasks={**pipeline.tasks, "b": replace(pipeline.tasks["b"], after=edge)})
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=float(CORES), max_allocations_per_task=8))
    hosts = {task: hosts_of(request, task, {}, None) for task in pipeline.tasks}
    found = solve_mix(request, hosts, demand, slo_s / 2, goal, float(CORES), 8)
    values = [
        value
        for hosting in hostings(hosts, CORES)
        if (value := best_shares(pipeline, hosting, demand, slo_s / 2, goal)) is not None
    ]
    assert (found is None) == (not values)
    if found is None:
        return
    assert found.gap == 0.0
    held = {g.host: g.replicas for some in found.groups.values() for g in some}
    assert sum(held.values()) <= CORES
    own = best_shares(pipeline, held, demand, slo_s / 2, goal)
    assert own is not None, "the replicas of the answer serve what the answer says"
    assert own == pytest.approx(max(values), abs=2e-5 if goal == "accurate" else 1e-3)
    if goal == "served":
        assert found.served == pytest.approx(max(values), abs=1e-3)


@settings(max_examples=25)
@given(st.sampled_from([2.0, 11.0, 26.0, 60.0]), st.sampled_from([0.1, 0.25, 0.6]))
def test_hardware_scaling_takes_the_fewest_replicas(rate: float, slo_s: float) -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.03)}, "b": {"v": (0.9, 0.05)}}, slo_s=slo_s, batch_gain=0.6)
    request = PlanRequest(pipeline, profile, rate, Limits(cores=50.0))
    result = LokiPolicy(LokiSettings(step=0.0)).propose(request)
    best = math.inf
    for picks in itertools.product(*(profile.variants[task]["v"].points for task in pipeline.tasks)):
        if sum(p.quantiles_s[0.99] for p in picks) <= slo_s / 2:
            best = min(best, sum(math.ceil(rate * p.mean_s / p.batch - 1e-9) for p in picks))
    if math.isinf(best):
        assert "no path is within its time" in result.steps[0].reason
        assert not result.feasible
    else:
        assert "hardware scaling" in result.steps[0].reason
        assert result.plan.cores == best


PAIR = {"a": {"small": (0.80, 0.010), "large": (0.90, 0.040)}, "b": {"small": (0.5, 0.010), "large": (1.0, 0.020)}}


def ask(
    pipeline: Pipeline, profile: Profile, rate: float, cores: float, policy: LokiPolicy | None = None
) -> PlanResult:
    limits = Limits(cores=cores, max_allocations_per_task=8)
    return (policy or LokiPolicy(LokiSettings(step=0.0))).propose(PlanRequest(pipeline, profile, rate, limits))


def test_accuracy_scaling_by_hand() -> None:
    pipeline, profile = make_chain(PAIR, slo_s=1.0, batches=(1,))
    # 25 and 50 a second with the large ones; 40/s need two and one core of them: three cores carry it.
    result = ask(pipeline, profile, 40.0, 3.0)
    assert "hardware scaling" in result.steps[0].reason
    assert result.plan.variants() == {"a": ("large",), "b": ("large",)}
    # 70/s: b needs two cores for the large one, which is worth most; a has one core left: a small one.
    result = ask(pipeline, profile, 70.0, 3.0)
    assert "accuracy scaling" in result.steps[0].reason
    assert result.plan.variants() == {"a": ("small",), "b": ("large",)}
    # Four cores: a large one takes 25 of the 70, a small one the rest.
    result = ask(pipeline, profile, 70.0, 4.0)
    assert {g.variant: g.share for g in result.plan.tasks["a"].allocations} == {
        "small": pytest.approx(45 / 70),
        "large": pytest.approx(25 / 70),
    }
    assert result.estimate.accuracy == pytest.approx(0.8 + 0.1 * 25 / 70), "one task alone is mixed"
    # Two cores with small ones carry 100; of 250 that is 40 %.
    result = ask(pipeline, profile, 250.0, 2.0)
    assert not result.feasible
    assert "40 %" in result.steps[0].reason


def test_what_a_variant_makes_for_the_next_task_counts() -> None:
    pipeline, profile = make_chain(PAIR, slo_s=1.0, batches=(1,))
    edge = Edge("a", 1.0, {"large": 3.0})
    pipeline = replace(pipeline, tasks={**pipeline.tasks, "b": replace(pipeline.tasks["b"], after=(edge,))})
    # Large ones: 20/s on one core of a make 60/s for b, two cores of large ones; small ones of a make 20.
    result = ask(pipeline, profile, 20.0, 3.0)
    assert "hardware scaling" in result.steps[0].reason
    assert [t.allocations[0].replicas for t in result.plan.tasks.values()] == [1, 2]
    result = ask(pipeline, profile, 20.0, 2.0)
    assert result.plan.variants() == {"a": ("small",), "b": ("large",)}


def test_a_batch_is_bounded_by_what_the_rest_of_the_path_takes() -> None:
    tasks = {"a": {"v": (0.9, 0.02)}, "b": {"v": (0.9, 0.02)}}
    pipeline, profile = make_chain(tasks, slo_s=0.3, batches=(1, 2, 4), batch_gain=0.5)
    # p99 24, 36 and 60 ms; SLO/2 is 150 ms: batches of 4 fit both tasks.
    batches = [t.allocations[0].batch for t in ask(pipeline, profile, 130.0, 10.0).plan.tasks.values()]
    assert batches == [4, 4]
    # With 110 ms, one of 4 and one of 2 at most: 100 and 66.7 a second and core, so 2 and 2 for 130/s.
    tight = replace(pipeline, slo=replace(pipeline.slo, latency_s=0.22))
    result = ask(tight, profile, 130.0, 10.0)
    assert sum(t.allocations[0].batch for t in result.plan.tasks.values()) <= 6
    assert result.plan.cores == 4
    # Side by side each has all of the time.
    fork = replace(tight, tasks={**tight.tasks, "b": replace(tight.tasks["b"], after=())})
    assert ask(fork, profile, 130.0, 10.0).plan.cores == 4
    assert ask(fork, profile, 160.0, 10.0).plan.cores == 4


def test_the_demand_is_what_was_counted_and_is_rounded_up() -> None:
    assert round_up(0.0, 0.02) == pytest.approx(0.01, rel=0.02)
    for rate in (0.3, 7.0, 7.05, 400.0):
        assert rate <= round_up(rate, 0.02) * (1 + 1e-9) <= rate * 1.02 * (1 + 1e-8)
        assert round_up(rate, 0.0) == rate
        assert round_up(round_up(rate, 0.02), 0.02) == pytest.approx(round_up(rate, 0.02))
    pipeline, profile = make_chain(PAIR, slo_s=1.0, batches=(1,))
    policy = LokiPolicy(LokiSettings(step=0.0))
    policy.observe(observation(1.0, 70), ask(pipeline, profile, 1.0, 3.0).plan)
    assert ask(pipeline, profile, 1.0, 3.0, policy).plan.variants() == {"a": ("small",), "b": ("large",)}


def test_a_demand_is_solved_once_and_for_this_profile_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, profile = make_chain(PAIR, slo_s=1.0, batches=(1,))
    policy = LokiPolicy()
    first = ask(pipeline, profile, 70.0, 3.0, policy)
    solved: list[float] = []

    def count(*arguments: object) -> None:
        solved.append(float(str(arguments[2])))

    monkeypatch.setattr("trimtab.plan.policies.pipelines.loki.solve_mix", count)
    assert ask(pipeline, profile, 70.0, 3.0, policy).plan == first.plan
    assert not solved
    ask(pipeline, make_chain(PAIR, slo_s=1.0, batches=(1,))[1], 70.0, 3.0, policy)
    assert solved


def test_too_many_paths_are_told() -> None:
    tasks = {f"t{i}": {f"v{j}": (0.5 + j / 100, 0.001) for j in range(10)} for i in range(4)}
    pipeline, profile = make_chain(tasks)
    with pytest.raises(PlanRequestError, match="10000 paths"):
        ask(pipeline, profile, 9000.0, 5.0)


@pytest.mark.parametrize("tasks", [1, 2])
def test_it_passes_the_kit(tasks: int) -> None:
    check_policy(LokiPolicy(), tasks=tasks)
    check_observing_policy(LokiPolicy, tasks=tasks)
