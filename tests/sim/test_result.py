"""Results as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimtab.errors import SimulationError
from trimtab.sim import SimResult, SimRun, SimSeries, SimSummary
from trimtab.sim.result import FORMAT, read_result, write_result

RESULT = SimResult(
    run=SimRun(
        pipeline="p", policy="trimtab", trace="t.csv", arrivals="poisson", seed=3, seconds=2.0, slo_s=0.4,
        slo_quantile=0.99, plant="free", forecaster="quantile", rule="trimtab", cores=4, notes=("a bound",),
    ),
    summary=SimSummary(
        offered=9, in_time=5, late=1, refused=1, dropped=1, failed=1, attainment=5 / 9, violation_ratio=4 / 9,
        p50_s=0.1, p95_s=0.2, p99_s=0.3, mean_s=0.15, accuracy=0.8, core_seconds=7.5, mean_cores=3.75, peak_cores=5,
        planned_cores=3.5, changes=1, decisions=2, decide_s=0.001,
    ),
    series=SimSeries(
        window_s=1.0, offered=[4, 5], in_time=[3, 2], late=[1, 0], refused=[0, 1], dropped=[0, 1], failed=[0, 1],
        p50_s=[0.1, None], p99_s=[0.3, None], accuracy=[0.8, None], cores=[3.0, 4.5], planned_cores=[3.0, 4.0],
        rate_planned=[4.0, 5.0], variants={"a": {"small": [1, 2], "large": [3, 0]}},
    ),
    settings={"history": "two weeks"},
)  # fmt: skip


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_result(RESULT, path)
    assert read_result(path) == RESULT
    assert json.loads(path.read_text())["format"] == FORMAT == "trimtab.sim/1"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_writing_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_result(RESULT, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_that_stands_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("x" * 100_000)
    write_result(RESULT, path)
    assert read_result(path) == RESULT


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="cannot be written"):
        write_result(RESULT, tmp_path / "none" / "run.json")


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", "not json", '{"run": 1}'])
def test_what_is_no_result_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(SimulationError, match="not the result"):
        read_result(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="not the result"):
        read_result(tmp_path / "none.json")


def test_another_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_result(RESULT, path)
    path.write_text(path.read_text().replace("trimtab.sim/1", "trimtab.sim/9"))
    with pytest.raises(SimulationError, match="another version"):
        read_result(path)
