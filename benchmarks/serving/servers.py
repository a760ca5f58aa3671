"""Trimtab and its peers as processes, each with the same model: started on a free port, ended with all they started.

Peers live in environments of their own (`conformance/environments.py` makes and keeps them). Each is set up as its
documentation says for one model in one worker; what differs from its defaults makes it faster, and stands here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from conformance.environments import environment

HERE = Path(__file__).parent
PEERS = ("mlserver", "kserve", "litserve", "bentoml", "ray")
_ROW = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
_OIP = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 8], "data": _ROW}]}
_SPEC = """
name: echoes
tasks:
  echo:
    variants:
      echo: {model: echo.onnx, accuracy: 1.0}
slo: {latency: 1s}
budget: {cores: 1}
"""
_START_S = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    name: str
    port: int
    request: bytes
    """The HTTP request that asks it for one row."""
    pid: int

    def cpu_s(self) -> float:
        """CPU time of all its processes so far."""
        main = psutil.Process(self.pid)
        total = 0.0
        for process in (main, *main.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total


@contextlib.contextmanager
def serve(name: str, model: Path, *, gateways: int = 0) -> Iterator[Server]:
    """Run a server.

    Raises:
        RuntimeError: it did not start; with what it said.
        InstallError: its packages cannot be had here.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        command, path, body, settings = _program(name, Path(folder), model, port, gateways)
        settings = {**os.environ, "MODEL": str(model), "PORT": str(port), "PYTHONPATH": str(HERE / "peers"), **settings}
        process = subprocess.Popen(
            command, cwd=folder, env=settings, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        try:
            if not _answers(process, port, request):
                said.seek(0)
                raise RuntimeError(f"{name} did not start:\n{said.read().decode(errors='replace')[-2000:]}")
            yield Server(name, port, request, process.pid)
        finally:
            members = [process.pid, *(p.pid for p in _tree(process.pid))]
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            for pid in members:  # what it started and did not end (Ray starts sessions of their own)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def _program(
    name: str, folder: Path, model: Path, port: int, gateways: int
) -> tuple[list[str], str, object, dict[str, str]]:
    """Command, path of the inference call, body and surroundings of a server."""
    if name == "trimtab":
        spec = folder / "pipeline.yaml"
        spec.write_text(_SPEC)
        (folder / "echo.onnx").write_bytes(model.read_bytes())
        trimtab = [sys.executable, "-m", "trimtab"]
        measured = ["--cores", "1", "--batches", "1,8,32", "--no-capacity-check"]
        subprocess.run([*trimtab, "profile", str(spec), *measured], check=True, capture_output=True)
        command = [*trimtab, "serve", str(spec), "--port", str(port), "--no-grpc", "--gateways", str(gateways)]
        command += ["--policy", "most-accurate"]  # like the peers: one fixed worker, set up for the largest rate
        return command, "/v2/models/echoes/infer", _OIP, {}
    python = environment(name, HERE / "requirements" / f"{name}.txt").python
    rows = {"x": [_ROW]}
    if name == "mlserver":
        settings = {"name": "echoes", "implementation": "mlserver_model.Echo"}
        (folder / "model-settings.json").write_text(json.dumps(settings))
        options = {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": str(port),
            "MLSERVER_GRPC_PORT": str(_free_port()),
            "MLSERVER_METRICS_PORT": str(_free_port()),
            "MLSERVER_PARALLEL_WORKERS": "0",  # its pool of processes costs more than this model
            "MLSERVER_DEBUG": "false",
        }
        return [str(python.parent / "mlserver"), "start", str(folder)], "/v2/models/echoes/infer", _OIP, options
    if name == "kserve":
        command = [str(python), str(HERE / "peers" / "kserve_server.py"), "--http_port", str(port)]
        command += ["--enable_grpc", "false", "--enable_docs_url", "false"]
        return command, "/v2/models/echoes/infer", _OIP, {}
    if name == "bentoml":
        command = [str(python), "-m", "bentoml", "serve", "bentoml_service:Echo", "--port", str(port)]
        return [*command, "--host", "127.0.0.1"], "/predict", rows, {"BENTOML_DO_NOT_TRACK": "True"}
    if name == "ray":
        command = [str(python), str(HERE / "peers" / "ray_server.py")]
        return command, "/", rows, {"RAY_USAGE_STATS_ENABLED": "0"}
    return [str(python), str(HERE / "peers" / f"{name}_server.py")], "/predict", rows, {}


def _answers(process: subprocess.Popen[bytes], port: int, request: bytes) -> bool:
    """Wait until it gives a good answer."""
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:
                connection.sendall(request)
                if connection.recv(64).startswith(b"HTTP/1.1 200"):
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
