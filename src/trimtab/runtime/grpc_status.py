"""The one place that turns the errors of `trimtab.errors` into gRPC's status codes."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Protocol

from grpc import StatusCode

from trimtab.errors import (
    DeadlineError,
    InvalidInputError,
    RefusedError,
    RequestError,
    TooLargeError,
    UnknownModelError,
)

log = logging.getLogger(__name__)

_CODES: tuple[tuple[type[RequestError], StatusCode], ...] = (
    (InvalidInputError, StatusCode.INVALID_ARGUMENT),
    (UnknownModelError, StatusCode.NOT_FOUND),
    (TooLargeError, StatusCode.RESOURCE_EXHAUSTED),  # what gRPC itself answers to a message above its limit
    (RefusedError, StatusCode.RESOURCE_EXHAUSTED),  # clients repeat UNAVAILABLE by themselves: more load on overload
    (DeadlineError, StatusCode.DEADLINE_EXCEEDED),
)
_NEVER_OFFERED = (InvalidInputError, UnknownModelError, TooLargeError)
_TEMPORARY = ("not_ready", "stopping")
"""Reasons of a refusal for which another server, or this one in a moment, would do: repeating is right."""
_SHOWN_DETAILS = 1000
"""Characters; the status travels in headers, which clients keep short."""


class RejectionCounter(Protocol):
    """The metrics, as far as the gRPC layer tells them something."""

    def request_rejected(self, protocol: str, reason: str) -> None:
        """A request was turned away before it was offered."""
        ...


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ends without an answer."""

    code: StatusCode
    details: str
    trailers: tuple[tuple[str, str], ...] = ()


def status_of(error: Exception, metrics: RejectionCounter) -> Status:
    """The status for what a call raised; requests that the service never counted as offered are counted here."""
    if not isinstance(error, RequestError):  # whatever it is, the client gets an answer and the server lives on
        log.error("a call failed", exc_info=error)
        return Status(StatusCode.INTERNAL, "internal error")
    if isinstance(error, _NEVER_OFFERED):
        metrics.request_rejected("grpc", error.reason)
    details = str(error).replace("\n  → ", "; ")[:_SHOWN_DETAILS]
    code = next((code for kind, code in _CODES if isinstance(error, kind)), StatusCode.INTERNAL)
    if not isinstance(error, RefusedError):
        return Status(code, details)
    if error.reason in _TEMPORARY:
        code = StatusCode.UNAVAILABLE
    wait_ms = max(1, math.ceil(error.retry_after_s * 1e3))
    return Status(code, details, (("grpc-retry-pushback-ms", str(wait_ms)),))
