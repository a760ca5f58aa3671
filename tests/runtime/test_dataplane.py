"""The data plane over scripted replicas: every offered request ends once, with the right outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.scripted import ACCURACY, F32, Bench, Gate, ScriptedReplica, a_plan, until

from trimtab.errors import DeadlineError, FailedError, InvalidInputError, RefusedError, UnknownModelError, WorkerError
from trimtab.observe.model import Outcomes
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime import batches, requests
from trimtab.runtime.dataplane import DataPlane
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.replica import BatchResult
from trimtab.runtime.service import InferRequest, InferResponse, Tensor, TensorInfo
from trimtab.runtime.wiring import Source, TaskWiring, Wiring
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant


def test_a_request_passes_all_tasks_and_says_who_answered() -> None:
    async def story() -> None:
        bench = Bench()
        bench.add(ScriptedReplica("add"), ScriptedReplica("double"))
        answer = await bench.ask(3.0, rows=2, id="r1")
        assert answer.outputs["z"].tolist() == [[8.0, 8.0], [8.0, 8.0]]
        assert (answer.id, answer.model, answer.version) == ("r1", "sums", "add-l+double-l")
        assert answer.parameters["variant.double"] == "double-l"
        assert answer.parameters["accuracy"] == pytest.approx(0.81)
        assert bench.outcomes() == Outcomes(in_time=1)

    asyncio.run(story())


def test_a_single_task_can_be_called() -> None:
    async def story() -> None:
        bench = Bench()
        bench.add(ScriptedReplica("double"))
        answer = await bench.ask(3.0, model="double")
        assert answer.outputs["z"].tolist() == [[6.0, 6.0]]
        assert answer.version == "double-l"

    asyncio.run(story())


def test_a_fan_out_gives_one_item_a_slice_and_gathers_them_again() -> None:
    async def story() -> None:
        bench = Bench(fan_out=True)
        double = ScriptedReplica("double")
        bench.add(ScriptedReplica("add", repeat=3), double)
        answer = await bench.ask(1.0, rows=2)
        assert answer.outputs["z"].shape == (2, 3, 2)
        assert answer.outputs["z"].tolist() == [[[4.0, 4.0]] * 3] * 2
        assert sum(size for _, size in double.batches) == 6

    asyncio.run(story())


def test_what_is_asked_wrongly_is_refused_before_it_is_offered() -> None:
    async def story() -> None:
        bench = Bench()
        bench.add(ScriptedReplica("add"), ScriptedReplica("double"))
        wrong: list[tuple[type[Exception], str, InferRequest]] = [
            (UnknownModelError, "no model 'sum'", InferRequest("sum", {})),
            (UnknownModelError, "server chooses", InferRequest("add", {"x": np.ones((1, 2), F32)}, version="add-s")),
            (InvalidInputError, "got none, wanted x", InferRequest("sums", {})),
            (InvalidInputError, "wanted float32", InferRequest("sums", {"x": np.ones((1, 2), np.float64)})),
            (InvalidInputError, r"got \[1, 3\]", InferRequest("sums", {"x": np.ones((1, 3), F32)})),
            (InvalidInputError, r"got \[2\]", InferRequest("sums", {"x": np.ones(2, F32)})),
            (InvalidInputError, "rows", InferRequest("sums", {"x": np.ones((0, 2), F32)})),
            (InvalidInputError, "rows", InferRequest("sums", {"x": np.ones((requests.MAX_ROWS + 1, 2), F32)})),
            (InvalidInputError, "output", InferRequest("sums", {"x": np.ones((1, 2), F32)}, outputs=("y",))),
        ]
        for error, words, request in wrong:
            with pytest.raises(error, match=words):
                await bench.plane.infer(request)
        seen = bench.seen()
        assert seen.outcomes.ended == 0
        assert not any(seen.arrivals)

    asyncio.run(story())


def test_without_a_replica_requests_are_refused_and_the_model_is_not_ready() -> None:
    async def story() -> None:
        bench = Bench()
        bench.add(ScriptedReplica("add"))
        assert bench.plane.ready("add")
        assert not bench.plane.ready()
        with pytest.raises(RefusedError) as caught:
            await bench.ask()
        assert caught.value.reason == "not_ready"
        assert bench.outcomes() == Outcomes(refused=1)

    asyncio.run(story())


def test_what_cannot_be_answered_in_time_is_refused_before_any_work() -> None:
    async def story() -> None:
        bench = Bench()
        add = ScriptedReplica("add")
        bench.add(add, ScriptedReplica("double"))
        with pytest.raises(RefusedError) as caught:
            await bench.ask(timeout_s=0.1)  # the fastest way takes 120 ms
        assert (caught.value.reason, add.batches) == ("overload", [])
        assert bench.outcomes() == Outcomes(refused=1)

    asyncio.run(story())


def test_an_observation_tells_what_requests_had_left_when_they_came() -> None:
    async def story() -> None:
        bench = Bench(slo_s=60.0)
        bench.add(ScriptedReplica("add"), ScriptedReplica("double"))
        await bench.ask()
        await bench.ask(timeout_s=600.0)
        assert bench.seen().allowed_s == {}
        await bench.ask()
        await bench.ask(timeout_s=40.0)
        await bench.ask(timeout_s=40.0, arrived_s=asyncio.get_running_loop().time() - 10.0)
        with pytest.raises(RefusedError):
            await bench.ask(timeout_s=0.1)
        expected = {0.01: 0.1, 0.05: 0.1, 0.1: 0.1, 0.25: 0.1, 0.5: 30.0}
        assert bench.seen().allowed_s == pytest.approx(expected, abs=1.0)
        assert bench.seen().allowed_s == {}

    asyncio.run(story())


def test_a_short_deadline_gets_the_cheaper_resident_variant() -> None:
    async def story() -> None:
        bench = Bench()
        bench.add(ScriptedReplica("add"), ScriptedReplica("double"))
        answer = await bench.ask(timeout_s=0.55)  # less than the 600 ms that double-l takes alone
        assert answer.parameters["variant.double"] == "double-s"
        assert answer.parameters["accuracy"] == pytest.approx(ACCURACY[str(answer.parameters["variant.add"])] * 0.5)

    asyncio.run(story())


def test_waiting_requests_are_batched() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        add = ScriptedReplica("add", gate)
        bench.add(add, ScriptedReplica("double"))
        asking = [asyncio.ensure_future(bench.ask(float(i))) for i in range(7)]
        await until(lambda: bool(add.batches))
        gate.open.set()
        answers = await asyncio.gather(*asking)
        assert [a.outputs["z"][0, 0] for a in answers] == [2.0 * (i + 1) for i in range(7)]
        # What comes together goes together, as far as the plan lets it.
        assert [size for _, size in add.batches] == [4, 3]
        assert bench.outcomes() == Outcomes(in_time=7)

    asyncio.run(story())


def test_a_lost_worker_costs_no_request_while_another_is_there() -> None:
    async def story() -> None:
        bench = Bench()

        async def die(*_: object) -> None:
            bench.plane.remove(dying)
            raise WorkerError("killed by SIGKILL")

        dying = ScriptedReplica("add", die)
        bench.add(dying, ScriptedReplica("add"), ScriptedReplica("double"))
        answers = await asyncio.gather(*(bench.ask(float(i)) for i in range(10)))
        assert [a.outputs["z"][0, 0] for a in answers] == [2.0 * (i + 1) for i in range(10)]
        assert len(dying.batches) == 1
        assert bench.outcomes() == Outcomes(in_time=10)

    asyncio.run(story())


def test_a_request_whose_workers_die_twice_fails_with_the_reason() -> None:
    async def story() -> None:
        bench = Bench()

        async def die(*_: object) -> None:
            raise WorkerError("killed by SIGKILL")

        bench.add(ScriptedReplica("add", die))
        bench.add(ScriptedReplica("double"))
        with pytest.raises(FailedError, match="killed by SIGKILL, twice"):
            await bench.ask()
        assert bench.outcomes() == Outcomes(failed=1)

    asyncio.run(story())


def test_a_request_left_without_any_worker_is_told_at_its_deadline() -> None:
    async def story() -> None:
        bench = Bench(slo_s=0.5)

        async def die(*_: object) -> None:
            bench.plane.remove(replica)
            raise WorkerError("gone")

        replica = ScriptedReplica("add", die)
        bench.add(replica, ScriptedReplica("double"))
        with pytest.raises(RefusedError, match="deadline passed"):
            await bench.ask()
        seen = bench.seen()
        assert seen.outcomes == Outcomes(refused=1)
        assert seen.tasks["add"].queued == 0

    asyncio.run(story())


def test_a_worker_that_stops_answering_is_reported_and_its_batch_tried_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "STUCK_AFTER_S", 0.2)
    monkeypatch.setattr(batches, "STUCK_TIMES", 0.0)

    async def story() -> None:
        bench = Bench()

        async def hang(*_: object) -> None:
            await asyncio.Event().wait()

        hung = ScriptedReplica("add", hang)
        bench.add(hung)
        bench.add(ScriptedReplica("double"))
        asking = asyncio.ensure_future(bench.ask(1.0))
        await until(lambda: bool(bench.stuck))
        bench.add(ScriptedReplica("add"))
        assert (await asking).outputs["z"].tolist() == [[4.0, 4.0]]
        assert bench.stuck == [hung]

    asyncio.run(story())


def test_garbage_from_a_worker_fails_its_requests_only() -> None:
    class Garbage(ScriptedReplica):
        async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
            result = await super().run(variant, inputs)
            return BatchResult({"y": result.outputs["y"][:0]}, 0.001) if len(self.batches) == 1 else result

    async def story() -> None:
        bench = Bench()
        bench.add(Garbage("add"), ScriptedReplica("double"))
        with pytest.raises(FailedError, match="wanted 1 rows"):
            await bench.ask()
        await bench.ask()
        assert bench.outcomes() == Outcomes(in_time=1, failed=1)

    asyncio.run(story())


def test_served_too_late_is_late_and_a_clients_own_deadline_is_kept() -> None:
    async def story() -> None:
        bench = Bench(slo_s=0.5)
        gate = Gate()
        bench.add(ScriptedReplica("add"), ScriptedReplica("double", gate))
        patient = asyncio.ensure_future(bench.ask())
        await asyncio.sleep(0.6)
        assert not patient.done()
        gate.open.set()
        await patient
        gate.open.clear()
        with pytest.raises(DeadlineError):
            await bench.ask(timeout_s=0.4)
        gate.open.set()
        assert bench.outcomes() == Outcomes(late=1, dropped=1)

    asyncio.run(story())


def test_time_runs_from_when_the_request_was_all_here() -> None:
    async def story() -> None:
        bench = Bench(slo_s=60.0)
        bench.add(ScriptedReplica("add"), ScriptedReplica("double"))
        now_s = asyncio.get_running_loop().time()
        await bench.ask(arrived_s=now_s - 30.0)
        with pytest.raises(RefusedError, match=r"the request has 0\.000 s"):
            await bench.ask(arrived_s=now_s - 61.0)
        with pytest.raises(RefusedError, match="overloaded"):
            await bench.ask(arrived_s=now_s - 30.0, timeout_s=20.0)
        await bench.ask(arrived_s=now_s + 100.0)  # from a clock ahead of ours: now
        seen = bench.seen()
        assert seen.outcomes == Outcomes(in_time=2, refused=2)
        assert seen.response_s[0.99] > 29.0
        assert sum(count or 0 for count in seen.arrivals) == 4  # counted where the server is, whenever they came

    asyncio.run(story())


def test_a_client_that_leaves_frees_its_place() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        add = ScriptedReplica("add", gate)
        bench.add(add, ScriptedReplica("double"))
        first, second = asyncio.ensure_future(bench.ask()), asyncio.ensure_future(bench.ask())
        await until(lambda: bool(add.batches))
        second.cancel()
        await asyncio.sleep(0)
        assert bench.plane.levels({}, {})["add"].queued == 0
        gate.open.set()
        await first
        assert bench.outcomes() == Outcomes(in_time=1, dropped=1)

    asyncio.run(story())


def test_switching_plans_under_load_fails_nothing() -> None:
    async def story() -> None:
        bench = Bench()

        async def work(*_: object) -> None:
            await asyncio.sleep(0.0005)

        double = ScriptedReplica("double", work)
        bench.add(ScriptedReplica("add", work), double)

        async def switch() -> None:
            for i in range(20):
                bench.plane.follow(a_plan(may_use=False, size="ls"[i % 2], batch=1 + i % 4))
                await asyncio.sleep(0.002)

        switching = asyncio.ensure_future(switch())
        while not switching.done():
            await asyncio.gather(*(bench.ask() for _ in range(4)))
        outcomes = bench.outcomes()
        assert outcomes.in_time == outcomes.ended > 0
        assert {variant for variant, _ in double.batches} == {"double-l", "double-s"}

    asyncio.run(story())


def test_a_draining_replica_finishes_what_it_has_and_gets_no_more() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        old, new = ScriptedReplica("add", gate), ScriptedReplica("add")
        bench.add(old, ScriptedReplica("double"))
        first = asyncio.ensure_future(bench.ask())
        await until(lambda: bool(old.batches))
        draining = asyncio.ensure_future(bench.plane.drain(old))
        await asyncio.sleep(0)
        bench.add(new)
        await bench.ask()
        assert (len(old.batches), len(new.batches), draining.done()) == (1, 1, False)
        gate.open.set()
        await first
        await draining
        assert bench.plane.levels({}, {})["add"].replicas_ready == 1

    asyncio.run(story())


def test_closing_answers_what_is_under_way_and_refuses_what_comes() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        add = ScriptedReplica("add", gate)
        bench.add(add, ScriptedReplica("double"))
        first = asyncio.ensure_future(bench.ask())
        await until(lambda: bool(add.batches))
        closing = asyncio.ensure_future(bench.plane.close(5.0))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError) as caught:
            await bench.ask()
        assert caught.value.reason == "stopping"
        assert not bench.plane.ready()
        gate.open.set()
        assert (await first).outputs["z"].tolist() == [[4.0, 4.0]]
        await closing
        assert bench.outcomes() == Outcomes(in_time=1, refused=1)

    asyncio.run(story())


def test_offered_is_the_sum_of_all_outcomes_whatever_happens() -> None:
    async def story() -> None:
        bench = Bench(slo_s=0.5)
        rng = np.random.Generator(np.random.PCG64(5))

        async def trouble(*_: object) -> None:
            draw = rng.random()
            if draw < 0.1:
                raise WorkerError("lost")
            if draw < 0.2:
                raise RuntimeError("surprise")
            await asyncio.sleep(0.004 * float(rng.random()))

        bench.add(ScriptedReplica("add", trouble), ScriptedReplica("add", trouble), ScriptedReplica("double", trouble))
        asking = []
        for i in range(300):
            asking.append(asyncio.ensure_future(bench.ask(float(i))))
            await asyncio.sleep(0.001)
            if i % 17 == 0:
                asking[-1].cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        seen = bench.seen()
        offered = sum(count or 0 for count in seen.arrivals)
        answered = sum(isinstance(a, InferResponse) for a in answers)
        assert offered == seen.outcomes.ended
        assert seen.outcomes.in_time + seen.outcomes.late == answered > 0
        assert seen.outcomes.failed > 0
        assert (seen.tasks["add"].queued, seen.tasks["add"].in_service) == (0, 0)
        for i, answer in enumerate(answers):
            if isinstance(answer, InferResponse):
                assert answer.outputs["z"][0, 0] == 2 * (i + 1)

    asyncio.run(story())


def test_tasks_that_branch_run_side_by_side_and_join_with_their_own_rows() -> None:
    def tensor(name: str) -> TensorInfo:
        return TensorInfo(name, F32, (-1, 2))

    def task(name: str, *after: str) -> Task:
        return Task(name, {"only": Variant("only", Path("m.onnx"), 0.9)}, tuple(Edge(a) for a in after))

    graph = {"a": ("request",), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    pipeline = Pipeline(
        "diamond", {t: task(t, *(s for s in before if s != "request")) for t, before in graph.items()}, Slo(5.0)
    )
    wiring = Wiring(
        tasks={
            t: TaskWiring(
                t,
                tuple(tensor(f"from_{s}") for s in before),
                (tensor("y"),),
                {f"from_{s}": Source(s, "x" if s == "request" else "y") for s in before},
            )
            for t, before in graph.items()
        },
        request=(tensor("x"),),
        outputs={"y": Source("d", "y")},
        answers=(tensor("y"),),
    )
    points = tuple(ServicePoint(1, 1, b, 0.001, {0.5: 0.001, 0.99: 0.001}, 9) for b in (1, 4))
    profile = Profile({t: {"only": VariantProfile(t, "only", points)} for t in graph})
    plans = {t: TaskPlan(t, (Allocation("only", 1, 1, 1, 4),), ("only",)) for t in graph}

    class Sum:
        """`d` gives b's answer less c's; the others add 1, 10, 100."""

        def __init__(self, task: str) -> None:
            self.id = self.task = task

        async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
            await asyncio.sleep({"b": 0.004, "c": 0.001}.get(self.task, 0.0))
            if self.task == "d":
                return BatchResult({"y": np.subtract(inputs["from_b"], inputs["from_c"], dtype=np.float32)}, 0.001)
            step = {"a": 1, "b": 10, "c": 100}[self.task]
            return BatchResult({"y": np.multiply(next(iter(inputs.values())), step, dtype=np.float32)}, 0.001)

    async def story() -> None:
        clock = asyncio.get_running_loop().time
        plane = DataPlane(pipeline, profile, wiring, Metrics(pipeline), clock, lambda _: None)
        plane.follow(Plan(plans, 1.0))
        for name in graph:
            plane.add(name, Sum(name), 1)
        values = [np.array([[i, i], [-i, 7]], np.float32) for i in range(10)]
        answers = await asyncio.gather(*(plane.infer(InferRequest("diamond", {"x": x})) for x in values))
        for x, answer in zip(values, answers, strict=True):
            assert answer.outputs["y"].tolist() == (-90 * x).tolist()
            assert answer.version == "only+only+only+only"

    asyncio.run(story())


def test_a_little_time_is_kept_for_the_answers_way_out() -> None:
    async def story() -> None:
        bench = Bench()
        bench.add(ScriptedReplica("add"), ScriptedReplica("double"))
        least_s = 0.12  # the fastest way
        with pytest.raises(RefusedError, match="overloaded"):
            await bench.ask(timeout_s=least_s * 1.02)
        held = asyncio.ensure_future(bench.ask(timeout_s=least_s * 1.5))
        assert (await held).parameters["variant.add"] == "add-s"
        assert bench.outcomes() == Outcomes(in_time=1, refused=1)

    asyncio.run(story())
