"""Run a controller over a journal and compare what it decides with what is written there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from trimtab.control.controller import Controller
from trimtab.control.journal import Journal, JournalEntry, JournalHeader
from trimtab.control.making import change, controller_of, header_after, resume
from trimtab.control.protocols import Decision
from trimtab.control.settings import fitted_digest
from trimtab.errors import ForecastError, JournalError
from trimtab.forecast import Forecaster, make_forecaster
from trimtab.observe.model import Observation
from trimtab.plan.policies import Policy


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the replay left the record."""

    entry: int
    """Counted from 1."""
    what: str
    """Field of the decision."""
    recorded: str
    replayed: str


def replay(
    journal: Journal, *, policy: Policy | None = None, forecaster: Forecaster | None = None
) -> tuple[Difference, ...]:
    """Differences between recorded and replayed decisions; empty when every decision is the same.

    `policy` and `forecaster` are made from the header when they are not given; giving others asks what they would
    have decided on the same observations. A forecaster that is given is a fresh one, told the header's `clock_s` where
    it learns the clock.

    Raises:
        JournalError: the header names a forecaster that cannot be made, or whose file is another one by now, and none
            was given.
        PlanRequestError: the header names a policy that cannot be loaded.
    """
    header = journal.header
    if forecaster is None:
        _check_forecaster(header)
    if any(entry.resumed for entry in journal.entries):  # each controller of the run takes a fresh copy
        run = _Run(header, lambda: copy.deepcopy(policy), lambda: copy.deepcopy(forecaster))
    else:
        run = _Run(header, lambda: policy, lambda: forecaster)
    differences: list[Difference] = []
    for number, entry in enumerate(journal.entries, start=1):
        if not entry.lost:
            differences += _compare(number, entry, *run.again(entry))
        if entry.observation is not None:
            run.seen.append(entry.observation)
    return tuple(differences)


def _check_forecaster(header: JournalHeader) -> None:
    """Whether the header's forecaster can be made, and is the one that the journal was made with."""
    try:
        make_forecaster(header.forecaster, header.clock_s)
        digest = fitted_digest(header.forecaster)
    except ForecastError as error:
        raise JournalError(
            "the journal was made with a forecaster that cannot be made here",
            got=header.forecaster,
            next_step="pass it to replay(…, forecaster=…)",
        ) from error
    if digest != header.forecaster_sha256:
        raise JournalError(
            "the forecaster's file is not the one that the journal was made with",
            where=header.forecaster,
            got=f"SHA-256 {digest}",
            wanted=f"{header.forecaster_sha256}",
            next_step="pass the forecaster of that file to replay(…, forecaster=…)",
        )


class _Run:
    """The controllers of a run, one after another: a fresh one wherever the first run had to start again."""

    def __init__(
        self, header: JournalHeader, policy: Callable[[], Policy | None], forecaster: Callable[[], Forecaster | None]
    ) -> None:
        self._header, self._policy, self._forecaster = header, policy, forecaster
        self._controller = self._fresh(header)
        self.seen: list[Observation] = []

    def again(self, entry: JournalEntry) -> tuple[Decision | None, str | None]:
        """The controller's answer to the entry: a decision, or the error it raised."""
        try:
            return self._decide(entry), None
        except Exception as error:  # noqa: BLE001 — as in the live loop, whatever is raised is the outcome
            return None, str(error)

    def _decide(self, entry: JournalEntry) -> Decision | None:
        if entry.observation is not None:
            return self._controller.step(entry.observation)
        if entry.decision is None:
            raise JournalError(entry.error or "")
        now_s = entry.decision.now_s
        if entry.without is not None:
            return change(self._controller, self._header, now_s, entry.without)
        if entry.resumed is not None:
            self._controller = self._fresh(header_after(self._header, entry.resumed))
            recent = self.seen[len(self.seen) - entry.resumed.recalled :]
            return resume(self._controller, now_s, entry.resumed, recent)
        return self._controller.start(now_s, self._header.start)

    def _fresh(self, header: JournalHeader) -> Controller:
        return controller_of(header, policy=self._policy(), forecaster=self._forecaster())


def _compare(number: int, entry: JournalEntry, decision: Decision | None, error: str | None) -> list[Difference]:
    if entry.decision is None or decision is None:
        if (entry.decision is None) != (decision is None) or entry.error != error:
            recorded, replayed = _outcome(entry.decision, entry.error), _outcome(decision, error)
            return [Difference(number, "outcome", recorded, replayed)]
        return []
    fields = ("sequence", "now_s", "plan", "feasible", "changed", "actions", "steps")
    return [
        Difference(number, field, repr(getattr(entry.decision, field)), repr(getattr(decision, field)))
        for field in fields
        if getattr(entry.decision, field) != getattr(decision, field)
    ]


def _outcome(decision: Decision | None, error: str | None) -> str:
    return f"plan {decision.plan.id}" if decision else f"error: {error}"
