"""What the models of both peers do: `identity` and `sum` over NumPy arrays, with the checks that their authors make.

Trimtab checks a request against its model's interface; with MLServer and KServe that is left to the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

INPUTS: dict[str, dict[str, tuple[str, int]]] = {
    "identity": {"x": ("FP32", 4), "n": ("INT64", 2), "t": ("BYTES", 1)},
    "sum": {"x": ("FP32", 4)},
}
"""Model → input → datatype and elements of a row."""
OUTPUTS: dict[str, dict[str, str]] = {
    "identity": {"x_out": "FP32", "n_out": "INT64", "t_out": "BYTES"},
    "sum": {"total": "FP32"},
}
"""Model → output → datatype."""


class WrongInputError(ValueError):
    """The request does not fit the model."""


def check(model: str, name: str, datatype: str, shape: tuple[int, ...]) -> None:
    """See that an input fits.

    Raises:
        WrongInputError: it does not; says why.
    """
    if name not in INPUTS[model]:
        raise WrongInputError(f"no input {name}")
    wanted, size = INPUTS[model][name]
    if datatype != wanted or shape[1:] != (size,):
        raise WrongInputError(f"input {name} must be {wanted} [-1, {size}]")


def predict(model: str, inputs: Mapping[str, Any], wanted: list[str]) -> dict[str, Any]:
    """The outputs that were asked for, all where none was.

    Raises:
        WrongInputError: an input is missing, or there is no such output.
    """
    if inputs.keys() != INPUTS[model].keys():
        raise WrongInputError(f"inputs must be {', '.join(INPUTS[model])}")
    if unknown := set(wanted) - OUTPUTS[model].keys():
        raise WrongInputError(f"no output {', '.join(unknown)}")
    if model == "sum":
        outputs = {"total": np.sum(inputs["x"], axis=1, keepdims=True)}
    else:
        outputs = {f"{name}_out": array for name, array in inputs.items()}
    return {name: array for name, array in outputs.items() if not wanted or name in wanted}
