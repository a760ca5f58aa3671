from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from experiments.data import number, rows
from experiments.infadapter import contenders, windows
from experiments.infadapter.compare import FLUID
from experiments.infadapter.compare import contenders as compared
from experiments.infadapter.contenders import Case, Truth, given, planners, start_plan, vpa
from experiments.infadapter.measurements import TASK, capacity_profile, pipeline, service_profile
from experiments.infadapter.variants import ACCURACY_ALONE, best_accuracy
from experiments.infadapter.windows import WINDOWS, history, load
from tests.experiments.published_data import DATA, needs_data

from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies import make_policy
from trimtab.plan.policies.infadapter.policy import InfAdapterPolicy, MsPlusPolicy
from trimtab.plan.policies.infadapter.settings import InfAdapterSettings
from trimtab.plan.policies.infadapter.table import capacity_table
from trimtab.plan.policies.registry import check_settings

pytestmark = needs_data


def test_the_pipeline_file_says_what_was_published() -> None:
    told = {f"resnet{r['variant']}": number(r, "top1_accuracy") for r in rows(DATA, "infadapter/variants")}
    assert {name: v.accuracy for name, v in pipeline().tasks[TASK].variants.items()} == told


@pytest.mark.parametrize(
    ("cores", "rates"),
    [(2, [34, 20, 14, 8, 4]), (8, [151, 82, 63, 32, 22]), (14, [268, 145, 113, 57, 41]), (20, [386, 207, 162, 81, 59])],
)
def test_the_planner_counts_on_the_published_rates(cores: int, rates: list[int]) -> None:
    request = PlanRequest(pipeline(), capacity_profile(DATA), 1.0, Limits(cores=20.0))
    table, notes = capacity_table(request, TASK, InfAdapterSettings())
    assert notes == ()
    planned = {entry.variant: {s.cores: s.rate_rps for s in entry.sizes} for entry in table}
    assert [planned[v][cores] for v in contenders.VARIANTS] == rates


def test_service_times_give_the_measured_ceiling_at_every_size() -> None:
    profile = service_profile(DATA)
    seen = {(f"resnet{r['variant']}", int(r["cpu_cores"])): number(r, "saturation_rps")
            for r in rows(DATA, "infadapter/capacity_profile_2023-02-21")}  # fmt: skip
    for variant, measured in profile.variants[TASK].items():
        assert {p.cores: pytest.approx(p.throughput_rps) for p in measured.points} == {
            cores: rate for (v, cores), rate in seen.items() if v == variant
        }
    slower = service_profile(DATA, slower=1.5).variants[TASK]["resnet50"].points[3]
    assert slower.mean_s == pytest.approx(1.5 * profile.variants[TASK]["resnet50"].points[3].mean_s)


def test_many_published_capacities_exceed_what_can_be_served() -> None:
    capacity, service = capacity_profile(DATA).variants[TASK], service_profile(DATA).variants[TASK]
    above = [
        c.rate_rps > p.throughput_rps + 1e-9
        for v in contenders.VARIANTS
        for c, p in zip(capacity[v].capacity, service[v].points, strict=True)
    ]
    assert (sum(above), len(above)) == (38, 100)


@pytest.mark.parametrize(("name", "requests"), [("bursty", 121_697), ("steady", 166_488)])
def test_windows_are_the_published_ones(name: str, requests: int) -> None:
    what = load(DATA, WINDOWS[name], seed=3)
    assert list(what.trace.counts) == [int(r["requests"]) for r in rows(DATA, f"infadapter/trace_window_{name}")]
    assert sum(count or 0 for count in what.trace.counts) == requests
    assert (len(what.history), what.history) == (600, history(DATA, WINDOWS[name]))
    assert what.forecaster_clock_s == WINDOWS[name].start - 600


@pytest.mark.parametrize(
    ("rate", "beta", "chosen"),
    [(60.0, 0.0125, {"resnet101": 2, "resnet152": 18}), (200.0, 0.05, {"resnet18": 4, "resnet50": 16}),
     (300.0, 0.05, {"resnet18": 13, "resnet50": 7}), (100.0, 0.2, {"resnet18": 4, "resnet34": 3})],
)  # fmt: skip
def test_contenders_decide_as_the_reference_says(rate: float, beta: float, chosen: dict[str, int]) -> None:
    contender = planners(beta)[1]
    profile = capacity_profile(DATA)
    request = PlanRequest(
        given(contender, profile), profile, rate, Limits(cores=20.0, max_allocations_per_task=5),
        current=start_plan(contender, 1.0),
    )  # fmt: skip
    plan = make_policy(contender.policy).propose(request).plan
    assert {a.variant: a.cores for a in plan.tasks[TASK].allocations} == chosen


def test_every_contender_has_settings_that_its_policy_knows_and_a_name_of_its_own() -> None:
    everyone = compared(quick=False, file=Path("mine.json"))
    assert [(c.forecaster, c.quantile) for c in everyone if "fitted" in c.label] == [
        ("mine.json", None), ("mine.json", 0.95)
    ]  # fmt: skip
    assert len({c.label for c in everyone}) == len(everyone)
    assert {label for _, label in FLUID} <= {c.label for c in everyone}
    for contender in everyone:
        profile = service_profile(DATA) if contender.believes == "service" else capacity_profile(DATA)
        check_settings(given(contender, profile))
        make_policy(contender.policy)
        assert contender.plant in contenders.PLANTS


@pytest.mark.parametrize("budget", [8, 20])
def test_a_set_is_never_worse_than_a_single_variant(budget: int) -> None:
    profile = capacity_profile(DATA)
    gains = []
    for rate in range(10, 150, 10):
        several = best_accuracy(InfAdapterPolicy(ACCURACY_ALONE), profile, budget, rate)
        single = best_accuracy(MsPlusPolicy(ACCURACY_ALONE), profile, budget, rate)
        assert several is not None
        assert single is not None
        gains.append(several[0] - single[0])
    assert min(gains) > -1e-12
    assert max(gains) > 0.001
    assert best_accuracy(InfAdapterPolicy(ACCURACY_ALONE), profile, 20, 387) is None


@pytest.mark.parametrize("contender", [vpa()[2], planners(0.05)[1]], ids=lambda c: c.label)
def test_a_short_run_accounts_for_every_request_and_repeats(
    contender: contenders.Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(WINDOWS["bursty"], stop=WINDOWS["bursty"].start + 20)
    monkeypatch.setitem(windows.WINDOWS, "bursty", short)
    case = Case(DATA, "bursty", contender, seed=1)
    first, again = contenders.run(case), contenders.run(case)
    s = first.summary
    assert s.offered == sum(count or 0 for count in load(DATA, short, 1).trace.counts)
    assert s.in_time + s.late + s.refused + s.dropped + s.failed == s.offered
    assert first.series == again.series
    slow = contenders.run(replace(case, truth=Truth(slower=2.0)))
    assert (slow.summary.p50_s or 0.0) > 1.9 * (s.p50_s or 0.0)  # queues only make it more
