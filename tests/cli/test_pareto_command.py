"""`trimtab pareto`: the table, the JSON object, the CSV file, the picture, and what is wrong with a question."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from trimtab.cli.pareto import pareto
from trimtab.errors import MissingExtraError, PlanRequestError, SpecError, TrimtabError

SPEC = """
name: two
slo: {latency: 400ms}
budget: {cores: 6}
tasks:
  find:
    variants: {light: {accuracy: 0.90}, heavy: {accuracy: 0.97}}
  read:
    after: [find]
    variants: {light: {accuracy: 0.85}, heavy: {accuracy: 0.96}}
profile:
  tasks:
    find:
      light: {points: {1: 4ms, 2: 7ms}}
      heavy: {points: {1: 20ms, 2: 37ms}}
    read:
      light: {points: {1: 4ms, 2: 7ms}}
      heavy: {points: {1: 55ms, 2: 100ms}}
"""
BEST = 0.97 * 0.96


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    return tmp_path / "pipeline.yaml"


def run(*arguments: object) -> str:
    app = Typer()
    app.command()(pareto)
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def test_the_table_tells_what_accuracy_costs(spec: Path) -> None:
    told = run(spec, "--rate", "30")
    assert max(map(len, told.splitlines())) <= 80
    rows = [line.split() for line in told.splitlines()]
    assert ["cores", "accuracy", "p99", "find", "read"] in rows
    points = as_json(spec, "--rate", "30")["points"]
    shown = [row for row in rows if row and "×" in row[-1]]
    assert [row[0] == "→" for row in shown] == [point["chosen"] for point in points]
    for row, point in zip(shown, points, strict=True):
        tasks = [task["allocations"][0] for task in point["plan"]["tasks"].values()]
        gets = [word for a in tasks for word in (a["variant"], f"{a['replicas']}×{a['cores']}")]
        assert row[-9:-6] + row[-4:] == [f"{point['cost']:g}", f"{100 * point['accuracy']:.2f}", "%", *gets]
    for words in (
        "pipeline two at 30/s: what accuracy costs",
        "accurate-under-budget",
        f"{len(points)} points, exact",
        "tail model",
    ):
        assert words in told


def test_names_that_are_long_share_a_column(spec: Path) -> None:
    name = "a-model-with-a-name-of-many-many-words"
    spec.write_text(SPEC.replace("heavy", name))
    told = run(spec, "--rate", "30")
    assert max(map(len, told.splitlines())) <= 80
    found, read = (
        task["allocations"][0]["replicas"] for task in as_json(spec, "--rate", "30")["chosen"]["plan"]["tasks"].values()
    )
    assert f"find{name}{found}×1;read{name}{read}×1" in "".join(told.split())


def test_the_json_object_has_the_documented_shape(spec: Path) -> None:
    told = as_json(spec, "--rate", "30")
    assert list(told) == [
        "trimtab_pareto", "pipeline", "rate_rps", "arrival_scv", "slo", "limits", "cost", "currency", "points",
        "chosen", "sustained_rps", "plan_time_s", "compiled",
    ]  # fmt: skip
    assert told["trimtab_pareto"] == 1
    count = len(told["points"])
    assert [list(point) for point in told["points"]] == count * [
        ["cost", "accuracy", "chosen", "gap", "plan", "estimate"]
    ]
    costs = [point["cost"] for point in told["points"]]
    assert costs[0] == 2.0
    assert costs == sorted(set(costs))
    assert costs[-1] <= 6.0
    accuracies = [point["accuracy"] for point in told["points"]]
    assert accuracies == [point["estimate"]["accuracy"] for point in told["points"]]
    assert accuracies == sorted(set(accuracies))
    assert accuracies[0] > 0.97 * 0.85, "a mix on two cores is better than the best pair of variants that they hold"
    assert accuracies[-1] <= BEST
    assert accuracies[-1] == pytest.approx(BEST, abs=0.01)
    assert [point["chosen"] for point in told["points"]] == [*((count - 1) * [False]), True]
    assert list(told["chosen"]) == ["objective", "feasible", "point", "plan", "estimate"]
    assert told["chosen"]["point"] == count - 1
    assert told["chosen"]["plan"]["id"] == told["points"][-1]["plan"]["id"]
    assert told["cost"] == "cores"
    assert told["currency"] is told["sustained_rps"] is None


def test_the_objectives_choice_is_marked(spec: Path) -> None:
    least, next_one, *_ = (point["accuracy"] for point in as_json(spec, "--rate", "30")["points"])
    floor = (least + next_one) / 2.0
    told = as_json(spec, "--rate", "30", "--set", f"objective={{kind: cheapest, accuracy_floor: {floor}}}")
    assert told["chosen"]["point"] == 1
    told = as_json(spec, "--rate", "30", "--set", "objective={kind: weighted, beta: 1}")
    assert told["chosen"]["point"] == 0


def test_a_choice_that_weighs_more_is_told_beside_the_front(spec: Path) -> None:
    spec.write_text(
        "{name: one, slo: {latency: 1s}, budget: {cores: 6}, tasks: {t: {variants: {v: {accuracy: 0.9}}}}, "
        "profile: {tasks: {t: {v: {points: {1: 50ms, 4: 80ms}}}}}}"
    )
    small_batches = "objective={kind: weighted, beta: 0, delta: 1}"
    told = as_json(spec, "--rate", "30", "--set", small_batches)
    assert [point["cost"] for point in told["points"]] == [1.0]
    assert told["chosen"]["feasible"]
    assert told["chosen"]["point"] is None
    assert told["chosen"]["plan"]["cores"] > 1
    assert "off it" in run(spec, "--rate", "30", "--set", small_batches)


def test_cost_may_be_money(spec: Path) -> None:
    priced = "prices={core_hour: 0.1, currency: EUR}"
    told = as_json(spec, "--rate", "30", "--set", priced, "--cost", "money")
    assert told["currency"] == "EUR"
    assert [point["cost"] for point in told["points"]] == pytest.approx(
        [0.1 * point["plan"]["cores"] for point in told["points"]]
    )
    assert len(told["points"]) > 1
    assert "EUR/h" in run(spec, "--rate", "30", "--set", priced, "--cost", "money")
    by_objective = "objective={kind: weighted, beta: 0.1, cost: money}"
    assert as_json(spec, "--rate", "30", "--set", priced, "--set", by_objective)["cost"] == "money"


def test_the_csv_file_has_everything_in_full(spec: Path, tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    assert str(path) in run(spec, "--rate", "30", "--csv", path).splitlines()
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == [
        "cost", "accuracy", "latency_s", "cores", "replicas", "cost_per_hour", "chosen", "plan_id", "tasks.find",
        "tasks.read",
    ]  # fmt: skip
    points = as_json(spec, "--rate", "30")["points"]
    assert [float(row["accuracy"]) for row in rows] == [point["accuracy"] for point in points]
    assert [float(row["latency_s"]) for row in rows] == [point["estimate"]["latency_s"] for point in points]
    assert [row["chosen"] for row in rows] == [*((len(points) - 1) * ["false"]), "true"]
    (read,) = points[-1]["plan"]["tasks"]["read"]["allocations"]
    assert rows[-1]["tasks.read"].startswith(f"heavy, {read['replicas']} × 1 core, batch {read['batch']}")
    assert rows[0]["cost_per_hour"] == ""


def test_the_picture_is_drawn(spec: Path, tmp_path: Path) -> None:
    path = tmp_path / "front.png"
    assert str(path) in run(spec, "--rate", "30", "--png", path).splitlines()
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 20_000
    assert json.loads(run(spec, "--rate", "30", "--png", path, "--json"))["points"]


def test_where_nothing_holds_that_is_the_answer(spec: Path, tmp_path: Path) -> None:
    files = tmp_path / "front.csv", tmp_path / "front.png"
    told = run(spec, "--rate", "9000", "--csv", files[0], "--png", files[1])
    assert "nothing holds the SLO" in told
    assert len(files[0].read_text().splitlines()) == 1
    assert files[1].read_bytes().startswith(b"\x89PNG")
    answer = as_json(spec, "--rate", "9000")
    assert answer["points"] == []
    assert answer["chosen"]["feasible"] is False
    assert 30 < answer["sustained_rps"] < 9000
    assert "nor at any other rate" in run(spec, "--rate", "1", "--set", "slo.latency=1ms")


def test_without_matplotlib_the_extra_is_named_before_anything_is_done(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[report\]"):
        run(spec, "--rate", "30", "--csv", tmp_path / "front.csv", "--png", tmp_path / "front.png")
    assert not (tmp_path / "front.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--rate", "nan"], PlanRequestError, "rate"),
        (["--rate", "5", "--cores", "1"], PlanRequestError, "at least 2 cores"),
        (["--rate", "5", "--cost", "money"], PlanRequestError, "--cost: money counts, and nothing has a price"),
        (["--rate", "5", "--set", "budgte.cores=4"], SpecError, "did you mean 'budget'"),
        (["--rate", "5", "--csv", "absent/front.csv"], PlanRequestError, "there is no such folder"),
        (["--rate", "5", "--png", "absent/front.png"], PlanRequestError, "there is no such folder"),
        (["--rate", "5", "--csv", "."], PlanRequestError, "the file cannot be written"),
    ],
)
def test_a_question_without_meaning_is_an_error(
    spec: Path, arguments: list[str], error: type[TrimtabError], words: str
) -> None:
    with pytest.raises(error) as caught:
        run(spec, *arguments)
    assert words in str(caught.value)
