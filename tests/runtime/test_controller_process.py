"""The controller in a process of its own: the same decisions, and what happens when it is killed, hangs or leaks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from trimtab.control.controller import Controller
from trimtab.control.deciding import RECALLED, Recent
from trimtab.control.journal import JournalHeader, JournalWriter, header_of, read_journal
from trimtab.control.loop import ControlLoop
from trimtab.control.replay import replay
from trimtab.errors import ControllerLostError, PlanRequestError, TrimtabError
from trimtab.forecast import QuantileForecaster
from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.runtime.controller_process import ControllerProcess
from trimtab.spec.model import AccuracyModel
from trimtab.testing import FakePlant, ManualClock, make_chain, observation

pytestmark = pytest.mark.live

PIPELINE, PROFILE = make_chain(
    {
        "locate": {"light": (0.93, 0.003), "heavy": (0.98, 0.025)},
        "read": {"light": (0.88, 0.003), "heavy": (0.975, 0.055)},
    }
)


class Moody:
    """A policy that hangs above 500 requests per second, raises above 200, and else does as `trimtab`."""

    name = "moody"
    decides = frozenset[str]()

    def propose(self, request: PlanRequest) -> PlanResult:
        if request.rate_rps > 500.0:
            while True:
                pass
        if request.rate_rps > 200.0:
            raise RuntimeError("no idea")
        return make_policy("trimtab").propose(request)


def a_header(policy: str = "trimtab") -> JournalHeader:
    controller = Controller(PIPELINE, PROFILE, make_policy(policy), QuantileForecaster(), Limits(cores=2.0))
    return header_of(controller, policy, forecaster="quantile", clock_s=1000.0)


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())
    assert not psutil.Process().children(recursive=True), "a controller was left behind"


async def until_resumed(loop: ControlLoop) -> None:
    """Turns, until a fresh controller has taken over."""
    while not loop.stats.resumed:
        await loop.turn()
        await asyncio.sleep(0.01)  # a process starts meanwhile: no event here tells of it


def test_it_decides_what_a_controller_in_this_process_decides() -> None:
    header = a_header()
    here = Controller(PIPELINE, PROFILE, make_policy("trimtab"), QuantileForecaster(), Limits(cores=2.0))

    async def story() -> None:
        process = ControllerProcess(header)
        try:
            assert await process.start(0.5) == here.start(0.5)
            for second in range(1, 6):
                seen = observation(float(second), 20 * second)
                assert await process.step(seen) == here.step(seen)
                assert process.forecast == here.forecast
            with pytest.raises(PlanRequestError, match="without a variant"):
                await process.change(6.0, {"read.light", "read.heavy"})
            changed = await process.change(6.0, {"read.heavy"})
            assert "heavy" not in (*changed.plan.variants()["read"], *changed.plan.tasks["read"].resident)
            assert await process.resume(7.0, changed.plan, Recent()) is None
        finally:
            await process.stop()

    run(story)


def test_a_killed_controller_is_replaced_and_the_journal_replays(tmp_path: Path) -> None:
    header = a_header()

    async def story() -> None:
        process, plant = ControllerProcess(header), FakePlant([observation(float(s), 20) for s in range(1, 500)])
        with JournalWriter(tmp_path / "j.jsonl", header) as journal:
            loop = ControlLoop(process, plant, ManualClock(), journal=journal)
            try:
                await loop.start()
                for _ in range(5):
                    await loop.turn()
                await loop.plan_without({"read.heavy"})
                before = plant.plan
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                await until_resumed(loop)
                assert plant.plan == before, "the change of controller changed the plan"
                for _ in range(5):
                    await loop.turn()
                assert plant.plan is not None
                assert "heavy" not in plant.plan.tasks["read"].resident
            finally:
                await process.stop()
        assert loop.stats.journal_errors == 0

    run(story)
    journal = read_journal(tmp_path / "j.jsonl")
    resumed = [e.resumed for e in journal.entries if e.resumed]
    assert len(resumed) == 1
    assert any(entry.lost for entry in journal.entries)
    assert replay(journal) == ()


def test_a_controller_that_hangs_is_ended_and_one_that_raises_is_not() -> None:
    async def story() -> None:
        process = ControllerProcess(a_header("tests.runtime.test_controller_process:Moody"), hang_after_s=0.3)
        try:
            await process.start(0.0)
            pid = process.pid
            with pytest.raises(TrimtabError, match="no idea"):
                await process.step(observation(1.0, 300))
            assert process.pid == pid
            with pytest.raises(ControllerLostError, match="no answer within"):
                await process.step(observation(2.0, 3000))
            with pytest.raises(ControllerLostError):
                await process.step(observation(3.0, 1))
        finally:
            await process.stop()

    run(story)


def test_a_stopped_controller_and_one_that_holds_too_much_are_ended() -> None:
    async def story() -> None:
        process = ControllerProcess(a_header(), hang_after_s=0.3, most_bytes=1)
        try:
            decision = await process.start(0.0)
            assert process.pid is None, "a byte is too much for any process"
            process._most_bytes = 1 << 40
            while True:
                try:
                    resumed = await process.resume(1.0, decision.plan, Recent())
                    break
                except ControllerLostError:
                    await asyncio.sleep(0.01)
            assert resumed is not None
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(ControllerLostError):
                await process.step(observation(1.0, 1))
        finally:
            await process.stop()

    run(story)


def test_a_measured_table_reaches_the_process() -> None:
    table: dict[tuple[str, ...], float] = {(a, b): 0.9 for a in ("light", "heavy") for b in ("light", "heavy")}
    header = a_header()
    pipeline = replace(header.pipeline, accuracy=AccuracyModel("measured", table))

    async def story() -> None:
        process = ControllerProcess(replace(header, pipeline=pipeline))
        try:
            assert (await process.start(0.0)).feasible
        finally:
            await process.stop()

    run(story)


def test_what_is_recalled_is_bounded_and_counted() -> None:
    recent = Recent()
    for second in range(RECALLED + 7):
        recent.add(observation(float(second), 1))
    assert len(recent.observations) == RECALLED
    assert recent.seconds_before == sum(len(observation(float(s), 1).arrivals) for s in range(7))
