from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def scripts() -> set[str]:
    """Everything that can be run."""
    return {
        str(path.relative_to(ROOT))
        for path in FOLDER.rglob("*.py")
        if '__name__ == "__main__"' in path.read_text("utf-8")
    }


def test_every_experiment_is_in_the_readme_and_every_command_there_exists() -> None:
    assert set(re.findall(r"`python (experiments/\S+\.py)[^`]*`", README)) == scripts()


def test_every_experiment_says_how_it_is_run() -> None:
    for name in scripts():
        assert f"\n    python {name} " in (ROOT / name).read_text("utf-8"), name


def test_links_lead_somewhere() -> None:
    for page in (FOLDER / "README.md", ROOT / "docs" / "experiments.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_of_the_page_exist() -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:python )?((?:experiments/)?(?:infadapter|ipa)/\w+\.py)[^`]*`", page))
    assert named
    assert {name if name.startswith("experiments/") else f"experiments/{name}" for name in named} <= scripts()
