"""Labelled data from its three kinds of file, and what is said about files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trimtab.errors import TraceError
from trimtab.load.labelled import read_labelled


def test_the_kinds_of_file_give_the_same_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([0.5, 2.0]), n=np.array([1, 2]), t=np.array(["ä, b", ""]))
    (tmp_path / "d.jsonl").write_text(
        '{"x": 0.5, "n": 1, "t": "ä, b"}\n\n{"x": 2, "n": 2, "t": ""}\n', encoding="utf-8"
    )
    (tmp_path / "d.csv").write_text('x,n,t\n0.5,1,"ä, b"\n2,2,\n', encoding="utf-8")
    for kind in ("npz", "jsonl", "csv"):
        found = read_labelled(tmp_path / f"d.{kind}")
        assert found.rows == 2
        assert found.arrays["x"].tolist() == [0.5, 2.0]
        assert found.arrays["n"].dtype == np.int64
        assert found.arrays["t"].tolist() == ["ä, b".encode(), b""]


def test_lists_in_rows_are_axes(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"x": [[1, 2.5]], "t": ["a", "b"]}\n{"x": [[3, 4]], "t": ["c", "d"]}\n')
    found = read_labelled(tmp_path / "d.jsonl").arrays
    assert (found["x"].shape, found["t"].shape) == ((2, 1, 2), (2, 2))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("d.txt", "", "not a kind of labelled data"),
        ("no.csv", None, "there is no such data file"),
        ("d.jsonl", "", "holds no rows"),
        ("d.jsonl", "[1]\n", "d.jsonl:1: not a row"),
        ("d.jsonl", '{"a": 1}\n{"b": 1}\n', "d.jsonl:2: the rows have different fields"),
        ("d.jsonl", '{"a": [1]}\n{"a": [1, 2]}\n', "do not make an array"),
        ("d.jsonl", '{"a": 1}\n{"a": "x"}\n', "do not make an array"),
        ("d.jsonl", '{"a": true}\n{"a": 2}\n', "do not make an array"),
        ("d.jsonl", '{"a": null}\n', "do not make an array"),
        ("d.csv", "", "cannot be read"),
        ("d.csv", "a\n", "holds no rows"),
        ("d.csv", "a,a\n1,2\n", "same name"),
        ("d.csv", "a,b\n1\n", "row 1 differs in length: got 1, wanted 2"),
    ],
)
def test_what_is_no_labelled_data_is_told(tmp_path: Path, name: str, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(TraceError, match=told):
        read_labelled(tmp_path / name)
