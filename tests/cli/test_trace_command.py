"""`trimtab trace`: what it makes reads back, what it shows is what the trace holds."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli.trace import app
from trimtab.errors import TraceError
from trimtab.workload.shapes import SHAPES, generate_shape
from trimtab.workload.trace import read_trace


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_made_trace_reads_back_and_is_the_seeds(tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("a.txt", "b.txt.gz", "c.txt")]
    for path, seed in zip(made, ("5", "5", "6"), strict=True):
        told = run(
            "generate", "--seconds", "300", "--mean", "20", "--peak", "90", "--bursts", "2", "--burst-length", "40",
            "--seed", seed, "-o", str(path),
        )  # fmt: skip
        assert "300 seconds" in told
    traces = [read_trace(path) for path in made]
    assert len(traces[0]) == 300
    assert traces[0].counts == traces[1].counts
    assert traces[0].counts != traces[2].counts
    assert "seed 5" in made[0].read_text()


def test_a_named_shape_is_made_of_any_length_rate_and_day(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    told = run("generate", "--shape", "daily", "--seconds", "1200", "--day", "1200", "--mean", "9", "-o", str(path))
    assert "1,200 seconds" in told
    trace = read_trace(path)
    assert trace.counts == generate_shape("daily", 1200, 0, usual_rps=9.0, day_s=1200.0).counts
    assert trace.describe().mean_rps == pytest.approx(9.0, rel=0.1)
    assert "# shape daily, usual rate 9, day 1200 s, seed 0" in path.read_text()
    run("generate", "--shape", "gaps", "--seconds", "9000", "--seed", "2", "-o", str(path))
    assert read_trace(path).counts == generate_shape("gaps", 9000, 2).counts
    assert read_trace(path).missing > 100


def test_every_shape_is_in_the_help() -> None:
    told = " ".join(run("generate", "--help").replace("│", " ").split())
    for name, shape in SHAPES.items():
        assert f"{name}: {shape.about}" in told


def test_show(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("1\n-\n3\n")
    told = json.loads(run("show", str(path), "--json"))
    assert told["seconds"] == 3
    assert told["missing"] == 1
    assert told["mean_rps"] == 2
    assert told["quantiles_rps"]["0.5"] == 2
    assert "3 seconds, 1 of them missing; 4 requests" in run("show", str(path))


def test_mistakes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("1\nNaN\n")
    with pytest.raises(TraceError, match="line 2"):
        run("show", str(path))
    with pytest.raises(TraceError, match="wanted --mean or --shape"):
        run("generate", "--seconds", "9", "-o", str(path))
    with pytest.raises(TraceError, match="--burst-length: a named shape has no such option: got --shape flat"):
        run("generate", "--seconds", "9", "--shape", "flat", "--burst-length", "9", "-o", str(path))
    with pytest.raises(TraceError, match="did you mean 'flat'"):
        run("generate", "--seconds", "9", "--shape", "flap", "-o", str(path))
    with pytest.raises(TraceError, match="--peak"):
        run("generate", "--seconds", "9", "--mean", "1", "--bursts", "1", "-o", str(path))
    with pytest.raises(TraceError, match="cannot be written"):
        run("generate", "--seconds", "9", "--mean", "1", "-o", str(tmp_path / "absent" / "t.txt"))
