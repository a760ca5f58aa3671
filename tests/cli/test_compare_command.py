"""`trimtab compare`: every run once, what is kept, what fails, and a report that holds what the runs say."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.simulating import FakeSimulation, invoke, write_files

from trimtab.cli import sim_request
from trimtab.cli.compare import compare, parse_policy, parse_trace
from trimtab.cli.compare_runs import available_cores
from trimtab.errors import PlanRequestError, SimulationError
from trimtab.forecast import file as forecast_file
from trimtab.forecast.file import Fitted, write_fitted
from trimtab.sim.result import read_result


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Pipeline file, trace, and the folder for the report."""
    return (*write_files(tmp_path), tmp_path / "out")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSimulation:
    simulation = FakeSimulation()
    monkeypatch.setattr(sim_request, "simulate", simulation)
    return simulation


def asked(files: tuple[Path, Path, Path], *arguments: object) -> tuple[object, ...]:
    """In this process, where the fake is."""
    return (files[0], "--trace", files[1], "-o", files[2], "--jobs", 1, *arguments)


def runs(folder: Path) -> set[str]:
    return {str(path.relative_to(folder / "runs")) for path in (folder / "runs").rglob("*") if path.is_file()}


def test_every_trace_policy_and_seed_is_a_run(files: tuple[Path, Path, Path], fake: FakeSimulation) -> None:
    policies = ("--policy", "trimtab", "--policy", "away=trimtab@kubernetes-restart", "--policy", "ms+")
    done = invoke(
        compare, *asked(files, "--trace", f"busy={files[1]}@4-9", *policies, "--seeds", 2, "--seed", 5, "--no-report")
    )
    assert done.exit_code == 0, done.output
    assert runs(files[2]) == {
        f"{trace}/{name}/{seed}.json"
        for trace in ("day.txt", "busy") for name in ("trimtab", "away", "ms+") for seed in (5, 6)
    }  # fmt: skip
    assert len(fake.calls) == 12
    assert {load.trace.counts for load, *_ in fake.calls if load.trace.name == "busy"} == {(20, 25, 22, 18, 10)}
    assert {load.history for load, *_ in fake.calls if load.trace.name == "busy"} == {(12, 15, 9, 11)}
    assert {plant.name for _, policy, plant, _ in fake.calls if policy.name == "ms+"} == {"instant-resident"}
    away = read_result(files[2] / "runs" / "busy" / "away" / "5.json")
    assert (away.run.policy, away.run.plant) == ("trimtab", "kubernetes-restart")
    assert away.settings["name"] == "away"
    assert away.settings["window"] == "seconds 4 to 9 of 12"
    assert "day.txt: 100 s, poisson arrivals, seeds 5 to 6" in done.stdout
    assert "plant instant-resident, but kubernetes-restart for away" in " ".join(done.stdout.split())
    rows = list(csv.DictReader(io.StringIO((files[2] / "runs.csv").read_text())))
    assert len(rows) == 12
    means = list(csv.DictReader(io.StringIO((files[2] / "comparison.csv").read_text())))
    assert [(row["trace"], row["name"]) for row in means] == [
        (trace, name) for trace in ("day.txt", "busy") for name in ("trimtab", "away", "ms+")
    ]
    assert not (files[2] / "report.html").exists()


@pytest.mark.usefixtures("fake")
def test_the_report_is_written_with_its_pictures(files: tuple[Path, Path, Path]) -> None:
    done = invoke(compare, *asked(files, "--policy", "trimtab", "--policy", "ms+", "--seeds", 2, "--title", "Mine"))
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-3:] == [
        str(files[2] / name) for name in ("runs.csv", "comparison.csv", "report.html")
    ]
    page = (files[2] / "report.html").read_text()
    assert "<title>Mine</title>" in page
    for name in ("day.txt-over-time.png", "day.txt-plane.png"):
        assert (files[2] / "pictures" / name).read_bytes().startswith(b"\x89PNG")


def test_a_rerun_keeps_what_was_asked_before(files: tuple[Path, Path, Path], fake: FakeSimulation) -> None:
    first = asked(files, "--policy", "trimtab", "--seeds", 2, "--no-report")
    assert "2 runs: 0 kept, 2 to do" in invoke(compare, *first).stderr
    assert "2 runs: 2 kept, 0 to do" in invoke(compare, *first).stderr
    more = asked(files, "--policy", "trimtab", "--policy", "ms+", "--seeds", 3, "--no-report")
    assert "6 runs: 2 kept, 4 to do" in invoke(compare, *more).stderr
    assert len(fake.calls) == 6
    assert "6 runs: 0 kept, 6 to do" in invoke(compare, *more, "--no-resume").stderr


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    "change",
    [
        ("--set", "slo.latency=300ms"),
        ("--set", "profile.tasks.read.heavy.load_time_s=2"),
        ("--arrivals", "even"),
        ("--scale", "1.01"),
        ("--interval", "2"),
        ("--plant", "kubernetes-restart"),
        ("--to", "11"),
        ("--rule", "fifo"),
        ("--cores", "5"),
        ("--forecaster", "ewm"),
        ("--clock-start", "60"),
        ("--gap", "2-5"),
    ],
)
def test_another_question_is_asked_anew(files: tuple[Path, Path, Path], change: tuple[str, str]) -> None:
    question = asked(files, "--policy", "ms+", "--seeds", 1, "--no-report")
    invoke(compare, *question)
    assert "1 runs: 0 kept, 1 to do" in invoke(compare, *question, *change).stderr
    assert "1 runs: 1 kept, 0 to do" in invoke(compare, *question, *change).stderr


@pytest.mark.usefixtures("fake")
def test_other_delays_are_another_question(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    way = tmp_path / "way.txt"
    way.write_text("0.1\n" * 20)
    question = asked(files, "--policy", "ms+", "--seeds", 1, "--no-report")
    invoke(compare, *question)
    question = (*question, "--delay", way)
    assert "0 kept" in invoke(compare, *question).stderr
    assert "1 kept" in invoke(compare, *question).stderr
    assert "0 kept" in invoke(compare, *question, "--delay-spread", 0.5).stderr
    way.write_text("0.2\n" * 20)
    assert "0 kept" in invoke(compare, *question).stderr


@pytest.mark.usefixtures("fake")
def test_other_content_of_the_same_files_is_another_question(files: tuple[Path, Path, Path]) -> None:
    question = asked(files, "--policy", "ms+", "--seeds", 1, "--no-report")
    invoke(compare, *question)
    files[1].write_text("1\n2\n")
    assert "0 kept" in invoke(compare, *question).stderr
    files[0].write_text(files[0].read_text().replace("55ms", "56ms"))
    assert "0 kept" in invoke(compare, *question).stderr
    files[0].write_text(files[0].read_text() + "# a word\n")
    assert "1 kept" in invoke(compare, *question).stderr


def test_a_fitted_forecaster_is_known_by_what_it_holds_and_not_by_where_it_lies(
    files: tuple[Path, Path, Path], fake: FakeSimulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_file, "KINDS", {"clocked": "tests.control.clocked:from_parameters"})
    fitted, other = files[0].parent / "week.json", files[0].parent / "copy.json"
    write_fitted(Fitted("clocked", {}, {"factor": 2.0}), fitted)
    question = asked(files, "--policy", "ms+", "--seeds", 1, "--no-report", "--forecaster")
    invoke(compare, *question, fitted)
    assert fake.calls[0][3]["forecaster"] == str(fitted)
    other.write_bytes(fitted.read_bytes())
    assert "1 kept" in invoke(compare, *question, other).stderr
    write_fitted(Fitted("clocked", {}, {"factor": 3.0}), fitted)
    assert "0 kept" in invoke(compare, *question, fitted).stderr


@pytest.mark.usefixtures("fake")
def test_every_window_has_the_clock_of_its_own_first_second(
    files: tuple[Path, Path, Path], fake: FakeSimulation
) -> None:
    traces = ("--trace", f"a={files[1]}@4-9", "--trace", f"b={files[1]}@2-", "--clock-start", 3600)
    invoke(compare, *asked(files, *traces, "--policy", "ms+", "--seeds", 1, "--no-report"))
    assert [call[0].clock_s for call in fake.calls] == [3600.0, 3604.0, 3602.0]


@pytest.mark.usefixtures("fake")
def test_a_damaged_file_is_made_anew(files: tuple[Path, Path, Path]) -> None:
    question = asked(files, "--policy", "ms+", "--seeds", 1, "--no-report")
    invoke(compare, *question)
    (files[2] / "runs" / "day.txt" / "ms+" / "0.json").write_text("{")
    assert "0 kept" in invoke(compare, *question).stderr
    assert read_result(files[2] / "runs" / "day.txt" / "ms+" / "0.json").run.policy == "ms+"


def test_a_policy_that_fails_is_told_by_name_and_stops_no_other(
    files: tuple[Path, Path, Path], fake: FakeSimulation
) -> None:
    fake.fails, fake.breaks = {"ms+"}, {"ipa"}
    policies = ("--policy", "mine=ms+", "--policy", "ipa", "--policy", "cheapest")
    done = invoke(compare, *asked(files, *policies, "--seeds", 2))
    assert done.exit_code == 1
    assert "failed: mine on day.txt, seed 0, 1: no plan can exist: got 3, wanted 5 cores" in done.stderr
    assert "failed: ipa on day.txt, seed 0, 1: ZeroDivisionError: division by zero" in done.stderr
    assert runs(files[2]) == {"day.txt/cheapest/0.json", "day.txt/cheapest/1.json"}
    page = (files[2] / "report.html").read_text()
    assert "no plan can exist" in page
    fake.fails, fake.breaks = set(), set()
    again = invoke(compare, *asked(files, *policies, "--seeds", 2))
    assert again.exit_code == 0
    assert "6 runs: 2 kept, 4 to do" in again.stderr


def test_where_all_fail_there_is_no_report(files: tuple[Path, Path, Path], fake: FakeSimulation) -> None:
    fake.fails = {"ms+"}
    done = invoke(compare, *asked(files, "--policy", "ms+"))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert not (files[2] / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "ms+", "--policy", "ms+"), "--policy: two have the same name: got ms+"),
        (("--policy", "a b=ms+", "--policy", "a_b=ipa"), "two have the same name"),
        (("--policy", "ms+@kubernets-restart"), "did you mean 'kubernetes-restart'"),
        (("--policy", "a=b=ms+"), "not a policy"),
        (("--policy", "@free"), "not a policy"),
        (("--policy", "ms+", "--history", "1"), "there are fewer seconds"),
    ],
)
def test_mistakes_cost_no_run(
    files: tuple[Path, Path, Path], fake: FakeSimulation, arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SimulationError, match=words.replace("+", r"\+")):
        invoke(compare, *asked(files, *arguments))
    assert fake.calls == []


def test_an_unknown_policy_costs_no_run_of_the_others(files: tuple[Path, Path, Path], fake: FakeSimulation) -> None:
    with pytest.raises(PlanRequestError, match="no such policy"):
        invoke(compare, *asked(files, "--policy", "ms+", "--policy", "nobody"))
    assert fake.calls == []


@pytest.mark.usefixtures("fake")
def test_two_traces_of_one_name_are_told_apart_by_name(files: tuple[Path, Path, Path]) -> None:
    other = files[0].parent / "b" / "day.txt"
    other.parent.mkdir()
    other.write_text("3\n4\n")
    with pytest.raises(SimulationError, match="--trace: two have the same name"):
        invoke(compare, *asked(files, "--trace", other, "--policy", "ms+"))
    done = invoke(compare, *asked(files, "--trace", f"other={other}", "--policy", "ms+", "--seeds", 1, "--no-report"))
    assert done.exit_code == 0
    assert runs(files[2]) == {"day.txt/ms+/0.json", "other/ms+/0.json"}


def test_how_policies_are_named() -> None:
    told = {text: parse_policy(text) for text in ("ms+", "ours=trimtab@free", "trimtab@free", "own.py:Mine", "a=m:C")}
    assert [(p.name, p.policy, p.plant) for p in told.values()] == [
        ("ms+", "ms+", None),
        ("ours", "trimtab", "free"),
        ("trimtab", "trimtab", "free"),
        ("own.py:Mine", "own.py:Mine", None),
        ("a", "m:C", None),
    ]


def test_how_traces_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = {text: parse_trace(text) for text in ("a/day.txt", "x=a/day.txt", "day.txt@3-9", "x=b@c/day.txt@30-")}
    assert [(t.name, str(t.path), t.start, t.stop) for t in told.values()] == [
        ("day.txt", "a/day.txt", None, None),
        ("x", "a/day.txt", None, None),
        ("day.txt@3-9", "day.txt", 3, 9),
        ("x", "b@c/day.txt", 30, None),
    ]
    Path("x=1@2-3").write_text("1\n")
    assert parse_trace("x=1@2-3").path == Path("x=1@2-3")


# --- with the simulator itself ---


def test_what_knows_the_future_is_a_bound_on_a_plant_where_nothing_takes_time(files: tuple[Path, Path, Path]) -> None:
    bound = "best=tests.cli.simulating:ForesightPolicy"
    question = asked(files, "--plant", "kubernetes", "--forecaster", "ewm", "--seeds", 1, "--no-report")
    done = invoke(compare, *question, "--policy", bound, "--policy", "cheapest")
    assert done.exit_code == 0, done.output
    best, cheapest = (read_result(files[2] / "runs" / "day.txt" / name / "0.json") for name in ("best", "cheapest"))
    assert (best.run.plant, best.run.forecaster) == ("free", "oracle")
    assert (cheapest.run.plant, cheapest.run.forecaster) == ("kubernetes", "ewm")
    assert "best (bound)" in done.stdout
    assert "best, a bound that knows the future, had" in " ".join(done.stdout.split())
    (row, _) = csv.DictReader(io.StringIO((files[2] / "runs.csv").read_text()))
    assert row["name"] == "cheapest"
    with pytest.raises(SimulationError, match="is a bound"):
        invoke(compare, *question, "--policy", f"{bound}@kubernetes")


def test_processes_give_what_one_process_gives(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    question = ("--trace", files[1], "--policy", "ipa", "--policy", "cheapest", "--seeds", 2, "--no-report")
    tables = []
    for jobs, folder in ((1, tmp_path / "one"), (2, tmp_path / "two")):
        done = invoke(compare, files[0], *question, "-o", folder, "--jobs", jobs)
        assert done.exit_code == 0, done.output
        tables.append(list(csv.DictReader(io.StringIO((folder / "runs.csv").read_text()))))
    for one, two in zip(*tables, strict=True):
        assert {**one, "decide_s": ""} == {**two, "decide_s": ""}
    assert {row["name"] for row in tables[0]} == {"ipa", "cheapest"}
    digests = [
        {path.name: read_result(path).settings["digest"] for path in (tmp_path / name).rglob("ipa/*.json")}
        for name in ("one", "two")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == len(set(digests[0].values())) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals are handled otherwise there")
def test_ctrl_c_leaves_what_was_finished(files: tuple[Path, Path, Path]) -> None:
    question = (str(files[0]), "--trace", str(files[1]), "--policy", "ipa", "-o", str(files[2]), "--no-report")
    # Where the tests run in the background of a shell, Ctrl-C is ignored, and processes inherit that.
    heeding = "import signal as s, trimtab.cli as c; s.signal(s.SIGINT, s.default_int_handler); c.main()"
    command = [sys.executable, "-c", heeding, "compare", *question, "--seeds", "5000", "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None and not list(files[2].rglob("1.json")):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, told
    kept = len(list(files[2].rglob("*.json")))
    assert f"stopped; {kept} of 5000 runs are kept" in told
    assert 1 <= kept < 5000
    first = min(int(path.stem) for path in files[2].rglob("*.json"))
    again = invoke(compare, *question, "--seed", first, "--seeds", 1)
    assert again.exit_code == 0
    assert "1 runs: 1 kept, 0 to do" in again.stderr


def test_the_cores_at_hand_are_counted() -> None:
    assert available_cores() >= 1
