"""Series of delays: what a file may hold, what is drawn, what is made."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.workload.delays import Delays, mobile_delays, read_delays


def test_a_file_has_a_delay_per_line(tmp_path: Path) -> None:
    (tmp_path / "way.txt").write_text("# seconds\n0.1\n0\n1e-3\n\n")
    assert read_delays(tmp_path / "way.txt", 0.2) == Delays((0.1, 0.0, 0.001), 0.2, "way.txt")
    (tmp_path / "way.txt.gz").write_bytes(gzip.compress(b"0.5\n0.25\n"))
    assert read_delays(tmp_path / "way.txt.gz").seconds == (0.5, 0.25)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.1\nfast\n", "line 2.*got fast"),
        ("0.1\n\n0.2\n", "line 2.*got nothing"),
        ("0.1\n-0.2\n", "second 1.*got -0.2"),
        ("nan\n", "second 0"),
        ("4000\n", "second 0"),
        ("# nothing\n", "the series of delays is empty.*one delay per line"),
    ],
)
def test_what_is_no_delay_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "way.txt").write_text(text)
    with pytest.raises(TraceError, match=said):
        read_delays(tmp_path / "way.txt")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such series of delays file"):
        read_delays(tmp_path / "none.txt")


@pytest.mark.parametrize("spread", [-0.1, 11.0, float("nan")])
def test_a_spread_has_to_have_a_meaning(spread: float) -> None:
    with pytest.raises(TraceError, match="spread"):
        Delays((0.1,), spread)


def test_requests_of_a_second_have_its_mean_and_spread() -> None:
    moments = np.concatenate((np.linspace(0.0, 0.999, 50_000), np.linspace(1.0, 1.999, 50_000)))
    left_s = Delays((0.2, 0.4), spread=0.5).left_s(10.0, rng.generator(1, "test"), moments)
    for delays_s, mean_s in ((10.0 - left_s[:50_000], 0.2), (10.0 - left_s[50_000:], 0.4)):
        assert delays_s.mean() == pytest.approx(mean_s, rel=0.01)
        assert delays_s.std() == pytest.approx(0.5 * mean_s, rel=0.03)


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=5), st.floats(0.0, 2.0), st.integers(0, 9))
def test_nobody_has_more_than_the_slo_left_or_less_than_nothing(seconds: list[float], spread: float, seed: int) -> None:
    moments = np.arange(0.0, len(seconds), 0.1)
    left_s = Delays(tuple(seconds), spread).left_s(1.0, rng.generator(seed, "test"), moments)
    assert ((left_s >= 0.0) & (left_s <= 1.0)).all()
    if spread == 0.0:
        assert left_s.tolist() == [max(0.0, 1.0 - seconds[int(m)]) for m in moments]


def test_a_mobile_network_is_made_from_a_seed() -> None:
    made = mobile_delays(3600, 4)
    assert made == mobile_delays(3600, 4)
    assert made.seconds != mobile_delays(3600, 5).seconds
    assert max(made.seconds) <= 0.6
    low, median, high = np.quantile(made.seconds, [0.01, 0.5, 0.99])
    # ln(bandwidth) has a standard deviation of 0.5 about ln(20) - 0.125: the median of 4 Mbit ÷ bandwidth is 0.227 s.
    assert 0.05 < low < 0.12 < 0.18 < median < 0.28 < 0.45 < high <= 0.6
