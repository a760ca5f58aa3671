"""Files of fitted forecasters: JSON with a version, nothing that could run.

    {"format": "trimtab-forecaster", "version": 1, "kind": "lstm", "made": {…}, "parameters": {…}}

`kind` says which class reads `parameters`; `made` says in free words what it was fitted on and how.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trimtab.errors import ForecastError
from trimtab.forecast.model import Forecaster

FORMAT, VERSION = "trimtab-forecaster", 1
BYTES_LIMIT = 64 << 20
"""A larger file is no fitted forecaster."""

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "clock": "trimtab.forecast.clock:from_parameters",
        "lstm": "trimtab.forecast.lstm:from_parameters",
        "exceed": "trimtab.forecast.exceed:from_parameters",
    }
)
"""Kind → the function that makes a forecaster of `parameters`; it raises ValueError, KeyError or TypeError when they
are none."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a file holds."""

    kind: str
    made: Mapping[str, str]
    """Where it comes from: the trace, its part, the date, the tool."""
    parameters: Mapping[str, Any]

    def forecaster(self, where: str) -> Forecaster:
        """A fresh forecaster of these parameters; `where` names them in errors.

        Raises:
            ForecastError: the parameters are none of this kind.
        """
        module_name, _, function = KINDS[self.kind].partition(":")
        try:
            made: Forecaster = getattr(importlib.import_module(module_name), function)(self.parameters)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ForecastError(
                f"the parameters of the forecaster are damaged ({error})",
                where=where,
                wanted=f"what `trimtab forecast train` wrote for kind '{self.kind}'",
                next_step="train it anew",
            ) from error
        return made


def read_fitted(path: Path) -> Fitted:
    """Read a fitted forecaster.

    Raises:
        ForecastError: the file cannot be read, is no fitted forecaster, or one of another version.
    """
    where = str(path)
    try:
        if path.stat().st_size > BYTES_LIMIT:
            raise ForecastError("the file is too large for a fitted forecaster", where=where)
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ForecastError(
            "there is no such file", where=where, next_step="make one with `trimtab forecast train`"
        ) from None
    except OSError as error:
        raise ForecastError("the file cannot be read", where=where, got=error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise ForecastError("the file is no fitted forecaster", where=where, got=str(error), wanted="JSON") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ForecastError("the file is no fitted forecaster", where=where, wanted=f'"format": "{FORMAT}"')
    if told.get("version") != VERSION:
        raise ForecastError(
            "the fitted forecaster is of another version",
            where=where,
            got=told.get("version"),
            wanted=str(VERSION),
            next_step="train it anew with this Trimtab",
        )
    if not isinstance(told.get("kind"), str) or told["kind"] not in KINDS:
        raise ForecastError(
            "no such kind of forecaster", where=where, got=told.get("kind"), wanted=f"one of {', '.join(KINDS)}"
        )
    made, parameters = told.get("made"), told.get("parameters")
    if not isinstance(made, dict) or not isinstance(parameters, dict):
        raise ForecastError("the file is no fitted forecaster", where=where, wanted='"made" and "parameters"')
    return Fitted(told["kind"], {str(k): str(v) for k, v in made.items()}, parameters)


def write_fitted(fitted: Fitted, path: Path) -> None:
    """Write a fitted forecaster, in a way that leaves an older file whole until the new one is.

    Raises:
        ForecastError: the file cannot be written.
    """
    told = {
        "format": FORMAT,
        "version": VERSION,
        "kind": fitted.kind,
        "made": dict(fitted.made),
        "parameters": fitted.parameters,
    }
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_text(json.dumps(told, separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise ForecastError("the file cannot be written", where=str(path), got=error.strerror) from error
