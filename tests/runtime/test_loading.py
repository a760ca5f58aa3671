"""Variants whose loading takes the worker with it: the others serve again, and it is held back for a while."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import psutil
import pytest
from tests.cli.test_serve import Served, serving, stop

from trimtab.control.protocols import Decision
from trimtab.errors import PlantError, RequestError
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.service import InferRequest
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.model import Pipeline, Slo, Task, Variant

pytestmark = pytest.mark.live

CLASSES = """
import os, pathlib, signal, time

HERE = pathlib.Path(__file__).parent

class Good:
    inputs = [("x", "FP32", [-1, 4])]
    outputs = [("y", "FP32", [-1, 4])]

    def predict(self, x):
        return {"y": x + 1}

class Bad(Good):
    def __init__(self):
        with (HERE / "loads").open("a") as file:
            file.write("x")
        if (HERE / "kill").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (HERE / "hang").exists():
            time.sleep(600)
"""

SPEC = """
name: sums
tasks:
  t:
    variants:
      bad: {model: "own.py:Bad", accuracy: 0.9}
      good: {model: "own.py:Good", accuracy: 0.8}
slo: {latency: 5s}
budget: {cores: 1}
profile:
  tasks:
    t:
      bad: {points: [{cores: 1, batch: 1, quantiles_s: {0.5: 0.001, 0.99: 0.002}}]}
      good: {points: [{cores: 1, batch: 1, quantiles_s: {0.5: 0.001, 0.99: 0.002}}]}
"""


@dataclass
class Stand:
    """A plant of one replica of the variants `good` and `bad`."""

    plant: LocalPlant
    folder: Path

    def turn(self, what: str) -> None:
        """From now on loading `bad` does this: `kill` or `hang`."""
        (self.folder / "loads").write_text("")
        (self.folder / what).touch()

    @property
    def loads(self) -> int:
        """How often `bad` was loaded since."""
        return len((self.folder / "loads").read_text())

    async def follow(self, variant: str, *resident: str) -> None:
        task = TaskPlan("t", (Allocation(variant, 1, 1, 1, 1),), resident or (variant,))
        plan = Plan({"t": task}, 1.0)
        await self.plant.apply(Decision(0, 0.0, plan, feasible=True, changed=True, actions=(), steps=()))

    async def answers(self) -> str:
        """The variant that answers, as soon as one does."""
        while True:
            try:
                response = await self.plant.data_plane.infer(InferRequest("t", {"x": np.ones((1, 4), np.float32)}))
            except RequestError:
                await asyncio.sleep(0.02)
            else:
                assert response.outputs["y"].tolist() == [[2.0] * 4]
                return response.version


@pytest.fixture(autouse=True)
def _lost_workers_are_started_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.runtime.plant.RESTART_DELAY_S", (0.0,))


@asynccontextmanager
async def stand(folder: Path) -> AsyncIterator[Stand]:
    (folder / "own.py").write_text(CLASSES)
    variants = {name.lower(): Variant(name.lower(), folder / "own.py", 0.9, entry=name) for name in ("Good", "Bad")}
    pipeline = Pipeline("p", {"t": Task("t", variants)}, Slo(60.0))
    points = (ServicePoint(1, 1, 1, 0.001, {0.5: 0.001, 0.99: 0.002}, 9),)
    profile = Profile({"t": {name: VariantProfile("t", name, points) for name in variants}})
    plant = LocalPlant(pipeline, profile, check_interfaces(pipeline), Metrics(pipeline), 1)
    try:
        async with asyncio.timeout(60):
            yield Stand(plant, folder)
    finally:
        await plant.stop(1.0)
        assert not psutil.Process().children(recursive=True), "the plant left processes behind"


@pytest.mark.parametrize(("what", "told"), [("kill", "killed by SIGKILL"), ("hang", "was not loaded within 1 s")])
def test_a_switch_that_kills_the_worker_is_given_up_and_not_tried_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, told: str
) -> None:
    async def story() -> None:
        async with stand(tmp_path) as s:
            await s.follow("good")
            await s.plant.ready()
            with monkeypatch.context() as short:
                short.setattr("trimtab.runtime.loading.START_TIMEOUT_S", 1.0)
                s.turn(what)
                with pytest.raises(PlantError, match=f"variant 'bad' cannot be loaded(.|\n)*{told}"):
                    await s.follow("bad")
            assert await s.answers() == "good"
            assert s.plant.failed.held_back() == {("t", "bad")}
            workers = psutil.Process().children()
            with pytest.raises(PlantError, match=f"{told}(.|\n)*it is tried again in"):
                await s.follow("bad")
            assert psutil.Process().children() == workers
            assert s.loads <= 1

    asyncio.run(story())


@pytest.mark.parametrize(("resident", "loads"), [(("good", "bad"), 1), (("bad", "good"), 2)])
def test_a_replica_that_starts_again_does_without_what_kills_it(
    tmp_path: Path, resident: tuple[str, ...], loads: int
) -> None:
    async def story() -> None:
        async with stand(tmp_path) as s:
            await s.follow("good", *resident)
            await s.plant.ready()
            s.turn("kill")
            psutil.Process().children()[0].kill()
            while not s.plant.failed.held_back():  # noqa: ASYNC110 — a level, no event
                await asyncio.sleep(0.02)
            assert await s.answers() == "good"
            assert s.plant.failed.held_back() == {("t", "bad")}
            assert s.loads == loads

    asyncio.run(story())


def test_a_worker_killed_by_somebody_else_while_it_starts_costs_no_variant(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as s:
            await s.follow("bad")
            await s.plant.ready()
            s.turn("hang")
            psutil.Process().children()[0].kill()
            while not s.loads:  # noqa: ASYNC110 — a level, no event
                await asyncio.sleep(0.02)
            (tmp_path / "hang").unlink()
            psutil.Process().children()[0].kill()
            assert await s.answers() == "bad"
            assert not s.plant.failed.held_back()

    asyncio.run(story())


@pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores")
def test_a_served_pipeline_goes_on_without_the_variant_and_tells_why(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CLASSES)
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(SPEC)

    def ask(served: Served) -> str:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0] * 4}]}
        status, answer = served.post("/v2/models/t/infer", json.dumps(body).encode())
        return str(answer.get("model_version")) if status == 200 else ""

    def reason(served: Served) -> str:
        _, index = served.post("/v2/repository/index", b"{}")
        (told,) = (
            str(entry["reason"]) for entry in cast("list[dict[str, object]]", index) if entry["version"] == "bad"
        )
        return told

    with serving(spec, "--no-grpc", "--cores", "1") as served:
        assert ask(served) == "bad"
        (tmp_path / "kill").touch()
        served.workers("worker")[0].kill()
        while "killed by SIGKILL" not in reason(served):
            assert served.process.poll() is None
        while ask(served) != "good":
            assert served.process.poll() is None
        code, _ = stop(served, signal.SIGTERM)
        assert code == 0
