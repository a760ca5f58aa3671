"""Who is served first, by which group of replicas, and how many may wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest
from tests.runtime.scripted import Bench, Gate, ScriptedReplica, a_plan, until

from trimtab.errors import RefusedError
from trimtab.observe.model import Outcomes
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.runtime.service import InferResponse, Tensor


def a_mix(share: float = 0.75, first: str = "add-l", second: str = "add-s") -> Plan:
    """`add` by two variants of a replica each."""
    allocations = Allocation(first, 1, 1, 1, 1, share), Allocation(second, 1, 1, 1, 1, 1.0 - share)
    return Plan({**a_plan().tasks, "add": TaskPlan("add", allocations, ("add-l", "add-s"))}, 1.0)


def by_variant(*replicas: ScriptedReplica) -> Counter[str]:
    """Items that were served, by variant."""
    counts: Counter[str] = Counter()
    for replica in replicas:
        for variant, size in replica.batches:
            counts[variant] += size
    return counts


def test_priority_one_overtakes_nine() -> None:
    async def story() -> None:
        bench = Bench(plan=a_plan(batch=1))
        gate, order = Gate(), list[float]()

        async def note(variant: str, inputs: Mapping[str, Tensor]) -> None:
            order.append(float(inputs["x"][0, 0]))
            await gate(variant, inputs)

        add = ScriptedReplica("add", note)
        bench.add(add, ScriptedReplica("double"))
        asking = [asyncio.ensure_future(bench.ask(0.0))]
        await until(lambda: bool(order))
        for value, priority in enumerate([9, 9, 5, 1, 9, 1, 5], start=1):
            asking.append(asyncio.ensure_future(bench.ask(float(value), priority=priority)))
        await until(lambda: bench.plane.levels({}, {})["add"].queued == 7)
        gate.open.set()
        await asyncio.gather(*asking)
        assert order == [0, 4, 6, 3, 7, 1, 2, 5]
        assert bench.outcomes() == Outcomes(in_time=8)

    asyncio.run(story())


def test_the_urgent_are_let_in_while_others_are_refused() -> None:
    async def story() -> None:
        bench = Bench(slo_s=3.0)
        gate = Gate()
        bench.add(ScriptedReplica("add", gate), ScriptedReplica("double"))
        asking: list[asyncio.Future[InferResponse]] = []
        while not any(a.done() for a in asking):  # until the backlog is too long for one more
            asking.append(asyncio.ensure_future(bench.ask(priority=9)))
            await asyncio.sleep(0.001)
        urgent = [asyncio.ensure_future(bench.ask(priority=1)) for _ in range(3)]
        await asyncio.sleep(0.001)
        assert not any(u.done() for u in urgent)
        gate.open.set()
        assert [u.outputs["z"].tolist() for u in await asyncio.gather(*urgent)] == [[[4.0, 4.0]]] * 3
        *others, last = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(last, RefusedError)
        assert last.reason == "overload"
        assert bench.outcomes() == Outcomes(in_time=len(others) + 3, refused=1)

    asyncio.run(story())


def test_who_finds_the_queue_full_is_refused() -> None:
    async def story() -> None:
        bench = Bench(max_queued=4)
        gate = Gate()
        add = ScriptedReplica("add", gate)
        bench.add(add, ScriptedReplica("double"))
        asking = [asyncio.ensure_future(bench.ask())]
        await until(lambda: bool(add.batches))
        asking += [asyncio.ensure_future(bench.ask()) for _ in range(4)]
        await until(lambda: bench.plane.levels({}, {})["add"].queued == 4)
        for priority in (1, 9):
            with pytest.raises(RefusedError, match="queue of task 'add' is full") as caught:
                await bench.ask(priority=priority)
            assert caught.value.reason == "queue_full"
        gate.open.set()
        await asyncio.gather(*asking)
        with pytest.raises(RefusedError, match="full"):
            await bench.ask(rows=5)  # more than may ever wait
        assert (await bench.ask(rows=4)).outputs["z"].shape == (4, 2)
        assert bench.outcomes() == Outcomes(in_time=6, refused=3)

    asyncio.run(story())


def test_a_mix_serves_by_its_shares() -> None:
    async def story() -> None:
        bench = Bench(plan=a_mix())
        large, small = ScriptedReplica("add"), ScriptedReplica("add")
        bench.add(ScriptedReplica("double"))
        bench.plane.add("add", large, 1, 0)
        bench.plane.add("add", small, 1, 1)
        answers = [await bench.ask(float(i)) for i in range(40)]
        assert by_variant(large) == {"add-l": 30}
        assert by_variant(small) == {"add-s": 10}
        assert Counter(a.parameters["variant.add"] for a in answers) == {"add-l": 30, "add-s": 10}
        assert [a.outputs["z"][0, 0] for a in answers] == [2.0 * (i + 1) for i in range(40)]
        seen = bench.seen()
        assert seen.tasks["add"].served == {"add-l": 30, "add-s": 10}

    asyncio.run(story())


def test_replicas_change_groups_and_plans_their_mix_under_load_and_nothing_is_lost() -> None:
    async def story() -> None:
        bench = Bench(plan=a_mix())

        async def work(*_: object) -> None:
            await asyncio.sleep(0.0005)

        adds = ScriptedReplica("add", work), ScriptedReplica("add", work)
        bench.add(ScriptedReplica("double", work))
        for group, replica in enumerate(adds):
            bench.plane.add("add", replica, 1, group)

        async def change() -> None:
            plans = [a_mix(0.25), a_mix(0.5, "add-s", "add-l"), a_plan(batch=2), a_mix(1.0), a_mix()]
            for i in range(20):
                bench.plane.follow(plans[i % len(plans)])
                if len(plans[i % len(plans)].tasks["add"].allocations) == 2:
                    bench.plane.regroup(adds[0], i % 2)
                    await asyncio.sleep(0.001)  # both in one group: the other has none
                    bench.plane.regroup(adds[1], 1 - i % 2)
                await asyncio.sleep(0.002)

        changing = asyncio.ensure_future(change())
        asked = 0
        while not changing.done():
            answers = await asyncio.gather(*(bench.ask(float(i)) for i in range(6)))
            assert [a.outputs["z"][0, 0] for a in answers] == [2.0 * (i + 1) for i in range(6)]
            asked += 6
        await changing
        assert bench.outcomes() == Outcomes(in_time=asked)
        assert by_variant(*adds).total() == asked

    asyncio.run(story())


def test_a_group_without_a_replica_leaves_its_traffic_to_the_other() -> None:
    async def story() -> None:
        bench = Bench(plan=a_mix())
        gate = Gate()
        large, small = ScriptedReplica("add", gate), ScriptedReplica("add")
        bench.add(ScriptedReplica("double"))
        bench.plane.add("add", large, 1, 0)
        bench.plane.add("add", small, 1, 1)
        asking = [asyncio.ensure_future(bench.ask(float(i))) for i in range(8)]
        await until(lambda: len(small.batches) == 2)
        draining = asyncio.ensure_future(bench.plane.drain(large))
        await until(lambda: len(small.batches) == 7)  # what waited there was handed on
        gate.open.set()
        answers: list[InferResponse] = await asyncio.gather(*asking)
        await draining
        assert [a.outputs["z"][0, 0] for a in answers] == [2.0 * (i + 1) for i in range(8)]
        assert by_variant(large, small) == {"add-l": 1, "add-s": 7}

    asyncio.run(story())
