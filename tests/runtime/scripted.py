"""A pipeline of two sums over scripted replicas, for tests of the data plane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import numpy as np

from trimtab.observe.model import Observation, Outcomes
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime.dataplane import DataPlane
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.pool import Server
from trimtab.runtime.replica import BatchResult
from trimtab.runtime.serve_options import MAX_QUEUED
from trimtab.runtime.service import InferRequest, InferResponse, ModelStatistics, Tensor, TensorInfo
from trimtab.runtime.wiring import Source, TaskWiring, Wiring
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant

F32 = np.dtype(np.float32)
SERVICE_S = {"add-l": 0.3, "add-s": 0.06, "double-l": 0.6, "double-s": 0.06}
"""What the dispatcher counts on. The scripted replicas are much quicker, so that a busy machine upsets no deadline."""
ACCURACY = {"add-l": 0.9, "add-s": 0.8, "double-l": 0.9, "double-s": 0.5}


def a_pipeline(slo_s: float = 5.0) -> Pipeline:
    """`add` gives x + 1, `double` twice that."""

    def task(name: str, after: tuple[Edge, ...] = ()) -> Task:
        variants = {v: Variant(v, Path(f"{v}.onnx"), ACCURACY[v]) for v in (f"{name}-l", f"{name}-s")}
        return Task(name, variants, after)

    return Pipeline("sums", {"add": task("add"), "double": task("double", (Edge("add"),))}, Slo(slo_s))


def a_profile(pipeline: Pipeline) -> Profile:
    def measured(task: str, variant: str) -> VariantProfile:
        seconds = SERVICE_S[variant]
        points = [ServicePoint(1, 1, b, seconds * b, {0.5: seconds * b, 0.99: seconds * b}, 50) for b in (1, 4)]
        return VariantProfile(task, variant, tuple(points))

    return Profile({t.name: {v: measured(t.name, v) for v in t.variants} for t in pipeline.tasks.values()})


def a_wiring(fan_out: bool = False) -> Wiring:
    row = TensorInfo("x", F32, (-1, 2))
    summed = TensorInfo("y", F32, (-1, 3, 2) if fan_out else (-1, 2))
    result = TensorInfo("z", F32, (-1, 2))
    return Wiring(
        tasks={
            "add": TaskWiring("add", (row,), (summed,), {"x": Source("request", "x")}),
            "double": TaskWiring(
                "double", (TensorInfo("y", F32, (-1, 2)),), (result,), {"y": Source("add", "y", fan_out)}
            ),
        },
        request=(row,),
        outputs={"z": Source("double", "z")},
        answers=(result,),
    )


def a_plan(*, may_use: bool = True, batch: int = 4, size: str = "l") -> Plan:
    def task(name: str) -> TaskPlan:
        others = (f"{name}-s",) if may_use and size == "l" else ()
        return TaskPlan(name, (Allocation(f"{name}-{size}", 1, 1, 1, batch),), (f"{name}-l", f"{name}-s"), others)

    return Plan({"add": task("add"), "double": task("double")}, 1.0)


Behaviour = Callable[[str, Mapping[str, Tensor]], Awaitable[None]]


class Gate:
    """A behaviour that waits until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, variant: str, inputs: Mapping[str, Tensor]) -> None:
        await self.open.wait()


class ScriptedReplica:
    """Computes the answer after doing whatever its script says."""

    def __init__(self, task: str, behaviour: Behaviour | None = None, *, repeat: int = 1) -> None:
        self.id = f"{task}-fake"
        self.task = task
        self.batches: list[tuple[str, int]] = []
        self._behaviour = behaviour
        self._repeat = repeat

    async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
        values = next(iter(inputs.values()))
        self.batches.append((variant, values.shape[0]))
        if self._behaviour is not None:
            await self._behaviour(variant, inputs)
        return BatchResult(self.answer(values), 0.001)

    def answer(self, values: Tensor) -> Mapping[str, Tensor]:
        """What it makes of a batch."""
        if self.task == "add":
            added = np.add(values, 1, dtype=np.float32)
            return {"y": np.stack([added] * 3, axis=1) if self._repeat == 3 else added}
        return {"z": np.multiply(values, 2, dtype=np.float32)}


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 — what is waited for sets no event
            await asyncio.sleep(0.0005)


class Bench:
    """A data plane that follows a plan; it has no replica yet."""

    def __init__(
        self,
        slo_s: float = 5.0,
        *,
        fan_out: bool = False,
        wiring: Wiring | None = None,
        plan: Plan | None = None,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self.pipeline = a_pipeline(slo_s)
        self.stuck: list[Server] = []
        self.plane = DataPlane(
            self.pipeline,
            a_profile(self.pipeline),
            wiring or a_wiring(fan_out),
            Metrics(self.pipeline),
            asyncio.get_running_loop().time,
            self._on_stuck,
            max_queued=max_queued,
        )
        self.plane.follow(plan or a_plan())

    def _on_stuck(self, server: Server) -> None:
        self.stuck.append(server)
        self.plane.remove(server)

    def add(self, *replicas: ScriptedReplica) -> None:
        for replica in replicas:
            self.plane.add(replica.task, replica, 1)

    async def ask(self, value: float = 1.0, *, rows: int = 1, model: str = "sums", **more: object) -> InferResponse:
        name = "y" if model == "double" else "x"
        inputs = {name: np.full((rows, 2), value, np.float32)}
        return await self.plane.infer(InferRequest(model, inputs, **more))  # type: ignore[arg-type]  # mixed keywords

    def seen(self) -> Observation:
        now_s = asyncio.get_running_loop().time() + 1.0
        return self.plane.window.close(now_s, self.plane.levels({}, {}), 0.0, None)

    def outcomes(self) -> Outcomes:
        return self.seen().outcomes

    def figures(self, model: str) -> list[ModelStatistics]:
        """The pipeline's figures, or those of a task's variants."""
        return [figures for figures in self.plane.statistics() if figures.model == model]
