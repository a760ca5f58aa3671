"""Every error that Trimtab raises on purpose, and the words it is told in.

    TrimtabError
    ├── SpecError                the pipeline file is wrong
    ├── ProfileError             a profile is wrong, or belongs to another model
    ├── ModelError               a model file is missing, corrupt, or has another interface than the pipeline needs
    ├── TraceError               a trace or a labelled data set is wrong
    ├── LoadError                the server to load cannot be reached, is not ready, or serves something else
    ├── ForecastError            a forecaster does not exist or cannot be loaded
    ├── SimulationError          a simulation that has no meaning (a delay below zero, an unknown plant)
    ├── PlanRequestError         a planning question that has no meaning (rate NaN, unknown policy)
    ├── JournalError             a decision journal cannot be read or replayed
    ├── ControllerLostError      the controller is gone, or is not there yet
    ├── PlantError               a plant could not do what it was asked to
    │   ├── WorkerError          a worker process failed
    │   │   └── WorkerLostError  it is gone, with all that it had accepted
    │   └── AddressInUseError    the port is taken
    ├── MissingExtraError        an optional dependency is not installed
    └── RequestError             a single request cannot be answered
        ├── InvalidInputError    it is malformed
        ├── UnknownModelError    it names something that is not served
        ├── TooLargeError        it is larger than the stated limit
        ├── RefusedError         it was refused early: it could not have been answered in time, or the queue is full
        ├── DeadlineError        its deadline passed before an answer
        └── FailedError          it was accepted and the server failed it

An infeasible plan is a *result* (`plan.model.PlanResult`), not an error. Domain errors know no HTTP: the protocol
layers map the classes under `RequestError` to status codes.

Each error says what is wrong, where, what was got, what was wanted and what to do next, as far as each is known.
"""

from __future__ import annotations

from collections.abc import Sequence


class TrimtabError(Exception):
    """Base of all errors raised on purpose; the CLI prints one of these as one message and exits with code 2."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: object = None,
        wanted: str | None = None,
        next_step: str | None = None,
        also: Sequence[TrimtabError] = (),
    ) -> None:
        self.what = what
        self.where = where
        self.got = got
        self.wanted = wanted
        self.next_step = next_step
        self.also = tuple(also)
        """Further errors that were found in the same pass; this one is the first."""
        super().__init__("\n".join([self._message(), *map(str, self.also)]))

    def _message(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        facts = []
        if self.got is not None:
            facts.append(f"got {self.got if isinstance(self.got, str) else repr(self.got)}")
        if self.wanted is not None:
            facts.append(f"wanted {self.wanted}")
        if facts:
            head += f": {', '.join(facts)}"
        if self.next_step:
            head += f"\n  → {self.next_step}"
        return head


class SpecError(TrimtabError):
    """The pipeline file is wrong."""


class ProfileError(TrimtabError):
    """A profile is wrong, incomplete, or belongs to another model."""


class ModelError(TrimtabError):
    """A model file is missing, corrupt, or has another interface than the pipeline needs."""


class TraceError(TrimtabError):
    """A trace or a labelled data set is wrong."""


class LoadError(TrimtabError):
    """The server to load cannot be reached, is not ready, or serves something else than the load needs."""


class ForecastError(TrimtabError):
    """A forecaster does not exist or cannot be loaded."""


class SimulationError(TrimtabError):
    """A simulation that has no meaning."""


class PlanRequestError(TrimtabError):
    """A planning question that has no meaning."""


class JournalError(TrimtabError):
    """A decision journal cannot be read or replayed."""


class ControllerLostError(TrimtabError):
    """The controller was lost, or is not there yet; whoever asked asks again later."""


class PlantError(TrimtabError):
    """A plant could not do what it was asked to."""


class WorkerError(PlantError):
    """A worker process failed."""


class WorkerLostError(WorkerError):
    """A worker process is gone; what it had accepted may be tried elsewhere."""


class AddressInUseError(PlantError):
    """The address to serve on is taken."""


class MissingExtraError(TrimtabError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            next_step=f"pip install 'trimtab[{extra}]'",
        )


class RequestError(TrimtabError):
    """A single request cannot be answered; `reason` is a short, bounded word for metrics."""

    reason = "failed"


class InvalidInputError(RequestError):
    """The request is malformed."""

    reason = "invalid"


class UnknownModelError(RequestError):
    """The request names something that is not served."""

    reason = "unknown"


class TooLargeError(RequestError):
    """The request is larger than the stated limit."""

    reason = "too_large"


class RefusedError(RequestError):
    """The request was refused early; `retry_after_s` is when trying again has a chance."""

    reason = "refused"

    def __init__(self, what: str, *, retry_after_s: float, reason: str, next_step: str | None = None) -> None:
        super().__init__(what, next_step=next_step)
        self.retry_after_s = retry_after_s
        self.reason = reason


class DeadlineError(RequestError):
    """The request's deadline passed before it could be answered."""

    reason = "deadline"


class FailedError(RequestError):
    """The request was accepted and the server failed it."""

    reason = "failed"
