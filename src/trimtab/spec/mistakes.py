"""What is wrong in a file, in our words: one `Mistake` per wrong field, also made from pydantic's validation errors.

A schema's field says what it wants with `Wanted`; the translation finds it again by walking the schema along the
path of the error. Pure: no files.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from trimtab.errors import TrimtabError

FieldPath = tuple[str | int, ...]
"""Where a value stands in a file: names of fields and positions in lists, outermost first."""

_KEY = "[key]"
"""What pydantic adds to a path when it is the key that is wrong, not the value."""
FORM = "‹"
"""The tags of a union's forms begin with this sign, so that they are never taken for a field's name."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with the value at `field`."""

    field: FieldPath
    what: str
    got: str | None = None
    wanted: str | None = None
    next_step: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Stands in the annotation of a schema's field: what belongs there, and what to do when it does not."""

    text: str
    next_step: str | None = None


def together(errors: Sequence[TrimtabError]) -> TrimtabError:
    """Errors of one class (at least one) as one error: the first, with the others beside it."""
    first, *others = errors
    return type(first)(
        first.what, where=first.where, got=first.got, wanted=first.wanted, next_step=first.next_step, also=others
    )


def format_field(field: FieldPath) -> str:
    """`tasks.read.after[0]`."""
    text = ""
    for part in field:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def format_value(value: object) -> str:
    """A value as an error shows it: short, and on one line."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "a mapping" if value else "an empty mapping"
        case str():
            return repr(value if len(value) <= 60 else f"{value[:57]}...")
        case Sequence():
            return f"a list of {len(value)}" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`did you mean 'locate'?`, when a known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else None


def one_of(known: Iterable[str]) -> str:
    """The known words, as what was wanted."""
    words = list(known)
    return ("one of " if len(words) > 1 else "") + ", ".join(words) if words else "none"


def explain(error: ValidationError, schema: type[BaseModel]) -> list[Mistake]:
    """What pydantic found wrong against `schema`, one mistake per field."""
    return [_explain_one(details, schema) for details in error.errors(include_url=False)]


def _explain_one(details: Mapping[str, Any], schema: type[BaseModel]) -> Mistake:
    path = tuple(part for part in details["loc"] if not (isinstance(part, str) and part.startswith(FORM)))
    is_key = bool(path) and path[-1] == _KEY
    field = path[:-1] if is_key else path
    kind: str = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    wanted = _wanted(schema, (*path[:-2], _KEY) if is_key else path)
    text = wanted.text if wanted else _range(kind, context)
    step = wanted.next_step if wanted else None
    got = format_value(details["input"])
    match kind:
        case "extra_forbidden":
            known = _fields(schema, field[:-1])
            return Mistake(field, "unknown field", wanted=one_of(known), next_step=did_you_mean(str(field[-1]), known))
        case "missing":
            return Mistake(field, "required, but absent", wanted=text, next_step=step)
        case "trimtab":
            return Mistake(field, details["msg"], got, text or context.get("wanted"), context.get("next_step") or step)
        case "string_pattern_mismatch" | "string_too_long" | "string_too_short":
            name = "not a name" if is_key else "out of form"
            return Mistake(field, name, got, text or NAME_WANTED, step)
        case "literal_error":
            choices = [choice.strip("'") for choice in str(context["expected"]).replace(" or ", ", ").split(", ")]
            text = text or one_of(choices)
            return Mistake(field, "unknown value", got, text, step or did_you_mean(str(details["input"]), choices))
        case "too_short":
            return Mistake(field, "empty", None, text or "at least one entry", step)
        case "finite_number":
            return Mistake(field, "not a finite number", got, text or "a finite number", step)
        case _ if kind in _RANGES:
            return Mistake(field, "out of range", got, text, step)
        case _ if kind in _TYPES:
            return Mistake(field, "wrong type", got, text or _TYPES[kind], step)
    return Mistake(field, str(details["msg"]), got, text, step)


NAME_WANTED = "a name of letters, digits, '-', '_' and '.' that begins with a letter or digit"

_RANGES = {
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
}
_TYPES = {
    "string_type": "text",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of names",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
}


def _range(kind: str, context: Mapping[str, Any]) -> str | None:
    return _RANGES[kind].format(**context) if kind in _RANGES else None


def _fields(schema: type[BaseModel], path: FieldPath) -> list[str]:
    """Names of the fields that may stand in the mapping at `path`."""
    models = [t for t, _ in _forms_at(schema, path) if isinstance(t, type) and issubclass(t, BaseModel)]
    return [info.alias or name for model in models for name, info in model.model_fields.items()]


def _wanted(schema: type[BaseModel], path: FieldPath) -> Wanted | None:
    """The `Wanted` beside the field at `path`, if it has one."""
    marks = [mark for _, metadata in _forms_at(schema, path) for mark in metadata if isinstance(mark, Wanted)]
    return marks[0] if marks else None


_Form = tuple[Any, tuple[Any, ...]]
"""A type, and the annotations beside it."""


def _forms_at(schema: type[BaseModel], path: FieldPath) -> list[_Form]:
    """The types that the schema allows at `path`, a union's forms all of them."""
    forms: list[_Form] = [(schema, ())]
    for part in path:
        forms = [inner for form, _ in forms for inner in _inside(form, part)]
    return forms


def _inside(form: Any, part: str | int) -> list[_Form]:
    if isinstance(form, type) and issubclass(form, BaseModel):
        for name, info in form.model_fields.items():
            if part in (name, info.alias):
                return _flatten(info.annotation, tuple(info.metadata))
        return []
    arguments = get_args(form)
    if get_origin(form) is dict:
        return _flatten(arguments[0 if part == _KEY else 1], ())
    return _flatten(arguments[0], ()) if arguments else []


def _flatten(annotation: Any, metadata: tuple[Any, ...]) -> list[_Form]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        return _flatten(inner, (*metadata, *marks))
    if origin in (Union, types.UnionType):
        return [form for each in get_args(annotation) for form in _flatten(each, metadata)]
    return [(annotation, metadata)]
