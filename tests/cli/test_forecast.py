"""`trimtab forecast`: what is judged on what, what it prints and writes, and what is refused."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from trimtab.cli import forecast as command
from trimtab.errors import ForecastError, TraceError, TrimtabError
from trimtab.forecast.evaluate import TARGETS, Target, ask, find_origins, score
from trimtab.forecast.file import Fitted, read_fitted
from trimtab.forecast.model import RateForecast
from trimtab.forecast.registry import FORECASTERS, make_forecaster
from trimtab.workload.generate import TraceShape, generate
from trimtab.workload.trace import write_trace

HORIZON = ("--horizon", "20s", "--stride", "10s")
UNIX_2021_08_01 = 1_627_776_000


@dataclass
class Remembering:
    """A forecaster of a file: knows its clock, and keeps what it was told."""

    parameters: dict[str, Any]
    clock_s: float | None = None
    seen: list[int | None] = field(default_factory=list)
    name: str = "remembering"

    def set_clock(self, now_s: float) -> None:
        assert not self.seen
        self.clock_s = now_s

    def observe(self, counts: Sequence[int | None]) -> None:
        self.seen += counts

    def forecast(self, horizon_s: float) -> RateForecast | None:
        return RateForecast(horizon_s, 20.0, {0.5: 20.0, 0.99: 40.0}, 1.0, "made up")


@dataclass
class Training:
    """Stands in for the fit and for what it makes."""

    asked: list[tuple[Sequence[int | None], float]] = field(default_factory=list)
    made: list[Remembering] = field(default_factory=list)

    def fit(
        self, counts: Sequence[int | None], *, clock_s: float, on_progress: Callable[[object], None] | None = None
    ) -> Fitted:
        self.asked.append((counts, clock_s))
        if on_progress is not None:
            on_progress("trees")
        return Fitted("clock", {"learned": f"{len(counts)} seconds"}, {"seconds": len(counts)})

    def from_parameters(self, parameters: dict[str, Any]) -> Remembering:
        self.made.append(Remembering(parameters))
        return self.made[-1]


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    fake = Training()
    monkeypatch.setattr("trimtab.forecast.fit.fit", fake.fit)
    monkeypatch.setattr("trimtab.forecast.clock.from_parameters", fake.from_parameters)
    return fake


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Twenty minutes; every seventeenth second is 0."""
    shape = TraceShape(1200, 20.0, peak_rps=60.0, bursts=2, burst_s=60.0)
    counts = [0 if i % 17 == 0 else max(1, c or 1) for i, c in enumerate(generate(shape, 3, name="day").counts)]
    path = tmp_path / "day.txt"
    path.write_text("\n".join(map(str, counts)) + "\n")
    return path


def counts_of(path: Path, zeros: str = "count") -> list[int | None]:
    numbers = map(int, path.read_text().split())
    return [number or None if zeros == "missing" else number for number in numbers]


def invoke(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "100"}).invoke(command.app, [str(a) for a in arguments], catch_exceptions=False)


def run(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def judged(trace: Path, *arguments: object) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run("evaluate", "--trace", trace, "--json", *arguments))
    return told


# --- evaluate ---


def test_the_figures_are_the_evaluations(trace: Path) -> None:
    told = judged(trace, *HORIZON, "--from", "10min", "--to", "1100", "--forecaster", "quantile", "--zeros", "missing")
    (one,) = told["targets"]
    counts = counts_of(trace, "missing")
    assert counts.count(None) == 71
    origins = find_origins(counts, 600, 1100, Target("20 s", 20, 10))
    assert (one["name"], one["from_s"], one["to_s"], one["origins"]) == ("20 s", 600, 1100, len(origins)) == (
        "20 s", 600, 1100, 49
    )  # fmt: skip
    assert list(one["forecasters"]) == ["last", "quantile"]
    for name in ("last", "quantile"):
        expected = score(origins, ask(make_forecaster(name), name, counts, origins, clock=lambda: 0.0))
        entry = one["forecasters"][name]
        assert entry["peak"]["mean_pinball"] == expected.peak.mean_pinball
        assert entry["mean"]["mse"] == expected.mean.mse
        assert entry["forecast_s"] > 0.0
    assert (told["trace"], told["zeros"], told["history_s"]) == ("day.txt", "missing", None)


def test_zeros_are_counts_unless_said_otherwise(trace: Path) -> None:
    def pinball(*arguments: str) -> float:
        (target,) = judged(trace, *HORIZON, "--forecaster", "last", *arguments)["targets"]
        value: float = target["forecasters"]["last"]["mean"]["mean_pinball"]
        return value

    assert pinball() == pinball("--zeros", "count") != pinball("--zeros", "missing")


def test_without_a_word_the_last_quarter_is_judged_on_both_targets(trace: Path) -> None:
    told = judged(trace)
    assert [(t["name"], t["from_s"], t["to_s"], t["divide"]) for t in told["targets"]] == [
        ("infadapter", 900, 1200, 1), ("ipa", 900, 1200, 8)
    ]  # fmt: skip
    for target in told["targets"]:
        assert list(target["forecasters"])[:4] == ["last", "max-window", "ewm", "quantile"]
        assert ("clock" in target["forecasters"]) == ("clock" in FORECASTERS)
        lstms = {f"lstm-{target['name']}"} & set(FORECASTERS)
        assert {name for name in target["forecasters"] if name.startswith("lstm")} == lstms
    assert told["notes"] == ["trained is left out: less than 2 d lie before --from"]


@pytest.mark.usefixtures("training")
@pytest.mark.parametrize("installed", [True, False])
def test_trained_is_judged_by_default_where_it_can_be(
    trace: Path, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "TRAINING_S", 600)
    found = importlib.machinery.ModuleSpec("lightgbm", None) if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
    told = judged(trace, "--target", "infadapter", "--from", "600")
    (target,) = told["targets"]
    assert ("trained" in target["forecasters"]) == installed
    assert (told["notes"] == []) == installed
    assert installed or "lightgbm" in told["notes"][0]


def test_trained_learns_from_what_came_before_by_target_and_goes_on_with_the_last_hour(
    trace: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "FITTED_HISTORY_S", 120)
    told = judged(trace, "--from", "900", "--forecaster", "trained", "--clock-start", "2021-08-01T00:00")
    assert [list(t["forecasters"]) for t in told["targets"]] == [["last", "trained"]] * 2
    for name, (learned, clock_s), made in zip(TARGETS, training.asked, training.made, strict=True):
        counts = TARGETS[name].counts(counts_of(trace))
        assert list(learned) == list(counts[:900])
        assert clock_s == UNIX_2021_08_01
        assert made.clock_s == UNIX_2021_08_01 + 780
        assert made.seen[:120] == list(counts[780:900])
    judged(trace, *HORIZON, "--from", "900", "--forecaster", "trained", "--history", "30s")
    assert training.made[-1].clock_s == 870


def test_a_file_and_a_class_of_ones_own_are_named_shortly(
    trace: Path, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train", "--trace", trace, "-o", tmp_path / "mine.json")
    (tmp_path / "own_forecasters.py").write_text(
        "from trimtab.forecast.windowed import LastForecaster\nclass Mine(LastForecaster):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    told = judged(trace, *HORIZON, *(part for name in (tmp_path / "mine.json", "own_forecasters:Mine", "last", "ewm")
                                     for part in ("--forecaster", name)))  # fmt: skip
    forecasters = told["targets"][0]["forecasters"]
    assert list(forecasters) == ["last", "mine.json", "Mine", "ewm"]
    assert forecasters["Mine"]["peak"] == forecasters["last"]["peak"]
    assert training.made[-1].clock_s == 0.0  # its last hour would begin before the trace does


def test_what_is_printed(trace: Path) -> None:
    told = run("evaluate", "--trace", trace, *HORIZON, "--forecaster", "ewm")
    assert "20 s: the next 20 s, asked every 10 s" in told
    assert [line.split()[0] for line in told.splitlines() if line.endswith("s") and "µs" in line] == ["last", "ewm"]
    assert "Best: pinball" in told


def test_scores_and_pictures_are_written(trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    told = run("evaluate", "--trace", trace, *HORIZON, "--forecaster", "ewm", "-o", folder)
    written = {path.name for path in folder.iterdir()}
    assert written == {"scores.json", "scores.csv"} | {
        f"{name}.{kind}" for name in ("reliability", "relative", "fan-20s") for kind in ("png", "svg")
    }
    assert all(str(folder / name) in told.replace("\n", "") for name in written)
    assert json.loads((folder / "scores.json").read_text())["trace"] == "day.txt"
    plain = tmp_path / "plain"
    run("evaluate", "--trace", trace, *HORIZON, "--forecaster", "ewm", "-o", plain, "--no-pictures")
    assert {path.name for path in plain.iterdir()} == {"scores.json", "scores.csv"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--forecaster", "quantil"], r"--forecaster: no such forecaster: got quantil.*\n.*did you mean 'quantile'"),
        (["--forecaster", "trainde"], r"did you mean 'trained'"),
        (["--forecaster", "fitted.yaml"], r"no such forecaster[\s\S]*ends in \.json"),
        (["--forecaster", "absent.json"], r"absent\.json: there is no such file[\s\S]*trimtab forecast train"),
        (["--forecaster", "absent_module:Class"], r"cannot be loaded"),
        (["--target", "proteus"], r"--target: no such target: got proteus, wanted one of infadapter, ipa"),
        (["--target", "ipa", "--horizon", "30"], r"--target and --horizon"),
        (["--stride", "30"], r"--stride: the option goes with another"),
        (["--horizon", "0"], r"the horizon is too small: got 0"),
        (["--horizon", "0.5s"], r"--horizon: not a time: got 0\.5s, wanted whole seconds, such as 90s, 3h or 14d"),
        (["--from", "soon"], r"--from: not a time: got soon"),
        (["--from", "14d"], r"--from: this lies beyond the trace: got 1,209,600 s, wanted less than 1,200 seconds"),
        (["--from", "900", "--to", "800"], r"--from: this does not lie before --to: got 900 s, wanted less than 800 s"),
        (["--to", "1d"], r"--to: this lies beyond the trace: got 86,400 s, wanted at most 1,200 seconds \(20 min\)"),
        (["--from", "0", "--to", "60"], r"nothing to judge forecasts by"),
        (["--from", "1190"], r"nothing to judge forecasts by"),
    ],
)
def test_mistakes_are_told(trace: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(ForecastError, match=words):
        invoke("evaluate", "--trace", trace, *arguments)


def test_what_is_no_trace_or_no_folder_is_told(trace: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such trace file"):
        invoke("evaluate", "--trace", tmp_path / "absent.txt")
    with pytest.raises(ForecastError, match="this is no folder"):
        invoke("evaluate", "--trace", trace, "-o", trace)
    with pytest.raises(ForecastError, match="cannot be written"):
        invoke("evaluate", "--trace", trace, *HORIZON, "--forecaster", "last", "-o", trace / "x", "--no-pictures")
    with pytest.raises(TrimtabError, match="--clock-start: not a time: got noon"):
        invoke("evaluate", "--trace", trace, "--clock-start", "noon")
    silent = tmp_path / "silent.txt"
    silent.write_text("0\n" * 100)
    with pytest.raises(ForecastError, match=r"no recorded second[\s\S]*--zeros count"):
        invoke("evaluate", "--trace", silent, "--zeros", "missing")
    with pytest.raises(ForecastError, match=r"nothing to learn from before --from[\s\S]*--from 2d"):
        invoke("evaluate", "--trace", write_late(tmp_path), *HORIZON, "--from", "50", "--forecaster", "trained")


def write_late(folder: Path) -> Path:
    """A trace of which nothing was recorded at first."""
    path = folder / "late.txt"
    path.write_text("-\n" * 50 + "3\n" * 100)
    return path


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("2min", 120), ("3h", 10_800), ("14d", 1_209_600), ("0.5 d", 43_200), ("0", 0)],
)
def test_times(text: str, seconds: int) -> None:
    assert command._seconds(text, "--from") == seconds


def test_names_that_would_clash_stay_whole() -> None:
    assert command._labels(["a/f.json", "b/f.json", "m:C", "last"]) == {
        "a/f.json": "a/f.json", "b/f.json": "b/f.json", "m:C": "C", "last": "last"
    }  # fmt: skip


# --- train ---


def test_a_fitted_forecaster_is_written_and_told(trace: Path, training: Training, tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    told = run("train", "--trace", trace, "--from", "60", "--until", "10min", "--zeros", "missing", "--divide", 8,
               "--clock-start", "2021-08-01", "-o", path)  # fmt: skip
    ((learned, clock_s),) = training.asked
    assert list(learned) == [None if c is None else c // 8 for c in counts_of(trace, "missing")[60:600]]
    assert clock_s == UNIX_2021_08_01 + 60
    fitted = read_fitted(path)
    assert fitted.parameters == {"seconds": 540}
    assert fitted.made["learned"] == "540 seconds"
    assert (fitted.made["trace"], fitted.made["part"], fitted.made["divide"]) == ("day.txt", "seconds 60 to 600", "8")
    assert f"fitted.json: {path.stat().st_size} B" in told
    assert "learned: 540 seconds" in told


@pytest.mark.usefixtures("training")
@pytest.mark.parametrize(
    ("arguments", "began", "noted"),
    [
        ([], "0 s after a midnight", True),
        (["--clock-start", "3600", "--from", "60"], "1 h 1 min after a midnight", True),
        (["--clock-start", "2021-08-01T02:00+02:00"], "2021-08-01 00:00 UTC", False),
    ],
)
def test_a_clock_without_a_date_is_told_of(
    trace: Path, tmp_path: Path, arguments: list[str], began: str, noted: bool
) -> None:
    path = tmp_path / "mine.json"
    result = invoke("train", "--trace", trace, "-o", path, *arguments)
    assert result.exit_code == 0
    assert read_fitted(path).made["clock"] == f"{began} at the beginning of that part"
    assert (command.NO_DATE in result.stderr) == noted


def test_a_file_that_is_there_is_replaced_only_by_force(trace: Path, training: Training, tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    path.write_text("mine")
    with pytest.raises(ForecastError, match=r"the file is there already\n.*--force"):
        invoke("train", "--trace", trace, "-o", path)
    assert (path.read_text(), training.asked) == ("mine", [])
    run("train", "--trace", trace, "-o", path, "--force")
    assert read_fitted(path).parameters == {"seconds": 1200}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "fitted.yaml"], r"--output: the file's name has another ending: got fitted\.yaml, wanted FILE\.json"),
        (["-o", "nowhere/fitted.json"], r"--output: there is no such folder: got nowhere"),
        (["-o", "fitted.json", "--until", "14d"], r"--until: this lies beyond the trace"),
        (["-o", "fitted.json", "--from", "2h"], r"--from: this lies beyond the trace"),
    ],
)
def test_mistakes_of_training_are_told(
    trace: Path, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrimtabError, match=words):
        invoke("train", "--trace", trace, *arguments)
    assert not training.asked


def test_a_compressed_trace_with_gaps_is_read(tmp_path: Path) -> None:
    path = tmp_path / "day.txt.gz"
    made = generate(TraceShape(600, 30.0), 1, name="day")
    write_trace(made, path)
    assert judged(path, *HORIZON, "--forecaster", "last")["targets"][0]["to_s"] == 600
