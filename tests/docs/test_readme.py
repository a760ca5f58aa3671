"""The README and the pages: its pipeline file is one, its commands exist, and no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli.commands import COMMANDS, make_app
from trimtab.spec.load import parse_pipeline

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GROUPS = ("forecast", "trace")
"""Commands that have commands of their own."""
PAGES = [ROOT / "README.md", ROOT / "examples/digits/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_its_pipeline_file_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    pipeline = parse_pipeline(text, check_files=False)
    assert list(pipeline.tasks["classify"].variants) == ["small", "large"]


def test_its_commands_and_options_exist() -> None:
    lines = re.findall(r"^trimtab (.*?) *(?:#.*)?$", README, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        name, *arguments = line.split()
        assert name in COMMANDS
        words = [name, arguments[0]] if name in GROUPS else [name]
        told = CliRunner(env={"COLUMNS": "200"}).invoke(make_app(), [*words, "--help"]).output
        for option in arguments:
            if option.startswith("--"):
                assert option in told, f"trimtab {name} has no {option}"


def test_make_has_its_two_commands() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE)) == {"demo", "test"} <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name}: {link}"
