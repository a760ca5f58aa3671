"""Settings of a policy: a frozen dataclass with defaults, overridden field by field by the pipeline's file."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import Field, fields, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from trimtab.errors import PlanRequestError
from trimtab.spec.model import Pipeline


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


S = TypeVar("S", bound=_Dataclass)


def override(defaults: S, pipeline: Pipeline, policy: str) -> S:
    """`defaults` with what `pipeline.policies[policy]` says; `defaults` itself where it says nothing.

    A field may be annotated as bool, int, float, str, None, a Literal, a union of these, or a mapping or tuple of them.
    A whole number does for a float; true and false do for nothing but a bool.

    Raises:
        PlanRequestError: there is no such setting, or its value has the wrong type or no meaning (a ValueError of the
            dataclass).
    """
    wanted = pipeline.policies.get(policy, {})
    hints = get_type_hints(type(defaults))
    known = [field.name for field in fields(defaults)]
    for name, value in wanted.items():
        where = f"policies.{policy}.{name}"
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            raise PlanRequestError(
                "the policy has no such setting",
                where=where,
                wanted=f"one of {', '.join(known)}",
                next_step=f"did you mean '{close[0]}'?" if close else None,
            )
        if not _fits(value, hints[name]):
            raise PlanRequestError(
                "the setting has a value of the wrong type", where=where, got=repr(value), wanted=_words(hints[name])
            )
    try:
        return replace(defaults, **wanted) if wanted else defaults
    except ValueError as error:
        raise PlanRequestError(f"the policy's settings have no meaning: {error}", where=f"policies.{policy}") from error


def _fits(value: object, hint: object) -> bool:
    """Whether `value` is what the annotation `hint` says."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return any(value == argument and type(value) is type(argument) for argument in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float))
    return isinstance(value, hint) if isinstance(hint, type) else value is hint


def _words(hint: object) -> str:
    """The annotation in words that a reader of a pipeline file knows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping of names to {_words(arguments[1])}"
    if origin is tuple:
        return f"a list of {_words(arguments[0])}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a word", type(None): "null"}
    return names.get(hint, str(hint)) if isinstance(hint, type) else str(hint)
