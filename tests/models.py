"""Tiny ONNX models that tests build for themselves; shared by the tests of the runtime, the server and the profiler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
_TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int64": TensorProto.INT64,
    "string": TensorProto.STRING,
}
Tensors = list[tuple[str, str, list[int | str | None]]]
"""Name, dtype and shape; None or a name for a free axis."""


def save_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: Tensors,
    outputs: Tensors,
    weights: dict[str, np.ndarray] | None = None,
) -> Path:
    """Write an ONNX file of these nodes; the models below are made with it."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, _TYPES[dtype], shape) for name, dtype, shape in inputs],
        [helper.make_tensor_value_info(name, _TYPES[dtype], shape) for name, dtype, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def echo(
    path: Path, *, name: str = "x", output: str = "y", shape: tuple[int, ...] = (4,), dtype: str = "float32"
) -> Path:
    """`y = x` for rows of `shape`."""
    rows: list[int | str | None] = [None, *shape]
    node = helper.make_node("Identity", [name], [output])
    return save_model(path, [node], [(name, dtype, rows)], [(output, dtype, rows)])


def affine(
    path: Path,
    *,
    scale: float = 2.0,
    offset: float = 1.0,
    size: int = 4,
    name: str = "x",
    output: str = "y",
    rows: int | None = None,
) -> Path:
    """`y = scale · x + offset` for rows of `size` float32; `rows` fixes the leading axis."""
    nodes = [
        helper.make_node("Mul", [name, "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], [output]),
    ]
    weights = {"scale": np.array(scale, np.float32), "offset": np.array(offset, np.float32)}
    return save_model(path, nodes, [(name, "float32", [rows, size])], [(output, "float32", [rows, size])], weights)


def slow(path: Path, *, work: int = 20, size: int = 64, width: int = 256) -> Path:
    """`y = x` by way of `work` products with a `width`² identity matrix: about 3 µs each for one row."""
    eye = np.eye(width, dtype=np.float32)
    widen = np.eye(size, width, dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["x", "widen"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{i}", "eye"], [f"h{i + 1}"]) for i in range(work)]
    nodes.append(helper.make_node("MatMul", [f"h{work}", "narrow"], ["y"]))
    weights = {"eye": eye, "widen": widen, "narrow": np.ascontiguousarray(widen.T)}
    return save_model(path, nodes, [("x", "float32", [None, size])], [("y", "float32", [None, size])], weights)


def split(path: Path, *, parts: int = 3, size: int = 4) -> Path:
    """A row of `parts · size` into `parts` rows: output `parts [?, parts, size]`, for fan-out."""
    node = helper.make_node("Reshape", ["x", "shape"], ["parts"])
    weights = {"shape": np.array([-1, parts, size], np.int64)}
    return save_model(
        path, [node], [("x", "float32", [None, parts * size])], [("parts", "float32", [None, parts, size])], weights
    )


def corrupt(path: Path) -> Path:
    """A file that is no ONNX model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"this is not an ONNX model" * 10)
    return path
