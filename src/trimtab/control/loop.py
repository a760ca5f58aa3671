"""The one live loop: observe, decide, apply, journal, once an interval. The async shell around the controller.

Nothing that goes wrong here reaches the data plane or ends the loop: it is logged, counted, and the last plan stands.
The controller is asked in a thread, or in a process of its own (`deciding.Decider`), which may be lost and come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from trimtab.control.controller import Controller
from trimtab.control.deciding import Decider, InThread, Recent
from trimtab.control.journal import JournalEntry, JournalWriter
from trimtab.control.protocols import Clock, Decision, Plant
from trimtab.errors import ControllerLostError
from trimtab.observe.model import Observation

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LoopStats:
    """What the loop has done so far, for metrics."""

    decisions: int = 0
    changes: int = 0
    observe_errors: int = 0
    decide_errors: int = 0
    resumed: int = 0
    """Times that a fresh controller took the place of a lost one."""
    apply_errors: int = 0
    journal_errors: int = 0
    overruns: int = 0
    """Decisions that took longer than they may; the last plan stood meanwhile."""


class ControlLoop:
    """Runs one controller on one plant."""

    def __init__(
        self,
        controller: Controller | Decider,
        plant: Plant,
        clock: Clock,
        *,
        journal: JournalWriter | None = None,
        on_turn: Callable[[JournalEntry, float], None] | None = None,
        interval_s: float = 1.0,
        decide_within_s: float = 1.0,
        apply_within_s: float = 15.0,
    ) -> None:
        """Make a loop; `start` and `run` do the work.

        Args:
            controller: decides, never twice at once; a plain `Controller` is called in a thread.
            plant: observes and applies.
            clock: time; the loop sleeps by it.
            journal: takes every turn; None: none is kept. The caller closes it.
            on_turn: told of every turn and of the seconds that deciding took (metrics, report); must be quick.
            interval_s: time between observations.
            decide_within_s: a decision that takes longer is an overrun: that is said, and it is applied when it comes.
            apply_within_s: a plant that takes longer to apply is given up for this turn and asked again in the next.
        """
        self._decider = InThread(controller) if isinstance(controller, Controller) else controller
        self._plant, self._clock = plant, clock
        self._journal, self._on_turn = journal, on_turn
        self._interval_s, self._decide_within_s, self._apply_within_s = interval_s, decide_within_s, apply_within_s
        self._to_apply: Decision | None = None
        self._recent = Recent()
        self._without: frozenset[str] = frozenset()
        self._turning = asyncio.Lock()
        self._recording = True
        self.stats = LoopStats()
        self.last: Decision | None = None

    async def start(self) -> Decision:
        """Decide and apply the first plan, before anything was seen. Here errors do reach the caller.

        Raises:
            PlanRequestError: no plan can exist.
            PlantError: the plant cannot apply it.
        """
        started_s = self._clock.now_s()
        decision = await self._decider.start(started_s)
        took_s = self._clock.now_s() - started_s
        await self._plant.apply(decision)
        self._record(JournalEntry(None, decision), took_s)
        return decision

    async def run(self, stop: asyncio.Event) -> LoopStats:
        """Turn after turn until `stop` is set; turns start `interval_s` apart, and late ones are not made up for."""
        next_s = self._clock.now_s() + self._interval_s
        while not stop.is_set():
            await self._sleep_until(next_s, stop)
            if stop.is_set():
                break
            started_s = self._clock.now_s()
            if started_s - next_s > self._interval_s:  # the clock leapt, or the process was stopped
                next_s = started_s
            await self._turn_unless(stop)
            next_s = max(next_s + self._interval_s, self._clock.now_s())
        return self.stats

    async def turn(self) -> None:
        """One turn: observe, decide, apply, journal."""
        async with self._turning:
            try:
                observation = await self._plant.observe()
            except Exception:  # noqa: BLE001 — whatever a plant raises, the loop lives on and the last plan stands
                self.stats.observe_errors += 1
                _log.warning("the plant could not be observed; the last plan stands", exc_info=True)
                return
            started_s = self._clock.now_s()
            try:
                await self._resume(started_s)
                decision = await self._decide(observation)
            except Exception as error:  # noqa: BLE001 — whatever a policy raises, the loop lives on
                self.stats.decide_errors += 1
                lost = isinstance(error, ControllerLostError)
                if not lost:  # who lost it has said so
                    _log.warning("no decision was made; the last plan stands", exc_info=True)
                self._record(JournalEntry(observation, None, str(error), lost=lost), self._clock.now_s() - started_s)
            else:
                self._record(JournalEntry(observation, decision), self._clock.now_s() - started_s)
                if decision.changed or observation.plan_id != decision.plan.id:
                    self._to_apply = decision
            await self._apply()

    async def plan_without(self, variants: Collection[str]) -> None:
        """Plan without these variants (`task.variant`) and with all others, and follow that plan, before this returns.

        Raises:
            TrimtabError: no plan can exist without them, the plant cannot follow it, or the controller is not there.
        """
        async with self._turning:
            await self._resume(self._clock.now_s())
            await self._change(frozenset(variants))
            self._without = frozenset(variants)
            if self._to_apply is not None:
                await self._plant.apply(self._to_apply)
                self._to_apply = None

    async def _change(self, variants: frozenset[str]) -> None:
        started_s = self._clock.now_s()
        decision = await self._decider.change(started_s, variants)
        entry = JournalEntry(None, decision, without=tuple(sorted(variants)))
        self._record(entry, self._clock.now_s() - started_s)
        self._to_apply = decision

    async def _resume(self, now_s: float) -> None:
        """Where the controller was lost, go on with a fresh one."""
        if self.last is None:
            return
        resumed = await self._decider.resume(now_s, self.last.plan, self._recent)
        if resumed is None:
            return
        self.stats.resumed += 1
        self._record(JournalEntry(None, resumed.decision, resumed=resumed.how), self._clock.now_s() - now_s)
        if self._without:
            await self._change(self._without)

    async def _decide(self, observation: Observation) -> Decision:
        """Ask the controller, beside serving; say so when it takes too long, and wait for it."""
        deciding = asyncio.create_task(self._decider.step(observation))
        try:
            done, _ = await asyncio.wait({deciding}, timeout=self._decide_within_s)
            if not done:
                self.stats.overruns += 1
                _log.warning("deciding takes more than %.3g s; the last plan stands meanwhile", self._decide_within_s)
            return await deciding
        finally:
            deciding.cancel()

    async def _turn_unless(self, stop: asyncio.Event) -> None:
        """One turn; when asked to stop meanwhile, it gets as long as a decision may take, no longer."""
        turning, stopping = asyncio.create_task(self.turn()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({turning, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not turning.done():
                await asyncio.wait({turning}, timeout=self._decide_within_s)
        finally:
            for task in (turning, stopping):
                task.cancel()
            await asyncio.gather(turning, stopping, return_exceptions=True)

    async def _apply(self) -> None:
        """Apply what is due; what fails stays due, for `apply` is idempotent."""
        if self._to_apply is None:
            return
        try:
            await asyncio.wait_for(self._plant.apply(self._to_apply), self._apply_within_s)
        except Exception:  # noqa: BLE001 — the plant keeps what was in force, and the next turn tries again
            self.stats.apply_errors += 1
            _log.warning("the plan %s could not be applied", self._to_apply.plan.id, exc_info=True)
            return
        self._to_apply = None

    def _record(self, turn: JournalEntry, took_s: float) -> None:
        if turn.decision is not None:
            self.last = turn.decision
            self.stats.decisions += 1
            self.stats.changes += turn.decision.changed
        if turn.observation is not None:
            self._recent.add(turn.observation)
        try:
            if self._on_turn is not None:
                self._on_turn(turn, took_s)
            if self._journal is not None:
                self._journal.append(turn)
        except Exception:  # noqa: BLE001 — a full disk must not stop the control of a live service
            self.stats.journal_errors += 1
            if self._recording:
                _log.warning("turns are not recorded for now; this is said once", exc_info=True)
            self._recording = False
            return
        if not self._recording:
            self._recording = True
            _log.warning("turns are recorded again; %d could not be at once", self.stats.journal_errors)

    async def _sleep_until(self, when_s: float, stop: asyncio.Event) -> None:
        """Sleep by the clock, or until `stop` is set."""
        left_s = when_s - self._clock.now_s()
        if left_s <= 0.0:
            return
        tasks = {asyncio.ensure_future(self._clock.sleep(left_s)), asyncio.ensure_future(stop.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
