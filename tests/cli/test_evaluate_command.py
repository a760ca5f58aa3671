"""`trimtab evaluate` as a person runs it: on small models whose accuracy is known beforehand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tests import models

from trimtab.spec.load import load_pipeline

COMMAND = [sys.executable, "-c", "from trimtab.cli import main; main()", "evaluate"]
pytestmark = pytest.mark.live

PIPELINE = """# two tasks
name: sums
tasks:
  double:
    variants: {exact: {model: exact.onnx}, off: {model: off.onnx, accuracy: 0.1}}
  parts:
    after: [double]
    inputs: {x: double.y}
    variants: {same: {model: same.onnx}} # no accuracy yet
slo: {latency: 1s}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`double` doubles, or is off by one wherever it counts; `parts` cuts a row in two; labels know the half of it."""
    models.affine(tmp_path / "exact.onnx", offset=0.0)
    models.affine(tmp_path / "off.onnx", offset=1.0)
    models.split(tmp_path / "same.onnx", parts=2, size=2)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    x = np.arange(40, dtype=np.float64).reshape(10, 4)
    y = 2 * x
    y[5:] += 1  # half the rows as `exact` has them, half as `off` does, and one as neither
    y[9] += 5
    np.savez(tmp_path / "data.npz", x=x, y=y, parts=y.reshape(10, 2, 2))
    (tmp_path / "near.py").write_text(
        "import numpy as np\ndef same(a, b):\n    return np.isclose(a, b).reshape(len(b), -1).all(axis=1)\n"
    )
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "pipeline.yaml", "--data", "data.npz", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=folder)


LABELS = ("--label", "double.y=y:near.py:same", "--label", "parts.parts=parts:near.py:same")


def test_variants_and_combinations_are_measured_told_and_written(folder: Path) -> None:
    done = run(folder, *LABELS, "--batch", "3", "--out", "out.json", "--write")
    assert done.returncode == 0, done.stderr
    assert "50.0 %" in done.stdout
    found = json.loads((folder / "out.json").read_text())
    assert [(v["variant"], v["score"]["value"], v["given"]) for v in found["variants"]] == [
        ("exact", 0.5, "data"), ("off", 0.4, "data"), ("same", 0.5, "double=exact"),
    ]  # fmt: skip
    assert [c["score"]["value"] for c in found["combinations"]] == [0.5, 0.4]
    assert [c["product"] for c in found["combinations"]] == [0.25, 0.2]
    written = load_pipeline(folder / "pipeline.yaml")
    assert written.tasks["double"].variants["exact"].accuracy == 0.5
    assert written.accuracy.table == {("exact", "same"): 0.5, ("off", "same"): 0.4}
    assert str(written.tasks["double"].variants["off"].measured_on).startswith("10 rows of data.npz, 20")
    assert "# no accuracy yet" in (folder / "pipeline.yaml").read_text()


def test_only_the_best_or_no_combination(folder: Path) -> None:
    done = run(folder, *LABELS, "--combinations", "best", "--out", "out.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "out.json").read_text())
    assert [c["variants"] for c in found["combinations"]] == [{"double": "exact", "parts": "same"}]
    done = run(folder, *LABELS[:2], "--combinations", "none")
    assert done.returncode == 0, done.stderr
    assert "not measured, task parts: no labels" in done.stdout


def test_a_variant_whose_process_dies_does_not_take_the_others_results(folder: Path) -> None:
    text = (folder / "pipeline.yaml").read_text()
    (folder / "pipeline.yaml").write_text(text.replace("off.onnx", "dies.onnx"))
    wide = np.full((4, 4), 1e30, np.float32)
    models.save_model(
        folder / "dies.onnx",
        [helper.make_node("Gather", ["rows", "at"], ["picked"], axis=0),
         helper.make_node("Add", ["x", "picked"], ["y"])],
        [("x", "float32", [None, 4])], [("y", "float32", [None, 4])],
        {"rows": wide, "at": np.array([99], np.int64)},
    )  # fmt: skip
    done = run(folder, *LABELS, "--out", "out.json", "--write")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    found = json.loads((folder / "out.json").read_text())
    assert [v["score"] is None for v in found["variants"]] == [False, True, False]
    assert "failed" in found["variants"][1]["error"]
    assert [c["score"] is None for c in found["combinations"]] == [False, True]
    assert "not all were measured" in " ".join(done.stderr.split())
    assert "kind: measured" not in (folder / "pipeline.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "the data have no labels"),
        (("--label", "double.z"), "no such output: got 'double.z'"),
        (("--label", "double.y=z"), "no such column: got z"),
        (("--label", "double.y=y"), "are numbers that need a metric"),
        (("--label", "double.y=y:none.py:f"), "there is no such file"),
        (("--label", "double.y=y:near.py:f"), "the file has no such function: got 'f'"),
        (("--label", "double.y=y:acc"), "no such metric: got 'acc'"),
        (("--label", "parts.parts=y:accuracy", "--most", "1"), "too many combinations of variants: got 2"),
        (("--label", "double.y=parts:accuracy"), "do not go together"),
    ],
)
def test_mistakes_end_in_one_message_and_code_2(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run(folder, *arguments)
    assert done.returncode == 2, done.stdout
    assert told in done.stderr
    assert "Traceback" not in done.stderr
