"""`trimtab plan`: the table, the JSON object, and every question that has no meaning."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from trimtab.cli.plan import plan
from trimtab.errors import PlanRequestError, ProfileError, SpecError, TrimtabError
from trimtab.profile.file import save_profile
from trimtab.testing import make_chain

SPEC = """
name: two
slo: {latency: 400ms}
budget: {cores: 2}
prices: {core_hour: 0.05}
tasks:
  find:
    variants:
      light: {model: light.onnx, accuracy: 0.90}
      heavy: {model: heavy.onnx, accuracy: 0.97}
  read:
    after: [find]
    variants:
      light: {model: light.onnx, accuracy: 0.85}
      heavy: {model: heavy.onnx, accuracy: 0.96}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    _, profile = make_chain(
        {
            "find": {"light": (0.90, 0.004), "heavy": (0.97, 0.020)},
            "read": {"light": (0.85, 0.004), "heavy": (0.96, 0.055)},
        }
    )
    save_profile(profile, tmp_path / "profile.json")
    return tmp_path / "pipeline.yaml"


def run(*arguments: str) -> str:
    app = Typer()
    app.command()(plan)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def as_json(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def test_the_table_tells_what_and_why(spec: Path) -> None:
    told = run(str(spec), "--rate", "30")
    for words in (
        "pipeline two at 30/s, policy trimtab",
        "holds the SLO of 400 ms (tail model)",
        "2 of 2",
        "0.1 USD an hour",
        "may use light",
        "binding",
        "runner-up",
        "best of",
    ):
        assert words in told
    assert "does NOT hold" in run(str(spec), "--rate", "9000")


def test_the_json_object_has_the_documented_shape(spec: Path) -> None:
    told = as_json(str(spec), "--rate", "30")
    assert set(told) == {
        "pipeline", "policy", "rate_rps", "slo", "limits", "feasible", "plan", "estimate", "objective", "binding",
        "runner_up", "steps", "plan_time_s",
    }  # fmt: skip
    assert told["feasible"]
    assert told["plan"]["cores"] == 2
    (allocation,) = told["plan"]["tasks"]["read"]["allocations"]
    assert allocation["variant"] == "light"
    assert told["estimate"]["latency_s"] < 0.4
    assert math.isclose(told["estimate"]["accuracy"], 0.97 * 0.85)
    assert told["runner_up"]["reason"]
    assert {"name", "value", "reason"} == set(told["steps"][0])


def test_what_is_unbounded_is_null(spec: Path) -> None:
    told = as_json(str(spec), "--rate", "9000")
    assert not told["feasible"]
    assert told["estimate"]["latency_s"] is None
    assert 0 < told["estimate"]["goodput_rps"] < 9000


def test_policy_cores_and_rate_zero(spec: Path) -> None:
    assert as_json(str(spec), "--rate", "30", "--policy", "most-accurate")["feasible"] is False
    assert (
        as_json(str(spec), "--rate", "30", "--cores", "8")["plan"]["tasks"]["read"]["allocations"][0]["variant"]
        == "heavy"
    )
    assert as_json(str(spec), "--rate", "0")["plan"]["tasks"]["read"]["allocations"][0]["variant"] == "heavy"
    assert as_json(str(spec), "--rate", "12", "--policy", "ipa")["estimate"]["latency_model"] == "paper"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--rate", "nan"], PlanRequestError, "rate"),
        (["--rate", "-1"], PlanRequestError, "rate"),
        (["--rate", "inf"], PlanRequestError, "rate"),
        (["--rate", "5", "--policy", "trimtap"], PlanRequestError, "did you mean 'trimtab'"),
        (["--rate", "5", "--cores", "1"], PlanRequestError, "at least 2 cores"),
        (["--rate", "5", "--cores", "nan"], PlanRequestError, "--cores"),
        (["--rate", "5", "--profile", "absent.json"], ProfileError, "absent.json"),
    ],
)
def test_a_question_without_meaning_is_an_error(
    spec: Path, arguments: list[str], error: type[TrimtabError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(str(spec), *arguments)


def test_a_missing_file_and_unknown_cores_are_errors(spec: Path) -> None:
    with pytest.raises(SpecError):
        run(str(spec.with_name("absent.yaml")), "--rate", "5")
    spec.write_text(SPEC.replace("budget: {cores: 2}", ""))
    with pytest.raises(PlanRequestError, match="how many cores"):
        run(str(spec), "--rate", "5")
