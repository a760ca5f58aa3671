"""Reading a model file's interface, and the mistakes a model file can have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tests import models

from trimtab.errors import ModelError
from trimtab.runtime.model_file import inspect_model
from trimtab.runtime.service import TensorInfo


def test_the_interface_is_read_with_free_axes_as_minus_one(tmp_path: Path) -> None:
    interface = inspect_model(models.echo(tmp_path / "e.onnx", shape=(3, 5), dtype="uint8"))
    (given,), (gives,) = interface.inputs, interface.outputs
    assert given == TensorInfo("x", np.dtype(np.uint8), (-1, 3, 5))
    assert gives == TensorInfo("y", np.dtype(np.uint8), (-1, 3, 5))
    assert interface.fixed
    assert not interface.one_row_only


def test_a_leading_axis_of_one_is_a_model_for_single_rows(tmp_path: Path) -> None:
    assert inspect_model(models.affine(tmp_path / "one.onnx", rows=1)).one_row_only


def test_a_missing_file_a_folder_and_a_corrupt_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx: the model file does not exist"):
        inspect_model(tmp_path / "gone.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        inspect_model(tmp_path)
    with pytest.raises(ModelError, match=r"bad\.onnx: ONNX Runtime cannot load"):
        inspect_model(models.corrupt(tmp_path / "bad.onnx"))
    empty = tmp_path / "empty.onnx"
    empty.touch()
    with pytest.raises(ModelError, match=r"empty\.onnx"):
        inspect_model(empty)


def test_a_fixed_batch_axis_a_scalar_and_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"input 'x' has no batch axis: got shape \[8, 4\]"):
        inspect_model(models.affine(tmp_path / "eight.onnx", rows=8))
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    scalar = models.save_model(tmp_path / "scalar.onnx", [node], [("x", "float32", [None, 4])], [("y", "float32", [])])
    with pytest.raises(ModelError, match="output 'y' has no batch axis"):
        inspect_model(scalar)
    with pytest.raises(ModelError, match=r"tensor\(string\)"):
        inspect_model(models.echo(tmp_path / "text.onnx", dtype="string"))
