"""Faults of workers and models under load through HTTP; "no fault" is one of them, and the accounts are the same."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests import models
from tests.faults.stand import Shape, Stand, a_pipeline, decide, standing, until

from trimtab.errors import PlantError
from trimtab.runtime import batches

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores"),
]
Fault = Callable[[Stand], Awaitable[None]]


async def nothing(stand: Stand) -> None:
    """No fault."""


async def killed(stand: Stand) -> None:
    """One worker is killed."""
    stand.workers()[0].send_signal(signal.SIGKILL)


async def all_killed(stand: Stand) -> None:
    """Every worker is killed."""
    for worker in stand.workers():
        worker.send_signal(signal.SIGKILL)


async def stopped(stand: Stand) -> None:
    """Every worker stands still, as in a debugger or on a machine that swaps."""
    for worker in stand.workers():
        worker.send_signal(signal.SIGSTOP)


async def corrupted(stand: Stand) -> None:
    """A switch to a model whose file is corrupt."""
    path = stand.pipeline.tasks["first"].variants["small"].model
    assert path is not None
    models.corrupt(path)
    with pytest.raises(PlantError, match="cannot be loaded"):
        await stand.apply(Shape(variants=("small", "wide"), resident=False))


async def out_of_memory(stand: Stand) -> None:
    """A switch to a model for which a worker has no memory."""
    for worker in stand.workers():
        used = worker.memory_info().vms
        psutil.Process(worker.pid).rlimit(psutil.RLIMIT_AS, (used, used))
    with pytest.raises(PlantError):
        await stand.apply(Shape(variants=("small", "thin"), resident=False))


UNHARMED = {nothing, corrupted}
"""Faults that must not cost one request."""


@pytest.mark.parametrize(
    "fault", [nothing, killed, all_killed, stopped, corrupted, out_of_memory], ids=lambda f: f.__name__
)
def test_every_request_is_accounted_for_and_serving_goes_on(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "STUCK_AFTER_S", 0.3)

    async def story() -> None:
        async with standing(a_pipeline(tmp_path), shape=Shape(resident=False)) as stand:
            asking = []
            for number in range(60):
                asking.append(asyncio.create_task(stand.ask()))
                if number == 20:
                    await fault(stand)
                if number % 10 == 9:
                    await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            endings = {answer.ending for answer in await asyncio.gather(*asking)}
            await until(stand.plant.data_plane.ready, 20.0, lambda: "not ready again")
            assert (await stand.ask()).ending == "answered"
            if fault in UNHARMED:
                assert endings == {"answered"}
            assert endings <= {"answered", "refused", "dropped"}

    asyncio.run(story())


def test_the_old_variant_serves_on_where_the_new_one_is_corrupt(tmp_path: Path) -> None:
    async def story() -> None:
        async with standing(a_pipeline(tmp_path), shape=Shape(resident=False)) as stand:
            before = await stand.ask()
            await corrupted(stand)
            after = await stand.ask()
            assert (before.version, after.version) == ("big+wide", "big+wide")

    asyncio.run(story())


def test_changes_of_plan_under_load_fail_nothing(tmp_path: Path) -> None:
    pipeline = a_pipeline(tmp_path, slo_s=10.0)
    shapes = [
        Shape(variants=("small", "thin")),
        Shape(batch=1),
        Shape(variants=("small", "wide"), batch=2),
        Shape(variants=("big", "thin"), resident=False),
        Shape(),
    ]

    async def story() -> None:
        async with standing(pipeline) as stand:
            for shape in shapes:
                asking = [asyncio.create_task(stand.ask()) for _ in range(15)]
                await stand.plant.apply(decide(pipeline, shape))
                assert {answer.ending for answer in await asyncio.gather(*asking)} == {"answered"}

    asyncio.run(story())


def test_a_worker_that_talks_nonsense_is_ended_and_started_again_beside_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are no frame, from a program in the worker's place."""
    program, told = tmp_path / "babble", tmp_path / "told"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nopen({str(told)!r}, 'w').close()\n"
        "os.write(int(sys.argv[-1]), bytes(range(256)) * 9)\n"
    )
    program.chmod(0o755)

    async def story() -> None:
        whole = a_pipeline(tmp_path)
        pipeline = replace(whole, tasks={"first": whole.tasks["first"]})
        async with standing(pipeline, shape=Shape(("big",), (1,), (1,))) as stand:
            with monkeypatch.context() as patched:
                patched.setattr(sys, "executable", str(program))
                await stand.apply(Shape(("big",), (2,), (1,)), wait=False)
                answers = await asyncio.gather(*(stand.ask() for _ in range(30)))
                assert {answer.ending for answer in answers} == {"answered"}
                await until(told.exists, 10.0, lambda: "the program did not run")
            plane = stand.plant.data_plane
            await until(lambda: plane.levels({}, {})["first"].replicas_ready == 2, 20.0, lambda: "no second replica")

    asyncio.run(story())
