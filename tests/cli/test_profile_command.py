"""`trimtab profile` as a person runs it: a whole run, Ctrl-C and going on, and mistakes on the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests import models

from trimtab.profile.file import load_profile

HEARS_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
"""Also where the tests themselves run in the background of a shell, which lets its children ignore SIGINT."""
COMMAND = [sys.executable, "-c", f"{HEARS_CTRL_C}from trimtab.cli import main; main()", "profile"]

TEXTS = """
class Own:
    inputs = [("text", "BYTES", [-1])]
    outputs = [("length", "INT64", [-1])]

    def predict(self, text):
        if not {*text} <= {b"right", b"words"}:
            raise ValueError("other words")
        return {"length": [len(item) for item in text]}
"""


@pytest.fixture
def pipeline_file(tmp_path: Path) -> Path:
    models.affine(tmp_path / "small.onnx")
    models.slow(tmp_path / "large.onnx", work=300, size=4)
    file = tmp_path / "pipeline.yaml"
    file.write_text(
        "name: p\nslo: {latency: 1s}\ntasks:\n  t:\n    variants:\n"
        "      small: {model: small.onnx, accuracy: 0.7}\n      large: {model: large.onnx, accuracy: 0.9}\n"
    )
    return file


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.live
def test_a_run_says_what_it_will_take_writes_the_profile_and_sums_it_up(pipeline_file: Path) -> None:
    done = run(pipeline_file, "--quick", "--seconds-per-cell", "0.01", "--batches", "1,2", "--capacity-check")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "4 service times (1 core × 1 thread; batches 1, 2) and 2 capacity checks: at least" in said
    assert "small" in done.stdout
    profile = load_profile(pipeline_file.with_name("profile.json"))
    assert profile.variants["t"]["large"].batches(1, 1) == (1, 2)
    assert profile.provenance is not None
    assert profile.provenance.command.startswith("trimtab profile")
    assert any("random" in note for note in profile.provenance.notes)
    again = run(pipeline_file, "--quick", "--batches", "1,2")
    assert again.returncode == 0
    assert "nothing is left to measure" in again.stderr


@pytest.mark.live
def test_text_is_measured_with_rows_that_are_given(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(TEXTS)
    spec = tmp_path / "pipeline.yaml"
    spec.write_text("name: p\nslo: {latency: 1s}\ntasks: {t: {variants: {v: {model: 'own.py:Own', accuracy: 1}}}}\n")
    quick = (spec, "--quick", "--seconds-per-cell", "0.01", "--batches", "1,3")
    done = run(*quick)
    assert done.returncode == 2
    assert "input 'text' cannot be made up" in done.stderr
    np.savez(tmp_path / "rows.npz", text=["right", "words"])
    done = run(*quick, "--inputs", tmp_path / "rows.npz")
    assert done.returncode == 0, done.stderr
    profile = load_profile(tmp_path / "profile.json")
    assert profile.variants["t"]["v"].batches(1, 1) == (1, 3)
    assert profile.provenance is not None
    assert "inputs: from rows.npz" in profile.provenance.notes


@pytest.mark.live
def test_ctrl_c_keeps_what_is_measured_says_how_to_go_on_and_exits_with_130(pipeline_file: Path) -> None:
    target = pipeline_file.with_name("mine.json")
    arguments = [str(pipeline_file), "-o", str(target), "--quick", "--batches", "1,2,3,4,5,6,7,8"]
    running = subprocess.Popen(
        [*COMMAND, *arguments, "--seconds-per-cell", "0.3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not target.exists():
            assert running.poll() is None
        children = psutil.Process(running.pid).children(recursive=True)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 130
    assert "goes on from there" in " ".join(said.split())
    assert not psutil.wait_procs(children, timeout=5)[1]
    measured = sum(len(v.points) for v in load_profile(target).variants["t"].values())
    assert 0 < measured < 16
    done = run(*arguments, "--seconds-per-cell", "0.01")
    assert done.returncode == 0
    assert f"{16 - measured} service times" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--cores", "1,x"), "--cores: not a list of numbers: got '1,x'"),
        (("--batches", "0"), "--batches: not a list of numbers"),
        (("--cores", "100000"), "not enough cores"),
        (("--variants", "medium"), "no such variant: got medium, wanted large, small"),
    ],
)
def test_mistakes_end_in_one_message_and_code_2(pipeline_file: Path, arguments: tuple[str, ...], part: str) -> None:
    done = run(pipeline_file, *arguments)
    assert done.returncode == 2
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_models_that_cannot_be_served_end_in_one_message_and_code_2(pipeline_file: Path) -> None:
    models.affine(pipeline_file.with_name("large.onnx"), size=5)
    done = run(pipeline_file)
    assert done.returncode == 2
    assert "input 'x' differs from variant 'small'" in done.stderr
    models.corrupt(pipeline_file.with_name("large.onnx"))
    done = run(pipeline_file)
    assert done.returncode == 2
    assert "ONNX Runtime cannot load the model file" in done.stderr
