"""Servers as processes of their own: `trimtab serve` and its peers, started on free ports of loopback and ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from conformance.environments import ROOT, Environment

HOST = "127.0.0.1"
_START_S, _STOP_S, _POLL_S = 60.0, 15.0, 0.05


class ServerError(Exception):
    """A server did not start; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    name: str
    rest_port: int
    grpc_port: int
    pid: int

    @property
    def rest(self) -> str:
        """`host:port` of REST."""
        return f"{HOST}:{self.rest_port}"

    @property
    def grpc(self) -> str:
        """`host:port` of gRPC."""
        return f"{HOST}:{self.grpc_port}"


@contextlib.contextmanager
def trimtab(spec: Path) -> Iterator[Running]:
    """`trimtab serve` of a pipeline file.

    Raises:
        ServerError: it did not become ready.
    """
    rest, grpc = free_ports(2)
    command = [sys.executable, "-m", "trimtab", "serve", str(spec), "--port", str(rest), "--grpc-port", str(grpc)]
    with _process("trimtab", command, rest, grpc, {}) as running:
        yield running


@contextlib.contextmanager
def mlserver(environment: Environment, models: Path) -> Iterator[Running]:
    """MLServer with the models of a folder, in this one process (no worker processes).

    Raises:
        ServerError: it did not become ready.
    """
    rest, grpc, metrics = free_ports(3)
    settings = {
        "MLSERVER_HOST": HOST,
        "MLSERVER_HTTP_PORT": str(rest),
        "MLSERVER_GRPC_PORT": str(grpc),
        "MLSERVER_METRICS_PORT": str(metrics),
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_DEBUG": "false",
    }
    command = [str(environment.program("mlserver")), "start", str(models)]
    with _process("mlserver", command, rest, grpc, settings) as running:
        yield running


@contextlib.contextmanager
def kserve(environment: Environment) -> Iterator[Running]:
    """`kserve.ModelServer` with the peers' models.

    Raises:
        ServerError: it did not become ready.
    """
    rest, grpc = free_ports(2)
    command = [str(environment.python), "-m", "conformance.peers.kserve_server"]
    command += ["--http_port", str(rest), "--grpc_port", str(grpc), "--enable_docs_url", "false"]
    with _process("kserve", command, rest, grpc, {}) as running:
        yield running


def free_ports(count: int) -> list[int]:
    """Ports that are free on loopback."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind((HOST, 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


@contextlib.contextmanager
def _process(name: str, command: list[str], rest: int, grpc: int, settings: Mapping[str, str]) -> Iterator[Running]:
    """Start it in a session of its own, wait until it is ready, and end it with all that it started."""
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=surroundings, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            if not _ready(process, rest, grpc):
                said.seek(0)
                tail = said.read().decode(errors="replace")[-2000:]
                raise ServerError(f"{name} did not become ready:\n{tail}")
            yield Running(name, rest, grpc, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its session: nothing of it is left behind
            process.wait()


def _ready(process: subprocess.Popen[bytes], rest: int, grpc: int) -> bool:
    """Wait until it says that it is ready and gRPC listens; False when it ended or took too long."""
    end_s = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(HOST, rest, timeout=5)
            try:
                connection.request("GET", "/v2/health/ready")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    socket.create_connection((HOST, grpc), timeout=5).close()
                    return True
            finally:
                connection.close()
        time.sleep(_POLL_S)
    return False
