"""What a model is to the rest of the runtime: where it comes from, what it takes and gives, and how it is run.

A runtime (ONNX, scikit-learn, …) is one module of this package; it imports its library only when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trimtab.runtime.service import Tensor, TensorInfo


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
        """Whether an input can be made up: all are numbers, and all axes but the rows are fixed."""
        return all(info.dtype.kind != "O" and all(axis > 0 for axis in info.shape[1:]) for info in self.inputs)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from. Made by `registry.source_of`."""

    runtime: str
    """Name of the runtime that loads it."""
    path: Path
    """Absolute path of a file or folder."""
    entry: str | None = None
    """The class in a file of Python."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the runtime is told; made of text, numbers, lists and mappings."""
    folders: tuple[Path, ...] = ()
    """Folders that it may lie in. None: it was not named by a file but by code, which is trusted."""


class Model(Protocol):
    """One loaded instance of a model."""

    @property
    def interface(self) -> Interface:
        """What it takes and gives."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether several batches may run on it at once, from several threads, without slowing each other down. Where
        not, a replica loads as many instances as it runs batches at once.
        """
        ...

    @property
    def any_threads(self) -> bool:
        """Whether it is the same for every number of threads, so that one load serves them all."""
        ...

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs for one batch, whose tensors are those of `interface.inputs`.

        Raises:
            InvalidInputError: the batch has the right form, but a value that the model does not take.
            Exception: whatever the library or the user's code raises; the caller tells it as a `ModelError`.
        """
        ...

    def example(self, rows: int) -> Mapping[str, Tensor] | None:
        """A batch that the model takes, to warm it up and to measure it; None where only its user knows one."""
        ...


class Runtime(Protocol):
    """One way of loading models: a module of this package."""

    @property
    def name(self) -> str:
        """As the pipeline file says it."""
        ...

    def inspect(self, source: ModelSource) -> Interface:
        """What the model takes and gives, as cheaply as it can be known.

        Raises:
            ModelError: it is missing, corrupt, or of a form that cannot be served.
            MissingExtraError: the runtime's library is not installed.
        """
        ...

    def load(self, source: ModelSource, threads: int) -> Model:
        """An instance that uses `threads` threads for a batch.

        Raises:
            ModelError: as for `inspect`.
            MissingExtraError: as for `inspect`.
        """
        ...


def format_shape(shape: tuple[int, ...]) -> str:
    """A shape for people: `[?, 3, 224, 224]`."""
    return "[" + ", ".join("?" if axis < 0 else str(axis) for axis in shape) + "]"


def format_dtype(info: TensorInfo) -> str:
    """A tensor's type for people: NumPy's name, or `bytes`."""
    return "bytes" if info.dtype.kind == "O" else info.dtype.name
