"""The doors of one process: REST and gRPC on their ports, before one service, opened and closed together."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from trimtab.runtime.asgi import HttpLimits
from trimtab.runtime.grpc_server import GrpcLimits, GrpcServer
from trimtab.runtime.http import AsgiApp, RestMetrics, make_app
from trimtab.runtime.security import read_security
from trimtab.runtime.serve_options import Listening
from trimtab.runtime.server import HttpServer
from trimtab.runtime.service import InferenceService


class Front:
    """Both servers of one process. `start`, then `stop` once.

    Raises:
        PlantError: a file of `listening` is not what it should be.
    """

    def __init__(self, service: InferenceService, metrics: RestMetrics, listening: Listening) -> None:
        self._listening = listening
        security = read_security(listening.certificate, listening.key, listening.token_file)
        limits = HttpLimits(body_bytes=listening.body_bytes)
        self.app: AsgiApp = make_app(service, metrics, limits, security=security, repository=listening.may_load)
        self._security = security
        self._limits = limits
        self._grpc: GrpcServer | None = None
        self._http: HttpServer | None = None
        if listening.grpc_port is not None:
            self._grpc = GrpcServer(
                service,
                metrics,
                limits=GrpcLimits(message_bytes=listening.body_bytes),
                security=security,
                repository=listening.may_load,
            )

    async def start(self) -> Listening:
        """Listen; returns `listening` with the ports that were free where it said 0.

        Raises:
            AddressInUseError: something else listens there.
            PlantError: there is no such address here, or no permission to use it.
        """
        told = self._listening
        self._http = HttpServer(self.app, limits=self._limits, security=self._security)
        port = await self._http.start(told.host, told.port, reuse_port=told.reuse_port)
        if self._grpc is None or told.grpc_port is None:
            return replace(told, port=port)
        try:
            grpc_port = await self._grpc.start(told.host, told.grpc_port, reuse_port=told.reuse_port)
        except BaseException:
            await self._http.stop(0.0)
            raise
        return replace(told, port=port, grpc_port=grpc_port)

    async def stop(self, grace_s: float) -> None:
        """Accept nothing more, answer what is under way for up to `grace_s`, then close."""
        servers = [server for server in (self._http, self._grpc) if server is not None]
        await asyncio.gather(*(server.stop(grace_s) for server in servers))
