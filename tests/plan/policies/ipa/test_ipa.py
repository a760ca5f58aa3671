"""IPA's forms, base allocations, baselines and settings, against plain search and against sums done by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.plan.policies.ipa.base_allocation import base_allocations
from trimtab.plan.policies.ipa.policy import IpaPolicy
from trimtab.plan.policies.ipa.settings import IpaSettings
from trimtab.plan.policies.settings import override
from trimtab.profile.model import CapacityPoint, Profile, ServicePoint, VariantProfile
from trimtab.spec.model import Edge, Objective, Pipeline, Prices, Slo, Task, Variant
from trimtab.testing import check_policy, make_chain

NAMES = ("ipa", "ipa-as-coded", "ipa-v1", "fa2-low", "fa2-high", "rim")
OBJECTIVE = Objective("weighted", 10.0, 0.5, 0.0, 1e-6)
TASKS = {
    "see": {"s": (0.5, 0.05), "m": (0.6, 0.1), "l": (0.7, 0.2)},
    "say": {"s": (0.7, 0.05), "l": (0.9, 0.2)},
}


def ask(rate: float, settings: IpaSettings | None = None, *, cores: float = 64.0, slo_s: float = 2.0) -> PlanResult:
    pipeline, profile = make_chain(TASKS, slo_s=slo_s, objective=OBJECTIVE, batches=(1, 4))
    return IpaPolicy(settings).propose(PlanRequest(pipeline, profile, rate, Limits(cores=cores)))


def shape(answer: PlanResult) -> dict[str, tuple[str, int, int]]:
    groups = {task: plan.allocations[0] for task, plan in answer.plan.tasks.items()}
    return {task: (a.variant, a.replicas, a.batch) for task, a in groups.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_kit_accepts_it(name: str) -> None:
    check_policy(make_policy(name))


@given(
    rate=st.sampled_from([0.5, 3.0, 11.0, 40.0]),
    slo_s=st.sampled_from([0.7, 1.2, 3.0]),
    accuracy=st.sampled_from(["product", "rank-product", "rank-sum"]),
    form=st.sampled_from(["paper", "as-coded"]),
    margins=st.sampled_from([(0.0, 0.0), (1.0, -0.5)]),
)
def test_the_answer_is_the_best_of_all_choices(
    rate: float,
    slo_s: float,
    accuracy: Literal["product", "rank-product", "rank-sum"],
    form: Literal["paper", "as-coded"],
    margins: tuple[float, float],
) -> None:
    ranks = {"see": {"s": 0.0, "m": 0.5, "l": 1.0}, "say": {"s": 0.0, "l": 1.0}}
    scores = {t: {v: a for v, (a, _) in some.items()} for t, some in TASKS.items()} if accuracy == "product" else ranks
    choices = {
        task: [
            (
                scores[task][variant],
                1.2 * seconds * (0.1 + 0.9 * b) * (1.0 + margins[0]) + ((b - 1) / rate if form == "paper" else 0.0),
                math.ceil(rate / (b / (seconds * (0.1 + 0.9 * b)) * (1.0 + margins[1])) - 1e-9),
                b,
            )
            for variant, (_, seconds) in some.items()
            for b in (1, 4)
        ]
        for task, some in TASKS.items()
    }
    bound_s = slo_s if form == "paper" else slo_s + 5 * 1 / rate
    values = [
        10.0 * (one[0] + other[0] if accuracy == "rank-sum" else one[0] * other[0])
        - 0.5 * (one[2] + other[2])
        - 1e-6 * (one[3] + other[3])
        for one, other in itertools.product(*choices.values())
        if one[1] + other[1] <= bound_s
    ]
    settings = IpaSettings(
        form=form, accuracy=accuracy, latency_margin=margins[0], throughput_margin=margins[1], base_cores=ONE_CORE
    )
    answer = ask(rate, settings, slo_s=slo_s)
    assert ("best by" in answer.steps[0].reason) == bool(values)
    if values:
        score = [scores[task][variant] for task, (variant, _, _) in shape(answer).items()]
        pas = sum(score) if accuracy == "rank-sum" else math.prod(score)
        cost = sum(0.5 * n + 1e-6 * b for _, n, b in shape(answer).values())
        assert 10.0 * pas - cost == pytest.approx(max(values), abs=1e-9)


ONE_CORE = {task: dict.fromkeys(variants, 1) for task, variants in TASKS.items()}


def test_the_queueing_term_of_the_program_loosens_the_slo_and_the_plan_is_not_called_feasible() -> None:
    # Both tasks take 1.2·0.2 s at the quantile, 0.48 s in all. The program adds (3 + 2)·(2 - 1)/5 = 1 s to the SLO.
    pinned = {"delta": 0.0, "variants": {"see": "l", "say": "l"}, "replicas": 1}
    paper = ask(5.0, IpaSettings(**pinned), slo_s=0.5)  # type: ignore[arg-type]  # a mapping of settings
    coded = ask(5.0, IpaSettings(form="as-coded", **pinned), slo_s=0.5)  # type: ignore[arg-type]  # as above
    assert paper.feasible
    assert shape(paper) == {"see": ("l", 1, 1), "say": ("l", 1, 1)}
    assert "best by" in coded.steps[0].reason
    slow = ask(5.0, IpaSettings(form="as-coded", **pinned), slo_s=0.4)  # type: ignore[arg-type]  # as above
    assert not slow.feasible
    assert "best by" in slow.steps[0].reason
    assert "published queueing term" in slow.steps[-1].reason


def test_the_program_multiplies_three_tasks_only() -> None:
    tasks = {name: {"s": (0.5, 0.01), "l": (0.9, 0.01)} for name in "abcd"}
    pipeline, profile = make_chain(tasks, objective=replace(OBJECTIVE, beta=0.0), batches=(1,))
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=8.0))
    assert IpaPolicy().propose(request).plan.variants() == dict.fromkeys("abcd", ("l",))
    coded = IpaPolicy(IpaSettings(form="as-coded")).propose(request).plan
    assert [v for (v,) in coded.variants().values()][:3] == ["l"] * 3
    heavy = replace(profile, variants={**profile.variants, "d": _slower(profile, "d", "l")})
    question = replace(request, profile=heavy, rate_rps=20.0, pipeline=replace(pipeline, objective=OBJECTIVE))
    assert IpaPolicy().propose(question).plan.variants()["d"] == ("l",)
    assert IpaPolicy(IpaSettings(form="as-coded")).propose(question).plan.variants()["d"] == ("s",)


def _slower(profile: Profile, task: str, variant: str) -> dict[str, VariantProfile]:
    variants = dict(profile.variants[task])
    points = tuple(replace(p, mean_s=0.06, quantiles_s={}) for p in variants[variant].points)
    return {**variants, variant: replace(variants[variant], points=points)}


def test_baselines_pin_variants_or_replicas() -> None:
    low, high = ask(20.0, IpaSettings(pin="least-accurate")), ask(20.0, IpaSettings(pin="most-accurate"))
    assert [v for v, _, _ in shape(low).values()] == ["s", "s"]
    assert [v for v, _, _ in shape(high).values()] == ["l", "l"]
    named = ask(20.0, IpaSettings(pin="most-accurate", variants={"see": "m"}))
    assert [v for v, _, _ in shape(named).values()] == ["m", "l"]
    rim = ask(14.0, IpaSettings(replicas={"see": 3, "say": 4}))
    assert [n for _, n, _ in shape(rim).values()] == [3, 4]
    assert shape(ask(50.0, IpaSettings(replicas=3)))["see"][0] == "s"
    assert shape(ask(1.0, IpaSettings(replicas=3)))["see"][0] == "l"


def test_where_nothing_holds_the_plan_in_force_stays_if_there_is_one() -> None:
    pipeline, profile = make_chain(TASKS, slo_s=2.0, objective=OBJECTIVE, batches=(1, 4))
    request = PlanRequest(pipeline, profile, 500.0, Limits(cores=6.0))
    first = IpaPolicy().propose(request)
    assert not first.feasible
    assert first.plan.cores == 6
    assert "the most possible" in first.steps[0].reason
    # s and s on 3 cores each: 3·4 / (0.05·3.7).
    assert first.estimate.goodput_rps == pytest.approx(3 * 4 / (0.05 * 3.7), rel=1e-3)
    calm = ask(1.0).plan
    kept = IpaPolicy().propose(replace(request, current=calm))
    assert kept.plan.id == calm.id
    assert not kept.feasible
    assert "the plan in force is kept" in kept.steps[0].reason
    too_large = ask(20.0, IpaSettings(replicas=9)).plan
    for useless in (too_large, replace(calm, tasks={"see": calm.tasks["see"]})):
        assert IpaPolicy().propose(replace(request, current=useless)).plan.id == first.plan.id
    hopeless = IpaPolicy().propose(replace(request, pipeline=replace(pipeline, slo=Slo(0.01))))
    assert "at any rate; this is the fastest" in hopeless.steps[0].reason
    assert [v for v, _, _ in shape(hopeless).values()] == ["s", "s"]


def test_limits_hold_beside_ipas_own_constraints() -> None:
    pipeline, profile = make_chain(TASKS, slo_s=2.0, objective=OBJECTIVE, batches=(1,), variant_bytes=100)
    free = PlanRequest(pipeline, profile, 20.0, Limits(cores=64.0))
    priced = replace(free, pipeline=replace(pipeline, prices=Prices(core_hour=1.0)))
    most = IpaPolicy(IpaSettings(alpha=1000.0))
    assert most.propose(free).plan.cores == 8
    for asked in (
        replace(free, limits=Limits(cores=64.0, memory_bytes=700)),
        replace(free, limits=Limits(cores=64.0, replicas=7)),
        replace(priced, limits=Limits(cores=64.0, cost_per_hour=7.0)),
        replace(free, limits=Limits(cores=7.0)),
    ):
        answer = most.propose(asked)
        assert answer.feasible
        assert answer.plan.cores <= 7
    assert all(n <= 3 for _, n, _ in shape(most.propose(replace(free, limits=Limits(64.0, None, 3)))).values())
    limits = Limits(6.0, 900, 2, replicas=8, cost_per_hour=5.0)
    with pytest.raises(PlanRequestError, match=r"no room.*6 cores, 2 replicas per task, 900 bytes, 8 replicas, 5 per"):
        IpaPolicy(IpaSettings(replicas=3)).propose(replace(priced, limits=limits))


def test_branches_are_planned_by_their_longest_path() -> None:
    pipeline, profile = make_chain({n: {"v": (0.9, 0.1)} for n in "abc"}, slo_s=0.25, batches=(1,))
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=4.0))
    assert not IpaPolicy().propose(request).feasible
    fork = replace(pipeline, tasks={**pipeline.tasks, "c": replace(pipeline.tasks["c"], after=(Edge("a"),))})
    assert IpaPolicy().propose(replace(request, pipeline=fork)).feasible


LEVELS = (1, 2, 4, 8)


def grid(rates: dict[str, tuple[float, ...]]) -> PlanRequest:
    """One task; each variant's batch-1 rates at 1, 2, 4 and 8 cores; a batch of 2 serves 1.5 times as much."""
    names = {name: Variant(name, None, 0.5 + 0.1 * i) for i, name in enumerate(rates)}
    points = {
        name: tuple(
            ServicePoint(cores, cores, b, b / (rate * (1.0 + 0.5 * (b - 1))), {}, 0)
            for cores, rate in zip(LEVELS, some, strict=True)
            for b in (1, 2)
        )
        for name, some in rates.items()
    }
    profile = Profile({"t": {name: VariantProfile("t", name, some) for name, some in points.items()}})
    return PlanRequest(Pipeline("p", {"t": Task("t", names)}, Slo(2.0)), profile, 1.0, Limits(cores=8.0))


def cores(request: PlanRequest, settings: IpaSettings) -> tuple[list[int], int]:
    chosen, notes = base_allocations(request, settings)
    return [replica.cores for replica in chosen["t"].values()], len(notes)


def test_base_allocations_of_the_paper() -> None:
    request = grid({"a": (3.0, 4.0, 5.0, 6.0), "b": (1.0, 2.0, 3.0, 4.0), "c": (0.1, 0.2, 0.4, 0.8)})
    assert cores(request, IpaSettings(threshold_rps=3.0)) == ([1, 2, 1], 1)
    assert cores(request, IpaSettings(threshold_rps=3.0, batching_cap=1)) == ([1, 4, 1], 1)
    # 5 × the mean of 1/6, 1/4 and 1/0.8 s is 2.78 s, in which c can do a batch of 1 even on 4 cores.
    assert cores(request, IpaSettings(threshold_rps=0.1, sla_factor=5.0)) == ([1, 1, 4], 0)
    halved = IpaSettings(threshold_rps=3.0, batching_cap=1, throughput_margin=-0.5)
    assert cores(request, halved) == ([8, 1, 1], 2)
    assert cores(request, IpaSettings(base_cores={"t": {"c": 8}})) == ([1, 1, 8], 0)


def test_base_allocations_of_the_program_never_go_back() -> None:
    # b passes with one batch on 1 core and with both on 2, so the pointer moves; c passes on 1 core and starts at 2.
    request = grid({"a": (3.0, 3.0, 3.0, 3.0), "b": (2.0, 3.0, 4.0, 5.0), "c": (9.0, 9.0, 9.0, 9.0)})
    assert cores(request, IpaSettings(threshold_rps=3.0)) == ([1, 1, 1], 0)
    assert cores(request, IpaSettings(form="as-coded", threshold_rps=3.0)) == ([1, 2, 2], 0)
    request = grid({"a": (1.0, 3.0, 3.0, 3.0), "b": (0.1, 0.1, 0.1, 3.0), "c": (9.0, 9.0, 9.0, 9.0)})
    assert cores(request, IpaSettings(form="as-coded", threshold_rps=3.0)) == ([2, 8, 8], 0)
    request = grid({"a": (1.0, 3.0, 3.0, 3.0), "b": (0.1, 0.1, 0.1, 0.1), "c": (9.0, 9.0, 9.0, 9.0)})
    assert cores(request, IpaSettings(form="as-coded", threshold_rps=3.0)) == ([2, 1, 2], 1)
    answer = IpaPolicy(IpaSettings(form="as-coded", threshold_rps=3.0)).propose(request)
    assert any("no measured replica of t/b serves 3/s" in step.reason for step in answer.steps)


def test_a_capacity_table_does_for_a_profile() -> None:
    names = {"v": Variant("v", None, 0.9)}
    table = VariantProfile("t", "v", (), capacity=(CapacityPoint(2, 10.0, 0.1), CapacityPoint(4, 20.0, 0.1)))
    request = PlanRequest(
        Pipeline("p", {"t": Task("t", names)}, Slo(0.4)), Profile({"t": {"v": table}}), 25.0, Limits(8)
    )
    answer = IpaPolicy().propose(request)
    assert answer.feasible
    assert answer.plan.tasks["t"].allocations[0].total_cores == 6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"variants": {"sea": "s"}}, r"a task that the pipeline lacks.*got sea.*see, say"),
        ({"variants": {"see": "x"}}, r"task see.*a variant that the task lacks.*got x.*s, m, l"),
        ({"base_cores": {"see": {"x": 1}}}, r"a variant that the task lacks.*got x"),
        ({"replicas": {"sea": 1}}, r"got sea"),
        ({"base_cores": {"see": {"m": 3}}}, r"not measured, or exceeds.*got 3 cores.*one of 1"),
    ],
)
def test_settings_that_do_not_fit_the_pipeline_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanRequestError, match=words):
        ask(1.0, IpaSettings(**settings))


def test_what_was_not_measured_is_refused() -> None:
    pipeline, profile = make_chain(TASKS)
    request = PlanRequest(pipeline, Profile({**profile.variants, "say": {}}), 1.0, Limits(cores=4.0))
    with pytest.raises(PlanRequestError, match="task say: no variant of this task was measured"):
        IpaPolicy().propose(request)
    lacking = {**profile.variants, "say": {"s": profile.variants["say"]["s"]}}
    with pytest.raises(PlanRequestError, match=r"fix was not measured.*got l"):
        IpaPolicy(IpaSettings(variants={"say": "l"})).propose(replace(request, profile=Profile(lacking)))


@pytest.mark.parametrize(
    "settings",
    [{"threshold_rps": -1.0}, {"alpha": math.nan}, {"latency_margin": -1.0}, {"throughput_margin": math.inf},
     {"batching_cap": 0}, {"scaling_cap": 0}, {"replicas": 0}, {"replicas": {"a": 0}}, {"base_cores": {"a": {"b": 0}}}],
)  # fmt: skip
def test_settings_without_meaning_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        IpaSettings(**settings)


def test_the_pipelines_file_overrides_settings() -> None:
    pipeline, profile = make_chain(TASKS, slo_s=2.0, objective=OBJECTIVE, batches=(1, 4))
    request = PlanRequest(
        replace(pipeline, policies={"rim": {"replicas": {"see": 2, "say": 1}, "alpha": 3}}), profile, 1.0, Limits(8)
    )
    rim = make_policy("rim").propose(request)
    assert [n for _, n, _ in shape(rim).values()] == [2, 1]
    assert "α 3," in rim.steps[0].reason
    assert "α 10," in make_policy("ipa").propose(request).steps[0].reason


@dataclass(frozen=True, slots=True)
class Some:
    whole: int = 1
    real: float = 1.0
    flag: bool = False
    word: Literal["a", "b"] | None = None
    many: tuple[int, ...] = ()
    names: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.whole < 0:
            raise ValueError("whole is negative")


def overridden(**values: object) -> Some:
    pipeline, _ = make_chain(TASKS)
    return override(Some(), replace(pipeline, policies={"mine": values}), "mine")


def test_overrides_of_every_kind() -> None:
    assert overridden() == Some()
    values: dict[str, Any] = {"whole": 2, "real": 3, "flag": True, "word": "b", "many": (1, 2), "names": {"a": 1}}
    assert overridden(**values) == Some(**values)
    assert overridden(word=None) == Some()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"whol": 1}, r"policies\.mine\.whol: the policy has no such setting.*\n.*did you mean 'whole'"),
        ({"xyz": 1}, r"no such setting: wanted one of whole, real"),
        ({"whole": 1.5}, r"got 1\.5, wanted a whole number"),
        ({"whole": True}, r"got True, wanted a whole number"),
        ({"real": "x"}, r"got 'x', wanted a number"),
        ({"flag": 1}, r"got 1, wanted true or false"),
        ({"word": "c"}, r"wanted one of 'a', 'b' or null"),
        ({"many": (1, "x")}, r"wanted a list of a whole number"),
        ({"names": {"a": "x"}}, r"wanted a mapping of names to a number"),
        ({"whole": -1}, r"policies\.mine: the policy's settings have no meaning: whole is negative"),
    ],
)
def test_overrides_that_are_wrong_say_so(values: dict[str, object], words: str) -> None:
    with pytest.raises(PlanRequestError, match=words):
        overridden(**values)
