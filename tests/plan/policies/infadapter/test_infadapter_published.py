"""InfAdapter's published profile: its capacity table, and optima computed without this code for it.

What these tests show and what they do not is in docs/design/published-infadapter.md.
"""

from __future__ import annotations

import csv
import functools
import itertools
from pathlib import Path

import pytest

from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, PlanResult, TaskPlan
from trimtab.plan.policies.infadapter.policy import InfAdapterAsCodedPolicy, InfAdapterPolicy, MsPlusPolicy
from trimtab.plan.policies.infadapter.settings import InfAdapterSettings
from trimtab.plan.policies.infadapter.table import capacity_table
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Pipeline, Slo, Task, Variant

DATA = next(
    (found for up in Path(__file__).parents if (found := up / "shared" / "data" / "infadapter").is_dir()),
    Path(__file__).parents[5] / "shared" / "data" / "infadapter",
)
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the published measurements are not at {DATA}")

SLO_S = 0.75
BUDGET = 20
VARIANTS = ("18", "34", "50", "101", "152")
START = Plan({"classify": TaskPlan("classify", (Allocation("152", 1, BUDGET, 1, 1),), ("152",))}, 0.0)
"""The published runs start with the largest variant on all cores."""


@functools.cache
def rows(name: str) -> list[dict[str, str]]:
    with (DATA / f"{name}.csv").open() as lines:
        return list(csv.DictReader(lines))


@functools.cache
def model() -> tuple[Pipeline, Profile]:
    """The one task with its capacity table. Rows on which no rate passed have no p99; they only enter the fit."""
    capacity: dict[str, list[CapacityPoint]] = {}
    for r in rows("capacity_profile_2023-02-21"):
        if float(r["slo_ms"]) == 1000.0 * SLO_S:
            latency_s = float(r["p99_ms"]) / 1000.0 if r["p99_ms"] else SLO_S
            point = CapacityPoint(int(r["cpu_cores"]), float(r["capacity_rps"]), latency_s)
            capacity.setdefault(r["variant"], []).append(point)
    facts = {r["variant"]: r for r in rows("variants")}
    variants = {v: Variant(v, None, float(facts[v]["top1_accuracy"])) for v in VARIANTS}
    profiles = {
        v: VariantProfile("classify", v, (), float(facts[v]["readiness_s"]), capacity=tuple(capacity[v]))
        for v in VARIANTS
    }
    return Pipeline("published", {"classify": Task("classify", variants)}, Slo(SLO_S)), Profile({"classify": profiles})


def ask(policy: InfAdapterPolicy, rate: float, current: Plan | None = START) -> PlanResult:
    limits = Limits(cores=float(BUDGET), max_allocations_per_task=len(VARIANTS))
    return policy.propose(PlanRequest(*model(), rate, limits, current=current))


def sizes(answer: PlanResult) -> dict[str, int]:
    return {a.variant: a.cores for a in answer.plan.tasks["classify"].allocations}


@functools.cache
def published_table() -> dict[str, dict[int, int]]:
    table: dict[str, dict[int, int]] = {}
    for r in rows("derived_throughput_table"):
        table.setdefault(r["variant"], {})[int(r["cpu_cores"])] = int(r["th_rps"])
    return table


@functools.cache
def every_set() -> list[tuple[tuple[int, ...], int]]:
    """All 20,529 sizes of the five variants within the budget, and what each set carries."""
    choices = (0, *range(2, BUDGET + 1))
    return [
        (chosen, sum(published_table()[v][n] for v, n in zip(VARIANTS, chosen, strict=True) if n))
        for chosen in itertools.product(choices, repeat=len(VARIANTS))
        if sum(chosen) <= BUDGET
    ]


def best_value(rate: int, beta: float, *, as_coded: bool = False) -> float | None:
    """The best objective of all sets, by plain enumeration over the table."""
    facts = {r["variant"]: r for r in rows("variants")}
    longest = max(float(f["readiness_s"]) for f in facts.values())
    best = None
    for chosen, carried in every_set():
        if carried < rate or not any(chosen):
            continue
        rates = {v: published_table()[v][n] if n else 0 for v, n in zip(VARIANTS, chosen, strict=True)}
        if as_coded and sum(rates[v] for v in VARIANTS[1:]) > rate:
            continue
        rest, accuracy, load = rate, 0.0, 0.0
        for v, n in reversed(list(zip(VARIANTS, chosen, strict=True))):
            quota = min(rest, rates[v])
            rest -= quota
            accuracy += quota / rate * float(facts[v]["top1_accuracy"])
            if n and not (v == "152" and n == BUDGET):
                load = max(load, float(facts[v]["readiness_s"]) / longest)
        value = accuracy - beta * sum(chosen) / BUDGET - 0.001 * load
        best = value if best is None else max(best, value)
    return best


def test_the_capacity_table_is_the_published_one() -> None:
    pipeline, profile = model()
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=float(BUDGET)))
    table, notes = capacity_table(request, "classify", InfAdapterSettings())
    assert {e.variant: {s.cores: s.rate_rps for s in e.sizes} for e in table} == published_table()
    assert notes == ()


@pytest.mark.parametrize(
    "row", rows("derived_golden_plans") if DATA.is_dir() else [], ids=lambda row: f"{row['policy']}-{row['lambda_rps']}"
)
def test_every_optimum_is_met(row: dict[str, str]) -> None:
    policy = InfAdapterPolicy() if row["policy"] == "set" else MsPlusPolicy()
    answer = ask(policy, float(row["lambda_rps"]))
    assert answer.feasible == (row["objective"] != "infeasible")
    if not answer.feasible:
        return
    assert answer.gap == 0.0
    assert answer.objective.value == pytest.approx(float(row["objective"]), abs=6e-8)
    parts = answer.objective.parts
    assert parts["accuracy"] == pytest.approx(float(row["avg_accuracy"]), abs=6e-7)
    assert parts["cores"] == int(row["cores"])
    assert sizes(answer) == {v: int(row[f"n{v}"]) for v in VARIANTS if int(row[f"n{v}"])}


@pytest.mark.parametrize("beta", [0.0125, 0.05, 0.2])
@pytest.mark.parametrize("rate", [1, 57, 131, 266, 386])
@pytest.mark.parametrize("as_coded", [False, True])
def test_other_weights_equal_enumeration(rate: int, beta: float, as_coded: bool) -> None:
    kind = InfAdapterAsCodedPolicy if as_coded else InfAdapterPolicy
    answer = ask(kind(InfAdapterSettings(beta=beta)), float(rate))
    best = best_value(rate, beta, as_coded=as_coded)
    assert best is not None
    assert answer.objective.value == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(("rate", "beta", "chosen"), [
    (20.0, 0.0125, {"152": 8}), (60.0, 0.0125, {"101": 2, "152": 18}), (100.0, 0.0125, {"50": 6, "101": 14}),
    (100.0, 0.2, {"18": 4, "34": 3}), (300.0, 0.05, {"18": 13, "50": 7}), (376.0, 0.2, {"18": 20}),
])  # fmt: skip
def test_plans_of_the_reference_table(rate: float, beta: float, chosen: dict[str, int]) -> None:
    assert sizes(ask(InfAdapterPolicy(InfAdapterSettings(beta=beta)), rate)) == chosen


def test_the_error_of_the_published_programme_costs_what_was_found() -> None:
    # At these loads a single ResNet50 would be best; as coded it may not carry more than the load.
    worse = [
        rate
        for rate in range(50, 161, 10)
        if ask(InfAdapterAsCodedPolicy(), float(rate)).objective.value
        < ask(InfAdapterPolicy(), float(rate)).objective.value - 1e-9
    ]
    assert len(worse) >= 6


def test_more_than_the_budget_carries_is_typed_and_carries_most() -> None:
    answer = ask(InfAdapterPolicy(), 400.0)
    assert not answer.feasible
    assert sizes(answer) == {"18": BUDGET}
    assert "386/s" in answer.steps[0].reason
    for policy in (InfAdapterAsCodedPolicy(), MsPlusPolicy()):
        answer = ask(policy, 400.0)
        assert not answer.feasible
        assert sizes(answer) == {"18": BUDGET}
        assert "least accurate" in answer.steps[0].reason
