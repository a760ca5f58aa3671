"""Run a controller over a journal and compare what it decides with what is written there."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.control.controller import Controller
from trimtab.control.journal import Journal, JournalEntry, JournalHeader
from trimtab.control.protocols import Decision
from trimtab.control.settings import fitted_digest
from trimtab.errors import ForecastError, JournalError
from trimtab.forecast import Forecaster, make_forecaster
from trimtab.plan.model import Plan
from trimtab.plan.policies import Policy, make_policy


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
        forecaster = _forecaster_of(header)
    forecaster.observe(header.history)
    controller = Controller(
        header.pipeline,
        header.profile,
        policy or make_policy(header.policy),
        forecaster,
        header.limits,
        header.settings,
    )
    differences: list[Difference] = []
    for number, entry in enumerate(journal.entries, start=1):
        differences += _compare(number, entry, *_again(controller, entry, header.start))
    return tuple(differences)


def _forecaster_of(header: JournalHeader) -> Forecaster:
    try:
        made, digest = make_forecaster(header.forecaster, header.clock_s), fitted_digest(header.forecaster)
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
    return made


def _again(controller: Controller, entry: JournalEntry, start: Plan | None) -> tuple[Decision | None, str | None]:
    """The controller's answer to the entry: a decision, or the error it raised."""
    try:
        if entry.observation is not None:
            return controller.step(entry.observation), None
        if entry.decision is not None:
            return controller.start(entry.decision.now_s, start), None
    except Exception as error:  # noqa: BLE001 — as in the live loop, whatever is raised is the outcome
        return None, str(error)
    return None, entry.error


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
