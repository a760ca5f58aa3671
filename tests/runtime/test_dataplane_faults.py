"""Replicas that hang, are slow, fail or answer garbage: others take over, and everything is counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest
from tests.runtime.scripted import Bench, Gate, ScriptedReplica, a_plan, until

from trimtab.errors import FailedError, ModelError, RefusedError, WorkerError
from trimtab.observe.model import Outcomes
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.runtime import batches, pool
from trimtab.runtime.service import InferResponse, Tensor


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is overdue after 30 ms, and who was left out stays out."""
    monkeypatch.setattr(batches, "DOUBT_AFTER_S", 0.03)
    monkeypatch.setattr(batches, "DOUBT_TIMES", 0.0)
    monkeypatch.setattr(pool, "PAUSE_S", 60.0)


def halves() -> Plan:
    """`add` by two variants of a replica and half of the traffic each."""
    allocations = Allocation("add-l", 1, 1, 1, 1, 0.5), Allocation("add-s", 1, 1, 1, 1, 0.5)
    return Plan({**a_plan().tasks, "add": TaskPlan("add", allocations, ("add-l", "add-s"))}, 1.0)


def items(bench: Bench, task: str) -> int:
    """Rows that the variants of a task answered."""
    return sum(figures.items for figures in bench.figures(task))


def idle(bench: Bench) -> bool:
    return all(level.in_service == 0 for level in bench.plane.levels({}, {}).values())


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("rows", [1, 4])
def test_an_overdue_batch_is_answered_by_another_replica_and_counted_once(rows: int) -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        hung, well = ScriptedReplica("add", gate), ScriptedReplica("add")
        bench.add(hung, well, ScriptedReplica("double"))
        answer = await bench.ask(3.0, rows=rows)
        assert answer.outputs["z"].tolist() == [[8.0, 8.0]] * rows
        assert len(hung.batches) == 1
        assert sum(size for _, size in well.batches) == rows
        gate.open.set()  # its answer comes second
        await until(lambda: idle(bench))
        seen = bench.seen()
        assert seen.outcomes == Outcomes(in_time=1)
        assert sum(seen.tasks["add"].served.values()) == rows
        assert seen.tasks["add"].queued == 0
        assert (items(bench, "add"), items(bench, "double"), items(bench, "sums")) == (rows, rows, rows)
        assert all(figures.fail.count == 0 for figures in bench.plane.statistics())
        await asyncio.gather(*(bench.ask() for _ in range(5)))
        assert len(hung.batches) == 1  # it is left out

    asyncio.run(story())


@pytest.mark.usefixtures("impatient")
def test_a_first_answer_that_comes_before_the_second_try_spares_it() -> None:
    async def story() -> None:
        bench = Bench(plan=a_plan(batch=1))
        gates = Gate(), Gate()
        adds = [ScriptedReplica("add", gate) for gate in gates]
        bench.add(*adds, ScriptedReplica("double"))
        asking = [asyncio.ensure_future(bench.ask(1.0)), asyncio.ensure_future(bench.ask(2.0))]
        seats = bench.plane._batches.pools["add"].seats
        await until(lambda: any(seat.pause_s for seat in seats))  # its batch is overdue and waits for the other one
        assert bench.plane.levels({}, {})["add"].queued == 1
        left_out = 0 if seats[0].pause_s else 1
        gates[left_out].open.set()
        await until(lambda: bench.plane.levels({}, {})["add"].queued == 0)
        gates[1 - left_out].open.set()
        answers = await asyncio.gather(*asking)
        assert [a.outputs["z"][0, 0] for a in answers] == [4.0, 6.0]
        assert [len(add.batches) for add in adds] == [1, 1]
        assert bench.outcomes() == Outcomes(in_time=2)

    asyncio.run(story())


@pytest.mark.usefixtures("impatient")
def test_a_request_fails_once_when_both_tries_fail() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()

        async def hang_then_die(variant: str, inputs: Mapping[str, Tensor]) -> None:
            await gate(variant, inputs)
            raise WorkerError("killed late")

        async def die(*_: object) -> None:
            raise WorkerError("killed at once")

        hung, dying = ScriptedReplica("add", hang_then_die), ScriptedReplica("add", die)
        bench.add(hung, dying, ScriptedReplica("double"))
        asking = asyncio.ensure_future(bench.ask())
        await until(lambda: bool(dying.batches) and bench.figures("add")[0].fail.count == 1)
        assert not asking.done()  # the first may still answer
        gate.open.set()
        with pytest.raises(FailedError, match="killed late, twice"):
            await asking
        assert bench.outcomes() == Outcomes(failed=1)
        assert (len(hung.batches), len(dying.batches)) == (1, 1)
        (whole,) = bench.figures("sums")
        assert (whole.success.count, whole.fail.count) == (0, 1)

    asyncio.run(story())


@pytest.mark.usefixtures("impatient")
def test_a_lone_replica_that_is_slow_to_answer_keeps_its_batch() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        lone = ScriptedReplica("add", gate)
        bench.add(lone, ScriptedReplica("double"))
        asking = asyncio.ensure_future(bench.ask())
        await until(lambda: bool(lone.batches))
        await asyncio.sleep(0.15)
        assert len(lone.batches) == 1
        gate.open.set()
        await asking
        await bench.ask()
        assert bench.outcomes() == Outcomes(in_time=2)

    asyncio.run(story())


@pytest.mark.usefixtures("impatient")
def test_one_that_is_left_out_serves_again_when_the_others_are_gone() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        hung, well = ScriptedReplica("add", gate), ScriptedReplica("add")
        bench.add(hung, well, ScriptedReplica("double"))
        await bench.ask()
        gate.open.set()
        await until(lambda: idle(bench))
        await bench.plane.drain(well)
        await bench.ask()  # though its pause would be longer than any request may wait
        assert len(hung.batches) == 2
        assert bench.outcomes() == Outcomes(in_time=2)

    asyncio.run(story())


@pytest.mark.usefixtures("impatient")
def test_the_other_group_of_a_mix_takes_over_from_one_whose_replica_hangs() -> None:
    async def story() -> None:
        bench = Bench(plan=halves())
        gate = Gate()
        hung, well = ScriptedReplica("add", gate), ScriptedReplica("add")
        bench.add(ScriptedReplica("double"))
        bench.plane.add("add", hung, 1, 0)
        bench.plane.add("add", well, 1, 1)
        answers = await asyncio.gather(*(bench.ask(float(i)) for i in range(8)))
        assert [a.outputs["z"][0, 0] for a in answers] == [2.0 * (i + 1) for i in range(8)]
        assert (len(hung.batches), len(well.batches)) == (1, 8)
        gate.open.set()
        await until(lambda: idle(bench))
        assert bench.outcomes() == Outcomes(in_time=8)

    asyncio.run(story())


@pytest.mark.parametrize("mixed", [False, True])
def test_a_replica_that_was_left_out_gets_its_traffic_back_after_a_trial(
    monkeypatch: pytest.MonkeyPatch, mixed: bool
) -> None:
    monkeypatch.setattr(batches, "DOUBT_AFTER_S", 0.03)
    monkeypatch.setattr(batches, "DOUBT_TIMES", 0.0)
    monkeypatch.setattr(pool, "PAUSE_S", 0.05)

    async def story() -> None:
        bench = Bench(plan=halves() if mixed else a_plan())
        gate = Gate()
        hung, well = ScriptedReplica("add", gate), ScriptedReplica("add")
        bench.add(ScriptedReplica("double"))
        bench.plane.add("add", hung, 1, 0)
        bench.plane.add("add", well, 1, int(mixed))
        await bench.ask()
        assert len(hung.batches) == 1
        gate.open.set()
        async with asyncio.timeout(10):
            while len(hung.batches) < 4:
                await asyncio.gather(*(bench.ask() for _ in range(4)))
                await asyncio.sleep(0.01)
        outcomes = bench.outcomes()
        assert outcomes.in_time == outcomes.ended

    asyncio.run(story())


def test_a_replica_ten_times_slower_gets_few_batches() -> None:
    async def story() -> None:
        bench = Bench(plan=a_plan(batch=1, may_use=False))

        def sleeping(seconds: float) -> ScriptedReplica:
            async def work(*_: object) -> None:
                await asyncio.sleep(seconds)

            return ScriptedReplica("add", work)

        slow, fast = sleeping(0.1), sleeping(0.01)
        bench.add(slow, fast, ScriptedReplica("double"))

        async def client() -> None:
            for _ in range(24):
                await bench.ask()

        await asyncio.gather(*(client() for _ in range(5)))
        assert bench.outcomes() == Outcomes(in_time=120)
        assert len(slow.batches) + len(fast.batches) == 120
        assert len(slow.batches) <= 12

    asyncio.run(story())


def test_figures_add_up_whatever_happens() -> None:
    async def story() -> None:
        bench = Bench(slo_s=1.0)
        rng = np.random.Generator(np.random.PCG64(11))

        async def trouble(*_: object) -> None:
            draw = rng.random()
            if draw < 0.1:
                raise WorkerError("lost")
            if draw < 0.15:
                raise ModelError("surprise")
            await asyncio.sleep(0.002 * float(rng.random()))

        bench.add(ScriptedReplica("add", trouble), ScriptedReplica("add", trouble), ScriptedReplica("double", trouble))
        asking = []
        for i in range(100):
            asking.append(asyncio.ensure_future(bench.ask(float(i), rows=1 + i % 3, priority=1 + i % 9)))
            await asyncio.sleep(0.001)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        await until(lambda: idle(bench))
        outcomes, (whole,) = bench.outcomes(), bench.figures("sums")
        rows = sum(len(a.outputs["z"]) for a in answers if isinstance(a, InferResponse))
        assert whole.items == rows > 0
        assert whole.success.count == whole.executions == outcomes.in_time + outcomes.late
        assert whole.success.count + whole.fail.count == outcomes.ended == 100
        for figures in (*bench.figures("add"), *bench.figures("double")):
            assert figures.items == figures.success.count == figures.queue.count == figures.compute.count
            assert figures.items == sum(size * spent.count for size, spent in figures.batches.items())
            assert figures.executions == sum(spent.count for spent in figures.batches.values())
        assert items(bench, "add") >= items(bench, "double") >= rows

    asyncio.run(story())


def test_an_answer_of_another_dtype_fails_its_request() -> None:
    class Garbage(ScriptedReplica):
        def answer(self, values: Tensor) -> Mapping[str, Tensor]:
            return {name: array.astype(np.float64) for name, array in super().answer(values).items()}

    async def story() -> None:
        bench = Bench()
        bench.add(Garbage("add"), ScriptedReplica("double"))
        with pytest.raises(FailedError, match="got float64 with 2 axes, wanted float32 with 2"):
            await bench.ask()
        assert bench.outcomes() == Outcomes(failed=1)
        assert items(bench, "add") == 0

    asyncio.run(story())


@pytest.mark.usefixtures("impatient")
def test_what_is_overdue_when_the_server_stops_is_still_tried_elsewhere() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        hung, well = ScriptedReplica("add", gate), ScriptedReplica("add")
        bench.add(hung, ScriptedReplica("double"))
        asking = asyncio.ensure_future(bench.ask())
        await until(lambda: bool(hung.batches))
        closing = asyncio.ensure_future(bench.plane.close(5.0))
        await asyncio.sleep(0.1)
        bench.add(well)
        assert (await asking).outputs["z"].tolist() == [[4.0, 4.0]]
        await closing
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(story())


@pytest.mark.usefixtures("impatient")
def test_stopping_with_overdue_batches_in_flight_leaves_no_task() -> None:
    async def story() -> None:
        bench = Bench()
        gate = Gate()
        adds = [ScriptedReplica("add", gate) for _ in range(3)]
        bench.add(*adds, ScriptedReplica("double"))
        asking = [asyncio.ensure_future(bench.ask()) for _ in range(4)]
        await until(lambda: sum(size for add in adds for _, size in add.batches) >= 4)
        await asyncio.sleep(0.2)
        await bench.plane.close(0.0)
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert [r.reason for r in results if isinstance(r, RefusedError)] == ["stopping"] * 4
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert idle(bench)
        assert bench.outcomes() == Outcomes(refused=4)

    asyncio.run(story())
