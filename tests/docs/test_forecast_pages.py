"""The pages on forecasts: the how-to's commands run, and the reference leaves out no option, target or score."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from tests.report.judged import make_evaluation
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.cli.forecast import UNFITTED
from trimtab.forecast.evaluate import ONSET, QUANTILES, TARGETS, NumberScores, Scores
from trimtab.forecast.file import read_fitted
from trimtab.forecast.lstm import WEIGHTS
from trimtab.forecast.registry import FORECASTERS
from trimtab.report.forecast import FORMAT, Asked, scores_csv, scores_object

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "forecast.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "how-to" / "forecast.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    level = heading.split(maxsplit=1)[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{level} |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def rows(text: str) -> dict[str, str]:
    """First cell of a table's line → the rest of the line."""
    return dict(re.findall(r"^\| (`[^|]+`) \|(.*)\|$", text, re.MULTILINE))


def run(script: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"set -e\n{script}"], cwd=folder, env={**os.environ, "PATH": path, "COLUMNS": "100"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_how_tos_commands_run(tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```sh\n(.*?)```", HOW_TO, re.DOTALL))
    for long, short in (
        ("--seconds 90000", "--seconds 14400"),
        ("--from 21h", "--from 3h"),
        ("--from 24h", "--from 3h"),
    ):
        assert long in script
        script = script.replace(long, short)  # the same on a shorter record, which takes a fifth of the time
    told = run(script, tmp_path)
    assert told.count("Best: pinball") == 2
    assert "60 forecasts from 3 h to 4 h of the trace" in told
    assert "note: trained is left out" in told
    (target,) = json.loads((tmp_path / "out" / "scores.json").read_text())["targets"]
    assert set(target["forecasters"]) >= {"last", "quantile"}
    assert {"reliability.png", "relative.svg", "fan-infadapter.png"} <= {p.name for p in (tmp_path / "out").iterdir()}


def test_the_how_tos_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trimtab.forecast.fit.fit", lambda _, **__: read_fitted(WEIGHTS / "lstm-infadapter.json"))
    (made, *_) = re.findall(r"```sh\n(.*?)```", HOW_TO, re.DOTALL)
    (training,) = re.findall(r"```sh train\n(.*?)```", HOW_TO, re.DOTALL)
    told = ""
    for line in (made + training).splitlines():
        name, *arguments = shlex.split(line)
        result = CliRunner(env={"COLUMNS": "100"}).invoke(make_app(), arguments, catch_exceptions=False)
        assert (name, result.exit_code) == ("trimtab", 0)
        told += result.output
    assert "mine.json: " in told
    assert "note: " not in told
    assert re.search(r"^mine\.json +\d", told, re.MULTILINE)


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_every_option_is_told(command: str) -> None:
    told = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), ["forecast", command, "--help"]).output
    options = set(re.findall(r"^│[* ]+(--[a-z-]+)", told, re.MULTILINE)) - {"--help"}
    assert {"--trace", "--output"} < options
    text = section("## Options of both") + section(f"## `trimtab forecast {command}`")
    assert options == {option for option in options if f"`{option.replace('--pictures', '--no-pictures')}" in text}


def test_every_target_is_told() -> None:
    told = rows(section("### Targets"))
    assert list(told) == [f"`{name}`" for name in TARGETS]
    for name, target in TARGETS.items():
        horizon, stride, counts = (cell.strip() for cell in told[f"`{name}`"].split("|"))
        assert (horizon, stride) == (f"{target.horizon_s} s", f"{target.stride_s} s")
        assert counts == ("as they are" if target.divide == 1 else f"divided by {target.divide} and rounded down")


def test_every_score_is_told() -> None:
    told = " ".join(rows(section("### Scores")))
    own = {field.name for field in fields(Scores)} - {"peak", "mean"} | {field.name for field in fields(NumberScores)}
    assert set(re.findall(r"`(\w+)`", told)) == own | {"mse_below_last"}
    assert f"one of {', '.join(f'{q:g}' for q in QUANTILES)}" in section("### Scores")
    assert f"more than {ONSET:g} × that of the past" in told + section("### Scores")


def test_every_field_of_the_files_is_told() -> None:
    shown = [make_evaluation({"near": 1.1}, [3, 9, 2, 4])]
    told = scores_object(shown, Asked("t", "count", 0.0, None))
    text = section("### Files")
    for field in (*told, *told["targets"][0]):
        assert f"`{field}`" in text, field
    assert f"`{FORMAT}`" in text
    header = next(csv.reader(scores_csv(shown).splitlines()))
    assert set(re.findall(r"columns such as `([^`]+)`", text)) < set(header)


def test_the_usual_forecasters_are_told() -> None:
    assert f"Where none is named: {', '.join(f'`{name}`' for name in UNFITTED)};" in section("### Forecasters")


def test_every_forecaster_is_told() -> None:
    told = " ".join(re.findall(r"^\| (`[^|]+) \|", section("### Forecasters"), re.MULTILINE))
    assert set(re.findall(r"`([^`]+)`", told)) == set(FORECASTERS)
