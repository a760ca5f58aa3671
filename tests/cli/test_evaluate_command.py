"""`trimtab evaluate` as a person runs it: on small models whose accuracy is known beforehand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests import models
from typer.testing import CliRunner, Result

from trimtab.cli.commands import make_app
from trimtab.errors import TrimtabError
from trimtab.spec.load import load_pipeline

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
DIES = """
import os, signal

class Dies:
    inputs = [("x", "FP32", [-1, 4])]
    outputs = [("y", "FP32", [-1, 4])]

    def predict(self, x):
        if x.any():  # not while it is warmed up
            os.kill(os.getpid(), signal.SIGKILL)
        return {"y": x}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`double` doubles, or is off by one wherever it counts; `parts` cuts a row in two; labels know the half of it."""
    folder = tmp_path_factory.mktemp("made")
    models.affine(folder / "exact.onnx", offset=0.0)
    models.affine(folder / "off.onnx", offset=1.0)
    models.split(folder / "same.onnx", parts=2, size=2)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    x = np.arange(40, dtype=np.float64).reshape(10, 4)
    y = 2 * x
    y[5:] += 1  # half the rows as `exact` has them, half as `off` does, and one as neither
    y[9] += 5
    np.savez(folder / "data.npz", x=x, y=y, parts=y.reshape(10, 2, 2))
    (folder / "near.py").write_text(
        "import numpy as np\ndef same(a, b):\n    return np.isclose(a, b).reshape(len(b), -1).all(axis=1)\n"
    )
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is where the command runs."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    command = ["evaluate", "pipeline.yaml", "--data", "data.npz", *arguments]
    return CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), command)


LABELS = ("--label", "double.y=y:near.py:same", "--label", "parts.parts=parts:near.py:same")


def test_variants_and_combinations_are_measured_told_and_written(folder: Path) -> None:
    done = run(*LABELS, "--batch", "3", "--out", "out.json", "--write")
    assert done.exit_code == 0, done.output
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
    done = run(*LABELS, "--combinations", "best", "--out", "out.json")
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "out.json").read_text())
    assert [c["variants"] for c in found["combinations"]] == [{"double": "exact", "parts": "same"}]
    done = run(*LABELS[:2], "--combinations", "none")
    assert done.exit_code == 0, done.output
    assert "not measured, task parts: no labels" in done.stdout


def test_inputs_of_its_own_judge_a_later_task_by_itself(folder: Path) -> None:
    data = dict(np.load(folder / "data.npz"))
    np.savez(folder / "data.npz", **data, **{"parts.x": data["y"]})
    done = run(*LABELS, "--combinations", "best", "--out", "out.json")
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "out.json").read_text())
    assert [(v["variant"], v["score"]["value"], v["given"]) for v in found["variants"][2:]] == [("same", 1.0, "data")]
    (whole,) = found["combinations"]
    assert whole["product"] == whole["score"]["value"] == 0.5


def test_a_variant_whose_process_dies_does_not_take_the_others_results(folder: Path) -> None:
    (folder / "dies.py").write_text(DIES)
    text = (folder / "pipeline.yaml").read_text()
    (folder / "pipeline.yaml").write_text(text.replace("off.onnx", '"dies.py:Dies"'))
    done = run(*LABELS, "--out", "out.json", "--write")
    assert done.exit_code == 2
    found = json.loads((folder / "out.json").read_text())
    assert [v["variant"] for v in found["variants"]] == ["exact", "off", "same"]
    assert [v["score"] is None for v in found["variants"]] == [False, True, False]
    assert "SIGKILL" in found["variants"][1]["error"]
    assert [c["score"] is None for c in found["combinations"]] == [False, True]
    assert "not all were measured" in done.stderr
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
@pytest.mark.usefixtures("folder")
def test_mistakes_end_in_one_message(arguments: tuple[str, ...], told: str) -> None:
    done = run(*arguments)
    assert isinstance(done.exception, TrimtabError), done.output  # which the command line tells, with code 2
    assert told in str(done.exception)
