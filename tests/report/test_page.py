"""The HTML report: one file that needs nothing else and says what the figures say."""

import base64
import dataclasses
import re
import sys
from html.parser import HTMLParser

import pytest

from trimtab.errors import MissingExtraError
from trimtab.load.result import LoadResult
from trimtab.report.page import render_page
from trimtab.report.summary import percent, sentence


class Links(HTMLParser):
    """Every value of an attribute by which a browser fetches something."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for name, v in attrs if name in {"src", "href", "srcset", "data", "action", "poster"}]


def test_it_needs_nothing_else(runs: list[LoadResult]) -> None:
    page = render_page(runs)
    links = Links()
    links.feed(page)
    assert len(links.fetched) == 3
    for source in links.fetched:
        kind, data = source.split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        drawn = base64.b64decode(data)
        assert not re.search(rb'(?:href|src)="(?!#)', drawn)
    assert not re.search(r"url\(|@import|<script|<link", page)


def test_it_says_what_the_figures_say(runs: list[LoadResult]) -> None:
    page = render_page(runs, title="Digits")
    assert "<title>Digits</title>" in page
    assert sentence(runs) in page.replace("\u00a0", " ")
    for result in runs:
        assert f"<td>{result.run.name}</td>" in page
        assert percent(result.summary.attainment) in page
        assert all(note in page for note in result.notes)


def test_texts_are_escaped(runs: list[LoadResult]) -> None:
    evil = dataclasses.replace(runs[0], run=dataclasses.replace(runs[0].run, name="<script>alert(1)</script>"))
    page = render_page([evil])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_without_jinja2_the_extra_is_named(runs: list[LoadResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[report\]"):
        render_page(runs)
