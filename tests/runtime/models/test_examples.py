"""Rows to measure with: taken by name, brought into the models' forms, or refused with what was wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trimtab.errors import SpecError
from trimtab.runtime.frames import BYTES
from trimtab.runtime.models.examples import load_inputs
from trimtab.runtime.service import TensorInfo
from trimtab.runtime.wiring import Source, TaskWiring, Wiring
from trimtab.spec.model import REQUEST

TEXT = TensorInfo("text", BYTES, (-1,))
TABLE = TensorInfo("x", np.dtype(np.float32), (-1, 4))


@pytest.fixture
def wiring() -> Wiring:
    """`rate` takes text and a table, `sum` a table."""
    tasks = {"rate": (TEXT, TABLE), "sum": (TABLE,)}
    return Wiring(
        {
            name: TaskWiring(name, infos, (), {i.name: Source(REQUEST, i.name) for i in infos})
            for name, infos in tasks.items()
        },
        (TEXT, TABLE),
        {},
        (),
    )


def archive(tmp_path: Path, **arrays: object) -> Path:
    np.savez(tmp_path / "rows.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "rows.npz"


def test_rows_are_taken_by_name_and_brought_into_the_models_forms(tmp_path: Path, wiring: Wiring) -> None:
    arrays = {"text": ["a", "ü"], "x": np.ones((2, 4)), "sum.x": np.zeros((3, 4), np.float32)}
    rows = load_inputs(archive(tmp_path, **arrays), wiring)
    assert rows["rate"]["text"].tolist() == [b"a", "ü".encode()]
    assert rows["rate"]["x"].dtype == np.float32
    assert rows["sum"]["x"].shape == (3, 4)


def test_tasks_whose_inputs_are_not_all_there_are_left_to_themselves(tmp_path: Path, wiring: Wiring) -> None:
    assert list(load_inputs(archive(tmp_path, x=np.ones((1, 4))), wiring)) == ["sum"]


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"y": np.ones(1)}, "no task takes these arrays: got y, wanted rate.text, rate.x, sum.x"),
        (
            {"x": np.ones((1, 5))},
            r"rows for task 'sum' do not fit: input 'x' does not fit the model: got float32 \[1, 5\]",
        ),
        ({"x": np.ones((0, 4))}, "the batch is empty"),
        ({"x": np.array([["a"] * 4])}, "do not fit"),
        ({"x": np.array([None])}, "the inputs cannot be read"),
    ],
)
def test_rows_that_no_model_takes_are_refused(
    tmp_path: Path, wiring: Wiring, arrays: dict[str, object], told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        load_inputs(archive(tmp_path, **arrays), wiring)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x93NUMPY", None])
def test_files_that_are_no_archives_are_refused(tmp_path: Path, wiring: Wiring, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "rows.npz").write_bytes(content)
    with pytest.raises(SpecError, match=r"rows\.npz: the inputs cannot be read(.|\n)*plain arrays"):
        load_inputs(tmp_path / "rows.npz", wiring)
