"""The solver against exhaustive search, on random choices."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.plan.solve.chain import Bounds, Choice, solve_chain
from trimtab.spec.model import Objective

CHOICES = st.builds(
    Choice,
    accuracy=st.sampled_from([0.0, 0.5, 0.7, 0.7, 0.9, 0.95, 1.0]),
    latency_s=st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.1]),
    cores=st.integers(1, 6),
    batch=st.sampled_from([1, 2, 4, 8]),
    memory_bytes=st.integers(0, 5),
)
STAGES = st.lists(st.lists(CHOICES, min_size=1, max_size=6), min_size=1, max_size=4)
BOUNDS = st.builds(
    Bounds,
    latency_s=st.sampled_from([0.0, 0.03, 0.08, 0.15, 1.0]),
    cores=st.integers(1, 20),
    memory_bytes=st.none() | st.integers(0, 15),
)
OBJECTIVES = st.builds(
    Objective,
    kind=st.sampled_from(["accurate-under-budget", "weighted"]),
    alpha=st.sampled_from([0.0, 1.0, 10.0]),
    beta=st.sampled_from([0.0, 0.1, 0.5]),
    delta=st.sampled_from([0.0, 1e-6, 0.3]),
)


def worth(choices: tuple[Choice, ...], objective: Objective) -> tuple[float, ...]:
    accuracy = round(math.prod(c.accuracy for c in choices), 12)  # equal but for the order of factors is equal
    cores, batches = sum(c.cores for c in choices), sum(c.batch for c in choices)
    if objective.kind == "weighted":
        return (objective.alpha * accuracy - objective.beta * cores - objective.delta * batches,)
    return (accuracy, -cores, -batches)


def fits(choices: tuple[Choice, ...], bounds: Bounds) -> bool:
    return (
        sum(c.latency_s for c in choices) <= bounds.latency_s + 1e-12
        and sum(c.cores for c in choices) <= bounds.cores
        and (bounds.memory_bytes is None or sum(c.memory_bytes for c in choices) <= bounds.memory_bytes)
    )


@settings(max_examples=300, deadline=None)
@given(STAGES, BOUNDS, OBJECTIVES)
def test_equal_to_exhaustive_search(stages: list[list[Choice]], bounds: Bounds, objective: Objective) -> None:
    feasible = [choices for choices in itertools.product(*stages) if fits(choices, bounds)]
    path = solve_chain(stages, bounds, objective)
    if path is None:
        assert not feasible
        return
    found = tuple(stage[i] for stage, i in zip(stages, path, strict=True))
    assert fits(found, bounds)
    best = max(worth(choices, objective) for choices in feasible)
    for got, wanted in zip(worth(found, objective), best, strict=True):
        assert math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-9)


@settings(deadline=None)
@given(STAGES, BOUNDS, OBJECTIVES, CHOICES)
def test_another_option_and_a_larger_budget_never_hurt(
    stages: list[list[Choice]], bounds: Bounds, objective: Objective, extra: Choice
) -> None:
    def best(more: list[list[Choice]], within: Bounds) -> tuple[float, ...]:
        path = solve_chain(more, within, objective)
        if path is None:
            return (-math.inf,)
        return worth(tuple(stage[i] for stage, i in zip(more, path, strict=True)), objective)

    before = best(stages, bounds)
    assert best([[*stages[0], extra], *stages[1:]], bounds) >= tuple(v - 1e-9 for v in before)
    wider = Bounds(bounds.latency_s, bounds.cores + 1, bounds.memory_bytes)
    assert best(stages, wider) >= tuple(v - 1e-9 for v in before)


def test_a_stage_without_choices_has_no_answer() -> None:
    assert solve_chain([[Choice(1.0, 0.1, 1, 1)], []], Bounds(1.0, 10), Objective()) is None


def test_ten_stages_of_ten_variants_are_solved() -> None:
    stage = [Choice(0.5 + 0.05 * v, 0.005 * (1 + v), 1 + v, 1) for v in range(10)]
    path = solve_chain([stage] * 10, Bounds(0.3, 60), Objective())
    assert path is not None
    assert sum(stage[i].cores for i in path) <= 60
    # By symmetry and concavity of log accuracy the optimum spreads the 50 spare cores evenly.
    assert sorted(path) == [5] * 10
