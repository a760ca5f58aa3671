"""Traces: every way in which a file can be wrong, and what scaling and compressing do to rates."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import TraceError
from trimtab.workload.trace import Trace, read_trace, write_trace

counts = st.lists(st.one_of(st.none(), st.integers(0, 500)), min_size=1, max_size=60).filter(
    lambda c: any(x is not None for x in c)
)


def written(folder: Path, content: str | bytes, name: str = "t.txt") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_text_with_comments_and_missing_seconds(tmp_path: Path) -> None:
    trace = read_trace(written(tmp_path, "# a comment\n3\n-\n\n 0 \n7\n\n\n"))
    assert trace.counts == (3, None, None, 0, 7)
    assert trace.missing == 2


def test_compressed_text(tmp_path: Path) -> None:
    assert read_trace(written(tmp_path, gzip.compress(b"1\n2\n"), "t.txt.gz")).counts == (1, 2)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("count\n1\n\n3\n", (1, None, 3)),
        ("second,count\n0,5\n1,6\n", (5, 6)),
        ("second,requests\n10,5\n12,6\n13,\n", (5, None, 6, None)),
        ("count,second\n5,0\n6,1\n", (5, 6)),
    ],
)
def test_csv(tmp_path: Path, content: str, expected: tuple[int | None, ...]) -> None:
    assert read_trace(written(tmp_path, content, "t.csv")).counts == expected


def test_csv_column_is_chosen_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "second,calm,busy\n0,1,9\n1,2,8\n", "t.csv")
    assert read_trace(path, column="busy").counts == (9, 8)


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        ("", "t.txt", "empty"),
        ("# only a comment\n\n", "t.txt", "empty"),
        ("-\n-\n1\n-\nnan\n", "line 5", "got nan"),
        ("NaN\n", "line 1", "got NaN"),
        ("3\n-4\n", "line 2", "got -4"),
        ("3\n4.5\n", "line 2", "got 4.5"),
        ("3\n1e3\n", "line 2", "got 1e3"),
        ("3\ninf\n", "line 2", "got inf"),
        ("3\nmany\n", "line 2", "got many"),
        ("3\n99999999999\n", "line 2", "wanted 0 to"),
        ("-\n-\n", "t.txt", "no recorded second"),
        ("1\n" + "2" * 2000 + "\n", "line 2", "too long"),
        (b"1\n\xff\xfe\x00\n", "line 2", "binary data"),
        (b"\x89PNG\x00\x01", "line 1", "binary data"),
        ("second,count\n", "t.txt", "empty"),
        ("second,count\n0,1\n0,2\n", "line 3", "must ascend"),
        ("second,count\n0,1\nx,2\n", "line 3", "not a second"),
        ("second,count\n0,1,5\n", "line 2", "another number of columns"),
        ("second,count\n0,NaN\n", "line 2, count", "got NaN"),
        ("second,count\n0,1\n900000000000,1\n", "line 3", "too long"),
        ("second,a,b\n0,1,2\n", "t.txt", "--column"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, content: str | bytes, where: str, what: str) -> None:
    with pytest.raises(TraceError) as told:
        read_trace(written(tmp_path, content))
    assert where in (told.value.where or "")
    assert "t.txt" in (told.value.where or "")
    assert what in str(told.value)


def test_unreadable_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such trace file"):
        read_trace(tmp_path / "absent.txt")
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path)
    with pytest.raises(TraceError, match="damaged"):
        read_trace(written(tmp_path, b"1\n2\n", "t.txt.gz"))
    with pytest.raises(TraceError, match="damaged"):
        read_trace(written(tmp_path, gzip.compress(b"1\n2\n" * 1000)[:-12], "cut.txt.gz"))
    with pytest.raises(TraceError, match="no column names"):
        read_trace(written(tmp_path, "1\n2\n"), column="count")
    with pytest.raises(TraceError, match="no such column"):
        read_trace(written(tmp_path, "second,count\n0,1\n"), column="requests")


@given(counts)
def test_written_traces_read_back(tmp_path_factory: pytest.TempPathFactory, values: list[int | None]) -> None:
    folder = tmp_path_factory.mktemp("trace")
    trace = Trace(tuple(values))
    for name in ("t.txt", "t.txt.gz"):
        write_trace(trace, folder / name, comments=["made for a test"])
        back = read_trace(folder / name)
        assert back.counts == trace.counts


def test_missing_seconds_are_never_zero() -> None:
    trace = Trace((None, 4, None, 6))
    with pytest.raises(TraceError, match="missing"):
        trace.rates()
    assert trace.filled("hold").counts == (4, 4, 4, 6)
    assert trace.filled("cut").counts == (4, 6)
    assert trace.describe().mean_rps == 5


@given(counts, st.sampled_from([0.1, 1.0, 2.5]), st.floats(1, 7))
def test_scale_multiplies_and_compression_keeps_the_rate(
    values: list[int | None], scale: float, compress: float
) -> None:
    trace = Trace(tuple(values)).filled("hold")
    if int(len(trace) / compress + 1e-9) < 1:  # rounding is forgiven, as in the length below
        with pytest.raises(TraceError, match="shorter"):
            trace.rates(compress=compress)
        return
    recorded = np.array(trace.counts, dtype=float)
    rates = trace.rates(scale=scale, compress=compress)
    assert len(rates) == int(len(trace) / compress + 1e-9)
    assert rates.min() >= scale * recorded.min() - 1e-6
    assert rates.max() <= scale * recorded.max() + 1e-6
    # What is replayed is what was recorded up to there, compressed and scaled.
    covered = min(len(rates) * compress, len(trace))
    whole, rest = int(covered), covered - int(covered)
    requests = recorded[:whole].sum() + (rest * recorded[whole] if rest > 0 and whole < len(trace) else 0.0)
    assert rates.sum() == pytest.approx(scale * requests / compress, abs=1e-6)


def test_compression_by_a_whole_number_is_the_mean_of_so_many_seconds() -> None:
    assert Trace((1, 3, 10, 20, 99)).rates(compress=2).tolist() == [2.0, 15.0]
    assert Trace((1, 3)).rates(scale=0.5).tolist() == [0.5, 1.5]


@pytest.mark.parametrize("factors", [{"scale": 0}, {"scale": float("nan")}, {"compress": 0.5}, {"compress": np.inf}])
def test_factors_without_meaning_are_told(factors: dict[str, float]) -> None:
    with pytest.raises(TraceError, match="no meaning"):
        Trace((1, 2)).rates(**factors)


def test_cutting_a_trace() -> None:
    assert Trace((1, 2, 3, 4)).between(1, 3).counts == (2, 3)
    assert Trace((1, 2, 3, 4)).between(2).counts == (3, 4)
    for start, stop in [(-1, 2), (2, 2), (0, 5)]:
        with pytest.raises(TraceError, match="inside the trace"):
            Trace((1, 2, 3, 4)).between(start, stop)


def test_statistics() -> None:
    told = Trace((0, 2, None, 4)).describe()
    assert (told.seconds, told.missing, told.requests) == (4, 1, 6)
    assert (told.mean_rps, told.min_rps, told.max_rps) == (2.0, 0, 4)
    assert told.quantiles_rps[0.5] == 2.0
    assert told.dispersion == pytest.approx(4 / 2)
    assert Trace((0, 0)).describe().dispersion is None
