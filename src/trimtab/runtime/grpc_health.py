"""`grpc.health.v1.Health`: what load balancers and orchestrators ask. It follows the service's readiness."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trimtab.errors import UnknownModelError
from trimtab.runtime.oip.messages import SERVICE
from trimtab.runtime.service import InferenceService

_POLL_S = 0.25
"""How soon a watcher learns of a change: readiness has no event of its own."""
_Reply = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Health of the server (named by nothing or by its inference service) and of each model by its name.

    Args:
        service: whose readiness counts.
        stopping: set when the server stops: from then on nothing is healthy, and watchers are let go.
    """

    def __init__(self, service: InferenceService, stopping: asyncio.Event) -> None:
        self._service = service
        self._stopping = stopping

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 — the protocol's name
        """The state now; NOT_FOUND for a name that is not served."""
        status = self._status(request.service)
        if status is _Reply.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing of this name is served")
        return _Reply(status=status)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802, ARG002 — the protocol's
        """The state now and after every change."""
        told = None
        while True:
            status = self._status(request.service)
            if status != told:
                yield _Reply(status=status)
            if self._stopping.is_set():
                return
            told = status
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _POLL_S)

    def _status(self, name: str) -> Any:
        try:
            ready = self._service.live() and self._service.ready(None if name in ("", SERVICE) else name)
        except UnknownModelError:
            return _Reply.SERVICE_UNKNOWN
        return _Reply.SERVING if ready and not self._stopping.is_set() else _Reply.NOT_SERVING
