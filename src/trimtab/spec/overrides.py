"""Overrides: values given beside a file, `slo.latency=300ms`, that stand in the place of the file's.

The path names fields, outermost first, with dots between them; where a mapping has a name with dots, such as a
variant's, that name is taken whole. The value is a scalar, or a mapping or list in braces or brackets, read by the
rules of the file; it replaces all that stands at its path. Mappings on the way that are absent are made. Later
overrides meet what earlier ones have made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trimtab.errors import TrimtabError
from trimtab.spec.document import Document, Value, parse_value
from trimtab.spec.mistakes import FieldPath, format_field, format_value, together

_SHOWN = 80
"""Longer overrides are cut short in errors."""


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """The whole document with its overrides, which errors show as `--set slo.latency=300ms` in the place of a line.

    Raises:
        TrimtabError: of the document's class: overrides are not of the form `path=value`, have no value that a file
            could hold, or lead through lists or scalars; tells all of them.
    """
    wrong: list[TrimtabError] = []
    for override in overrides:
        try:
            document = _apply(document, override)
        except document.kind as error:
            wrong.append(error)
    if wrong:
        raise together(wrong)
    return document


def is_inside(override: str, field: str) -> bool:
    """Whether an override gives something inside of this field, not the field itself."""
    return override.partition("=")[0].strip().startswith(f"{field}.")


def _apply(document: Document, override: str) -> Document:
    shown = " ".join(f"--set {override}".split())
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
    path, sign, text = override.partition("=")
    names = path.strip().split(".")
    if not sign or not all(names):
        raise document.kind("not an override", where=shown, wanted="path=value, such as slo.latency=300ms")
    field, absent = _find(document, names, shown)
    value = parse_value(text, shown, document.kind, field)
    lines = {place: line for place, line in document.lines.items() if place[: len(field)] != field}
    given = {place: by for place, by in document.overrides.items() if place[: len(field)] != field}
    given |= {field[:n]: shown for n in range(min(absent, len(field)), len(field) + 1)}
    return replace(document, data=_with(document.data, field, value), lines=lines, overrides=given)


def _find(document: Document, names: Sequence[str], shown: str) -> tuple[FieldPath, int]:
    """The path that the names between the dots mean in this document, and the length of its first absent part."""
    field: FieldPath = ()
    there = 0
    inner = document.data
    while names:
        if not isinstance(inner, dict):
            at = format_field(field)
            raise document.kind(
                "an override leads through mappings only",
                where=shown,
                got=f"{format_value(inner)} at {at or 'the top'}",
                wanted="a mapping there",
                next_step=f"set {at} as a whole, or change the file" if at else "change the file",
            )
        whole = (n for n in range(len(names), 1, -1) if ".".join(names[:n]) in inner)
        n = next(whole, 1)
        name = ".".join(names[:n])
        there += name in inner
        field, names, inner = (*field, name), names[n:], inner.get(name, {})
    return field, there + 1


def _with(data: Value, field: FieldPath, value: Value) -> Value:
    """The data with another value at `field`."""
    if not field:
        return value
    assert isinstance(data, dict)
    name, *rest = field
    assert isinstance(name, str)
    return {**data, name: _with(data.get(name, {}), tuple(rest), value)}
