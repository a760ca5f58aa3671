"""What the gateway adds: models called through HTTP, gateway and worker, against the same models in process.

One client, one connection, one request at a time; all ways take turns, so that they see the same machine. The server
runs in a process of its own. The models are an echo of 8 floats, asked for in JSON, and the mean of a 3×224×224 tensor,
sent as binary data. Printed: latencies, what is added, and what the large tensor costs more than the small one.

    python benchmarks/gateway_latency.py [--requests 3000]
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, save

SPEC = """
name: both
tasks:
  echo:
    variants:
      echo: {model: echo.onnx, accuracy: 1.0}
  mean:
    variants:
      mean: {model: mean.onnx, accuracy: 1.0}
    inputs: {x: request.image}
slo: {latency: 1s}
profile:
  tasks:
    echo:
      echo:
        points: [{cores: 1, batch: 1, quantiles_s: {0.5: 0.0001, 0.99: 0.0002}}]
    mean:
      mean:
        points: [{cores: 1, batch: 1, quantiles_s: {0.5: 0.0003, 0.99: 0.0006}}]
"""
WARM_UP = 200
SMALL = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,8],"data":[0,1,2,3,4,5,6,7]}]}'
IMAGE = (1, 3, 224, 224)


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pipeline.yaml").write_text(SPEC)
        save_echo(folder / "echo.onnx")
        save_mean(folder / "mean.onnx")
        command = [sys.executable, "-m", "trimtab", "serve", str(folder / "pipeline.yaml"), "--port", "0", "--no-grpc"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                url = next(word for word in server.stdout.readline().split() if word.startswith("http://"))
                measure(url.rstrip(","), folder, options.requests)
            finally:
                server.terminate()


def measure(url: str, folder: Path, count: int) -> None:
    """Take turns between the four ways."""
    rows = np.arange(8, dtype=np.float32).reshape(1, 8)
    image = np.random.Generator(np.random.PCG64(1)).random(IMAGE, dtype=np.float32)
    echo, mean = (open_model(folder / f"{name}.onnx") for name in ("echo", "mean"))
    requests = {"echo": post("echo", SMALL), "mean": post_binary(image)}
    taken_s: dict[str, list[float]] = {"echo here": [], "echo": [], "mean here": [], "mean": []}
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for turn in range(count + WARM_UP):
            for name, session, values in (("echo", echo, rows), ("mean", mean, image)):
                started_s = time.perf_counter()
                session.run(None, {"x": values})
                here_s = time.perf_counter() - started_s
                started_s = time.perf_counter()
                connection.sendall(requests[name])
                answer = receive(connection)
                served_s = time.perf_counter() - started_s
                assert answer.startswith(b"HTTP/1.1 200"), answer
                if turn >= WARM_UP:
                    taken_s[f"{name} here"].append(here_s)
                    taken_s[name].append(served_s)
    report(taken_s, count)


def report(taken_s: dict[str, list[float]], count: int) -> None:
    """Print the table."""
    print(f"{count} requests of each kind, one after another")
    print(f"{'':<44}{'p50':>12}{'p99':>12}")
    added = {}
    for name, words in (("echo", "8 floats, JSON"), ("mean", "3×224×224 floats, binary")):
        here, served = taken_s[f"{name} here"], taken_s[name]
        added[name] = tuple(1e3 * float(np.quantile(served, q) - np.quantile(here, q)) for q in (0.5, 0.99))
        for what, values in ((f"{words}: in process", here), (f"{words}: through the gateway", served)):
            p50, p99 = (1e3 * float(np.quantile(values, q)) for q in (0.5, 0.99))
            print(f"{what:<44}{p50:>9.3f} ms{p99:>9.3f} ms")
        print(f"{'  added':<44}{added[name][0]:>9.3f} ms{added[name][1]:>9.3f} ms")
    print(f"the large tensor adds {added['mean'][0] - added['echo'][0]:.3f} ms more than the small one (p50)")


def open_model(path: Path) -> Any:
    """A session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def post(model: str, body: bytes, *headers: str) -> bytes:
    """An inference request."""
    head = [f"POST /v2/models/{model}/infer HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def post_binary(image: np.ndarray) -> bytes:
    """The same with a tensor as binary data."""
    tensor = {"name": "x", "datatype": "FP32", "shape": list(image.shape)}
    content = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": image.nbytes}}]}).encode()
    return post("mean", content + image.tobytes(), f"Inference-Header-Content-Length: {len(content)}")


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


def save_echo(path: Path) -> None:
    """`y = x` for rows of 8 floats."""
    node = helper.make_node("Identity", ["x"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 8])
    graph = helper.make_graph([node], "echo", [x], [y])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def save_mean(path: Path) -> None:
    """The mean of each image."""
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3], keepdims=0)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, *IMAGE[1:]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
    graph = helper.make_graph([node], "mean", [x], [y])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


if __name__ == "__main__":
    main()
