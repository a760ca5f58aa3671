"""Exact solvers: `solve(problem, goal)` over problems that are numbers only."""

from __future__ import annotations

from trimtab.plan.solve.problem import (
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
from trimtab.plan.solve.solve import solve

__all__ = [
    "Cheapest",
    "Choices",
    "Floats",
    "Goal",
    "MostAccurate",
    "Problem",
    "Solution",
    "Weighted",
    "chain",
    "measure",
    "solve",
]
