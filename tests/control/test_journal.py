from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.control.clocked import CLOCKED, Clocked

from trimtab.control.controller import Controller
from trimtab.control.journal import JournalEntry, JournalWriter, Resumption, header_of, read_journal
from trimtab.control.making import change, controller_of, header_after, resume
from trimtab.control.replay import replay
from trimtab.control.settings import ControllerSettings, forecaster_for, settings_for
from trimtab.errors import JournalError
from trimtab.forecast import file as forecast_file
from trimtab.forecast.file import Fitted, write_fitted
from trimtab.observe.model import Observation, Outcomes, TaskObservation
from trimtab.plan.model import Limits
from trimtab.plan.policies import make_policy
from trimtab.rng import generator
from trimtab.spec.model import AccuracyModel
from trimtab.testing import observation

MakeController = Callable[..., Controller]


def record(controller: Controller, path: Path, policy: str, seconds: int = 60) -> list[JournalEntry]:
    """A bursty time with gaps, backlogs and slow service, written to `path`."""
    rng = generator(9, policy)
    entries = [JournalEntry(None, controller.start(100.25))]
    for second in range(1, seconds + 1):
        rate = 90.0 if 20 <= second < 65 else 7.0
        count = None if second % 17 == 0 else int(rng.poisson(rate))
        task = TaskObservation(
            int(rng.integers(0, 12)), 1, 1, 0, 1, {"light": 3}, batches=3, service_ratio=float(rng.normal(1.1, 0.1)),
            busy_core_s=float(rng.uniform(0.9, 1.0) if rate > 50.0 else rng.uniform(0.0, 0.4)),
        )  # fmt: skip
        tasks = {"locate": task, "read": task}
        seen = Observation(
            100.25 + second, 1.0, (count,), Outcomes(count or 0), tasks, {0.5: 0.01, 0.99: 0.123}, 1.5, "x",
            allowed_s={0.01: float(rng.uniform(0.1, 0.2)), 0.5: 0.3} if second % 3 == 0 else {},
        )  # fmt: skip
        entries.append(JournalEntry(seen, controller.step(seen)))
    with JournalWriter(path, header_of(controller, policy)) as journal:
        for entry in entries:
            journal.append(entry)
    return entries


@pytest.mark.parametrize("policy", ["trimtab", "ipa", "cheapest"])
def test_a_journal_replays_to_the_same_decisions(policy: str, make_controller: MakeController, tmp_path: Path) -> None:
    entries = record(make_controller(policy), tmp_path / "j.jsonl", policy)
    journal = read_journal(tmp_path / "j.jsonl")
    assert not journal.torn
    assert journal.entries == tuple(entries)
    assert journal.header == header_of(make_controller(policy), policy)
    assert replay(journal) == ()


@pytest.mark.parametrize("policy", ["hpa", "mark", "infaas", "fa2", "loki", "themis", "sponge", "ipa"])
def test_a_policy_with_its_own_rhythm_and_memory_replays(
    policy: str, make_controller: MakeController, tmp_path: Path
) -> None:
    made = make_policy(policy)
    controller = make_controller(
        made, settings_for(made, 5.0), forecaster=forecaster_for(made), limits=Limits(cores=6.0)
    )
    entries = record(controller, tmp_path / "j.jsonl", policy, seconds=125)
    journal = read_journal(tmp_path / "j.jsonl")
    assert journal.entries == tuple(entries)
    assert journal.header.settings == settings_for(made, 5.0)
    assert len({entry.decision.plan.id for entry in entries if entry.decision}) >= 2
    assert replay(journal) == ()


def test_what_was_known_before_and_a_given_plan_are_in_the_journal(
    make_controller: MakeController, tmp_path: Path
) -> None:
    history, policy = (*[80] * 30, None), make_policy("ipa")
    settings = settings_for(policy, 5.0)
    controller = make_controller(policy, settings, forecaster=forecaster_for(policy))
    given = make_controller("cheapest").start(0.0).plan
    controller.forecaster.observe(history)
    entries = [JournalEntry(None, controller.start(0.5, given))]
    entries += [JournalEntry(o, controller.step(o)) for o in (observation(float(s), 8) for s in range(1, 31))]
    header = header_of(controller, "ipa", history=history, start=given)
    with JournalWriter(tmp_path / "j.jsonl", header) as journal:
        for entry in entries:
            journal.append(entry)
    read = read_journal(tmp_path / "j.jsonl")
    assert (read.header.history, read.header.start) == (history, given)
    assert replay(read) == ()
    unstarted, ignorant = replace(read.header, start=None), replace(read.header, history=())
    assert replay(replace(read, header=unstarted))[0].entry == 1
    later = replay(replace(read, header=ignorant))[0]
    assert (later.entry, later.what) == (2, "steps")  # the forecast of the first observation is another one


def test_a_journal_knows_its_clock(make_controller: MakeController, tmp_path: Path) -> None:
    policy, clock_s = make_policy("ipa"), 7 * 86_400.0 + 50.0
    controller = make_controller(policy, settings_for(policy, 5.0), forecaster=forecaster_for(policy, CLOCKED, clock_s))
    controller.forecaster.observe((8,) * 4)
    entries = [JournalEntry(None, controller.start(0.0))]
    entries += [JournalEntry(o, controller.step(o)) for o in (observation(float(s), 8) for s in range(1, 31))]
    header = header_of(controller, "ipa", forecaster=CLOCKED, clock_s=clock_s, history=(8,) * 4)
    with JournalWriter(tmp_path / "j.jsonl", header) as journal:
        for entry in entries:
            journal.append(entry)
    read = read_journal(tmp_path / "j.jsonl")
    assert (read.header.clock_s, read.header.forecaster, read.header.forecaster_sha256) == (clock_s, CLOCKED, None)
    assert replay(read) == ()
    # Six seconds after its first the minute is an odd one; with the clock four seconds on, it is so earlier.
    told = [entry.decision.steps[1].value for entry in read.entries[1:] if entry.decision is not None]
    assert told == ["8/s"] * 5 + ["24/s"] * 25
    later = replay(replace(read, header=replace(read.header, clock_s=clock_s + 4.0)))
    assert {(d.entry, d.what) for d in later} >= {(d, "steps") for d in range(3, 7)}
    assert min(d.entry for d in later) == 3


def test_a_fitted_forecaster_replays_with_its_file_and_no_other(
    make_controller: MakeController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_file, "KINDS", {"clocked": "tests.control.clocked:from_parameters"})
    path = tmp_path / "week.json"
    write_fitted(Fitted("clocked", {}, {"factor": 5.0}), path)
    policy = make_policy("trimtab")
    controller = make_controller(policy, forecaster=forecaster_for(policy, str(path), 60.0))
    entries = [JournalEntry(None, controller.start(0.0))]
    entries += [JournalEntry(o, controller.step(o)) for o in (observation(float(s), 8) for s in range(1, 9))]
    with JournalWriter(
        tmp_path / "j.jsonl", header_of(controller, "trimtab", forecaster=str(path), clock_s=60.0)
    ) as journal:
        for entry in entries:
            journal.append(entry)
    read = read_journal(tmp_path / "j.jsonl")
    assert read.header.forecaster == str(path)
    assert replay(read) == ()
    write_fitted(Fitted("clocked", {}, {"factor": 6.0}), path)
    with pytest.raises(JournalError, match="not the one that the journal was made with"):
        replay(read)
    path.unlink()
    with pytest.raises(JournalError, match="cannot be made here"):
        replay(read)
    given = Clocked(5.0)
    given.set_clock(60.0)
    assert replay(read, forecaster=given) == ()


def test_journals_from_before_there_was_a_clock_are_read(make_controller: MakeController, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    record(make_controller(), path, "trimtab", seconds=3)
    content = path.read_bytes()
    assert b',"clock_s":null,"forecaster_sha256":null' in content
    path.write_bytes(content.replace(b',"clock_s":null,"forecaster_sha256":null', b""))
    assert read_journal(path).header.clock_s is None
    assert replay(read_journal(path)) == ()


def test_a_policy_that_brings_a_memory_along_does_not_replay(make_controller: MakeController, tmp_path: Path) -> None:
    policy = make_policy("hpa")
    controller = make_controller(policy, settings_for(policy, 5.0), limits=Limits(cores=6.0))
    record(controller, tmp_path / "j.jsonl", "hpa", seconds=60)
    journal = read_journal(tmp_path / "j.jsonl")
    assert replay(journal) == ()
    (first, *_) = replay(journal, policy=policy)  # it remembers the run already
    assert first.entry == 1


def test_a_changed_record_or_policy_is_noticed(make_controller: MakeController, tmp_path: Path) -> None:
    record(make_controller(), tmp_path / "j.jsonl", "trimtab", seconds=35)
    journal = read_journal(tmp_path / "j.jsonl")
    decision = journal.entries[5].decision
    assert decision is not None
    forged = replace(journal.entries[5], decision=replace(decision, feasible=not decision.feasible))
    entries = (*journal.entries[:5], forged, *journal.entries[6:])
    (difference,) = replay(replace(journal, entries=entries))
    assert (difference.entry, difference.what) == (6, "feasible")
    assert {d.what for d in replay(journal, policy=make_policy("cheapest"))} >= {"plan", "steps"}
    other = replace(journal.header, settings=ControllerSettings(replan_s=7.0))
    assert replay(replace(journal, header=other))


def test_a_step_that_failed_replays_as_a_failure(make_controller: MakeController, tmp_path: Path) -> None:
    record(make_controller(), tmp_path / "j.jsonl", "trimtab", seconds=5)
    journal = read_journal(tmp_path / "j.jsonl")
    failed = JournalEntry(journal.entries[-1].observation, None, "it broke")
    (difference,) = replay(replace(journal, entries=(*journal.entries[:-1], failed)))
    assert difference.what == "outcome"
    assert difference.recorded == "error: it broke"


def test_a_torn_last_line_is_left_out_and_said(make_controller: MakeController, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    entries = record(make_controller(), path, "trimtab", seconds=5)
    whole = path.read_bytes()
    for cut in (1, 40, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut])
        journal = read_journal(path)
        assert journal.torn
        assert journal.entries == tuple(entries[:-1])
        assert replay(journal) == ()


def test_what_is_no_journal_is_refused(make_controller: MakeController, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    record(make_controller(), path, "trimtab", seconds=3)
    lines = path.read_bytes().splitlines(keepends=True)
    with pytest.raises(JournalError, match="exists already"):
        JournalWriter(path, header_of(make_controller(), "trimtab"))
    with pytest.raises(JournalError, match="cannot be created"):
        JournalWriter(tmp_path / "no" / "folder", header_of(make_controller(), "trimtab"))
    with pytest.raises(JournalError, match="cannot be read"):
        read_journal(tmp_path / "absent")
    for content, words in (
        (b"", "no header"),
        (b"{}\n", "line 1: the line is broken"),
        (lines[0] + b"garbage\n" + lines[2], "line 2: the line is broken"),
        (lines[0].replace(b'"version":1', b'"version":99'), "another format or version"),
    ):
        path.write_bytes(content)
        with pytest.raises(JournalError, match=words):
            read_journal(path)


def test_a_forecaster_of_ones_own_must_be_given(make_controller: MakeController, tmp_path: Path) -> None:
    record(make_controller(), tmp_path / "j.jsonl", "trimtab", seconds=3)
    journal = read_journal(tmp_path / "j.jsonl")
    foreign = replace(journal, header=replace(journal.header, forecaster="mine"))
    with pytest.raises(JournalError, match="forecaster"):
        replay(foreign)
    assert replay(foreign, forecaster=make_controller().forecaster) == ()


def test_numbers_survive_the_file_to_the_last_bit(make_controller: MakeController, tmp_path: Path) -> None:
    controller = make_controller()
    odd = float(np.nextafter(0.1, 1.0))
    seen = Observation(odd, odd, (1,), Outcomes(1), {}, {0.99: odd / 3}, odd)
    with JournalWriter(tmp_path / "j.jsonl", header_of(controller, "trimtab")) as journal:
        journal.append(JournalEntry(seen, None, "none"))
    assert read_journal(tmp_path / "j.jsonl").entries[0].observation == seen


def test_a_journal_from_before_deadlines_were_observed_still_reads(
    make_controller: MakeController, tmp_path: Path
) -> None:
    entries = record(make_controller(), tmp_path / "new.jsonl", "trimtab", seconds=4)
    lines = (tmp_path / "new.jsonl").read_text().splitlines()
    header, *turns = map(json.loads, lines)
    for turn in turns:
        if turn["observation"]:
            del turn["observation"]["allowed_s"]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (header, *turns)))
    old = read_journal(tmp_path / "old.jsonl")
    seen = [entry.observation and replace(entry.observation, allowed_s={}) for entry in entries]
    assert [entry.observation for entry in old.entries] == seen


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """As on a full disk: writes beyond it are cut short, then fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_whole_lines_and_nothing_is_lost_when_there_is_room_again(
    make_controller: MakeController, tmp_path: Path
) -> None:
    entries = record(make_controller(), tmp_path / "whole.jsonl", "trimtab", seconds=20)
    path = tmp_path / "j.jsonl"
    with JournalWriter(path, header_of(make_controller(), "trimtab")) as journal:
        for entry in entries[:3]:
            journal.append(entry)
        with files_of_at_most(path.stat().st_size + 700):
            for entry in entries[3:12]:
                with suppress(JournalError):
                    journal.append(entry)
            assert journal.waiting
            read = read_journal(path)
            assert not read.torn
            assert read.entries == tuple(entries[: len(read.entries)])
            assert replay(read) == ()
            with pytest.raises(JournalError, match="cannot be written"):
                journal.append(entries[12])
        for entry in entries[13:]:
            journal.append(entry)
        assert journal.waiting == 0
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_disk_that_stays_full_ends_the_journal_readable(
    make_controller: MakeController, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.control.journal.MOST_WAITING", 3)
    entries = record(make_controller(), tmp_path / "whole.jsonl", "trimtab", seconds=9)
    path = tmp_path / "j.jsonl"
    with JournalWriter(path, header_of(make_controller(), "trimtab")) as journal:
        journal.append(entries[0])
        with files_of_at_most(path.stat().st_size + 7):
            for entry in entries[1:5]:
                with pytest.raises(JournalError):
                    journal.append(entry)
        with pytest.raises(JournalError, match="has ended"):
            journal.append(entries[5])
        assert journal.waiting == 0
    assert read_journal(path).entries == tuple(entries[:1])


def test_no_room_for_a_header_leaves_no_file(make_controller: MakeController, tmp_path: Path) -> None:
    with files_of_at_most(10), pytest.raises(JournalError, match="cannot be written"):
        JournalWriter(tmp_path / "j.jsonl", header_of(make_controller(), "trimtab"))
    assert not (tmp_path / "j.jsonl").exists()


def test_a_change_of_variants_and_a_fresh_controller_replay(make_controller: MakeController, tmp_path: Path) -> None:
    header = header_of(make_controller(), "trimtab")
    first, path = make_controller(), tmp_path / "j.jsonl"
    day = [observation(float(s), 20 + 3 * s) for s in range(1, 25)]
    entries = [JournalEntry(None, first.start(0.5))]
    entries += [JournalEntry(o, first.step(o)) for o in day[:8]]
    without = ("read.heavy",)
    entries.append(JournalEntry(None, change(first, header, 8.5, without), without=without))
    entries += [JournalEntry(o, first.step(o)) for o in day[8:12]]
    entries.append(JournalEntry(day[12], None, "it hung", lost=True))
    assert first.plan is not None
    how = Resumption(first.plan, recalled=10, clock_s=3.0)
    second = controller_of(header_after(header, how))
    entries.append(JournalEntry(None, resume(second, 13.5, how, day[3:13]), resumed=how))
    entries.append(JournalEntry(None, change(second, header, 13.5, without), without=without))
    entries += [JournalEntry(o, second.step(o)) for o in day[13:]]
    with JournalWriter(path, header) as journal:
        for entry in entries:
            journal.append(entry)
    read = read_journal(path)
    assert read.entries == tuple(entries)
    assert replay(read) == ()
    assert replay(read, forecaster=make_controller().forecaster, policy=make_policy("trimtab")) == ()
    used = [e.decision.plan.tasks["read"] for e in entries if e.decision]
    assert any("heavy" in task.resident for task in used[:9])
    assert not any("heavy" in task.resident for task in used[9:])
    forgot = [replace(e, resumed=replace(how, recalled=0)) if e.resumed else e for e in entries]
    assert {d.what for d in replay(replace(read, entries=tuple(forgot)))} >= {"steps"}


def test_a_table_of_measured_accuracies_comes_back(make_controller: MakeController, tmp_path: Path) -> None:
    controller = make_controller()
    table: dict[tuple[str, ...], float] = {("a", "x"): 0.5, ("b", "x"): 0.75}
    pipeline = replace(controller.pipeline, accuracy=AccuracyModel("measured", table))
    header = replace(header_of(controller, "trimtab"), pipeline=pipeline)
    with JournalWriter(tmp_path / "j.jsonl", header):
        pass
    assert read_journal(tmp_path / "j.jsonl").header == header
