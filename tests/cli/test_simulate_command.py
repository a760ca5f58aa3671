"""`trimtab simulate`: what is passed on, what is printed and written, and what is wrong with a question."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import msgspec
import pytest
from tests.cli.simulating import COUNTS, FakeSimulation, invoke, write_files
from tests.control.clocked import CLOCKED

from trimtab.cli import sim_request
from trimtab.cli.simulate import simulate
from trimtab.control.journal import read_journal
from trimtab.control.replay import replay
from trimtab.errors import (
    ForecastError,
    JournalError,
    PlanRequestError,
    ProfileError,
    SimulationError,
    SpecError,
    TraceError,
    TrimtabError,
)
from trimtab.sim import SimResult

SLOW = (
    "{trimtab_profile: 1, tasks: "
    "{find: {light: {points: {1: 300ms, 2: 600ms}}, heavy: {points: {1: 500ms, 2: 990ms}}}, "
    "read: {light: {points: {1: 300ms, 2: 600ms}}, heavy: {points: {1: 500ms, 2: 990ms}}}}}"
)
"""A profile with which nothing is in time."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_files(tmp_path)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSimulation:
    simulation = FakeSimulation()
    monkeypatch.setattr(sim_request, "simulate", simulation)
    return simulation


def told(*arguments: object, width: int = 100) -> str:
    result = invoke(simulate, *arguments, width=width)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_is_asked_is_passed_on(files: tuple[Path, Path], fake: FakeSimulation, tmp_path: Path) -> None:
    spec, trace = files
    truth = tmp_path / "truth.yaml"
    truth.write_text(SLOW)
    told(
        spec, "--trace", trace, "--policy", "cheapest", "--seed", 7, "--plant", "kubernetes-restart", "--arrivals",
        "even", "--forecaster", "ewm", "--rule", "fifo", "--max-wait", "20ms", "--drop-after", "1s", "--queue-limit", 9,
        "--draw", "mean", "--hop", "5ms", "--from", 4, "--to", 9, "--history", 3, "--scale", 1.5, "--truth", truth,
        "--cores", 5, "--interval", 2, "--set", "slo.latency=300ms",
    )  # fmt: skip
    ((load, policy, plant, asked),) = fake.calls
    assert (policy.name, plant.name) == ("cheapest", "kubernetes-restart")
    assert load.trace.counts == tuple(COUNTS[4:9])
    assert load.history == tuple(COUNTS[1:4])
    assert (load.arrivals, load.seed, load.scale) == ("even", 7, 1.5)
    assert (asked["cores"], asked["forecaster"], asked["interval_s"], asked["window_s"]) == (5, "ewm", 2.0, 6.0)
    serving = asked["serving"]
    assert (serving.rule, serving.max_wait_s, serving.drop_after_s) == ("fifo", 0.02, 1.0)
    assert (serving.queue_limit, serving.draw, serving.hop_s) == (9, "mean", 0.005)
    assert asked["truth"].variants["read"]["heavy"].service_time(1, 1, 1).seconds == 0.5


def test_the_defaults_are_those_of_the_files(files: tuple[Path, Path], fake: FakeSimulation) -> None:
    told(files[0], "--trace", files[1])
    ((load, policy, plant, asked),) = fake.calls
    assert (policy.name, plant.name, load.trace.name) == ("trimtab", "instant-resident", "day.txt")
    assert load.trace.counts == tuple(COUNTS)
    assert (load.arrivals, load.seed, load.scale, load.history) == ("poisson", 0, 1.0, ())
    assert (asked["cores"], asked["forecaster"], asked["truth"]) == (6, None, None)
    assert (asked["interval_s"], asked["window_s"]) == (1.0, 5.0)


def test_all_that_is_before_the_window_is_its_history(files: tuple[Path, Path], fake: FakeSimulation) -> None:
    told(files[0], "--trace", files[1], "--from", 5)
    assert fake.calls[0][0].history == tuple(COUNTS[:5])


@pytest.mark.parametrize(
    ("arguments", "counts", "history"),
    [
        (("--missing", "hold"), (1, 1, 3, 4, 4, 4, 7), ()),
        (("--missing", "cut"), (1, 3, 4, 7), ()),
        (("--missing", "hold", "--from", 4), (4, 4, 7), (1, None, 3, 4)),
        (("--missing", "cut", "--from", 4), (7,), (1, None, 3, 4)),
        (("--from", 2, "--to", 4), (3, 4), (1, None)),
    ],
)
def test_seconds_that_were_not_recorded(
    files: tuple[Path, Path],
    fake: FakeSimulation,
    arguments: tuple[object, ...],
    counts: tuple[int, ...],
    history: tuple[int | None, ...],
) -> None:
    files[1].write_text("1\n-\n3\n4\n-\n-\n7\n")
    told(files[0], "--trace", files[1], *arguments)
    load = fake.calls[0][0]
    assert load.trace.counts == counts
    assert load.history == history


def test_delays_are_those_of_the_seconds_played(files: tuple[Path, Path], fake: FakeSimulation, tmp_path: Path) -> None:
    way = tmp_path / "way.txt"
    way.write_text("".join(f"0.{second}\n" for second in range(8)))
    files[1].write_text("1\n-\n3\n4\n-\n-\n7\n")
    for more in (("hold",), ("cut",), ("hold", "--from", 4), ("cut", "--from", 2, "--delay-spread", 0.4)):
        told(files[0], "--trace", files[1], "--delay", way, "--missing", *more)
    delays = [call[0].delays for call in fake.calls]
    assert [each and each.seconds for each in delays] == [
        (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6), (0.0, 0.2, 0.3, 0.6), (0.4, 0.5, 0.6), (0.2, 0.3, 0.6)
    ]  # fmt: skip
    assert [each and each.spread for each in delays] == [0.0, 0.0, 0.0, 0.4]
    told(files[0], "--trace", files[1], "--from", 2, "--to", 4)
    assert fake.calls[-1][0].delays is None


def test_gaps_are_passed_on(files: tuple[Path, Path], fake: FakeSimulation) -> None:
    told(files[0], "--trace", files[1], "--gap", "2-4", "--gap", "7-12")
    told(files[0], "--trace", files[1])
    assert [call[3]["gaps"] for call in fake.calls] == [((2.0, 4.0), (7.0, 12.0)), ()]


def test_less_time_left_and_a_gap_are_told(files: tuple[Path, Path], tmp_path: Path) -> None:
    way = tmp_path / "way.txt"
    way.write_text("0.1\n" * 6 + "0.45\n" * 6)
    text = told(files[0], "--trace", files[1], "--delay", way, "--gap", "3-5")
    text = " ".join(text.split())
    assert "nothing was counted from 3 to 5 s" in text
    assert "the way to us takes 0.1 to 0.45 s" in text
    result = json.loads(told(files[0], "--trace", files[1], "--delay", way, "--arrivals", "recorded", "--json"))
    assert result["settings"]["delay"] == "way.txt"
    assert result["summary"]["refused"] == sum(COUNTS[6:])  # the SLO is 400 ms


@pytest.mark.parametrize(
    ("arguments", "clock_s"),
    [
        ((), 0.0),
        (("--from", 4), 4.0),
        (("--from", 4, "--history", 2, "--clock-start", 3600), 3604.0),
        (("--clock-start", "2021-08-01"), 1_627_776_000.0),
        (("--clock-start", "2021-08-01T00:00:30+02:00"), 1_627_768_830.0),
        (("--from", 2, "--missing", "hold"), 2.0),
        (("--from", 2, "--missing", "cut"), 2.0),
    ],
)
def test_the_clock_is_that_of_the_first_second_played(
    files: tuple[Path, Path], fake: FakeSimulation, arguments: tuple[object, ...], clock_s: float
) -> None:
    told(files[0], "--trace", files[1], *arguments)
    assert fake.calls[0][0].clock_s == clock_s


def test_where_seconds_are_cut_out_the_clock_is_lost(files: tuple[Path, Path], fake: FakeSimulation) -> None:
    files[1].write_text("1\n-\n3\n4\n-\n7\n")
    told(files[0], "--trace", files[1], "--missing", "cut", "--from", 2)
    told(files[0], "--trace", files[1], "--missing", "cut", "--from", 2, "--to", 4)  # none is missing there
    assert [call[0].clock_s for call in fake.calls] == [None, 2.0]


@pytest.mark.usefixtures("fake")
def test_the_figures_are_printed(files: tuple[Path, Path]) -> None:
    text = told(files[0], "--trace", files[1], "--from", 4, "--scale", 2, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0] == "trimtab on day.txt: 100 s, poisson arrivals, seed 0"
    for words in (
        "wanted 99.0 % within 750 ms: met",
        "seconds 4 to 12 of 12",
        "2 times the trace's rates",
        "4 s before it",
        "classify by",
    ):
        assert words in " ".join(text.split())


@pytest.mark.usefixtures("fake")
def test_the_json_object_is_the_result(files: tuple[Path, Path]) -> None:
    result = invoke(simulate, files[0], "--trace", files[1], "--scale", 2, "--set", "slo.latency=300ms", "--json")
    assert result.stderr == ""
    read = msgspec.json.decode(result.stdout, type=SimResult)
    assert list(json.loads(result.stdout)) == ["run", "summary", "series", "format", "settings"]
    assert read.format == "trimtab.sim/1"
    assert read.run.policy == "trimtab"
    assert read.settings == {"set": "slo.latency=300ms", "scale": "2 times the trace's rates"}


@pytest.mark.usefixtures("fake")
def test_the_series_is_written_a_window_a_row(files: tuple[Path, Path], tmp_path: Path) -> None:
    text = told(files[0], "--trace", files[1], "--series", tmp_path / "s.csv")
    assert text.splitlines()[-1] == str(tmp_path / "s.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text())))
    assert [row["start_s"] for row in rows[:3]] == ["0", "5", "10"]
    assert len(rows) == 20
    for row in rows:
        assert int(row["offered"]) == int(row["items.classify.small"]) + int(row["items.classify.large"])
        assert float(row["p99_s"]) > float(row["p50_s"]) > 0.0


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (("--policy", "trimtap"), PlanRequestError, "did you mean 'trimtab'"),
        (("--plant", "instant-residence"), SimulationError, "did you mean 'instant-resident'"),
        (("--forecaster", "emw"), ForecastError, "did you mean 'ewm'"),
        (("--from", 5, "--to", 5), TraceError, "do not lie inside"),
        (("--to", 13), TraceError, "do not lie inside"),
        (("--from", 5, "--history", 6), SimulationError, "--history, day.txt: there are fewer seconds"),
        (("--scale", 0), SimulationError, "--scale: the number has no meaning"),
        (("--forecaster", "week.json"), ForecastError, "week.json: there is no such file"),
        (("--clock-start", "noon"), SimulationError, "--clock-start: not a time: got noon"),
        (("--clock-start", "inf"), SimulationError, "--clock-start: not a time: got inf"),
        (("--interval", "nan"), SimulationError, "--interval: the number has no meaning"),
        (("--max-wait", "20ms"), SimulationError, "--max-wait: the option belongs to another rule"),
        (("--rule", "fifo", "--drop-after", "soon"), SimulationError, "--drop-after: not a duration: got soon"),
        (("--set", "slo.latency=never"), SpecError, "slo.latency"),
        (("--set", "policies={nobody: {a: 1}}"), PlanRequestError, "policies.nobody"),
        (("--column", "calls"), TraceError, "no column names"),
        (("--delay", "way.txt"), TraceError, "no such series of delays file"),
        (("--delay-spread", 0.5), SimulationError, "--delay-spread: there are no delays to spread"),
        (("--gap", "4"), SimulationError, "--gap: not a gap: got 4"),
        (("--gap", "9-9"), SimulationError, "--gap: not a gap: got 9-9"),
        (("--journal", "/no/such/folder/j"), SimulationError, "no such folder"),
        (("--series", "/no/such/folder/s"), SimulationError, "no such folder"),
        (("--profile", "/no/such/profile"), ProfileError, "/no/such/profile"),
    ],
)
def test_mistakes_cost_no_run(
    files: tuple[Path, Path], fake: FakeSimulation, arguments: tuple[object, ...], kind: type[TrimtabError], words: str
) -> None:
    with pytest.raises(kind, match=words.replace(".", r"\.")):
        invoke(simulate, files[0], "--trace", files[1], *arguments)
    assert fake.calls == []


def test_a_missing_second_is_no_idle_one(files: tuple[Path, Path], fake: FakeSimulation) -> None:
    files[1].write_text("1\n-\n3\n")
    with pytest.raises(TraceError, match="--missing hold"):
        invoke(simulate, files[0], "--trace", files[1])
    assert fake.calls == []


# --- with the simulator itself ---


def as_result(*arguments: object) -> SimResult:
    return msgspec.json.decode(told(*arguments, "--json"), type=SimResult)


def without_time(result: SimResult) -> object:
    facts = msgspec.to_builtins(result)
    del facts["summary"]["decide_s"]
    return facts


def test_a_run_is_repeated_by_its_seed_and_accounts_for_every_request(files: tuple[Path, Path]) -> None:
    one, same, other = (as_result(files[0], "--trace", files[1], "--seed", seed) for seed in (3, 3, 4))
    assert without_time(one) == without_time(same)
    assert one.series.offered != other.series.offered
    counts = one.summary
    assert counts.offered == counts.in_time + counts.late + counts.refused + counts.dropped + counts.failed > 100
    assert one.run.seconds == len(COUNTS)
    assert one.run.cores == 6


def test_its_very_counts_are_played(files: tuple[Path, Path]) -> None:
    played = as_result(files[0], "--trace", files[1], "--arrivals", "recorded", "--from", 2, "--window", 1)
    assert played.series.offered[: len(COUNTS) - 2] == COUNTS[2:]


def test_a_journal_changes_nothing_and_replays(files: tuple[Path, Path], tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    asked = (files[0], "--trace", files[1], "--policy", "ipa", "--plant", "kubernetes-restart")
    assert without_time(as_result(*asked, "--journal", journal)) == without_time(as_result(*asked))
    written = read_journal(journal)
    assert len(written.entries) == len(COUNTS)
    assert replay(written) == ()
    with pytest.raises(JournalError, match="exists already"):
        invoke(simulate, *asked, "--journal", journal)


def test_a_forecaster_that_learns_the_clock_is_told_it_and_the_result_says_so(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    asked = (files[0], "--trace", files[1], "--forecaster", CLOCKED, "--from", 4, "--clock-start", "2021-08-01T10:00")
    result = as_result(*asked, "--journal", journal)
    assert result.run.forecaster == "clocked"
    assert result.settings["clock"] == "the load begins at 1627812004 s, 10:00:04 of a day"
    read = read_journal(journal)
    assert (read.header.clock_s, read.header.history) == (1_627_812_000.0, tuple(COUNTS[:4]))
    assert replay(read) == ()


def test_service_that_takes_longer_than_was_measured_costs_attainment(files: tuple[Path, Path], tmp_path: Path) -> None:
    truth = tmp_path / "truth.yaml"
    truth.write_text(SLOW)
    asked = (files[0], "--trace", files[1], "--policy", "cheapest")
    believed, real = as_result(*asked), as_result(*asked, "--truth", truth)
    assert believed.summary.violation_ratio == 0.0
    assert real.summary.violation_ratio == 1.0
    assert real.settings["truth"] == "truth.yaml"
