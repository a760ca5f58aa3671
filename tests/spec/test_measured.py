"""Measured accuracies in the text of a pipeline file: the figures change, and nothing else does."""

from __future__ import annotations

import json

import pytest

from trimtab.errors import SpecError
from trimtab.spec.load import parse_pipeline
from trimtab.spec.measured import Measured, write_measured

BLOCK = """# my pipeline
name: p
tasks:
  a:
    variants: # two of them
      small: {model: s.onnx, accuracy: 0.5, measured_on: "long ago"} # quick
      "1": {model: l.onnx, accuracy: .6}
  b:
    after: [a]
    variants:
      only.one:
        model: b.onnx   # no accuracy yet

slo: {latency: 1s} # end to end
"""
MEASURED = Measured(
    {"a": {"small": 0.71234, "1": 0.9}, "b": {"only.one": 0.25}},
    'ten rows of "x"',
    [({"a": "small", "b": "only.one"}, 0.2), ({"a": "1", "b": "only.one"}, 1 / 3)],
)


def test_figures_and_the_table_are_written_and_the_rest_stays() -> None:
    text = write_measured(BLOCK, MEASURED)
    pipeline = parse_pipeline(text, check_files=False)
    small = pipeline.tasks["a"].variants["small"]
    assert (small.accuracy, small.measured_on) == (0.7123, 'ten rows of "x"')
    assert pipeline.tasks["b"].variants["only.one"].accuracy == 0.25
    assert pipeline.accuracy.table == {("small", "only.one"): 0.2, ("1", "only.one"): 0.3333}
    for kept in ("# my pipeline", "# two of them", "# quick", "model: b.onnx   # no accuracy yet\n", "# end to end"):
        assert kept in text


def test_writing_again_changes_nothing() -> None:
    once = write_measured(BLOCK, MEASURED)
    assert write_measured(once, MEASURED).rstrip() == once.rstrip()


def test_without_combinations_the_wholes_accuracy_is_left_alone() -> None:
    text = BLOCK + "accuracy: product # for now\n"
    assert write_measured(text, Measured({"a": {"small": 0.7}}, "x")).endswith("accuracy: product # for now\n")
    table = parse_pipeline(write_measured(text, MEASURED), check_files=False).accuracy
    assert (table.kind, len(table.table)) == ("measured", 2)


def test_a_file_in_json_stays_json() -> None:
    before = {"name": "p", "tasks": {"a": {"variants": {"v": {"accuracy": 0.5}}}}, "slo": {"latency": "1s"}}
    text = write_measured(json.dumps(before, indent=2), Measured({"a": {"v": 0.75}}, "x", [({"a": "v"}, 0.75)]))
    after = json.loads(text)
    assert after["tasks"]["a"]["variants"]["v"] == {"accuracy": 0.75, "measured_on": "x"}
    assert after["accuracy"]["table"] == [{"variants": {"a": "v"}, "accuracy": 0.75}]


def test_what_the_file_lacks_is_told() -> None:
    with pytest.raises(SpecError, match=r"tasks.a.variants.medium: the pipeline file lacks"):
        write_measured(BLOCK, Measured({"a": {"medium": 1.0}}, "x"))
