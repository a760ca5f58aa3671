"""Sharing an end-to-end deadline over tasks, following plans, and learning from what is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.dispatch.pipeline import PipelineDispatcher
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant

SECONDS = {"find": {"find-s": 0.002, "find-l": 0.010}, "read": {"read-s": 0.004, "read-l": 0.040}}
ACCURACY = {"find-s": 0.8, "find-l": 0.9, "read-s": 0.85, "read-l": 0.97}


def pipeline() -> Pipeline:
    tasks = {
        name: Task(
            name=name,
            variants={v: Variant(v, Path(f"{v}.onnx"), ACCURACY[v]) for v in SECONDS[name]},
            after=() if name == "find" else (Edge("find"),),
        )
        for name in SECONDS
    }
    return Pipeline("scene", tasks, Slo(latency_s=0.4))


def profile() -> Profile:
    def points(seconds: float) -> tuple[ServicePoint, ...]:
        return tuple(
            ServicePoint(1, 1, b, mean_s=seconds * b, quantiles_s={0.5: seconds * b, 0.99: seconds * b}, samples=100)
            for b in (1, 2, 4)
        )

    return Profile(
        {
            task: {v: VariantProfile(task, v, points(s)) for v, s in variants.items()}
            for task, variants in SECONDS.items()
        }
    )


def plan(find: str, read: str, *, may_use: bool, batch: int = 4) -> Plan:
    def task(name: str, variant: str) -> TaskPlan:
        others = tuple(v for v in SECONDS[name] if v != variant)
        return TaskPlan(name, (Allocation(variant, 1, 1, 1, batch),), tuple(SECONDS[name]), others if may_use else ())

    return Plan({"find": task("find", find), "read": task("read", read)}, rate_rps=10.0)


@pytest.fixture
def dispatcher() -> PipelineDispatcher[str]:
    made: PipelineDispatcher[str] = PipelineDispatcher(pipeline(), profile())
    made.follow(plan("find-l", "read-l", may_use=True))
    return made


def test_time_left_is_shared_in_proportion_to_planned_times(dispatcher: PipelineDispatcher[str]) -> None:
    # find-l 10 ms, read-l 40 ms: `find` gets a fifth of what is left. With 45 ms left that is 9 ms: find-s it is.
    find = dispatcher.tasks["find"]
    find.push("calm", 0.400)
    batch, lost = find.next_batch(0.0, 1, 1)
    assert batch is not None
    assert (batch.variant, batch.items, lost) == ("find-l", ("calm",), ())
    find.push("hurried", 0.045)
    batch, lost = find.next_batch(0.0, 1, 1)
    assert batch is not None
    assert (batch.variant, lost) == ("find-s", ())


def test_what_later_tasks_need_at_least_is_kept_for_them(dispatcher: PipelineDispatcher[str]) -> None:
    # read-s takes 4 ms, find-s 2 ms: with 5.9 ms left nothing can save the request, with 6.1 ms the fastest way can.
    find = dispatcher.tasks["find"]
    find.push("lost", 0.0059)
    find.push("saved", 0.0061)
    batch, lost = find.next_batch(0.0, 1, 1)
    assert lost == ("lost",)
    assert batch is not None
    assert (batch.variant, batch.items) == ("find-s", ("saved",))


def test_a_plan_without_may_use_fixes_the_variant() -> None:
    dispatcher: PipelineDispatcher[str] = PipelineDispatcher(pipeline(), profile())
    dispatcher.follow(plan("find-l", "read-l", may_use=False))
    read = dispatcher.tasks["read"]
    read.push("hurried", 0.030)
    batch, lost = read.next_batch(0.0, 1, 1)
    assert batch is None
    assert lost == ("hurried",)


def test_a_new_plan_is_followed_from_the_next_batch_on(dispatcher: PipelineDispatcher[str]) -> None:
    read = dispatcher.tasks["read"]
    read.push("a", 1.0)
    dispatcher.follow(plan("find-s", "read-s", may_use=False))
    batch, _ = read.next_batch(0.0, 1, 1)
    assert batch is not None
    assert batch.variant == "read-s"


def test_a_queue_is_batched_up_to_the_plan(dispatcher: PipelineDispatcher[str]) -> None:
    find = dispatcher.tasks["find"]
    for i in range(6):
        find.push(f"r{i}", 1.0 + i)
    batch, _ = find.next_batch(0.0, 1, 1)
    assert batch is not None
    assert batch.items == ("r0", "r1", "r2", "r3")
    assert batch.expected_s == pytest.approx(0.040)


def test_measured_times_correct_the_profile(dispatcher: PipelineDispatcher[str]) -> None:
    read = dispatcher.tasks["read"]
    for _ in range(100):
        assert read.record("read-l", 1, measured_s=0.080) == pytest.approx(0.040)
    dispatcher.split_deadlines()
    assert read.planned_s("read-l") == pytest.approx(0.080, rel=1e-3)
    assert dispatcher.tasks["find"].planned_s("find-l") == pytest.approx(0.010)


def test_admission_counts_the_backlog_of_every_task_on_the_way(dispatcher: PipelineDispatcher[str]) -> None:
    idle, one = {"find": 0, "read": 0}, {"find": 1, "read": 1}
    assert dispatcher.predicted_response_s(idle, one) == pytest.approx(0.006)
    for i in range(50):
        dispatcher.tasks["read"].push(f"r{i}", 1.0)
    assert dispatcher.predicted_response_s(idle, one) == pytest.approx(0.002 + (50 * 0.004 - 0.002) + 0.004)
    assert dispatcher.predicted_response_s(idle, one, frozenset({"find"})) == pytest.approx(0.002)


def test_a_variant_that_was_not_profiled_at_this_shape_is_left_alone() -> None:
    measured = profile()
    lacking = VariantProfile("read", "read-s", (replace(measured.variants["read"]["read-s"].points[0], cores=2),))
    variants = {**measured.variants, "read": {**measured.variants["read"], "read-s": lacking}}
    dispatcher: PipelineDispatcher[str] = PipelineDispatcher(pipeline(), Profile(variants))
    dispatcher.follow(plan("find-l", "read-l", may_use=False))
    dispatcher.tasks["read"].push("a", 1.0)
    batch, _ = dispatcher.tasks["read"].next_batch(0.0, 1, 1)
    assert batch is not None
    assert batch.variant == "read-l"


def test_admission_counts_nobody_who_is_less_urgent(dispatcher: PipelineDispatcher[str]) -> None:
    idle, one = {"find": 0, "read": 0}, {"find": 1, "read": 1}
    for i in range(50):
        dispatcher.tasks["read"].push(f"usual {i}", 1.0, 5)
    for i in range(10):
        dispatcher.tasks["read"].push(f"urgent {i}", 1.0, 2)
    alone_s = 0.002 + 0.004
    assert dispatcher.predicted_response_s(idle, one, level=1) == pytest.approx(alone_s)
    assert dispatcher.predicted_response_s(idle, one, level=2) == pytest.approx(alone_s + 10 * 0.004 - 0.002)
    assert dispatcher.predicted_response_s(idle, one, level=5) == pytest.approx(alone_s + 60 * 0.004 - 0.002)
    assert dispatcher.predicted_response_s(idle, one) == dispatcher.predicted_response_s(idle, one, level=9)


def test_a_mix_has_the_time_of_its_slowest_planned_variant() -> None:
    dispatcher: PipelineDispatcher[str] = PipelineDispatcher(pipeline(), profile())
    single = plan("find-l", "read-l", may_use=True)
    halves = (Allocation("read-s", 1, 1, 1, 4, 0.5), Allocation("read-l", 1, 1, 1, 4, 0.5))
    mixed = replace(single.tasks["read"], allocations=halves)
    dispatcher.follow(Plan({**single.tasks, "read": mixed}, rate_rps=10.0))
    dispatcher.tasks["read"].serve_with([1, 1])
    # find-l 10 ms, read-l 40 ms: with 49 ms left `find` has 9.8 ms: find-s it is. Before read-s it would have had 35.
    find = dispatcher.tasks["find"]
    find.push("a", 0.049)
    batch, lost = find.next_batch(0.0, 1, 1)
    assert batch is not None
    assert (batch.variant, lost) == ("find-s", ())
    assert dispatcher.predicted_response_s({"find": 0, "read": 0}, {"find": 1, "read": 2}) == pytest.approx(0.006)
