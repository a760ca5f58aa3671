"""scikit-learn estimators from joblib, pickle or skops files.

A joblib or pickle file runs whatever code is in it: it deserves the trust that a program does. A skops file is checked
before it is loaded: types that skops does not know are refused unless the option `trusted` names them.

The input is one table of numbers; its width is the estimator's `n_features_in_`. The outputs are what its methods give,
named after them: `predict`, and `predict_proba` where it has that; the options `inputs` and `outputs` say other names
and datatypes, so that an estimator can stand beside a model of another runtime.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.errors import MissingExtraError, ModelError
from trimtab.runtime.frames import BYTES
from trimtab.runtime.models.declared import DeclaredTensor, declared, known_options, option
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.service import Tensor, TensorInfo

METHODS = ("predict", "predict_proba")
"""Methods whose results are the outputs, unless the pipeline file names others."""
_OPTIONS = ("inputs", "outputs", "trusted")


class SklearnRuntime:
    """Loads `.joblib`, `.pkl` and `.skops` files."""

    name = "sklearn"

    def inspect(self, source: ModelSource) -> Interface:
        """Loads the file: the interface is the estimator's own."""
        return self.load(source, 1).interface

    def load(self, source: ModelSource, threads: int) -> SklearnModel:
        """The estimator; it uses one thread whatever `threads` is, so that replicas do not disturb each other."""
        del threads
        known_options(source, _OPTIONS)
        if not source.path.is_file():
            raise ModelError("the model file does not exist", where=str(source.path), wanted="a joblib or skops file")
        estimator = _read(source)
        if not hasattr(estimator, "predict") and declared(source, "outputs") is None:
            raise ModelError(
                "the file holds no estimator that predicts", where=str(source.path), got=type(estimator).__name__
            )
        return SklearnModel(source, estimator)


class SklearnModel:
    """A fitted estimator. Predicting changes nothing in it, so that any number of runs share it."""

    parallel = True
    any_threads = True

    def __init__(self, source: ModelSource, estimator: Any) -> None:
        self._estimator = estimator
        self._input = _input(source, estimator)
        self._outputs = declared(source, "outputs") or tuple(
            DeclaredTensor(_output(source, estimator, method), method)
            for method in METHODS
            if hasattr(estimator, method)
        )
        for tensor in self._outputs:
            if not callable(getattr(estimator, tensor.source, None)):
                raise ModelError(
                    f"the estimator has no method '{tensor.source}'",
                    where=f"{source.path}: options.outputs.{tensor.info.name}",
                    wanted="one of " + ", ".join(method for method in METHODS if hasattr(estimator, method)),
                    next_step="name it with from: {probabilities: {from: predict_proba, …}}",
                )
        self.interface = Interface((self._input,), tuple(tensor.info for tensor in self._outputs))
        with contextlib.suppress(AttributeError, ValueError):  # a pipeline of estimators has no n_jobs of its own
            estimator.set_params(n_jobs=1)

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each output is the result of one method."""
        table = inputs[self._input.name]
        outputs: dict[str, Tensor] = {}
        for tensor in self._outputs:
            given = np.asarray(getattr(self._estimator, tensor.source)(table))
            outputs[tensor.info.name] = given if tensor.info.dtype == BYTES else given.astype(tensor.info.dtype)
        return outputs

    def example(self, rows: int) -> None:
        """None: random numbers of the right width do as well as any."""
        del rows


def _read(source: ModelSource) -> Any:
    path = source.path
    try:
        import joblib  # type: ignore[import-untyped]
        import sklearn  # noqa: F401 — the file needs it, and its absence would be told as a fault of the file
    except ImportError:
        raise MissingExtraError("scikit-learn", "sklearn", "a scikit-learn model") from None
    if path.suffix.lower() == ".skops":
        try:
            from skops import io as skops_io  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            raise MissingExtraError("skops", "sklearn", "a skops file") from None
        trusted = option(source, "trusted", (), list | tuple, "a list of types")  # type: ignore[arg-type]
        unknown = [name for name in skops_io.get_untrusted_types(file=path) if name not in trusted]
        if unknown:
            raise ModelError(
                "the skops file holds types that are not trusted",
                where=str(path),
                got=", ".join(unknown)[:400],
                next_step="if you trust them, name them in the pipeline file: options.trusted",
            )
        return skops_io.load(path, trusted=list(trusted))
    try:
        return joblib.load(path)
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, IndexError, AttributeError, ImportError) as error:
        raise ModelError(
            "the file cannot be read as a scikit-learn model",
            where=str(path),
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            wanted="a file that joblib.dump wrote with the version of scikit-learn that is installed",
        ) from error


def _input(source: ModelSource, estimator: Any) -> TensorInfo:
    given = declared(source, "inputs")
    if given is not None:
        if len(given) != 1:
            raise ModelError("an estimator has one input", where=f"{source.path}: options.inputs", got=str(len(given)))
        return given[0].info
    width = getattr(estimator, "n_features_in_", None)
    if not isinstance(width, int):
        raise ModelError(
            "the estimator does not say how many features it takes",
            where=str(source.path),
            wanted="an option inputs, such as options: {inputs: {x: {datatype: FP32, shape: [-1, 8]}}}",
        )
    return TensorInfo("x", np.dtype(np.float32), (-1, width))


def _output(source: ModelSource, estimator: Any, method: str) -> TensorInfo:
    """The form of a method's result, as one row of zeros gives it."""
    given = declared(source, "inputs")
    width = given[0].info.shape[1:] if given else (int(getattr(estimator, "n_features_in_", 1)),)
    try:
        result = np.asarray(getattr(estimator, method)(np.zeros((1, *(max(axis, 1) for axis in width)), np.float32)))
    except Exception as error:
        raise ModelError(
            f"the estimator's method {method} fails on a row of zeros",
            where=str(source.path),
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            wanted="an option outputs, such as options: {outputs: {predict: {datatype: INT64, shape: [-1]}}}",
        ) from error
    dtype = BYTES if result.dtype.kind in "OSU" else result.dtype
    return TensorInfo(method, dtype, (-1, *result.shape[1:]))
