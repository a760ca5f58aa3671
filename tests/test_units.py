"""Converters at the edge: durations and sizes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.units import format_duration, format_size, parse_duration_s, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("400ms", 0.4), ("2.5 s", 2.5), ("1min", 60), ("1.5h", 5400), ("30us", 3e-5), ("30µs", 3e-5), ("1e2ms", 0.1)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4 << 30), ("512 MiB", 512 << 20), ("1.5kB", 1500), ("0.3B", 1), ("2TB", 2 * 10**12)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "400", "ms", "-1s", "1 second", "1e999s", "nan s", "1s2", "1,5s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        parse_duration_s(text)


@pytest.mark.parametrize("text", ["", "4", "4gb", "4Gib", "-4GB", "1e999GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as"):
        parse_size_bytes(text)


@given(st.floats(1e-6, 1e6))
def test_what_is_written_is_read(seconds: float) -> None:
    assert math.isclose(parse_duration_s(format_duration(seconds)), seconds, rel_tol=0.006)


@given(st.integers(1, 10**15))
def test_sizes_that_are_written_are_read(size: int) -> None:
    assert math.isclose(parse_size_bytes(format_size(size)), size, rel_tol=0.006)
