"""The pipelines that are served to the clients: small ONNX models, and a profile that nobody measured.

`types` has a task `echo`, which returns one tensor of each datatype as it came, and a task `sum`, which adds up each
row. `pair` has `identity` over three datatypes and the same `sum`; the peers serve these two as well.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

DATATYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}

_SPEC = """
name: {name}
tasks:
  {first}:
    variants:
      plain: {{model: {first}.onnx, accuracy: 0.9}}
  sum:
    variants:
      plain: {{model: sum.onnx, accuracy: 0.9}}
      spare: {{model: sum.onnx, accuracy: 0.8}}
slo: {{latency: 5s}}
budget: {{cores: 2}}
profile:
  tasks:
    {first}:
      plain: {{points: [{{cores: 1, batch: 1, quantiles_s: {{0.5: 0.002, 0.99: 0.004}}}}]}}
    sum:
      plain: {{points: [{{cores: 1, batch: 1, quantiles_s: {{0.5: 0.002, 0.99: 0.004}}}}]}}
      spare: {{points: [{{cores: 1, batch: 1, quantiles_s: {{0.5: 0.001, 0.99: 0.002}}}}]}}
"""
"""A request that must be answered within less than the profile's 2 ms is refused."""


def types_pipeline(folder: Path) -> Path:
    """Write the pipeline `types`; returns its file. `echo` takes `in_<datatype>`, gives `out_<datatype>`: [-1, 2]."""
    tensors = {f"in_{name}": (f"out_{name}", kind, 2) for name, kind in DATATYPES.items()}
    _identity(folder / "echo.onnx", tensors)
    return _write(folder, "types", "echo")


def pair_pipeline(folder: Path) -> Path:
    """Write the pipeline `pair`; returns its file. `identity` takes FP32 `x`, INT64 `n`, BYTES `t`: see `peers`."""
    tensors = {
        "x": ("x_out", TensorProto.FLOAT, 4),
        "n": ("n_out", TensorProto.INT64, 2),
        "t": ("t_out", TensorProto.STRING, 1),
    }
    _identity(folder / "identity.onnx", tensors)
    return _write(folder, "pair", "identity")


def _write(folder: Path, name: str, first: str) -> Path:
    _sum(folder / "sum.onnx")
    path = folder / "pipeline.yaml"
    path.write_text(_SPEC.format(name=name, first=first), encoding="utf-8")
    return path


def _identity(path: Path, tensors: dict[str, tuple[str, int, int]]) -> None:
    nodes = [helper.make_node("Identity", [name], [output]) for name, (output, _, _) in tensors.items()]
    inputs = [helper.make_tensor_value_info(name, kind, [None, size]) for name, (_, kind, size) in tensors.items()]
    outputs = [helper.make_tensor_value_info(name, kind, [None, size]) for name, kind, size in tensors.values()]
    _save(path, nodes, inputs, outputs)


def _sum(path: Path) -> None:
    node = helper.make_node("ReduceSum", ["x"], ["total"], keepdims=1, noop_with_empty_axes=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    node.input.append("axes")
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])]
    outputs = [helper.make_tensor_value_info("total", TensorProto.FLOAT, [None, 1])]
    _save(path, [node], inputs, outputs, [axes])


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto] | None = None,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, weights or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
