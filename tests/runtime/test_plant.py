"""The local plant with real worker processes: the plants' contract, in-place changes under load, lost workers."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests import models

from trimtab.control.protocols import Capabilities, Decision, Plant
from trimtab.errors import ModelError, PlantError, RefusedError
from trimtab.observe.model import Outcomes
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.service import InferRequest, InferResponse
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant
from trimtab.testing import check_plant

pytestmark = pytest.mark.live

TWO_CORES = pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores")
SHAPES = ((1, 1), (2, 1), (2, 2))


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """y = x + 1 or x + 2, then z = 10 y or 100 y: which variants answered can be read off the numbers."""
    first = {
        "plus-two": Variant("plus-two", models.affine(tmp_path / "p2.onnx", scale=1, offset=2), 0.9),
        "plus-one": Variant("plus-one", models.affine(tmp_path / "p1.onnx", scale=1, offset=1), 0.8),
    }
    second = {
        "hundred": Variant(
            "hundred", models.affine(tmp_path / "h.onnx", scale=100, offset=0, name="y", output="z"), 0.9
        ),
        "ten": Variant("ten", models.affine(tmp_path / "t.onnx", scale=10, offset=0, name="y", output="z"), 0.8),
    }
    return Pipeline("sums", {"add": Task("add", first), "times": Task("times", second, (Edge("add"),))}, Slo(5.0))


def a_profile(pipeline: Pipeline) -> Profile:
    def points() -> tuple[ServicePoint, ...]:
        return tuple(
            ServicePoint(c, t, b, 0.001 * b, {0.5: 0.001 * b, 0.99: 0.002 * b}, 9) for c, t in SHAPES for b in (1, 4)
        )

    return Profile(
        {t.name: {v: VariantProfile(t.name, v, points()) for v in t.variants} for t in pipeline.tasks.values()}
    )


def a_plan(
    pipeline: Pipeline,
    add: str,
    times: str,
    *,
    replicas: int = 1,
    cores: int = 1,
    threads: int = 1,
    all_resident: bool = True,
) -> Plan:
    def task(name: str, variant: str) -> TaskPlan:
        group = Allocation(variant, replicas, cores, threads, 4)
        return TaskPlan(name, (group,), tuple(pipeline.tasks[name].variants) if all_resident else (variant,))

    return Plan({"add": task("add", add), "times": task("times", times)}, 1.0)


def decide(plan: Plan) -> Decision:
    return Decision(0, 0.0, plan, feasible=True, changed=True, actions=(), steps=())


@asynccontextmanager
async def a_plant(pipeline: Pipeline, cores: int = 1) -> AsyncIterator[LocalPlant]:
    plant = LocalPlant(pipeline, a_profile(pipeline), check_interfaces(pipeline), Metrics(pipeline), cores)
    try:
        yield plant
    finally:
        await plant.stop(1.0)
        assert not psutil.Process().children(recursive=True), "the plant left processes behind"


async def ask(plant: LocalPlant, value: float = 1.0) -> InferResponse:
    return await plant.data_plane.infer(InferRequest("sums", {"x": np.full((1, 4), value, np.float32)}))


def number(answer: InferResponse) -> float:
    return float(answer.outputs["z"].ravel()[0])


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


@TWO_CORES
def test_the_local_plant_keeps_the_plants_contract(pipeline: Pipeline) -> None:
    plans = [
        a_plan(pipeline, "plus-two", "hundred"),
        a_plan(pipeline, "plus-one", "hundred"),
        a_plan(pipeline, "plus-one", "ten", all_resident=False),
    ]

    async def send(plant: Plant, count: int) -> None:
        assert isinstance(plant, LocalPlant)
        await plant.ready()
        await asyncio.gather(*(ask(plant, float(i)) for i in range(count)))

    run(lambda: check_plant(lambda: a_plant(pipeline, 2), plans, send=send))


@TWO_CORES
def test_a_switch_of_variant_under_load_fails_nothing_and_restarts_nothing(pipeline: Pipeline) -> None:
    async def story() -> None:
        async with a_plant(pipeline, 2) as plant:
            await plant.apply(decide(a_plan(pipeline, "plus-two", "hundred")))
            await plant.ready()
            workers = {p.pid for p in psutil.Process().children()}
            seen = set()
            for turn in range(8):
                asking = [asyncio.ensure_future(ask(plant, 1.0)) for _ in range(20)]
                await asyncio.sleep(0.002)
                plan = a_plan(pipeline, ("plus-one", "plus-two")[turn % 2], ("ten", "hundred")[turn // 2 % 2])
                await plant.apply(decide(plan))
                seen |= {number(answer) for answer in await asyncio.gather(*asking)}
                assert number(await ask(plant)) == (2.0, 3.0)[turn % 2] * (10, 100)[turn // 2 % 2]
            assert seen == {20.0, 30.0, 200.0, 300.0}
            outcomes = (await plant.observe()).outcomes
            assert outcomes == Outcomes(in_time=outcomes.ended)
            assert {p.pid for p in psutil.Process().children()} == workers

    run(story)


@TWO_CORES
def test_cores_and_replicas_change_in_place(pipeline: Pipeline) -> None:
    only = Pipeline("sums", {"add": replace(pipeline.tasks["add"])}, Slo(5.0))

    def plan(replicas: int, cores: int, threads: int) -> Plan:
        group = Allocation("plus-one", replicas, cores, threads, 4)
        return Plan({"add": TaskPlan("add", (group,), ("plus-one",))}, 1.0)

    async def story() -> None:
        async with a_plant(only, 2) as plant:
            ids = sorted(os.sched_getaffinity(0))[:2]
            await plant.apply(decide(plan(1, 2, 1)))
            await plant.ready()
            (worker,) = psutil.Process().children()
            assert worker.cpu_affinity() == ids
            await plant.apply(decide(plan(1, 1, 1)))
            assert worker.cpu_affinity() == ids[:1]
            await plant.apply(decide(plan(2, 1, 1)))
            await plant.ready()
            workers = psutil.Process().children()
            assert worker in workers
            assert sorted(w.cpu_affinity() for w in workers) == [ids[:1], ids[1:]]
            await plant.apply(decide(plan(1, 2, 2)))
            assert worker.cpu_affinity() == ids
            async with asyncio.timeout(10):
                while len(psutil.Process().children()) > 1:  # noqa: ASYNC110 — a process's end sets no event here
                    await asyncio.sleep(0.01)
            assert psutil.Process().children() == [worker]
            assert (await plant.data_plane.infer(InferRequest("add", {"x": np.ones((1, 4), np.float32)}))).version

    run(story)


@TWO_CORES
def test_a_task_is_served_by_groups_that_share_its_traffic(pipeline: Pipeline) -> None:
    only = Pipeline("sums", {"add": replace(pipeline.tasks["add"])}, Slo(5.0))
    both = ("plus-two", "plus-one")

    def plan(*groups: tuple[str, int, float]) -> Plan:
        allocations = tuple(Allocation(variant, replicas, 1, 1, 4, share) for variant, replicas, share in groups)
        return Plan({"add": TaskPlan("add", allocations, both)}, 1.0)

    async def answers(plant: LocalPlant, count: int) -> list[float]:
        request = InferRequest("add", {"x": np.ones((1, 4), np.float32)})
        asked = [await plant.data_plane.infer(request) for _ in range(count)]
        return [float(answer.outputs["y"].ravel()[0]) for answer in asked]

    async def story() -> None:
        async with a_plant(only, 2) as plant:
            assert plant.capabilities.max_allocations_per_task > 1
            await plant.apply(decide(plan(("plus-one", 1, 0.5), ("plus-two", 1, 0.5))))
            await plant.ready()
            workers = {p.pid for p in psutil.Process().children()}
            seen = await answers(plant, 20)
            assert (seen.count(2.0), seen.count(3.0)) == (10, 10)
            await plant.apply(decide(plan(("plus-two", 1, 0.25), ("plus-one", 1, 0.75))))
            seen = await answers(plant, 20)
            assert (seen.count(2.0), seen.count(3.0)) == (15, 5)
            await plant.apply(decide(plan(("plus-two", 2, 1.0))))
            assert set(await answers(plant, 6)) == {3.0}
            await plant.apply(decide(plan(("plus-one", 1, 0.5), ("plus-two", 1, 0.5))))
            assert set(await answers(plant, 6)) == {2.0, 3.0}
            assert {p.pid for p in psutil.Process().children()} == workers
            assert (await plant.observe()).outcomes == Outcomes(in_time=52)

    run(story)


def test_a_clock_that_leaps_forward_refuses_and_breaks_nothing(pipeline: Pipeline) -> None:
    only = Pipeline("sums", {"add": replace(pipeline.tasks["add"])}, Slo(5.0))
    leapt_s = 0.0

    async def story() -> None:
        nonlocal leapt_s
        metrics, wiring = Metrics(only), check_interfaces(only)
        plant = LocalPlant(only, a_profile(only), wiring, metrics, 1, lambda: time.monotonic() + leapt_s)
        try:
            group = Allocation("plus-one", 1, 1, 1, 4)
            await plant.apply(decide(Plan({"add": TaskPlan("add", (group,), ("plus-one",))}, 1.0)))
            await plant.ready()
            request = InferRequest("add", {"x": np.ones((1, 4), np.float32)})
            await plant.data_plane.infer(request)
            await plant.observe()
            leapt_s = 60.0
            answers = await asyncio.gather(*(plant.data_plane.infer(request) for _ in range(20)))
            assert len(answers) == 20
            seen = await plant.observe()
            assert seen.outcomes.ended == seen.outcomes.in_time == 20
            assert seen.window_s >= 60.0
            assert seen.arrivals.count(None) >= 58
            assert sum(count or 0 for count in seen.arrivals) in (0, 1, 20, 21)
        finally:
            await plant.stop(1.0)

    run(story)


@TWO_CORES
def test_what_a_replica_does_not_finish_when_it_is_taken_away_is_done_elsewhere(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.runtime.plant.DRAIN_S", 0.1)
    monkeypatch.setattr("trimtab.runtime.plant.STOP_S", 0.1)
    only = Pipeline("sums", {"add": replace(pipeline.tasks["add"])}, Slo(5.0))

    def plan(replicas: int) -> Plan:
        return Plan({"add": TaskPlan("add", (Allocation("plus-one", replicas, 1, 1, 4),), ("plus-one",))}, 1.0)

    async def story() -> None:
        async with a_plant(only, 2) as plant:
            await plant.apply(decide(plan(1)))
            await plant.ready()
            (old,) = psutil.Process().children()
            await plant.apply(decide(plan(2)))
            await plant.ready()
            (young,) = (p for p in psutil.Process().children() if p != old)
            young.send_signal(signal.SIGSTOP)
            request = InferRequest("add", {"x": np.ones((1, 4), np.float32)})
            asking = [asyncio.ensure_future(plant.data_plane.infer(request)) for _ in range(2)]
            await asyncio.sleep(0)
            await plant.apply(decide(plan(1)))
            answers = await asyncio.gather(*asking)
            assert [float(answer.outputs["y"].ravel()[0]) for answer in answers] == [2.0, 2.0]
            assert (await plant.observe()).outcomes == Outcomes(in_time=2)

    run(story)


@TWO_CORES
def test_a_restarted_worker_does_without_a_variant_whose_file_broke(pipeline: Pipeline) -> None:
    only = Pipeline("sums", {"add": replace(pipeline.tasks["add"])}, Slo(5.0))

    async def story() -> None:
        async with a_plant(only, 1) as plant:
            group = Allocation("plus-one", 1, 1, 1, 4)
            await plant.apply(decide(Plan({"add": TaskPlan("add", (group,), ("plus-one", "plus-two"))}, 1.0)))
            await plant.ready()
            path = only.tasks["add"].variants["plus-two"].model
            assert path is not None
            models.corrupt(path)
            psutil.Process().children()[0].kill()
            while not plant.failed.held_back() or not plant.data_plane.ready():  # noqa: ASYNC110 — a level, no event
                await asyncio.sleep(0.01)
            assert plant.failed.held_back() == {("add", "plus-two")}
            assert (await plant.data_plane.infer(InferRequest("add", {"x": np.ones((1, 4), np.float32)}))).version

    run(story)


@TWO_CORES
def test_a_killed_worker_is_replaced_and_no_other_request_is_lost(pipeline: Pipeline) -> None:
    async def story() -> None:
        async with a_plant(pipeline, 2) as plant:
            await plant.apply(decide(a_plan(pipeline, "plus-one", "ten")))
            await plant.ready()
            victim = psutil.Process().children()[0]
            asking = []
            for i in range(60):
                asking.append(asyncio.ensure_future(ask(plant, 1.0)))
                if i == 20:
                    victim.send_signal(signal.SIGKILL)
                await asyncio.sleep(0.005)
            answers = await asyncio.gather(*asking, return_exceptions=True)
            assert {number(a) for a in answers if isinstance(a, InferResponse)} == {20.0}
            refused = [a for a in answers if not isinstance(a, InferResponse)]
            assert all(isinstance(a, RefusedError) and a.reason == "not_ready" for a in refused), refused
            async with asyncio.timeout(20):
                while not plant.data_plane.ready():  # noqa: ASYNC110 — readiness is a level, not an event
                    await asyncio.sleep(0.01)
            assert number(await ask(plant)) == 20.0
            outcomes = (await plant.observe()).outcomes
            assert outcomes == Outcomes(in_time=61 - len(refused), refused=len(refused))

    run(story)


@TWO_CORES
def test_a_worker_that_is_stopped_is_ended_and_replaced(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.runtime.batches.STUCK_AFTER_S", 0.2)

    async def story() -> None:
        async with a_plant(pipeline, 2) as plant:
            await plant.apply(decide(a_plan(pipeline, "plus-one", "ten")))
            await plant.ready()
            for worker in psutil.Process().children():
                worker.send_signal(signal.SIGSTOP)
            assert number(await ask(plant)) == 20.0

    run(story)


@TWO_CORES
def test_a_variant_that_is_not_resident_is_loaded_before_it_is_used(pipeline: Pipeline) -> None:
    async def story() -> None:
        async with a_plant(pipeline, 2) as plant:
            await plant.apply(decide(a_plan(pipeline, "plus-one", "ten", all_resident=False)))
            await plant.ready()
            assert number(await ask(plant)) == 20.0
            await plant.apply(decide(a_plan(pipeline, "plus-two", "ten", all_resident=False)))
            assert number(await ask(plant)) == 30.0

    run(story)


@TWO_CORES
def test_a_corrupt_model_on_a_switch_leaves_the_old_plan_serving(pipeline: Pipeline) -> None:
    async def story() -> None:
        async with a_plant(pipeline, 2) as plant:
            before = a_plan(pipeline, "plus-one", "ten", all_resident=False)
            await plant.apply(decide(before))
            await plant.ready()
            path = pipeline.tasks["add"].variants["plus-two"].model
            assert path is not None
            models.corrupt(path)
            with pytest.raises(PlantError, match="'plus-two' cannot be loaded"):
                await plant.apply(decide(a_plan(pipeline, "plus-two", "hundred", all_resident=False)))
            assert number(await ask(plant)) == 20.0
            assert (await plant.observe()).plan_id == before.id

    run(story)


@TWO_CORES
def test_a_plan_that_the_machine_cannot_follow_is_refused_whole(pipeline: Pipeline) -> None:
    good = a_plan(pipeline, "plus-one", "ten")
    group = good.tasks["add"].allocations[0]

    def changed(**fields: object) -> Plan:
        allocation = replace(group, **fields)  # type: ignore[arg-type]  # mixed keywords
        return Plan({**good.tasks, "add": TaskPlan("add", (allocation,), ("plus-one",))}, 1.0)

    bad = [
        (changed(replicas=3), "too many cores"),
        (changed(cores=2, threads=1, replicas=2), "too many cores"),
        (changed(batch=0), "at least one"),
        (changed(variant="plus-three"), "no variant 'plus-three'"),
        (Plan({"add": good.tasks["add"]}, 1.0), "other tasks"),
        (Plan({**good.tasks, "add": TaskPlan("add", (), ("plus-one",))}, 1.0), "groups of replicas, or none"),
    ]

    async def story() -> None:
        async with a_plant(pipeline, 2) as plant:
            await plant.apply(decide(good))
            await plant.ready()
            for plan, words in bad:
                with pytest.raises(PlantError, match=words):
                    await plant.apply(decide(plan))
            assert number(await ask(plant)) == 20.0

    run(story)


def test_a_model_that_cannot_be_loaded_at_the_start_is_said_with_its_reason(pipeline: Pipeline) -> None:
    wiring = check_interfaces(pipeline)
    path = pipeline.tasks["add"].variants["plus-one"].model
    assert path is not None
    models.corrupt(path)
    only = Pipeline("sums", {"add": pipeline.tasks["add"]}, Slo(5.0))

    async def story() -> None:
        plant = LocalPlant(only, a_profile(only), wiring, Metrics(only), 1)
        try:
            group = Allocation("plus-two", 1, 1, 1, 1)
            await plant.apply(decide(Plan({"add": TaskPlan("add", (group,), ("plus-two", "plus-one"))}, 1.0)))
            with pytest.raises(ModelError, match=r"p1\.onnx"):
                await plant.ready()
        finally:
            await plant.stop(0.0)

    run(story)


def test_more_cores_than_the_machine_has_are_refused(pipeline: Pipeline) -> None:
    async def story() -> None:
        with pytest.raises(PlantError, match="not enough cores"):
            LocalPlant(pipeline, a_profile(pipeline), check_interfaces(pipeline), Metrics(pipeline), 100_000)

    run(story)


def test_batches_grow_to_the_plans_most_and_no_further(pipeline: Pipeline) -> None:
    only = Pipeline("sums", {"add": pipeline.tasks["add"]}, Slo(5.0))
    metrics = Metrics(only)

    def items(name: str) -> float:
        labels = {"pipeline": "sums", "task": "add", "variant": "plus-two"}
        return metrics.registry.get_sample_value(f"trimtab_batch_items_{name}", labels) or 0.0

    async def story() -> None:
        plant = LocalPlant(only, a_profile(only), check_interfaces(only), metrics, 1)
        try:
            for most, count, batches in ((None, 8, 8), (4, 9, 3)):
                group = Allocation("plus-two", 1, 1, 1, 1, most=most)
                await plant.apply(decide(Plan({"add": TaskPlan("add", (group,), ("plus-two",))}, 1.0)))
                await plant.ready()
                before = items("sum"), items("count")
                asking = [
                    plant.data_plane.infer(InferRequest("sums", {"x": np.full((1, 4), i, np.float32)}))
                    for i in range(count)
                ]
                answers = await asyncio.gather(*asking)
                assert [float(answer.outputs["y"].ravel()[0]) for answer in answers] == [i + 2.0 for i in range(count)]
                assert (items("sum") - before[0], items("count") - before[1]) == (count, batches)
        finally:
            await plant.stop(1.0)

    run(story)


def test_cost_counts_cores_held_and_capabilities_say_what_is_missing(pipeline: Pipeline) -> None:
    only = Pipeline("sums", {"add": pipeline.tasks["add"]}, Slo(5.0))

    async def story() -> None:
        async with a_plant(only) as plant:
            capabilities: Capabilities = plant.capabilities
            assert (capabilities.cores, capabilities.in_place_cores, capabilities.fractional_cores) == (1, True, False)
            assert capabilities.in_place_variants
            assert 0.0 < capabilities.start_s < 1.0
            assert any("fractional cores" in words for words in capabilities.missing)
            group = Allocation("plus-one", 1, 1, 1, 1)
            await plant.apply(decide(Plan({"add": TaskPlan("add", (group,), ("plus-one",))}, 1.0)))
            await plant.ready()
            await plant.observe()
            await asyncio.sleep(0.3)
            seen = await plant.observe()
            assert seen.core_seconds >= seen.window_s  # one core held, and the gateway's own time
            assert seen.tasks["add"].cores == 1

    run(story)
