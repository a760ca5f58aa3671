"""What the repository's calls bring, which are Triton's: an index of what is there, load, unload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from trimtab.errors import InvalidInputError

_Value = str | int | float | bool | None


FORBIDDEN = "loading and unloading over the network is not allowed on this server"


class _Index(msgspec.Struct, frozen=True):
    ready: bool = False


class _Load(msgspec.Struct, frozen=True):
    parameters: dict[str, _Value] = {}


def wants_ready_only(body: bytes | memoryview) -> bool:
    """Whether the index is to hold only what is ready; an empty body asks for everything.

    Raises:
        InvalidInputError: the body is not such a question.
    """
    return _decoded(body, _Index).ready


def parameters_of(body: bytes | memoryview) -> Mapping[str, object]:
    """The parameters in the body of `load` or `unload`; it may be empty.

    Raises:
        InvalidInputError: the body is not that of such a call.
    """
    return _decoded(body, _Load).parameters


def check_parameters(parameters: Mapping[str, object], action: str) -> None:
    """Check the parameters of `load` or `unload`.

    Raises:
        InvalidInputError: there is a parameter that cannot be honoured: models and their settings come from the
            pipeline file, not over the network.
    """
    for name, value in parameters.items():
        if action == "unload" and name == "unload_dependents" and isinstance(value, bool):
            continue  # nothing here depends on a variant
        reason = "unknown parameter"
        if name == "config" or name.startswith("file:"):
            reason = "models and their settings come from the pipeline file, not over the network"
        elif name == "unload_dependents":
            reason = "wanted true or false, in a call of unload"
        raise InvalidInputError(reason, where=f"parameter '{name[:80]}'")


_Body = TypeVar("_Body")


def _decoded(body: bytes | memoryview, kind: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(body if len(body) else b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the body is not what this call takes: {error}") from error
