"""Faults around the controller: it is killed or hangs, the journal's disk is full. The last plan serves on."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from tests.faults.stand import Stand, a_pipeline, a_profile, standing

from trimtab.control.controller import Controller
from trimtab.control.journal import JournalHeader, JournalWriter, header_of, read_journal
from trimtab.control.loop import ControlLoop
from trimtab.forecast import QuantileForecaster
from trimtab.plan.model import Limits
from trimtab.plan.policies import make_policy
from trimtab.runtime.controller_process import ControllerProcess

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores"),
]


class _Clock:
    def now_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def a_controller(stand: Stand) -> Controller:
    return Controller(
        stand.pipeline, a_profile(stand.pipeline), make_policy("trimtab"), QuantileForecaster(), Limits(cores=2.0)
    )


def a_header(stand: Stand) -> JournalHeader:
    return header_of(a_controller(stand), "trimtab", forecaster="quantile")


@asynccontextmanager
async def observing(stand: Stand) -> AsyncIterator[None]:
    """The stand's accounts take in what a control loop observes, too."""
    plain = stand.plant.observe

    async def observe() -> object:
        seen = await plain()
        stand.accounts.observed(seen)
        return seen

    stand.plant.observe = observe  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        stand.plant.observe = plain  # type: ignore[method-assign]


@pytest.mark.parametrize("fault", [None, signal.SIGKILL, signal.SIGSTOP], ids=lambda f: f.name if f else "nothing")
def test_serving_goes_on_while_the_controller_is_gone_and_decisions_come_back(
    fault: signal.Signals | None, tmp_path: Path
) -> None:
    async def story() -> None:
        async with standing(a_pipeline(tmp_path)) as stand, observing(stand):
            deciding = ControllerProcess(a_header(stand), hang_after_s=0.5)
            loop = ControlLoop(deciding, stand.plant, _Clock())
            try:
                await loop.start()
                await stand.plant.ready()
                await loop.turn()
                plan = stand.plant.data_plane.plan
                if fault is not None:
                    assert deciding.pid is not None
                    os.kill(deciding.pid, fault)
                    await loop.turn()
                    assert loop.stats.decide_errors == 1
                    assert stand.plant.data_plane.plan is plan
                answers = await asyncio.gather(*(stand.ask() for _ in range(20)))
                assert {answer.ending for answer in answers} == {"answered"}
                async with asyncio.timeout(20.0):
                    while fault is not None and loop.stats.resumed == 0:
                        await loop.turn()
                        await asyncio.sleep(0.05)
                await loop.turn()
                assert loop.stats.resumed == (fault is not None)
                assert (await stand.ask()).ending == "answered"
            finally:
                await deciding.stop()

    asyncio.run(story())


def test_a_full_disk_stops_the_journal_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with standing(a_pipeline(tmp_path)) as stand, observing(stand):
            controller = a_controller(stand)
            path = tmp_path / "run.journal"
            with JournalWriter(path, header_of(controller, "trimtab", forecaster="quantile")) as journal:
                loop = ControlLoop(controller, stand.plant, _Clock(), journal=journal)
                await loop.start()
                await stand.plant.ready()
                soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                # No file of this process may grow beyond this: a write ends in an error, as on a full disk.
                resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
                try:
                    for _ in range(3):
                        await loop.turn()
                        assert (await stand.ask()).ending == "answered"
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                assert loop.stats.journal_errors == 3
                read_journal(path)  # what is on the disk is whole
                await loop.turn()
                assert loop.stats.journal_errors == 3
            assert len(read_journal(path).entries) == 5  # the start and four turns, those that waited among them

    asyncio.run(story())
