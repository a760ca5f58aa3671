"""What a front process and the data-plane process say to each other.

The values of `runtime.service` travel as they are; tensors stand beside the message in its frame (`wire`).
"""

from __future__ import annotations

import msgspec

from trimtab import errors
from trimtab.errors import FailedError, RefusedError, RequestError
from trimtab.runtime.service import ModelInfo, ModelStatistics, RepositoryEntry

_CLASSES: dict[str, type[RequestError]] = {
    kind.__name__: kind
    for kind in (
        errors.InvalidInputError,
        errors.UnknownModelError,
        errors.TooLargeError,
        errors.RefusedError,
        errors.DeadlineError,
        errors.FailedError,
    )
}


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A message; `id` ties an answer to its question and is 0 where there is none."""

    id: int


class Setup(_Message, frozen=True):
    """Data plane → front, first and once: how to listen, as JSON of `serve_options.Listening`."""

    listening: bytes


class Listening(_Message, frozen=True):
    """Front → data plane: clients can connect. Answers `Setup`."""


class Problem(_Message, frozen=True):
    """Front → data plane: it cannot listen, in words. Answers `Setup`."""

    text: str


class Stop(_Message, frozen=True):
    """Data plane → front: accept nothing more, answer what is under way for up to `grace_s`, then exit."""

    grace_s: float


class State(_Message, frozen=True):
    """Data plane → front, whenever it changed and every second: what a front answers without asking."""

    models: tuple[ModelInfo, ...]
    all_ready: bool
    ready: dict[str, bool]
    """Of every model, and of every variant that can be asked for by name."""
    repository: tuple[RepositoryEntry, ...]
    statistics: tuple[ModelStatistics, ...]


class Infer(_Message, frozen=True):
    """Front → data plane: `InferRequest`, whose tensors are the frame's. Answered by `Answer` or `Fault`."""

    model: str
    request_id: str | None
    version: str | None
    outputs: tuple[str, ...] | None
    timeout_s: float | None
    priority: int
    arrived_s: float


class Answer(_Message, frozen=True):
    """Data plane → front: `InferResponse`, whose tensors are the frame's."""

    model: str
    version: str
    request_id: str | None
    parameters: dict[str, str | float | bool]


class Cancel(_Message, frozen=True):
    """Front → data plane: the client of call `id` is gone. Not answered."""


class Load(_Message, frozen=True):
    """Front → data plane: load or unload. Answered by `Done` or `Fault`."""

    model: str
    unload: bool


class Done(_Message, frozen=True):
    """Data plane → front: done."""


class Rejected(_Message, frozen=True):
    """Front → data plane: requests turned away before they were offered, by protocol and reason."""

    counts: tuple[tuple[str, str, int], ...]


class AskMetrics(_Message, frozen=True):
    """Front → data plane: the metrics of all processes. Answered by `Metrics`, after a new `State`."""

    accept: str


class Metrics(_Message, frozen=True):
    """Data plane → front: the body and content type of `/metrics`."""

    body: bytes
    content_type: str


class Fault(_Message, frozen=True):
    """Data plane → front: a call failed, with the fields of its error."""

    kind: str
    what: str
    where: str | None
    got: str | None
    wanted: str | None
    next_step: str | None
    reason: str
    retry_after_s: float


Message = (
    Setup
    | Listening
    | Problem
    | Stop
    | State
    | Infer
    | Answer
    | Cancel
    | Load
    | Done
    | Rejected
    | AskMetrics
    | Metrics
    | Fault
)


def fault(call_id: int, error: RequestError) -> Fault:
    """The message for an error. A class that fronts do not know travels as the nearest of its bases that they do."""
    kind = next(base.__name__ for base in type(error).__mro__ if base.__name__ in _CLASSES or base is RequestError)
    got = error.got if error.got is None or isinstance(error.got, str) else repr(error.got)
    retry_after_s = error.retry_after_s if isinstance(error, RefusedError) else 0.0
    return Fault(
        call_id, kind, error.what, error.where, got, error.wanted, error.next_step, error.reason, retry_after_s
    )


def error_of(fault: Fault) -> RequestError:
    """The error that a `Fault` tells of: the same class, words and reason."""
    kind = _CLASSES.get(fault.kind, FailedError)
    error: RequestError
    if issubclass(kind, RefusedError):
        error = kind(fault.what, retry_after_s=fault.retry_after_s, reason=fault.reason, next_step=fault.next_step)
    else:
        error = kind(fault.what, where=fault.where, got=fault.got, wanted=fault.wanted, next_step=fault.next_step)
        error.reason = fault.reason
    return error
