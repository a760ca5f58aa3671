"""Interfaces that the pipeline file or a user's class declares, where a runtime cannot read them from the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from trimtab.errors import ModelError
from trimtab.runtime.models.model import ModelSource
from trimtab.runtime.oip.tensors import DATATYPES
from trimtab.runtime.service import TensorInfo

_EXAMPLE = "{x: {datatype: FP32, shape: [-1, 8]}}"


@dataclass(frozen=True, slots=True)
class DeclaredTensor:
    """A tensor as the option `inputs` or `outputs` declares it."""

    info: TensorInfo
    source: str
    """What the model itself calls it; its own name unless `from` says another."""


def declared(source: ModelSource, option: str) -> tuple[DeclaredTensor, ...] | None:
    """The tensors that an option (`inputs` or `outputs`) declares; None where it is absent.

    Raises:
        ModelError: it has another form than `{x: {datatype: FP32, shape: [-1, 8]}}`.
    """
    given = source.options.get(option)
    if given is None:
        return None
    if not isinstance(given, Mapping) or not given:
        _refuse(source, option, given, f"a mapping such as {_EXAMPLE}")
    return tuple(_tensor(source, f"{option}.{name}", str(name), entry) for name, entry in given.items())


def infos(source: ModelSource, option: str) -> tuple[TensorInfo, ...]:
    """As `declared`, for a runtime that knows nothing of the model's tensors by itself.

    Raises:
        ModelError: as for `declared`, or it is absent.
    """
    tensors = declared(source, option)
    if tensors is None:
        raise ModelError(
            f"the model does not say its {option}, and the pipeline file does not either",
            where=str(source.path),
            wanted=f"an option {option}, such as options: {{{option}: {_EXAMPLE}}}",
        )
    return tuple(tensor.info for tensor in tensors)


def info_of(name: str, dtype: object, shape: Sequence[int]) -> TensorInfo:
    """A tensor by the protocol's datatype (`FP32`) or NumPy's (`float32`, `str`), and a shape; rows are its first axis.

    Raises:
        ValueError: there is no such datatype, or the shape is none.
    """
    known = DATATYPES.get(dtype) if isinstance(dtype, str) else None
    if known is None:
        try:
            known = np.dtype(dtype)  # type: ignore[call-overload]  # whatever it does not take, it says by TypeError
        except TypeError as error:
            raise ValueError(f"'{dtype}' is no datatype") from error
    if known.kind in "OSU":
        known = DATATYPES["BYTES"]
    if known not in DATATYPES.values():
        raise ValueError(f"'{dtype}' is no datatype that is served")
    axes = tuple(shape)
    if (
        not axes
        or not all(isinstance(axis, int) and (axis == -1 or axis > 0) for axis in axes)
        or axes[0] not in (-1, 1)
    ):
        raise ValueError(f"{list(axes)} is no shape that begins with the rows, -1 or 1")
    return TensorInfo(name, known, axes)


def option(source: ModelSource, name: str, default: Any, kind: type, wanted: str) -> Any:
    """One option of the pipeline file, or its default.

    Raises:
        ModelError: it is of another type than `kind`.
    """
    value = source.options.get(name, default)
    if value is not None and not isinstance(value, kind):
        _refuse(source, name, value, wanted)
    return value


def known_options(source: ModelSource, names: Collection[str]) -> None:
    """See that the runtime knows each option.

    Raises:
        ModelError: there is one that it does not know.
    """
    for name in source.options:
        if name not in names:
            _refuse(source, name, name, "one of " + ", ".join(names))


def _tensor(source: ModelSource, where: str, name: str, entry: object) -> DeclaredTensor:
    if not isinstance(entry, Mapping) or not {"datatype", "shape"} <= entry.keys() <= {"datatype", "shape", "from"}:
        _refuse(source, where, entry, "a mapping such as {datatype: FP32, shape: [-1, 8]}")
    shape, own_name = entry["shape"], entry.get("from", name)
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not isinstance(own_name, str):
        _refuse(source, where, entry, "a shape such as [-1, 8], and in `from` the model's own name")
    try:
        return DeclaredTensor(info_of(name, entry["datatype"], shape), own_name)
    except ValueError as error:
        _refuse(source, where, str(error), "a datatype such as FP32 or BYTES, and a shape such as [-1, 8]")


def _refuse(source: ModelSource, where: str, got: object, wanted: str) -> NoReturn:
    raise ModelError("an option is wrong", where=f"{source.path}: options.{where}", got=str(got)[:200], wanted=wanted)
