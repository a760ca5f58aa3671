"""A class in a file of Python, for models that no other runtime loads: `model: file.py:Class`.

    class Doubler:
        inputs = [("x", "FP32", [-1, 4])]
        outputs = [("y", "FP32", [-1, 4])]

        def __init__(self, factor: float = 2.0) -> None:  # the variant's options; `threads` too where it is a parameter
            self.factor = factor

        def predict(self, x):
            return {"y": x * self.factor}

`inputs` and `outputs` may also be set by `__init__`. Text comes and goes as arrays of bytes. A class whose attribute
`parallel` is True runs several batches at once; any other is made as often as the replica runs batches at once. A
method `example(rows)` gives a batch to warm up with. The file's own folder is not on the path of imports: it is one
module, and imports what is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.errors import InvalidInputError, ModelError
from trimtab.runtime.models.declared import info_of
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.service import Tensor, TensorInfo


class PythonRuntime:
    """Loads classes."""

    name = "python"

    def inspect(self, source: ModelSource) -> Interface:
        """Makes one: only it knows its interface."""
        return self.load(source, 1).interface

    def load(self, source: ModelSource, threads: int) -> PythonModel:
        """An object of the class."""
        if source.entry is None:
            raise ModelError(
                "the model is a file of Python without the name of a class",
                where=str(source.path),
                wanted=f"{source.path.name}:Class",
            )
        if not source.path.is_file():
            raise ModelError("the model file does not exist", where=str(source.path), wanted="a file of Python")
        try:
            made = getattr(_module(source.path), source.entry, None)
            if not inspect.isclass(made):
                raise _no_class(source)  # noqa: TRY301 — its own errors are let through below
            takes_threads = "threads" in inspect.signature(made).parameters
            model = made(**source.options, **({"threads": threads} if takes_threads else {}))
        except (ModelError, MemoryError):
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise _told(source.path, error) from error
        if not callable(getattr(model, "predict", None)):
            raise ModelError(f"the class '{source.entry}' has no method predict", where=str(source.path))
        return PythonModel(source.path, model, any_threads=not takes_threads)


class PythonModel:
    """An object of the user's class."""

    def __init__(self, path: Path, model: Any, *, any_threads: bool) -> None:
        self._path = path
        self._model = model
        self.any_threads = any_threads
        self.parallel = bool(getattr(model, "parallel", False))
        self.interface = Interface(_infos(path, model, "inputs"), _infos(path, model, "outputs"))

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `predict` returns."""
        try:
            outputs = self._model.predict(**inputs)
        except (InvalidInputError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise _told(self._path, error) from error
        if not isinstance(outputs, Mapping):
            raise ModelError(
                "predict returned no mapping",
                where=str(self._path),
                got=type(outputs).__name__,
                wanted="the outputs by name, such as {'y': array}",
            )
        return {str(name): np.asarray(array) for name, array in outputs.items()}

    def example(self, rows: int) -> Mapping[str, Tensor] | None:
        """What the class's own `example` returns; None where it has none."""
        method = getattr(self._model, "example", None)
        if not callable(method):
            return None
        try:
            return {str(name): np.asarray(array) for name, array in method(rows).items()}
        except Exception as error:
            raise _told(self._path, error) from error


def _no_class(source: ModelSource) -> ModelError:
    return ModelError(f"the file has no class '{source.entry}'", where=str(source.path))


def _module(path: Path) -> Any:
    """The file as a module of a name that nothing else has; read anew each time, because it may have changed."""
    name = f"trimtab_model_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a file that ends in .py always has one"
    assert spec.loader is not None, "as above"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles in it look for it there
    spec.loader.exec_module(module)
    return module


def _infos(path: Path, model: Any, role: str) -> tuple[TensorInfo, ...]:
    given = getattr(model, role, None)
    wanted = "a list of (name, datatype, shape), such as [('x', 'FP32', [-1, 8])]"
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping):
        raise ModelError(f"the model does not say its {role}", where=str(path), wanted=wanted)
    infos: list[TensorInfo] = []
    for item in given:
        if isinstance(item, TensorInfo):
            item = (item.name, item.dtype, item.shape)
        try:
            name, dtype, shape = item
            infos.append(info_of(str(name), dtype, shape))
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"the model's {role} are wrong", where=str(path), got=f"{item!r}: {error}"[:300], wanted=wanted
            ) from error
    return tuple(infos)


def _told(path: Path, error: BaseException) -> ModelError:
    """The user's error with the line of the user's file that it came from."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    return ModelError(
        "the model's code failed",
        where=f"{path}:{line}" if line else str(path),
        got=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
    )
