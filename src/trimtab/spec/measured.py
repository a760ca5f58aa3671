"""Measured accuracies put into the text of a pipeline file, which is else left as it is, byte for byte.

The values' places are taken from the YAML parser's marks, so that comments, order and layout stay. Pure: text to text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from trimtab.errors import SpecError
from trimtab.spec.document import parse_document, parse_value

_DIGITS = 4
"""Decimals of an accuracy."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured: an accuracy for each variant of a task, and for combinations of variants."""

    variants: Mapping[str, Mapping[str, float]]
    """Task → variant → accuracy."""
    measured_on: str
    """On what, in words."""
    combinations: Sequence[tuple[Mapping[str, str], float]] = ()
    """Task → variant, and the whole pipeline's accuracy; every combination, or none to leave that field alone."""


def write_measured(text: str, measured: Measured) -> str:
    """The text of a pipeline file with what was measured in the place of what it said.

    Raises:
        SpecError: the text is no pipeline file, or lacks a task or variant.
    """
    parse_document(text, "pipeline file", SpecError)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[tuple[int, int, str]] = []
    for task, variants in measured.variants.items():
        for variant, accuracy in variants.items():
            entry = _inside(root, ("tasks", task, "variants", variant))
            values = {
                "accuracy": _number(accuracy),
                "measured_on": json.dumps(measured.measured_on, ensure_ascii=False),
            }
            for name, value in values.items():
                edits.append(_set(text, entry, name, value))
    if measured.combinations:
        assert isinstance(root, yaml.MappingNode)
        table = _flow_table(measured) if root.flow_style else _block_table(measured)
        edits.append(_set(text, root, "accuracy", table))
    for start, end, new in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _inside(root: yaml.Node | None, path: Sequence[str]) -> yaml.MappingNode:
    node = root
    for name in path:
        found = [value for key, value in node.value if key.value == name] if isinstance(node, yaml.MappingNode) else []
        if not found:
            raise SpecError("the pipeline file lacks what was measured", where=".".join(path))
        node = found[0]
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise SpecError("not a mapping with fields", where=".".join(path))
    return node


def _set(text: str, entry: yaml.MappingNode, name: str, value: str) -> tuple[int, int, str]:
    """The edit that gives a field its value: from, to and the new text."""
    for key, old in entry.value:
        if key.value == name:
            gap = "" if value.startswith("\n") else " "
            return key.end_mark.index, _end(text, old), f"{_colon(text, key)}{gap}{value}"
    last_key, last = entry.value[-1]
    end = _end(text, last)
    if entry.flow_style:
        shown = json.dumps(name) if text[last_key.start_mark.index] == '"' else name
        return end, end, f", {shown}: {value}"
    gap = "" if value.startswith("\n") else " "
    line_end = text.find("\n", end)
    at = len(text) if line_end < 0 else line_end  # behind a comment on the same line
    return at, at, f"\n{' ' * last_key.start_mark.column}{name}:{gap}{value}"


def _colon(text: str, key: yaml.Node) -> str:
    """What stands between a key and its value, up to the colon."""
    at = key.end_mark.index
    return text[at : text.index(":", at) + 1]


def _end(text: str, node: yaml.Node) -> int:
    """Where a value ends; that of a block collection is put by the parser where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return len(text[:end].rstrip()) if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") else end


def _block_table(measured: Measured) -> str:
    rows = [
        f"    - {{variants: {{{', '.join(f'{_plain(task)}: {_plain(name)}' for task, name in variants.items())}}}, "
        f"accuracy: {_number(accuracy)}}}"
        for variants, accuracy in measured.combinations
    ]
    return "\n".join(["\n  kind: measured", f"  table: # {measured.measured_on}", *rows])


def _flow_table(measured: Measured) -> str:
    rows = [
        {"variants": dict(variants), "accuracy": round(accuracy, _DIGITS)}
        for variants, accuracy in measured.combinations
    ]
    return json.dumps({"kind": "measured", "table": rows}, ensure_ascii=False)


def _number(accuracy: float) -> str:
    return repr(round(accuracy, _DIGITS))


def _plain(name: str) -> str:
    """A name as it may stand in a file: in quotes where it would be read as a number or a truth."""
    try:
        return name if parse_value(name, "", SpecError, ("name",)) == name else json.dumps(name)
    except SpecError:
        return json.dumps(name)
