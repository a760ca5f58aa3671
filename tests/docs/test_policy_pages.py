"""The pages of the policies: one for each that is built in, no longer than a screen, with its settings as they are."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from trimtab.plan.policies import POLICIES, make_policy

FOLDER = Path(__file__).parents[2] / "docs" / "policies"
INDEX = (FOLDER / "README.md").read_text()
PAGES = dict(re.findall(r"\[`([^`]+)`\]\(([^)]+)\)", INDEX))
LINES = 45


def test_every_policy_is_in_the_index_and_nothing_else_is() -> None:
    assert PAGES.keys() == POLICIES.keys()


@pytest.mark.parametrize("page", sorted(set(PAGES.values())))
def test_a_page_is_one_screen(page: str) -> None:
    assert len((FOLDER / page).read_text().splitlines()) <= LINES


@pytest.mark.parametrize("name", POLICIES)
def test_a_page_names_the_policy_and_all_its_settings(name: str) -> None:
    text = (FOLDER / PAGES[name]).read_text()
    assert f"`{name}`" in text or name in text.splitlines()[0]
    defaults = getattr(make_policy(name), "defaults", None)
    for field in dataclasses.fields(defaults) if defaults is not None else ():
        assert f"`{field.name}`" in text, f"{PAGES[name]} says nothing of the setting {field.name}"
