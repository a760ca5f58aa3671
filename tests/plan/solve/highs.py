"""The same problems as mixed-integer programs for HiGHS, which shares nothing with our solver.

One binary per choice; one start time per task of the DAG. The product of accuracies is exact in linear terms: with
P_s = Π a over the first s tasks, w[s, i] = P_{s-1} · x[s, i] is what Σ_i w[s, i] = P_{s-1} and 0 ≤ w[s, i] ≤ U x[s, i]
say, and P_s = Σ_i a_i w[s, i].
"""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np

from trimtab.plan.solve import Cheapest, Floats, Goal, MostAccurate, Problem


def highs(problem: Problem, goal: Goal, *, time_limit_s: float = 60.0) -> float | None:
    """The goal's first criterion, as large as it gets; None where nothing is admissible.

    Raises:
        TimeoutError: HiGHS did not finish.
    """
    new: Any = highspy.Highs  # ships no types
    model = new()
    options = {
        "log_to_console": False,
        "output_flag": False,
        "threads": 1,
        "mip_rel_gap": 1e-9,
        "mip_abs_gap": 1e-9,
        "primal_feasibility_tolerance": 1e-9,
        "mip_feasibility_tolerance": 1e-9,
        "time_limit": time_limit_s,
    }
    for name, value in options.items():
        model.setOptionValue(name, value)
    x = [[model.addBinary() for _ in range(table.cost.size)] for table in problem.choices]
    done = [model.addVariable(0.0, problem.latency_s) for _ in problem.choices]
    for task, table in enumerate(problem.choices):
        model.addConstr(sum(x[task]) == 1)
        takes = sum(float(t) * v for t, v in zip(table.latency_s, x[task], strict=True))
        model.addConstr(done[task] >= takes)
        for up in problem.after[task]:
            model.addConstr(done[task] >= done[up] + takes)
    for r, limit in enumerate(problem.limits):
        if np.isfinite(limit):
            model.addConstr(_over(x, [table.use[:, r] for table in problem.choices]) <= float(limit))
    cost: Any = _over(x, [table.cost for table in problem.choices])
    if problem.combine == "sum":
        accuracy = _over(x, [table.accuracy for table in problem.choices])
    elif isinstance(goal, MostAccurate | Cheapest):
        # A monotone function of the product does, and its logarithm is linear.
        accuracy = _over(x, [np.log(table.accuracy) for table in problem.choices])
    else:
        accuracy = _product(model, problem, x)
    if isinstance(goal, MostAccurate):
        objective = accuracy
    elif isinstance(goal, Cheapest):
        model.addConstr(accuracy >= (float(np.log(goal.floor)) if problem.combine == "product" else goal.floor))
        objective = -1.0 * cost
    else:
        objective = goal.alpha * accuracy - cost
    model.maximize(objective)
    status = model.getModelStatus()
    if status in {highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible}:
        return None
    if status != highspy.HighsModelStatus.kOptimal:
        raise TimeoutError(f"HiGHS stopped with {status}")
    value = float(model.getObjectiveValue())
    return float(np.exp(value)) if isinstance(goal, MostAccurate) and problem.combine == "product" else value


def _over(x: list[list[Any]], columns: list[Floats]) -> Any:
    return sum(float(c) * v for column, some in zip(columns, x, strict=True) for c, v in zip(column, some, strict=True))


def _product(model: Any, problem: Problem, x: list[list[Any]]) -> Any:
    so_far: Any = 1.0
    most = 1.0
    for table, some in zip(problem.choices, x, strict=True):
        w = [model.addVariable(0.0, most) for _ in some]
        model.addConstr(sum(w) == so_far)
        for share, chosen in zip(w, some, strict=True):
            model.addConstr(share <= most * chosen)
        so_far = model.addVariable(0.0, most * float(table.accuracy.max()))
        model.addConstr(so_far == sum(float(a) * share for a, share in zip(table.accuracy, w, strict=True)))
        most *= float(table.accuracy.max())
    return so_far
