"""What a turn of the control loop tells people: metrics, the log, and how long deciding takes to the compiler.

Whether the profile still fits is followed here, from the same observations as the controller's and by the same rule:
it says something about what was seen, not about a decision, and it outlives a controller that is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict

from trimtab.control.calibration import Calibration
from trimtab.control.controller import Controller
from trimtab.control.deciding import Decider
from trimtab.control.journal import JournalEntry
from trimtab.control.loop import LoopStats
from trimtab.control.protocols import Decision
from trimtab.observe.model import Observation
from trimtab.runtime.compiling import BackgroundCompiler
from trimtab.runtime.metrics import Metrics

log = logging.getLogger(__name__)


class Turns:
    """Told of every turn by `ControlLoop` (`on_turn`); quick, and never raises for what a turn holds."""

    def __init__(
        self, metrics: Metrics, compiler: BackgroundCompiler, controller: Controller | Decider, tasks: Iterable[str]
    ) -> None:
        """Follow the pipeline's `tasks`; `controller` is asked for its forecast only."""
        self._metrics, self._compiler, self._controller = metrics, compiler, controller
        self._calibration = Calibration(tasks)
        self._misfits: frozenset[str] = frozenset()
        self.stats: LoopStats | None = None
        """Of the loop, once there is one."""

    def told(self, turn: JournalEntry, took_s: float) -> None:
        """A turn happened, in which deciding took `took_s`."""
        self._compiler.decided(took_s)
        if self.stats is not None:
            self._metrics.loop_did(asdict(self.stats))
        if turn.observation is not None:
            self._observed(turn.observation)
        if turn.decision is None:
            self._metrics.controller_failed()
        else:
            self._decided(turn.decision, took_s)

    def _observed(self, observation: Observation) -> None:
        self._metrics.observed(observation)
        self._calibration.observe(observation.tasks)
        fits = self._calibration.fits()
        self._metrics.calibrated(self._calibration.ratios(), fits)
        misfits = frozenset(task for task, does in fits.items() if not does)
        if misfits - self._misfits:
            log.warning("%s", "; ".join(self._calibration.warnings()))
        for task in sorted(self._misfits - misfits):
            log.info("the profile of task %s fits again", task)
        self._misfits = misfits

    def _decided(self, decision: Decision, took_s: float) -> None:
        self._metrics.decided(took_s, feasible=decision.feasible, forecast_rps=decision.plan.rate_rps)
        if self._controller.forecast is not None:
            self._metrics.forecast(self._controller.forecast)
        if decision.changed:
            changes = "; ".join(f"{a.task} {a.kind} {a.before} → {a.after}" for a in decision.actions)
            log.info("plan %s: %s", decision.plan.id, changes or "first plan")
