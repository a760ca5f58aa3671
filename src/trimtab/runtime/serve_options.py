"""How to serve: everything that `trimtab serve` can be told. `docs/reference/serve.md` lists the options."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.errors import PlantError

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_QUEUED = 10_000
"""Items that may wait at one task. Admission by predicted finish refuses long before that, unless times are unknown."""
HTTP_PORT, GRPC_PORT = 8080, 8081


@dataclass(frozen=True, slots=True)
class Listening:
    """Where one process listens, for what, and what it takes from clients."""

    host: str = "127.0.0.1"
    port: int = HTTP_PORT
    """Of REST; 0: a free one."""
    grpc_port: int | None = GRPC_PORT
    """Of gRPC; 0: a free one; None: no gRPC."""
    certificate: Path | None = None
    """PEM file; with it both protocols speak TLS only."""
    key: Path | None = None
    """PEM file; None: the certificate's file holds the key."""
    token_file: Path | None = None
    """Holds what clients must send as `Authorization: Bearer …`."""
    body_bytes: int = MAX_BODY_BYTES
    """Largest body of a request, or message of gRPC."""
    repository: bool | None = None
    """Whether clients may load and unload models; None: only where this machine alone can call."""
    reuse_port: bool = False
    """Whether other processes listen there too."""

    @property
    def local(self) -> bool:
        """Whether only this machine can call."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def may_load(self) -> bool:
        """Whether clients may load and unload models."""
        return self.local if self.repository is None else self.repository


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve."""

    listening: Listening = field(default_factory=Listening)
    gateways: int = 0
    """Processes that speak the protocols; 0: the data plane's own does."""
    policy: str = "trimtab"
    forecaster: str | None = None
    """A name or a file; None: the policy's own, or else the default."""
    cores: int | None = None
    """Cores that replicas may hold; None: the budget's, as far as this machine has them."""
    start_rate_rps: float = 1.0
    """The rate of the first plan."""
    model_folders: tuple[Path, ...] = ()
    """Folders that models may lie in, besides the pipeline file's own."""
    max_queued: int = MAX_QUEUED
    """Items that may wait at one task; requests beyond are refused."""
    journal: Path | None = None
    grace_s: float = 10.0
    """Longest wait, at the end, for requests under way."""

    def __post_init__(self) -> None:
        """Check what no single option can know.

        Raises:
            PlantError: both protocols would listen on one port.
        """
        if self.listening.port and self.listening.port == self.listening.grpc_port:
            raise PlantError(
                "REST and gRPC cannot share a port",
                got=str(self.listening.port),
                next_step="choose another with --port or --grpc-port",
            )


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where clients find a server that listens."""

    url: str
    """Of REST."""
    grpc: str | None
    """`host:port` of gRPC."""
    gateways: int = 0


def addresses_of(listening: Listening, gateways: int = 0) -> Addresses:
    """What clients of this machine call, where the ports are known."""
    host = _callable_host(listening.host)
    scheme = "http" if listening.certificate is None else "https"
    grpc = None if listening.grpc_port is None else f"{host}:{listening.grpc_port}"
    return Addresses(f"{scheme}://{host}:{listening.port}", grpc, gateways)


def _callable_host(host: str) -> str:
    """A host as it stands in a URL: IPv6 addresses in brackets, "any address" as one that can be called."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
