"""ONNX files in ONNX Runtime, on the CPU. The interface stands in the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.errors import InvalidInputError, ModelError
from trimtab.runtime.frames import BYTES
from trimtab.runtime.framing import DTYPES
from trimtab.runtime.models.model import Interface, ModelSource, format_shape
from trimtab.runtime.service import Tensor, TensorInfo

_ONNX_DTYPES = {
    "tensor(bool)": "bool", "tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


class OnnxRuntime:
    """Loads `.onnx` files."""

    name = "onnx"

    def inspect(self, source: ModelSource) -> Interface:
        """The interface in the file; loads it without optimising it: some 10 ms for a small one."""
        return _read_interface(_open(source, threads=1, optimise=False), source)

    def load(self, source: ModelSource, threads: int) -> OnnxModel:
        """A session of its own pool of threads."""
        session = _open(source, threads=threads, optimise=True)
        return OnnxModel(session, _read_interface(session, source), parallel=threads == 1)


class OnnxModel:
    """An open session. With one thread it has no pool of threads, so that any number of runs share it; else one."""

    any_threads = False

    def __init__(self, session: Any, interface: Interface, *, parallel: bool) -> None:
        self.interface = interface
        self.parallel = parallel
        self._session = session
        self._names = [info.name for info in interface.outputs]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One run of the session."""
        feeds = {name: _text(name, array) if array.dtype == BYTES else array for name, array in inputs.items()}
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))

    def example(self, rows: int) -> None:
        """None: an ONNX file says what form its inputs have, not which values make sense."""
        del rows


def _text(name: str, array: Tensor) -> Tensor:
    """ONNX's strings are text: bytes are taken for UTF-8."""
    texts = np.empty(array.size, object)
    try:
        texts[:] = [item.decode() for item in array.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"input '{name}' is no text", got=str(error), wanted="UTF-8") from error
    return texts.reshape(array.shape)


def _open(source: ModelSource, *, threads: int, optimise: bool) -> Any:
    """A session that uses `threads` threads per run and does not spin.

    With spinning, threads that wait burn the cores of those that work: twice as slow when a replica is squeezed onto
    fewer cores, and the load of an idle replica would not be zero.
    """
    path = source.path
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
        # No falling back, for there is no other provider: it would print, load the file again, and after a failed run
        # change the session under the other runs.
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise ModelError(
            "ONNX Runtime cannot load the model file",
            where=str(path),
            got=" ".join(str(error).split())[:400],
            wanted="a valid ONNX file",
            next_step="export or download it again",
        ) from error


def _read_interface(session: Any, source: ModelSource) -> Interface:
    return Interface(
        tuple(_info(node, "input", source) for node in session.get_inputs()),
        tuple(_info(node, "output", source) for node in session.get_outputs()),
    )


def _info(node: Any, role: str, source: ModelSource) -> TensorInfo:
    dtype = BYTES if node.type == "tensor(string)" else DTYPES.get(_ONNX_DTYPES.get(node.type, ""))
    if dtype is None:
        raise ModelError(
            f"{role} '{node.name}' has a type that is not served",
            where=str(source.path),
            got=node.type,
            wanted="a tensor of string, " + ", ".join(DTYPES),
        )
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in node.shape)
    if not shape or shape[0] not in (-1, 1):
        raise ModelError(
            f"{role} '{node.name}' has no batch axis",
            where=str(source.path),
            got=f"shape {format_shape(shape)}",
            wanted="a leading axis that is dynamic (or 1)",
            next_step="export the model with a dynamic leading axis",
        )
    return TensorInfo(node.name, dtype, shape)
