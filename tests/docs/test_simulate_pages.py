"""The pages on simulating: the how-to's commands run, and the reference leaves out no option, field, plant or rule."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from tests.report.simulated import make_result
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.control.journal import read_journal
from trimtab.forecast.registry import FORECASTERS
from trimtab.report.comparison import METRICS, compare_runs
from trimtab.report.comparison_text import comparison_csv, runs_csv
from trimtab.report.simulation import series_csv
from trimtab.sim import PLANTS, SimResult, SimRun, SimSeries, SimSummary
from trimtab.sim.model import DRAWS, RULES
from trimtab.sim.result import FORMAT
from trimtab.workload.arrivals import ARRIVALS

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "simulate.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}.*?\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def rows(text: str) -> dict[str, str]:
    """First cell of a table's line → the rest of the line."""
    return dict(re.findall(r"^\| `([^`]+)`[^|]*\|(.*)\|$", text, re.MULTILINE))


def test_the_how_tos_commands_run(tmp_path: Path) -> None:
    text = (DOCS / "how-to" / "simulate.md").read_text(encoding="utf-8")
    (spec,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "service.yaml").write_text(spec)
    script = "set -e\n" + "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "PATH": path, "COLUMNS": "80"}, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("on day.txt: ") == 6
    assert "12 runs: 0 kept, 12 to do" in done.stderr
    assert len(list((tmp_path / "out" / "runs").rglob("*.json"))) == 12
    assert "plant instant-resident, but kubernetes for restarts" in " ".join(done.stdout.split())
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert len((tmp_path / "run.csv").read_text().splitlines()) > 40 / 5
    assert len(read_journal(tmp_path / "why.jsonl").entries) >= 40


@pytest.mark.parametrize("command", ["simulate", "compare"])
def test_every_option_is_told(command: str) -> None:
    told = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), [command, "--help"]).output
    options = set(re.findall(r"^│[* ]+(--[a-z-]+)", told, re.MULTILINE)) - {"--help"}
    text = section("Options of both") + section(f"`trimtab {command} SPEC`")
    assert {"--set", "--trace"} < options
    told_otherwise = {"--resume": "--no-resume", "--report": "--no-report"}
    assert options == {option for option in options if f"`{told_otherwise.get(option, option)}" in text}


def test_every_field_of_the_object_is_told() -> None:
    told = rows(section("The JSON object"))
    assert list(told) == [field.name for field in fields(SimResult)]
    for name, entry in (("run", SimRun), ("summary", SimSummary), ("series", SimSeries)):
        assert set(re.findall(r"`(\w+)`", told[name])) == {field.name for field in fields(entry)}
    assert f"`{FORMAT}`" in told["format"]


def test_every_figure_of_the_comparison_is_told() -> None:
    told = rows(section("`trimtab compare SPEC`"))["comparison.csv"]
    assert set(METRICS) <= set(re.findall(r"`(\w+)`", told))


def test_every_plant_rule_and_way_is_told() -> None:
    assert set(rows(section("Plants"))) == set(PLANTS)
    assert list(rows(section("Rules"))) == list(RULES)
    options = rows(section("Options of both"))
    assert set(re.findall(r"`(\w+)`", options["--arrivals WAY"])) == set(ARRIVALS)
    assert set(re.findall(r"`(\w+)`", options["--draw WAY"])) == set(DRAWS)
    assert set(FORECASTERS) <= set(re.findall(r"`([\w-]+)`", section("Words")))


def test_delays_of_plants_are_told() -> None:
    for name, told in rows(section("Plants")).items():
        plant = PLANTS[name]
        new, variant, cores = (cell.strip() for cell in told.split("|"))
        assert (f"{plant.start_s:g} s" in new) == (plant.start_s > 0.0)
        assert ("load time" in new) == (plant.load_s is None)
        assert (f"{plant.drain_s:g} s more" in new) == (plant.drain_s > 0.0)
        assert (variant == "new replica") == (not plant.in_place_variants)
        assert (cores == "new replica") == (not plant.in_place_cores)
        if plant.in_place_cores and plant.resize_s:
            assert cores == (f"{1e3 * plant.resize_s:g} ms" if plant.resize_s < 0.01 else f"{plant.resize_s:g} s")


def test_the_csv_files_have_the_columns_told() -> None:
    files = rows(section("`trimtab compare SPEC`"))
    header = next(csv.reader(comparison_csv(compare_runs([make_result()])).splitlines()))
    assert {"runs", "bound", "on_front"} <= set(header)
    assert {f"{metric}_{end}" for metric in METRICS for end in ("mean", "low", "high")} <= set(header)
    assert "`_mean`, `_low`, `_high`" in files["comparison.csv"]
    assert {field.name for field in fields(SimSummary)} <= set(runs_csv(compare_runs([])).strip().split(","))
    columns = series_csv(make_result()).splitlines()[0].split(",")
    assert columns[0] == "start_s"
    assert {name.split(".")[0] for name in columns[1:]} - {"items"} == {field.name for field in fields(SimSeries)} - {
        "window_s",
        "variants",
    }
