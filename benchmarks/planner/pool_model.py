"""How far is the model of a pool (`plan.pool`) from the simulator? The dearest variant's share and the p99, in one run.

    python benchmarks/planner/pool_model.py [--requests N]

Chains of one or three equal tasks, each with a dear variant and one that takes 0.4 of its time, at loads of the dear
one from 0.7 to 1.5 of the slots, with an SLO of 2.5 or 5 services a task. Poisson arrivals; service takes always its
mean, or exponential times where it says so. The simulator runs the dispatcher that also serves live.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, replace

import numpy as np

from trimtab import compiled
from trimtab.plan.estimate import estimate
from trimtab.plan.model import Allocation, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.base import NEVER_AGAIN, result
from trimtab.sim import PLANTS, Load, Serving, simulate
from trimtab.sim.model import Draw
from trimtab.testing import make_chain
from trimtab.workload.trace import Trace

DEAR, CHEAP = ("dear", 0.8), ("cheap", 0.7)
"""Names and accuracies."""
SERVICE_S, FASTER = 0.1, 0.4
"""Of the dear variant, and the cheap one's as a share of it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row."""

    tasks: int
    slo: float
    """In services of the dear variant, a task."""
    slots: int
    load: float
    """Of the dear variant, as a share of the slots."""
    draw: Draw = "mean"


class Fixed:
    """One plan for ever."""

    name, decides, rhythm = "fixed", frozenset[str](), NEVER_AGAIN

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def propose(self, request: PlanRequest) -> PlanResult:
        """The plan."""
        return result(
            self.name, request, self._plan.tasks, feasible=True, reason="it is given", latency_model="tail",
            objective=request.pipeline.objective,
        )  # fmt: skip


def share(accuracy: float, tasks: int) -> float:
    """Of the dear variant at each task, from the pipeline's accuracy."""
    return float((accuracy ** (1.0 / tasks) - CHEAP[1]) / (DEAR[1] - CHEAP[1]))


def compare(case: Case, requests: int) -> tuple[float, float, float, float, float]:
    """Share of the dear variant by model and simulation, p99 by both (seconds), and violations (a share)."""
    variants = {DEAR[0]: (DEAR[1], SERVICE_S), CHEAP[0]: (CHEAP[1], FASTER * SERVICE_S)}
    pipeline, profile = make_chain({f"t{i}": variants for i in range(case.tasks)})
    pipeline = replace(pipeline, slo=replace(pipeline.slo, latency_s=case.slo * SERVICE_S * case.tasks))
    rate = round(case.load * case.slots / SERVICE_S)
    group = Allocation(DEAR[0], case.slots, 1, 1, 1)
    plan = Plan({t: TaskPlan(t, (group,), (DEAR[0], CHEAP[0]), (CHEAP[0],)) for t in pipeline.tasks}, rate)
    model = estimate(plan, pipeline, profile, rate)
    seconds = max(60, requests // rate)
    run = simulate(
        pipeline, profile, Load(Trace((rate,) * seconds, "flat"), seed=1), Fixed(plan), PLANTS["instant-resident"],
        cores=case.slots * case.tasks, serving=Serving(draw=case.draw), start=plan,
    ).summary  # fmt: skip
    return (
        share(model.accuracy, case.tasks),
        share(run.accuracy or 0.0, case.tasks),
        model.latency_s,
        run.p99_s or 0.0,
        run.violation_ratio or 0.0,
    )


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--requests", type=int, default=40_000, help="of each case")
    requests = asked.parse_args().requests
    for part in compiled.PARTS if compiled.is_available() else ():
        compiled.load(part)
    cases = [Case(*c) for c in itertools.product((1, 3), (2.5, 5.0), (1, 2, 4, 10), (0.7, 0.9, 1.1, 1.5))]
    cases += [Case(1, 5.0, slots, load, "exponential") for slots in (2, 10) for load in (0.9, 1.3)]
    head = f"{'tasks':>5} {'slo':>4} {'slots':>5} {'load':>5} {'service':>12}"
    print(f"{head}   dear: model, simulated   p99: model, simulated")
    errors = []
    for case in cases:
        by_model, seen, p99_model_s, p99_s, missed = compare(case, requests)
        errors.append(by_model - seen)
        print(
            f"{case.tasks:>5} {case.slo:>4} {case.slots:>5} {case.load:>5} {case.draw:>12}   "
            f"{by_model:>11.3f} {seen:>11.3f}   {p99_model_s:>11.3f} {p99_s:>11.3f}   {100 * missed:.2f} % violations"
        )
    found = np.array(errors)
    print(f"share of the dear variant, model - simulated: mean {found.mean():+.3f}, from {found.min():+.3f} to "
          f"{found.max():+.3f}, rms {np.sqrt((found**2).mean()):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
