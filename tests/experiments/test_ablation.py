from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from experiments.ablation import Case, Outcome, Outcomes, Setup, by_seed, distance, judged, row, unpaid, verdict
from experiments.trouble.ideas import (
    BESIDE,
    BOUNDS,
    FREE,
    FULL,
    KNOWN,
    ORACLE,
    VARIANTS,
    WRONG,
    Ungrown,
    Unpooled,
    as_planned,
)
from experiments.trouble.scenes import OURS, SERVICE, Place, scene
from hypothesis import given
from hypothesis import strategies as st
from tests.experiments.published_data import DATA, needs_data

from trimtab.control.controller import Controller
from trimtab.control.settings import forecaster_for, limits_of
from trimtab.plan.model import Allocation, Plan, PlanRequest, TaskPlan
from trimtab.plan.policies.registry import check_settings
from trimtab.sim.result import SimSummary
from trimtab.spec.model import Objective

SETUPS = (Setup(Place(SERVICE, "bursty")), Setup(Place(SERVICE, "steady")), Setup(Place("video", "bursty")))
values = st.floats(-50.0, 50.0)


def outcomes(objectives: dict[str, list[list[float]]]) -> Outcomes:
    """Variant → setup → objective by seed."""
    return {
        (SETUPS[s], name, seed): Outcome(Case(Path(), SETUPS[s], name, seed), 0.0, 70.0, 9.0, value, 0.0)
        for name, setups in objectives.items()
        for s, seeds in enumerate(setups)
        for seed, value in enumerate(seeds)
    }


def test_changes_are_of_the_same_seed_and_a_mean_over_the_setups_of_a_family() -> None:
    found = outcomes({FULL: [[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]], "b": [[2.0, 2.0], [5.0, 4.0], [0.0, 0.0]]})
    assert by_seed(found, "InfAdapter", FULL, lambda o: o.objective) == [2.0, 3.0]
    assert by_seed(found, "InfAdapter", "b", lambda o: o.objective, FULL) == [1.5, 0.0]
    assert by_seed(found, "IPA", "b", lambda o: o.objective, FULL) == [-9.0, -9.0]


@pytest.mark.parametrize(
    ("violations", "objective", "missed", "told"),
    [
        ([0.5, 0.6, 0.5], [0.0, 0.0, 0.0], [0.0] * 3, "pays"),
        ([0.0, 0.0, 0.0], [-0.5, -0.6, -0.5], [0.0] * 3, "pays"),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.3, 0.31, 0.3], "pays"),
        ([0.5, 0.6, 0.5], [0.2, 0.2, 0.2], [0.0] * 3, "trades"),
        ([-0.5, -0.6, -0.5], [0.2, 0.2, 0.2], [0.0] * 3, "does not pay"),
        ([-0.5, 0.9, 0.1], [0.3, -0.5, 0.2], [0.0] * 3, "does not pay"),
        ([0.5], [0.0], [0.0], ""),
    ],
)
def test_an_idea_pays_where_something_is_worse_without_it(
    violations: list[float], objective: list[float], missed: list[float], told: str
) -> None:
    assert verdict(violations, objective, missed) == told


def summary(accuracy: float, cores: float, violations: float) -> SimSummary:
    none = dict.fromkeys((f.name for f in fields(SimSummary)), 0)
    return replace(SimSummary(**none), accuracy=accuracy, mean_cores=cores, violation_ratio=violations)


def test_the_objective_is_the_one_that_was_asked_for() -> None:
    case = Case(Path(), SETUPS[0], FULL, 0)
    weighted = judged(case, summary(0.7, 8.0, 0.01), Objective("weighted", 1.0, 0.0025))
    assert (weighted.violations, weighted.missed) == (1.0, 0.0)
    assert weighted.objective == pytest.approx(68.0)
    cheapest = judged(case, summary(0.7, 8.0, 0.0), Objective("cheapest", accuracy_floor=0.71))
    assert cheapest.objective == -8.0
    assert cheapest.missed == pytest.approx(1.0)


@given(st.lists(st.tuples(values, values, values, values), min_size=2, max_size=5))
def test_the_parts_of_the_distance_sum_up_to_it(by_seed: list[tuple[float, float, float, float]]) -> None:
    names = (FULL, KNOWN, FREE, ORACLE)
    found = outcomes({name: [[seed[i] for seed in by_seed]] for i, name in enumerate(names)})
    line = distance(found, "InfAdapter")

    def middle(name: str) -> float:
        return float(str(line[name]).split(" ")[0])

    assert middle("forecast") + middle("switching") + middle("model and loop") == pytest.approx(
        middle("distance"), abs=0.003
    )
    assert middle("distance") == pytest.approx(sum(seed[3] - seed[0] for seed in by_seed) / len(by_seed), abs=0.001)


def test_a_row_tells_of_ideas_but_not_of_bounds() -> None:
    found = outcomes({name: [[1.0, 1.1], [1.0, 1.1]] for name in VARIANTS} | {"no hysteresis": [[0.5, 0.6]] * 2})
    table = [row(found, "InfAdapter", name) for name in VARIANTS]
    told = {str(line["variant"]): line["idea"] for line in table}
    assert told["no hysteresis"] == "pays"
    assert told["no reactive floor"] == "does not pay"
    assert {told[name] for name in (*BOUNDS, FULL, WRONG)} == {""}
    assert "no hysteresis" not in unpaid(table)
    assert "no reactive floor" in unpaid(table)
    assert unpaid([line for line in table if line["variant"] == "no hysteresis"]) == "Every idea pays somewhere."


@needs_data
@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_changes_something_and_makes_a_first_plan(name: str) -> None:
    full = scene(DATA, SETUPS[0].place, OURS, seed=0)
    made = VARIANTS[name](full)
    changed = {f.name for f in fields(full) if getattr(full, f.name) != getattr(made, f.name)}
    assert bool(changed) == (name != FULL)
    check_settings(made.pipeline)
    forecaster = forecaster_for(made.policy, None if made.forecaster == ORACLE else str(made.forecaster or "last"))
    limits = limits_of(made.pipeline, made.plant.capabilities(made.cores))
    controller = Controller(made.pipeline, made.profile, made.policy, forecaster, limits, made.settings)
    assert controller.start(0.0).feasible
    assert BESIDE.get(name, FULL) in VARIANTS


@needs_data
def test_our_policy_without_an_idea_differs_in_that_alone() -> None:
    made = scene(DATA, SETUPS[2].place, OURS, seed=0)
    limits = limits_of(made.pipeline, made.plant.capabilities(8))
    for rate_rps in (5.0, 8.0):
        request = PlanRequest(made.pipeline, made.profile, rate_rps, limits, surge_rps=1.5 * rate_rps)
        full, ungrown, unpooled = (policy.propose(request).plan for policy in (made.policy, Ungrown(), Unpooled()))
        for name, task in ungrown.tasks.items():
            assert task.allocations == tuple(replace(a, most=None) for a in full.tasks[name].allocations)
            assert task.resident == full.tasks[name].resident
        assert any(len(task.resident) > len(task.allocations) for task in unpooled.tasks.values())
        assert any(task.may_use for task in unpooled.tasks.values())


def test_batches_as_planned_have_no_room_to_grow() -> None:
    kept = Allocation("a", 2, 4, 1, batch=1, share=0.5)
    grows = replace(kept, batch=2, most=8)
    plan = Plan({"t": TaskPlan("t", (kept, grows), ("a", "b"), ("b",))}, 20.0)
    made = as_planned(plan)
    assert made.tasks["t"] == replace(plan.tasks["t"], allocations=(kept, replace(grows, most=None)))
    assert made.rate_rps == plan.rate_rps
