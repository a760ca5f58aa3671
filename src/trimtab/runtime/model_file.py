"""One ONNX file: opening it in ONNX Runtime the way Trimtab serves it, and reading the interface that it offers.

Used by workers and by the gateway; imports ONNX Runtime only when a file is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import ModelError
from trimtab.runtime.frames import DTYPES
from trimtab.runtime.service import TensorInfo

_ONNX_DTYPES = {
    "tensor(bool)": "bool", "tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interface:
    """What a model takes and gives. The leading axis is the rows: -1, or 1 for a model that takes one row at a time."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    @property
    def one_row_only(self) -> bool:
        """Whether some input's leading axis is fixed at 1, so that a batch has to be run row by row."""
        return any(info.shape[0] == 1 for info in self.inputs)

    @property
    def fixed(self) -> bool:
        """Whether all axes but the rows are fixed, so that an input can be made up."""
        return all(axis > 0 for info in self.inputs for axis in info.shape[1:])


def inspect_model(path: Path) -> Interface:
    """The interface of the ONNX file at `path`. Loads the file without optimising it: some 10 ms for a small one.

    Raises:
        ModelError: the file is missing, a folder, or corrupt; a tensor has no batch axis or a dtype we do not serve.
    """
    return read_interface(open_session(path, threads=1, optimise=False), path)


def open_session(path: Path, *, threads: int, optimise: bool = True) -> Any:
    """An ONNX Runtime session on the CPU that uses `threads` threads per run and does not spin.

    With spinning, threads that wait burn the cores of those that work: twice as slow when a replica is squeezed onto
    fewer cores, and the load of an idle replica would not be zero.

    Raises:
        ModelError: the file is missing, a folder, or corrupt.
    """
    if path.is_dir():
        raise ModelError("the model file is a folder", where=str(path), wanted="an ONNX file")
    if not path.is_file():
        raise ModelError("the model file does not exist", where=str(path), wanted="an ONNX file")
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4  # it raises the same text that it would print
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise ModelError(
            "ONNX Runtime cannot load the model file",
            where=str(path),
            got=" ".join(str(error).split())[:400],
            wanted="a valid ONNX file",
            next_step="export or download it again",
        ) from error


def read_interface(session: Any, path: Path) -> Interface:
    """The interface of an open session; `path` is for messages.

    Raises:
        ModelError: a tensor has no batch axis or a dtype we do not serve.
    """
    return Interface(
        tuple(_info(node, "input", path) for node in session.get_inputs()),
        tuple(_info(node, "output", path) for node in session.get_outputs()),
    )


def _info(node: Any, role: str, path: Path) -> TensorInfo:
    dtype = _ONNX_DTYPES.get(node.type)
    if dtype is None:
        raise ModelError(
            f"{role} '{node.name}' has a type that is not served",
            where=str(path),
            got=node.type,
            wanted="a tensor of " + ", ".join(DTYPES),
        )
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in node.shape)
    if not shape or shape[0] not in (-1, 1):
        raise ModelError(
            f"{role} '{node.name}' has no batch axis",
            where=str(path),
            got=f"shape {format_shape(shape)}",
            wanted="a leading axis that is dynamic (or 1)",
            next_step="export the model with a dynamic leading axis",
        )
    return TensorInfo(node.name, DTYPES[dtype], shape)


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape for people: `[?, 3, 224, 224]`."""
    return "[" + ", ".join("?" if axis < 0 else str(axis) for axis in shape) + "]"
