"""Labelled inputs: every mismatch with the model is told, and answers are judged by the labels."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import TraceError
from trimtab.load.dataset import Dataset, LabelledInputs, match, order, read_dataset
from trimtab.load.wire import ModelMetadata, TensorSpec

MODEL = ModelMetadata(
    "m",
    inputs=(TensorSpec("x", "UINT8", (-1, 1, 4)),),
    outputs=(TensorSpec("digit", "INT64", (-1,)), TensorSpec("score", "FP32", (-1, 10))),
)


def arrays(**changed: np.ndarray) -> Dataset:
    return Dataset({"x": np.zeros((3, 1, 4), np.uint8), "digit": np.arange(3), **changed}, "d.npz")


def test_reads_what_numpy_wrote(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=np.arange(4), b=np.zeros((4, 2)))
    data = read_dataset(tmp_path / "d.npz")
    assert data.rows == 4
    assert set(data.arrays) == {"a", "b"}


def test_unreadable_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    with pytest.raises(TraceError, match="no such data file"):
        read_dataset(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(TraceError, match="cannot be read"):
        read_dataset(path)
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(TraceError, match="single array"):
        read_dataset(path)
    np.savez(path, a=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(TraceError, match="cannot be read"):
        read_dataset(path)
    np.savez(path, a=np.arange(3), b=np.arange(4))
    with pytest.raises(TraceError, match="a: 3, b: 4"):
        read_dataset(path)
    np.savez(path, a=np.float64(3))
    with pytest.raises(TraceError, match="no axis"):
        read_dataset(path)
    np.savez(path, a=np.zeros((0, 2)))
    with pytest.raises(TraceError, match="no rows"):
        read_dataset(path)
    np.savez(path)
    with pytest.raises(TraceError, match="no arrays"):
        read_dataset(path)


def test_rows_are_requests_of_one() -> None:
    matched = match(arrays(center=np.zeros((3, 2))), MODEL, label="digit", output=None)
    assert matched.output == "digit"
    assert {name: x.shape for name, x in matched.row(1).items()} == {"x": (1, 1, 4)}


@pytest.mark.parametrize(
    ("changed", "label", "output", "told"),
    [
        (
            {"x": np.zeros((3, 1, 4), np.float32)},
            None,
            None,
            r"another dtype .*float32 \(FP32\), wanted uint8 \(UINT8\)",
        ),
        ({"x": np.zeros((3, 4), np.uint8)}, None, None, r"another shape .*\[1, 4\], wanted \[-1, 1, 4\]"),
        ({"x": np.zeros((3, 1, 5), np.uint8)}, None, None, "another shape"),
        ({}, "digits", None, "no such label array: got digits, wanted one of x, digit"),
        ({}, "digit", "class", "no such output: got class, wanted one of digit, score"),
        ({"truth": np.zeros(3)}, "truth", None, "not clear which output"),
        ({}, None, "digit", "no label is named"),
    ],
)
def test_mismatches_are_told(changed: dict[str, np.ndarray], label: str | None, output: str | None, told: str) -> None:
    with pytest.raises(TraceError, match=told):
        match(arrays(**changed), MODEL, label=label, output=output)


def test_a_missing_input_is_told() -> None:
    with pytest.raises(TraceError, match="input that the data lack"):
        match(Dataset({"y": np.zeros((3, 1, 4), np.uint8)}, "d.npz"), MODEL, label=None, output=None)


def test_answers_are_right_when_they_equal_the_label() -> None:
    data = LabelledInputs({"x": np.zeros((3, 1))}, np.array([4, 5, 6]), "digit")
    assert data.correct(1, np.array([5]))
    assert not data.correct(1, np.array([4]))


def test_scores_are_right_when_the_largest_is_the_labels() -> None:
    data = LabelledInputs({"x": np.zeros((3, 1))}, np.array([0, 2, 1]), "score")
    assert data.correct(1, np.array([[0.1, 0.2, 0.7]]))
    assert not data.correct(1, np.array([[0.8, 0.1, 0.1]]))
    with pytest.raises(ValueError, match="does not go with"):
        data.correct(1, np.zeros((1, 2, 3)))


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 9))
def test_rows_are_used_evenly(requests: int, rows: int, seed: int) -> None:
    used = order(requests, rows, seed)
    assert len(used) == requests
    counts = np.bincount(used, minlength=rows)
    assert counts.max() - counts.min() <= 1
    assert (used == order(requests, rows, seed)).all()
