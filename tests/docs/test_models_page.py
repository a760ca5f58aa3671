"""The page about models: its pipeline file, class and command, on models made here with ONNX and scikit-learn."""

from __future__ import annotations

import json
import re
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import helper
from tests import models

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "models.md").read_text(encoding="utf-8")
WITHIN_S = 60.0


def block(language: str) -> str:
    """The page's first block of code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def trimtab(folder: Path, *arguments: str) -> str:
    """What a command prints, run in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "trimtab", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def init(folder: Path, *more: str) -> str:
    """The page's own `trimtab init`."""
    (command,) = re.findall(r"^    trimtab (init .*)$", PAGE, re.MULTILINE)
    return trimtab(folder, *command.split(), *more)


def head(path: Path) -> Path:
    """An ONNX file that gives the first three of eight numbers as scores."""
    weights = {"starts": np.array([0]), "ends": np.array([3]), "axes": np.array([1])}
    node = helper.make_node("Slice", ["x", *weights], ["scores"])
    return models.save_model(path, [node], [("x", "float32", [None, 8])], [("scores", "float32", [None, 3])], weights)


@pytest.mark.live
def test_the_pages_pipeline_of_three_runtimes_fits_together(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="needs joblib")
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    head(tmp_path / "models" / "net.onnx")
    estimator = linear_model.LogisticRegression().fit(np.eye(8)[:6], [0, 1, 2] * 2)
    joblib.dump(estimator, tmp_path / "models" / "linear.joblib")
    (tmp_path / "models" / "own.py").write_text(block("python"))
    (tmp_path / "pipeline.yaml").write_text(block("yaml"))
    told = trimtab(tmp_path, "check", "pipeline.yaml")
    assert "takes x float32 [?, 8] gives scores float32 [?, 3]" in told


@pytest.mark.live
def test_an_mlserver_folder_becomes_a_pipeline_that_can_be_checked(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="needs joblib")
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    joblib.dump(linear_model.LinearRegression().fit(np.eye(8), np.arange(8.0)), folder / "model.joblib")
    (folder / "model-settings.json").write_text(
        json.dumps({"name": "small", "implementation": "mlserver_sklearn.SKLearnModel"})
    )
    assert "task small: small" in init(tmp_path)
    assert "takes x float32 [?, 8] gives predict float64 [?]" in trimtab(tmp_path, "check", "models/pipeline.yaml")


@pytest.mark.live
def test_a_triton_repository_is_checked_measured_and_served_as_it_stands(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    head(repository / "small" / "1" / "model.onnx")
    head(repository / "large" / "3" / "model.onnx")
    (repository / "small" / "config.pbtxt").write_text('backend: "onnxruntime" max_batch_size: 8')
    init(tmp_path, "--accuracy", "large=0.9", "--slo", "20s", "--name", "net")
    trimtab(tmp_path, "check", "models/pipeline.yaml")
    measure = ("--quick", "--seconds-per-cell", "0.01", "--batches", "1", "--no-capacity-check")
    trimtab(tmp_path, "profile", "models/pipeline.yaml", *measure)
    row = [0.5, 1.5, 2.5, *[0.0] * 5]
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 8], "data": row}]}
    with subprocess.Popen(
        [sys.executable, "-m", "trimtab", "serve", "models/pipeline.yaml", "--port", "0", "--no-grpc", "--cores", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], WITHIN_S)[0], "it did not say that it serves"
            line = process.stdout.readline()
            assert line.startswith("trimtab: serving net on http://"), line
            url = line.split(" on ")[1].split()[0] + "/v2/models/net/infer"
            with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=WITHIN_S) as response:
                (output,) = json.load(response)["outputs"]
            workers = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=WITHIN_S)
        finally:
            process.kill()
    assert (output["name"], output["shape"], output["data"]) == ("scores", [1, 3], row[:3])
    assert process.returncode == 0, errors
    assert not psutil.wait_procs(workers, timeout=5)[1]
