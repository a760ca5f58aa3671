"""The solver against exhaustive search and against HiGHS, and what must hold whatever the numbers are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plan.solve.highs import highs
from tests.plan.solve.instances import (
    DAGS,
    GOALS,
    ROWS,
    WHEATSTONE,
    check,
    choices,
    exhaustive,
    problems,
    random_problem,
    worth,
)

from trimtab.plan.solve import Cheapest, Choices, Goal, MostAccurate, Problem, Solution, Weighted, chain, solve
from trimtab.plan.solve.problem import Combine

LARGER = {
    "chain": (chain(6), 8),
    "fork": (((), (0,), (0,), (0,), (1, 2, 3)), 8),
    "bridge": (WHEATSTONE, 6),
    "dense": (((), (), (0, 1), (0,), (1, 2), (2, 3), (3, 4)), 6),
}


def first(problem: Problem, goal: Goal, solution: Solution | None) -> float:
    """The goal's first criterion; -inf without a solution."""
    return -math.inf if solution is None else worth(problem, goal, solution.path)[0]


@settings(max_examples=1500)
@given(problems(), GOALS)
def test_equal_to_exhaustive_search(problem: Problem, goal: Goal) -> None:
    check(problem, goal, solve(problem, goal), exhaustive(problem, goal))


@pytest.mark.usefixtures("plain_form")
def test_plain_python_is_equal_too() -> None:
    rng = np.random.default_rng(5)
    for after in DAGS:
        for goal in (MostAccurate(), Cheapest(0.3), Weighted(20.0)):
            problem = random_problem(rng, after, 3, 2)
            check(problem, goal, solve(problem, goal), exhaustive(problem, goal))


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.sampled_from(DAGS), GOALS, st.integers(0, 2), st.sampled_from(["product", "sum"]))
def test_equal_where_no_two_numbers_are(
    seed: int, after: tuple[tuple[int, ...], ...], goal: Goal, resources: int, combine: Combine
) -> None:
    problem = random_problem(np.random.default_rng(seed), after, 4, resources)
    problem = replace(problem, combine=combine)
    check(problem, goal, solve(problem, goal), exhaustive(problem, goal))


@pytest.mark.parametrize("resources", [0, 1, 2])
@pytest.mark.parametrize("shape", LARGER)
@pytest.mark.parametrize("kind", [MostAccurate, Cheapest, Weighted])
def test_equal_to_highs(shape: str, kind: type[Goal], resources: int) -> None:
    after, size = LARGER[shape]
    problem = random_problem(np.random.default_rng([len(after), size, resources]), after, size, resources)
    best = solve(problem, MostAccurate())
    assert best is not None
    goal = Cheapest(0.8 * best.accuracy) if kind is Cheapest else Weighted(15.0) if kind is Weighted else MostAccurate()
    wanted = highs(problem, goal)
    assert wanted is not None
    assert first(problem, goal, solve(problem, goal)) == pytest.approx(wanted, rel=1e-6)


def test_equal_to_highs_where_accuracies_add_up() -> None:
    problem = replace(random_problem(np.random.default_rng(2), chain(6), 8, 2), combine="sum")
    for goal in (MostAccurate(), Cheapest(3.5), Weighted(10.0)):
        assert first(problem, goal, solve(problem, goal)) == pytest.approx(highs(problem, goal), rel=1e-6)


@settings(max_examples=200)
@given(problems(), GOALS, st.randoms(use_true_random=False))
def test_the_order_of_choices_changes_nothing(problem: Problem, goal: Goal, random: Any) -> None:
    tables = []
    for table in problem.choices:
        order = list(range(table.cost.size))
        random.shuffle(order)
        columns = (table.accuracy[order], table.latency_s[order], table.cost[order], table.use[order])
        tables.append(Choices(*columns))
    shuffled = replace(problem, choices=tuple(tables))
    before, after = first(problem, goal, solve(problem, goal)), first(shuffled, goal, solve(shuffled, goal))
    assert before == pytest.approx(after, rel=1e-9)


@settings(max_examples=200)
@given(problems(), GOALS)
def test_the_order_of_independent_tasks_changes_nothing(problem: Problem, goal: Goal) -> None:
    # Listed anew so that every task still stands after its predecessors, as late as it can.
    order: list[int] = []
    while len(order) < len(problem.after):
        order.append(max(t for t, ups in enumerate(problem.after) if t not in order and set(ups) <= set(order)))
    place = {task: i for i, task in enumerate(order)}
    moved = replace(
        problem,
        choices=tuple(problem.choices[t] for t in order),
        after=tuple(tuple(place[up] for up in problem.after[t]) for t in order),
    )
    assert first(problem, goal, solve(problem, goal)) == pytest.approx(first(moved, goal, solve(moved, goal)), rel=1e-9)


@settings(max_examples=200)
@given(problems(), GOALS, ROWS)
def test_another_choice_never_hurts(problem: Problem, goal: Goal, row: tuple[float, ...]) -> None:
    extra, table = choices([row], problem.limits.size), problem.choices[0]
    more = Choices(
        np.append(table.accuracy, extra.accuracy),
        np.append(table.latency_s, extra.latency_s),
        np.append(table.cost, extra.cost),
        np.vstack([table.use, extra.use]),
    )
    wider = replace(problem, choices=(more, *problem.choices[1:]))
    before, after = first(problem, goal, solve(problem, goal)), first(wider, goal, solve(wider, goal))
    assert after >= before - 1e-9 * (1.0 + abs(before))


@settings(max_examples=200)
@given(problems(), GOALS, st.floats(0.0, 2.0), st.booleans())
def test_a_looser_limit_never_hurts(problem: Problem, goal: Goal, more: float, slower: bool) -> None:
    looser = replace(problem, latency_s=problem.latency_s + more) if slower else problem
    looser = looser if slower else replace(problem, limits=problem.limits + more)
    before, after = first(problem, goal, solve(problem, goal)), first(looser, goal, solve(looser, goal))
    assert after >= before - 1e-9 * (1.0 + abs(before))


@settings(max_examples=200)
@given(problems(), GOALS)
def test_the_same_problem_gives_the_same_answer(problem: Problem, goal: Goal) -> None:
    assert solve(problem, goal) == solve(problem, goal)


@settings(max_examples=300)
@given(problems(), GOALS, st.sampled_from([0.0, 1e-3, -1e-3]))
def test_what_is_known_is_beaten_or_nothing_is_better(problem: Problem, goal: Goal, off: float) -> None:
    best = first(problem, goal, solve(problem, goal))
    known = 0.5 if best == -math.inf else best + off
    found = first(problem, goal, solve(problem, goal, beat=known))
    if best > known + 1e-9:
        assert found == pytest.approx(best, rel=1e-9)
    else:
        assert found <= best + 1e-9


@pytest.mark.parametrize("goal", [MostAccurate(), Cheapest(0.02), Weighted(30.0)], ids=lambda goal: type(goal).__name__)
@pytest.mark.parametrize("after", [chain(9), (*WHEATSTONE, (5,), (5,), (6, 7))], ids=["chain", "bridge"])
@pytest.mark.parametrize("labels", [1, 3, 10, 40])
def test_the_gap_is_a_proof(goal: Goal, after: tuple[tuple[int, ...], ...], labels: int) -> None:
    open_gaps = 0
    for seed in range(12):
        problem = random_problem(np.random.default_rng(seed), after, 8, 3)
        exact = solve(problem, goal)
        assert exact is not None
        assert exact.is_exact
        best = first(problem, goal, exact)
        rough = solve(problem, goal, labels=labels)
        assert rough is not None
        reached = first(problem, goal, rough)
        assert reached <= best + 1e-9 * abs(best) <= reached + rough.gap + 2e-9 * abs(best)
        open_gaps += not rough.is_exact
    assert open_gaps or labels > 3


def test_a_value_that_equals_the_weight_is_cut_off_with_a_gap() -> None:
    # A subset-sum problem in disguise: nothing dominates anything, and the relaxation says that all is possible.
    rng = np.random.default_rng(1)
    weights = [rng.uniform(1.0, 2.0, 12) for _ in range(12)]
    problem = Problem(
        tuple(Choices(0.01 * w, w, np.zeros(12), np.zeros((12, 0))) for w in weights),
        chain(12),
        18.0,
        np.zeros(0),
        "sum",
    )
    solution = solve(problem, MostAccurate(), labels=50)
    assert solution is not None
    assert 0.0 < solution.gap < 0.01 * solution.accuracy
    assert solution.accuracy + solution.gap <= 0.18 * (1.0 + 1e-9)


def test_nothing_is_admissible_where_a_task_has_no_choice() -> None:
    none = Choices(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, 1)))
    one = Choices(np.ones(1), np.ones(1), np.ones(1), np.ones((1, 1)))
    problem = Problem((one, none), chain(2), math.inf, np.array([math.inf]))
    for goal in (MostAccurate(), Cheapest(0.0), Weighted(1.0)):
        assert solve(problem, goal) is None


def test_costs_of_any_scale_are_told_apart() -> None:
    # Money per request may be as small as this.
    table = Choices(np.array([0.8, 0.9]), np.zeros(2), np.array([1.0e-9, 1.1e-9]), np.zeros((2, 0)))
    problem = Problem((table, table), chain(2), 1.0, np.zeros(0))
    solution = solve(problem, Cheapest(0.7))
    assert solution is not None
    assert sorted(solution.path) == [0, 1]
    assert solution.cost == pytest.approx(2.1e-9)


def test_numbers_that_mean_nothing_are_refused() -> None:
    good = Choices(np.ones(1), np.ones(1), np.ones(1), np.ones((1, 0)))
    for name, value in (("accuracy", -0.1), ("latency_s", math.nan), ("cost", math.inf), ("accuracy", math.inf)):
        problem = Problem((replace(good, **{name: np.array([value])}),), chain(1), 1.0, np.zeros(0))
        with pytest.raises(ValueError, match="accuracies"):
            solve(problem, MostAccurate())
    with pytest.raises(ValueError, match="alpha"):
        solve(Problem((good,), chain(1), 1.0, np.zeros(0)), Weighted(-1.0))
    with pytest.raises(ValueError, match="numbers of tasks"):
        Problem((good,), chain(2), 1.0, np.zeros(0))
    with pytest.raises(ValueError, match="after those"):
        Problem((good,), ((0,),), 1.0, np.zeros(0))
    with pytest.raises(ValueError, match="shape"):
        Problem((good,), chain(1), 1.0, np.ones(1))
