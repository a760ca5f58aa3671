"""From a variant of the pipeline file to a model that runs: which runtime loads it, and loading it there.

A new runtime is a module of this package with a `Runtime`, one line in `RUNTIMES`, and its name in
`spec.schema.RuntimeName`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from trimtab.errors import ModelError, TrimtabError
from trimtab.runtime.models.allowed import check_allowed
from trimtab.runtime.models.apart import inspect_apart
from trimtab.runtime.models.model import Interface, Model, ModelSource, Runtime
from trimtab.spec.model import Variant

RUNTIMES = {
    "onnx": "trimtab.runtime.models.onnx_runtime:OnnxRuntime",
    "sklearn": "trimtab.runtime.models.sklearn_runtime:SklearnRuntime",
    "torchscript": "trimtab.runtime.models.torch_runtime:TorchRuntime",
    "transformers": "trimtab.runtime.models.transformers_runtime:TransformersRuntime",
    "python": "trimtab.runtime.models.python_runtime:PythonRuntime",
}
"""Name of a runtime → `module:class`, imported when it is used."""

READ_HERE = frozenset({"onnx", "transformers"})
"""Runtimes that inspect a model by reading what its files say; any other runs code of others, in a process apart."""

SUFFIXES = {
    ".onnx": "onnx",
    ".joblib": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".skops": "sklearn",
    ".pt": "torchscript",
    ".pt2": "torchscript",
    ".py": "python",
}
"""Suffix of a model file → the runtime that loads it where the pipeline file names none."""


def runtime_by_form(path: Path) -> str | None:
    """The runtime that a model's form shows; None where it shows none."""
    if path.is_dir():
        return "transformers" if (path / "config.json").is_file() else None
    return SUFFIXES.get(path.suffix.lower())


def source_of(variant: Variant, folders: Sequence[Path] = ()) -> ModelSource:
    """Where the model of a variant comes from; its files are not opened.

    Raises:
        ModelError: the variant names no model, or one that does not show which runtime loads it.
    """
    if variant.model is None:
        raise ModelError(
            "it has no model file",
            wanted="a model that a runtime loads, such as an ONNX file",
            next_step="name it in the pipeline file; without it the variant can be planned but not served",
        )
    runtime = variant.runtime or runtime_by_form(variant.model)
    if runtime is None:
        what = "the model does not show which runtime loads it"
        if not variant.model.exists():
            what = "the model does not exist"
        raise ModelError(
            what,
            where=str(variant.model),
            wanted="a file that ends in " + ", ".join(SUFFIXES) + ", or a folder with a config.json",
            next_step="name the runtime in the pipeline file: runtime: " + ", ".join(RUNTIMES),
        )
    return ModelSource(runtime, variant.model, variant.entry, dict(variant.options), tuple(folders))


def runtime_for(source: ModelSource) -> Runtime:
    """The runtime that loads a model.

    Raises:
        ModelError: there is none of that name.
    """
    if source.runtime not in RUNTIMES:
        raise ModelError("there is no such runtime", got=f"'{source.runtime}'", wanted=", ".join(RUNTIMES))
    module, _, name = RUNTIMES[source.runtime].partition(":")
    return cast("Runtime", getattr(importlib.import_module(module), name)())


def inspect_source(source: ModelSource) -> Interface:
    """What a model takes and gives. What runs code of others to know it is left to a process of its own.

    Raises:
        ModelError: it is missing, corrupt, not allowed, or cannot be served, or its runtime runs apart and its library
            is not installed; tells where and why.
        MissingExtraError: the library of a runtime that reads here is not installed.
    """
    if source.runtime in READ_HERE or source.runtime not in RUNTIMES:
        return inspect_here(source)
    check_allowed(source.path, source.folders)
    return inspect_apart(source)


def inspect_here(source: ModelSource) -> Interface:
    """As `inspect_source`, in this process.

    Raises:
        ModelError: it is missing, corrupt, not allowed, or cannot be served; tells where and why.
        MissingExtraError: the runtime's library is not installed.
    """
    check_allowed(source.path, source.folders)
    try:
        return runtime_for(source).inspect(source)
    except TrimtabError:
        raise
    except Exception as error:  # a library's or a user's own; they share no other base class
        raise _told(source, error) from error


def load_source(source: ModelSource, threads: int) -> Model:
    """An instance of a model that uses `threads` threads for a batch.

    Raises:
        ModelError: as for `inspect_source`, or there is not enough memory for it.
        MissingExtraError: the runtime's library is not installed.
    """
    check_allowed(source.path, source.folders)
    try:
        return runtime_for(source).load(source, threads)
    except TrimtabError:
        raise
    except Exception as error:  # as above
        raise _told(source, error) from error


def _told(source: ModelSource, error: Exception) -> ModelError:
    if isinstance(error, MemoryError):
        return ModelError(
            "there is not enough memory to load the model",
            where=str(source.path),
            got=" ".join(str(error).split())[:400] or None,
            next_step="load fewer variants or smaller ones, or give it more memory",
        )
    return ModelError(
        f"the runtime {source.runtime} cannot load the model",
        where=str(source.path),
        got=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}",
    )
