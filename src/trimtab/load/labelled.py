"""Labelled data from a file, as named arrays with the same number of rows: `.npz`, `.jsonl` or `.csv`.

Texts become arrays of Python `bytes` in UTF-8 (dtype object), which is what models that take text are given.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from trimtab.errors import TraceError
from trimtab.load.dataset import Dataset, read_dataset
from trimtab.load.wire import Tensor


def read_labelled(path: Path) -> Dataset:
    """Read labelled data; nothing in the file is executed.

    `.npz`: named arrays. `.jsonl`: one mapping a line, each with the same fields, of numbers, truths, texts, or lists
    of them that have the same shape in every row. `.csv`: a head of names; a column whose every entry is a number is
    numbers, any other is text.

    Raises:
        TraceError: the file is missing, of another kind, or no table of rows.
    """
    read = {".npz": _read_npz, ".jsonl": _read_jsonl, ".csv": _read_csv}.get(path.suffix.lower())
    if read is None:
        raise TraceError(
            "not a kind of labelled data",
            where=str(path),
            got=path.suffix or "no suffix",
            wanted=".npz, .jsonl or .csv",
        )
    return read(path)


def _read_npz(path: Path) -> Dataset:
    found = read_dataset(path)
    return Dataset({name: _bytes(array) for name, array in found.arrays.items()}, found.name)


def _read_jsonl(path: Path) -> Dataset:
    columns: dict[str, list[object]] = {}
    rows = 0
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = msgspec.json.decode(line, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeError) as error:
            raise TraceError("not a row of data", where=where, got=str(error), wanted="a JSON mapping a line") from None
        if rows and row.keys() != columns.keys():
            got, wanted = ", ".join(row) or "none", ", ".join(columns)
            raise TraceError("the rows have different fields", where=where, got=got, wanted=wanted)
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        rows += 1
    if not columns:
        raise TraceError("the data file holds no rows", where=str(path))
    return Dataset({name: _column(values, f"{path}: {name}") for name, values in columns.items()}, path.name)


def _read_csv(path: Path) -> Dataset:
    try:
        head, *rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    except (csv.Error, ValueError) as error:
        got = str(error) if isinstance(error, csv.Error) else "nothing"
        raise TraceError("the data file cannot be read", where=str(path), got=got, wanted="a head and rows") from None
    rows = [row for row in rows if row]
    if not rows or len(set(head)) != len(head):
        what = "the data file holds no rows" if not rows else "two columns have the same name"
        raise TraceError(what, where=str(path), got=", ".join(head))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(head):
            raise TraceError(
                f"row {number} differs in length", where=str(path), got=f"{len(row)}", wanted=f"{len(head)}"
            )
    columns = zip(head, zip(*rows, strict=True), strict=True)
    return Dataset({name: _parsed(texts) for name, texts in columns}, path.name)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TraceError("there is no such data file", where=str(path)) from None
    except (OSError, UnicodeError) as error:
        raise TraceError(
            "the data file cannot be read", where=str(path), got=str(error), wanted="text in UTF-8"
        ) from None


def _column(values: Sequence[object], where: str) -> Tensor:
    try:
        array = np.array(values)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    kinds = _kinds(values)
    if array.dtype.kind not in "biufU" or not (len(kinds) == 1 or kinds == {int, float}):
        wanted = "numbers, truths or texts, or lists of them of the same shape in every row"
        raise TraceError("the entries do not make an array", where=where, wanted=wanted)
    return _bytes(array)


def _kinds(value: object) -> set[type]:
    """The types of all entries, however deep."""
    if isinstance(value, list):
        return set().union(*map(_kinds, value))
    return {type(value)}


def _parsed(texts: Sequence[str]) -> Tensor:
    """A column of CSV: whole numbers, else numbers, else texts."""
    for kind in (np.int64, np.float64):
        try:
            return np.array([kind(text) for text in texts])
        except (ValueError, OverflowError):
            continue
    return _bytes(np.array(texts))


def _bytes(array: Tensor) -> Tensor:
    """Texts, which NumPy keeps in a fixed width, as Python `bytes`."""
    if array.dtype.kind not in "US":
        return array
    texts = [entry.encode() if isinstance(entry, str) else entry for entry in array.ravel().tolist()]
    made = np.empty(len(texts), dtype=np.object_)
    made[:] = texts
    return made.reshape(array.shape)
