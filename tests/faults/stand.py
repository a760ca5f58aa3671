"""A real server in this process to break: worker processes, data plane, HTTP on loopback, and clients that keep count.

Used by the fault tests and by `benchmarks/reliability`. When it closes it checks the accounts, and that no process,
descriptor or task is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from tests import models
from tests.faults.accounts import OF_STATUS, Accounts, Ending

from trimtab.control.protocols import Decision
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime.http import make_app
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.server import HttpServer
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant

SIZE = 64
MARGIN_S = 5.0
"""A client that has no answer so long after its deadline hangs: such is the noise of a busy machine, and no more."""
SHAPES = ((1, 1), (2, 1), (2, 2))


def a_pipeline(folder: Path, *, slo_s: float = 5.0, work: int = 20) -> Pipeline:
    """Two tasks in a row, each `y = x` by `work` or a quarter of that many products of matrices."""
    small = max(1, work // 4)
    first = {
        "big": Variant("big", models.slow(folder / "first-big.onnx", work=work, size=SIZE), 0.95),
        "small": Variant("small", models.slow(folder / "first-small.onnx", work=small, size=SIZE), 0.8),
    }
    second = {
        "wide": Variant("wide", models.affine(folder / "wide.onnx", size=SIZE, name="y", output="z"), 0.95),
        "thin": Variant("thin", models.affine(folder / "thin.onnx", size=SIZE, name="y", output="z"), 0.8),
    }
    return Pipeline(
        "chain", {"first": Task("first", first), "second": Task("second", second, (Edge("first"),))}, Slo(slo_s)
    )


def a_profile(pipeline: Pipeline, seconds: Mapping[str, float] | None = None) -> Profile:
    """Service times in proportion to the batch; `seconds`: variant → one item, 1 ms where not named."""

    def points(variant: str) -> tuple[ServicePoint, ...]:
        one_s = (seconds or {}).get(variant, 0.001)
        return tuple(
            ServicePoint(c, t, b, one_s * b, {0.5: one_s * b, 0.99: one_s * b}, 9) for c, t in SHAPES for b in (1, 4)
        )

    return Profile(
        {t.name: {v: VariantProfile(t.name, v, points(v)) for v in t.variants} for t in pipeline.tasks.values()}
    )


@dataclass(frozen=True, slots=True)
class Shape:
    """What a plan gives every task, by short names."""

    variants: tuple[str, ...] = ("big", "wide")
    replicas: tuple[int, ...] = (1, 1)
    cores: tuple[int, ...] = (1, 1)
    batch: int = 4
    resident: bool = True
    """Whether all variants are resident, or the one in use alone."""


def decide(pipeline: Pipeline, shape: Shape) -> Decision:
    """A decision for a plan of this shape."""
    tasks: dict[str, TaskPlan] = {}
    for task, variant, replicas, cores in zip(
        pipeline.tasks.values(), shape.variants, shape.replicas, shape.cores, strict=True
    ):
        group = Allocation(variant, replicas, cores, 1, shape.batch)
        tasks[task.name] = TaskPlan(task.name, (group,), tuple(task.variants) if shape.resident else (variant,))
    return Decision(0, 0.0, Plan(tasks, 1.0), feasible=True, changed=True, actions=(), steps=())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw of one request."""

    ending: Ending
    response_s: float
    version: str = ""
    retry_after: str | None = None


class Stand:
    """A pipeline that is served; made by `standing`."""

    def __init__(
        self, pipeline: Pipeline, plant: LocalPlant, metrics: Metrics, port: int, session: aiohttp.ClientSession
    ):
        self.pipeline = pipeline
        self.plant = plant
        self.accounts = Accounts(metrics)
        self.port = port
        self._session = session
        tensor = {"name": "x", "shape": [1, SIZE], "datatype": "FP32", "data": [1.0] * SIZE}
        self.body = json.dumps({"inputs": [tensor]}).encode()
        self.url = f"http://127.0.0.1:{port}/v2/models/{pipeline.name}/infer"

    async def apply(self, shape: Shape, *, wait: bool = True) -> None:
        """Follow a plan; with `wait`, until its replicas serve."""
        await self.plant.apply(decide(self.pipeline, shape))
        if wait:
            await self.plant.ready()

    async def ask(self, timeout_s: float | None = None) -> Answer:
        """One request over HTTP, to its end, whatever that is; `timeout_s` is told to the server as its deadline."""
        limit_s = (timeout_s or self.pipeline.slo.latency_s) + MARGIN_S
        headers = {} if timeout_s is None else {"x-request-timeout-ms": f"{1e3 * timeout_s:.3f}"}
        began_s = time.perf_counter()
        version, retry_after = "", None
        try:
            async with asyncio.timeout(limit_s), self._session.post(self.url, data=self.body, headers=headers) as reply:
                text = await reply.read()
                ending = OF_STATUS.get(reply.status, "rejected")
                retry_after = reply.headers.get("retry-after")
                if ending == "answered":
                    version = json.loads(text).get("model_version", "")
        except TimeoutError:
            ending = "hung"
        except (aiohttp.ClientError, OSError):
            ending = "failed"
        self.accounts.client[ending] += 1
        return Answer(ending, time.perf_counter() - began_s, version, retry_after)

    async def observe(self) -> None:
        """Look at the plant, as the controller would."""
        self.accounts.observed(await self.plant.observe())

    def workers(self) -> list[psutil.Process]:
        """The worker processes."""
        return [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]

    async def settle(self) -> None:
        """Observe once nothing is queued or in service and the second of the last arrival is complete."""
        await until(lambda: not self._busy(), 20.0, lambda: "work is left in the data plane")
        complete_s = math.floor(time.monotonic()) + 1  # a plant reports arrivals by complete seconds
        await until(lambda: time.monotonic() >= complete_s, 5.0)
        await self.observe()

    def _busy(self) -> bool:
        return any(level.queued or level.in_service for level in self.plant.data_plane.levels({}, {}).values())


@asynccontextmanager
async def standing(
    pipeline: Pipeline, *, cores: int = 2, shape: Shape | None = None, seconds: Mapping[str, float] | None = None
) -> AsyncIterator[Stand]:
    """Serve `pipeline` by `shape`; on the way out, check accounts and leftovers.

    Raises:
        AssertionError: a request is missing or counted otherwise somewhere, or something is left behind.
    """
    metrics = Metrics(pipeline)
    wiring = check_interfaces(pipeline)  # with the first model ONNX Runtime opens files of its own, for good
    before = _held()
    plant = LocalPlant(pipeline, a_profile(pipeline, seconds), wiring, metrics, cores)
    server = HttpServer(make_app(plant.data_plane, metrics))
    port = await server.start("127.0.0.1", 0)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            stand = Stand(pipeline, plant, metrics, port, session)
            await stand.apply(shape or Shape())
            yield stand
            await stand.settle()
            problems = stand.accounts.problems()
            assert not problems, "\n".join([*problems, stand.accounts.table()])
    finally:
        await server.stop(1.0)
        await plant.stop(1.0)
    await until(lambda: _held() <= before, 5.0, lambda: f"left behind: {_held()}, before: {before}")


def _held() -> tuple[int, int, int]:
    """Processes under this one, its descriptors, and tasks of the loop."""
    me = psutil.Process()
    return len(me.children(recursive=True)), descriptors(), len(asyncio.all_tasks())


def descriptors() -> int:
    """Open files of this process but for the null device, which event loops keep open for their processes."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that the listing itself had open
            count += str(entry.readlink()) != os.devnull
    return count


async def until(
    true: Callable[[], bool], within_s: float, words: Callable[[], str] = lambda: "it did not come"
) -> None:
    """Wait for a state that sets no event.

    Raises:
        AssertionError: it did not come in time.
    """
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, words()
        await asyncio.sleep(0.01)
