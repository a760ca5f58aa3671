"""Finds and reads the published measurements, which are not part of this repository.

Every experiment takes `--data FOLDER`, the folder that holds `infadapter/`, `ipa/` and `trace/`. Nothing of it is
copied into the repository: the measurements were published without a licence.
"""

from __future__ import annotations

import csv
import functools
import gzip
import itertools
from collections.abc import Mapping
from pathlib import Path

from trimtab.errors import TrimtabError

Row = Mapping[str, str]
"""A line of a CSV: column → text."""
TRACE = "trace/twitter_2021-08_first17days_rps.txt.gz"
"""Requests in each second of the first 17 days of the Twitter trace that both papers replay."""


class DataError(TrimtabError):
    """The published measurements are not where they were said to be, or are not what they were."""


def rows(data: Path, name: str) -> tuple[Row, ...]:
    """The lines of `name`.csv below the folder of the data, such as `ipa/variants`.

    Raises:
        DataError: the folder or the file is not there, or holds nothing.
    """
    return _rows(data.resolve(), name)


@functools.cache
def _rows(data: Path, name: str) -> tuple[Row, ...]:
    path = found(data, f"{name}.csv")
    with path.open(encoding="utf-8", newline="") as lines:
        content = tuple(csv.DictReader(lines))
    if not content:
        raise DataError("the file holds no line of data", where=str(path))
    return content


def number(row: Row, column: str) -> float:
    """The number in a column of a line.

    Raises:
        DataError: there is no such column, or no number in it.
    """
    try:
        return float(row[column])
    except (KeyError, ValueError):
        got = row.get(column, "no such column") or "nothing"
        raise DataError("not a number", where=f"column {column}", got=got, wanted="a number") from None


def counts(data: Path, start: int, stop: int, divisor: int = 1) -> tuple[int, ...]:
    """Requests in each second of the trace from `start` up to, not including, `stop`, divided and rounded down.

    Raises:
        DataError: the trace is not there or does not reach so far, or a line holds no count.
    """
    return tuple(count // divisor for count in _counts(found(data, TRACE).resolve(), start, stop))


@functools.cache
def _counts(path: Path, start: int, stop: int) -> tuple[int, ...]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        window = [line.strip() for line in itertools.islice(lines, start, stop)]
    if len(window) < stop - start:
        raise DataError("the trace ends before", where=TRACE, got=f"second {start + len(window)}", wanted=f"{stop}")
    wrong = next((line for line in window if not line.isdigit()), None)
    if wrong is not None:
        raise DataError("not a count of requests", where=TRACE, got=wrong or "nothing", wanted="a whole number")
    return tuple(map(int, window))


def found(data: Path, name: str) -> Path:
    """The path of a file below the folder of the data.

    Raises:
        DataError: it is not there.
    """
    path = data / name
    if not path.is_file():
        missing = "a file of the published measurements is" if data.is_dir() else "the published measurements are"
        raise DataError(
            f"{missing} not there",
            where=str(path),
            next_step="say where they are with --data FOLDER; it holds infadapter/, ipa/ and trace/",
        )
    return path
