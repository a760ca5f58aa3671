"""Puts the gRPC service on a socket, inside an asyncio program that runs already; health and reflection beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from trimtab.errors import PlantError
from trimtab.runtime import grpc_reflection
from trimtab.runtime.grpc_calls import InferenceCalls
from trimtab.runtime.grpc_health import Health
from trimtab.runtime.grpc_status import RejectionCounter
from trimtab.runtime.oip import messages
from trimtab.runtime.security import Security
from trimtab.runtime.service import InferenceService
from trimtab.runtime.sockets import bound_socket


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What clients may take from the server."""

    message_bytes: int = 32 * 1024 * 1024
    """Largest message."""
    metadata_bytes: int = 16 * 1024
    """Largest metadata of one call."""
    calls: int = 4096
    """Calls under way, of all clients."""
    connection_calls: int = 1024
    """Calls under way on one connection; a client's further ones wait in the client."""
    stream_calls: int = 64
    """Requests of one `ModelStreamInfer` under way; the next is read when one is answered."""
    ping_interval_s: float = 10.0
    """A client that pings more often than this, twice, loses its connection."""
    idle_s: float = 300.0
    """Time without a call after which a connection is closed; clients reconnect by themselves."""


class GrpcServer:
    """One server on one address. `start`, then `stop`; afterwards it can be started again.

    Args:
        service: answers.
        metrics: counts what never reached the service.
        limits: what clients may take.
        security: TLS and a token for everything but health; None: neither.
        repository: whether clients may load and unload; where not, they get PERMISSION_DENIED.
    """

    def __init__(
        self,
        service: InferenceService,
        metrics: RejectionCounter,
        *,
        limits: GrpcLimits | None = None,
        security: Security | None = None,
        repository: bool = True,
    ) -> None:
        self._service = service
        self._repository = repository
        self._metrics = metrics
        self._limits = limits or GrpcLimits()
        self._security = security or Security()
        self._server: grpc.aio.Server | None = None
        self._stopping = asyncio.Event()

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen; returns the port, which is a free one for `port` 0.

        Args:
            host: a name or an address.
            port: where.
            reuse_port: let other processes that say the same listen there too; the system deals connections out.

        Raises:
            AddressInUseError: something else listens there.
            PlantError: there is no such address here, no permission to use it, or no such certificate.
        """
        if self._server is not None:
            raise PlantError("the server is running already", next_step="stop it first")
        credentials = self._credentials()
        bound_socket(host, port, option="--grpc-port", reuse_port=reuse_port).close()  # gRPC does not say why it cannot
        self._stopping = asyncio.Event()
        server = grpc.aio.server(
            interceptors=[_TokenCheck(self._security, self._metrics)] if self._security.token is not None else None,
            options=_options(self._limits, reuse_port=reuse_port),
            maximum_concurrent_rpcs=self._limits.calls,
        )
        calls = InferenceCalls(
            self._service,
            self._metrics,
            stream_calls=self._limits.stream_calls,
            stopping=self._stopping,
            repository=self._repository,
        )
        services = {messages.SERVICE: calls.handlers(), **grpc_reflection.handlers()}
        server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(name, dict(handlers)) for name, handlers in services.items())
        )
        health_pb2_grpc.add_HealthServicer_to_server(Health(self._service, self._stopping), server)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise PlantError(
                "cannot listen there", where=address, got=str(error), next_step="choose another with --grpc-port"
            ) from error
        await server.start()
        self._server = server
        return bound

    async def stop(self, grace_s: float = 10.0) -> None:
        """Accept nothing more, answer what is under way for up to `grace_s`, then cancel it and close."""
        server, self._server = self._server, None
        if server is None:
            return
        self._stopping.set()
        await server.stop(grace_s)

    def _credentials(self) -> grpc.ServerCredentials | None:
        """The server's side of TLS; None without a certificate."""
        self._security.ssl_context()  # says what is wrong with the files, which gRPC does not
        certificate, key = self._security.certificate, self._security.key or self._security.certificate
        if certificate is None or key is None:
            return None
        return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])


class _TokenCheck(grpc.aio.ServerInterceptor):
    """Turns a call away before its message is read, unless it brings the token or asks for health."""

    def __init__(self, security: Security, metrics: RejectionCounter) -> None:
        self._security = security
        self._metrics = metrics
        self._denied: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self._deny)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """What answers the call."""
        if not handler_call_details.method.startswith(f"/{grpc_reflection.HEALTH}/"):
            given = dict(handler_call_details.invocation_metadata or ()).get("authorization")
            if not self._security.admits(given if isinstance(given, str) else None):
                return self._denied
        return await continuation(handler_call_details)

    async def _deny(self, _: Any, context: Any) -> None:
        self._metrics.request_rejected("grpc", "token")
        await context.abort(
            grpc.StatusCode.UNAUTHENTICATED, "a token is needed: send the metadata 'authorization: Bearer <token>'"
        )


def _options(limits: GrpcLimits, *, reuse_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),  # answers are our own
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", limits.connection_calls),
        ("grpc.max_connection_idle_ms", round(limits.idle_s * 1e3)),
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.ping_interval_s * 1e3)),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.so_reuseport", int(reuse_port)),
    ]
