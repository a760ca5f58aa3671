"""Repository control over a running plant and its control loop: unload, load, a file that was replaced or broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests import models

from trimtab.control.controller import Controller
from trimtab.control.loop import ControlLoop
from trimtab.control.settings import limits_of
from trimtab.errors import FailedError, InvalidInputError, PlantError, UnknownModelError
from trimtab.forecast import QuantileForecaster
from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.runtime.metrics import Metrics
from trimtab.runtime.plant import LocalPlant
from trimtab.runtime.repository import PlannedRepository
from trimtab.runtime.service import InferRequest
from trimtab.runtime.wiring import check_interfaces
from trimtab.spec.model import Pipeline, Slo, Task, Variant
from trimtab.testing import ManualClock

pytestmark = pytest.mark.live


class Served:
    """A plant, its loop and its repository, and a question to them."""

    def __init__(self, folder: Path) -> None:
        self.files = {"one": folder / "one.onnx", "two": folder / "two.onnx"}
        variants = {
            "two": Variant("two", models.affine(self.files["two"], scale=1, offset=2), 0.9),
            "one": Variant("one", models.affine(self.files["one"], scale=1, offset=1), 0.8),
        }
        self.pipeline = Pipeline("sums", {"add": Task("add", variants)}, Slo(5.0))
        points = tuple(ServicePoint(1, 1, b, 0.001 * b, {0.5: 0.001 * b, 0.99: 0.002 * b}, 9) for b in (1, 4))
        profile = Profile({"add": {v: VariantProfile("add", v, points) for v in variants}})
        wiring = check_interfaces(self.pipeline)
        self.plant = LocalPlant(self.pipeline, profile, wiring, Metrics(self.pipeline), 1)
        limits = limits_of(self.pipeline, self.plant.capabilities)
        controller = Controller(self.pipeline, profile, make_policy("trimtab"), QuantileForecaster(), limits)
        self.loop = ControlLoop(controller, self.plant, ManualClock())
        self.repository = PlannedRepository(self.pipeline, wiring, self.plant, self.loop)
        self.plant.data_plane.loading = self.repository

    async def ask(self) -> float:
        answer = await self.plant.data_plane.infer(InferRequest("sums", {"x": np.ones((1, 4), np.float32)}))
        return float(answer.outputs["y"].ravel()[0])

    def entry(self, variant: str) -> tuple[bool, str]:
        (found,) = (e for e in self.repository.entries() if e.version == variant)
        return found.ready, found.reason


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    it = Served(folder)
    try:
        await it.loop.start()
        await it.plant.ready()
        yield it
    finally:
        await it.repository.stop()
        await it.plant.stop(1.0)
        assert not psutil.Process().children(recursive=True)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


def test_a_variant_is_unloaded_and_loaded_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as it:
            assert await it.ask() == 3.0
            assert [(e.name, e.version, e.ready) for e in it.repository.entries()][:2] == [
                ("sums", "", True),
                ("add", "", True),
            ]
            await it.repository.unload("add.two")
            assert await it.ask() == 2.0
            assert it.entry("two") == (False, "it was unloaded on request")
            await it.repository.unload("add.two")
            for name in ("add.one", "add", "sums"):
                with pytest.raises(InvalidInputError):
                    await it.repository.unload(name)
            for name in ("add.three", "nothing", ""):
                with pytest.raises(UnknownModelError):
                    await it.repository.load(name)
            await it.repository.load("add.two")
            assert it.entry("two")[1] == "the plan in force does not use it"
            await it.repository.unload("add.one")  # leaves the planner only the other one
            assert await it.ask() == 3.0
            assert it.entry("two") == (True, "")

    run(story)


def test_a_file_is_read_anew_and_a_bad_one_leaves_the_old_one_serving(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as it:
            models.affine(it.files["two"], scale=1, offset=5)
            assert await it.ask() == 3.0
            await asyncio.gather(it.repository.load("add.two"), it.repository.load("sums"))
            assert await it.ask() == 6.0
            models.affine(it.files["two"], scale=1, offset=6, size=7)
            with pytest.raises(FailedError, match="other ones than those"):
                await it.repository.load("add.two")
            models.corrupt(it.files["two"])
            with pytest.raises(FailedError, match=r"two\.onnx"):
                await it.repository.load("add")
            assert await it.ask() == 6.0
            assert it.entry("two") == (True, "")

    run(story)


def test_a_variant_that_cannot_be_loaded_is_not_asked_for_again_and_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as it:
            await it.repository.unload("add.two")
            models.corrupt(it.files["two"])
            with pytest.raises(PlantError, match="'two' cannot be loaded"):
                await it.loop.plan_without({"add.one"})
            with pytest.raises(PlantError, match="tried again in"):
                await it.loop.plan_without({"add.one"})
            failure = it.plant.failed.of("add", "two")
            assert failure is not None
            assert failure.times == 1
            assert await it.ask() == 2.0

    run(story)


def test_what_failed_is_planned_without_until_it_is_loaded(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as it:
            assert await it.ask() == 3.0
            it.plant.failed.note("add", "two", "no room for it")
            while await it.ask() != 2.0:  # noqa: ASYNC110 — the planner is told beside serving
                await asyncio.sleep(0.001)
            assert it.entry("two") == (False, "it cannot be loaded: no room for it")
            await it.repository.load("add.two")
            assert it.entry("two") == (False, "the plan in force does not use it")
            it.plant.failed.note("add", "two", "again")
            it.plant.failed.note("add", "one", "too")
            await it.repository.unload("add.two")
            assert await it.ask() == 2.0, "the last variant of a task is used, whatever is said of it"

    run(story)
