from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from trimtab.control.controller import Controller
from trimtab.control.journal import JournalEntry, JournalHeader, JournalWriter, read_journal
from trimtab.control.loop import ControlLoop
from trimtab.control.protocols import Decision
from trimtab.control.replay import replay
from trimtab.errors import JournalError, PlanRequestError, PlantError
from trimtab.observe.model import Observation
from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.testing import FakePlant, ManualClock, observation

MakeController = Callable[..., Controller]
ROOMY = Limits(cores=2.0)
RIGID = Limits(cores=2.0, in_place_variants=False)
"""Replicas that cannot step down, so that a heavy load changes the plan at once."""


@pytest.fixture
def make_controller(make_controller: MakeController) -> MakeController:
    return partial(make_controller, limits=RIGID)


class Broken:
    """A policy that can be told to fail or to hang."""

    name = "broken"
    decides = frozenset[str]()

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def propose(self, request: PlanRequest) -> PlanResult:
        if self.gate is not None:
            self.gate.wait(10.0)
        if self.error is not None:
            raise self.error
        return make_policy("trimtab").propose(request)


def heavy_load(seconds: int) -> list[Observation | Exception]:
    return [observation(float(second), 120) for second in range(1, seconds + 1)]


def test_it_starts_turns_and_applies_only_changes(make_controller: MakeController) -> None:
    async def scenario() -> None:
        plant = FakePlant(heavy_load(4))
        told: list[tuple[int, bool]] = []

        def note(turn: JournalEntry, took_s: float) -> None:
            assert turn.decision is not None
            assert took_s == 0.0  # the manual clock stood still
            told.append((turn.decision.sequence, turn.observation is None))

        loop = ControlLoop(make_controller(), plant, ManualClock(), on_turn=note)
        first = await loop.start()
        assert plant.applied == [first]
        for _ in range(4):
            await loop.turn()
        assert len(plant.applied) == 2
        assert plant.plan is not None
        assert plant.plan.tasks["read"].allocations[0].variant == "light"
        assert told == [(0, True), (1, False), (2, False), (3, False), (4, False)]
        assert (loop.stats.decisions, loop.stats.changes) == (5, 2)

    asyncio.run(scenario())


def test_what_breaks_is_counted_and_the_last_plan_stands(
    make_controller: MakeController, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        policy = Broken()
        plant = FakePlant([PlantError("gone"), *heavy_load(1), ValueError("a bug"), *heavy_load(2)[1:]])
        loop = ControlLoop(make_controller(policy), plant, ManualClock())
        first = await loop.start()
        await loop.turn()
        policy.error = RuntimeError("no idea")
        await loop.turn()
        await loop.turn()
        assert plant.applied == [first]
        assert (loop.stats.observe_errors, loop.stats.decide_errors) == (2, 1)
        policy.error = None
        await loop.turn()
        assert len(plant.applied) == 2

    asyncio.run(scenario())
    assert "the last plan stands" in caplog.text
    assert "no idea" in caplog.text


def test_a_plan_that_could_not_be_applied_is_tried_again(make_controller: MakeController) -> None:
    async def scenario() -> None:
        plant = FakePlant(heavy_load(3))
        loop = ControlLoop(make_controller(), plant, ManualClock())
        first = await loop.start()
        plant.fail_next_apply = PlantError("not now")
        await loop.turn()
        assert plant.plan == first.plan
        assert loop.stats.apply_errors == 1
        await loop.turn()
        assert plant.plan != first.plan
        applied = len(plant.applied)
        await loop.turn()
        assert len(plant.applied) == applied

    asyncio.run(scenario())


def test_a_slow_decision_is_said_and_applied_when_it_comes(
    make_controller: MakeController, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        policy, plant = Broken(), FakePlant(heavy_load(1))
        loop = ControlLoop(make_controller(policy), plant, ManualClock(), decide_within_s=0.01)
        first = await loop.start()
        policy.gate = threading.Event()
        turn = asyncio.create_task(loop.turn())
        while loop.stats.overruns == 0:  # noqa: ASYNC110 — the bound is in real time; nothing else tells of it
            await asyncio.sleep(0.001)
        assert plant.plan == first.plan
        policy.gate.set()
        await turn
        assert plant.plan != first.plan

    asyncio.run(scenario())
    assert "the last plan stands meanwhile" in caplog.text


def test_an_impossible_start_reaches_the_caller(make_controller: MakeController) -> None:
    async def scenario() -> None:
        policy, plant = Broken(), FakePlant()
        policy.error = PlanRequestError("nothing fits")
        with pytest.raises(PlanRequestError, match="nothing fits"):
            await ControlLoop(make_controller(policy), plant, ManualClock()).start()
        assert plant.applied == []

    asyncio.run(scenario())


def test_it_runs_by_the_clock_until_it_is_stopped(make_controller: MakeController) -> None:
    async def scenario() -> None:
        clock, plant, stop = ManualClock(), FakePlant(), asyncio.Event()
        seen: list[float] = []

        def note(_: JournalEntry, __: float) -> None:
            seen.append(clock.now_s())

        loop = ControlLoop(make_controller(), plant, clock, on_turn=note, interval_s=1.0)
        await loop.start()
        running = asyncio.create_task(loop.run(stop))
        for _ in range(3):
            await clock.someone_sleeps()
            await clock.advance(1.0)
        await clock.someone_sleeps()
        stop.set()
        assert (await running).decisions == 4
        assert seen == [0.0, 1.0, 2.0, 3.0]

    asyncio.run(scenario())


def test_a_plant_that_never_finishes_applying_is_asked_again(make_controller: MakeController) -> None:
    class Hanging(FakePlant):
        hung = 0

        async def apply(self, decision: Decision) -> None:
            if decision.sequence and not self.hung:
                self.hung += 1
                await asyncio.Event().wait()
            await super().apply(decision)

    async def scenario() -> None:
        plant = Hanging(heavy_load(2))
        loop = ControlLoop(make_controller(), plant, ManualClock(), apply_within_s=0.01)
        await loop.start()
        await loop.turn()
        assert (loop.stats.apply_errors, len(plant.applied)) == (1, 1)
        await loop.turn()
        assert (loop.stats.apply_errors, len(plant.applied)) == (1, 2)

    asyncio.run(scenario())


def test_a_journalled_run_replays_even_over_failures(make_controller: MakeController, tmp_path: Path) -> None:
    async def scenario() -> None:
        controller, plant = make_controller(), FakePlant([*heavy_load(3), PlantError("gone"), observation(9.0, None)])
        header = JournalHeader(
            controller.pipeline, controller.profile, "trimtab", "quantile", controller.settings, controller.limits
        )
        with JournalWriter(tmp_path / "j.jsonl", header) as journal:
            loop = ControlLoop(controller, plant, ManualClock(), journal=journal)
            await loop.start()
            for _ in range(6):
                await loop.turn()
        assert loop.stats.journal_errors == 0
        await loop.turn()  # the journal is closed: the loop lives on
        assert loop.stats.journal_errors == 1

    asyncio.run(scenario())
    journal = read_journal(tmp_path / "j.jsonl")
    assert len(journal.entries) == 6
    assert replay(journal) == ()


def test_a_full_disk_is_said_once_and_so_is_room_again(
    make_controller: MakeController, caplog: pytest.LogCaptureFixture
) -> None:
    class Full:
        full = True

        def append(self, entry: JournalEntry) -> None:
            if self.full:
                raise JournalError("no space left")

    async def scenario() -> None:
        journal = Full()
        loop = ControlLoop(make_controller(), FakePlant(heavy_load(5)), ManualClock(), journal=cast("Any", journal))
        await loop.start()
        for _ in range(3):
            await loop.turn()
        assert loop.stats.journal_errors == 4
        journal.full = False
        await loop.turn()
        await loop.turn()
        assert loop.stats.journal_errors == 4

    asyncio.run(scenario())
    assert caplog.text.count("not recorded for now") == 1
    assert caplog.text.count("recorded again") == 1


class Leaping(ManualClock):
    """A clock that leaps while nobody looks, as after a suspension."""

    leapt_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.leapt_s


def test_a_clock_that_leaps_forward_makes_up_for_no_turns(make_controller: MakeController) -> None:
    async def scenario() -> None:
        clock, stop = Leaping(), asyncio.Event()
        away = replace(observation(63.0, 20), window_s=61.0, arrivals=(20, *[None] * 60))
        plant = FakePlant([observation(1.0, 20), observation(2.0, 20), away, observation(64.0, 20)])
        seen: list[float] = []
        loop = ControlLoop(make_controller(), plant, clock, on_turn=lambda _, __: seen.append(clock.now_s()))
        await loop.start()
        running = asyncio.create_task(loop.run(stop))
        for leap_s in (0.0, 0.0, 60.0, 0.0):
            await clock.someone_sleeps()
            clock.leapt_s += leap_s
            await clock.advance(1.0)
        await clock.someone_sleeps()
        stop.set()
        stats = await running
        assert seen == [0.0, 1.0, 2.0, 63.0, 64.0]
        assert (stats.decide_errors, stats.apply_errors) == (0, 0)

    asyncio.run(scenario())


def test_it_stops_while_a_decision_hangs(make_controller: MakeController) -> None:
    async def scenario() -> None:
        policy, clock, stop = Broken(), ManualClock(), asyncio.Event()
        policy.gate = threading.Event()
        loop = ControlLoop(make_controller(policy), FakePlant(heavy_load(1)), clock, decide_within_s=0.01)
        policy.gate.set()
        await loop.start()
        policy.gate.clear()
        running = asyncio.create_task(loop.run(stop))
        await clock.someone_sleeps()
        await clock.advance(1.0)
        while loop.stats.overruns == 0:  # noqa: ASYNC110 — the bound is in real time; nothing else tells of it
            await asyncio.sleep(0.001)
        stop.set()
        await running
        policy.gate.set()

    asyncio.run(scenario())


def test_variants_are_taken_away_and_given_back(make_controller: MakeController) -> None:
    async def scenario() -> None:
        plant = FakePlant(heavy_load(3))
        loop = ControlLoop(make_controller(limits=ROOMY), plant, ManualClock())
        await loop.start()
        await loop.turn()
        await loop.plan_without({"read.light", "locate.heavy"})
        assert plant.plan is not None
        assert "light" not in plant.plan.tasks["read"].resident
        before = plant.plan
        with pytest.raises(PlanRequestError, match="without a variant"):
            await loop.plan_without({"read.light", "read.middle", "read.heavy"})
        assert plant.plan == before
        await loop.plan_without(set())
        assert plant.plan == before, "a plan that may be kept is kept"
        await loop.turn()
        await loop.turn()
        assert "light" in plant.plan.tasks["read"].resident

    asyncio.run(scenario())
