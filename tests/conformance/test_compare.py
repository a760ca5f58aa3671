"""Comparing answers: what is a difference, what is allowed, what is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conformance.differential import allowed, compare
from conformance.differential.allowed import ALLOWED, Allowed
from conformance.differential.compare import differences, judge
from conformance.differential.rest import CORPUS
from conformance.environments import NAMES, pinned_version
from conformance.page import Result, page
from conformance.suites import SUITES
from conformance.verdicts import Checks, Verdict, load_verdicts, same

ENTRY = Allowed("mlserver", "REST", "status", frozenset({"no JSON"}), "it says 422 where the protocol says 400")


@pytest.fixture
def one_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "ALLOWED", (ENTRY,))


def test_equal_answers_do_not_differ() -> None:
    answers = {"live": {"status": "200", "body": "empty"}}
    assert differences("mlserver", "REST", answers, answers) == []


def test_behind_different_statuses_nothing_else_is_compared() -> None:
    found = differences("mlserver", "REST", {"a": {"status": "400", "id": 1}}, {"a": {"status": "422", "id": 2}})
    assert [(one.case, one.part, one.ours, one.theirs) for one in found] == [("a", "status", "400", "422")]


def test_a_part_that_only_one_has_is_a_difference() -> None:
    found = differences("kserve", "REST", {"a": {"status": "200"}}, {"a": {"status": "200", "body": "empty"}})
    assert [(one.part, one.ours, one.theirs) for one in found] == [("body", "none", "empty")]


@pytest.mark.usefixtures("one_allowed")
def test_a_new_difference_fails_and_so_does_a_listed_one_that_is_gone() -> None:
    listed = differences("mlserver", "REST", {"no JSON": {"status": "400"}}, {"no JSON": {"status": "422"}})
    new = differences("mlserver", "REST", {"live": {"status": "200"}}, {"live": {"status": "500"}})
    assert judge(listed, ("mlserver",)) == []
    assert ["not allowed" in text for text in judge([*listed, *new], ("mlserver",))] == [True]
    assert ["is gone" in text for text in judge([], ("mlserver",))] == [True]
    assert judge([], ("kserve",)) == []


def test_the_table_names_requests_that_are_sent() -> None:
    names = {case.name for case in CORPUS}
    assert len(names) == len(CORPUS)
    assert all(entry.cases and entry.reason for entry in ALLOWED)
    unknown = {case for entry in allowed.ALLOWED if entry.protocol == "REST" for case in entry.cases} - names
    assert not unknown


def test_no_difference_is_listed_twice() -> None:
    listed = [(entry.peer, entry.protocol, entry.part, case) for entry in ALLOWED for case in entry.cases]
    assert len(listed) == len(set(listed))


def test_a_check_that_raises_is_a_verdict_and_the_next_one_runs(tmp_path: Path) -> None:
    checks = Checks()
    with checks("wrong"):
        same(1, 2)
    with checks("right"):
        same(1, 1)
    checks.save(tmp_path / "out.json")
    first, second = load_verdicts(tmp_path / "out.json")
    assert (first.ok, second.ok) == (False, True)
    assert "got 1, wanted 2" in first.detail
    assert json.loads((tmp_path / "out.json").read_text())[1] == {"check": "right", "ok": True, "detail": ""}


def test_every_environment_pins_the_version_that_is_reported() -> None:
    assert all(pinned_version(name)[0].isdecimal() for name in NAMES)
    assert {suite.environment for suite in SUITES} == set(NAMES)


def test_the_page_tells_results_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.page.ALLOWED", (ENTRY,))
    found = differences("mlserver", "REST", {"no JSON": {"status": "400"}}, {"no JSON": {"status": "422"}})
    text = page([Result("a client", "1.0", (Verdict("live", ok=True), Verdict("ready", ok=False, detail="no")))], found)
    assert "| a client | 1.0 | 2 | 1 |" in text
    assert "- a client: ready" in text
    assert "| mlserver | REST | no JSON | status | 400 | 422 | it says 422 where the protocol says 400 |" in text
