"""Reading YAML and JSON with lines: what is read, what is refused, and where it is said to be."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trimtab.errors import SpecError
from trimtab.spec.document import DEPTH_LIMIT, parse_document, read_text


def parse(text: str) -> object:
    return parse_document(text, "file.yaml", SpecError).data


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e-6", 1e-6),
        ("1E+3", 1000.0),
        ("1.", 1.0),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("'null'", "null"),
        ("012", 12),
        ("1_000", "1_000"),
        (".inf", float("inf")),
        ("-.inf", -float("inf")),
        ("Infinity", float("inf")),
        ("9" * 5000, float("inf")),
        ("400ms", "400ms"),
    ],
)
def test_scalars_are_read_as_yaml_1_2_has_them(text: str, value: object) -> None:
    read = parse(f"a: {text}")
    assert read == {"a": value}
    assert type(read["a"]) is type(value)


def test_keys_are_text() -> None:
    assert parse("{1: a, 0.5: b, true: c}") == {"1": "a", "0.5": "b", "true": "c"}


_LONE = re.compile("[\ud800-\udfff]")
KEYS = st.text(min_size=1, max_size=80)  # YAML finds no key that is longer than 1024 signs when escaped
JSON_VALUES = st.recursive(
    st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


OBJECTS = st.dictionaries(KEYS, JSON_VALUES, min_size=1)


@given(value=OBJECTS, indent=st.sampled_from([None, 2, "\t"]), ascii_only=st.booleans())
def test_json_is_read_as_json_reads_it(value: dict[str, object], indent: int | str | None, ascii_only: bool) -> None:
    assume(not _LONE.search(json.dumps(value, ensure_ascii=False)))  # halves of a character, which are no text
    separators = (",", ":") if indent is None else None
    assert parse(json.dumps(value, indent=indent, separators=separators, ensure_ascii=ascii_only)) == value


def test_json_escapes() -> None:
    text = '{"a": "\\ud83d\\ude00\\u00e9\\/", "b": "\\\\ud83d\\\\ude00", "\\ud83d\\ude00": 1}'
    assert parse(text) == json.loads(text)
    raw = '{"\x7f": "\x85\u2028 \ufeff \uffff"}'
    assert parse(raw) == json.loads(raw)


def test_lines_are_those_of_the_file() -> None:
    document = parse_document("a: 1\n\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "f.yaml", SpecError)
    assert document.where(("b", 1, "d")) == "f.yaml:6: b[1].d"
    assert document.where(("b", 1, "c")) == "f.yaml:5: b[1].c"
    assert document.where(("b", 0)) == "f.yaml:4: b[0]"
    assert document.where(("b", 1, "absent")) == "f.yaml:5: b[1].absent"
    assert document.where(()) == "f.yaml:1"
    assert document.inside("b").where((0,)) == "f.yaml:4: b[0]"


@pytest.mark.parametrize("text", ["", "   \n\n", "# only a comment\n", "---\n", "~"])
def test_an_empty_file_is_said_to_be_empty(text: str) -> None:
    assert refusal(text) == "file.yaml: the file is empty"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", ["file.yaml:3: a: given twice", "the first is in line 1"]),
        ('{"a": {"b": 1,\n "b": 2}}', ["file.yaml:2: a.b: given twice"]),
        ("a:\n  b:\n", ["file.yaml:2: a.b: has no value"]),
        ("a: null\n", ["file.yaml:1: a: has no value"]),
        ("a: &x 1\nb: *x\n", ["file.yaml:1: a: anchors and aliases are not read"]),
        ("a: 1\nb: *x\n", ["file.yaml:2: b: anchors and aliases are not read"]),
        ("a: !!python/object:os.system 1\n", ["file.yaml:1: a: tags are not read", "python/object"]),
        ("a: 1\n---\nb: 2\n", ["file.yaml:2: a second document begins here"]),
        ("? [1, 2]\n: 3\n", ["file.yaml:1: a field's name has to be text"]),
        ("'': 3\n", ["file.yaml:1: a field's name has to be text"]),
        ("a: 1\nb: [1, 2\nc: 3\n", ["file.yaml:3", "not valid YAML or JSON"]),
        ("a:\n\tb: 1\n", ["file.yaml:2", "not valid YAML or JSON"]),
        ('{"a": 1,\n', ["not valid YAML or JSON"]),
        ("a: 1\nb: \x00\x01\n", ["file.yaml:2", "not a text file"]),
        ("[" * 100_000, ["nested too deep", f"at most {DEPTH_LIMIT} levels"]),
        ("{a: " * 100_000, ["nested too deep"]),
    ],
)
def test_what_is_not_read_is_refused_with_its_line(text: str, words: list[str]) -> None:
    message = refusal(text)
    for word in words:
        assert word in message


@given(st.text())
def test_any_text_gives_a_value_or_a_refusal(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("a: 1")
    binary = tmp_path / "model.onnx"
    binary.write_bytes(b"\x08\xff\xfe")
    os.mkfifo(tmp_path / "pipe")
    expected = {
        tmp_path / "pipelin.yaml": ["there is no such pipeline file", "pipeline.yaml"],
        tmp_path: ["not a pipeline file", "got a directory", "wanted a YAML or JSON file"],
        binary: ["not a pipeline file", "not UTF-8 (at byte 1)"],
        tmp_path / "pipe": ["not a pipeline file"],
        tmp_path / "pipeline.yaml" / "x": ["there is no such pipeline file"],
        tmp_path / ("x" * 300): ["cannot be read", "too long"],
    }
    for path, words in expected.items():
        with pytest.raises(SpecError) as caught:
            read_text(path, SpecError, "pipeline file")
        for word in [str(path), *words]:
            assert word in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert parse(read_text(path, SpecError, "pipeline file")) == {"a": 1}
