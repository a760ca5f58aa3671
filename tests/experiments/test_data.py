from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from experiments.data import TRACE, DataError, counts, number, rows


def test_what_is_not_there_is_said_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"measurements are not there[\s\S]*--data FOLDER"):
        rows(tmp_path / "nowhere", "ipa/variants")
    with pytest.raises(DataError, match=r"variants\.csv: a file of the published measurements is not there"):
        rows(tmp_path, "variants")


def test_an_empty_table_and_a_word_for_a_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="no line of data"):
        rows(tmp_path, "t")
    with pytest.raises(DataError, match=r"column a: not a number: got four"):
        number({"a": "four"}, "a")
    with pytest.raises(DataError, match=r"column b: not a number: got no such column"):
        number({"a": "4"}, "b")


def test_seconds_of_the_trace_are_divided_and_rounded_down(tmp_path: Path) -> None:
    (tmp_path / "trace").mkdir()
    (tmp_path / TRACE).write_bytes(gzip.compress(b"7\n8\n17\n-\n"))
    assert counts(tmp_path, 0, 3, 8) == (0, 1, 2)
    with pytest.raises(DataError, match="ends before: got second 4, wanted 5"):
        counts(tmp_path, 0, 5)
    with pytest.raises(DataError, match="not a count of requests: got -"):
        counts(tmp_path, 2, 4)
