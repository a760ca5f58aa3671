"""Random small problems, and their answers by looking at every choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from trimtab.plan.solve import (
    Cheapest,
    Choices,
    Floats,
    Goal,
    MostAccurate,
    Problem,
    Solution,
    Weighted,
    chain,
    measure,
)

WHEATSTONE = ((), (0,), (0,), (1,), (1, 2), (3, 4))
"""The smallest DAG that is not series-parallel: the bridge of C. Wheatstone between two parallel branches."""
DAGS = (
    *(chain(tasks) for tasks in range(1, 5)),
    ((), ()),
    ((), (0,), (0,), (1, 2)),
    ((), (0,), (0,), (0,), (1, 2, 3)),
    ((), (0,), (1,), (0,), (2, 3)),
    ((), (), (0, 1), (0, 1)),
    ((), (0,), (0, 1)),
    WHEATSTONE,
)

AMOUNTS = st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, 3.5])
ROWS = st.tuples(
    st.sampled_from([0.0, 0.5, 0.7, 0.7, 0.9, 0.95, 1.0]),
    st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.1]),
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
)
"""Accuracy, latency, cost and two uses, from few values, so that there are ties and sums that meet limits exactly."""
GOALS = st.one_of(
    st.just(MostAccurate()),
    st.builds(Cheapest, st.sampled_from([0.0, 0.2, 0.343, 0.5, 0.7, 0.9, 1.5, 2.1])),
    st.builds(Weighted, st.sampled_from([0.0, 0.1, 1.0, 3.0, 30.0])),
)


def choices(rows: Sequence[tuple[float, ...]], resources: int) -> Choices:
    """One task's choices from rows of accuracy, latency, cost and uses."""
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
    return Choices(columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3 : 3 + resources])


@st.composite
def problems(draw: st.DrawFn, most: int = 5) -> Problem:
    """Problems of at most six tasks with at most `most` choices."""
    after = draw(st.sampled_from(DAGS))
    resources = draw(st.integers(0, 2))
    size = st.lists(ROWS, min_size=1, max_size=most if len(after) < 5 else 3)
    return Problem(
        choices=tuple(choices(list(draw(size)), resources) for _ in after),
        after=after,
        latency_s=draw(st.sampled_from([0.0, 0.03, 0.08, 0.15, 1.0, math.inf])),
        limits=np.array([draw(st.sampled_from([0.0, 1.0, 4.0, 7.0, math.inf])) for _ in range(resources)]),
        combine=draw(st.sampled_from(["product", "sum"])),
    )


def admissible(problem: Problem, goal: Goal, path: tuple[int, ...], rounding: float = 1e-9) -> bool:
    """Whether a choice per task keeps latency, limits and floor, judged by `measure` alone."""
    accuracy, _, latency_s, use = measure(problem, path)
    return (
        latency_s <= problem.latency_s * (1.0 + rounding)
        and bool((use <= problem.limits * (1.0 + rounding)).all())
        and not (isinstance(goal, Cheapest) and accuracy < goal.floor * (1.0 - rounding))
    )


def worth(problem: Problem, goal: Goal, path: tuple[int, ...]) -> tuple[float, float]:
    """Both criteria of the goal, larger being better."""
    accuracy, cost, _, _ = measure(problem, path)
    if isinstance(goal, MostAccurate):
        return accuracy, -cost
    if isinstance(goal, Cheapest):
        return -cost, accuracy
    return goal.alpha * accuracy - cost, 0.0


def exhaustive(problem: Problem, goal: Goal) -> tuple[float, float] | None:
    """The criteria of the best choice, by looking at all; None where none is admissible."""
    paths = itertools.product(*(range(table.cost.size) for table in problem.choices))
    found = [worth(problem, goal, path) for path in paths if admissible(problem, goal, path, 1e-12)]
    if not found:
        return None
    first = max(a for a, _ in found)
    return first, max(b for a, b in found if a >= first - 1e-10 * abs(first))


def check(problem: Problem, goal: Goal, solution: Solution | None, wanted: tuple[float, float] | None) -> None:
    """A solution is admissible, says what it is, and is worth what is wanted."""
    if wanted is None:
        assert solution is None
        return
    assert solution is not None
    assert solution.is_exact
    assert admissible(problem, goal, solution.path)
    accuracy, cost, _, _ = measure(problem, solution.path)
    assert math.isclose(solution.accuracy, accuracy, rel_tol=1e-12, abs_tol=1e-15)
    assert math.isclose(solution.cost, cost, rel_tol=1e-12, abs_tol=1e-15)
    for got, want in zip(worth(problem, goal, solution.path), wanted, strict=True):
        assert math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-12)


def random_problem(
    rng: np.random.Generator, after: tuple[tuple[int, ...], ...], choices_per_task: int, resources: int
) -> Problem:
    """A larger problem in which better choices are slower and dearer, and all limits bind."""
    tables = []
    for _ in after:
        quality = rng.uniform(0.2, 1.0, choices_per_task)
        effort = quality**2 * rng.lognormal(0.0, 0.4, (3 + resources, choices_per_task))
        tables.append(Choices(0.3 + 0.69 * quality, 0.01 * effort[0], effort[1], effort[3:].T.copy()))
    done_s: list[float] = []
    for table, ups in zip(tables, after, strict=True):
        done_s.append(max((done_s[up] for up in ups), default=0.0) + float(np.quantile(table.latency_s, 0.4)))
    limits: Floats = np.array(
        [sum(float(np.quantile(table.use[:, r], 0.5)) for table in tables) for r in range(resources)]
    )
    return Problem(tuple(tables), after, max(done_s), limits)
