"""The dynamic programme over a latency budget against enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.plan.policies.pipelines.latency_budget import Choice, budget_ms, cheapest_within, whole_ms
from trimtab.spec.model import Edge, Pipeline
from trimtab.testing import make_chain

CHOICES = st.lists(st.builds(Choice, st.integers(1, 40), st.integers(1, 9).map(float)), min_size=1, max_size=4)
SERIES_PARALLEL: dict[str, list[tuple[int, ...]]] = {
    "one": [()],
    "chain": [(), (0,), (1,)],
    "apart": [(), (), ()],
    "fork": [(), (0,), (0,)],
    "diamond": [(), (0,), (0,), (1, 2)],
    "diamond with a short cut": [(), (0,), (0,), (0, 1, 2)],
    "a chain beside one": [(), (0,), (), (1, 2)],
}
N_SHAPED: dict[str, list[tuple[int, ...]]] = {
    "N": [(), (), (0,), (0, 1)],
    "N and a last one": [(), (), (0,), (0, 1), (2, 3)],
}


def graph(edges: Sequence[tuple[int, ...]]) -> Pipeline:
    pipeline, _ = make_chain({f"t{i}": {"v": (0.9, 0.01)} for i in range(len(edges))})
    tasks = {
        name: replace(task, after=tuple(Edge(f"t{up}") for up in edges[i]))
        for i, (name, task) in enumerate(pipeline.tasks.items())
    }
    return replace(pipeline, tasks=tasks)


def longest_ms(pipeline: Pipeline, times: Mapping[str, int]) -> int:
    done: dict[str, int] = {}
    for name, task in pipeline.tasks.items():
        done[name] = times[name] + max((done[e.upstream] for e in task.after), default=0)
    return max(done.values())


def brute_force(pipeline: Pipeline, choices: Mapping[str, Sequence[Choice]], budget: int) -> float | None:
    costs = []
    for picks in itertools.product(*(choices[task] for task in pipeline.tasks)):
        times = {task: pick.latency_ms for task, pick in zip(pipeline.tasks, picks, strict=True)}
        if longest_ms(pipeline, times) <= budget:
            costs.append(sum(pick.cost for pick in picks))
    return min(costs, default=None)


@pytest.mark.parametrize("name", SERIES_PARALLEL)
@settings(max_examples=40)
@given(st.data(), st.integers(0, 120))
def test_it_equals_enumeration(name: str, data: st.DataObject, budget: int) -> None:
    pipeline = graph(SERIES_PARALLEL[name])
    choices = {task: data.draw(CHOICES) for task in pipeline.tasks}
    found = cheapest_within(pipeline, choices, budget)
    best = brute_force(pipeline, choices, budget)
    assert (found is None) == (best is None)
    if found is not None:
        picks, cost = found
        assert cost == best == sum(choices[task][i].cost for task, i in picks.items())
        assert longest_ms(pipeline, {task: choices[task][i].latency_ms for task, i in picks.items()}) <= budget


@pytest.mark.parametrize("name", N_SHAPED)
@settings(max_examples=40)
@given(st.data(), st.integers(0, 120))
def test_where_the_graph_is_made_simpler_the_answer_is_still_in_time(
    name: str, data: st.DataObject, budget: int
) -> None:
    pipeline = graph(N_SHAPED[name])
    choices = {task: data.draw(CHOICES) for task in pipeline.tasks}
    found = cheapest_within(pipeline, choices, budget)
    if found is not None:
        picks, cost = found
        best = brute_force(pipeline, choices, budget)
        assert best is not None
        assert cost >= best
        assert longest_ms(pipeline, {task: choices[task][i].latency_ms for task, i in picks.items()}) <= budget


def test_layers_wait_for_the_slowest_of_the_layer_before() -> None:
    pipeline = graph(N_SHAPED["N"])
    lone = {task: [Choice(ms, 1.0)] for task, ms in zip(pipeline.tasks, (10, 30, 30, 10), strict=True)}
    # The longest path is 40 ms (t1, t3 and t0, t2); by layers it is max(10, 30) + max(30, 10) = 60 ms.
    assert cheapest_within(pipeline, lone, 59) is None
    assert cheapest_within(pipeline, lone, 60) == (dict.fromkeys(pipeline.tasks, 0), 4.0)


def test_equal_costs_are_settled_by_latency() -> None:
    pipeline = graph([()])
    found = cheapest_within(pipeline, {"t0": [Choice(9, 2.0), Choice(4, 2.0), Choice(1, 3.0)]}, 20)
    assert found == ({"t0": 1}, 2.0)
    assert cheapest_within(pipeline, {"t0": []}, 20) is None


def test_latencies_round_up_and_budgets_stay_below_the_slo() -> None:
    assert [whole_ms(s) for s in (0.0, 0.0101, 0.3, 0.30000000000000004)] == [0, 11, 300, 300]
    assert [budget_ms(s) for s in (0.3, 0.4, 0.0005, 0.2501)] == [299, 399, 0, 250]
