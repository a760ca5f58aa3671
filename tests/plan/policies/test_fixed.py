"""What policies hold fixed: the choice of a replica, its rate, and how limits are shared out."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.constrain import constrain
from trimtab.plan.model import Limits, Plan, PlanRequest
from trimtab.plan.policies import make_policy
from trimtab.plan.policies.fixed import (
    Fixed,
    FixedSettings,
    cut_words,
    fixed_choice,
    fixed_plan,
    replica_rate,
    replicas_for,
    slo_parts,
)
from trimtab.plan.policies.settings import override
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Edge, Instance, Prices
from trimtab.testing import make_chain

SHAPES = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 4))


def request(rate: float = 10.0, cores: float = 20.0, **others: object) -> PlanRequest:
    """Lone requests on one core take 40 ms and 160 ms (large), half of that on four; p99 is 1.2 times the mean."""
    pipeline, profile = make_chain(
        {"a": {"small": (0.8, 0.01), "large": (0.9, 0.04)}, "b": {"small": (0.8, 0.02), "large": (0.9, 0.16)}},
        shapes=SHAPES,
        variant_bytes=100,
        fan_out=3.0,
    )
    return PlanRequest(pipeline, profile, rate, Limits(cores=cores, **others))  # type: ignore[arg-type]


def test_the_slo_is_parted_by_the_time_on_the_fastest_shape() -> None:
    # 1.2 · 20 ms and 1.2 · 80 ms on four threads: one fifth and four fifths of 400 ms.
    assert slo_parts(request(), FixedSettings()) == pytest.approx({"a": 0.08, "b": 0.32})


def test_parts_of_a_fork_sum_to_the_slo_along_the_longest_path_and_to_less_along_others() -> None:
    pipeline, profile = make_chain({n: {"v": (0.9, s)} for n, s in (("a", 0.01), ("b", 0.03), ("c", 0.02))}, slo_s=0.4)
    fork = replace(pipeline, tasks={**pipeline.tasks, "c": replace(pipeline.tasks["c"], after=(Edge("a"),))})
    parts = slo_parts(PlanRequest(fork, profile, 1.0, Limits(cores=9.0)), FixedSettings())
    assert parts == pytest.approx({"a": 0.1, "b": 0.3, "c": 0.4 * 2 / 3})
    assert parts["a"] + parts["c"] < 0.4


def test_the_smallest_shape_that_takes_half_of_its_part() -> None:
    # b: 1.2 · 160 = 192 ms > 160 ms on one thread; on two 1.2 · 160 / √2 = 136 ms.
    assert fixed_choice(request(), "b", FixedSettings()) == Fixed("large", 2, 2, 1)
    # With all of its part it may take 192 ms of 320 ms: one core is enough.
    assert fixed_choice(request(), "b", FixedSettings(slo_share=1.0)) == Fixed("large", 1, 1, 1)
    # Four single threads serve more than four on one request, and are quick enough.
    assert fixed_choice(request(), "b", FixedSettings(slo_share=1.0, cores={"b": 4})) == Fixed("large", 4, 1, 1)
    assert fixed_choice(request(), "b", FixedSettings(cores={"b": 4})) == Fixed("large", 4, 4, 1)
    assert fixed_choice(request(), "b", FixedSettings(pin="least-accurate")) == Fixed("small", 1, 1, 1)
    assert fixed_choice(request(), "b", FixedSettings(variants={"b": "small"})) == Fixed("small", 1, 1, 1)


def test_where_no_shape_is_fast_enough_the_fastest_is_taken() -> None:
    slow = FixedSettings(slo_share=0.01)
    assert fixed_choice(request(), "b", slow) == Fixed("large", 4, 4, 1)
    assert fixed_choice(request(cores=3.0), "b", slow) == Fixed("large", 2, 2, 1)


def test_a_full_batch_counts() -> None:
    # A batch of 8 takes 1 - 0.9 + 0.9 · 8 = 7.3 times as long: no shape does it in time.
    assert fixed_choice(request(), "b", FixedSettings(batch=8)) == Fixed("large", 4, 4, 8)


def test_rates_and_replicas_by_hand() -> None:
    question = request(rate=10.0)
    two = Fixed("large", 2, 1, 1)
    assert replica_rate(question, "b", two) == pytest.approx(2 / 0.16)
    # 3 items a request: 30/s by 12.5/s.
    assert replicas_for(question, "b", two) == 3
    assert replicas_for(question, "b", two, utilisation=0.8) == 3
    assert replicas_for(question, "b", two, utilisation=0.79) == 4
    assert replicas_for(replace(question, rate_rps=0.0), "b", two) == 1
    batch = Fixed("large", 1, 1, 8)
    assert replica_rate(question, "b", batch) == pytest.approx(8 / (7.3 * 0.16))


def test_a_capacity_table_gives_rates_and_knows_no_batches() -> None:
    pipeline, _ = make_chain({"a": {"v": (0.9, 0.01)}})
    rows = tuple(CapacityPoint(n, 20.0 * n, 0.3 / n) for n in (1, 2, 4))
    question = PlanRequest(
        pipeline, Profile({"a": {"v": VariantProfile("a", "v", (), capacity=rows)}}), 50.0, Limits(cores=8.0)
    )
    chosen = fixed_choice(question, "a", FixedSettings())
    assert chosen == Fixed("v", 1, 1, 1), "the table's 300 ms have waiting in them, and may take all of the 400 ms"
    assert replicas_for(question, "a", chosen) == 3
    tight = replace(question, pipeline=replace(pipeline, slo=replace(pipeline.slo, latency_s=0.2)))
    assert fixed_choice(tight, "a", FixedSettings()) == Fixed("v", 2, 1, 1)
    with pytest.raises(PlanRequestError, match=r"task a: no variant of this task was measured.*batches of 4"):
        fixed_choice(question, "a", FixedSettings(batch=4))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (FixedSettings(variants={"x": "large"}), "task that the pipeline lacks.*got x, wanted one of a, b"),
        (FixedSettings(cores={"x": 1}), "task that the pipeline lacks"),
        (FixedSettings(variants={"a": "huge"}), "task a: .*variant that the task lacks: got huge"),
        (FixedSettings(cores={"a": 3}), "task a, variant large: .*got 3 cores, wanted one of 1, 2, 4"),
    ],
)
def test_settings_that_do_not_fit_the_pipeline_are_refused(settings: FixedSettings, words: str) -> None:
    with pytest.raises(PlanRequestError, match=words):
        fixed_choice(request(), "a", settings)


def test_a_variant_that_was_not_measured_is_refused_or_passed_over() -> None:
    question = request()
    measured = {"large": replace(question.profile.variants["a"]["large"], points=())}
    lacking = replace(
        question, profile=Profile({**question.profile.variants, "a": {**question.profile.variants["a"], **measured}})
    )
    assert fixed_choice(lacking, "a", FixedSettings()).variant == "small"
    with pytest.raises(
        PlanRequestError, match=r"the variant was not measured.*got large, 20 cores, wanted one of small"
    ):
        fixed_choice(lacking, "a", FixedSettings(variants={"a": "large"}))
    with pytest.raises(PlanRequestError, match=r"no variant of this task was measured.*got 0\.5 cores"):
        fixed_choice(request(cores=0.5), "a", FixedSettings())


@pytest.mark.parametrize(
    "wrong", [{"cores": {"a": 0}}, {"batch": 0}, {"slo_share": 0.0}, {"slo_share": 1.1}, {"pin": "best"}]
)
def test_settings_without_meaning_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FixedSettings(**wrong)  # type: ignore[arg-type]


def test_the_pipelines_file_overrides_them() -> None:
    pipeline = replace(request().pipeline, policies={"p": {"variants": {"a": "small"}, "batch": 4}})
    assert override(FixedSettings(), pipeline, "p") == FixedSettings(variants={"a": "small"}, batch=4)


def test_limits_are_shared_in_proportion() -> None:
    one = Fixed("large", 1, 1, 1)
    wanted = {"a": (one, 10), "b": (one, 30)}
    plans = fixed_plan(request(cores=20.0), wanted)
    assert {t: p.allocations[0].replicas for t, p in plans.items()} == {"a": 5, "b": 15}
    assert plans["a"].resident == ("large",)
    assert plans["a"].may_use == ()
    assert cut_words(wanted, plans) == (
        "a: 5 of 10 replicas, all that the limits leave",
        "b: 15 of 30 replicas, all that the limits leave",
    )
    assert cut_words({"a": (one, 5)}, plans) == ()


def test_what_one_task_cannot_take_the_other_gets() -> None:
    wanted = {"a": (Fixed("large", 4, 4, 1), 4), "b": (Fixed("large", 1, 1, 1), 4)}
    # 4 + 1, then 4 to whichever has the least share: after one more of a no room is left for a third.
    plans = fixed_plan(request(cores=11.0), wanted)
    assert {t: p.allocations[0].replicas for t, p in plans.items()} == {"a": 2, "b": 3}


def test_every_kind_of_limit_holds() -> None:
    one = Fixed("large", 1, 1, 1)
    wanted = {"a": (one, 8), "b": (one, 8)}

    def replicas(**limits: object) -> tuple[int, ...]:
        return tuple(p.allocations[0].replicas for p in fixed_plan(request(**limits), wanted).values())  # type: ignore[arg-type]

    assert replicas() == (8, 8)
    assert replicas(replicas_per_task=3) == (3, 3)
    assert replicas(replicas=5) == (3, 2)
    assert replicas(memory_bytes=700) == (4, 3)
    rented = Prices(instances={"m": Instance("m", cores=2, per_second=1.0 / 3600.0)})
    question = request(cost_per_hour=5.0)
    priced = replace(question, pipeline=replace(question.pipeline, prices=rented))
    # A group shares its machines of two cores with no other: five machines are 4 + 6 or 6 + 4 replicas.
    assert tuple(p.allocations[0].replicas for p in fixed_plan(priced, wanted).values()) == (6, 4)
    with pytest.raises(PlanRequestError, match="cost is limited, and nothing has a price"):
        fixed_plan(question, wanted)
    for limits in ({"cores": 1.5}, {"memory_bytes": 199}, {"replicas": 1}, {"replicas_per_task": 0}):
        with pytest.raises(PlanRequestError, match="no room for one replica of every task"):
            replicas(**limits)


@given(
    sizes=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4])),
    counts=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    cores=st.integers(8, 60),
    replicas=st.none() | st.integers(2, 40),
    memory=st.none() | st.integers(2, 40),
)
def test_shares_are_fair_and_nothing_is_left_that_could_be_given(
    sizes: tuple[int, int], counts: tuple[int, int], cores: int, replicas: int | None, memory: int | None
) -> None:
    limit = None if memory is None else 100 * memory
    question = request(cores=float(cores), replicas=replicas, memory_bytes=limit, replicas_per_task=25)
    kinds = {task: Fixed("large", size, 1, 1) for task, size in zip("ab", sizes, strict=True)}
    wanted = {task: (kinds[task], count) for task, count in zip("ab", counts, strict=True)}
    plans = fixed_plan(question, wanted)
    plan = Plan(plans, 1.0)
    assert constrain(plan, question.pipeline, question.profile, question.limits)[0] == plan
    held = {task: plans[task].allocations[0].replicas for task in "ab"}
    asked = {task: min(count, 25) for task, (_, count) in wanted.items()}

    def fits(more: dict[str, int]) -> bool:
        total = sum(more.values())
        within = sum(kinds[t].cores * n for t, n in more.items()) <= cores
        return within and total <= (replicas or math.inf) and total <= (memory or math.inf)

    for task, other in (("a", "b"), ("b", "a")):
        assert 1 <= held[task] <= asked[task]
        if held[task] < asked[task]:
            assert not fits({**held, task: held[task] + 1}), "a replica was left over"
            if (held[other] - 1) / asked[other] > held[task] / asked[task] + 1e-12:
                assert not fits({task: held[task] + 1, other: held[other] - 1}), (
                    "the other has what is this one's share"
                )


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("hpa", ["hpa"]),
        ("vpa", ["vpa", "vpa+"]),
        ("autopilot", ["autopilot"]),
        ("mark", ["mark"]),
        ("infaas", ["infaas"]),
    ],
)
def test_every_setting_is_told_on_the_policys_page(page: str, names: list[str]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "policies" / f"{page}.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 45, "a page is a screen"
    for name in names:
        policy = make_policy(name)
        assert f"`{name}`" in text
        settings = policy.defaults  # type: ignore[attr-defined]  # these have some
        assert isinstance(settings, FixedSettings)
        missing = [field.name for field in fields(settings) if f"`{field.name}`" not in text]
        assert not missing, f"not on the page: {missing}"


def test_what_is_remembered_of_one_question_is_not_told_of_another() -> None:
    question = request()
    slower = Profile(
        {
            task: {
                name: replace(
                    known, points=tuple(replace(p, mean_s=8 * p.mean_s, quantiles_s={}) for p in known.points)
                )
                for name, known in variants.items()
            }
            for task, variants in question.profile.variants.items()
        }
    )
    for _ in range(2):
        assert fixed_choice(question, "b", FixedSettings()) == Fixed("large", 2, 2, 1)
        assert fixed_choice(replace(question, profile=slower), "b", FixedSettings()) == Fixed("large", 4, 4, 1)
        assert fixed_choice(replace(question, limits=Limits(cores=1.0)), "b", FixedSettings()).cores == 1
        assert fixed_choice(question, "b", FixedSettings(variants={"b": "small"})).variant == "small"
        parts = slo_parts(question, FixedSettings())
        parts["b"] = 0.0
