"""A YAML or JSON file as plain values that remember their lines. Every mistake in it is told with file, line and field.

What is read is YAML 1.2's core: mappings, lists, text, numbers, true and false; JSON is a part of it. Left out, and
refused with a word: anchors, tags, several documents in one file, values that are empty (null), fields given twice.

`read_text` is the one place where a file is touched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from trimtab.errors import TrimtabError
from trimtab.spec.mistakes import FieldPath, Mistake, explain, format_field, together

BYTES_LIMIT = 64 << 20
"""A larger file is no pipeline and no profile."""
DEPTH_LIMIT = 40
"""Values nested deeper than this are a mistake (and would exhaust the stack)."""

Value = str | int | float | bool | list["Value"] | dict[str, "Value"]
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content, or a part of it."""

    source: str
    """The file's name, as errors show it."""
    data: Value
    lines: Mapping[FieldPath, int]
    """Line of each field and list item, counted from 1; paths are those of the whole file."""
    kind: type[TrimtabError]
    """The class of the errors."""
    at: FieldPath = ()
    """Path of `data` in the whole file."""
    overrides: Mapping[FieldPath, str] = field(default_factory=dict)
    """Where no line but an override gave the value: its path in the whole file, and the override as errors show it."""

    def inside(self, name: str) -> Document:
        """The part that stands in the field `name` of this mapping."""
        assert isinstance(self.data, dict)
        return replace(self, data=self.data[name], at=(*self.at, name))

    def with_kind(self, kind: type[TrimtabError]) -> Document:
        """The same content, whose mistakes are errors of class `kind`."""
        return replace(self, kind=kind)

    def where(self, field: FieldPath) -> str:
        """`pipeline.yaml:12: tasks.read.after[0]`; the line of an absent field is that of what should hold it."""
        path, known = (*self.at, *field), self._known(field)
        place = self.overrides.get(known) or f"{self.source}:{self.lines.get(known, 1)}"
        return f"{place}: {format_field(path)}" if path else place

    def validate(self, schema: type[_Model]) -> _Model:
        """This content as `schema`.

        Raises:
            TrimtabError: of class `kind`, with every field that is wrong.
        """
        try:
            return schema.model_validate(self.data)
        except ValidationError as error:
            raise self.error(explain(error, schema)) from None

    def error(self, mistakes: Sequence[Mistake]) -> TrimtabError:
        """All the mistakes (at least one) as one error, in the order of their lines, those of overrides last."""
        return together(
            [
                self.kind(m.what, where=self.where(m.field), got=m.got, wanted=m.wanted, next_step=m.next_step)
                for m in sorted(mistakes, key=lambda m: self._line(m.field))
            ]
        )

    def _line(self, field: FieldPath) -> float:
        known = self._known(field)
        return math.inf if known in self.overrides else self.lines.get(known, 1)

    def _known(self, field: FieldPath) -> FieldPath:
        """The innermost of the field and all that holds it of which it is known where it was given."""
        path = (*self.at, *field)
        around = (path[:n] for n in range(len(path), 0, -1))
        return next((part for part in around if part in self.lines or part in self.overrides), ())


def read_text(path: Path, kind: type[TrimtabError], what: str) -> str:
    """The text of a file; `what` names it in errors (`pipeline file`).

    Raises:
        TrimtabError: of class `kind`: there is no such file, it is no plain file, too large, unreadable or not UTF-8.
    """
    where = str(path)
    try:
        if not path.exists():
            near = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
            raise kind(
                f"there is no such {what}",
                where=where,
                next_step=f"the same folder has {', '.join(near[:5])}" if near else None,
            )
        if not path.is_file():
            got = "a directory" if path.is_dir() else "something else"
            raise kind(f"not a {what}", where=where, got=got, wanted="a YAML or JSON file")
        if path.stat().st_size > BYTES_LIMIT:
            raise kind(
                "too large", where=where, got=f"{path.stat().st_size:,} bytes", wanted=f"at most {BYTES_LIMIT:,}"
            )
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"bytes that are not UTF-8 (at byte {error.start:,})"
        raise kind(f"not a {what}", where=where, got=got, wanted="text in YAML or JSON") from None
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise kind(f"the {what} cannot be read", where=where, got=got) from error


def parse_document(text: str, source: str, kind: type[TrimtabError]) -> Document:
    """Text in YAML or JSON as plain values with their lines.

    Raises:
        TrimtabError: of class `kind`: the text is no YAML, is empty, or uses what is left out (see this module's head).
    """
    with _explained(text, source, kind):
        reader = _Reader(text, source, kind)
        return Document(source, reader.read(), reader.lines, kind)


def parse_value(text: str, override: str, kind: type[TrimtabError], field: FieldPath) -> Value:
    """One value, a scalar or a collection in braces or brackets, by the rules of a file.

    Args:
        text: The value.
        override: What gives it, as errors show it in the place of a file and line.
        kind: The class of the errors.
        field: Where the value is to stand, at least one name.

    Raises:
        TrimtabError: of class `kind`, as for `parse_document`.
    """
    with _explained(text, override, kind, numbered=False):
        return _Reader(text, override, kind, numbered=False).read(field)


@contextmanager
def _explained(text: str, source: str, kind: type[TrimtabError], *, numbered: bool = True) -> Iterator[None]:
    """The parser's errors in our words."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        where = f"{source}:{mark.line + 1}" if mark and numbered else source
        raise kind("not valid YAML or JSON", where=where, got=problem) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 1
        where = f"{source}:{line}" if numbered else source
        got = f"a control character ({error.character!r})"
        raise kind("not a text file", where=where, got=got, wanted="text in YAML or JSON") from None


class _Reader:
    """Builds the values from the parser's events, which come in the order of the file."""

    def __init__(self, text: str, source: str, kind: type[TrimtabError], *, numbered: bool = True) -> None:
        """With `numbered`, errors add the line to `source`."""
        if text.lstrip()[:1] in ("{", "["):
            text = _json_as_yaml(text)
        self._events = yaml.parse(text, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
        self._source = source
        self._kind = kind
        self._numbered = numbered
        self.lines: dict[FieldPath, int] = {}
        """Of each field and list item that was read."""

    def read(self, path: FieldPath = ()) -> Value:
        """The whole text as the value at `path`; below the top, collections have to be in braces or brackets."""
        next(self._events)  # the stream's start
        if isinstance(start := next(self._events), yaml.StreamEndEvent):
            raise self._empty(start, path)
        start = next(self._events)
        if path and getattr(start, "flow_style", True) is False:
            wanted = "mappings in braces {}, lists in brackets []"
            raise self._kind("not a single value", where=self._at(start, path), wanted=wanted)
        data = self._value(start, path)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._kind("a second document begins here", where=self._at(after, ()), wanted="one document a file")
        return data

    def _empty(self, event: yaml.Event, path: FieldPath) -> TrimtabError:
        if not path:
            return self._kind("the file is empty", where=self._source)
        step = "give it one, or leave the field out"
        return self._kind("has no value", where=self._at(event, path), next_step=step)

    def _value(self, event: yaml.Event, path: FieldPath) -> Value:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._kind(
                "anchors and aliases are not read", where=self._at(event, path), next_step="write the value out"
            )
        if getattr(event, "tag", None) not in (None, "!"):
            raise self._kind("tags are not read", where=self._at(event, path), got=str(event.tag), wanted="no tag")  # type: ignore[attr-defined]  # types-pyyaml gives the base event no tag
        if len(path) > DEPTH_LIMIT:
            raise self._kind("nested too deep", where=self._at(event, ()), wanted=f"at most {DEPTH_LIMIT} levels")
        match event:
            case yaml.MappingStartEvent():
                return self._mapping(path)
            case yaml.SequenceStartEvent():
                return self._list(path)
            case yaml.ScalarEvent():
                return self._scalar(event, path)
        raise AssertionError(event)

    def _mapping(self, path: FieldPath) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent) or key.anchor or key.value == "":
                raise self._kind("a field's name has to be text", where=self._at(key, path))
            name: str = key.value
            field = (*path, name)
            if name in mapping:
                step = f"the first is in line {self.lines[field]}; keep one" if self._numbered else "keep one"
                raise self._kind("given twice", where=self._at(key, field), next_step=step)
            self.lines[field] = _line(key)
            mapping[name] = self._value(next(self._events), field)
        return mapping

    def _list(self, path: FieldPath) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            field = (*path, len(items))
            self.lines[field] = _line(event)
            items.append(self._value(event, field))
        return items

    def _scalar(self, event: yaml.ScalarEvent, path: FieldPath) -> Value:
        text: str = event.value
        if not event.implicit[0]:  # quoted
            return text
        if text in _NULLS:
            raise self._empty(event, path)
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text):
            return int(text) if len(text) <= 300 else float(text)  # longer ones are infinite; the checks say so
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _at(self, event: yaml.Event, path: FieldPath) -> str:
        place = f"{self._source}:{_line(event)}" if self._numbered else self._source
        return f"{place}: {format_field(path)}" if path else place


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|NaN|-?Infinity"
)


_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_UNPRINTED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def _json_as_yaml(text: str) -> str:
    """JSON as YAML that means the same: YAML has no tabs between values and no characters escaped as two halves
    (UTF-16), and it takes certain signs only escaped.
    """

    def join(pair: re.Match[str]) -> str:
        return pair[1] + bytes.fromhex(pair[2] + pair[3]).decode("utf-16-be")

    def escape(sign: re.Match[str]) -> str:
        return f"\\u{ord(sign[0]):04x}"

    return _UNPRINTED.sub(escape, _PAIR.sub(join, text.replace("\t", " ")))
