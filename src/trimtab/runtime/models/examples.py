"""Rows to measure models with, from a NumPy archive: for models whose inputs cannot be made up."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trimtab.errors import InvalidInputError, SpecError
from trimtab.runtime.frames import BYTES
from trimtab.runtime.models.model import Interface
from trimtab.runtime.residents import as_bytes, check_inputs
from trimtab.runtime.service import Tensor
from trimtab.runtime.wiring import TaskWiring, Wiring


def load_inputs(path: Path, wiring: Wiring) -> dict[str, Mapping[str, Tensor]]:
    """Task → input → rows, for the tasks whose inputs are all in the archive at `path`, as `<task>.<input>` or
    `<input>`. Text may be NumPy's text; nothing pickled is read.

    Raises:
        SpecError: the archive cannot be read, holds an array of no task's input, or one of another form.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Tensor] = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        got = " ".join(str(error).split())[:200]
        raise SpecError(
            "the inputs cannot be read", where=str(path), got=got, wanted="a .npz of plain arrays"
        ) from error
    found: dict[str, Mapping[str, Tensor]] = {}
    used: set[str] = set()
    for task in wiring.tasks.values():
        names = {
            info.name: next((n for n in (f"{task.task}.{info.name}", info.name) if n in arrays), None)
            for info in task.inputs
        }
        if all(names.values()):
            used |= {name for name in names.values() if name}
            found[task.task] = _rows(path, task, {name: arrays[named] for name, named in names.items() if named})
    if left := set(arrays) - used:
        wanted = ", ".join(f"{task.task}.{info.name}" for task in wiring.tasks.values() for info in task.inputs)
        raise SpecError("no task takes these arrays", where=str(path), got=", ".join(sorted(left)), wanted=wanted)
    return found


def _rows(path: Path, task: TaskWiring, arrays: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    rows: dict[str, Tensor] = {}
    for info in task.inputs:
        array = arrays[info.name]
        if info.dtype == BYTES and array.dtype.kind in "SU":
            array = as_bytes(array)
        elif np.can_cast(array.dtype, info.dtype, "same_kind"):  # NumPy's own default is float64, models' is float32
            array = array.astype(info.dtype)
        rows[info.name] = array
    try:
        check_inputs(rows, Interface(task.inputs, task.outputs))
    except InvalidInputError as error:
        raise SpecError(f"rows for task '{task.task}' do not fit: {error}", where=str(path)) from error
    return rows
