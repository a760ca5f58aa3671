from __future__ import annotations

import math
from pathlib import Path

from experiments.results import mean, over_seeds, write_csv


def test_seeds_are_told_as_mean_and_half_of_the_interval() -> None:
    # Three values with mean 2 and deviation 1: 4.3027 · 1 / √3.
    assert over_seeds([1.0, 2.0, 3.0]) == "2.00 ± 2.48"
    assert over_seeds([5.0, None]) == "5.00"
    assert over_seeds([None]) == "–"


def test_the_mean_is_of_what_is_known() -> None:
    assert mean([1.0, None, 4.0]) == 2.5
    assert math.isnan(mean([]))


def test_tables_are_written_with_six_digits(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", [{"a": 1 / 3, "b": "x"}, {"a": None, "b": 2}])
    assert path.read_text().splitlines() == ["a,b", "0.333333,x", ",2"]
