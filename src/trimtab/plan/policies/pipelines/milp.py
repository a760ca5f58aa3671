"""Mixed-integer linear programmes, built row by row and solved by HiGHS, which is the extra `milp`.

They are solved to the optimum, with one thread and without a time limit, so that the same question has the same answer;
a limit on the nodes of the search bounds the work, and what is left open is the gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.errors import MissingExtraError

MOST_NODES = 20_000
"""Nodes of the search after which the best solution so far is taken, unless a programme says otherwise."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Values of the columns, the objective, and how much larger it could still be at most."""

    values: tuple[float, ...]
    objective: float
    gap: float

    def whole(self, column: int) -> int:
        """The value of an integer column."""
        return round(self.values[column])


class Programme:
    """Maximise Σ worth·x subject to rows; columns and rows are numbered as they are added."""

    def __init__(self) -> None:
        self._worth: list[float] = []
        self._upper: list[float] = []
        self._integer: list[bool] = []
        self._rows: list[tuple[Mapping[int, float], float, float]] = []

    def column(self, worth: float = 0.0, *, upper: float = math.inf, integer: bool = False) -> int:
        """A variable from 0 to `upper`; its number."""
        self._worth.append(worth)
        self._upper.append(upper)
        self._integer.append(integer)
        return len(self._worth) - 1

    def row(self, terms: Mapping[int, float], *, low: float = -math.inf, high: float = math.inf) -> None:
        """A constraint low ≤ Σ term·x ≤ high."""
        self._rows.append((dict(terms), low, high))

    def solve(self, most_nodes: int = MOST_NODES) -> Solution | None:
        """The optimum, or the best after so many nodes of the search; None where nothing was found to meet all rows.

        Raises:
            MissingExtraError: highspy is not installed.
        """
        try:
            import highspy
        except ImportError:
            raise MissingExtraError("highspy", "milp", "planning by mixed-integer programmes") from None
        inf = highspy.kHighsInf
        lp: Any = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self._worth), len(self._rows)
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_ = self._worth
        lp.col_lower_ = [0.0] * len(self._worth)
        lp.col_upper_ = [min(u, inf) for u in self._upper]
        lp.row_lower_ = [max(low, -inf) for _, low, _ in self._rows]
        lp.row_upper_ = [min(high, inf) for _, _, high in self._rows]
        starts, index, value = [0], list[int](), list[float]()
        for terms, _, _ in self._rows:
            index += terms.keys()
            value += terms.values()
            starts.append(len(index))
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = starts, index, value
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger if integer else kinds.kContinuous for integer in self._integer]

        class Quiet(highspy.Highs):
            """Without callbacks, for setting them up prints a line before the option that forbids it can be set."""

            def enableCallbacks(self) -> None:  # noqa: N802 - overrides
                pass

        solver: Any = Quiet()  # type: ignore[no-untyped-call]  # it ships no types
        options: dict[str, object] = {
            "log_to_console": False,
            "output_flag": False,
            "threads": 1,
            "random_seed": 0,
            "mip_rel_gap": 0.0,
            "mip_abs_gap": 1e-9,
            "mip_max_nodes": most_nodes,
        }
        for name, setting in options.items():
            solver.setOptionValue(name, setting)
        solver.passModel(lp)
        solver.run()
        info = solver.getInfo()
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        objective, gap = float(info.objective_function_value), 0.0
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            gap = max(0.0, float(info.mip_dual_bound) - objective)
        return Solution(tuple(map(float, solver.getSolution().col_value)), objective, gap)
