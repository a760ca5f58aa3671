"""Reading a model file's interface, and the mistakes a model file can have."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tests import models

from trimtab.errors import InvalidInputError, ModelError
from trimtab.runtime.models.model import Interface, ModelSource
from trimtab.runtime.models.registry import inspect_source, load_source
from trimtab.runtime.residents import run_rows
from trimtab.runtime.service import TensorInfo


def inspect_model(path: Path) -> Interface:
    return inspect_source(ModelSource("onnx", path))


def test_the_interface_is_read_with_free_axes_as_minus_one(tmp_path: Path) -> None:
    interface = inspect_model(models.echo(tmp_path / "e.onnx", shape=(3, 5), dtype="uint8"))
    (takes,), (gives,) = interface.inputs, interface.outputs
    assert takes == TensorInfo("x", np.dtype(np.uint8), (-1, 3, 5))
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


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_read_or_told_and_nothing_is_printed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = models.affine(tmp_path_factory.mktemp("damaged") / "m.onnx")
    content = bytearray(path.read_bytes())
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1)):
        content[at] = byte
    path.write_bytes(content)
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(ModelError):
        assert len(inspect_model(path).inputs) < 10
    assert printed.getvalue() == ""


def test_a_fixed_batch_axis_and_a_scalar_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"input 'x' has no batch axis: got shape \[8, 4\]"):
        inspect_model(models.affine(tmp_path / "eight.onnx", rows=8))
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    scalar = models.save_model(tmp_path / "scalar.onnx", [node], [("x", "float32", [None, 4])], [("y", "float32", [])])
    with pytest.raises(ModelError, match="output 'y' has no batch axis"):
        inspect_model(scalar)


def test_text_is_bytes_outside_and_has_to_be_utf_8(tmp_path: Path) -> None:
    source = ModelSource("onnx", models.echo(tmp_path / "text.onnx", shape=(2,), dtype="string"))
    model = load_source(source, 1)
    assert model.interface.inputs == (TensorInfo("x", np.dtype(object), (-1, 2)),)
    assert not model.interface.fixed
    x = np.array([[b"a", "ü\u20ac".encode()]], object)
    np.testing.assert_array_equal(run_rows(model, {"x": x}, 1)["y"], x)
    with pytest.raises(InvalidInputError, match="input 'x' is no text"):
        run_rows(model, {"x": np.array([[b"a", b"\xff"]], object)}, 1)


def test_a_header_that_announces_gigabytes_is_an_error_and_takes_no_memory(tmp_path: Path) -> None:
    bad = tmp_path / "huge.onnx"
    bad.write_bytes(b"\x3a\xff\xff\xff\xff\x07\x0a\xff\xff\xff\xff\x07abc")
    before_bytes = psutil.Process().memory_info().rss
    with pytest.raises(ModelError, match=r"huge\.onnx: ONNX Runtime cannot load"):
        inspect_model(bad)
    assert psutil.Process().memory_info().rss - before_bytes < 256 << 20
