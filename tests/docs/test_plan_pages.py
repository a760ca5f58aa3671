"""The pages on planning: the how-to's commands run, and the reference leaves out no option and no field."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.cli.pareto import ChosenContent, FrontAnswer, PointContent
from trimtab.plan.file import PlanAnswer, SwitchingContent, parse_plan
from trimtab.plan.model import Limits, ObjectiveValue, PlanEstimate, TaskEstimate
from trimtab.testing import make_chain

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "plan.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}.*?\n(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def rows(text: str) -> dict[str, str]:
    """First cell of a table's line → the rest of the line."""
    return {name.removesuffix("[]"): rest for name, rest in re.findall(r"^\| `([^`]+)` \|(.*)\|$", text, re.MULTILINE)}


def test_the_how_tos_commands_run(tmp_path: Path) -> None:
    text = (DOCS / "how-to" / "plan.md").read_text(encoding="utf-8")
    (spec,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "service.yaml").write_text(spec)
    script = "set -e\n" + "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={**os.environ, "PATH": path, "COLUMNS": "80"}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("holds the SLO") == 9
    assert "there in" in done.stdout
    assert "may step down to" in done.stdout
    assert {"front.csv", "front.png"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize("command", ["plan", "pareto"])
def test_every_option_is_told(command: str) -> None:
    told = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), [command, "--help"]).output
    options = set(re.findall(r"^│[* ]+(--[a-z-]+)", told, re.MULTILINE)) - {"--help"}
    text = section("`trimtab plan SPEC`") + (section("`trimtab pareto SPEC`") if command == "pareto" else "")
    assert {"--set", "--json"} < options
    assert options == {option for option in options if f"`{option}" in text}


def test_every_field_of_the_objects_is_told() -> None:
    plan, front = (
        rows(section("The JSON object of `plan`")),
        rows(section("`trimtab pareto SPEC`").split("**JSON**")[1]),
    )
    assert list(plan) == [field.name for field in fields(PlanAnswer)]
    assert list(front) == [field.name for field in fields(FrontAnswer)]
    for told, entry in (
        (plan["limits"], Limits), (plan["estimate"], PlanEstimate), (plan["estimate"], TaskEstimate),
        (plan["objective"], ObjectiveValue), (plan["switching"], SwitchingContent),
        (front["points"], PointContent), (front["chosen"], ChosenContent),
    ):  # fmt: skip
        for field in fields(entry):
            assert f"`{field.name}`" in told


def test_the_plan_file_is_read() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", REFERENCE, re.DOTALL)
    pipeline, _ = make_chain({"find": {"heavy": (0.9, 0.02), "light": (0.8, 0.01)}})
    plan = parse_plan(text, pipeline)
    content = json.loads(text)
    assert plan.rate_rps == content["rate_rps"]
    told = rows(section("The plan file"))
    assert set(content) == {name for name in told if "." not in name}
    assert {f"tasks.*.{name}" for name in content["tasks"]["find"]} <= set(told)
    assert {f"tasks.*.allocations[].{name}" for name in content["tasks"]["find"]["allocations"][0]} <= set(told)
