"""The page of a comparison: one file that needs nothing else and says what the figures say."""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.report.simulated import make_result

from trimtab.errors import MissingExtraError, SimulationError
from trimtab.report.comparison import Comparison, Failure, compare_runs
from trimtab.report.comparison_page import draw_comparison, render_comparison, write_comparison
from trimtab.report.comparison_text import cell, columns_for, sentence
from trimtab.sim.result import SimResult


class Links(HTMLParser):
    """Every value of an attribute by which a browser fetches something."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for name, v in attrs if name in {"src", "href", "srcset", "data", "action", "poster"}]


def noted(result: SimResult, *notes: str, **settings: str) -> SimResult:
    return replace(result, run=replace(result.run, notes=notes), settings=settings)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare_runs(
        [make_result(name, trace, seed) for trace in ("busy", "calm") for name in ("trimtab", "ms+", "oracle")
         for seed in range(2)],
        [Failure("busy", "rim", (0, 1), "no plan can exist: got 3, wanted <5>")],
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> str:
    return render_comparison(comparison, draw_comparison(comparison), title="Photos & more")


def test_it_needs_nothing_else(page: str) -> None:
    links = Links()
    links.feed(page)
    assert len(links.fetched) == 4
    for source in links.fetched:
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert not re.search(r"url\(|@import|<script|<link", page)


def test_it_says_what_the_figures_say(page: str, comparison: Comparison) -> None:
    text = " ".join(re.sub(r"<[^>]+>", "", page).replace("\u00a0", " ").split())
    assert "Photos &amp; more" in page
    for trace in comparison.traces:
        assert sentence(trace) in text
        for policy in trace.policies:
            for column in columns_for(trace):
                assert cell(policy, column) in text
    assert "99.0 % of the requests within 750 ms" in text
    assert "plant instant-resident, but free for oracle" in text
    assert "late, refused, dropped or failed" in text


def test_the_front_ours_and_bounds_are_marked(page: str, comparison: Comparison) -> None:
    rows = re.findall(r'<tr( class="[a-z]+")?><td><span class="mark">(.?)</span>([^<]+)</td>', page)
    policies = [policy for trace in comparison.traces for policy in trace.policies]
    assert [(kind.strip(), bool(mark), name) for kind, mark, name in rows] == [
        (
            'class="ours"' if policy.name == "trimtab" else 'class="bound"' if policy.bound else "",
            policy.on_front,
            policy.name + " (bound)" * policy.bound,
        )
        for policy in policies
    ]


def test_failures_are_told_and_texts_escaped(page: str) -> None:
    assert "<dt>rim</dt><dd>busy, seed 0, 1: no plan can exist: got 3, wanted &lt;5&gt;</dd>" in page
    assert "What failed" in page


def test_notes_are_told_once_with_whom_they_are_about() -> None:
    runs = [
        noted(make_result("ms+"), "starts planned", digest="abc", window="seconds 3 to 9", name="ms+"),
        noted(make_result("ms+", seed=1), "starts planned", "extrapolated"),
        noted(make_result("ipa", "calm"), "starts planned"),
    ]
    comparison = compare_runs(runs)
    page = render_comparison(comparison, draw_comparison(comparison), title="t")
    assert "<dt>note on all</dt><dd>starts planned</dd>" in page
    assert "<dt>note on ms+</dt><dd>extrapolated</dd>" in page
    assert page.count("starts planned") == 1
    assert "window: seconds 3 to 9" in page
    assert "abc" not in re.sub(r'src="[^"]+"', "", page)
    assert "What failed" not in page


def test_a_name_is_escaped_and_safe_as_a_file(tmp_path: Path) -> None:
    comparison = compare_runs([make_result("ms+", "a/../b <i>", name="<script>alert(1)</script>")])
    written = write_comparison(comparison, tmp_path, title="<b>")
    assert written == tmp_path / "report.html"
    page = written.read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "a_.._b__i_-over-time.png",
        "a_.._b__i_-plane.png",
    }


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SimulationError, match="cannot be written"):
        write_comparison(compare_runs([make_result()]), tmp_path / "taken", title="t")


def test_a_page_about_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no run"):
        render_comparison(compare_runs([]), {}, title="t")


@pytest.mark.parametrize("package", ["jinja2", "matplotlib.figure"])
def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[report\]"):
        render_comparison(compare_runs([make_result()]), {}, title="t")
