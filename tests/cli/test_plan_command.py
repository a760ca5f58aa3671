"""`trimtab plan`: the tables, the JSON object, a forecast, a plan in force, and every question without a meaning."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

import trimtab.cli.plan
from trimtab import compiled
from trimtab.cli.plan import plan, policies_help
from trimtab.errors import PlanRequestError, ProfileError, SpecError, TrimtabError
from trimtab.plan.policies import POLICIES
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
SERVICE = """
name: service
slo: {latency: 750ms}
budget: {cores: 12}
planning: {mix: 2}
tasks:
  classify:
    variants: {v3: {accuracy: 0.76}, v4: {accuracy: 0.77}, v5: {accuracy: 0.78}}
profile:
  tasks:
    classify:
      v3:
        load_time_s: 7
        capacity: [{cores: 1, rate_rps: 8, latency_s: 0.50}, {cores: 4, rate_rps: 33, latency_s: 0.45}]
      v4:
        load_time_s: 9
        capacity: [{cores: 1, rate_rps: 5, latency_s: 0.60}, {cores: 4, rate_rps: 21, latency_s: 0.55}]
      v5:
        load_time_s: 9
        capacity: [{cores: 1, rate_rps: 3, latency_s: 0.70}, {cores: 4, rate_rps: 14, latency_s: 0.65}]
"""
FORECAST = "0.5=10,0.9=20,0.99=30"


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


@pytest.fixture
def service(tmp_path: Path) -> Path:
    (tmp_path / "service.yaml").write_text(SERVICE)
    return tmp_path / "service.yaml"


def invoke(*arguments: object) -> Result:
    app = Typer()
    app.command()(plan)
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def run(*arguments: object) -> str:
    return invoke(*arguments).stdout


def as_json(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def allocations(told: dict[str, Any], task: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told["plan"]["tasks"][task]["allocations"]
    return found


def test_the_tables_tell_what_and_why(spec: Path) -> None:
    told = run(spec, "--rate", "30")
    for words in (
        "pipeline two at 30/s, policy trimtab",
        "p99",
        "holds the SLO of 400 ms (tail model)",
        "2 of 2",
        "0.1 USD an hour",
        "2 cores",
        "find: heavy, light",
        "binding",
        "runner-up",
        "optimal, of",
        "planned in",
    ):
        assert words in told
    assert "change" not in told
    told = run(spec, "--rate", "9000")
    assert "does NOT hold" in told
    assert "infeasible" in told


def test_a_task_that_steps_down_is_told_with_what_is_expected_of_its_mix(spec: Path) -> None:
    told = run(spec, "--rate", "30")
    answer = as_json(spec, "--rate", "30")
    assert max(map(len, told.splitlines())) <= 80
    lines = [line.split() for line in told.splitlines()]
    assert "task variant accuracy replicas batch may step down to" in map(" ".join, lines)
    assert [line for line in lines if line[:2] == ["find", "heavy"] and line[-1] == "light"]
    parts = [float(line[-2]) / 100.0 for line in lines if line[0:1] in (["find"], ["read"]) and "/s" in "".join(line)]
    assert len(parts) == 2
    assert 0.90 < parts[0] <= 0.97
    assert 0.85 < parts[1] < 0.96
    assert math.isclose(math.prod(parts), answer["estimate"]["accuracy"], abs_tol=2e-4)
    assert answer["estimate"]["accuracy"] > 0.97 * 0.85, "better than the best that holds with one variant a task"


def test_what_cannot_step_down_has_no_column_for_it(spec: Path) -> None:
    told = run(spec, "--rate", "30", "--policy", "ipa")
    assert "may step down to" not in told


def test_batches_that_may_grow_are_told(spec: Path) -> None:
    told = as_json(spec, "--rate", "0")
    (allocation,) = allocations(told, "read")
    assert allocation["most"] > allocation["batch"]
    assert f" {allocation['batch']}–{allocation['most']} " in run(spec, "--rate", "0")


def test_a_mix_fits_80_columns(service: Path) -> None:
    told = run(service, "--rate", "47", "--policy", "infadapter")
    assert max(map(len, told.splitlines())) <= 80
    lines = [line.split() for line in told.splitlines()]
    assert ["classify", "v4", "77.0", "%", "39.5", "%", "1", "×", "4", "cores", "1"] in lines
    assert ["v3", "76.0", "%", "60.5", "%", "1", "×", "4", "cores", "1"] in lines
    assert "76.40 %" in told


def test_accuracy_is_told_as_the_pipeline_counts_it(spec: Path) -> None:
    answer = as_json(spec, "--rate", "30", "--set", "accuracy=rank-sum")
    words = f"{answer['estimate']['accuracy']:.4g} of 2 (sum of ranks)"
    assert words in run(spec, "--rate", "30", "--set", "accuracy=rank-sum")
    assert 0.0 < answer["estimate"]["accuracy"] < 2.0


def test_the_json_object_has_the_documented_shape(spec: Path) -> None:
    told = as_json(spec, "--rate", "30")
    assert list(told) == [
        "trimtab_plan", "pipeline", "policy", "rate_rps", "arrival_scv", "scenarios", "hold_probability", "slo",
        "limits", "feasible", "plan", "estimate", "sustained_rps", "objective", "gap", "binding", "runner_up",
        "switching", "steps", "plan_time_s", "compiled",
    ]  # fmt: skip
    assert told["trimtab_plan"] == 1
    assert told["feasible"]
    assert list(told["plan"]) == list(told["runner_up"]["plan"]) == ["id", "rate_rps", "cores", "tasks"]
    assert told["plan"]["cores"] == 2
    (allocation,) = allocations(told, "read")
    assert list(allocation) == ["variant", "replicas", "cores", "threads", "batch", "share", "most", "instance"]
    assert allocation["variant"] == "heavy"
    assert told["plan"]["tasks"]["read"]["may_use"] == ["light"]
    assert list(told["plan"]["tasks"]["read"]) == ["task", "allocations", "resident", "may_use"]
    assert told["estimate"]["latency_s"] < 0.4
    assert told["sustained_rps"] >= 30
    assert 0.97 * 0.85 < told["estimate"]["accuracy"] < 0.97 * 0.96
    assert told["estimate"]["accuracy"] == told["objective"]["value"]
    assert told["runner_up"]["reason"]
    assert set(told["objective"]) == {"kind", "value", "parts"}
    assert {"name", "value", "reason"} == set(told["steps"][0])
    assert told["switching"] is None
    assert told["scenarios"] == []


def test_what_is_unbounded_is_null(spec: Path) -> None:
    told = as_json(spec, "--rate", "9000")
    assert not told["feasible"]
    assert told["estimate"]["latency_s"] is None
    assert 0 < told["estimate"]["goodput_rps"] < 9000


def test_policy_cores_and_rate_zero(spec: Path) -> None:
    assert as_json(spec, "--rate", "30", "--policy", "most-accurate")["feasible"] is False
    assert allocations(as_json(spec, "--rate", "30", "--cores", "8"), "read")[0]["variant"] == "heavy"
    assert allocations(as_json(spec, "--rate", "0"), "read")[0]["variant"] == "heavy"
    assert as_json(spec, "--rate", "12", "--policy", "ipa")["estimate"]["latency_model"] == "paper"


def test_every_policy_has_a_line_of_help() -> None:
    lines = policies_help().split("\n\n")
    for name in POLICIES:
        (line,) = [line for line in lines if line.startswith(f"{name}:")]
        assert len(line) <= 38, "it has to fit beside the options in 80 columns"


def test_a_burstier_arrival_takes_longer(spec: Path) -> None:
    calm, bursty = (
        as_json(spec, "--rate", "380", "--policy", "cheapest", "--cores", "4", "--arrival-scv", scv) for scv in (1, 8)
    )
    assert bursty["arrival_scv"] == 8.0
    assert bursty["estimate"]["latency_s"] > calm["estimate"]["latency_s"]


def test_values_are_set_in_place_of_the_files(spec: Path, service: Path) -> None:
    told = as_json(spec, "--rate", "30", "--set", "slo.latency=2s", "--set", "budget.replicas=7")
    assert told["slo"]["latency_s"] == 2.0
    assert told["limits"]["replicas"] == 7
    told = as_json(
        service, "--rate", "30", "--set", "planning.mix=1", "--set", "profile.tasks.classify.v5.load_time_s=1"
    )
    assert told["limits"]["max_allocations_per_task"] == 1


def test_what_accuracy_is_worth_is_told_in_its_own_words(service: Path) -> None:
    told = run(service, "--rate", "47", "--set", "objective.point_worth_cores=4")
    assert "one point of accuracy (0.01) is worth 4 cores" in told
    assert "accuracy less cost 0." in told
    money = ("--set", "objective.point_worth_per_hour=0.5", "--set", "prices.core_hour=0.04")
    assert "is worth 0.5 USD an hour" in run(service, "--rate", "47", *money)
    weighted = as_json(service, "--rate", "47", "--set", "objective={kind: weighted, beta: 0.0025, delta: 2.5e-8}")
    assert as_json(service, "--rate", "47", "--set", "objective.point_worth_cores=4")["plan"] == weighted["plan"]


def test_the_limits_are_the_budgets(spec: Path) -> None:
    budget = "budget={cores: 7, memory: 1GB, replicas_per_task: 3, replicas: 5, cost_per_hour: 9}"
    told = as_json(spec, "--rate", "5", "--set", budget, "--set", "planning.mix=2")
    assert told["limits"] == {
        "cores": 7.0, "memory_bytes": 10**9, "replicas_per_task": 3, "max_allocations_per_task": 2,
        "in_place_variants": True, "replicas": 5, "cost_per_hour": 9.0, "in_place_cores": True, "start_s": 0.2,
    }  # fmt: skip


def test_a_forecast_is_held_with_a_probability(spec: Path) -> None:
    told = as_json(spec, "--rate-quantiles", FORECAST, "--hold", "0.85")
    assert told["rate_rps"] == told["plan"]["rate_rps"] == 20.0
    assert told["hold_probability"] == 0.85
    assert [s["rate_rps"] for s in told["scenarios"]] == [10.0, 20.0, 30.0]
    assert [s["probability"] for s in told["scenarios"]] == pytest.approx([0.5, 0.4, 0.09])
    assert [s["held"] for s in told["scenarios"]][:2] == [True, True]
    assert "10/s, 50 %: held" in run(spec, "--rate-quantiles", FORECAST, "--hold", "0.85")


def test_a_forecast_without_a_probability_is_for_the_expected_objective(spec: Path) -> None:
    told = as_json(spec, "--rate-quantiles", FORECAST)
    assert told["hold_probability"] is None
    assert told["rate_rps"] == 30.0
    assert any("expected objective" in step["reason"] for step in told["steps"])


def test_a_policy_for_one_rate_gets_the_one_that_holds(spec: Path) -> None:
    told = as_json(spec, "--rate-quantiles", FORECAST, "--hold", "0.9", "--policy", "ipa")
    assert told["rate_rps"] == 20.0
    assert told["steps"][0] == {
        "name": "rate", "value": "20/s",
        "reason": "ipa plans for one rate: the one not exceeded with 90 % probability",
    }  # fmt: skip
    assert len(told["scenarios"]) == 3
    assert told["plan"] == as_json(spec, "--rate", "20", "--policy", "ipa")["plan"]


def test_the_plan_in_force_is_what_json_printed(service: Path, tmp_path: Path) -> None:
    for part in ("whole", "plan"):
        before = as_json(service, "--rate", "10")
        path = tmp_path / f"{part}.json"
        path.write_text(json.dumps(before if part == "whole" else before["plan"]))
        same = as_json(service, "--rate", "10", "--current", path)
        nothing = {"classify": 0.0}
        assert same["switching"] == {
            "from_id": before["plan"]["id"], "load_s": 0.0, "tasks": nothing, "change_s": nothing,
        }  # fmt: skip
        assert "none: this is the plan in force" in run(service, "--rate", "10", "--current", path)
        other = as_json(service, "--rate", "47", "--current", path)
        assert other["estimate"]["load_s"] == other["switching"]["load_s"] > 0.0
        assert other["switching"]["change_s"] == {"classify": pytest.approx(0.2 + 7 + 9 + 9)}
        told = " ".join(run(service, "--rate", "47", "--current", path).split())
        assert "→" in told
        assert "there in 25.2 s" in told


def test_fewer_replicas_win_where_their_cores_follow_the_load(tmp_path: Path) -> None:
    spec = tmp_path / "one.yaml"
    spec.write_text(
        "{name: one, slo: {latency: 1s}, budget: {cores: 8}, objective: {kind: cheapest, accuracy_floor: 0.7}, "
        "tasks: {t: {variants: {a: {accuracy: 0.8}, b: {accuracy: 0.75}}}}, profile: {tasks: {t: {"
        "a: {capacity: [{cores: 4, rate_rps: 84, latency_s: 0.3}]}, "
        "b: {capacity: [{cores: 1, rate_rps: 30, latency_s: 0.3}]}}}}}"
    )
    told = as_json(spec, "--rate", "80")
    assert (told["plan"]["cores"], told["runner_up"]["plan"]["cores"]) == (4, 3)
    assert told["runner_up"]["reason"].startswith("it takes fewer cores now, but has 3 replicas instead of 1")


def test_what_changes_in_place_is_there_at_once(spec: Path, tmp_path: Path) -> None:
    path = tmp_path / "now.json"
    path.write_text(run(spec, "--rate", "30", "--policy", "cheapest", "--json"))
    told = as_json(spec, "--rate", "30", "--current", path)
    assert told["plan"]["id"] != told["switching"]["from_id"]
    assert told["switching"]["change_s"] == {"find": 0.0, "read": 0.0}
    assert "at once" in " ".join(run(spec, "--rate", "30", "--current", path).split())


def test_machine_code_is_named_where_planning_was_slow(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "load_when_cached", lambda: False)
    monkeypatch.setattr(compiled, "is_loaded", lambda: False)
    assert invoke(spec, "--rate", "5").stderr == ""
    monkeypatch.setattr(trimtab.cli.plan, "_SLOW_S", 0.0)
    assert "python -m trimtab.compiled" in invoke(spec, "--rate", "5").stderr
    assert invoke(spec, "--rate", "5", "--json").stderr == ""
    monkeypatch.setattr(compiled, "is_available", lambda: False)
    assert "pip install 'trimtab[fast]'" in invoke(spec, "--rate", "5").stderr
    monkeypatch.setattr(compiled, "is_loaded", lambda: True)
    assert invoke(spec, "--rate", "5").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--rate", "nan"], PlanRequestError, "rate"),
        (["--rate", "-1"], PlanRequestError, "rate"),
        (["--rate", "inf"], PlanRequestError, "rate"),
        (["--rate", "5", "--policy", "trimtap"], PlanRequestError, "did you mean 'trimtab'"),
        (["--rate", "5", "--cores", "1"], PlanRequestError, "at least 2 cores"),
        (["--rate", "5", "--cores", "nan"], PlanRequestError, "--cores"),
        (["--rate", "5", "--arrival-scv", "-1"], PlanRequestError, "arrival_scv"),
        (["--rate", "5", "--profile", "absent.json"], ProfileError, "absent.json"),
        (["--rate", "5", "--current", "absent.json"], PlanRequestError, "absent.json"),
        (["--rate", "5", "--set", "slo.latncy=1s"], SpecError, "did you mean 'latency'"),
        (["--rate", "5", "--set", "slo.latency"], SpecError, "path=value"),
        ([], PlanRequestError, "either --rate, or --rate-quantiles"),
        (["--rate", "5", "--rate-quantiles", FORECAST], PlanRequestError, "either --rate, or --rate-quantiles"),
        (["--rate", "5", "--hold", "0.9"], PlanRequestError, "--hold: a single rate"),
        (["--rate-quantiles", "0.5"], PlanRequestError, "got '0.5', wanted quantile=rate"),
        (["--rate-quantiles", "0.5=4,"], PlanRequestError, "got '', wanted quantile=rate"),
        (["--rate-quantiles", "p50=4"], PlanRequestError, "got 'p50=4'"),
        (["--rate-quantiles", "0.5=4,0.50=5"], PlanRequestError, "a quantile is given twice: got 0.5"),
        (["--rate-quantiles", "0.5=4,0.9=3"], PlanRequestError, "quantile 0.9: the rate has no meaning"),
        (["--rate-quantiles", "50=4"], PlanRequestError, "quantile 50: not a quantile"),
        (["--rate-quantiles", "0.5=nan"], PlanRequestError, "quantile 0.5: the rate has no meaning"),
        (["--rate-quantiles", FORECAST, "--hold", "1.5"], PlanRequestError, "not a probability"),
        (["--rate-quantiles", FORECAST, "--hold", "0.999"], PlanRequestError, "wanted at most 0.99"),
        (["--rate-quantiles", FORECAST, "--policy", "ipa"], PlanRequestError, "knows no expected objective"),
        (["--rate-quantiles", FORECAST, "--policy", "ipa", "--hold", "0.999"], PlanRequestError, "at most 0.99"),
    ],
)
def test_a_question_without_meaning_is_an_error(
    spec: Path, arguments: list[str], error: type[TrimtabError], words: str
) -> None:
    with pytest.raises(error) as caught:
        run(spec, *arguments)
    assert words in str(caught.value)


def test_the_plan_of_another_pipeline_is_an_error(spec: Path, service: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(run(service, "--rate", "30", "--json"))
    with pytest.raises(PlanRequestError) as caught:
        run(spec, "--rate", "5", "--current", path)
    assert "plan.tasks.find: the plan leaves out this task of the pipeline" in str(caught.value)
    assert "plan.tasks.classify: the pipeline has no such task" in str(caught.value)


def test_a_missing_file_and_unknown_cores_are_errors(spec: Path) -> None:
    with pytest.raises(SpecError):
        run(spec.with_name("absent.yaml"), "--rate", "5")
    spec.write_text(SPEC.replace("budget: {cores: 2}", ""))
    with pytest.raises(PlanRequestError, match="how many cores"):
        run(spec, "--rate", "5")
