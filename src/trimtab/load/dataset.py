"""Labelled inputs to send: read from `.npz`, checked against what the server says it takes, judged against the labels.

An array's first axis counts the rows; a request carries one row. Arrays that are neither an input of the model nor the
labels are left alone. Only `read_dataset` touches a file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.load.wire import DATATYPES, ModelMetadata, Tensor, TensorSpec, datatype_of


@dataclass(frozen=True, slots=True)
class Dataset:
    """Named arrays with the same number of rows."""

    arrays: Mapping[str, Tensor]
    name: str

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True, slots=True)
class LabelledInputs:
    """Rows that a model takes, and what its answer to each should be (None: nothing is known about that)."""

    inputs: Mapping[str, Tensor]
    labels: Tensor | None = None
    output: str | None = None
    """Name of the output that is compared with the labels."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.inputs.values())))

    def row(self, i: int) -> dict[str, Tensor]:
        """The tensors of a request with row `i`, first axis of length 1."""
        return {name: array[i : i + 1] for name, array in self.inputs.items()}

    def correct(self, i: int, output: Tensor) -> bool:
        """Whether an answer to row `i` is right.

        A label beside an output of one axis more is the index of the largest entry along that axis (a class among
        scores); otherwise every entry must equal the label's.

        Raises:
            ValueError: the output's shape goes with the label in neither way.
        """
        if self.labels is None:
            raise ValueError("there are no labels to compare with")
        label = self.labels[i : i + 1]
        if output.ndim == label.ndim + 1:
            output = np.argmax(output, axis=-1)
        if output.shape != label.shape:
            raise ValueError(f"an output of shape {output.shape} does not go with a label of shape {label.shape}")
        return bool(np.array_equal(output, label))


def read_dataset(path: Path) -> Dataset:
    """Read the arrays of an `.npz` file; nothing in it is executed.

    Raises:
        TraceError: the file is missing, is no `.npz`, or its arrays are no rows.
    """
    arrays: dict[str, Tensor] = {}
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise TraceError("this is a single array", where=str(path), wanted="an .npz file of named arrays")
        with file:
            for name in file.files:
                arrays[name] = file[name]
    except FileNotFoundError:
        raise TraceError("there is no such data file", where=str(path)) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TraceError(
            "the data file cannot be read",
            where=str(path),
            got="something else" if "pickle" in str(error) else str(error)[:200],
            wanted="an .npz file of plain arrays, as numpy.savez writes it",
        ) from error
    if not arrays:
        raise TraceError("the data file holds no arrays", where=str(path))
    rows = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    if len(set(rows.values())) != 1 or None in rows.values():
        told = ", ".join(f"{name}: {'no axis' if n is None else n}" for name, n in rows.items())
        raise TraceError("the arrays differ in their number of rows", where=str(path), got=told)
    if not arrays[next(iter(arrays))].shape[0]:
        raise TraceError("the arrays have no rows", where=str(path))
    return Dataset(arrays, path.name)


def match(dataset: Dataset, model: ModelMetadata, *, label: str | None, output: str | None) -> LabelledInputs:
    """What to send to `model`: the data set's arrays of its inputs' names, checked for dtype and shape.

    `label` names the array of right answers and `output` the model's output to compare with it, which may be left open
    where the model has one output, or one of the label's name.

    Raises:
        TraceError: an input is missing or differs in dtype or shape, or label and output do not go together.
    """
    inputs = {spec.name: _input(dataset, model, spec) for spec in model.inputs}
    if label is None:
        if output is not None:
            raise TraceError("an output is compared with a label, but no label is named", next_step="give --label")
        return LabelledInputs(inputs)
    if label not in dataset.arrays:
        raise TraceError("no such label array", where=dataset.name, got=label, wanted=f"one of {_names(dataset)}")
    return LabelledInputs(inputs, dataset.arrays[label], _output(model, label, output))


def order(requests: int, rows: int, seed: int) -> NDArray[np.int64]:
    """Which row each request carries: all rows in a random order, then all again in another one, and so on."""
    draws = rng.generator(seed, "inputs")
    rounds = [draws.permutation(rows) for _ in range(-(-requests // rows))]
    return np.concatenate(rounds)[:requests] if rounds else np.zeros(0, dtype=np.int64)


def _input(dataset: Dataset, model: ModelMetadata, spec: TensorSpec) -> Tensor:
    where = f"{dataset.name}, input {spec.name!r} of model {model.name!r}"
    if spec.name not in dataset.arrays:
        raise TraceError("the model has an input that the data lack", where=where, got=_names(dataset))
    array = dataset.arrays[spec.name]
    got = datatype_of(array.dtype)
    if got != spec.datatype:
        raise TraceError(
            "the input has another dtype than the model takes",
            where=where,
            got=f"{array.dtype} ({got or 'not in the protocol'})",
            wanted=f"{DATATYPES[spec.datatype]} ({spec.datatype})" if spec.datatype in DATATYPES else spec.datatype,
        )
    fits = array.ndim == len(spec.shape) and all(
        want in {-1, have} for have, want in zip((1, *array.shape[1:]), spec.shape, strict=True)
    )
    if not fits:
        raise TraceError(
            "the input has another shape than the model takes",
            where=where,
            got=_shape((1, *array.shape[1:])),
            wanted=f"{_shape(spec.shape)} (-1: any)",
        )
    return array


def _output(model: ModelMetadata, label: str, output: str | None) -> str:
    names = [spec.name for spec in model.outputs]
    if output is None and len(names) == 1:
        return names[0]
    chosen = label if output is None else output
    if chosen not in names:
        raise TraceError(
            "it is not clear which output the labels are for" if output is None else "no such output",
            where=f"model {model.name!r}",
            got=label if output is None else output,
            wanted=f"one of {', '.join(names) or 'none'}",
            next_step="name it with --output",
        )
    return chosen


def _names(dataset: Dataset) -> str:
    return ", ".join(dataset.arrays)


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(n) for n in shape) + "]"
