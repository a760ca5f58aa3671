"""Loading variants into workers: once, however often it is asked for, and not again at once when it fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from trimtab.errors import ModelError, PlantError
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.runtime.failures import FailedVariants
from trimtab.runtime.loading import Loading
from trimtab.runtime.members import Member
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.replica import Replica

GROUP = Allocation("small", 1, 1, 1, 4)
PLAN = Plan({"read": TaskPlan("read", (GROUP,), ("small", "big"))}, 1.0)
SOURCES = {"read": {v: ModelSource("onnx", Path(f"/{v}.onnx")) for v in ("small", "big")}}


class Worker:
    """Loads when the gate opens, or fails."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[str] = []
        self.error: ModelError | None = None

    async def load(self, variant: str, source: ModelSource) -> None:
        assert source == SOURCES["read"][variant]
        self.asked.append(variant)
        await self.gate.wait()
        if self.error is not None:
            raise self.error


def a_member(worker: Worker) -> Member:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return Member("read-1", "read", 0, GROUP, (0,), ready, cast("Replica", worker), {"small"})


def test_a_load_that_nobody_waits_for_any_more_goes_on_and_is_found_again() -> None:
    async def story() -> None:
        worker = Worker()
        member, loading = a_member(worker), Loading(SOURCES, FailedVariants(lambda: 0.0))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loading.load_missing([member], PLAN), 0.01)
        assert member.resident == {"small"}
        worker.gate.set()
        await loading.load_missing([member], PLAN)
        assert member.resident == {"small", "big"}
        assert worker.asked == ["big"]

    asyncio.run(story())


def test_what_failed_is_not_asked_for_again_before_its_time() -> None:
    now_s = 0.0

    async def story() -> None:
        nonlocal now_s
        worker = Worker()
        worker.gate.set()
        worker.error = ModelError("it is corrupt")
        failed = FailedVariants(lambda: now_s)
        member, loading = a_member(worker), Loading(SOURCES, failed)
        with pytest.raises(PlantError, match="corrupt"):
            await loading.load_missing([member], PLAN)
        with pytest.raises(PlantError, match="tried again in 10 s"):
            await loading.load_missing([member], PLAN)
        assert worker.asked == ["big"]
        now_s, worker.error = 11.0, None
        await loading.load_missing([member], PLAN)
        assert member.resident == {"small", "big"}

    asyncio.run(story())


def test_a_first_start_wants_every_variant_and_a_later_one_some() -> None:
    async def story() -> None:
        worker = Worker()
        worker.gate.set()
        worker.error = ModelError("it is corrupt")
        member = a_member(worker)
        with pytest.raises(ModelError):
            await Loading(SOURCES, FailedVariants(lambda: 0.0)).load_first(member, cast("Replica", worker), ("big",))
        member.ready.set_result(None)
        await Loading(SOURCES, FailedVariants(lambda: 0.0)).load_first(member, cast("Replica", worker), ("big",))
        member.resident.clear()
        with pytest.raises(ModelError):
            await Loading(SOURCES, FailedVariants(lambda: 0.0)).load_first(member, cast("Replica", worker), ("big",))
        held = FailedVariants(lambda: 0.0)
        held.note("read", "big", "it is corrupt")
        with pytest.raises(PlantError, match="no variant of task 'read'"):
            await Loading(SOURCES, held).load_first(member, cast("Replica", worker), ("big",))

    asyncio.run(story())
