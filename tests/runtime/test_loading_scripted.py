"""Loading what a plan needs while members come and go, with scripted replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.runtime.failures import FailedVariants
from trimtab.runtime.loading import Loading
from trimtab.runtime.members import Member
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.replica import Replica

SHAPE = Allocation("small", 1, 1, 1, 1)
PLAN = Plan({"first": TaskPlan("first", (SHAPE,), ("small", "big"))}, 1.0)
SOURCES = {"first": {name: ModelSource("onnx", Path(f"{name}.onnx")) for name in ("small", "big")}}


class ScriptedReplica:
    """Loads at once, after doing what its script says."""

    def __init__(self, script: Callable[[], None] = lambda: None) -> None:
        self.loaded: list[str] = []
        self._script = script

    async def load(self, variant: str, source: ModelSource) -> None:
        await asyncio.sleep(0)
        self._script()
        self.loaded.append(variant)


def a_member(name: str, replica: ScriptedReplica | None, *resident: str) -> Member:
    member = Member(name, "first", 0, SHAPE, (0,), asyncio.get_running_loop().create_future())
    member.replica = cast("Replica | None", replica)
    member.resident = set(resident)
    return member


def test_a_member_that_becomes_ready_meanwhile_holds_what_the_plan_wants_too() -> None:
    async def story() -> None:
        late = ScriptedReplica()
        starting = a_member("starting", None, "big")

        def becomes_ready() -> None:
            starting.replica = cast("Replica", late)

        members = [a_member("serving", ScriptedReplica(becomes_ready), "big"), starting]
        await Loading(SOURCES, FailedVariants(lambda: 0.0)).load_missing(members, PLAN)
        assert late.loaded == ["small"]
        assert all(m.resident == {"small", "big"} for m in members)

    asyncio.run(story())
