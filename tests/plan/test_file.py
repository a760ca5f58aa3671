"""A plan as JSON: what is written reads back, what is wrong is told by its place in the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlanRequestError
from trimtab.plan.explain import explain
from trimtab.plan.file import PlanAnswer, PlanContent, format_json, parse_plan, read_plan
from trimtab.plan.model import Allocation, Limits, Plan, PlanRequest, Scenario, TaskPlan
from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline
from trimtab.testing import make_chain

TASKS = {
    "find": {"light": (0.9, 0.004), "heavy": (0.97, 0.02)},
    "read": {"light": (0.85, 0.004), "heavy": (0.96, 0.05)},
}
PIPELINE, PROFILE = make_chain(TASKS)
READ = {"allocations": [{"variant": "light", "replicas": 1, "cores": 1}]}


@st.composite
def task_plans(draw: st.DrawFn, task: str) -> TaskPlan:
    share = draw(st.sampled_from((1.0, 0.5, 0.3, 1.0 / 3.0)))
    groups = [
        Allocation(
            variant=variant,
            replicas=draw(st.integers(1, 9)),
            cores=threads * draw(st.integers(1, 4)),
            threads=threads,
            batch=draw(st.integers(1, 64)),
            share=part,
            instance=draw(st.sampled_from((None, "m.large", "serverless"))),
        )
        for variant, part in (("light", share), ("heavy", 1.0 - share))
        if part > 0.0
        for threads in (draw(st.integers(1, 3)),)
    ]
    resident = tuple(draw(st.permutations(("light", "heavy"))))
    return TaskPlan(task, tuple(groups), resident, may_use=resident[: draw(st.integers(0, 2))])


@given(task_plans("find"), task_plans("read"), st.floats(0.0, 1e6))
def test_a_plan_reads_back(find: TaskPlan, read: TaskPlan, rate_rps: float) -> None:
    plan = Plan({"find": find, "read": read}, rate_rps)
    text = format_json(PlanContent.of(plan))
    assert parse_plan(text, PIPELINE) == plan
    assert parse_plan(f'{{"pipeline": "chain", "estimate": null, "plan": {text}}}', PIPELINE) == plan
    assert json.loads(text)["id"] == plan.id


def test_a_plan_may_be_short(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"tasks": {"find": READ, "read": READ}}))
    plan = read_plan(path, PIPELINE)
    assert plan.tasks["find"] == TaskPlan("find", (Allocation("light", 1, 1, threads=1, batch=1),), ("light",))
    assert plan.rate_rps == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"allocations": []}, "p.json: plan.tasks.find.allocations: not a plan: expected `array` of length >= 1"),
        ({"allocations": [{"variant": "light", "replicas": 0, "cores": 1}]}, "find.allocations[0].replicas: not a"),
        ({"allocations": [{"variant": "light", "cores": 1}]}, "missing required field `replicas`"),
        ({"allocations": [{**READ["allocations"][0], "bach": 4}]}, "unknown field `bach`"),
        ({"allocations": [{**READ["allocations"][0], "variant": "hevy"}]}, "did you mean 'heavy'?"),
        ({"allocations": [{**READ["allocations"][0], "threads": 2}]}, "2 threads on 1 cores"),
        ({"allocations": [{**READ["allocations"][0], "share": 0.5}]}, "got a sum of 0.5, wanted 1"),
        ({**READ, "resident": ["heavy"]}, "find.resident: the variant that is allocated is not resident: wanted light"),
        ({**READ, "resident": ["light", "x"]}, "find.resident[1]: the pipeline has no such variant"),
        ({**READ, "may_use": ["heavy"]}, "find.may_use[0]: a variant that is not resident cannot be used"),
        ({**READ, "task": "read"}, "find.task: the plan stands under another task's name: got read"),
        (3, "plan.tasks.find: not a plan: expected `object`, got `int`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_place(change: Any, words: str) -> None:
    with pytest.raises(PlanRequestError) as caught:
        parse_plan(json.dumps({"plan": {"tasks": {"find": change, "read": READ}}}), PIPELINE, "p.json")
    assert words in str(caught.value)


def test_all_that_is_wrong_is_told_together() -> None:
    with pytest.raises(PlanRequestError) as caught:
        parse_plan(json.dumps({"tasks": {"find": 1, "reed": READ}}), PIPELINE, "p.json")
    for words in (
        "p.json: tasks.find: not a plan",
        "p.json: tasks.read: the plan leaves out this task",
        "p.json: tasks.reed: the pipeline has no such task; is this the plan of another one?",
        "did you mean 'read'?",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "wanted JSON"),
        ("{", "wanted JSON"),
        ("\xff", "wanted JSON"),
        ("[]", "expected `object`, got `array`"),
        ("{}", "there is no plan in this file"),
        ('{"plan": null}', "p.json: plan: not a plan: expected `object`, got `null`"),
        ('{"plan": {"id": "x"}}', "there is no plan in this file"),
        ('{"tasks": {}, "rate_rps": -1}', "rate_rps"),
    ],
)
def test_what_is_no_plan_is_an_error(text: str, words: str) -> None:
    with pytest.raises(PlanRequestError) as caught:
        parse_plan(text.encode("latin-1"), PIPELINE, "p.json")
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(PlanRequestError, match="the plan cannot be read"):
            read_plan(path, PIPELINE)


def ask(pipeline: Pipeline, profile: Profile, **more: Any) -> PlanAnswer:
    request = PlanRequest(pipeline, profile, 20.0, Limits(4.0), **more)
    policy = make_policy("trimtab")
    return PlanAnswer.of(request, explain(policy, request, policy.propose(request)), plan_time_s=0.1, compiled=False)


def test_the_answer_says_what_a_change_waits_for() -> None:
    loads = {
        task: {name: replace(v, load_time_s=2.0) for name, v in variants.items()}
        for task, variants in PROFILE.variants.items()
    }
    profile = Profile(loads)
    assert ask(PIPELINE, profile).switching is None
    light = Plan({task: TaskPlan(task, (Allocation("light", 4, 1, 1, 1),), ("light",)) for task in TASKS}, 1.0)
    switching = ask(PIPELINE, profile, current=light).switching
    assert switching is not None
    assert switching.from_id == light.id
    assert switching.load_s == sum(switching.tasks.values()) == 4.0


def test_the_answer_says_which_scenarios_are_held() -> None:
    scenarios = tuple(Scenario(rate_rps, 0.25) for rate_rps in (5.0, 20.0, 5000.0))
    answer = ask(PIPELINE, PROFILE, scenarios=scenarios, hold_probability=0.5)
    assert [s.held for s in answer.scenarios] == [True, True, False]
    assert answer.rate_rps == 20.0
    assert answer.sustained_rps >= 20.0
