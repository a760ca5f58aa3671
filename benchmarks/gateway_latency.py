"""What the gateway adds: an echo model called through HTTP, gateway and worker, against the same model in process.

One client, one connection, one request at a time; the two ways take turns, so that both see the same machine. The
server runs in a process of its own. Printed: both latencies, what is added, and requests per second at saturation.

    python benchmarks/gateway_latency.py [--requests 3000]
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, save

from trimtab.runtime.server import new_event_loop

SPEC = """
name: echoes
tasks:
  echo:
    variants:
      echo: {model: echo.onnx, accuracy: 1.0}
slo: {latency: 1s}
profile:
  tasks:
    echo:
      echo:
        points: [{cores: 1, batch: 1, quantiles_s: {0.5: 0.0001, 0.99: 0.0002}}]
"""
WARM_UP = 200
BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,8],"data":[0,1,2,3,4,5,6,7]}]}'


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "pipeline.yaml"
        spec.write_text(SPEC)
        save_echo(Path(folder) / "echo.onnx")
        command = [sys.executable, "-m", "trimtab", "serve", str(spec), "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                url = next(word for word in line.split() if word.startswith("http://"))
                measure(url, Path(folder) / "echo.onnx", options.requests)
            finally:
                server.terminate()


def measure(url: str, model: Path, count: int) -> None:
    """Take turns between the two ways, then saturate the gateway."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    values = np.arange(8, dtype=np.float32).reshape(1, 8)
    direct_s, served_s = [], []
    host, port = url.removeprefix("http://").split(":")
    request = b"POST /v2/models/echoes/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for turn in range(count + WARM_UP):
            started_s = time.perf_counter()
            session.run(None, {"x": values})
            direct = time.perf_counter() - started_s
            started_s = time.perf_counter()
            connection.sendall(request)
            answer = receive(connection)
            served = time.perf_counter() - started_s
            assert answer.startswith(b"HTTP/1.1 200"), answer
            if turn >= WARM_UP:
                direct_s.append(direct)
                served_s.append(served)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        rate = runner.run(saturate(f"{url}/v2/models/echoes/infer", 4.0))
    print(f"echo of 8 floats (JSON), {count} requests one after another")
    print(f"{'':<28}{'p50':>12}{'p99':>12}")
    p50s, p99s = [], []
    for name, values_s in (("model called in process", direct_s), ("through the gateway", served_s)):
        p50s.append(1e3 * float(np.median(values_s)))
        p99s.append(1e3 * float(np.quantile(values_s, 0.99)))
        print(f"{name:<28}{p50s[-1]:>9.3f} ms{p99s[-1]:>9.3f} ms")
    print(f"{'added':<28}{p50s[1] - p50s[0]:>9.3f} ms{p99s[1] - p99s[0]:>9.3f} ms")
    print(f"saturation, 32 connections: {rate:.0f} requests/s (the client, aiohttp, shares this machine)")


def receive(connection: socket.socket) -> bytes:
    """One whole HTTP answer: a client that costs next to nothing."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(65536)
    head = data[:end].lower()
    at = head.index(b"content-length:") + len(b"content-length:")
    length = int(head[at:].split(b"\r\n", 1)[0])
    while len(data) < end + 4 + length:
        data += connection.recv(65536)
    return data


async def saturate(target: str, seconds: float) -> float:
    """Requests per second with 32 in flight."""
    end_s = time.perf_counter() + seconds
    done = 0

    async def one(client: aiohttp.ClientSession) -> None:
        nonlocal done
        while time.perf_counter() < end_s:
            async with client.post(target, data=BODY) as response:
                await response.read()
                done += response.status == 200

    async with aiohttp.ClientSession() as client:
        await asyncio.gather(*(one(client) for _ in range(32)))
    return done / seconds


def save_echo(path: Path) -> None:
    """`y = x` for rows of 8 floats."""
    node = helper.make_node("Identity", ["x"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 8])
    graph = helper.make_graph([node], "echo", [x], [y])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


if __name__ == "__main__":
    main()
