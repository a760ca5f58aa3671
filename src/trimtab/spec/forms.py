"""What the schemas of Trimtab's files are made of: names, amounts with units, fields of several forms, mappings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from trimtab.spec.mistakes import FORM, Wanted
from trimtab.units import parse_duration_s, parse_size_bytes

_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_TASK_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
_AMOUNT = r"^\s*(?=[0.]*[1-9])[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?\s*"

Name = Annotated[str, Field(pattern=_NAME_PATTERN)]
TaskName = Annotated[
    str,
    Field(pattern=_TASK_PATTERN),
    Wanted("a task's name: letters, digits, '-' and '_', beginning with a letter or digit"),
]
"""Without dots, because `<task>.<output>` refers to a task's output."""

Count = Annotated[int, Field(ge=1), Wanted("a whole number of at least 1")]


def _quantity(parse: Callable[[str], float], wanted: str, example: str) -> Callable[[object], float]:
    """A validator for amounts with a unit: a bare number is refused, because nobody can know what it means."""

    def validate(value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            step = f"write its unit too, such as {example}" if value > 0 else None
            raise PydanticCustomError("trimtab", "a number without a unit", {"wanted": wanted, "next_step": step})
        if not isinstance(value, str):
            raise PydanticCustomError("trimtab", "wrong type", {"wanted": wanted})
        try:
            amount = parse(value)
        except ValueError:
            raise PydanticCustomError("trimtab", "not an amount with a unit", {"wanted": wanted}) from None
        if not (math.isfinite(amount) and amount > 0):
            raise PydanticCustomError("trimtab", "out of range", {"wanted": wanted})
        return amount

    return validate


Duration = Annotated[
    float,
    BeforeValidator(_quantity(parse_duration_s, "a duration above zero with its unit, such as 400ms or 2.5s", "400ms")),
    WithJsonSchema({"type": "string", "pattern": _AMOUNT + r"(us|µs|ms|s|min|h)\s*$", "examples": ["400ms", "2.5s"]}),
]
"""Text such as `400ms`; in seconds once read."""

Size = Annotated[
    int,
    BeforeValidator(_quantity(parse_size_bytes, "a size above zero with its unit, such as 512MiB or 4GB", "4GiB")),
    WithJsonSchema(
        {"type": "string", "pattern": _AMOUNT + r"(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)\s*$", "examples": ["512MiB", "4GB"]}
    ),
]
"""Text such as `4GiB`; in bytes once read."""


def form(tag: str) -> Tag:
    """Names one of several forms that a field may take."""
    return Tag(FORM + tag)


def by_type(mapping: str, otherwise: str) -> Discriminator:
    """Chooses a field's form: `mapping` for a mapping, `otherwise` for anything else."""
    return Discriminator(lambda value: FORM + (mapping if isinstance(value, dict | BaseModel) else otherwise))


class Entry(BaseModel):
    """A mapping of the file: no unknown fields, no values of another type."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def json_schema(entry: type[Entry], title: str) -> dict[str, Any]:
    """The JSON schema of a file's outermost mapping."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= _strict(entry.model_json_schema(by_alias=True))
    schema["title"] = title
    return schema


def _strict(node: Any) -> Any:
    """The schema as strict as the reader: no null (an absent field is left out), no names that break the pattern."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _strict(value) for key, value in node.items() if not (key == "default" and value is None)}
    if {"type": "null"} in kept.get("anyOf", ()):
        forms = [item for item in kept.pop("anyOf") if item != {"type": "null"}]
        kept |= forms[0] if len(forms) == 1 else {"anyOf": forms}
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    return kept
