"""Pipelines as graphs: visits, roots, leaves, chains."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant


def pipeline(edges: dict[str, dict[str, float]]) -> Pipeline:
    tasks = {
        name: Task(name, {"v": Variant("v", None, 0.5)}, tuple(Edge(up, fan_out) for up, fan_out in after.items()))
        for name, after in edges.items()
    }
    return Pipeline("p", tasks, Slo(1.0))


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, dict[str, float]]:
    edges: dict[str, dict[str, float]] = {}
    for i in range(draw(st.integers(1, 6))):
        after = draw(st.lists(st.sampled_from(list(edges)), unique=True)) if edges else []
        edges[f"t{i}"] = {up: draw(st.floats(0.1, 10)) for up in after}
    return edges


def paths(edges: dict[str, dict[str, float]], task: str) -> list[float]:
    """The product of fan-outs along each path from the request to the task, found by walking them all."""
    if not edges[task]:
        return [1.0]
    return [product * fan_out for up, fan_out in edges[task].items() for product in paths(edges, up)]


@given(graphs())
def test_visits_are_those_of_the_path_that_brings_most(edges: dict[str, dict[str, float]]) -> None:
    visits = pipeline(edges).visits()
    for task in edges:
        assert math.isclose(visits[task], max(paths(edges, task)))


@given(graphs())
def test_downstream_is_the_other_side_of_after(edges: dict[str, dict[str, float]]) -> None:
    p = pipeline(edges)
    assert {(up, task) for task, after in edges.items() for up in after} == {
        (task, down) for task in edges for down in p.downstream(task)
    }
    assert set(p.roots()) == {task for task, after in edges.items() if not after}
    assert set(p.leaves()) == set(edges) - {up for after in edges.values() for up in after}
    assert p.roots()
    assert p.leaves()


def test_a_chain_is_one_line() -> None:
    assert pipeline({"a": {}}).is_chain()
    assert pipeline({"a": {}, "b": {"a": 1}, "c": {"b": 2}}).is_chain()
    assert not pipeline({"a": {}, "b": {"a": 1}, "c": {"a": 1}}).is_chain()
    assert not pipeline({"a": {}, "b": {}, "c": {"a": 1, "b": 1}}).is_chain()
    assert not pipeline({"a": {}, "b": {}}).is_chain()


def test_most_accurate_first_and_names_break_ties() -> None:
    accuracies = {"b": 0.5, "a": 0.5, "z": 0.9, "c": 0.1}
    task = Task("t", {name: Variant(name, None, accuracy) for name, accuracy in accuracies.items()})
    assert [variant.name for variant in task.by_accuracy()] == ["z", "a", "b", "c"]
